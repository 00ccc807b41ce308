#!/usr/bin/env bash
# Puts Prometheus's own promtool into target/tools, for the tests of metrics and alerts; needs no root.
# On a system without apt, or without network, it says so, and those tests are counted as ignored.
set -euo pipefail
cd "$(dirname "$0")/.."
source scripts/from-debian.sh

if ! why=$(get_tool promtool bin/promtool prometheus); then
    echo "promtool SKIPPED (1): $why; install what Debian calls prometheus to have its tests run" >&2
fi
