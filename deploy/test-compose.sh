#!/usr/bin/env bash
# Builds the image, brings docker-compose.yaml up to healthy, walks a token's whole life through it, and takes it down.
# It needs a docker daemon (DOCKER_HOST is obeyed) and Docker Compose (COMPOSE names another command).
set -euo pipefail
. "$(dirname "$0")/lib.sh"
need curl curl; need openssl openssl
use_docker; use_compose

export COMPOSE_PROJECT_NAME=sallyport-test-$$ SALLYPORT_PORT=0
export SALLYPORT_IMAGE=sallyport:test SALLYPORT_SECRETS
SALLYPORT_SECRETS=$(mktemp -d)
cd "$root"

services="issuer authz redis envoy upstream"
containers() { docker ps -aq --filter "label=com.docker.compose.project=$COMPOSE_PROJECT_NAME" "$@"; }
finish() {
    status=$?
    trap - EXIT
    if [ $status -ne 0 ]; then
        docker ps -a --filter "label=com.docker.compose.project=$COMPOSE_PROJECT_NAME" >&2 || :
        "${compose[@]}" logs --tail 30 >&2 || :
    fi
    "${compose[@]}" down -v --remove-orphans >/dev/null 2>&1 || { say "could not take the stack down"; status=1; }
    rm -rf "$SALLYPORT_SECRETS"
    exit $status
}
trap finish EXIT
trap 'exit 1' INT TERM

build_image "$SALLYPORT_IMAGE"
SALLYPORT='' deploy/secrets.sh "$SALLYPORT_SECRETS" 2>"$SALLYPORT_SECRETS/said" || { cat "$SALLYPORT_SECRETS/said" >&2; die "deploy/secrets.sh failed"; }
password=$(sed -n 's/.*user alice, password \([^ ]*\).*/\1/p' "$SALLYPORT_SECRETS/said")

"${compose[@]}" up -d >&2
health() { docker inspect -f '{{if .State.Health}}{{.State.Health.Status}}{{else}}{{.State.Status}}{{end}}' "$(containers --filter "label=com.docker.compose.service=$1")"; }
for service in $services; do
    deadline=$((SECONDS + 60))
    until [ "$(health "$service")" = healthy ]; do
        [ $SECONDS -lt $deadline ] || die "$service is $(health "$service") after a minute, not healthy"
        sleep 0.3
    done
done
say "all healthy: $services"

port=$("${compose[@]}" port envoy 10000)
deploy/walk.sh "http://$port" <<<"$password"
say "passed"
