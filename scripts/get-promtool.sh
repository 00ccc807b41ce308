#!/usr/bin/env bash
# Puts Prometheus's own promtool into target/tools, for the tests of metrics and alerts; needs no root.
# On a system without apt, or without network, it says so, and those tests are counted as ignored.
set -euo pipefail
cd "$(dirname "$0")/.."

tools=target/tools
[ -x "$tools/promtool" ] && exit 0
mkdir -p "$tools"

skip() {
    echo "promtool SKIPPED (1): $1; install what Debian calls prometheus to have its tests run" >&2
    exit 0
}

if command -v promtool >/dev/null; then
    ln -sf "$(command -v promtool)" "$tools/promtool"
    exit 0
fi
command -v apt-get >/dev/null && command -v dpkg >/dev/null || skip "there is no apt here"

work=$(mktemp -d "$PWD/$tools/promtool.XXXXXX")
trap 'rm -rf "$work"' EXIT
# Lists of its own where the system's are absent or old: only root may write those.
lists=(-o "Dir::State=$work/state" -o "Dir::State::status=/var/lib/dpkg/status" -o "Dir::Cache=$work/cache"
    -o Debug::NoLocking=1)
mkdir -p "$work/state/lists/partial" "$work/cache/archives/partial"
download() { (cd "$work" && timeout 120 apt-get -qq "$@" download prometheus >/dev/null 2>&1); }
download || { timeout 120 apt-get -qq "${lists[@]}" update >/dev/null 2>&1 && download "${lists[@]}"; } ||
    skip "the package prometheus cannot be had from here"
dpkg-deb --fsys-tarfile "$work"/prometheus_*.deb | tar -x -C "$work" ./usr/bin/promtool
mv "$work/usr/bin/promtool" "$tools/promtool"
