#!/bin/sh
# Keycloak 26.7.3 (Maven Central: org.keycloak:keycloak-quarkus-dist), --features=ssf, streams that are pushed (RFC 8935).
#
# A security event that cannot be delivered, since the receiver is away, waits and is tried again. When the stream is updated meanwhile
# (PATCH at the configuration endpoint, SSF 1.0 section 8.1.1.3), be it with the settings that it has already, the event is not
# delivered any more: it had not come after 150 s, where it comes within a second over a stream that nobody updates. Later events do
# come. So a receiver that writes its stream whenever it starts loses what happened while it was down.
#
# Seen, with outbox-drainer-interval=500ms: left alone, the event came 0.3 s after the receiver was there again; updated, not at all.
#
# Exits with 1 when that changes. Takes some two minutes; needs Java 17 or newer, Maven, unzip, curl and python3; listens on loopback
# alone.
set -eu

work=$(mktemp -d)
pids=
end() {
	for pid in $pids; do kill "$pid" 2>/dev/null || true; done
	for pid in $pids; do wait "$pid" 2>/dev/null || true; done
	rm -rf "$work"
}
trap end EXIT INT TERM

mvn -q -B org.apache.maven.plugins:maven-dependency-plugin:3.6.1:copy \
	-Dartifact=org.keycloak:keycloak-quarkus-dist:26.7.3:zip -DoutputDirectory="$work"
unzip -q "$work/keycloak-quarkus-dist-26.7.3.zip" -d "$work"
port=$(python3 -c 'import socket; s = socket.create_server(("127.0.0.1", 0)); print(s.getsockname()[1])')

KC_BOOTSTRAP_ADMIN_USERNAME=root KC_BOOTSTRAP_ADMIN_PASSWORD=root JAVA_OPTS_KC_HEAP=-Xmx700m \
	"$work/keycloak-26.7.3/bin/kc.sh" start-dev --features=ssf --db=dev-mem --http-host=127.0.0.1 --http-port="$port" \
	--spi-ssf-transmitter--default--outbox-drainer-interval=500ms \
	--spi-ssf-transmitter--default--allow-insecure-push-targets=true >"$work/log" 2>&1 &
pids="$pids $!"
until curl -sf -o /dev/null "http://127.0.0.1:$port/realms/master"; do sleep 0.5; done

cat >"$work/run.py" <<'PY'
import base64, http.server, json, socket, sys, threading, time, urllib.error, urllib.parse, urllib.request

base = sys.argv[1]
realm = base + "/realms/r"

def call(method, url, body=None, token=None, form=False):
    data, headers = None, {}
    if body is not None:
        data = urllib.parse.urlencode(body).encode() if form else json.dumps(body).encode()
        headers["Content-Type"] = "application/x-www-form-urlencoded" if form else "application/json"
    if token:
        headers["Authorization"] = "Bearer " + token
    request = urllib.request.Request(url, data, headers, method=method)
    with urllib.request.urlopen(request) as answer:
        text = answer.read()
    return json.loads(text) if text else None

def admin():
    return call("POST", base + "/realms/master/protocol/openid-connect/token", {
        "grant_type": "password", "client_id": "admin-cli", "username": "root", "password": "root"}, form=True)["access_token"]

class Receiver:
    """Takes what is pushed, until it is stopped; started again at the same port."""
    def __init__(self):
        with socket.create_server(("127.0.0.1", 0)) as s:
            self.port = s.getsockname()[1]
        self.events, self.server = [], None
    def start(self):
        events = self.events
        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self):
                token = self.rfile.read(int(self.headers["Content-Length"])).decode()
                part = token.split(".")[1]
                claims = json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))
                events.append([name.rsplit("/", 1)[1] for name in claims["events"]][0])
                self.send_response(202); self.send_header("Content-Length", "0"); self.end_headers()
            def log_message(self, *args): pass
        http.server.ThreadingHTTPServer.allow_reuse_address = True
        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", self.port), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
    def stop(self):
        self.server.shutdown(); self.server.server_close()

receivers = {name: Receiver() for name in ("alone", "written")}
call("POST", base + "/admin/realms", {
    "realm": "r", "enabled": True, "sslRequired": "none", "attributes": {"ssf.transmitterEnabled": "true"},
    "clients": [{"clientId": "web", "secret": "s", "directAccessGrantsEnabled": True}] + [{
        "clientId": name, "secret": "s", "serviceAccountsEnabled": True, "attributes": {
            "ssf.enabled": "true", "ssf.defaultSubjects": "ALL", "ssf.validPushUrls": f"http://127.0.0.1:{r.port}/events"}}
        for name, r in receivers.items()],
    "users": [{"username": "u", "enabled": True, "email": "u@example.com", "emailVerified": True, "firstName": "u", "lastName": "u",
               "credentials": [{"type": "password", "value": "p"}]}],
}, admin())
token = admin()
scopes = {s["name"]: s["id"] for s in call("GET", base + "/admin/realms/r/client-scopes", token=token)}
for name in receivers:
    id = call("GET", base + f"/admin/realms/r/clients?clientId={name}", token=token)[0]["id"]
    for scope in ("ssf.read", "ssf.manage"):
        call("PUT", base + f"/admin/realms/r/clients/{id}/optional-client-scopes/{scopes[scope]}", token=token)

endpoint = call("GET", realm + "/.well-known/ssf-configuration")["configuration_endpoint"]
def manage(name):
    return call("POST", realm + "/protocol/openid-connect/token", {
        "grant_type": "client_credentials", "client_id": name, "client_secret": "s", "scope": "ssf.read ssf.manage"}, form=True)["access_token"]
wanted = {}
for name, r in receivers.items():
    r.start()
    wanted[name] = {"delivery": {"method": "urn:ietf:rfc:8935", "endpoint_url": f"http://127.0.0.1:{r.port}/events"},
                    "events_requested": ["https://schemas.openid.net/secevent/caep/event-type/session-revoked"]}
    made = call("POST", endpoint, wanted[name], manage(name))
    wanted[name] = {"stream_id": made["stream_id"], **wanted[name]}

def logout():
    grant = call("POST", realm + "/protocol/openid-connect/token", {
        "grant_type": "password", "client_id": "web", "client_secret": "s", "username": "u", "password": "p", "scope": "openid"}, form=True)
    call("POST", realm + "/protocol/openid-connect/logout", {
        "client_id": "web", "client_secret": "s", "refresh_token": grant["refresh_token"]}, form=True)

def count(name): return receivers[name].events.count("session-revoked")
def wait(condition, most):
    end = time.time() + most
    while not condition() and time.time() < end: time.sleep(0.05)
    return condition()

logout()
assert wait(lambda: all(count(n) == 1 for n in receivers), 30), "nothing is pushed"
for r in receivers.values():
    r.stop()
logout()
time.sleep(1.5)  # the push fails
for r in receivers.values():
    r.start()
call("PATCH", endpoint, wanted["written"], manage("written"))  # with what it has already
alone, written = wait(lambda: count("alone") == 2, 60), wait(lambda: count("written") == 2, 60)
logout()
goes_on = wait(lambda: count("alone") == 3 and count("written") == (3 if written else 2), 30)
print("what happened while its receiver was away came within a minute:")
print("  over a stream that is left alone:", alone)
print("  over one that was updated with the settings that it had:", written)
print("what happens later comes over both:", goes_on)
sys.exit(0 if alone and not written and goes_on else 1)
PY
python3 "$work/run.py" "http://127.0.0.1:$port"
