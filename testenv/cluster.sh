# shellcheck shell=bash
# SPDX-License-Identifier: BSD-2-Clause
# What the cluster scripts share.  Each of them sets CLUSTER, SHORT (the artifacts' name), TITLE,
# CNI and STORAGE, calls begin, and then its steps.  A cluster is created only where the host
# has what it takes, and is deleted whatever happens.
#
# Exit status: 0 verified; 1 failed; 2 usage; 3 the host lacks something, nothing was created.

HERE=$(dirname "$(realpath "${BASH_SOURCE[0]}")")

# ---- versions: all of them, and nowhere else ---------------------------------------------

# shellcheck disable=SC2034	# each script uses some
{
	KUBERNETES=v1.33.1	# which minikube knows from 1.36 on
	# As kind 0.29.0 names it; other releases may not start it.
	KIND_NODE=docker.io/kindest/node:$KUBERNETES
	KIND_NODE+=@sha256:050072256b9a903bd914c0b2866828150cb229cea0efe5892e2b644d5dd3b34f
	KATA_CHART=oci://ghcr.io/kata-containers/kata-deploy-charts/kata-deploy
	KATA=3.27.0	# shims.disableAll came with 3.26
	OVN_SOURCE=https://github.com/ovn-kubernetes/ovn-kubernetes
	OVN=v1.1.0
	OVN_IMAGE=ghcr.io/ovn-kubernetes/ovn-kubernetes/ovn-kube-ubuntu
	OVN_TAG=release-1.1	# images have the name of a branch
	GUEST_IMAGE=docker.io/library/nginx:1.28-alpine
	NFS_IMAGE=docker.io/itsthenetwork/nfs-server-alpine:12
}

# ---- the frame ---------------------------------------------------------------------------

DRY='' KEEP='' CREATED='' FAILED='' CLAIM=''
HOST=${KATAMARAN_HOST-}			# tests: what stands for / in the check of the host
PORT=4444
SOURCE=katamaran-source DEST=katamaran-dest

title() { printf '\n>>> %s\n' "$*"; }
die() { printf '  ERROR: %s\n' "$*" >&2; exit 1; }
pass() { printf '  PASS: %s\n' "$*"; }
fail() { printf '  FAIL: %s\n' "$*"; FAILED=1; }
heading() { printf '\n%s\n=== %s ===\n%s\n\n' "$RULE" "$*" "$RULE"; }
RULE=$(printf '=%.0s' {1..72})

usage() {
	cat <<-END
		usage: ${0##*/} [--dry-run] [--keep] | teardown [--dry-run]
		  --dry-run  print every command, run none
		  --keep     leave the cluster at the end; teardown deletes it
		Logs go to ${ARTIFACTS}/katamaran-$SHORT-*.log; KATAMARAN_ARTIFACTS is another folder,
		KATAMARAN_BUNDLE a file of bundle.sh to use instead of building one.
	END
}

# begin [ARGUMENT...]: of the command line.
begin() {
	local teardown=''
	ARTIFACTS=${KATAMARAN_ARTIFACTS:-/tmp}
	while (($#)); do
		case $1 in
		--dry-run) DRY=1 ;;
		--keep) KEEP=1 ;;
		teardown) teardown=1 ;;
		-h | --help) usage; exit ;;
		*) usage >&2; exit 2 ;;
		esac
		shift
	done
	if [[ $teardown ]]; then
		title "Deleting the cluster $CLUSTER..."
		cluster_down
		exit
	fi
	WORK=$(mktemp -d)
	trap 'leave $?' EXIT
	trap 'exit 130' INT
	trap 'exit 143' TERM
}

leave() {
	trap - EXIT INT TERM
	if [[ $CREATED && $KEEP ]]; then
		title "The cluster $CLUSTER stays: ${0##*/} teardown deletes it."
	elif [[ $CREATED ]]; then
		title "Deleting the cluster $CLUSTER..."
		cluster_down || echo "  ERROR: it is still there: ${0##*/} teardown" >&2
	fi
	rm -rf "$WORK"
	exit "$1"
}

