#!/usr/bin/env bash
# Puts the pinned Keycloak into DIR, as Maven Central has it, checked by its hash; does nothing when it is there. Needs Java 17 or newer to run,
# Maven and unzip to fetch it.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
. "$here/../lib.sh"
dir=${1:?usage: keycloak.sh DIR}
version=26.7.3
sha256=27a6535553c3cdcd083872ba40629efafb3475e3b758e0c6f691395561dd0f1f

missing=()
command -v java >/dev/null 2>&1 || missing+=(openjdk-17-jre-headless)
[ "$(cat "$dir/version" 2>/dev/null)" != "$version" ] || fetched=yes
if [ -z "${fetched-}" ]; then
    command -v mvn >/dev/null 2>&1 || missing+=(maven)
    command -v unzip >/dev/null 2>&1 || missing+=(unzip)
fi
if [ ${#missing[@]} -gt 0 ]; then
    may_install || { echo "setup: Keycloak needs ${missing[*]}; on Debian and Ubuntu: sudo apt-get install ${missing[*]}" >&2; exit 1; }
    install_packages "${missing[@]}"
fi
[ -z "${fetched-}" ] || exit 0

echo "setup: fetching Keycloak $version (177 MB) ..." >&2
rm -rf "$dir"
mkdir -p "$dir"
dir=$(cd "$dir" && pwd)
zip=$dir/keycloak-quarkus-dist-$version.zip
mvn -q -B org.apache.maven.plugins:maven-dependency-plugin:3.6.1:copy \
    -Dartifact=org.keycloak:keycloak-quarkus-dist:$version:zip -DoutputDirectory="$dir" >&2
echo "$sha256  $zip" | sha256sum --check --quiet >&2
unzip -q "$zip" -d "$dir"
mv "$dir/keycloak-$version" "$dir/keycloak"
rm "$zip"
echo "$version" >"$dir/version"
