#!/usr/bin/env bash
# Puts oidc-provider, pinned by package-lock.json, into DIR; does nothing when it is there. Needs Node.js 20 or newer, and npm.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
. "$here/../lib.sh"
dir=${1:?usage: oidc-provider.sh DIR}

cmp -s "$here/oidc-provider/package-lock.json" "$dir/installed" && exit 0
missing=()
command -v node >/dev/null 2>&1 || missing+=(nodejs)
command -v npm >/dev/null 2>&1 || missing+=(npm)
if [ ${#missing[@]} -gt 0 ]; then
    may_install || { echo "setup: oidc-provider needs ${missing[*]}; on Debian and Ubuntu: sudo apt-get install ${missing[*]}" >&2; exit 1; }
    install_packages "${missing[@]}"
fi
major=$(node -p 'process.versions.node.split(".")[0]')
[ "$major" -ge 20 ] || { echo "setup: oidc-provider needs Node.js 20 or newer, this is $(node --version)" >&2; exit 1; }

echo "setup: fetching oidc-provider $(sed -n 's/.*"oidc-provider": "\([0-9.]*\)".*/\1/p' "$here/oidc-provider/package.json") (8 MB) ..." >&2
mkdir -p "$dir"
cp "$here/oidc-provider/package.json" "$here/oidc-provider/package-lock.json" "$dir/"
(cd "$dir" && npm ci --no-audit --no-fund --ignore-scripts --loglevel=error >&2)
cp "$here/oidc-provider/package-lock.json" "$dir/installed"
