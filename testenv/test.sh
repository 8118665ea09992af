#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-2-Clause
# Runs katamaran's tests: as root on Debian 12, it installs what it needs itself.
#
#	testenv/test.sh          build with warnings as errors, unit, command line, ABI:
#	                         no virtual machine, no privilege beyond installing
#	testenv/test.sh --all    also sanitizers, clang, distcheck, an installed tree, style,
#	                         and the lab's migrations, but those of which others see as much
#	testenv/test.sh --no-lab all of that but the migrations
#
# Closes with "N passed, N failed, N skipped"; exit status 0 if nothing failed.
# Logs stay in ${KATAMARAN_TEST:-/var/tmp/katamaran-test}.
set -euo pipefail

HERE=$(dirname "$(realpath "$0")")
TREE=$(dirname "$HERE")
WORK=${KATAMARAN_TEST:-/var/tmp/katamaran-test}
# shellcheck source=testenv/lib.sh
. "$HERE/lib.sh"

usage() {
	sed -n '5,11s/^# \{0,1\}//p' "$0"
}

# count PASSED FAILED SKIPPED: in a file, for parts run side by side.
count() {
	echo "$@" >>"$WORK/counts"
}

# part NAME COMMAND...: one thing that passes or fails; its output goes to a log.  It runs in
# a shell of its own: bash ignores `set -e` in whatever is part of a condition.
part() {
	local name=$1 start=$SECONDS
	shift
	if "$BASH" "$0" --part "$@" >"$WORK/$name.log" 2>&1; then
		echo "PASS $name ($((SECONDS - start)) s)"
		count 1 0 0
	else
		echo "FAIL $name, see $WORK/$name.log:"
		tail -n 25 "$WORK/$name.log" | sed 's/^/     /'
		count 0 1 0
		return 1
	fi
}

# suite NAME: adds up what automake's harness says in the log of a part.
suite() {
	local log=$WORK/$1.log word n line
	declare -A sum=()
	while read -r _ word n; do
		sum[$word]=$n
	done < <(grep -E '^# (PASS|FAIL|SKIP|ERROR|XPASS): ' "$log" | tr -d ':')
	if [[ ${sum[PASS]-} ]]; then
		count "${sum[PASS]}" $((${sum[FAIL]-0} + ${sum[ERROR]-0} + ${sum[XPASS]-0})) "${sum[SKIP]-0}"
	fi
	while read -r line; do
		echo "     $line"
	done < <(grep -E '^(FAIL|ERROR|SKIP): ' "$log")
}

install_needs() {
	mkdir -p "$LAB"
	need gcc g++ libc6-dev make autoconf automake libtool pkg-config perl \
		libconfig-dev libjson-c-dev libmnl-dev libnftnl-dev libcmocka-dev binutils xz-utils \
		iproute2 iptables tcpdump nftables util-linux procps groff-base qemu-system-x86
}

# The tests see the tree as a packager would: a copy without what earlier builds left.
copy_tree() {
	rm -rf "$WORK"
	mkdir -p "$WORK/src"
	# Files and their folders must not be writable by others: the loader refuses such.
	umask 022
	if git -C "$TREE" rev-parse >/dev/null 2>&1; then
		git -C "$TREE" ls-files -z --cached --others --exclude-standard |
			tar -C "$TREE" --ignore-failed-read --null -T - -cf - |
			tar -C "$WORK/src" -xf -
	else
		tar -C "$TREE" -cf - . | tar -C "$WORK/src" -xf -
	fi
}

bootstrap() {
	cd "$WORK/src"
	[[ -x configure ]] || autoreconf -fi
}

# build NAME CONFIGURE-ARGUMENTS...: out of tree, in $WORK/NAME.
build() {
	local name=$1
	shift
	mkdir -p "$WORK/$name"
	cd "$WORK/$name"
	"$WORK/src/configure" --enable-werror --prefix="$WORK/$name/prefix" "$@"
	make -j"$(nproc)"
}

# build_all NAME CONFIGURE-ARGUMENTS...: with the tests' own programs.
build_all() {
	build "$@"
	check "$1" TESTS=
}

# check NAME [VARIABLE=VALUE...]: for make.
check() {
	make -C "$WORK/$1" -j"$(nproc)" check "${@:2}"
}

# Nothing of what tests/cluster runs is compiled.
check_asan() {
	local tests
	# shellcheck disable=SC2016	# make's own
	tests=$(make -s -C "$WORK/asan" --eval 'show: ; @echo $(TESTS)' show | tr ' ' '\n' |
		grep -v '^tests/cluster/')
	check asan TESTS="${tests//$'\n'/ }"
}

