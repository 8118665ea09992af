#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
# katamaran-qemu in front of a stand-in that prints the arguments it was given.
set -euo pipefail

program=${KATAMARAN:-$PWD/katamaran}-qemu
work=$(mktemp -d)
trap 'kill $(jobs -p) 2>/dev/null || true; rm -rf "$work"' EXIT
cd "$work"
mkdir waiting
passed=0 failed=0
export KATAMARAN_QEMU=$work/real KATAMARAN_QEMU_DIR=$work/waiting
printf '%s\n' '#!/bin/sh' "printf '%s\n' \"\$0\" \"\$@\"" >real
chmod 755 real

# run CODE COMMAND...: its output is in out and err.
run() {
	local rc=0
	"${@:2}" >out 2>err || rc=$?
	name="${*:2}" bad=0
	((rc == $1)) || complain "exit code $rc, not $1"
}

complain() {
	echo "FAILED: $name: $1"
	sed 's/^/	/' out err
	bad=1
}

# gives FILE TEXT...: these lines are in it, in a row; nothing: it is empty.
gives() {
	local want
	want=$(printf '%s\n' "${@:2}")
	if (($# == 1)); then
		[[ ! -s $1 ]] || complain "$1 is not empty"
	else
		[[ $(cat "$1") = *"$want"* ]] || complain "$1 has not: $want"
	fi
}

ends() {
	if ((bad)); then failed=$((failed + 1)); else passed=$((passed + 1)); fi
}

# shellcheck disable=SC2054	# the commas are QEMU's
SOURCE=(-name sandbox-7f3a,debug-threads=on -uuid 9c8f0d5e-1c2d-4e3f-8a9b-0c1d2e3f4a5b
	-machine q35 -m 2048M -smp 1,maxcpus=8
	-chardev "socket,id=char-9a2d,path=/run/vc/vm/7f3a/vhost-fs.sock"
	-device vhost-user-fs-pci,chardev=char-9a2d,tag=kataShared)
# shellcheck disable=SC2054
DEST=(-name sandbox-c0ff,debug-threads=on -uuid 11111111-2222-4333-8444-555555555555
	-machine q35,accel=tcg -m 1024M -smp 1,maxcpus=16
	-chardev "socket,id=char-0000,path=/run/vc/vm/c0ff/vhost-fs.sock"
	-device vhost-user-fs-pci,chardev=char-0000,tag=kataShared)
# shellcheck disable=SC2054
MATCHED=(-name sandbox-c0ff,debug-threads=on -uuid 9c8f0d5e-1c2d-4e3f-8a9b-0c1d2e3f4a5b
	-machine q35,accel=tcg -m 2048M -smp 1,maxcpus=8
	-chardev "socket,id=char-9a2d,path=/run/vc/vm/c0ff/vhost-fs.sock"
	-device vhost-user-fs-pci,chardev=char-9a2d,tag=kataShared -incoming defer)

# The description of a process, by its pid and by the file that has it.
bash -c 'echo up >up; read -r' qemu "${SOURCE[@]}" < <(sleep 60) &
source=$!
while [[ ! -s up ]]; do sleep 0.02; done
run 0 "$program" --describe $source
gives out '  "machine":"q35",'
gives err
ends
cp out description
echo $source >pid
run 0 "$program" --describe pid
[[ $(cat out) = "$(cat description)" ]] || complain "not the same"
ends
kill $source
run 1 "$program" --describe 999999999
gives err 'katamaran-qemu: cannot read /proc/999999999/cmdline: No such file or directory'
ends
run 2 "$program" --describe 0
ends

run 0 "$program" --try description "${DEST[@]}"
[[ $(cat out) = "$(printf '%s\n' "${MATCHED[@]}")" ]] || complain "is not matched"
ends

# An option that is given several times is what QEMU makes of it.
bash -c 'echo up >again; read -r' qemu -M pc -machine accel=tcg -machine q35 -m 128M -cpu host \
	-smp 1,cores=2 -m slots=2,maxmem=512M -smp 1,cores=1,maxcpus=8 -smp cpus=2 -m 256M \
	-uuid 11111111-2222-4333-8444-555555555555 -uuid 9c8f0d5e-1c2d-4e3f-8a9b-0c1d2e3f4a5b \
	-cpu max,+x2apic < <(sleep 60) &
source=$!
while [[ ! -s again ]]; do sleep 0.02; done
run 0 "$program" --describe $source
gives out '  "machine":"q35",' '  "cpu":"max,+x2apic",' '  "smp":"2,cores=1,maxcpus=8",' \
	'  "memory":"256M,slots=2,maxmem=512M",' '  "uuid":"9c8f0d5e-1c2d-4e3f-8a9b-0c1d2e3f4a5b",'
ends
kill $source
cp out merged
run 0 "$program" --try merged -smp 1 -machine accel=tcg -M pc,nvdimm=on -machine usb=off \
	-smp maxcpus=16,threads=2 -m 1G -m slots=4
gives out -smp 2,cores=1,maxcpus=8 -machine accel=tcg,type=q35 -M q35,nvdimm=on -machine usb=off \
	-smp 2,cores=1,maxcpus=8 -m 256M,slots=2,maxmem=512M -m 256M,slots=2,maxmem=512M \
	-cpu max,+x2apic
ends

# Without a description it is just QEMU, to the last word.
run 0 "$program" "${DEST[@]}" ''
gives out "$work/real" "${DEST[@]}" ''
gives err
ends
run 0 "$program" --version
gives out "$work/real" --version
ends

# The next guest takes the one that waits for it, the one after it has none.
cp description waiting/next.json
run 0 "$program" --version
ends
run 0 "$program" "${DEST[@]}"
gives out "$work/real" "${MATCHED[@]}"
gives err "katamaran-qemu: made to match $work/waiting/c0ff.json"
[[ ! -e waiting/next.json && -e waiting/c0ff.json ]] || complain "the description still waits"
ends
run 0 "$program" -name sandbox-other "${DEST[@]:2}"
gives out "$work/real" -name sandbox-other "${DEST[@]:2}"
[[ $(cat out) != *-incoming* ]] || complain "waits for a guest"
ends
# One that waits by name; a name that is none of ours cannot leave the folder.
cp description waiting/other.json
cp description outside.json
run 0 "$program" -name sandbox-other "${DEST[@]:2}"
gives out -incoming defer
ends
run 0 "$program" -name sandbox-../outside "${DEST[@]:2}"
[[ $(cat out) != *-incoming* ]] || complain "waits for a guest"
ends

# What cannot be matched is not started at all.
echo '{"version":1,"machine":"q35,kernel=/etc/shadow"}' >waiting/c0ff.json
run 1 "$program" "${DEST[@]}"
gives out
gives err "waiting/c0ff.json: refusing a description whose machine is"
ends
ln -sf ../description waiting/c0ff.json
run 1 "$program" "${DEST[@]}"
gives out
gives err "cannot read $work/waiting/c0ff.json: Too many levels of symbolic links"
ends
rm waiting/c0ff.json
mkfifo waiting/c0ff.json
run 1 timeout 10 "$program" "${DEST[@]}"
gives err "cannot read $work/waiting/c0ff.json: Invalid argument"
ends
rm waiting/c0ff.json
run 1 env KATAMARAN_QEMU="$work/none" "$program" "${DEST[@]}"
gives err "cannot run the real QEMU, $work/none: No such file or directory"
ends
run 1 env KATAMARAN_QEMU="$program" timeout 10 "$program" "${DEST[@]}"
gives err "cannot run the real QEMU, $program: Too many levels of symbolic links"
ends

echo "$passed passed, $failed failed"
((failed == 0 && passed > 0))
