#!/usr/bin/env bash
# Walks a token's whole life through a gateway: 401 -> login -> 200 -> logout -> 401.
#   echo PASSWORD | deploy/walk.sh http://127.0.0.1:10000 [USER]
set -euo pipefail
gateway=${1:?usage: walk.sh GATEWAY [USER], the password on standard input}
user=${2:-alice}
IFS= read -r password || [ -n "$password" ]
. "$(dirname "$0")/client.sh"
trap 'rm -f "$body" "$sent"' EXIT

expect 200 GET /public
expect 401 GET /protected
login "$user" wrong; expect 401 POST /login "${posted[@]}"
login "$user" "$password"; expect 200 POST /login "${posted[@]}"
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
