#!/usr/bin/env bash
# Builds the image with the four programs: deploy/image.sh [NAME], sallyport:local unless said. The programs tell the version that
# git has for the source; it is handed in, since git's own folder is no part of what is sent to the docker daemon. Of a source without
# git, say it: SALLYPORT_VERSION=v1.2.3 deploy/image.sh
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
name=${1:-${SALLYPORT_IMAGE:-sallyport:local}}
version=${SALLYPORT_VERSION:-$(git -C "$root" describe --tags --always --dirty 2>/dev/null || echo dev)}
echo "image.sh: building $name, version $version (some minutes the first time)" >&2
docker build -q -f "$root/deploy/Dockerfile" --build-arg VERSION="$version" -t "$name" "$root"
