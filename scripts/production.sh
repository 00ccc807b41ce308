# shellcheck shell=bash
# To be sourced after compose.sh: adds the compose file and settings of production.
if [ -f .env.production ]; then
    compose+=(--env-file .env.production)
fi
compose+=(-f docker-compose.prod.yml)
