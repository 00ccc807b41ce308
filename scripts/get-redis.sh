#!/usr/bin/env bash
# Puts redis-server into target/tools, for the tests that start one; needs no root, and starts no service.
set -euo pipefail
cd "$(dirname "$0")/.."
source scripts/from-debian.sh

# Debian's redis-server is a link to this program.
if ! why=$(get_tool redis-server bin/redis-check-rdb redis-tools libjemalloc2 liblzf1 libatomic1); then
    echo "$why: install redis-server for the tests" >&2
    exit 1
fi
