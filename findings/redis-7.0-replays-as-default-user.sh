#!/usr/bin/env bash
# Redis 7.0.15 (Debian 12's redis-server): a transaction is dropped when the append-only file is loaded, if the ACL user `default`
# has no rights. The file is replayed as that user: a single command goes through, MULTI/EXEC (and so a script that writes twice) does
# not, and the server starts all the same. Only its own log tells. With `user default off ~* &* +@all` nothing is lost, and nobody
# comes in as default either. Valkey 9.1.2 loses nothing with the first list.
#
# Seen:
#   user default off                        after a restart: one=1, pair= (lost)
#   user default off resetpass ~* &* +@all  after a restart: one=1, pair=1
#   # == CRITICAL == This server is sending an error to its AOF-loading-client: '-NOPERM ACLs rules changed between the moment the
#   transaction was accumulated and the EXEC call. ...' after processing the command 'exec'
set -euo pipefail
redis-server --version | grep -q 'v=7\.0\.15 ' || { echo "expected redis-server 7.0.15 (apt-get install redis-server on Debian 12)" >&2; exit 1; }
dir=$(mktemp -d); pid=
end() { [ -z "$pid" ] || { kill "$pid" 2>/dev/null && wait "$pid" || true; pid=; }; }
trap 'end; rm -rf "$dir"' EXIT

ask() { redis-cli -s "$dir/s" --user admin --pass secret --no-auth-warning "$@"; }
start() {
    redis-server --port 0 --unixsocket "$dir/s" --dir "$dir" --save '' --appendonly yes --aclfile "$dir/users.acl" >>"$dir/log" 2>&1 &
    pid=$!
    for _ in $(seq 200); do ask ping 2>/dev/null | grep -qx PONG && return; sleep 0.05; done
    echo "redis-server does not answer" >&2; exit 1
}
after_restart() { # LIST
    rm -rf "$dir/appendonlydir"
    printf '%s\nuser admin on >secret ~* &* +@all\n' "$1" >"$dir/users.acl"
    start
    ask set one 1 >/dev/null
    printf 'multi\nset pair 1\nset other 1\nexec\n' | ask >/dev/null
    end; start
    echo "one=$(ask get one), pair=$(ask get pair)"
    end
}
losing=$(after_restart "user default off"); echo "user default off: $losing"
keeping=$(after_restart "user default off resetpass ~* &* +@all"); echo "user default off resetpass ~* &* +@all: $keeping"
grep -o "AOF-loading-client: '-NOPERM.*" "$dir/log" | head -n 1
[ "$losing" = "one=1, pair=" ] && [ "$keeping" = "one=1, pair=1" ]
