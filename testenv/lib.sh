# shellcheck shell=bash
# SPDX-License-Identifier: BSD-2-Clause
# The lab: what lab.sh and demo.sh share.  From top to bottom: the work folder and what is
# built in it (guest, probe, katamaran); the places a scenario can run in; the functions a
# scenario is written with.  What the network is like stands in topology.sh.

VERBOSE=${VERBOSE-1}	# katamaran -v
# So many times as long as on a quiet machine a thing may take before it is said to hang: others
# may have taken most of the processors.  It holds for the waits on katamaran, too: an end that
# ended after 15 s, and not within 5, is not noticed, one that waited for its deadline of 1800 s is.
PATIENCE=3
HERE=$(dirname "$(realpath "${BASH_SOURCE[0]}")")
LAB=${KATAMARAN_LAB:-/var/tmp/katamaran-lab}
PATH=${LAB_QEMU:+$LAB_QEMU:}$PATH
# shellcheck source=testenv/topology.sh
. "$HERE/topology.sh"

note() { printf '%s\n' "lab: $*" >&2; }
die() { note "$*"; exit 1; }

# ---- what the lab needs ------------------------------------------------------------------

# need PACKAGE...: installs what is missing.
need() {
	local package missing=()
	for package; do
		[[ $(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null) = installed ]] ||
			missing+=("$package")
	done
	((${#missing[@]})) || return 0
	note "installing ${missing[*]}"
	export DEBIAN_FRONTEND=noninteractive
	apt-get install -qq -y --no-install-recommends "${missing[@]}" >"$LAB/apt.log" 2>&1 ||
		{ apt-get update -qq &&
			apt-get install -qq -y --no-install-recommends "${missing[@]}"; } \
			>"$LAB/apt.log" 2>&1 || die "apt-get install ${missing[*]} failed, see $LAB/apt.log"
}

# The guest's kernel comes out of a Debian package that is unpacked and never installed, so
# that nothing changes in how this machine boots.
guest_kernel() {
	local dir=$LAB/guest package
	[[ -s $dir/vmlinux ]] && return
	need lz4 zstd xz-utils
	rm -rf "$dir"
	mkdir -p "$dir/deb"
	package=$(guest_package)
	[[ $package ]] || { apt-get update -qq >&2 && package=$(guest_package); }
	[[ $package ]] || die "apt knows no linux-image-*-cloud-amd64 for the guest"
	note "unpacking the guest's kernel from $package"
	(cd "$dir" && apt-get download -qq "$package" 2>"$LAB/apt.log") ||
		die "apt-get download $package failed, see $LAB/apt.log"
	dpkg-deb -x "$dir"/linux-image-*.deb "$dir/deb"
	uncompress_kernel "$dir"/deb/boot/vmlinuz-* >"$dir/vmlinux.new" ||
		die "no known compression in $package"
	rm -f "$dir"/linux-image-*.deb
	mv "$dir/vmlinux.new" "$dir/vmlinux"
}

kernel_of_guest() {
	basename "$LAB"/guest/deb/boot/vmlinuz-* | sed 's/vmlinuz-//'
}

# unpack DIR PACKAGE...: what packages hold, below DIR; nothing is installed.
unpack() {
	local dir=$1 file
	shift
	note "unpacking $*"
	rm -rf "$dir"
	mkdir -p "$dir/deb"
	(cd "$dir/deb" && { apt-get download -qq "$@" ||
		{ apt-get update -qq && apt-get download -qq "$@"; }; }) >"$LAB/apt.log" 2>&1 ||
		die "apt-get download $* failed, see $LAB/apt.log"
	for file in "$dir"/deb/*.deb; do
		dpkg-deb -x "$file" "$dir"
	done
}

# For fetch(); unpacked and not installed: the package would start a server on this machine.
fetch_sshd() {
	need openssh-client
	[[ -x $LAB/sshd/usr/sbin/sshd ]] || unpack "$LAB/sshd" openssh-server libwrap0
}

guest_package() {
	apt-cache depends linux-image-cloud-amd64 2>/dev/null |
		sed -n 's/.*Depends: \(linux-image-.*-cloud-amd64\)$/\1/p' | head -n 1
}

# QEMU boots an unpacked kernel three times as fast under emulation.
uncompress_kernel() {
	local magic tool at
	while read -r magic tool; do
		# shellcheck disable=SC2013	# numbers, one a line
		for at in $(LC_ALL=C grep -abPo "$magic" "$1" | cut -d: -f1); do
			# The tools complain about what follows the stream, so judge the result.
			tail -c +$((at + 1)) "$1" | $tool 2>/dev/null >"$LAB/guest/try" || true
			[[ $(head -c 4 "$LAB/guest/try" | tr -d '\0') = $'\x7fELF' ]] || continue
			cat "$LAB/guest/try"
			rm "$LAB/guest/try"
			return 0
		done
	done <<-'END'
		\x02\x21\x4c\x18 lz4 -dc
		\x28\xb5\x2f\xfd zstd -dc
		\xfd7zXZ\x00 xz -dc
		\x1f\x8b\x08 gzip -dc
	END
	return 1
}

# made_of FILE SOURCE...: FILE was made of just these sources.  By their contents: several
# trees may share the work folder, and which is newer says nothing.
made_of() {
	[[ -s $1 && $(cat "$1.of" 2>/dev/null) = "$(cat "${@:2}" | sha256sum)" ]]
}

mark_made_of() {
	cat "${@:2}" | sha256sum >"$1.of"
}

guest_initrd() {
	local dir=$LAB/guest root=$LAB/guest/root module file
	made_of "$dir/initrd" "$HERE/guest-init" "$HERE/lib.sh" "$LAB/disk" "$LAB/probe" && return
	need cpio
	rm -rf "$root"
	mkdir -p "$root"/{bin,proc,sys,dev}
	cp "$(dpkg -L busybox-static | grep -x '.*/bin/busybox')" "$root/bin/busybox"
	ln -s busybox "$root/bin/sh"
	cp "$LAB/disk" "$LAB/probe" "$root/bin"
	cp "$HERE/guest-init" "$root/init"
	chmod +x "$root/init"
	# In the order in which they depend on each other; a kernel may have some built in.
	for module in virtio_ring virtio failover net_failover virtio_net virtio_mmio \
		virtio_pci_legacy_dev virtio_pci_modern_dev virtio_pci virtio_blk; do
		file=$(find "$dir/deb" -name "$module.ko*" | head -n 1)
		[[ $file ]] || continue
		cp "$file" "$root/"
		echo "${file##*/}" >>"$root/modules"
	done
	(cd "$root" && find . | cpio -o -H newc --quiet) >"$dir/initrd.new"
	mv "$dir/initrd.new" "$dir/initrd"
	mark_made_of "$dir/initrd" "$HERE/guest-init" "$HERE/lib.sh" "$LAB/disk" "$LAB/probe"
}

# KVM is there on many machines that cannot use it (nested, without the features that this
# kernel asks for), so the guest is asked.  Emulation does everywhere.
guest_accel() {
	local dir=$LAB/guest pid
	[[ ! -s $dir/accel ]] || return 0
	echo tcg,thread=single,tb-size=32 >"$dir/accel.new"
	if [[ -w /dev/kvm ]]; then
		rm -f "$dir/console"
		# shellcheck disable=SC2046
		timeout 10 qemu-system-x86_64 -accel kvm $(guest_machine) \
			-serial "file:$dir/console" -append "console=ttyS0 panic=-1 quiet" \
			>"$LAB/kvm.log" 2>&1 &
		pid=$!
		while kill -0 "$pid" 2>/dev/null; do
			! grep -qs '^alive ' "$dir/console" || { echo kvm >"$dir/accel.new"; break; }
			sleep 0.2
		done
		kill "$pid" 2>/dev/null || true
		wait "$pid" || true
	fi
	mv "$dir/accel.new" "$dir/accel"
	note "guests run by $(cat "$dir/accel")"
}

# What all guests have in common; the odd size of RAM keeps QEMU 7.2 out of a path that, under
# TCG, forgets dirty pages.
guest_machine() {
	echo -M "${1:-microvm}" -cpu qemu64 -smp "${queues-1}" -m 114696K -nodefaults -display none \
		-kernel "${RUN:-$LAB/guest}/vmlinux" -initrd "${RUN:-$LAB/guest}/initrd"
}

# built NAME SOURCE...: a program of the sources in the work folder, without libraries: the
# guest has none.
built() {
	local program=$LAB/$1 sources=("${@:2}")
	made_of "$program" "${sources[@]}" "$HERE"/*.h && return
	need gcc libc6-dev
	cc -std=gnu11 -O2 -Wall -Wextra -Werror -static -o "$program.new" "${sources[@]}" ||
		die "$1 does not build"
	mv "$program.new" "$program"
	mark_made_of "$program" "${sources[@]}" "$HERE"/*.h
}

# katamaran is built from a copy of the tree, so that the tree stays as it is; KATAMARAN=DIR
# takes what is installed below DIR instead.
katamaran_build() {
	local src=$LAB/src build=$LAB/build tree state
	PREFIX=${KATAMARAN:-$LAB/prefix}
	[[ ${KATAMARAN-} ]] && { katamaran_there; return; }
	tree=$(dirname "$HERE")
	[[ -e $tree/configure.ac ]] || return 1
	state=$(cd "$tree" && find . -path ./.git -prune -o -path ./testenv -prune -o -type f -print0 |
		sort -z | xargs -0 sha256sum | sha256sum)
	[[ -x $PREFIX/sbin/katamaran && $(cat "$LAB/built" 2>/dev/null) = "$state" ]] && return
	note "building katamaran (log: $LAB/build.log)"
	need gcc libc6-dev make autoconf automake libtool pkg-config libconfig-dev libjson-c-dev \
		libmnl-dev libnftnl-dev
	# Not PREFIX itself: it is where another run may have its copy mounted.
	mkdir -p "$build" "$PREFIX"
	rm -rf "$src" "$LAB/built" "${PREFIX:?}"/*
	mkdir "$src"
	(
		tar -C "$tree" --exclude=./.git -cf - . | tar -C "$src" -xf - && cd "$src" &&
			{ [[ -x configure && ! configure.ac -nt configure ]] || autoreconf -fi; } &&
			cd "$build" && "$src/configure" --prefix="$PREFIX" &&
			make -j"$(nproc)" && make install
	) >"$LAB/build.log" 2>&1 || {
		tail -n 20 "$LAB/build.log" >&2
		die "katamaran does not build, see $LAB/build.log"
	}
	katamaran_there && echo "$state" >"$LAB/built"
}

katamaran_there() {
	[[ -x $PREFIX/sbin/katamaran ]]
}

# prepare SCENARIO...: what they use, made once and kept; only one lab.sh at a time makes it.
prepare() {
	local name
	[[ $EUID = 0 ]] || die "must be run as root"
	mkdir -p "$LAB/logs"
	exec {LOCK}>"$LAB/lock"
	flock "$LOCK"
	need iproute2 util-linux qemu-system-x86 busybox-static
	built probe "$HERE"/{probe,flow,echo,stream}.c
	built disk "$HERE/disk.c"
	guest_kernel
	guest_initrd
	guest_accel
	PREFIX=''
	for name; do
		load "$name"
		[[ $wants != katamaran ]] || katamaran_build || PREFIX=''
		fetch
	done
	own_copy
	tidy
	flock -u "$LOCK"
}

# RUN is what this run uses, as links and copies: meanwhile another run may build anew, and an
# editor or `git pull` change the scripts.
own_copy() {
	export RUN=$LAB/run-$$
	rm -rf "$RUN"
	mkdir "$RUN"
	ln "$LAB/guest/vmlinux" "$LAB/guest/initrd" "$LAB/probe" "$LAB/disk" "$RUN"
	cp -r "$HERE" "$RUN/testenv"
	HERE=$RUN/testenv
	[[ ! $PREFIX || ${KATAMARAN-} ]] || cp -al "$PREFIX" "$RUN/prefix"
}

# What earlier runs left in the work folder: what those that were killed used, and all logs
# but the last 30.
tidy() {
	local old
	for old in "$LAB"/run-*; do
		[[ ! -e $old || -d /proc/${old##*-} ]] || rm -rf "$old"
	done
	find "$LAB/logs" -mindepth 1 -maxdepth 1 -printf '%T@ %p\n' 2>/dev/null | sort -rn |
		tail -n +31 | cut -d' ' -f2- | xargs -r -d '\n' rm -rf
}

declare -A JOBS=()	# the shells that run scenarios side by side, by pid: which

# For the trap on EXIT of lab.sh and demo.sh.
leave() {
	((!${#JOBS[@]})) || { kill "${!JOBS[@]}" && wait "${!JOBS[@]}"; } 2>/dev/null || true
	end_scenario
	[[ ! ${RUN-} ]] || rm -rf "$RUN"
}

end_scenario() {
	[[ ! ${RUNNING-} ]] || { kill "$RUNNING" && wait "$RUNNING"; } 2>/dev/null || true
}

# ---- places ------------------------------------------------------------------------------

# The kernel of this machine has MODULE now.  Never by trying: the kernel would load it, and
# ipip then puts a tunl0 into every network namespace of the host.
host_has() {
	[[ -d /sys/module/$1 ]] || grep -qsw "^$1" /proc/modules ||
		grep -q "/$1\.ko" "/lib/modules/$(uname -r)/modules.builtin" 2>/dev/null ||
		{ [[ $1 = ipip ]] && config_has NET_IPIP; } || config_has "NET_${1^^}" ||
		config_has "${1^^}"
}

config_has() {
	{ zcat /proc/config.gz || cat "/boot/config-$(uname -r)"; } 2>/dev/null | grep -x "CONFIG_$1=y" >/dev/null
}

# The modules, each after those it depends on, as paths; false if one does not exist.
uml_modules() {
	local dir module line path seen=' '
	dir=$(echo /usr/lib/uml/modules/*)
	for module; do
		grep -q "/$module\.ko" "$dir/modules.builtin" && continue
		line=$(grep "/$module\.ko:" "$dir/modules.dep") || { echo "$module"; return 1; }
		for path in $(tr ' ' '\n' <<<"${line/:/}" | tac); do
			[[ $seen = *" $path "* ]] && continue
			seen+="$path "
			echo "$dir/$path"
		done
	done
}

# place_lacks PLACE: what the scenario needs and the place has not.
place_lacks() {
	local module lack=''
	if [[ $1 = host ]]; then
		for module in $needs; do
			host_has "$module" || lack+=" $module"
		done
		echo "$lack"
	else
		need user-mode-linux
		# shellcheck disable=SC2086
		module=$(uml_modules $UML_BASE $needs) || echo " ${module##*$'\n'}"
	fi
}

UML_BASE="tun veth bridge af_packet ipv6"
# shellcheck disable=SC2034	# for scenarios: what the redirect of that name needs
NFTABLES="nf_tables nf_tables_netdev nft_fwd_netdev"

# Sets place to the first that will do, or reason if there is none.
choose_place() {
	local candidate lack all=''
	for candidate in ${1:-$places}; do
		lack=$(place_lacks "$candidate")
		[[ $lack ]] || { place=$candidate; return 0; }
		all+="$candidate has no$lack; "
	done
	reason=${all%; }
	return 1
}

# ---- one scenario, outside ---------------------------------------------------------------

scenarios() { (cd "$HERE/scenarios" && ls -- *.sh) | sed 's/\.sh$//'; }

# Reads scenarios/NAME.sh: what it says of itself, and scenario(), which does it.
load() {
	# shellcheck disable=SC2034	# for lab.sh
	needs='' places='host uml2 uml' limit=300 wants='' alone='' spare=''
	guest_may_drop=''	# what its probe has no time to read, and is told apart from losses
	# shellcheck disable=SC2034	# for topology.sh
	machine=microvm form=route cni=route underlay=4 queues=1 settings=() kind=udp
	# shellcheck disable=SC2034
	storage='plugin = "none";' disks=() stop_ms=50
	# shellcheck disable=SC2034
	cards=("tap0 $GUEST_MAC $GUEST_IP") cards2=()
	program=(qemu-system-x86_64)
	fetch() { :; }		# what else it needs, outside of the namespaces
	node_conf() { :; }	# what else it tells node.sh on the host, see kernel() there
	[[ -e $HERE/scenarios/$1.sh ]] || die "no scenario '$1' (lab.sh --list)"
	# shellcheck source=/dev/null
	. "$HERE/scenarios/$1.sh"
	limit=$((limit * PATIENCE))
}

# The line between two User-Mode Linuxes is a pair of datagram sockets, which bash cannot make
# and perl-base, which no Debian is without, can.  It must never be full: UML's driver then
# wakes its queue too early and drops packets.  So there is room for every TCP window.
# shellcheck disable=SC2016
WIRE_PAIR='$^F = 99;
	open(my $q, ">", "/proc/sys/net/unix/max_dgram_qlen") or die; print $q 65536; close $q;
	socketpair(my $a, my $b, AF_UNIX, SOCK_DGRAM, 0) or die "socketpair: $!";
	my $SO_SNDBUFFORCE = 32;
	setsockopt($_, SOL_SOCKET, $SO_SNDBUFFORCE, pack("i", 256 << 20)) or die for ($a, $b);
	$ENV{WIRE} = fileno($a) . " " . fileno($b); exec @ARGV'

# run_scenario NAME PLACE LOGS [SECONDS]: in namespaces that die with it, and that after so long
# at the latest.  Leaves LOGS/result (PASS, FAIL or SKIP and a line of text) and LOGS/facts
# (key=value), and sets verdict, place, text.
run_scenario() {
	local name=$1 logs=$3 most=${4-} reason=''
	place=''
	mkdir -p "$logs"
	load "$name"
	if [[ $wants = katamaran && ! $PREFIX ]]; then
		echo "SKIP there is no katamaran to build yet" >"$logs/result"
	elif ! choose_place "$2"; then
		echo "SKIP $reason" >"$logs/result"
	else
		[[ ! $most || $most -ge $limit ]] || limit=$most
		[[ ${KEEP-} ]] && limit=86400
		echo "FAIL killed before its end" >"$logs/result"
		# A session of its own, or a Ctrl-C would reach the inside before our trap; and
		# should we be killed, the inside is told.
		setsid setpriv --pdeathsig TERM timeout -k 15 "$limit" \
			unshare -m -n -p -f --mount-proc --kill-child \
			perl -MSocket -e "$WIRE_PAIR" bash "$HERE/lab.sh" --inside \
			"$name" "$place" "$logs" <&0 3>&2 >"$logs/driver.log" 2>&1 &
		RUNNING=$!
		wait "$RUNNING" || true
		RUNNING=''
	fi
	# shellcheck disable=SC2034	# for the caller
	read -r verdict text <"$logs/result"
}

# ---- one scenario, inside ----------------------------------------------------------------

declare -A TO FROM	# a node's agent: the descriptors to write to and to read from
declare -A PORT SERIAL	# a node's QEMU: the port of the lab's own monitor, the console's file
declare -A R		# the facts

# inside NAME PLACE LOGS: pid 1 of the namespaces.
inside() {
	NAME=$1 PLACE=$2 LOGS=$3 VERDICT='' WHY=''
	PROBE=$RUN/probe PREFIX=${KATAMARAN:-$LAB/prefix}
	load "$NAME"
	set -E
	trap why ERR
	trap 'fail "ended after $limit s, or told to"' TERM
	trap finish EXIT
	mount --make-rprivate /
	mount -t tmpfs run /run
	mount -t tmpfs -o size=90% shm /dev/shm		# the memory of User-Mode Linux
	[[ ! -d $RUN/prefix ]] || mount --bind "$RUN/prefix" "$PREFIX"
	place_up
	network
	capture
	scenario
	VERDICT=PASS
}

# The line of the scenario in which a command has failed.
why() {
	local i line
	[[ ! $WHY ]] || return 0
	for i in "${!BASH_SOURCE[@]}"; do
		[[ ${BASH_SOURCE[i]} = */scenarios/* ]] || continue
		line=${BASH_LINENO[i - 1]}
		WHY="line $line: $(sed -n "${line}s/^[[:space:]]*//p" "${BASH_SOURCE[i]}")"
		return 0
	done
	WHY="line ${BASH_LINENO[0]} of the lab: $BASH_COMMAND"
}

# fail TEXT: the scenario has failed, and that is why.
fail() {
	WHY=$*
	exit 1
}

# fact NAME VALUE: for the line that lab.sh prints and for demo.sh.
fact() {
	R[$1]=$2
	echo "$1=$2" >>"$LOGS/facts"
}

finish() {
	trap - ERR EXIT TERM
	set +eE
	local node text=''
	[[ $VERDICT ]] || note "FAILED: $WHY"
	[[ ${KEEP-} ]] && prompt
	# tcpdump writes its buffer out when it is told to end.
	[[ ${CAPTURE-} ]] && for node in "${!TO[@]}"; do
		alive && on "$node" sign INT capture && wait_for 5 on "$node" ended capture
	done
	for node in "${!TO[@]}"; do
		alive && on "$node" collect
	done
	[[ ${R[sent]-} ]] && text="sent ${R[sent]} received ${R[received]} lost ${R[lost]}"
	[[ ${R[sent]-} ]] && text+=" duplicated ${R[duplicated]} reordered ${R[reordered]}"
	[[ ${R[sent]-} ]] && text+=" gap ${R[gap_ms]} ms"
	[[ ${R[downtime]-} ]] && text+=" downtime ${R[downtime]} ms"
	[[ ${R[note]-} ]] && text+="${text:+; }${R[note]}"
	if [[ $VERDICT ]]; then
		echo "PASS $text"
	else
		echo "FAIL ${WHY:-for no reason known}${text:+ ($text)}"
	fi >"$LOGS/result"
}

# --capture: what passes on every device of client and nodes, in NODE/capture.pcap.
capture() {
	local node
	[[ ${CAPTURE-} ]] || return 0
	for node in client fabric node1 node2; do
		spawn "$node" capture tcpdump -Z root -n -i any -s 128 -B 4096 \
			-w /run/lab/capture.pcap "not tcp"
	done
}

# --keep: the lab stays up for a look around.
prompt() {
	local node words
	echo "lab: $NAME in $PLACE: ${VERDICT:-FAIL $WHY}" >&3
	echo "lab: type NODE COMMAND, where NODE is one of ${!TO[*]}; Ctrl-D ends" >&3
	while printf 'lab> ' >&3 && read -r node words; do
		[[ ${TO[${node:-none}]-} ]] && on "$node" eval "$words" >&3 2>&3
	done
}

# ---- the places, from inside -------------------------------------------------------------

# What every kernel is told, see kernel() in node.sh.
common_conf() {
	printf 'OUT=%q\n' "$LOGS"
	printf 'export LAB_QEMU=%q\n' "${LAB_QEMU-}"
}

place_up() {
	local node wire to from
	mkdir -p /run/lab /run/uml
	for node in client fabric node1 node2; do
		mkfifo "/run/lab/$node.in" "/run/lab/$node.out"
		exec {to}<>"/run/lab/$node.in" {from}<>"/run/lab/$node.out"
		TO[$node]=$to FROM[$node]=$from
	done
	# shellcheck disable=SC2153	# from the environment, see WIRE_PAIR
	read -r -a wire <<<"$WIRE"
	case $PLACE in
	host)
		{
			echo "NODES=(client fabric node1 node2) WIRE= FIFOS=/run/lab"
			common_conf
			node_conf
		} >/run/lab/conf
		bash "$HERE/node.sh" kernel /run/lab/conf >"$LOGS/kernel.log" 2>&1 &
		KERNELS=("$!")
		;;
	uml)
		uml all '' '' client fabric node1 node2
		;;
	uml2)
		uml a fabric "${wire[0]}" client fabric node1
		uml b node2 "${wire[1]}" node2
		;;
	esac
	for node in "${!TO[@]}"; do
		local line='' tries=0
		until [[ $line = ready ]]; do
			read -r -t 1 -u "${FROM[$node]}" line || tries=$((tries + 1))
			if ((tries > 60 * PATIENCE)) || ! alive; then
				fail "$node did not come up, see uml-*.log or kernel.log"
			fi
		done
	done
}

