#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
# Packs katamaran for nodes that have none of its libraries, or older ones: everything it
# needs, the C library included, below /opt/katamaran.
#
#	bundle.sh FILE.tar.gz
#
# Inside: bin/katamaran, bin/katamaran-qemu and bin/ping (scripts that start the programs with
# the loader that came with them), sbin/, lib/, share/ovn-script, node.sh.  KATAMARAN=PREFIX takes an installed katamaran instead
# of building this tree.
set -euo pipefail

HERE=$(dirname "$(realpath "$0")")
TREE=$(dirname "$HERE")
ROOT=/opt/katamaran

[[ $# = 1 && $1 != -* ]] || { sed -n '6s/^#\t/usage: /p' "$0" >&2; exit 2; }
out=$(realpath -m "$1")
stage=$(mktemp -d)
trap 'rm -rf "$stage"' EXIT
umask 022
top=$stage/root$ROOT
mkdir -p "$top"/{bin,sbin,lib/katamaran}

if [[ ${KATAMARAN-} ]]; then
	prefix=$KATAMARAN
else
	mkdir "$stage/src" "$stage/build"
	tar -C "$TREE" --exclude=./.git -cf - . | tar -C "$stage/src" -xf -
	[[ -x $stage/src/configure ]] || (cd "$stage/src" && autoreconf -fi)
	(cd "$stage/build" && "$stage/src/configure" --prefix="$ROOT" &&
		make -j"$(nproc)" && make install DESTDIR="$stage/made")
	prefix=$stage/made$ROOT
fi
install -m 755 "$prefix"/sbin/katamaran{,-qemu} "$top/sbin"
mkdir "$top/lib/katamaran/plugins"
install -m 644 "$prefix"/lib/katamaran/plugins/*.so "$top/lib/katamaran/plugins"
ping=$(command -v ping) || { echo "bundle.sh: there is no ping (iputils-ping)" >&2; exit 1; }
install -m 755 "$ping" "$top/sbin/ping"

# libraries FILE...: what they are linked with, as paths, the loader among them.
libraries() {
	ldd "$@" | sed -nE 's/.*=> (\/[^ ]+) .*/\1/p; s/^[[:space:]]+(\/[^ ]+ld-linux[^ ]+) .*/\1/p' |
		sort -u
}
loader=''
while read -r library; do
	cp -L "$library" "$top/lib/"
	[[ $library != */ld-linux* ]] || loader=${library##*/}
done < <(libraries "$top"/sbin/* "$top"/lib/katamaran/plugins/*.so)
[[ $loader ]] || { echo "bundle.sh: katamaran is linked with no loader" >&2; exit 1; }

# starter NAME [WORD...]
starter() {
	local name=$1
	shift
	cat >"$top/bin/$name" <<-END
		#!/bin/sh
		exec $ROOT/lib/$loader --library-path $ROOT/lib $ROOT/sbin/$name${*:+ $*} "\$@"
	END
	chmod 755 "$top/bin/$name"
}
starter katamaran -plugin-dir "$ROOT/lib/katamaran/plugins"
starter katamaran-qemu
# The folder of settings is this node's own, wherever the program was configured to look.
# shellcheck disable=SC2016	# the starter expands it
sed -i '2i: "${KATAMARAN_QEMU:=/etc/katamaran/qemu}"\nexport KATAMARAN_QEMU' "$top/bin/katamaran-qemu"
starter ping
install -m 755 "$HERE/cluster-node.sh" "$top/node.sh"
install -m 755 -D "$prefix/share/doc/katamaran/examples/ovn-script" "$top/share/ovn-script"
mkdir -p "$(dirname "$out")"
tar -C "$stage/root" --owner=0 --group=0 --sort=name -czf "$out" opt
