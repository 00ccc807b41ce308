#!/usr/bin/env bash
# Puts nginx into target/tools, for the benchmark; needs no root, and starts no service.
set -euo pipefail
cd "$(dirname "$0")/.."
source scripts/from-debian.sh

if ! why=$(get_tool nginx sbin/nginx nginx libpcre2-8-0); then
    echo "$why: install nginx for the benchmark" >&2
    exit 1
fi
