#!/usr/bin/env bash
# Stops production after accepted conversions have finished. Results, jobs, logs and secrets stay.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
source scripts/compose.sh
source scripts/production.sh

"${compose[@]}" down
echo "stopped; results, jobs and logs stay in the volumes meshgate_data, meshgate_jobs and meshgate_logs"
