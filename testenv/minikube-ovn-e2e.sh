#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
# As minikube-e2e.sh, with OVN-Kubernetes: katamaran moves the guest's logical port to the other
# chassis, by the hooks of conf/examples/ovn-script.
set -euo pipefail
. "$(dirname "$(realpath "$0")")/cluster.sh"

CLUSTER=katamaran-ovn-e2e SHORT=ovn TITLE='OVN-KUBERNETES' CNI=OVN-Kubernetes
STORAGE='shared (skipped NBD)'
use minikube
begin "$@"

openvswitch() {
	local node
	title "Loading openvswitch on both nodes..."
	for node in "$NODE1" "$NODE2"; do
		run root "$node" modprobe openvswitch
	done
}

# One database for the whole cluster, so that a port can be given to another chassis.
ovn_up() {
	local api
	title "Installing OVN-Kubernetes $OVN..."
	run git clone --quiet --depth 1 --branch "$OVN" "$OVN_SOURCE" "$WORK/ovn-kubernetes"
	api=$(ask IP-API minikube -p "$CLUSTER" ip)
	run helm install ovn-kubernetes "$WORK/ovn-kubernetes/helm/ovn-kubernetes" \
		--kube-context "$CONTEXT" -f "$WORK/ovn-kubernetes/helm/ovn-kubernetes/values-no-ic.yaml" \
		--set "k8sAPIServer=https://$api:8443" --set "global.image.repository=$OVN_IMAGE" \
		--set "global.image.tag=$OVN_TAG"
	run kube -n ovn-kubernetes rollout status deployment/ovnkube-db --timeout=15m
	run kube -n ovn-kubernetes rollout status deployment/ovnkube-master --timeout=15m
	run kube -n ovn-kubernetes rollout status daemonset/ovnkube-node --timeout=15m
	run kube -n kube-system rollout status deployment/coredns --timeout=15m
}

# hooks: sets PORT_NAME.  The destination's sandbox gives up the port of its own for the guest's.
# The ends are not connected here, so that OVN gives packets to both from the beginning: what comes
# while the RAM is copied reaches the guest twice.
hooks() {
	local port
	title "Giving $NODE2 the logical port of $SOURCE, and the port to katamaran..."
	port=$(ask $'port=PORT\nversion=VERSION' on "$NODE1" ovn "$NODE1_IP")
	run on "$NODE2" ovn "$NODE1_IP"
	PORT_NAME=$(value port <<<"$port")
	run on "$NODE2" second "$PORT_NAME" "$(value version <<<"$port")"
}

ovn_report() {
	local chassis
	title "The network's own view..."
	run kube -n ovn-kubernetes get pods -o wide
	chassis=$(ask "$NODE2" kube -n ovn-kubernetes exec deployment/ovnkube-db -c sb-ovsdb -- \
		ovn-sbctl --bare --columns=hostname list chassis "$(ask CHASSIS kube -n ovn-kubernetes \
			exec deployment/ovnkube-db -c sb-ovsdb -- ovn-sbctl --bare --columns=chassis \
			find port_binding "logical_port=$PORT_NAME")") || chassis=none
	if [[ $chassis = "$NODE2" ]]; then
		pass "the logical port $PORT_NAME is bound to $chassis"
	else
		fail "the logical port $PORT_NAME is bound to $chassis, not $NODE2"
	fi
}

host_has 30 20 minikube kubectl helm git
minikube_up 2 --cni=false
openvswitch
ovn_up
kata_up
katamaran_up "$NODE1" "$NODE2"
source_pod
match_state
dest_pod
hooks
ping_begin
migrate : -c /run/katamaran-e2e/ovn.conf
ping_end
report
ovn_report
ping_report
summary
