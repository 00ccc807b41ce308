# shellcheck shell=bash
# To be sourced: starts the services of a compose file, waits for them, and shows why they fail.

# `docker compose`, or `docker-compose` if the plugin is missing.
if docker compose version >/dev/null 2>&1; then
    compose=(docker compose)
elif command -v docker-compose >/dev/null; then
    compose=(docker-compose)
else
    echo "docker compose is missing; see https://docs.docker.com/compose/install/" >&2
    exit 1
fi
if ! docker info >/dev/null 2>&1; then
    echo "docker does not answer: is its engine running, and may $(id -un) use it?" >&2
    exit 1
fi

# start SECONDS: builds and starts all services, and waits until they are healthy. Otherwise it fails and shows the last
# lines of the unhealthy ones.
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
        echo "--- $name is $state; its last lines:" >&2
        docker logs --tail 20 "$id" >&2
    done
    return 1
}