alive() {
	kill -0 "${KERNELS[@]}" 2>/dev/null
}

# uml NAME NODE_OF_THE_WIRE FD NODE...: starts a User-Mode Linux with these nodes.
uml() {
	local name=$1 end=$2 fd=$3 node n=0 words
	shift 3
	# shellcheck disable=SC2054	# the commas are UML's
	words=("mem=1024M" root=/dev/root rootfstype=hostfs rootflags=/ ro quiet
		"init=$HERE/node.sh" "lab=$LOGS/uml-$name.conf" "umid=$name" uml_dir=/run/uml/
		con=null con0=fd:0,fd:1)
	for node; do
		n=$((n + 1))
		words+=("con$n=fd:${TO[$node]},fd:${FROM[$node]}")
	done
	[[ $fd ]] && words+=("vec0:transport=fd,fd=$fd,depth=128,gro=0")
	{
		echo "NODES=($*) WIRE=$end TTY=1"
		common_conf
		# shellcheck disable=SC2086
		printf 'MODULES=(%s)\n' "$(uml_modules $UML_BASE $needs | tr '\n' ' ')"
	} >"$LOGS/uml-$name.conf"
	linux.uml "${words[@]}" </dev/null >"$LOGS/uml-$name.log" 2>&1 &
	KERNELS+=("$!")
}

