# shellcheck shell=bash
# To be sourced: starting what a compose file says, waiting for it, and telling what is wrong with it.

# With docker-compose where docker has no compose.
if docker compose version >/dev/null 2>&1; then
    compose=(docker compose)
elif command -v docker-compose >/dev/null; then
    compose=(docker-compose)
else
    echo "there is no docker compose; https://docs.docker.com/compose/install/ tells how to get it" >&2
    exit 1
fi
if ! docker info >/dev/null 2>&1; then
    echo "docker does not answer: is its engine running, and may $(id -un) use it?" >&2
    exit 1
fi

# start SECONDS: builds and starts everything, and waits until it is healthy. Otherwise it shows what the sick services
# said last, and fails.
start() {
    "${compose[@]}" build || return
    if "${compose[@]}" up -d --wait --wait-timeout "$1"; then
        return
    fi
    local id name state
    for id in $("${compose[@]}" ps --all --quiet); do
        read -r name state < <(docker inspect --format \
            '{{index .Config.Labels "com.docker.compose.service"}} {{if .State.Health}}{{.State.Health.Status}}{{else}}{{.State.Status}}{{end}}' "$id")
        case $state in healthy | running) continue ;; esac
        echo "--- $name is $state; its last words:" >&2
        docker logs --tail 20 "$id" >&2
    done
    return 1
}
