#!/usr/bin/env bash
# Stops production: what was accepted is finished first. Results, logs and secrets stay.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
source scripts/compose.sh
source scripts/production.sh

"${compose[@]}" down
echo "stopped; what it has kept is in the volumes meshgate_data and meshgate_logs"
