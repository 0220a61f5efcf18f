#!/usr/bin/env bash
# Makes what docker-compose.yaml and k8s/ need and no repository may hold: Redis' passwords and access list, its TLS
# certificate, the token of the issuers' admin API, two users and, for Kubernetes, the issuers' key ring. What is there already
# is kept, so it can be run again; to renew a thing, delete its file first: a password's in issuer/ or authz/, the certificate's
# redis.crt, redis.key and redis_ca.crt in redis/. Copies in other folders follow.
#
#   deploy/secrets.sh [DIR]                 into DIR, deploy/secrets unless said; prints the users' passwords, once
#   deploy/secrets.sh --kubernetes [DIR]    the same with a key ring, DIR/keys, and prints DIR as Kubernetes Secrets: pipe it
#                                           into kubectl apply -f -
#
# The program sallyport is SALLYPORT (a path), else the one in the image SALLYPORT_IMAGE, else .tools/bin/sallyport, else the
# one in the image sallyport:local, which is built when it is not there.
set -euo pipefail
umask 077
root=$(cd "$(dirname "$0")/.." && pwd)

die() { echo "secrets.sh: $*" >&2; exit 1; }
note() { echo "secrets.sh: $*" >&2; }
command -v openssl >/dev/null || die "openssl is missing; on Debian and Ubuntu: sudo apt-get install openssl"

kubernetes=
if [ "${1-}" = --kubernetes ]; then kubernetes=1; shift; fi
case ${1-} in -*) die "usage: secrets.sh [--kubernetes] [DIR]" ;; esac
dir=${1:-$root/deploy/secrets}
mkdir -p "$dir"
dir=$(cd "$dir" && pwd)

# sallyport ARGUMENT...: the program itself, or the one in the image.
sallyport() {
    if [ -n "${SALLYPORT-}" ]; then "$SALLYPORT" "$@"
    elif [ -z "${SALLYPORT_IMAGE-}" ] && [ -x "$root/.tools/bin/sallyport" ]; then "$root/.tools/bin/sallyport" "$@"
    else
        image=${SALLYPORT_IMAGE:-sallyport:local}
        docker image inspect "$image" >/dev/null 2>&1 || "$root/deploy/image.sh" "$image" </dev/null >&2
        docker run --rm -i --network none --cap-drop ALL --security-opt no-new-privileges --read-only \
            --user "$(id -u):$(id -g)" -v "$dir:$dir" "$image" sallyport "$@"
    fi
}

# keep FILE: standard input becomes FILE, whole or not at all. The folder is closed to other users of this machine; what is in it
# is not, since containers read it as users of their own.
keep() {
    local new="$dir/${1%/*}/.${1##*/}.new"
    cat >"$new"
    chmod 0644 "$new"
    mv "$new" "$dir/$1"
}
absent() { [ ! -e "$dir/$1" ]; }
digest() { openssl dgst -sha256 -r <"$dir/$1" | cut -d' ' -f1; }
# give FILE FOLDER: a copy of FILE for another service.
give() { cmp -s "$dir/$1" "$dir/$2/${1##*/}" || keep "$2/${1##*/}" <"$dir/$1"; }

# A folder for each service, which is mounted whole and has only what the service needs.
for service in issuer authz redis; do
    mkdir -p "$dir/$service"
    [ -w "$dir/$service" ] || die "$dir/$service is another user's: Docker makes folders that are missing. Delete it, and try again"
    chmod 0755 "$dir/$service"
done
# Former versions had all files in one folder.
former() {
    [ -f "$dir/$1" ] || return 0
    note "moving $1 to $2/"
    mv -n "$dir/$1" "$dir/$2/$1"
    [ ! -e "$dir/$1" ] || die "$dir/$1 and $dir/$2/$1 are both there: delete the one that is not in force"
}
for file in redis_issuer_password users.yaml admin_token; do former $file issuer; done
former redis_gate_password authz
for file in redis_users.acl redis.crt redis.key redis_ca.crt; do former $file redis; done