# ---- what scenarios are written with -----------------------------------------------------

# on NODE COMMAND...: its output is ours, its exit code too.  Functions of the agent (node.sh)
# are commands; `on NODE eval 'TEXT'` runs a line of shell without a process of its own.  One
# at a time: never in the background and never as <(on ...), which does not wait for its end.
on() {
	local node=$1 line part='' silence=0
	shift
	printf -v line '%q ' "$@"
	printf '%s\n' "$line" >&"${TO[$node]}"
	while :; do
		if ! IFS= read -r -t 2 -u "${FROM[$node]}" line; then
			part+=$line
			silence=$((silence + 1))
			((silence < 30 * PATIENCE)) && alive && continue
			WHY="$node does not answer: $*"
			unset "TO[$node]"
			return 1
		fi
		line=$part$line part=''
		case $line in
		*$'\001'*)
			printf '%s' "${line%$'\001'*}"
			return "${line##*$'\001'}"
			;;
		$'\002'*) printf '%s: %s\n' "$node" "${line#?}" >&2 ;;
		*) printf '%s\n' "$line" ;;
		esac
	done
}

# ip_batch NODE: the commands for ip come on standard input, the price is one process.
ip_batch() {
	on "$1" ip_batch "$(cat)"
}

# spawn NODE NAME COMMAND...: in the background; then `on NODE ended NAME` and so on.
spawn() {
	local node=$1
	shift
	on "$node" spawn "$@"
}

