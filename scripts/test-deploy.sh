#!/usr/bin/env bash
# Tests images and compose files on a real Docker engine; prints SKIPPED if there is none. A folder beside the clone,
# ../shared/docker, may provide scripts that start and stop an engine: up.sh and down.sh.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

docker_scripts=../shared/docker
# A program of an earlier run must not be mistaken for that of this run.
rm -f target/image/meshgate
if ! docker info >/dev/null 2>&1 && [ -x "$docker_scripts/up.sh" ]; then
    # This script stops the engine that it starts; images stay on disk.
    trap '"$docker_scripts/down.sh" || true' EXIT
    "$docker_scripts/up.sh" rust nginx redis prometheus || echo "$docker_scripts/up.sh could not start an engine"
fi
tests=$(grep -c '^def test_' tests/deploy/test_*.py | awk -F: '{ sum += $2 } END { print sum }')
if ! docker info >/dev/null 2>&1; then
    echo "deploy SKIPPED ($tests): there is no Docker engine here"
    exit
fi
if ! docker compose version >/dev/null 2>&1; then
    echo "deploy SKIPPED ($tests): there is no docker compose here"
    exit
fi
.venv/bin/python -m pytest tests/deploy --durations=10 "$@"
# Copies the release build out of the image, for later steps.
container=$(docker create meshgate:test)
mkdir -p target/image
docker cp "$container:/opt/meshgate/meshgate" target/image/meshgate
docker rm "$container" >/dev/null