# The example plugin, built against the installed tree as its README says, with a load
# balancer that says yes to everything.
example_plugin() {
	local plugin
	rm -rf "$WORK/vip"
	cp -r "$prefix/share/doc/katamaran/examples/plugin" "$WORK/vip"
	cd "$WORK/vip"
	make CFLAGS='-O2 -Wall -Wextra -Werror'
	make install
	"$prefix/sbin/katamaran" --dump-plugin vip | tee dump
	grep -x 'name=vip' dump
	plugin=$(pkg-config --variable=plugindir katamaran)/cutover-vip.so
	# shellcheck disable=SC2016	# perl's own
	perl -MIO::Socket::UNIX -e '
		my $server = IO::Socket::UNIX->new(Local => "lb.sock", Listen => 1) or die;
		my $client = $server->accept or die;
		$client->autoflush(1);
		while (<$client>) { print; print $client "ok\n" }' >said &
	for _ in {1..100}; do
		[[ ! -S lb.sock ]] || break
		sleep 0.05
	done
	printf '%s\n' open pre_copy on_stop on_stop 'on_resume 0' 'cleanup failed' |
		"$driver" "$plugin" role=source id=a1 peer=192.0.2.2 opt.vip=192.0.2.10 \
			opt.socket="$PWD/lb.sock"
	wait
	printf '%s 192.0.2.10 192.0.2.2 a1\n' prepare move keep | diff said -
	rm "$plugin"
}

# The example of a site's script, run for each hook and as a coprocess.
example_script() {
	local plugin=$prefix/lib/katamaran/plugins/announce-script.so way
	install -m 755 "$prefix/share/doc/katamaran/examples/site-script" "$WORK/site-script"
	for way in false true; do
		set -- opt.path="$WORK/site-script" opt.coprocess=$way nic=tap0,,,192.0.2.10
		rm -f "$WORK/freeze"
		printf '%s\n' open pre_copy on_stop hold 'cleanup done' |
			"$driver" "$plugin" role=destination "$@"
		touch "$WORK/freeze"
		if printf '%s\n' open pre_copy 'cleanup failed' | "$driver" "$plugin" \
			role=destination "$@" opt.settings=freeze="$WORK/freeze" >"$WORK/refused"
		then
			return 1
		fi
		grep '^error: .*migrations are frozen' "$WORK/refused"
	done
}

# The installed tree as users and strangers find it, with pkg-config.
installed() {
	local prefix=$WORK/build/prefix driver=$WORK/build/tests/unit/hook_driver plugin
	make -C "$WORK/build" install
	export PKG_CONFIG_PATH=$prefix/lib/pkgconfig
	# The names as a user types them.
	"$prefix/sbin/katamaran" -version
	"$prefix/sbin/katamaran" --list-plugins
	for plugin in cutover-ipip ipip storage-none shared self announce-self garp \
		storage-script cutover-script announce-script; do
		"$prefix/sbin/katamaran" --dump-plugin "$plugin"
	done
	[[ -s $prefix/lib/systemd/system/katamaran@.service ]]
	bash -n "$prefix/share/bash-completion/completions/katamaran"
	ldd "$prefix/sbin/katamaran" >"$WORK/needed"
	grep libconfig "$WORK/needed"
	grep libjson-c "$WORK/needed"
	ldd "$prefix/lib/katamaran/plugins/cutover-ipip.so" >"$WORK/needed"
	grep libmnl "$WORK/needed"
	example_plugin
	example_script
	# What a site has written stays, whatever is installed over it, or taken away.
	echo '# ours' >>"$prefix/etc/katamaran.conf"
	make -C "$WORK/build" install
	make -C "$WORK/build" uninstall
	tail -n 1 "$prefix/etc/katamaran.conf" | grep -x '# ours'
	rm "$prefix/etc/katamaran.conf"
	make -C "$WORK/build" install uninstall
	# Nothing but empty folders stays.
	[[ -z $(find "$prefix" -type f) ]]
}

style() {
	local files
	cd "$WORK/src"
	mapfile -t files < <(find core plugins tests testenv conf -name '*.[ch]')
	clang-format --dry-run -Werror "${files[@]}"
	mapfile -t files < <(grep -rlE '^#!.*(bash|/sh)' --include='*' . --exclude-dir=build-aux \
		--exclude-dir=autom4te.cache --exclude=configure --exclude='configure~')
	shellcheck -x -P SCRIPTDIR "${files[@]}"
	codespell -L statics,parms,fro core plugins tests testenv man conf README.md NEWS
}

# Not the two that start programs: valgrind 3.19 does not tell a failed exec, and dies of one.
under_valgrind() {
	local test
	cd "$WORK/build"
	for test in tests/unit/test_*; do
		case $test in
		*.* | */test_peer | */test_script) continue ;;
		esac
		echo "== $test"
		./libtool --mode=execute valgrind -q --error-exitcode=99 --leak-check=full "$test"
	done
}

# The lab's scenario "faults" takes it.
with_clang() {
	build clang CC=clang --enable-fault-injection
}