# wait_for SECONDS COMMAND...: until COMMAND succeeds; the seconds are those of a quiet machine.
wait_for() {
	local seconds=$(($1 * PATIENCE)) end
	end=$((${EPOCHREALTIME/./} + seconds * 1000000))
	shift
	until "$@" >/dev/null 2>&1; do
		((${EPOCHREALTIME/./} < end)) || { WHY="not within $seconds s: $*"; return 1; }
		sleep 0.1
	done
}

# qmp NODE JSON: to the monitor that the lab has in that node's QEMU.
qmp() {
	on "${1%/*}" qmp "${PORT[$1]}" "$2"
}

# field NAME JSON: the first value of that name, for numbers and plain words.
field() {
	[[ $2 =~ \"$1\":\ \"?([^\",}]*) ]] && echo "${BASH_REMATCH[1]}"
}

# A guest, and katamaran for it, is told by the node where it is: node1; the second guest
# there by node1/2.  What belongs to one guest wherever it is has the index ${GUEST#node?}.
declare -A QEMU BEAT BOOT CONF
declare -A GIVEN	# how katamaran is told which guest, if not by its monitor
declare -A DROPS	# of a node's lines, before the traffic
COUNTED=()		# the facts that the last traffic has left
PROBES=() ENDED=()	# by name: those that run, and those of the traffic that has ended

# guest GUEST [QEMU ARGUMENT...]: starts a QEMU on that guest's taps.
guest() {
	local node=${1%/*} who=$1 n khz append='' options=() launch=() tap mac ips ip fd=50
	local accel=tcg,thread=single,tb-size=32
	shift
	GUESTS=$((${GUESTS:-0} + 1)) n=$GUESTS
	PORT[$who]=$((4500 + n)) SERIAL[$who]=/run/lab/serial-$n QEMU[$who]=qemu-$n
	while read -r tap mac ips; do
		[[ $tap ]] || continue	# a guest without a card
		for ip in $ips; do
			append+=" card=$mac,$ip/$(prefix "$ip"),$(gateway "$ip")"
		done
		options+=(-device "$(nic_model),netdev=$tap,mac=$mac$( ((queues == 1)) || echo ,mq=on)" -netdev)
		if [[ $form = pod || $form = kata ]]; then
			launch=(in_pods_tap "$tap" "$fd")
			options+=("tap,id=$tap,fd=$fd,vhost=off")
		else
			options+=("tap,id=$tap,ifname=$tap,queues=$queues,script=no,downscript=no,vhost=off")
		fi
	done <<<"$(cards_of "$who")"
	if [[ $form = kata ]]; then
		on "$node" mkdir -p "/run/vc/vm/$(sandbox_of "$who")"
		options+=(-name "sandbox-$(sandbox_of "$who"),debug-threads=on")
	fi
	khz=$(sed -n 's/^cpu MHz.*: *\([0-9]*\).*/\1/p' /proc/cpuinfo | head -n 1)
	[[ $PLACE != host ]] || accel=$(<"$LAB/guest/accel")
	# Without tsc_early_khz the guest's kernel can hang while it measures its clock.
	# shellcheck disable=SC2046
	spawn "$node" "qemu-$n" "${launch[@]}" \
		"${program[@]}" -accel "$accel" $(guest_machine "$machine") \
		-serial "file:${SERIAL[$who]}" \
		-qmp "unix:$(socket_of "$who"),server=on,wait=off" \
		-qmp "tcp:127.0.0.1:${PORT[$who]},server=on,wait=off" \
		-append "console=ttyS0 \
panic=-1 quiet tsc_early_khz=${khz:-2500}000 mitigations=off init_on_alloc=0 audit=0 \
apparmor=0 random.trust_cpu=on$append" "${options[@]}" "${disks[@]}" "$@"
}

# The sandbox that the guest is for Kata Containers, on each node another one.
sandbox_of() {
	case $1 in
	node1*) echo "7f3a9c01d5e2${1:6}" ;;
	*) echo "c0ffee00aa11${1:6}" ;;
	esac
}

nic_model() { [[ $machine = q35 ]] && echo virtio-net-pci,romfile= || echo virtio-net-device; }

# The monitor that katamaran has.
socket_of() {
	case $form.$1 in
	kata.*) echo "/run/vc/vm/$(sandbox_of "$1")/extra-monitor.sock" ;;
	*/2) echo /run/lab/qmp-2.sock ;;
	*) echo /run/lab/qmp.sock ;;
	esac
}

