#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
# The program exports the functions of the installed header and nothing else;
# a plugin exports its one symbol.  Run from the build folder; $srcdir is set.
set -eu
srcdir=${srcdir:-.}
fail=0

declared=$(tr '\n' ' ' <"$srcdir/core/katamaran-plugin.h" |
	grep -o 'KATAMARAN_PUBLIC [^(]*katamaran_[a-z_]*(' |
	grep -o 'katamaran_[a-z_]*($' | tr -d '(' | grep -v '^katamaran_plugin_init$' | sort)
program=.libs/katamaran
[ -x "$program" ] || program=katamaran
exported=$(nm -D --defined-only "$program" | awk '{ print $3 }' | grep -v '^_\|@' | sort) # @: of libc
if [ "$declared" != "$exported" ]; then
	echo "the header declares:"
	echo "$declared"
	echo "the program exports:"
	echo "$exported"
	fail=1
fi

for plugin in .libs/*-*.so; do
	symbols=$(nm -D --defined-only "$plugin" | awk '{ print $3 }' | grep -v '^_' || true)
	if [ "$symbols" != katamaran_plugin_init ]; then
		echo "$plugin exports: $symbols"
		fail=1
	fi
done
# Faults are for the lab's own build.
if grep -q KATAMARAN_FAULT "$program"; then
	echo "$program can be told to fail: it is no build for a release"
	fail=1
fi
exit $fail
