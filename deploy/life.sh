# What an installation lives through, walked by test-compose.sh and test-k8s.sh after walk.sh: restarts, a user who is disabled, a
# policy that changes. They source this, and define what differs between the two:
#
#   disable USER      keeps USER out and ends what USER has out, with the command that docs/day-2.md has
#   require_role ROLE has the policy ask for ROLE at /protected, and puts that in force
#
# Also $gateway, and $alice and $bob, their passwords.
# shellcheck shell=bash disable=SC2154

# survive WHAT COMMAND...: a logged-out token stays out and a session goes on, whatever COMMAND restarts.
survive() {
    local what=$1 gone token spare; shift
    say "$what"
    login alice "$alice"; expect 200 POST /login "${posted[@]}"
    gone=$(field access_token)
    # 202 while an issuer that has just started waits for gates of before, which are gone, until their lines are old.
    expect_soon 30 200 POST "/logout?wait=5s" "$gone"
    login alice "$alice"; expect 200 POST /login "${posted[@]}"
    token=$(field access_token) spare=$(field refresh_token)
    expect 200 GET /protected "$token"
    "$@" >&2
    expect_soon 90 200 GET /protected "$token"
    expect 401 GET /protected "$gone"
    [ "$(field error)" = invalid_token ] || die "the logged-out token is refused for another reason: $(cat "$body")"
    # Readiness of the issuers is theirs to say; a login in between is no part of this.
    refresh "$spare"; expect_soon 90 200 POST /refresh "${posted[@]}"
    token=$(field access_token)
    expect 200 GET /protected "$token"
    # An issuer whose fellow has not found Redis again acknowledges nothing: 503, try again.
    expect_soon 30 200 POST /logout "$token"
    expect_soon 10 401 GET /protected "$token"
}

# A user who is disabled has nothing that passes, and gets nothing any more. SECONDS: until the issuers have the changed file.
disabled_user() {
    local token spare
    say "bob is disabled"
    login bob "$bob"; expect 200 POST /login "${posted[@]}"
    token=$(field access_token) spare=$(field refresh_token)
    expect 200 GET /protected "$token"
    disable bob >&2
    expect 401 GET /protected "$token"
    refresh "$spare"; expect 401 POST /refresh "${posted[@]}"
    login bob "$bob"; expect_soon "$1" 401 POST /login "${posted[@]}"
    login alice "$alice"; expect 200 POST /login "${posted[@]}"
}

changed_policy() {
    local token
    say "the policy changes"
    login alice "$alice"; expect 200 POST /login "${posted[@]}"
    token=$(field access_token)
    expect 200 GET /protected "$token"
    require_role auditor >&2
    expect_soon 60 403 GET /protected "$token"
    expect 200 GET /api/orders "$token"
    require_role admin >&2
    expect_soon 60 200 GET /protected "$token"
}

# asks_for ROLE FILE: FILE, an authz.yaml, with that role asked for at /protected. The file is replaced, as editors do.
asks_for() {
    awk -v role="$1" '
        was { print "      require: {roles: [" role "]}"; was = 0; seen = 1; next }
        { print }
        /match: \{path: \/protected\}/ { was = 1 }
        END { exit !seen }' "$2" >"$2.new" || die "$2 has no route /protected"
    mv "$2.new" "$2"
}

# password USER FILE: what deploy/secrets.sh said.
password() { sed -n "s/.*user $1, password \([^ ]*\).*/\1/p" "$2"; }
