#!/bin/sh
# Holds this checkout's benchmarks of single functions against another's: the rounds of both take
# turns, and the quickest of each counts. A package that the other does not have yet is looked for
# in the folder above.
set -eu
base=${1:?usage: bench/beside.sh BASE [ROUNDS], BASE being another checkout}
rounds=${2:-10}
here=$(cd "$(dirname "$0")/.." && pwd)
base=$(cd "$base" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

packages='authz internal/jose internal/policy internal/revocation/liveset'
for package in $packages; do
	other=$package
	[ -d "$base/$other" ] || other=$(dirname "$package")
	name=$(basename "$package")
	(cd "$here/$package" && go test -c -o "$work/$name.new" .)
	(cd "$base/$other" && go test -c -o "$work/$name.old" .)
	printf '%s %s %s\n' "$name" "$here/$package" "$base/$other" >>"$work/list"
done

round=0
while [ "$round" -lt "$rounds" ]; do
	round=$((round + 1))
	while read -r name new old; do
		for build in old new; do
			[ "$build" = old ] && folder=$old || folder=$new
			(cd "$folder" && "$work/$name.$build" -test.run '^$' -test.bench 'Decide|Verify|Parse|Refuse|Sign|Find|Check|Add' \
				-test.benchtime 150ms -test.cpu 1) | sed -n "s/^Benchmark/$build $name /p" >>"$work/figures"
		done
	done <"$work/list"
done

echo '| package | benchmark | before | now | ratio |'
echo '|---|---|---|---|---|'
awk '
	{ key = $2 "|" $3; if (!(key in seen)) { seen[key] = ++n; order[n] = key } }
	!(($1, key) in least) || $5 < least[$1, key] { least[$1, key] = $5 }
	END {
		for (i = 1; i <= n; i++) {
			key = order[i]; split(key, part, "|"); gsub("_", " ", part[2])
			if (("old", key) in least && ("new", key) in least)
				printf "| %s | %s | %.0f ns | %.0f ns | %.2f |\n", part[1], part[2],
					least["old", key], least["new", key], least["new", key] / least["old", key]
		}
	}' "$work/figures"