for owner in issuer:issuer authz:gate; do
    file=${owner%:*}/redis_${owner#*:}_password
    if absent "$file"; then
        openssl rand -hex 32 | tr -d '\n' | keep "$file"
        rm -f "$dir/redis/redis_users.acl"
    fi
done

# deploy/redis/users.acl says who may do what.
if absent redis/redis_users.acl; then
    sed -e "s/#ISSUER_PASSWORD_SHA256/#$(digest issuer/redis_issuer_password)/" \
        -e "s/#GATE_PASSWORD_SHA256/#$(digest authz/redis_gate_password)/" "$root/deploy/redis/users.acl" | keep redis/redis_users.acl
fi

if absent issuer/admin_token; then
    openssl rand -hex 32 | keep issuer/admin_token
fi

if absent redis/redis_ca.crt || absent redis/redis.crt || absent redis/redis.key; then
    tmp=$(mktemp -d); trap 'rm -rf "$tmp"' EXIT
    openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 3650 -subj "/CN=Sallyport Redis CA" \
        -addext basicConstraints=critical,CA:TRUE,pathlen:0 -addext keyUsage=critical,keyCertSign,cRLSign \
        -keyout "$tmp/ca.key" -out "$tmp/ca.crt" 2>/dev/null
    openssl req -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -subj /CN=redis -keyout "$tmp/redis.key" -out "$tmp/redis.csr" 2>/dev/null
    printf '%s\n' basicConstraints=critical,CA:FALSE keyUsage=critical,digitalSignature extendedKeyUsage=serverAuth \
        subjectAltName=DNS:redis,DNS:redis.sallyport.svc,DNS:redis.sallyport.svc.cluster.local >"$tmp/redis.ext"
    openssl x509 -req -in "$tmp/redis.csr" -CA "$tmp/ca.crt" -CAkey "$tmp/ca.key" -days 825 -extfile "$tmp/redis.ext" -out "$tmp/redis.crt" 2>/dev/null
    # The authority's key is not kept: to renew, both are made anew.
    for file in redis.crt redis.key; do keep redis/$file <"$tmp/$file"; done
    keep redis/redis_ca.crt <"$tmp/ca.crt"
fi

give redis/redis_ca.crt issuer
give redis/redis_ca.crt authz
give authz/redis_gate_password redis # for its health check

if absent issuer/users.yaml; then
    {
        echo "# Who may log in: docs/configuration.md. The issuer reads this file again when it changes."
        echo "users:"
        for user in alice bob; do
            password=$(openssl rand -hex 12)
            hash=$(printf '%s' "$password" | sallyport passwd) || die "sallyport passwd failed"
            echo "  - name: $user"
            echo "    password_hash: \"$hash\""
            [ $user != alice ] || echo "    roles: [admin]"
            note "user $user, password $password (shown only now)"
        done
    } | keep issuer/users.yaml
fi

[ -n "$kubernetes" ] || exit 0
[ -d "$dir/keys" ] || sallyport keygen --dir "$dir/keys" >&2

# secret NAME FILE...: a Kubernetes Secret with these files.
secret() {
    name=$1; shift
    printf -- '---\napiVersion: v1\nkind: Secret\nmetadata: {name: %s, namespace: sallyport}\ntype: Opaque\ndata:\n' "$name"
    for file in "$@"; do printf '  %s: "%s"\n' "$(basename "$file")" "$(openssl base64 -A -in "$file")"; done
}
cd "$dir"
secret issuer issuer/{redis_issuer_password,redis_ca.crt,users.yaml,admin_token}
secret issuer-keys keys/*
secret authz authz/{redis_gate_password,redis_ca.crt}
secret redis redis/{redis_users.acl,redis.crt,redis.key,redis_ca.crt,redis_gate_password}
