#!/usr/bin/env bash
# Builds the image, brings docker-compose.yaml up to healthy, walks a token's whole life through it, restarts Redis, issuers and
# gates, disables a user, changes the policy, and takes it all down. It needs a docker daemon (DOCKER_HOST is obeyed) and Docker
# Compose (COMPOSE names another command). With --in-process it does the same with deploy/in-process/compose.yaml on top, and the
# image of Envoy with the gate inside.
set -euo pipefail
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/client.sh"
. "$(dirname "$0")/life.sh"
need curl curl; need openssl openssl
use_docker; use_compose

export COMPOSE_PROJECT_NAME=sallyport-test-$$ SALLYPORT_PORT=0
export SALLYPORT_IMAGE=sallyport:test SALLYPORT_ENVOY_IMAGE=sallyport-envoy:test SALLYPORT_SECRETS SALLYPORT_CONFIG
export COMPOSE_FILE=docker-compose.yaml${in_process:+:deploy/in-process/compose.yaml}
# Beside a stack that runs already: a network of its own between Envoy, gates and issuers.
export SALLYPORT_MESH=172.30.$(($$ % 200 + 1))
SALLYPORT_SECRETS=$(mktemp -d)
# Settings and secrets may lie anywhere; those of the test are changed.
SALLYPORT_CONFIG=$SALLYPORT_SECRETS/config
cd "$root"

services="issuer redis envoy upstream"
[ "$gate" = envoy ] || services+=" $gate"
containers() { docker ps -aq --filter "label=com.docker.compose.project=$COMPOSE_PROJECT_NAME" "$@"; }
finish() {
    status=$?
    trap - EXIT
    if [ $status -ne 0 ]; then
        docker ps -a --filter "label=com.docker.compose.project=$COMPOSE_PROJECT_NAME" >&2 || :
        "${compose[@]}" logs --tail 30 >&2 || :
    fi
    "${compose[@]}" down -v --remove-orphans >/dev/null 2>&1 || { say "could not take the stack down"; status=1; }
    rm -rf "$SALLYPORT_SECRETS" "$body" "$sent"
    exit $status
}
trap finish EXIT
trap 'exit 1' INT TERM

build_image "$SALLYPORT_IMAGE"
[ -z "$in_process" ] || build_image --in-process "$SALLYPORT_ENVOY_IMAGE"
SALLYPORT='' deploy/secrets.sh "$SALLYPORT_SECRETS" 2>"$SALLYPORT_SECRETS/said" || { cat "$SALLYPORT_SECRETS/said" >&2; die "deploy/secrets.sh failed"; }
alice=$(password alice "$SALLYPORT_SECRETS/said")
bob=$(password bob "$SALLYPORT_SECRETS/said")
cp -r deploy/config "$SALLYPORT_CONFIG"

health() { docker inspect -f '{{if .State.Health}}{{.State.Health.Status}}{{else}}{{.State.Status}}{{end}}' "$(containers --filter "label=com.docker.compose.service=$1")"; }
healthy() {
    local service deadline
    for service in $services; do
        deadline=$((SECONDS + 90))
        until [ "$(health "$service")" = healthy ]; do
            [ $SECONDS -lt $deadline ] || die "$service is $(health "$service") after a minute and a half, not healthy"
            sleep 0.3
        done
    done
    # A port that Docker chose is another one after a restart.
    gateway=http://$("${compose[@]}" port envoy 10000)
}
"${compose[@]}" up -d >&2
healthy
say "all healthy: $services"
deploy/walk.sh "$gateway" <<<"$alice"

version=$("${compose[@]}" exec -T issuer issuer version)
case $version in
*" $(git describe --tags --always --dirty) "* | *" $(git describe --tags --always --dirty)") ;;
*) [ -n "${SALLYPORT_SKIP_BUILD-}" ] || die "the image says another version than git: $version" ;;
esac
addresses=$("${compose[@]}" logs --no-color issuer | sed -n 's/.*"event":"login".*"address":"\([^"]*\)".*/\1/p' | sort -u)
case $addresses in
"" | *"$SALLYPORT_MESH."*) die "logins are held against Envoy, not against the client: ${addresses:-no address in the audit lines}" ;;
esac

restart() { "${compose[@]}" restart "$@" && healthy; }
cold() { "${compose[@]}" stop && "${compose[@]}" start && healthy; }
disable() {
    local file=$SALLYPORT_SECRETS/issuer/users.yaml before
    before=$(stat -c '%a %u %g' "$file")
    "${compose[@]}" run --rm -u "$(id -u):$(id -g)" operator users disable "$1" --file /run/secrets/users.yaml --now
    [ "$(stat -c '%a %u %g' "$file")" = "$before" ] || die "$file had $before, and has another mode or owner now: $(stat -c '%a %u %g' "$file")"
}
require_role() {
    asks_for "$1" "$SALLYPORT_CONFIG/authz.yaml"
    # Inside Envoy, to whom it means something else, the gate sees by itself that the file has changed.
    [ -n "$in_process" ] || "${compose[@]}" kill -s HUP authz
}

survive "Redis is restarted" restart redis
survive "Redis is stopped and started" eval '"${compose[@]}" stop redis && "${compose[@]}" start redis && healthy'
survive "issuer and gate are restarted" restart issuer "$gate"
# Nobody but Redis' file remembers.
if [ -n "$in_process" ]; then
    say "Envoy is stopped, whose gate leaves the log first"
    "${compose[@]}" stop envoy >&2
    "${compose[@]}" run --rm operator status | tee "$SALLYPORT_SECRETS/status" >&2
    grep -q '^gate  *[^ ]*  *left ' "$SALLYPORT_SECRETS/status" || die "the gate has ended without a word"
    "${compose[@]}" start envoy >&2
    healthy
fi
survive "everything is stopped, then started" cold
disabled_user 10
survive "a disabled user's stack is restarted" cold
login bob "$bob"; expect 401 POST /login "${posted[@]}"
changed_policy
"${compose[@]}" run --rm operator status >&2
say "passed"
