#!/bin/bash
# A demo in a kind cluster (https://kind.sigs.k8s.io): makes the cluster, loads
# the images that "make images" has built, installs, and says how to play.
#
#   kube/install/kind.sh [up|down] [CLUSTER]
set -euo pipefail
command=${1:-up} cluster=${2:-k8s-synth}
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
images=bin/images
osc=9000 http=8000 # ports of this machine

need() { command -v "$1" >/dev/null 2>&1 || { echo "$1 is needed: $2" >&2; exit 1; }; }
need kind https://kind.sigs.k8s.io/docs/user/quick-start
need kubectl https://kubernetes.io/docs/tasks/tools
kube() { kubectl --context "kind-$cluster" "$@"; }

case $command in
down) kind delete cluster --name "$cluster"; exit ;;
up) ;;
*) sed -n 2,5p "$0"; exit 2 ;;
esac

for i in voice topology-synthesizer eno k8s-synth; do
  [ -f "$images/$i.tar" ] || { echo "$images/$i.tar is not there: run make images" >&2; exit 1; }
done

if ! kind get clusters 2>/dev/null | grep -qx "$cluster"; then
  kind create cluster --name "$cluster" --wait 2m --config - <<CONFIG
kind: Cluster
apiVersion: kind.x-k8s.io/v1alpha4
nodes:
- role: control-plane
  extraPortMappings:
  - {containerPort: 30900, hostPort: $osc, protocol: UDP, listenAddress: 127.0.0.1}
  - {containerPort: 30080, hostPort: $http, protocol: TCP, listenAddress: 127.0.0.1}
- role: worker
- role: worker
CONFIG
fi
for i in voice topology-synthesizer eno k8s-synth; do
  kind load image-archive "$images/$i.tar" --name "$cluster"
done
kube apply -k kube/install/kind
kube -n eno-system rollout status deployment/eno-controller --timeout 2m
kube -n eno-system rollout status deployment/eno-reconciler --timeout 2m
kube -n k8s-synth-system rollout status deployment/k8s-synth --timeout 2m

cat <<HINTS

It plays. Try:
  kubectl --context kind-$cluster -n k8s-synth get pods -w          # the voices
  kubectl --context kind-$cluster -n k8s-synth edit configmap topology   # the patch
  oscsend 127.0.0.1 $osc /deployment/web/replicas i 6               # a knob
  bin/k8s-synth play --context kind-$cluster --listen-only          # hear it here
and to end it: kube/install/kind.sh down $cluster
HINTS
