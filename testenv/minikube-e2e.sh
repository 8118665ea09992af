#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
# A live migration of a Kata Containers pod between the two nodes of a minikube cluster with
# Calico, under ping: for hosts with KVM and nested virtualization.
set -euo pipefail
. "$(dirname "$(realpath "$0")")/cluster.sh"

CLUSTER=katamaran-e2e SHORT=e2e TITLE=CALICO CNI=Calico STORAGE='shared (skipped NBD)'
use minikube
begin "$@"

host_has 30 20 minikube kubectl helm
minikube_up 2 --cni calico
calico_keeps_routes
kata_up
katamaran_up "$NODE1" "$NODE2"
source_pod
match_state
dest_pod
join_route
ping_begin
migrate learn_route
ping_end
report
ping_report
summary
