#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
# The installed header alone is clean in C99, C11 and C++11, and refuses a
# plugin that does not say which API it was written for.
set -eu
srcdir=${srcdir:-.}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cat >"$work/plugin.c" <<'END'
#define KATAMARAN_API_VERSION 1
#include <katamaran-plugin.h>
static struct katamaran_plugin plugin;
KATAMARAN_REGISTER_PLUGIN(plugin)
END
for std in c99 c11; do
	${CC:-cc} -std=$std -pedantic -Wall -Wextra -Werror -I"$srcdir/core" -c \
		"$work/plugin.c" -o "$work/plugin.o"
done
if command -v "${CXX:-c++}" >/dev/null; then
	"${CXX:-c++}" -x c++ -std=c++11 -pedantic -Wall -Wextra -Werror -I"$srcdir/core" -c \
		"$work/plugin.c" -o "$work/plugin.o"
	nm "$work/plugin.o" | grep -q ' T katamaran_plugin_init$' # not mangled
fi
sed -i 1d "$work/plugin.c"
if ${CC:-cc} -I"$srcdir/core" -c "$work/plugin.c" -o "$work/plugin.o" 2>"$work/said"; then
	echo "a plugin without KATAMARAN_API_VERSION compiles"
	exit 1
fi
grep -q 'define KATAMARAN_API_VERSION 1' "$work/said"
