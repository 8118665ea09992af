# shellcheck shell=bash disable=SC2034
# SPDX-License-Identifier: BSD-2-Clause
# the cutover is a site's script of a few lines of ip: loses nothing either
#
# No tunnel and no plug: a route by way of the other node, whose tap's ring holds what arrives
# before the guest runs there.  The script waits while the guest, which still runs, takes what
# is left in the old tap.

wants=katamaran

site_script() {
	cat <<-'END'
		#!/bin/sh
		ip=$KATAMARAN_NIC0_IPS tap=$KATAMARAN_NIC0_TAP
		case $1.$KATAMARAN_ROLE.${KATAMARAN_OUTCOME-} in
		pre_copy.destination.*) ip neigh replace "$ip" lladdr "$KATAMARAN_NIC0_MAC" dev "$tap" nud permanent ;;
		cleanup.destination.*) ip neigh replace "$ip" lladdr "$KATAMARAN_NIC0_MAC" dev "$tap" nud stale ;;
		on_stop.source.*) ip route replace "$ip" via "$KATAMARAN_PEER" && sleep 0.3 ;;
		on_resume.source.*) [ "$KATAMARAN_ROUND" -ge 10 ] || echo 500 ;;
		cleanup.source.done) ip route del "$ip" via "$KATAMARAN_PEER" ;;
		cleanup.source.*) ip route replace "$ip" dev "$tap" ;;
		*) exit 2 ;;
		esac
	END
}

scenario() {
	site_script >"$LOGS/site-script"
	chmod 755 "$LOGS/site-script"
	two_guests
	conf node2 cutover=script more="path = \"$LOGS/site-script\"; on_stop_ms = 1000;"
	one_migration
	nothing_lost
}
