#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
# As minikube-e2e.sh, with a volume on an NFS server in the cluster that both pods have: what
# the guest wrote before the migration is there after it.
set -euo pipefail
. "$(dirname "$(realpath "$0")")/cluster.sh"

CLUSTER=katamaran-nfs-e2e SHORT=nfs TITLE='NFS SHARED-STORAGE' CNI=Calico
STORAGE='NFS (shared, skipped NBD drive-mirror)'
use minikube
begin "$@"

CLAIM=katamaran-shared FILE=migration-proof.txt

nfs_server() {
	cat <<-END
		apiVersion: v1
		kind: Pod
		metadata:
		  name: nfs-server
		spec:
		  nodeSelector:
		    kubernetes.io/hostname: $NODE1
		  tolerations:
		  - operator: Exists
		  containers:
		  - name: nfs
		    image: $NFS_IMAGE
		    securityContext:
		      privileged: true
		    env:
		    - name: SHARED_DIRECTORY
		      value: /exports
		    volumeMounts:
		    - name: exports
		      mountPath: /exports
		  volumes:
		  - name: exports
		    emptyDir: {}
	END
}

# nfs_volume: on the server, for both nodes at once.
nfs_volume() {
	cat <<-END
		apiVersion: v1
		kind: PersistentVolume
		metadata:
		  name: $CLAIM
		spec:
		  capacity:
		    storage: 1Gi
		  accessModes: [ReadWriteMany]
		  storageClassName: ""
		  mountOptions: [nfsvers=4.1]
		  nfs:
		    server: $NFS_IP
		    path: /
		---
		apiVersion: v1
		kind: PersistentVolumeClaim
		metadata:
		  name: $CLAIM
		spec:
		  accessModes: [ReadWriteMany]
		  storageClassName: ""
		  volumeName: $CLAIM
		  resources:
		    requests:
		      storage: 1Gi
	END
}

nfs_up() {
	title "Starting an NFS server on $NODE1..."
	feed "$(nfs_server)" kube apply -f -
	run kube wait pod/nfs-server --for=condition=Ready --timeout=10m
	NFS_IP=$(ask NFS_IP kube get pod nfs-server -o 'jsonpath={.status.podIP}')
	feed "$(nfs_volume)" kube apply -f -
	run kube wait pvc/$CLAIM --for=jsonpath='{.status.phase}'=Bound --timeout=2m
}

write_data() {
	DATA=katamaran-nfs-migration-${KATAMARAN_DATA:-$EPOCHSECONDS-$$}
	title "Writing test data from inside the source's guest..."
	run kube exec $SOURCE -- sh -c "echo $DATA >/mnt/shared/$FILE && sync"
}

read_data() {
	title "Reading it back on the NFS server..."
	READ=$(ask "$DATA" kube exec nfs-server -- cat "/exports/$FILE") || READ=''
}

nfs_report() {
	[[ ! $DRY ]] || return 0
	printf '\n--- NFS Shared Storage Verification ---\n'
	printf '  %-17s %s\n' 'Test data:' "$DATA" 'Written to:' "/mnt/shared/$FILE"
	if [[ $READ = "$DATA" ]]; then
		INTACT=true
		pass "NFS data survived migration"
	else
		INTACT=false
		fail "NFS data: wrote '$DATA', the server has '$READ'"
	fi
}

host_has 20 16 minikube kubectl helm
minikube_up 2 --cni calico
calico_keeps_routes
nfs_up
kata_up
katamaran_up "$NODE1" "$NODE2"
source_pod
write_data
match_state
dest_pod
join_route
ping_begin
migrate learn_route
ping_end
read_data
report
nfs_report
ping_report
summary "NFS Server:=$NFS_IP (in-cluster pod)" "NFS data intact:=${INTACT-}"
