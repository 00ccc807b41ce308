# shellcheck shell=bash
# To be sourced after compose.sh: production's files and settings.
if [ -f .env.production ]; then
    compose+=(--env-file .env.production)
fi
compose+=(-f docker-compose.prod.yml)