# ---- commands ----------------------------------------------------------------------------

# Every command goes through run, feed, ask or keep, and so is printed and not run in a dry run.
# Three words stand for what reaches the cluster: "kube", "root NODE COMMAND..." and "on NODE
# VERB..." (of cluster-node.sh).  expand sets WORDS to the real command.
expand() {
	case $1 in
	kube) WORDS=(kubectl --context "$CONTEXT" "${@:2}") ;;
	root) on_node "${@:2}" ;;
	on) on_node "$2" /opt/katamaran/node.sh "${@:3}" ;;
	*) WORDS=("$@") ;;
	esac
	[[ ! $DRY ]] || echo "+$(printf ' %q' "${WORDS[@]}")" >&3
}
exec 3>&1

run() {
	expand "$@"
	[[ $DRY ]] || "${WORDS[@]}"
}

# feed TEXT COMMAND...: with TEXT on its standard input.
feed() {
	expand "${@:2}"
	if [[ $DRY ]]; then
		echo "  | ${1//$'\n'/$'\n'  | }" >&3
	else
		"${WORDS[@]}" <<<"$1"
	fi
}

# ask STANDS_FOR COMMAND...: what it prints, which must not be empty; in a dry run STANDS_FOR.
ask() {
	local answer
	expand "${@:2}"
	if [[ $DRY ]]; then
		printf '%s\n' "$1"
		return
	fi
	answer=$("${WORDS[@]}" | tr -d '\r') || return
	[[ $answer ]] || { echo "  ERROR: no answer from: ${WORDS[*]}" >&2; return 1; }
	printf '%s\n' "$answer"
}

# keep WHAT COMMAND...: its output, here and in an artifact, a new file.
keep() {
	local file
	file=$(artifact "$1")
	expand "${@:2}"
	[[ ! $DRY ]] || return 0
	rm -f -- "$file"
	(set -C && : >"$file")
	"${WORDS[@]}" 2>&1 | tr -d '\r' | tee -a "$file"
}

artifact() { echo "$ARTIFACTS/katamaran-$SHORT-$1.log"; }

# value KEY: of key=value lines on standard input; the first.
value() {
	sed -n "s/^$1=//p" | head -n 1
}

# ---- the two providers: how a node is reached ---------------------------------------------

# use minikube|kind: sets PROVIDER, CONTEXT and the names of the nodes.
use() {
	PROVIDER=$1
	case $1 in
	minikube) CONTEXT=$CLUSTER NODE1=$CLUSTER NODE2=$CLUSTER-m02 ;;
	kind)
		CONTEXT=kind-$CLUSTER NODE1=$CLUSTER-control-plane NODE2=$CLUSTER-worker
		export KIND_EXPERIMENTAL_PROVIDER=podman
		;;
	esac
}

# on_node NODE COMMAND...: as root there.  minikube's ssh joins the words for a shell.
on_node() {
	case $PROVIDER in
	minikube)
		WORDS=(minikube -p "$CLUSTER" ssh -n "$1" -- "sudo$(printf ' %q' "${@:2}")")
		;;
	kind) WORDS=(podman exec -i "$@") ;;
	esac
}

# copy_in NODE FILE PATH
copy_in() {
	case $PROVIDER in
	minikube) run minikube -p "$CLUSTER" cp "$2" "$1:$3" ;;
	kind) run podman cp "$2" "$1:$3" ;;
	esac
}

cluster_down() {
	case $PROVIDER in
	minikube) run minikube delete -p "$CLUSTER" ;;
	kind) run kind delete cluster --name "$CLUSTER" ;;
	esac
}

exists() {
	case $PROVIDER in
	minikube) minikube profile list -o json | grep -q "\"Name\":\"$CLUSTER\"" ;;
	kind) kind get clusters | grep -qx "$CLUSTER" ;;
	esac
}

# ---- steps: the host and the cluster ------------------------------------------------------

