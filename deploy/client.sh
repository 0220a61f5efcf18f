# A client of the gateway at $gateway, in curl; shared by walk.sh and life.sh.
# shellcheck shell=bash
body=$(mktemp) sent=$(mktemp)

# ask METHOD PATH [TOKEN] [CURL OPTION...]: the status; the body is left in $body. Tokens go in by file, not by argument.
ask() {
    local method=$1 path=$2 token=${3-}; shift 2; [ $# -eq 0 ] || shift
    curl -sS --max-time 10 -X "$method" -o "$body" -w '%{http_code}' -H @<([ -z "$token" ] || echo "authorization: Bearer $token") "$@" "$gateway$path"
}
expect() { # expect STATUS METHOD PATH [TOKEN] [CURL OPTION...]
    local want=$1 got; shift
    got=$(ask "$@")
    echo "$1 $2${3:+ with the token} -> $got"
    [ "$got" = "$want" ] || { echo "${0##*/}: expected $want; the body: $(head -c 300 "$body")" >&2; exit 1; }
}
# expect_soon SECONDS STATUS METHOD PATH [TOKEN] [CURL OPTION...]: asks until the answer has that status.
expect_soon() {
    local deadline=$((SECONDS + $1)) want=$2 got; shift 2
    until got=$(ask "$@" 2>/dev/null) && [ "$got" = "$want" ]; do
        [ $SECONDS -lt $deadline ] || { echo "${0##*/}: $1 $2: expected $want in time, got $got: $(head -c 300 "$body")" >&2; exit 1; }
        sleep 0.2
    done
    echo "$1 $2${3:+ with the token} -> $got"
}
field() { sed -n 's/.*"'"$1"'" *: *"\([^"]*\)".*/\1/p' "$body"; }
# login USER PASSWORD and refresh TOKEN write the body that `expect STATUS POST PATH "${posted[@]}"` sends.
login() { printf '{"username":"%s","password":"%s"}' "$1" "$2" >"$sent"; }
refresh() { printf '{"refresh_token":"%s"}' "$1" >"$sent"; }
posted=("" -H 'content-type: application/json' --data-binary "@$sent")
