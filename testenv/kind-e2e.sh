#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
# A live migration of a Kata Containers pod between two nodes that are podman containers, made
# by kind, under ping.  The nodes share this host's kernel: modules are loaded into it.
set -euo pipefail
. "$(dirname "$(realpath "$0")")/cluster.sh"

CLUSTER=katamaran-e2e SHORT=kind TITLE='KIND+PODMAN' CNI='kindnet (default)'
STORAGE='shared (skipped NBD)'
use kind
begin "$@"

host_has 20 16 kind kubectl helm podman
kind_up
kvm_in_nodes
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
summary 'Provider:=Kind + Podman'
