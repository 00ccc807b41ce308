#!/usr/bin/env bash
# Starts Meshgate for production, with the settings in .env.production if it exists; run it again after a change.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
source scripts/compose.sh
source scripts/production.sh

# secret FILE: creates a password once. Containers run as other users and must read it, so only its folder protects it.
secret() {
    [ -e "$1" ] && return
    mkdir -p "$(dirname "$1")"
    chmod 700 "$(dirname "$1")"
    od -An -N24 -tx1 /dev/urandom | tr -d ' \n' >"$1"
    chmod 444 "$1"
    echo "created a password: $1"
}

secret secrets/redis_password
secret secrets/grafana_password
REVISION=$(git rev-parse HEAD 2>/dev/null || true)
CREATED=$(date -u +%Y-%m-%dT%H:%M:%SZ)
export REVISION CREATED
start 300
address=$("${compose[@]}" port nginx 8080)
echo "Meshgate is at http://localhost:${address##*:} (its API: /apidocs/)"
