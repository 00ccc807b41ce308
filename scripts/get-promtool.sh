#!/usr/bin/env bash
# Puts Prometheus's own promtool into target/tools, for the tests of metrics and alerts; needs no root.
# On a system without apt, or without network, it says so, and those tests are counted as ignored.
set -euo pipefail
cd "$(dirname "$0")/.."
source scripts/from-debian.sh

tools=$PWD/target/tools
[ -x "$tools/promtool" ] && exit 0
mkdir -p "$tools"

if command -v promtool >/dev/null; then
    ln -sf "$(command -v promtool)" "$tools/promtool"
    exit 0
fi
work=$(mktemp -d "$tools/promtool.XXXXXX")
trap 'rm -rf "$work"' EXIT
if ! why=$(unpack_debs "$work" prometheus); then
    echo "promtool SKIPPED (1): $why; install what Debian calls prometheus to have its tests run" >&2
    exit 0
fi
mv "$work/usr/bin/promtool" "$tools/promtool"