# Checks what it has built from the tarball, so that nothing else has to.
distcheck() {
	cd "$WORK/build"
	make -j"$(nproc)" distcheck AM_DISTCHECK_CONFIGURE_FLAGS=--enable-werror
}

# What the cluster scripts copy into a node runs where there is nothing but a kernel and a shell.
bundle() {
	local root=$WORK/bundle
	rm -rf "$root"
	mkdir -p "$root/bin"
	cp "$(dpkg -L busybox-static | grep -x '.*/bin/busybox')" "$root/bin/sh"
	"$WORK/src/testenv/bundle.sh" "$WORK/bundle.tar.gz"
	tar -C "$root" -xzf "$WORK/bundle.tar.gz"
	chroot "$root" /opt/katamaran/bin/katamaran --list-plugins | tee "$WORK/bundle.out"
	[[ $(wc -l <"$WORK/bundle.out") = "$(find "$root" -path '*/plugins/*.so' | wc -l)" ]]
	if grep -i 'cannot\|refus' "$WORK/bundle.out"; then return 1; fi
	KATAMARAN_QEMU=/bin/sh chroot "$root" /opt/katamaran/bin/katamaran-qemu -c 'echo real' |
		grep -x real
	chroot "$root" /opt/katamaran/bin/ping -V
	[[ -x $root/opt/katamaran/share/ovn-script ]]
	rm -rf "$root"
}

# Each step of a cluster script is missed when it is taken out; Debian's kubectl, which is older
# than the others, takes the manifests.
cluster() {
	unpack "$WORK/kubectl" kubernetes-client
	cd "$WORK/build"
	KATAMARAN=$WORK/build/katamaran KUBECTL=$WORK/kubectl/usr/bin/kubectl \
		"$WORK/src/tests/conf/manifests.sh"
	"$WORK/src/tests/cluster/mutants.sh"
}

installs() {
	make -C "$WORK/build" install
	make -C "$WORK/clang" install
}

# The migrations, with what was built already.  They say themselves how many of them passed.  An
# hour after all began no other is begun, and 18 minutes later none runs any more.
lab() {
	local line
	export ENOUGH_S=$((3600 - SECONDS))
	if "$BASH" "$0" --part installs >"$WORK/installs.log" 2>&1; then
		export KATAMARAN=$WORK/build/prefix KATAMARAN_FAULTY=$WORK/clang
	fi
	"$HERE/lab.sh" --jobs "$(nproc)" --logs "$WORK/lab" --core 2>&1 |
		tee "$WORK/lab.log" || true
	line=$(grep -E '^[0-9]+ passed, [0-9]+ failed' "$WORK/lab.log" | tail -n 1)
	if [[ $line =~ ^([0-9]+)\ passed,\ ([0-9]+)\ failed(,\ ([0-9]+)\ skipped)? ]]; then
		count "${BASH_REMATCH[1]}" "${BASH_REMATCH[2]}" "${BASH_REMATCH[4]:-0}"
		((BASH_REMATCH[1] > 0)) || { echo "FAIL lab: no scenario passed"; count 0 1 0; }
	else
		echo "FAIL lab: it ended without its closing line"
		count 0 1 0
	fi
}

closing() {
	local p f s passed=0 failed=0 skipped=0
	while read -r p f s; do
		passed=$((passed + p)) failed=$((failed + f)) skipped=$((skipped + s))
	done <"$WORK/counts"
	printf '%d passed, %d failed, %d skipped\n' "$passed" "$failed" "$skipped"
	((failed == 0))
}

# What does not need each other, on all processors.  Whatever installs packages did so before.
side_by_side() {
	local pid chains=()
	{
		if part asan build_all asan --enable-asan; then
			part check-asan check_asan || true
			suite check-asan
		fi
		part clang with_clang || true
		part cluster cluster || true
	} &
	chains+=($!)
	{
		part style style || true
		part installed installed || true
		part valgrind under_valgrind || true
		part distcheck distcheck || true
		suite distcheck
		part bundle bundle || true
	} &
	chains+=($!)
	for pid in "${chains[@]}"; do
		wait "$pid" || { echo "FAIL a part ended the others"; count 0 1 0; }
	done
}

main() {
	local all=0 migrations=0
	case ${1-} in
	--all) all=1 migrations=1 ;;
	--no-lab) all=1 ;;
	-h | --help) usage && return ;;
	'') ;;
	*) usage >&2 && return 2 ;;
	esac
	install_needs
	copy_tree
	if part bootstrap bootstrap && part build build_all build && ((!all)); then
		part check check build || true
		suite check
	fi
	if ((all)); then
		need shellcheck clang-format codespell clang libasan8 libubsan1 valgrind \
			busybox-static iputils-ping
		side_by_side
	fi
	((!migrations)) || lab
	closing
}

if [[ ${1-} = --part ]]; then
	shift
	"$@"
else
	main "$@"
fi
