#!/usr/bin/env bash
# Builds kube-score and helm-unittest from their Go modules into target/tools, for the tests of the chart; no package
# contains them. Without Go it says so, and those tests are skipped.
set -euo pipefail
cd "$(dirname "$0")/.."

if ! command -v go >/dev/null; then
    echo "kube-score and helm-unittest SKIPPED: install Go to have the chart checked by them" >&2
    exit
fi

# get MODULE SUM COMMAND: builds target/tools/COMMAND from the module, after a check of its checksum.
get() {
    local module=$1 sum=$2 command=$3 found folder
    [ ! -x "target/tools/$command" ] || return 0
    mkdir -p target/tools
    found=$(GOFLAGS=-mod=mod go mod download -json "$module")
    grep -qF "\"Sum\": \"$sum\"" <<<"$found" || {
        echo "$module does not have the expected checksum: $found" >&2
        return 1
    }
    folder=$(sed -n 's/^\t"Dir": "\(.*\)",\?$/\1/p' <<<"$found")
    # Built inside the module: its `replace` lines apply only to a main module.
    go build -C "$folder" -o "$PWD/target/tools/$command" "./cmd/$command"
}

get github.com/zegl/kube-score@v1.20.0 h1:J1VqK86SunV4Gg8emPTmwUVxe0rmXnAs5K9ZUbGMKR8= kube-score
get github.com/helm-unittest/helm-unittest@v1.1.2 h1:r1Ah6Pr3h4kqvd65RN+r0FNTIGrJa+P9rcMyzwHEXXQ= helm-unittest
