#!/usr/bin/env bash
# Makes sure that what the tests run is on this machine: the real redis-server (7.0 or newer; its Sentinel and Cluster are in
# the same program), a C compiler, which Go's race detector needs, and curl, in whose words the demo gives its tour.
set -euo pipefail
. "$(cd "$(dirname "$0")" && pwd)/lib.sh"

missing=()
command -v redis-server >/dev/null 2>&1 || missing+=(redis-server)
command -v "${CC:-gcc}" >/dev/null 2>&1 || missing+=(gcc libc6-dev)
command -v curl >/dev/null 2>&1 || missing+=(curl)
[ ${#missing[@]} -gt 0 ] || exit 0

may_install || {
    echo "setup: the tests need ${missing[*]}; on Debian and Ubuntu: sudo apt-get install ${missing[*]}" >&2
    exit 1
}
# The package's own Redis service is not wanted: each test starts servers of its own.
without_services install_packages "${missing[@]}"