guest_quit() {
	on "${1%/*}" sign KILL "${QEMU[$1]}"
	wait_for 30 on "${1%/*}" ended "${QEMU[$1]}"
}

# The client gets an answer from each address, wherever the guest is.
answers() {
	local ip
	for ip in "${TARGETS[@]}"; do
		on client "$PROBE" -p "$kind" -e -c 1 -w 0.5 "$ip" || return 1
	done
}

guest_up() {
	wait_for 60 qmp "$1" '{"execute":"query-status"}'
	wait_for 60 heartbeat "$1"
	wait_for 60 answers
}

# The usual beginning: a guest that runs on node1, a QEMU that waits for it on node2.
# The argument is what the latter is told about where the guest will come from.
two_guests() {
	guest node1
	guest node2 -incoming "${1:-defer}"
	guest_up node1
	wait_for 60 qmp node2 '{"execute":"query-status"}'
}

# traffic [OPTION...]: a probe from the client to each address, until traffic_ends.  UDP unless
# the scenario says otherwise: of pings a guest's kernel itself drops what exceeds the one socket
# that it answers from, about 500, when it has stood still for long, and nobody is told.
# shellcheck disable=SC2120
traffic() {
	local i
	no_traffic
	for i in "${!TARGETS[@]}"; do
		more_traffic "probe$i" --log "/run/lab/probe$i.log" -p "$kind" "$@" "${TARGETS[i]}"
	done
}

no_traffic() {
	local i
	PROBES=()
	for i in "${COUNTED[@]}"; do
		unset "R[$i]"
	done
	# Some come before the lines are all up, and are of no guest.
	for i in client fabric node1 node2; do
		DROPS[$i]=$(on "$i" drops)
	done
}

# more_traffic NAME OPTION... ADDRESS...: one more probe, with the options that it has.
more_traffic() {
	spawn client "$1" "$PROBE" "${@:2}"
	PROBES+=("$1")
}

# phase: what the probes send from the first to the second time is "during" the migration.
phase() {
	local name
	for name in "${PROBES[@]}"; do
		on client sign USR1 "$name" || true
	done
}

# The facts are sums where there is more than one probe; of times the longest.
traffic_ends() {
	local key value name
	declare -A sum=()
	for name in "${PROBES[@]}"; do
		on client sign INT "$name"
	done
	for name in "${PROBES[@]}"; do
		wait_for 60 on client ended "$name"
		[[ $(on client ended "$name") = 0 ]] ||
			fail "probe: $(on client cat "/run/lab/$name.err")"
		while IFS='=' read -r key value; do
			case $key in
			*_ms)
				longer "$value" "${sum[$key]-0.000}" || continue
				;;
			*_s | lost_first | lost_last) [[ ! ${sum[$key]-} ]] || continue ;;
			*) value=$((${sum[$key]-0} + value)) ;;
			esac
			sum[$key]=$value
		done <<<"$(on client cat "/run/lab/$name.out")"
	done
	for key in "${!sum[@]}"; do
		fact "$key" "${sum[$key]}"
	done
	COUNTED=("${!sum[@]}")
	# shellcheck disable=SC2034	# for loads.sh
	ENDED=("${PROBES[@]}")
	PROBES=()
	((${R[sent]-0} + ${R[tcp_bytes_there]-0} > 0)) || fail "probe sent nothing"
	[[ ${R[own_drops]-0} = 0 ]] || fail "probe itself was too slow and dropped ${R[own_drops]}"
	[[ ${R[unanswered]-0} = 0 ]] ||
		fail "the guest does not say what it has got of ${R[unanswered]} flows$(watchdog)"
	[[ ${R[drops_there]-0} = 0 || $guest_may_drop ]] ||
		fail "probe in the guest was too slow and dropped ${R[drops_there]}"
	for key in client fabric node1 node2; do
		value=$(($(on "$key" drops) - DROPS[$key]))
		[[ $value = 0 ]] || fail "the lab itself dropped $value packets at $key"
	done
}

# said TEXT FILES: what stands behind the text in those of a node's files, and last of it.
said() {
	local node line
	for node in node1 node2; do
		line=$(on "$node" eval "grep -hs '$1: ' /run/lab/$2 || true")
		[[ ! $line ]] || printf '; %s says: %s' "$node" "${line##*"$1: "}"
	done
}

# What the guest's kernel says of a queue that QEMU does not serve.  For a guest of one processor
# TCG leaves the memory barriers out (tcg_gen_mb() before QEMU 8.1), and a driver then misses, once
# in a great many packets, that it has to call QEMU.
watchdog() { said 'NETDEV WATCHDOG' 'serial-*'; }

# What katamaran itself says of the packets: it must not claim what probe refutes.
verdicts() { said 'verdict of this end' 'kata-*.err'; }

