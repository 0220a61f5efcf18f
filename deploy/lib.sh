# Shared by test-compose.sh and test-k8s.sh, which take --in-process: the gate is inside Envoy then.
# shellcheck shell=bash
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
die() { echo "${0##*/}: $*" >&2; exit 1; }
say() { echo "${0##*/}: $*" >&2; }
# shellcheck disable=SC2034 # gate, the service or deployment that the gate runs in, is read by who sources this
case "$*" in
"") in_process='' gate=authz ;;
--in-process) in_process=1 gate=envoy ;;
*) die "usage: ${0##*/} [--in-process]" ;;
esac
need() { command -v "$1" >/dev/null || die "$1 is missing${2:+; on Debian and Ubuntu: sudo apt-get install $2}"; }

# A folder with daemon.sh, images.sh and compose.sh, which start a docker daemon where none runs; and one with up.sh and
# load.sh, which do the same for a cluster.
: "${SALLYPORT_DOCKER_UP:=$root/../shared/docker}"
: "${SALLYPORT_KUBE_UP:=$root/../shared/kube}"

# use_docker finds a docker daemon, or starts one, and makes sure that the base images can be had.
use_docker() {
    need docker docker.io
    if docker info >/dev/null 2>&1; then return; fi
    [ -z "${DOCKER_HOST-}" ] || die "no docker daemon answers at DOCKER_HOST=$DOCKER_HOST"
    [ -x "$SALLYPORT_DOCKER_UP/daemon.sh" ] || die "no docker daemon answers: start Docker, or point DOCKER_HOST at one that runs"
    say "starting a docker daemon with $SALLYPORT_DOCKER_UP/daemon.sh (it goes on running; daemon.sh down ends it)"
    eval "$("$SALLYPORT_DOCKER_UP/daemon.sh" up)"
    "$SALLYPORT_DOCKER_UP/images.sh" "$root" >&2
}

# shellcheck disable=SC2034 # compose is read by who sources this
# use_compose sets the array compose: COMPOSE when given, else the plugin, else docker-compose, of which 1 does not read
# deploy/in-process/compose.yaml.
use_compose() {
    if [ -n "${COMPOSE-}" ]; then read -ra compose <<<"$COMPOSE"
    elif docker compose version >/dev/null 2>&1; then compose=(docker compose)
    elif command -v docker-compose >/dev/null && ! [[ $in_process && $(docker-compose version --short) = 1.* ]]; then compose=(docker-compose)
    elif [ -x "$SALLYPORT_DOCKER_UP/compose.sh" ]; then compose=("$SALLYPORT_DOCKER_UP/compose.sh")
    else die "Docker Compose${in_process:+ 2.24.4 or newer} is missing: install Docker's compose plugin"; fi
}

# use_cluster finds a cluster, or starts one, and sets the array load: the command that brings images of docker into it.
use_cluster() {
    local context
    load=()
    if [ -z "${KUBECONFIG-}" ] && ! { kubectl config current-context && kubectl get --raw /readyz; } >/dev/null 2>&1 && [ -x "$SALLYPORT_KUBE_UP/up.sh" ]; then
        say "starting a cluster with $SALLYPORT_KUBE_UP/up.sh (it goes on running; down.sh ends it)"
        eval "$("$SALLYPORT_KUBE_UP/up.sh")"
        load=("$SALLYPORT_KUBE_UP/load.sh")
    fi
    need kubectl
    kubectl get --raw /readyz >/dev/null || die "no cluster answers: point KUBECONFIG at one (kind create cluster makes one)"
    if [ -n "${SALLYPORT_LOAD-}" ]; then read -ra load <<<"$SALLYPORT_LOAD"; return; fi
    [ ${#load[@]} -eq 0 ] || return 0
    context=$(kubectl config current-context)
    case $context in
    kind-*) load=(kind load docker-image --name "${context#kind-}") ;;
    minikube) load=(minikube image load) ;;
    *) die "set SALLYPORT_LOAD to the command that brings a docker image into the cluster of context $context" ;;
    esac
}

# base_images: those that our files name are here, or can be had. Where there is no registry, an image of this machine under a wider
# tag (redis:8-alpine for redis:8.2.10-alpine) is taken for it, and said.
base_images() {
    local image wide
    for image in $(sed -n 's/^ARG [A-Z]*_IMAGE=//p' "$root/deploy/Dockerfile" "$root/deploy/in-process/Dockerfile" | sort -u) $(sed -n 's/^ *image: \(redis\|envoyproxy\)/\1/p' "$root/docker-compose.yaml"); do
        docker image inspect "$image" >/dev/null 2>&1 && continue
        wide=$(sed -E 's/^redis:([0-9]+)\.[0-9.]+/redis:\1/; s/^golang:([0-9]+\.[0-9]+)\.[0-9]+/golang:\1/' <<<"$image")
        if [ "$wide" != "$image" ] && docker image inspect "$wide" >/dev/null 2>&1; then
            say "taking $wide of this machine for $image"
            docker tag "$wide" "$image"
        else
            docker pull -q "$image" >/dev/null
        fi
        case $in_process$image in 1golang:*) with_gcc "$image" ;; esac
    done
}

# with_gcc IMAGE: the official golang image has gcc. One of this machine that lacks it gets the machine's, a Debian's.
with_gcc() {
    local context packages
    ! docker run --rm --network none "$1" sh -c 'command -v gcc' >/dev/null || return 0
    need gcc gcc; need apt-cache
    say "adding this machine's gcc to $1"
    packages=$(apt-cache depends --recurse --installed --no-recommends --no-suggests --no-conflicts --no-breaks --no-replaces \
        --no-enhances gcc libc6-dev | grep '^[a-z0-9]')
    context=$(mktemp -d)
    # shellcheck disable=SC2086 # one word a package
    dpkg -L $packages | sort -u | while read -r file; do [ -d "$file" ] || printf '%s\n' "${file#/}"; done |
        tar -C / -cf "$context/gcc.tar" --exclude=usr/share -T -
    printf 'FROM %s\nADD gcc.tar /\n' "$1" >"$context/Dockerfile"
    docker build -q -t "$1" "$context" >/dev/null
    rm -r "$context"
}

# build_image [--in-process] NAME: the image with our programs, or that of Envoy with the gate inside. With SALLYPORT_SKIP_BUILD
# set, the one that is there is taken as it is.
build_image() {
    base_images
    if [ -n "${SALLYPORT_SKIP_BUILD-}" ] && docker image inspect "${!#}" >/dev/null 2>&1; then return; fi
    "$root/deploy/image.sh" "$@" >/dev/null
}
