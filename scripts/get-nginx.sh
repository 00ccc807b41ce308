#!/usr/bin/env bash
# Puts an nginx into target/tools, for the benchmark; needs no root, and starts no service.
set -euo pipefail
cd "$(dirname "$0")/.."
source scripts/from-debian.sh

tools=$PWD/target/tools
[ -x "$tools/nginx" ] && exit 0
mkdir -p "$tools"

if command -v nginx >/dev/null; then
    ln -sf "$(command -v nginx)" "$tools/nginx"
    exit 0
fi
work=$(mktemp -d "$tools/nginx.XXXXXX")
trap 'rm -rf "$work"' EXIT
if ! why=$(unpack_debs "$work" nginx libpcre2-8-0); then
    echo "$why: install nginx, the benchmark compares with it" >&2
    exit 1
fi
rm -rf "$tools/nginx-files"
mv "$work/usr" "$tools/nginx-files"
cat >"$work/nginx" <<'SERVER'
#!/usr/bin/env bash
files=$(dirname "$(readlink -f "$0")")/nginx-files
LD_LIBRARY_PATH=$(echo "$files"/lib/*-linux-gnu) exec "$files/sbin/nginx" "$@"
SERVER
chmod +x "$work/nginx"
mv "$work/nginx" "$tools/nginx"
