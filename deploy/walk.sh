#!/usr/bin/env bash
# Walks a token's whole life through a gateway: 401 -> login -> 200 -> logout -> 401.
#   echo PASSWORD | deploy/walk.sh http://127.0.0.1:10000 [USER]
set -euo pipefail
gateway=${1:?usage: walk.sh GATEWAY [USER], the password on standard input}
user=${2:-alice}
IFS= read -r password || [ -n "$password" ]
body=$(mktemp); trap 'rm -f "$body"' EXIT

# ask METHOD PATH [TOKEN] [CURL OPTION...]: the status; the body is left in $body. Tokens go in by file, not by argument.
ask() {
    local method=$1 path=$2 token=${3-}; shift 2; [ $# -eq 0 ] || shift
    curl -sS --max-time 10 -X "$method" -o "$body" -w '%{http_code}' -H @<([ -z "$token" ] || echo "authorization: Bearer $token") "$@" "$gateway$path"
}
expect() { # expect STATUS METHOD PATH [TOKEN] [CURL OPTION...]
    local want=$1 got; shift
    got=$(ask "$@")
    echo "$1 $2${3:+ with the token} -> $got"
    [ "$got" = "$want" ] || { echo "walk.sh: expected $want; the body: $(head -c 300 "$body")" >&2; exit 1; }
}
field() { sed -n 's/.*"'"$1"'" *: *"\([^"]*\)".*/\1/p' "$body"; }

expect 200 GET /public
expect 401 GET /protected
expect 401 POST /login "" -H 'content-type: application/json' -d '{"username":"'"$user"'","password":"wrong"}'
expect 200 POST /login "" -H 'content-type: application/json' --data-binary @<(printf '{"username":"%s","password":"%s"}' "$user" "$password")
token=$(field access_token)
[ -n "$token" ] || { echo "walk.sh: no access_token in the answer of /login" >&2; exit 1; }
expect 200 GET /protected "$token" -H 'x-auth-subject: mallory'
grep -qi '"x-auth-subject": *\[* *"'"$user"'"' "$body" || { echo "walk.sh: the upstream was not told that this is $user: $(head -c 600 "$body")" >&2; exit 1; }
expect 200 POST /logout "$token"

# In force within milliseconds; ten seconds, max_staleness, is what is promised at the worst.
begin=$(date +%s%N)
until [ "$(ask GET /protected "$token")" = 401 ]; do
    [ $(($(date +%s%N) - begin)) -lt 10000000000 ] || { echo "walk.sh: the token still passes 10 s after the logout" >&2; exit 1; }
done
echo "GET /protected with the token -> 401, first seen $((($(date +%s%N) - begin) / 1000000)) ms after the logout's answer"
