# SPDX-License-Identifier: BSD-2-Clause
# Reads what `ping -D` wrote and tells what was lost, as key=value lines:
#
#	awk -f ping-report.awk [-v slow=MS] ping.log
#
# Exit status 0: nothing was lost; 1: something was; 2: the log proves nothing.  It proves
# nothing when it is empty, when it was cut off before ping's own summary, or when the replies
# in it are not as many as the summary has.

BEGIN {
	if (slow == "")
		slow = 10
}

/ bytes from / && match($0, /icmp_seq=[0-9]+/) {
	seq = substr($0, RSTART + 9, RLENGTH - 9) + 0
	if ($0 ~ /DUP!/ || seq in seen) {
		duplicates++
		next
	}
	seen[seq] = 1
	replies++
	if (seq < last)
		reordered++
	else
		last = seq
	if (match($0, /time=[0-9.]+/) && substr($0, RSTART + 5, RLENGTH - 5) + 0 > slow)
		late[++held] = $0
	next
}

/ packets transmitted, [0-9]+ received/ {
	summaries++
	transmitted = $1 + 0
	received = $4 + 0
	summary = $0
}

/^rtt / {
	rtt = $0
}

function useless(why) {
	print "ping-report: " why ": this proves nothing" >"/dev/stderr"
	code = 2
	exit code
}

END {
	if (code)
		exit code
	if (!NR)
		useless("the log is empty")
	if (summaries != 1)
		useless(summaries ? summaries " summaries" : "the log ends before ping's summary")
	if (!transmitted || !received)
		useless("no packet was " (transmitted ? "answered" : "sent"))
	if (replies != received)
		useless("ping counts " received " replies, the log has " replies + 0)
	lost = transmitted - received
	# The interrupt may meet one that is on its way: that is not a loss.
	if (lost == 1 && !(transmitted in seen)) {
		lost = 0
		flying = 1
	}
	print "transmitted=" transmitted
	print "received=" received
	print "lost=" lost
	print "in_flight=" flying + 0
	print "duplicates=" duplicates + 0
	print "reordered=" reordered + 0
	print "summary=" summary
	print "rtt=" rtt
	for (i = 1; i <= held; i++)
		print "slow=" late[i]
	exit lost > 0
}
