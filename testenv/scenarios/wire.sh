# shellcheck shell=bash disable=SC2034
# SPDX-License-Identifier: BSD-2-Clause
# no guest, 1000 pings a second beside two TCP streams between the nodes: the lab drops nothing

places='uml2 uml host' alone=1 spare=1 kind=icmp

# stream NODE FROM: as fast as it goes, in large pieces, or the wire is never full.
# shellcheck disable=SC2016
stream() {
	spawn "$1" sink perl -MSocket -e 'socket(S, PF_INET, SOCK_STREAM, 0);
		bind(S, sockaddr_in(5000, INADDR_ANY)) and listen(S, 1) and accept(C, S) or die $!;
		1 while sysread(C, $b, 1 << 20)'
	spawn "$2" stream perl -MSocket -e 'sleep 1; $b = "x" x (1 << 20);
		socket(S, PF_INET, SOCK_STREAM, 0);
		connect(S, sockaddr_in(5000, inet_aton(shift))) or die $!;
		1 while syswrite(S, $b)' "${NODE_IP[$1]}"
}

received() {
	echo $(($(on "$1" cat /sys/class/net/eth0/statistics/rx_bytes) >> 20))
}

scenario() {
	TARGETS=("${NODE_IP[node2]}")
	wait_for 60 answers
	traffic -r 1000
	stream node1 node2
	stream node2 node1
	sleep 10
	fact note "node1 received $(received node1), node2 $(received node2) MiB"
	traffic_ends
	nothing_lost
}
