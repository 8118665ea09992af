#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
# The rooms keep their doors: plugins know the installed header and
# plugins/lib, the core knows no plugin, one file each sees libconfig, and
# only the peer command and a script plugin spawn programs.
set -eu
cd "${srcdir:-.}"
fail=0
complain() {
	echo "$1"
	fail=1
}

for header in core/*.h core/*/*.h; do
	name=${header#core/}
	[ "$name" = katamaran-plugin.h ] && continue
	if grep -nE "#include \"(core/)?$name\"" plugins/*/*.[ch]; then
		complain "a plugin includes the core's $name"
	fi
done
grep -nE '#include "(plugins|lib)/' core/*.[ch] core/*/*.[ch] && complain "the core includes a plugin's header"
grep -n '#include "qemu/' core/*.[ch] && complain "katamaran includes a header of katamaran-qemu's"
found=$(grep -lE '#include <libconfig.h>' core/*.[ch] core/*/*.[ch] plugins/*/*.[ch] | tr '\n' ' ')
[ "$found" = "core/config.c " ] || complain "libconfig.h is included by: $found"
for file in core/*.c core/*/*.c plugins/*/*.c; do
	case $file in
	core/peer.c | core/qemu/main.c | plugins/lib/script.c) continue ;;
	esac
	grep -nE '\b(system|popen|execl[pe]?|execv[pe]*|posix_spawnp?)[[:space:]]*\(' "$file" &&
		complain "$file spawns a program"
done
for file in core/*.[ch] core/*/*.[ch] core/*.in core/*.syms plugins/*/*.[ch] tests/*.[ch] \
	tests/*/*.[ch] man/*.pod; do
	head -n 1 "$file" | grep -q 'SPDX-License-Identifier: BSD-2-Clause' ||
		complain "$file has no licence line"
done
exit $fail
