#!/usr/bin/env bash
# Starts Meshgate for development; it rebuilds and restarts after a change of the sources.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
source scripts/compose.sh

echo "The first start compiles everything, which takes minutes."
start 1800
echo "Meshgate is at http://localhost:${PORT:-5000} (its API: /apidocs/)"
echo "docker compose logs -f api    shows its log;    docker compose down    stops it"
