#!/usr/bin/env bash
# Builds the image with the four programs: deploy/image.sh [NAME], sallyport:local unless said. With --in-process before NAME the one
# of Envoy with the gate inside, sallyport-envoy:local unless said. They tell the version that git has for the source; it is handed
# in, since git's own folder is no part of what is sent to the docker daemon. Of a source without git, say it:
# SALLYPORT_VERSION=v1.2.3 deploy/image.sh
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
file=deploy/Dockerfile name=${SALLYPORT_IMAGE:-sallyport:local}
if [ "${1-}" = --in-process ]; then file=deploy/in-process/Dockerfile name=${SALLYPORT_ENVOY_IMAGE:-sallyport-envoy:local}; shift; fi
case ${1-} in -*) echo "usage: image.sh [--in-process] [NAME]" >&2; exit 1 ;; esac
name=${1:-$name}
version=${SALLYPORT_VERSION:-$(git -C "$root" describe --tags --always --dirty 2>/dev/null || echo dev)}
echo "image.sh: building $name, version $version (some minutes the first time)" >&2
docker build -q -f "$root/$file" --build-arg VERSION="$version" -t "$name" "$root"
