#!/usr/bin/env bash
# Puts a redis-server into target/tools, for the tests that start one; needs no root, and starts no service.
set -euo pipefail
cd "$(dirname "$0")/.."
source scripts/from-debian.sh

tools=$PWD/target/tools
[ -x "$tools/redis-server" ] && exit 0
mkdir -p "$tools"

if command -v redis-server >/dev/null; then
    ln -sf "$(command -v redis-server)" "$tools/redis-server"
    exit 0
fi
work=$(mktemp -d "$tools/redis.XXXXXX")
trap 'rm -rf "$work"' EXIT
if ! why=$(unpack_debs "$work" redis-tools libjemalloc2 liblzf1 libatomic1); then
    echo "$why: install redis-server, the tests start it" >&2
    exit 1
fi
rm -rf "$tools/redis"
mv "$work/usr" "$tools/redis"
# Debian's redis-server is a link to this program, which goes by the name that it is called.
cat >"$work/redis-server" <<'SERVER'
#!/usr/bin/env bash
redis=$(dirname "$(readlink -f "$0")")/redis
LD_LIBRARY_PATH=$(echo "$redis"/lib/*-linux-gnu) exec -a redis-server "$redis/bin/redis-check-rdb" "$@"
SERVER
chmod +x "$work/redis-server"
mv "$work/redis-server" "$tools/redis-server"
