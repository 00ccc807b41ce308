#!/usr/bin/env bash
# Tests the chart on a real Kubernetes cluster, or measures it (`bench`); prints SKIPPED if there is none. A folder beside
# the clone, ../shared, may provide scripts that start a Docker engine and a cluster with an ingress: docker/up.sh and
# docker/down.sh, cluster/up.sh, cluster/down.sh and cluster/load-image.sh. This script stops what it has started.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

docker_scripts=../shared/docker
cluster_scripts=../shared/cluster
tests=$(grep -c '^def test_' tests/cluster/test_*.py | awk -F: '{ sum += $2 } END { print sum }')
skip() {
    echo "cluster SKIPPED ($tests): $1"
    exit
}

started=()
stop() {
    local folder
    for folder in "${started[@]}"; do "$folder/down.sh" || true; done
}
trap stop EXIT

[ -x "$cluster_scripts/up.sh" ] || skip "there is no cluster here"
if ! docker info >/dev/null 2>&1 && [ -x "$docker_scripts/up.sh" ]; then
    started+=("$docker_scripts")
    "$docker_scripts/up.sh" rust redis prometheus python || echo "$docker_scripts/up.sh could not start an engine"
fi
docker info >/dev/null 2>&1 || skip "there is no Docker engine here"

if ! pgrep -f "meshgate-cluster/.*/kube-apiserver|kube-apiserver --etcd" >/dev/null; then
    started+=("$cluster_scripts")
fi
settings=$("$cluster_scripts/up.sh") || skip "$cluster_scripts/up.sh could not start a cluster"
eval "$settings"

version=$(sed -n 's/^appVersion: *"\?\([^"]*\)"\?/\1/p' charts/meshgate/Chart.yaml)
image=meshgate:$version
if [ -n "${TEST_IMAGE:-}" ]; then
    docker tag "$TEST_IMAGE" "$image"
else
    docker build --tag "$image" .
fi
docker build --tag meshgate-moto:test --file tests/cluster/moto.Dockerfile tests/moto
"$cluster_scripts/load-image.sh" "$image" meshgate-moto:test redis:7-bookworm prom/prometheus:latest
if [ "${1:-}" = bench ]; then
    .venv/chart/bin/python tests/cluster/bench.py
else
    .venv/chart/bin/python -m pytest tests/cluster --durations=10 "$@"
fi
