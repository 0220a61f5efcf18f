#!/usr/bin/env bash
# Puts the pinned release builds of Traefik and Caddy into DIR (a Python virtual environment), and makes sure that Debian's nginx
# and haproxy are on this machine: the other proxies that the tests put in front of a gate. Does nothing when they are there.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
. "$here/lib.sh"
dir=${1:?usage: doors.sh DIR}

missing=()
for program in nginx haproxy; do
    [ -x "/usr/sbin/$program" ] || command -v "$program" >/dev/null 2>&1 || missing+=("$program")
done
if [ ${#missing[@]} -gt 0 ]; then
    may_install || {
        echo "setup: the tests need ${missing[*]}; on Debian and Ubuntu: sudo apt-get install ${missing[*]}" >&2
        exit 1
    }
    without_services install_packages "${missing[@]}"
fi

fetch_wheels "$dir" "$here/doors.txt" "Traefik and Caddy (about 80 MB)"
