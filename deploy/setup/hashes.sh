#!/usr/bin/env bash
# Puts the libraries that other systems hash passwords with into DIR (a Python virtual environment); does nothing when they
# are there.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
. "$here/lib.sh"
dir=${1:?usage: hashes.sh DIR}
stamp="$dir/hashes.txt"

cmp -s "$here/hashes.txt" "$stamp" && exit 0

python=$(command -v python3) || { echo "setup: python3 is missing: install Python 3.10 or newer" >&2; exit 1; }
echo "setup: fetching Werkzeug, Django, passlib and bcrypt (about 15 MB), whose hashes the tests check ..." >&2

make_venv() { rm -rf "$dir" && "$python" -m venv "$dir" >/dev/null 2>&1; }
make_venv || {
    may_install || {
        echo "setup: 'python3 -m venv' does not work here; on Debian and Ubuntu: sudo apt-get install python3-venv" >&2
        exit 1
    }
    install_packages python3-venv
    make_venv
}
"$dir/bin/python" -m pip install --quiet --disable-pip-version-check --no-deps --only-binary=:all: --require-hashes -r "$here/hashes.txt"
cp "$here/hashes.txt" "$stamp"