# longer A B: A is not less than B; both have as many decimals.
longer() {
	((10#${1/./} >= 10#${2/./}))
}

nothing_lost() {
	[[ ${R[lost]} = 0 ]] || fail "${R[lost]} of ${R[sent]} packets lost${R[lost_there]:+, ${R[lost_there]} there and ${R[lost_back]} back}$(verdicts)"
	[[ ${R[duplicated]} = 0 ]] || fail "${R[duplicated]} packets duplicated"
	[[ ${R[corrupt]} = 0 ]] || fail "${R[corrupt]} packets corrupt"
}

# The same of TCP's streams: all bytes are those that were sent.
nothing_corrupt() {
	((R[tcp_bytes_there] > 0 && R[tcp_bytes_back] > 0)) ||
		fail "TCP: ${R[tcp_bytes_there]} bytes there, ${R[tcp_bytes_back]} back"
	[[ ${R[tcp_corrupt]} = 0 ]] || fail "TCP: ${R[tcp_corrupt]} chunks corrupt"
	[[ ${R[tcp_broken]} = 0 ]] || fail "TCP: ${R[tcp_broken]} streams broke"
}

# two_per_queue_lost NODE LEAST [QUEUES]: no more than the order `salvage` promises without vhost,
# and the katamaran on NODE says so; it has salvaged LEAST packets or more.
two_per_queue_lost() {
	local line salvaged most=$((2 * ${3-1}))
	line=$(on "$1" eval "grep -hs 'packet(s) salvaged' /run/lab/kata-source.err || true")
	[[ $line =~ ([0-9]+)\ packet ]] || fail "katamaran on $1 does not say what it salvaged"
	salvaged=${BASH_REMATCH[1]}
	((salvaged >= $2)) || fail "only $salvaged packets salvaged"
	((R[lost] <= most)) || fail "${R[lost]} of ${R[sent]} packets lost, $salvaged salvaged"
	[[ ${R[duplicated]} = 0 && ${R[corrupt]} = 0 ]] ||
		fail "duplicated ${R[duplicated]}, corrupt ${R[corrupt]}"
	on "$1" logged kata-source "unknown: at most $most packet(s) lost" ||
		fail "katamaran on $1 does not say what may be lost$(verdicts)"
	SALVAGED+="${SALVAGED+, }$salvaged salvaged, ${R[lost]} lost"
}

in_order() {
	[[ ${R[reordered]} = 0 ]] || fail "${R[reordered]} of ${R[sent]} packets reordered"
}

# outrun FROM TO [FLAG...]: a migration in which katamaran gets no CPU amid the copy, while
# somebody opens QEMU's gate, so that the guest is stopped long before its packets go to TO.
outrun() {
	local from=$1 to=$2
	shift 2
	destination "$to" "$@"
	source_end "$from" "$to" "$@"
	wait_for 60 under_way "$from"
	on "$from" sign STOP kata-source
	open_gate "$from"
	wait_for 60 stopped_by_qemu "$from"
	sleep 0.3
	on "$from" sign CONT kata-source
	arrives "$from" "$to"
	ended_with "$to" dest 0 60
}

open_gate() {
	qmp "$1" '{"execute":"migrate-set-parameters","arguments":{"max-bandwidth":100000000000,"downtime-limit":300}}' >/dev/null
}

# For good, or until katamaran lets QEMU go on.
stopped_by_qemu() {
	[[ $(field status "$(qmp "$1" '{"execute":"query-migrate"}')") =~ ^(completed|pre-switchover)$ ]]
}

# long_blackout COMMAND: the storage is a site's script which takes its time before the command,
# so that much is held by then.
long_blackout() {
	# shellcheck disable=SC2016	# the script's own
	printf '%s\n' '#!/bin/sh' '[ "$1" = on_stop ] || exit 2' 'sleep 0.8' "$1" \
		>"$LOGS/site-script"
	chmod 755 "$LOGS/site-script"
	storage="plugin = \"script\"; path = \"$LOGS/site-script\"; roles = [ \"source\" ]; on_stop_ms = 3000;"
}

# turn_round: another QEMU on node1, to go back to.
turn_round() {
	guest_quit node1
	awaits_guest node1
}

# awaits_guest NODE [URI]: a QEMU there, with its way to the guest as a CNI makes it.
awaits_guest() {
	guest "$1" -incoming "${2:-defer}"
	wait_for 60 qmp "$1" '{"execute":"query-status"}'
	way_to_guest "$1"
}

# What was salvaged, and that only where the kernel has vhost-net a guest could be fed by it.
salvage_note() {
	if on node1 test -c /dev/vhost-net; then
		echo "$SALVAGED; vhost is there, and not used by this scenario"
	else
		echo "$SALVAGED; vhost was not tested: no /dev/vhost-net here"
	fi
}

something_lost() {
	((R[lost] > 0)) || fail "nothing was lost: this lab cannot see a loss"
}

# split WORD... [-- WORD...]: what is before the dashes, and what after them.
split() {
	BEFORE=() AFTER=()
	while (($#)) && [[ $1 != -- ]]; do
		BEFORE+=("$1")
		shift
	done
	AFTER=("${@:2}")
}

# twin COMMAND... [-- OPTION...]: the same move unprotected, in the same lab, of the same guest, must
# lose packets, or nothing was proven.  The facts stay those of the protected one.
twin() {
	local key BEFORE AFTER
	declare -A facts=()
	split "$@"
	for key in "${!R[@]}"; do
		facts[$key]=${R[$key]}
	done
	traffic "${AFTER[@]}"
	sleep 1
	"${BEFORE[@]}"
	traffic_ends
	something_lost
	facts[note]+="${facts[note]:+; }without protection lost ${R[lost]} of ${R[sent]}"
	for key in "${!facts[@]}"; do
		fact "$key" "${facts[$key]}"
	done
}

# heartbeat NODE: "FIRST LAST BOOT LINES" from the console of the QEMU there; false if none.
heartbeat() {
	on "${1%/*}" heartbeat "${SERIAL[$1]}"
}

# remember NODE: the heartbeat of the guest that is about to leave NODE.
remember() {
	local last boot
	read -r _ last boot _ <<<"$(heartbeat "$1")"
	BEAT[x${1#node?}]=$last BOOT[x${1#node?}]=$boot
}

# The same guest as remembered runs on NODE: its boot id, and its uptime has gone on.
runs_on() {
	local node=$1 first last boot status was
	was=${BEAT[x${1#node?}]}
	status=$(qmp "$node" '{"execute":"query-status"}')
	[[ $(field status "$status") = running ]] || fail "the guest on $node is $(field status "$status")"
	read -r _ last _ _ <<<"$(heartbeat "$node")"
	# Half a line was on its way with the guest: there may be no whole one yet.
	wait_for 30 beats_after "$node" "${last:-0}" || fail "the guest on $node stands still"
	read -r first last boot _ <<<"$(heartbeat "$node")"
	[[ $boot = "${BOOT[x${1#node?}]}" ]] ||
		fail "another guest runs on $node: boot id $boot, not ${BOOT[x${1#node?}]}"
	((last > was)) || fail "uptime on $node $last, before $was"
	wait_for 30 answers || fail "the guest on $node does not answer"
	fact "uptime_$node" "$first-$last"
}

beats_after() {
	local last
	read -r _ last _ _ <<<"$(heartbeat "$1")"
	((${last:-0} > $2))
}

# status_is NODE STATUS: of the QEMU there.
status_is() {
	local status
	status=$(qmp "$1" '{"execute":"query-status"}')
	[[ $(field status "$status") = "$2" ]] || { WHY="QEMU on $1: $status, not $2"; return 1; }
}

# qmp_migrate FROM TO: the bare migration, by hand; TO was started with -incoming defer.
qmp_migrate() {
	qmp_prepare "$@"
	qmp "$1" '{"execute":"migrate","arguments":{"uri":"tcp:'"${NODE_IP[$2]}"':4444"}}' >/dev/null
	wait_for 60 migrated "$1" || fail "$(qmp "$1" '{"execute":"query-migrate"}')"
}

# back_by_qemu [FROM TO]: the guest's way back, to node1, by nothing but QEMU.
back_by_qemu() {
	local from=${1-node2} to=${2-node1}
	guest "$to" -incoming defer
	wait_for 60 qmp "$to" '{"execute":"query-status"}'
	qmp_migrate "$from" "$to"
	way_to_guest "$to"
	sleep "${SLOW:-2}"
	fabric_learns "$to"
	sleep 1
	runs_on "$to"
}

qmp_prepare() {
	local node capabilities='{"execute":"migrate-set-capabilities","arguments":{"capabilities":[
		{"capability":"events","state":true},{"capability":"return-path","state":true}]}}'
	for node; do
		qmp "$node" "${capabilities//[$'\n\t']/}" >/dev/null
	done
	remember "$1"
	qmp "$2" '{"execute":"migrate-incoming","arguments":{"uri":"tcp:'"${NODE_IP[$2]}"':4444"}}' \
		>/dev/null
}

migrated() {
	[[ $(field status "$(qmp "$1" '{"execute":"query-migrate"}')") = completed ]]
}

downtime() {
	fact downtime "$(field downtime "$(qmp "$1" '{"execute":"query-migrate"}')")"
}

# before: what the network of both nodes is like; unchanged NODE [REGEX]: it is so again, but
# for lines that match REGEX.
before() {
	local node
	for node in node1 node2; do
		wait_for 20 settled "$node" || fail "the addresses on $node stay tentative"
	done
}

# settled NODE: takes the picture; false while an address is still being tried.
settled() {
	on "$1" snapshot >"$LOGS/$1.before"
	! grep -q ' tentative' "$LOGS/$1.before"
}

unchanged() {
	local difference
	on "$1" snapshot >"$LOGS/$1.after"
	difference=$(diff "$LOGS/$1.before" "$LOGS/$1.after" | grep '^[<>]' |
		grep -Ev -- "${2:-^$}" || true)
	[[ -z $difference ]] || fail "left on $1: $(tr '\n' ' ' <<<"$difference" | cut -c 1-300)"
}

# ---- katamaran ---------------------------------------------------------------------------

# conf TO [NAME=VALUE...]: writes the configuration for a migration of a guest to that node;
# the variables are those named below.  A new file each time: User-Mode Linux caches the old.
conf() {
	local to=$1 downtime_ms=1000 bandwidth=0 cutover=ipip hold_s=2 more='' peer='' nics
	local order=redirect-first multifd=0
	local announce='{ plugin = "announce-self"; }'
	nics=$(conf_nics "$to")
	shift
	(($#)) && local "$@"
	CONFS=$((${CONFS:-0} + 1)) CONF[x${to#node?}]=$LOGS/katamaran-$CONFS.conf
	[[ $cutover = none || $cutover = script ]] || more="hold_s = $hold_s; $more"
	cat >"${CONF[x${to#node?}]}" <<-END
		order = "$order";
		ram: { downtime_ms = $downtime_ms; bandwidth = $bandwidth; multifd = $multifd; };
		destination: { ip = "${NODE_IP[${to%/*}]}"; port = $(port_of "$to"); };
		nics: ( $nics );
		storage: { $storage };
		timeouts: { stop_ms = $stop_ms; };
		cutover: { plugin = "$cutover"; $more };
		announce: ( $announce );
		${peer:+peer: { command = [ $peer ]; \};}
	END
}

conf_nics() {
	local tap mac ips all=''
	while read -r tap mac ips; do
		all+="${all:+, }{ tap = \"$tap\"; mac = \"$mac\"; ips = [ \"${ips// /\", \"}\" ];"
		[[ $form != pod && $form != kata ]] || all+=' netns = "/run/netns/pod";'
		all+=' }'
	done <<<"$(cards_of "$1")"
	echo "$all"
}

port_of() { [[ $1 = */2 ]] && echo 4445 || echo 4444; }

# log_of END GUEST: the name under which that end of katamaran is spawned; its log is NAME.err.
log_of() { [[ $2 = */2 ]] && echo "kata-$1-2" || echo "kata-$1"; }

# destination GUEST [FLAG...], source_end GUEST TO [FLAG...]: one end of katamaran is started;
# what it says is in kata-dest.err and kata-source.err.
destination() {
	local node=${1%/*} who=$1 name flags
	name=$(log_of dest "$1")
	shift
	read -r -a flags <<<"${GIVEN[$who]:--qmp $(socket_of "$who")}"
	spawn "$node" "$name" "$PREFIX/sbin/katamaran" -c "${CONF[x${who#node?}]}" -mode dest \
		"${flags[@]}" ${VERBOSE:+-v} "$@"
	wait_for 60 ready_or_ended "$node" "$name" ||
		fail "the destination is not ready: $(last_word "$who" dest)"
	on "$node" logged "$name" "ready for the incoming migration" ||
		fail "the destination ended: $(last_word "$who" dest)"
}

ready_or_ended() {
	on "$1" logged "$2" "ready for the incoming migration" || on "$1" ended "$2"
}

source_end() {
	local node=${1%/*} who=$1 to=${2%/*} flags
	shift 2
	remember "$who"
	read -r -a flags <<<"${GIVEN[$who]:--qmp $(socket_of "$who")}"
	spawn "$node" "$(log_of source "$who")" "$PREFIX/sbin/katamaran" \
		-c "${CONF[x${who#node?}]}" -mode source \
		"${flags[@]}" -dest-ip "${NODE_IP[$to]}" ${VERBOSE:+-v} "$@"
}

# The last line katamaran wrote, to say why it ended.
last_word() {
	on "${1%/*}" tail -n 1 "/run/lab/$(log_of "$2" "$1").err"
}

# ended_with GUEST END CODE SECONDS: katamaran there ends in time and with that code.
ended_with() {
	local code name start=${EPOCHREALTIME/./}
	name=$(log_of "$2" "$1")
	wait_for "$4" on "${1%/*}" ended "$name" ||
		fail "katamaran -mode $2 still runs, $WHY: $(last_word "$1" "$2")"
	code=$(on "${1%/*}" ended "$name")
	[[ $code = "$3" ]] ||
		fail "katamaran -mode $2 exited $code, not $3: $(last_word "$1" "$2")"
	start=$(((${EPOCHREALTIME/./} - start) / 1000))
	[[ $3 = 0 ]] || fact note "${R[note]-}${R[note]:+, }$2 exited $3 after $start ms"
}

# migrate FROM TO [FLAG...]: both ends, and a fabric that learns SLOW seconds after the guest
# has arrived.
migrate() {
	local from=$1 to=$2
	shift 2
	destination "$to" "$@"
	source_end "$from" "$to" "$@"
	arrives "$from" "$to"
	ended_with "$to" dest 0 60
}

# arrives FROM TO: the guest does, the fabric learns it, and the source ends well.
arrives() {
	wait_for 90 arrived_or_failed "$1" "$2" || fail "the guest does not arrive on $2"
	phase
	heartbeat "$2" >/dev/null || fail "the source failed: $(last_word "$1" source)"
	sleep "${SLOW:-2}"
	[[ $form = lan ]] || fabric_learns "${2%/*}"
	ended_with "$1" source 0 60
	downtime "$1"
}

# one_command FROM TO WORD...: the same, but the source starts the other end by WORD..., and
# proves from the counters of both that nothing was lost.
one_command() {
	by_command "$@"
	[[ ${R[verdict]} = proven_zero ]] || fail "no proof: ${R[note]}"
}

# by_command FROM TO WORD...: the same without the proof; what the source says of it is in the
# facts, and in its summary.  "settings" has more variables for conf.
by_command() {
	begin_by_command "$@"
	arrives "$1" "$2"
	sum_up "$1"
}

begin_by_command() {
	local from=$1 to=$2 word command='' flags
	shift 2
	conf "$to" "${settings[@]}"
	read -r -a flags <<<"${GIVEN[$to]:--qmp $(socket_of "$to")}"
	for word in "$@" "$PREFIX/sbin/katamaran" -c "${CONF[x]}" -mode dest \
		"${flags[@]}" ${VERBOSE:+-v}; do
		command+="${command:+, }\"$word\""
	done
	conf "$to" peer="$command" "${settings[@]}"
	source_end "$from" "$to" -summary /run/lab/summary
}

# sum_up NODE: reads the summary of the source there.
sum_up() {
	SUMMARY=$(on "$1" cat /run/lab/summary)
	fact verdict "$(summed verdict)"
	fact note "$(on "$1" sed -n '/destination|/!s/.* verdict/verdict/p' /run/lab/kata-source.err)"
}

# summed NAME: the first value of that name in the source's summary.
summed() {
	[[ $SUMMARY =~ \"$1\":\ ?\"?([^\",}$'\n']*) ]] && echo "${BASH_REMATCH[1]}"
}

# sshd_and_keys: node1 may run commands on node2 by SSH.
sshd_and_keys() {
	on node2 sshd_up "$LAB/sshd"
	on node1 ssh-keygen -q -t ed25519 -N '' -f /run/lab/key
	on node2 write /run/lab/authorized_keys "$(on node1 cat /run/lab/key.pub)"
	on node1 write /run/lab/known_hosts \
		"${NODE_IP[node2]} $(on node2 cat /run/lab/host_key.pub)"
	# shellcheck disable=SC2034	# for scenarios
	SSH=(ssh -o BatchMode=yes -o StrictHostKeyChecking=yes -i /run/lab/key
		-o UserKnownHostsFile=/run/lab/known_hosts -F none "root@${NODE_IP[node2]}")
}

arrived_or_failed() {
	local code
	heartbeat "$2" ||
		{ code=$(on "${1%/*}" ended "$(log_of source "$1")") && [[ $code != 0 ]]; }
}

# under_way NODE: the migration from there is in the middle of the RAM.
under_way() {
	local reply
	reply=$(qmp "$1" '{"execute":"query-migrate"}')
	[[ $(field status "$reply") = active && $(field transferred "$reply") -gt $((4 << 20)) ]]
}

# limits NODE: what a failed migration has to put back in QEMU.
limits() {
	local reply
	reply=$(qmp "$1" '{"execute":"query-migrate-parameters"}')
	echo "$(field max-bandwidth "$reply") $(field downtime-limit "$reply")"
}

# one_migration [FLAG...] [-- OPTION...]: what most scenarios have in common, from node1 to
# node2, with flags for katamaran and options for probe.  On success the source may be without
# the route to the tap that the guest has left.
one_migration() {
	amid_traffic migrate node1 node2 "$@"
}

# amid_traffic COMMAND... [-- OPTION...]: COMMAND moves the guest from node1 to node2.
amid_traffic() {
	leg_amid_traffic node1 node2 "$@"
}

# leg_amid_traffic FROM TO COMMAND... [-- OPTION...]: the same from wherever the guest is.
leg_amid_traffic() {
	local from=$1 to=$2 BEFORE AFTER
	split "${@:3}"
	before
	traffic "${AFTER[@]}"
	sleep 1
	phase
	"${BEFORE[@]}"
	sleep 1
	traffic_ends
	moved "$from" "$to"
}

# moved FROM TO: the guest runs on TO, and both nodes are as they were.
moved() {
	runs_on "$2"
	status_is "$1" postmigrate
	unchanged "$1" "$ROUTE_TO_TAP|$LEARNED"
	unchanged "$2" "$LEARNED"
}

# one_leg FROM TO [FLAG...]: as one_migration, from wherever the guest is, and nothing is lost.
one_leg() {
	leg_amid_traffic "$1" "$2" migrate "$@"
	nothing_lost
}
LEARNED='^$'	# what the network itself changes on the nodes when the guest has moved
ROUTE_TO_TAP="^< .*(10\.244\.|fd00:244:)[^ ]* (dev (tap|cali)|via)"

# stayed: after a failure the guest runs on node1 as before and nobody has noticed.
stayed() {
	sleep 1
	traffic_ends
	runs_on node1
	unchanged node1
	unchanged node2
	[[ $(limits node1) = "$LIMITS" ]] ||
		fail "QEMU's max-bandwidth and downtime-limit are $(limits node1), were $LIMITS"
	nothing_lost
}

# killed NODE END: that end of katamaran is, and nobody has put back what it left.
killed() {
	on "$1" sign KILL "kata-$2"
	wait_for 5 on "$1" ended "kata-$2"
	[[ $(on "$1" "$PREFIX/sbin/katamaran" --status) = *DEAD* ]] || fail "no dead migration on $1"
}

# changed NODE: unchanged would see it; otherwise a recovery could not be seen, either.
changed() {
	on "$1" snapshot >"$LOGS/$1.killed"
	! diff -q "$LOGS/$1.before" "$LOGS/$1.killed" >/dev/null || fail "a kill left nothing on $1"
}

# recovered NODE TEXT: --recover there ends well, and says so.
recovered() {
	on "$1" eval "$PREFIX/sbin/katamaran --recover all -v 2>>/run/lab/recover.err" ||
		fail "--recover on $1: $(on "$1" tail -n 1 /run/lab/recover.err)"
	on "$1" grep -q "$2" /run/lab/recover.err ||
		fail "--recover on $1 says: $(on "$1" tail -n 1 /run/lab/recover.err)"
	[[ $(on "$1" "$PREFIX/sbin/katamaran" --status) != *DEAD* ]] || fail "the journal stays on $1"
}

# killed_in_copy: both ends are, in the midst of the copy from node1 to node2; "conf" was called.
killed_in_copy() {
	before
	LIMITS=$(limits node1)
	destination node2
	source_end node1 node2
	wait_for 60 under_way node1 || fail "no copy to disturb: $(last_word node1 source)"
	killed node2 dest
	killed node1 source
	changed node1
	changed node2
	[[ $(limits node1) != "$LIMITS" ]] || fail "QEMU was not braked"
}

# recovered_source: of that, on node1.
recovered_source() {
	recovered node1 'The guest runs here, on the source, as before'
	runs_on node1
	unchanged node1
	[[ $(limits node1) = "$LIMITS" ]] ||
		fail "QEMU's max-bandwidth and downtime-limit are $(limits node1), were $LIMITS"
}