# host_has DISK_GB MEMORY_GB TOOL...: all that is missing, in one go.
host_has() {
	local disk=$1 memory=$2 tool file nested='' lacks=() free
	shift 2
	title "Checking this host..."
	if [[ $DRY ]]; then
		echo "  (a dry run does not look: /dev/kvm, $disk GB, $memory GB, $* ping)"
		return
	fi
	for tool in "$@" ping; do
		[[ $(type -P "$tool") ]] || lacks+=("the program $tool")
	done
	[[ -c $HOST/dev/kvm || ($HOST && -e $HOST/dev/kvm) ]] || lacks+=("/dev/kvm")
	if [[ $PROVIDER = minikube ]]; then
		for file in "$HOST"/sys/module/kvm_{intel,amd}/parameters/nested; do
			[[ ! -r $file || $(<"$file") != [Y1] ]] || nested=1
		done
		[[ $nested ]] || lacks+=("nested virtualization (kvm_intel or kvm_amd, nested=1)")
	fi
	free=$(($(sed -n 's/^MemAvailable: *\([0-9]*\) kB/\1/p' "$HOST/proc/meminfo") >> 20))
	((free >= memory)) || lacks+=("memory: $free GB are free, $memory GB are needed")
	free=$(df --output=avail -BG "$HOME" | tail -n 1)
	free=${free//[!0-9]/}
	((free >= disk)) || lacks+=("disk: $free GB are free in $HOME, $disk GB are needed")
	if [[ $PROVIDER = kind && $(type -P podman) ]]; then
		[[ $(podman info --format '{{.Host.Security.Rootless}}') = false ]] ||
			lacks+=("podman as root (kind's nodes need it)")
	fi
	if ((${#lacks[@]})); then
		printf '  MISSING: %s\n' "${lacks[@]}" >&2
		exit 3
	fi
	if exists; then
		echo "  MISSING: the name $CLUSTER, which a cluster has: ${0##*/} teardown" >&2
		exit 3
	fi
	pass "this host can run the cluster"
}

# minikube_up NODES OPTION...
minikube_up() {
	title "Creating the cluster $CLUSTER..."
	CREATED=1
	run minikube start -p "$CLUSTER" --nodes "$1" --driver kvm2 --container-runtime containerd \
		--kubernetes-version "$KUBERNETES" --cpus 4 --memory 8g --disk-size 20g "${@:2}"
}

# Kata's QEMU runs in the nodes, which are containers: they get this host's /dev/kvm.
kind_up() {
	title "Creating the cluster $CLUSTER..."
	CREATED=1
	feed "$(kind_nodes)" kind create cluster --name "$CLUSTER" --image "$KIND_NODE" \
		--wait 180s --config -
}

kind_nodes() {
	local role
	printf '%s\n' 'kind: Cluster' 'apiVersion: kind.x-k8s.io/v1alpha4' 'nodes:'
	for role in control-plane worker; do
		cat <<-END
			- role: $role
			  extraMounts:
			  - hostPath: /dev/kvm
			    containerPath: /dev/kvm
			  - hostPath: /lib/modules
			    containerPath: /lib/modules
			    readOnly: true
		END
	done
}

kvm_in_nodes() {
	local node
	for node in "$NODE1" "$NODE2"; do
		run root "$node" test -c /dev/kvm || die "$node has no /dev/kvm"
	done
	pass "/dev/kvm is there in both nodes"
}

# Calico takes routes away that it did not make, such as that of join_route.
calico_keeps_routes() {
	run kube -n kube-system set env daemonset/calico-node FELIX_REMOVEEXTERNALROUTES=false
	run kube -n kube-system rollout status daemonset/calico-node --timeout=15m
}

# kata_up: Kata Containers on all nodes, the class kata-qemu alone.
kata_up() {
	title "Installing Kata Containers $KATA..."
	run helm install kata-deploy "$KATA_CHART" --version "$KATA" --kube-context "$CONTEXT" \
		--namespace kube-system --set shims.disableAll=true --set shims.qemu.enabled=true \
		--set defaultShim.amd64=qemu --wait --timeout 15m || kata_is_not_up
	run kube wait node --all --timeout=15m \
		--for=jsonpath='{.metadata.labels.katacontainers\.io/kata-runtime}'=true || kata_is_not_up
}

kata_is_not_up() {
	run kube -n kube-system describe pods -l name=kata-deploy || true
	die "kata-deploy has not started: see the events of its pods above (an image that cannot be" \
		"pulled, a node without room)"
}

# katamaran_up NODE...: the program and its plugins into the nodes, and the nodes made ready.
katamaran_up() {
	local node bundle=${KATAMARAN_BUNDLE:-$WORK/katamaran.tar.gz}
	title "Copying katamaran into the nodes..."
	[[ ${KATAMARAN_BUNDLE-} ]] || run "$HERE/bundle.sh" "$bundle" >"$WORK/bundle.log" 2>&1 ||
		{ tail -n 20 "$WORK/bundle.log" >&2; die "katamaran could not be packed"; }
	for node; do
		copy_in "$node" "$bundle" /tmp/katamaran.tar.gz
		run root "$node" tar -C / -xzf /tmp/katamaran.tar.gz
		run on "$node" prepare
	done
}

# ---- steps: the two pods ------------------------------------------------------------------

# guest NAME NODE: a Kata pod there, with the volume CLAIM if there is one.
guest() {
	cat <<-END
		apiVersion: v1
		kind: Pod
		metadata:
		  name: $1
		  labels:
		    app: katamaran-e2e
		spec:
		  runtimeClassName: kata-qemu
		  terminationGracePeriodSeconds: 0
		  nodeSelector:
		    kubernetes.io/hostname: $2
		  tolerations:
		  - operator: Exists
		  containers:
		  - name: guest
		    image: $GUEST_IMAGE
	END
	[[ ! $CLAIM ]] || cat <<-END
		    volumeMounts:
		    - name: shared
		      mountPath: /mnt/shared
		  volumes:
		  - name: shared
		    persistentVolumeClaim:
		      claimName: $CLAIM
	END
}

# source_pod: sets POD_IP and GATEWAY.
source_pod() {
	local facts
	title "Starting the source pod on $NODE1..."
	feed "$(guest $SOURCE "$NODE1")" kube apply -f -
	run kube wait pod/$SOURCE --for=condition=Ready --timeout=10m
	POD_IP=$(ask POD_IP kube get pod $SOURCE -o 'jsonpath={.status.podIP}')
	facts=$(ask gateway=GATEWAY on "$NODE1" facts 60)
	GATEWAY=$(value gateway <<<"$facts")
}

node_ip() {
	ask "IP-$1" kube get node "$1" \
		-o 'jsonpath={.status.addresses[?(@.type=="InternalIP")].address}'
}

# The destination's QEMU takes only a guest with the arguments of its own.
match_state() {
	local state
	title "Reading the state of the source's QEMU, for the one on $NODE2..."
	state=$(ask '{"version":1}' on "$NODE1" state)
	echo "$state"
	feed "$state" on "$NODE2" match
}

# dest_pod: its QEMU waits, so the pod is never Ready before the guest comes.
dest_pod() {
	title "Starting the destination pod on $NODE2..."
	feed "$(guest $DEST "$NODE2")" kube apply -f -
	run on "$NODE2" facts 600 || sandbox_is_not_up
	NODE1_IP=$(node_ip "$NODE1")
	NODE2_IP=$(node_ip "$NODE2")
	run on "$NODE1" way "$NODE2_IP" $PORT
	run on "$NODE2" way "$NODE1_IP" $PORT
}

sandbox_is_not_up() {
	run kube describe pod $DEST || true
	die "the destination's sandbox has not started: see the events of its pod above, and" \
		"\"journalctl -t kata\" on $NODE2 for what katamaran-qemu said"
}

# The node's route to the guest, where the network is made of routes.
join_route() {
	run on "$NODE2" join "$POD_IP" "$GATEWAY"
}

# ---- steps: the migration -----------------------------------------------------------------

ping_begin() {
	title "Pinging $POD_IP from $NODE1, 20 times a second..."
	run on "$NODE1" ping "$POD_IP"
	run sleep 2
}

# migrate LEARN [WORD...]: the destination first.  LEARN tells the network where the guest is, while
# the redirect still stands; both ends are given the words.
migrate() {
	local source
	title "Starting katamaran DESTINATION on $NODE2..."
	run on "$NODE2" dest -vm-ip "$POD_IP" -port $PORT -shared-storage "${@:2}"
	title "Starting katamaran SOURCE on $NODE1 (migrating to $NODE2_IP)..."
	keep source on "$NODE1" source -dest-ip "$NODE2_IP" -vm-ip "$POD_IP" -port $PORT \
		-shared-storage "${@:2}" &
	source=$!
	if run on "$NODE2" arrived 900; then
		"$1"
	fi
	wait "$source" || true
	keep dest on "$NODE2" dest-result 120 >"$WORK/dest.log" || true
}

learn_route() {
	title "Telling $NODE1 that $POD_IP is on $NODE2..."
	run on "$NODE1" learn "$POD_IP" "$NODE2_IP"
}

ping_end() {
	run sleep 2
	title "Ending the ping..."
	keep ping on "$NODE1" ping-end >"$WORK/ping.log"
}

# ---- steps: the report --------------------------------------------------------------------

# exit_of END: the exit code of katamaran there, or "unknown".
exit_of() {
	local code
	code=$(value exit <"$(artifact "$1")" 2>/dev/null) || true
	echo "${code:-unknown}"
}

report() {
	[[ ! $DRY ]] || return 0
	heading "$TITLE E2E MIGRATION RESULTS"
	echo "--- Migration Status ---"
	SOURCE_EXIT=$(exit_of source) DEST_EXIT=$(exit_of dest)
	if [[ $SOURCE_EXIT = 0 && $DEST_EXIT = 0 ]]; then
		pass "Live migration completed successfully!"
	else
		fail "the source ended with $SOURCE_EXIT, the destination with $DEST_EXIT"
	fi
	printf '\n--- Destination Logs ---\n'
	sed 's/^/  /' "$WORK/dest.log"
}

ping_report() {
	local code=0 twice
	[[ ! $DRY ]] || return 0
	heading "ZERO-DROP PING PROOF"
	awk -f "$HERE/ping-report.awk" "$(artifact ping)" >"$WORK/ping.facts" || code=$?
	PING=$(value summary <"$WORK/ping.facts")
	[[ ! $PING ]] || printf '  %s\n\n' "$PING"
	case $code in
	0)
		pass "ZERO PACKET LOSS: $(value transmitted <"$WORK/ping.facts") transmitted," \
			"$(value received <"$WORK/ping.facts") received, 0% loss"
		;;
	1) fail "$(value lost <"$WORK/ping.facts") packets were lost" ;;
	*) fail "the ping log proves nothing" ;;
	esac
	printf '  %s\n' "$(value rtt <"$WORK/ping.facts")"
	twice=$(value duplicates <"$WORK/ping.facts")
	[[ ${twice:-0} = 0 ]] || echo "  $twice were answered twice"
	printf '\n--- Packets with elevated RTT (>10ms, likely buffered during cutover) ---\n'
	sed -n 's/^slow=/  /p' "$WORK/ping.facts"
}

# summary [LINE...]: ends the script.
summary() {
	local line
	[[ ! $DRY ]] || return 0
	heading SUMMARY
	printf '  %-17s %s\n' CNI: "$CNI" Nodes: "$NODE1 (source) → $NODE2 (dest)" \
		'Pod IP:' "$POD_IP" Storage: "$STORAGE"
	for line; do
		printf '  %-17s %s\n' "${line%%=*}" "${line#*=}"
	done
	printf '  %-17s %s\n' 'Migration exit:' "$SOURCE_EXIT" 'Ping result:' "${PING:-none}" \
		Logs: "$(artifact '*')"
	echo
	if [[ $FAILED ]]; then
		fail "$TITLE ZERO-DROP MIGRATION: NOT VERIFIED"
		exit 1
	fi
	pass "$TITLE ZERO-DROP MIGRATION: VERIFIED"
}
