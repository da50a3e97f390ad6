#!/usr/bin/env bash
# Runs the tests on a cluster of their own: Kubernetes in Docker (kind), KFP standalone, and two GPUs that do not exist.
# Needs docker, kind, kubectl and git. Usage: tests/cluster/kind.sh up|test|down
set -euo pipefail
cd "$(dirname "$0")/../.."

cluster=radiograft
kfp_version=${KFP_VERSION:-2.17.0}
port=${KFP_PORT:-8080}
export RADIOGRAFT_TRAINER_IMAGE=${RADIOGRAFT_TRAINER_IMAGE:-radiograft/trainer:0.1.0-cpu}
# A kubeconfig of its own, so that no other cluster can be meant.
export KUBECONFIG=$PWD/build/kind-kubeconfig

up() {
	mkdir -p build
	kind create cluster --name "$cluster" --wait 5m
	# Kubernetes counts a resource that no device plugin offers like any other. The tests run the CPU image.
	for node in $(kubectl get nodes --output name); do
		kubectl patch "$node" --subresource status --type json \
			--patch '[{"op": "add", "path": "/status/capacity/nvidia.com~1gpu", "value": "2"}]'
	done
	kubectl wait node --all --for 'jsonpath={.status.allocatable.nvidia\.com/gpu}=2' --timeout 120s
	manifests=github.com/kubeflow/pipelines/manifests/kustomize
	kubectl apply -k "$manifests/cluster-scoped-resources?ref=$kfp_version"
	kubectl wait --for condition=established --timeout 60s crd/applications.app.k8s.io
	kubectl apply -k "$manifests/env/platform-agnostic?ref=$kfp_version"
	kubectl wait --namespace kubeflow --for condition=available --timeout 900s deployment --all
	make image IMAGE="$RADIOGRAFT_TRAINER_IMAGE" TARGET=cpu
	kind load docker-image "$RADIOGRAFT_TRAINER_IMAGE" --name "$cluster"
}

run_tests() {
	kubectl port-forward --namespace kubeflow service/ml-pipeline-ui "$port:80" &
	trap "kill $!" EXIT
	export KFP_ENDPOINT=http://localhost:$port
	for _ in $(seq 30); do
		if curl --fail --silent --output /dev/null "$KFP_ENDPOINT/apis/v2beta1/healthz"; then break; fi
		sleep 1
	done
	make test-cluster
}

down() {
	kind delete cluster --name "$cluster"
	rm -f "$KUBECONFIG"
}

case ${1:-} in
	up) up ;;
	test) run_tests ;;
	down) down ;;
	*) echo "usage: $0 up|test|down" >&2; exit 2 ;;
esac
