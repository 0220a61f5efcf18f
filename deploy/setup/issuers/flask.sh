#!/usr/bin/env bash
# Puts Flask-JWT-Extended and PyJWT, pinned, into DIR (a Python virtual environment); does nothing when they are there.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
. "$here/../lib.sh"
dir=${1:?usage: flask.sh DIR}

version() { sed -n "s/^$1==\([0-9.]*\).*/\1/p" "$here/flask.txt"; }
fetch_wheels "$dir" "$here/flask.txt" "Flask-JWT-Extended $(version flask-jwt-extended) and PyJWT $(version pyjwt) (6 MB)"
