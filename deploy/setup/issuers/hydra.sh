#!/usr/bin/env bash
# Builds the pinned Hydra, with SQLite, into DIR; does nothing when it is there. Needs Go and a C compiler, and takes some two minutes.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
. "$here/../lib.sh"
dir=${1:?usage: hydra.sh DIR}

cmp -s "$here/hydra/go.sum" "$dir/go.sum" && exit 0
need_compiler Hydra
mkdir -p "$dir"
dir=$(cd "$dir" && pwd)
cd "$here/hydra"
version=$(go list -m -f '{{.Version}}' github.com/ory/hydra/v2)
echo "setup: building Hydra $version (some two minutes) ..." >&2
CGO_ENABLED=1 nice go build -mod=readonly -tags sqlite -trimpath \
    -ldflags "-s -w -X github.com/ory/hydra/v2/driver/config.Version=$version" -o "$dir/hydra" github.com/ory/hydra/v2
cp go.sum "$dir/go.sum"
