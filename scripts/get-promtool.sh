#!/usr/bin/env bash
# Puts Prometheus's promtool into target/tools, for the tests of metrics and alerts; needs no root.
# Without apt or network it says so, and those tests count as ignored.
set -euo pipefail
cd "$(dirname "$0")/.."
source scripts/from-debian.sh

if ! why=$(get_tool promtool bin/promtool prometheus); then
    echo "promtool SKIPPED (1): $why; install Debian's prometheus or the like to run its tests" >&2
fi
