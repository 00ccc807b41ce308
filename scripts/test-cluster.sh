#!/usr/bin/env bash
# Tests the chart on a real Kubernetes cluster, or measures it (`bench`); says SKIPPED if there is none. The cluster,
# its ingress and the Docker engine come from kits beside the project; this script stops what it has started.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

docker_kit=../shared/docker
cluster_kit=../shared/cluster
tests=$(grep -c '^def test_' tests/cluster/test_*.py | awk -F: '{ sum += $2 } END { print sum }')
skip() {
    echo "cluster SKIPPED ($tests): $1"
    exit
}

started=()
stop() {
    local kit
    for kit in "${started[@]}"; do "$kit/down.sh" || true; done
}
trap stop EXIT

[ -x "$cluster_kit/up.sh" ] || skip "there is no cluster here"
if ! docker info >/dev/null 2>&1 && [ -x "$docker_kit/up.sh" ]; then
    started+=("$docker_kit")
    "$docker_kit/up.sh" rust redis prometheus python || echo "$docker_kit/up.sh could not start an engine"
fi
docker info >/dev/null 2>&1 || skip "there is no Docker engine here"

if ! pgrep -f "meshgate-cluster/.*/kube-apiserver|kube-apiserver --etcd" >/dev/null; then
    started+=("$cluster_kit")
fi
settings=$("$cluster_kit/up.sh") || skip "$cluster_kit/up.sh could not start a cluster"
eval "$settings"

version=$(sed -n 's/^appVersion: *"\?\([^"]*\)"\?/\1/p' charts/meshgate/Chart.yaml)
image=meshgate:$version
if [ -n "${TEST_IMAGE:-}" ]; then
    docker tag "$TEST_IMAGE" "$image"
else
    docker build --tag "$image" .
fi
docker build --tag meshgate-moto:test --file tests/cluster/moto.Dockerfile tests/moto
"$cluster_kit/load-image.sh" "$image" meshgate-moto:test redis:7-bookworm prom/prometheus:latest
if [ "${1:-}" = bench ]; then
    .venv/chart/bin/python tests/cluster/bench.py
else
    .venv/chart/bin/python -m pytest tests/cluster --durations=10 "$@"
fi
