#!/usr/bin/env bash
# Builds the pinned SPIRE server and its OIDC discovery provider into DIR; does nothing when they are there. Needs Go and a C compiler, and
# takes some ten minutes on two cores.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
. "$here/../lib.sh"
dir=${1:?usage: spire.sh DIR}

cmp -s "$here/spire/go.sum" "$dir/go.sum" && exit 0
need_compiler SPIRE
mkdir -p "$dir"
dir=$(cd "$dir" && pwd)
cd "$here/spire"
echo "setup: building SPIRE $(go list -m -f '{{.Version}}' github.com/spiffe/spire) (some ten minutes) ..." >&2
CGO_ENABLED=1 nice go build -mod=readonly -trimpath -ldflags '-s -w' -o "$dir/" \
    github.com/spiffe/spire/cmd/spire-server github.com/spiffe/spire/support/oidc-discovery-provider
cp go.sum "$dir/go.sum"
