package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"github.com/redis/go-redis/v9"
	"github.com/spf13/cobra"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"

	"github.com/sallyport/sallyport/internal/daemon"
	"github.com/sallyport/sallyport/internal/eventually"
	"github.com/sallyport/sallyport/internal/jose"
	"github.com/sallyport/sallyport/internal/jose/signing"
	"github.com/sallyport/sallyport/internal/mesh/freeport"
	"github.com/sallyport/sallyport/internal/redisconn"
	"github.com/sallyport/sallyport/internal/revocation"
	"github.com/sallyport/sallyport/internal/revocation/redislog"
	"github.com/sallyport/sallyport/internal/token"
)

const issuerName = "https://issuer.example.com"

// stage is what a gate needs around it: Redis, an issuer's end of the log, a key, a configuration
// file.
type stage struct {
	t     *testing.T
	dir   string
	redis string
	grpc  string
	admin string
	key   *signing.PrivateKey
	log   *redislog.Issuer

	lifetime string // the issuer's max_lifetime
	connect  func(*redisconn.Config)
}

func newStage(t *testing.T) *stage {
	t.Helper()
	return newStageOn(t, startRedis(t), func(*redisconn.Config) {})
}

// newStageOn is newStage on a Redis that connect tells how to reach.
func newStageOn(t *testing.T, redis string, connect func(*redisconn.Config)) *stage {
	t.Helper()
	key, err := signing.GenerateKey("ES256")
	must(t, err)
	s := &stage{
		t: t, dir: t.TempDir(), redis: redis, connect: connect, grpc: freeport.Address(t),
		admin: freeport.Address(t), key: key, lifetime: "1h",
	}
	set, err := jose.MarshalKeySet([]*jose.PublicKey{key.Public()})
	must(t, err)
	s.write("jwks.json", string(set))
	s.configure("{match: {path: /public}, allow: public}", "{match: {path: /protected}}",
		"{match: {path: /admin/**}, require: {roles: [admin]}}")
	s.startLog()
	return s
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func (s *stage) write(name, content string) {
	s.t.Helper()
	must(s.t, os.WriteFile(filepath.Join(s.dir, name), []byte(content), 0o600))
}

func (s *stage) config() string { return filepath.Join(s.dir, "authz.yaml") }

// configure writes authz.yaml with these routes.
func (s *stage) configure(routes ...string) {
	s.write("authz.yaml", fmt.Sprintf(`name: gate-1
listen: %s
realm: sallyport
issuers:
- {issuer: %s, jwks_file: jwks.json, audiences: [things], ours: true, max_lifetime: %s}
key_cache_dir: cache
policy:
  routes:
  - %s
redis: {address: %q}
revocation: {max_staleness: 2s, settle: 200ms, heartbeat: 50ms}
admin: {listen: %s}
drain: {delay: 100ms}
`, s.grpc, issuerName, s.lifetime, strings.Join(routes, "\n  - "), s.redis, s.admin))
}

// startLog runs an issuer's end of the revocation log until the test ends.
func (s *stage) startLog() {
	rc := redisconn.DefaultConfig()
	rc.Address = s.redis
	s.connect(&rc)
	client, err := redisconn.Open(rc)
	must(s.t, err)
	c := redislog.DefaultConfig()
	c.MaxStaleness, c.Settle, c.Heartbeat = 2*time.Second, 200*time.Millisecond, 50*time.Millisecond
	s.log, err = redislog.NewIssuer(client, c, redislog.Options{Name: "issuer-1", Version: "test"})
	must(s.t, err)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- s.log.Run(ctx) }()
	s.t.Cleanup(func() {
		cancel()
		<-ended
		_ = client.Close() // Redis may be gone already
	})
	eventually.True(s.t, "the issuer's end of the log is ready",
		func() bool { return s.log.Ready() == nil })
}

func startRedis(t *testing.T) string {
	t.Helper()
	if _, err := exec.LookPath("redis-server"); err != nil {
		t.Fatal("redis-server is missing: install it (Debian: apt install redis-server)")
	}
	address := freeport.Address(t)
	_, port, err := net.SplitHostPort(address)
	must(t, err)
	cmd := exec.Command("redis-server", "--port", port, "--bind", "127.0.0.1", "--save", "",
		"--appendonly", "yes", "--appendfsync", "always", "--dir", t.TempDir())
	must(t, cmd.Start())
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait() // it was killed
	})
	client := redis.NewClient(&redis.Options{Addr: address})
	defer client.Close()
	eventually.True(t, "redis-server answers",
		func() bool { return client.Ping(context.Background()).Err() == nil })
	return address
}

// token signs what an issuer would, for a session.
func (s *stage) token(session string, roles ...string) string {
	s.t.Helper()
	now := time.Now().Unix()
	c := token.Claims{
		Issuer:    issuerName,
		Subject:   "alice",
		Audience:  []string{"things"},
		ID:        "t-" + session,
		ClientID:  "sallyport",
		SessionID: session,
		Roles:     roles,
		Expiry:    now + 600,
		IssuedAt:  now,
		AuthTime:  now,
	}
	text, err := c.Marshal()
	must(s.t, err)
	signed, err := s.key.Sign("at+jwt", text)
	must(s.t, err)
	return signed
}

// newCommand returns the command line, which writes to out and log.
func newCommand(out, log io.Writer) *cobra.Command {
	cmd := program().Command()
	cmd.SetOut(out)
	cmd.SetErr(log)
	return cmd
}

// running is a gate that was started by its command line.
type running struct {
	*stage
	out, log eventually.Buffer
	stop     context.CancelFunc
	ended    chan error
	check    authv3.AuthorizationClient
	health   healthpb.HealthClient
}

// serve starts `authz serve` and waits until it is ready.
func (s *stage) serve(flags ...string) *running {
	s.t.Helper()
	r := &running{stage: s, ended: make(chan error, 1)}
	ctx, cancel := context.WithCancel(context.Background())
	r.stop = cancel
	cmd := newCommand(&r.out, &r.log)
	cmd.SetArgs(append([]string{"serve", "--config", s.config()}, flags...))
	go func() { r.ended <- cmd.ExecuteContext(ctx) }()
	s.t.Cleanup(cancel)
	conn, err := grpc.NewClient(s.grpc, grpc.WithTransportCredentials(insecure.NewCredentials()))
	must(s.t, err)
	s.t.Cleanup(func() { must(s.t, conn.Close()) })
	r.check, r.health = authv3.NewAuthorizationClient(conn), healthpb.NewHealthClient(conn)
	return r
}

func (r *running) serving() bool {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	h, err := r.health.Check(ctx, &healthpb.HealthCheckRequest{})
	return err == nil && h.GetStatus() == healthpb.HealthCheckResponse_SERVING
}

func (r *running) ready() *running {
	r.t.Helper()
	eventually.True(r.t, "the gate is ready", func() bool {
		select {
		case err := <-r.ended:
			r.t.Fatalf("the gate ended: %v\n%s", err, r.log.String())
		default:
		}
		return r.serving()
	})
	return r
}

// ask asks for a path and gives the status, the reason, and the subject that the upstream would be
// told.
func (r *running) ask(path, tok string) (status int, reason, subject string) {
	r.t.Helper()
	a, err := r.check.Check(r.t.Context(), request("", path, tok))
	must(r.t, err)
	if a.GetStatus().GetCode() == 0 {
		return 200, "", header(a.GetOkResponse().GetHeaders(), "x-auth-subject")
	}
	return int(
		a.GetDeniedResponse().GetStatus().GetCode(),
	), header(a.GetDeniedResponse().GetHeaders(), "x-sallyport-reason"), ""
}

// request is what Envoy asks for a path, on a route that names a policy or none.
func request(policy, path, tok string) *authv3.CheckRequest {
	http := &authv3.AttributeContext_HttpRequest{
		Method: "GET", Path: path, Host: "h", Headers: map[string]string{},
	}
	if tok != "" {
		http.Headers["authorization"] = "Bearer " + tok
	}
	attributes := &authv3.AttributeContext{Request: &authv3.AttributeContext_Request{Http: http}}
	if policy != "" {
		attributes.ContextExtensions = map[string]string{"policy": policy}
	}
	return &authv3.CheckRequest{Attributes: attributes}
}

func header(options []*corev3.HeaderValueOption, name string) string {
	for _, o := range options {
		if o.GetHeader().GetKey() == name {
			return o.GetHeader().GetValue()
		}
	}
	return ""
}

func (r *running) wants(status int, reason, path, tok string) {
	r.t.Helper()
	if got, why, _ := r.ask(path, tok); got != status || why != reason {
		r.t.Errorf("%s: got %d %s, want %d %s", path, got, why, status, reason)
	}
}

func TestAGateServesFromItsFile(t *testing.T) {
	s := newStage(t)
	r := s.serve().ready()
	user, admin := s.token("s-1"), s.token("s-2", "admin")
	r.wants(200, "", "/public", "")
	r.wants(401, "no_token", "/protected", "")
	r.wants(200, "", "/protected", user)
	r.wants(403, "insufficient_role", "/admin", user)
	r.wants(200, "", "/admin", admin)
	r.wants(403, "no_route", "/elsewhere", admin)
	if _, _, subject := r.ask("/protected", user); subject != "alice" {
		t.Errorf("the upstream is told %q", subject)
	}

	receipt, err := s.log.Append(t.Context(), []revocation.Request{
		{Kind: revocation.KindSID, Issuer: issuerName, Value: "s-1", Reason: "logout", Actor: "alice"},
	})
	must(t, err)
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	if applied, err := s.log.Applied(ctx, receipt); err != nil || applied.Applied != 1 ||
		applied.Total != 1 {
		t.Errorf("applied: %+v, %v", applied, err)
	}
	r.wants(401, "revoked", "/protected", user)
	r.wants(200, "", "/protected", admin)

	metrics := r.get("/metrics", 200)
	for _, want := range []string{
		`sallyport_gate_decisions_total{code="401",reason="revoked"} 1`, "sallyport_keyset_keys",
		"sallyport_gate_tokens_total",
	} {
		if !strings.Contains(metrics, want) {
			t.Errorf("the metrics lack %s", want)
		}
	}
	r.get("/readyz", 200)
	r.get("/debug/pprof/", 404)
	r.stopped()
	r.audited("revoked", "alice", "s-1")
	for _, secret := range []string{user, admin, strings.Split(user, ".")[2]} {
		if strings.Contains(r.out.String()+r.log.String()+metrics, secret) {
			t.Error("a token is in the logs or metrics")
		}
	}
}

// get asks the admin port.
func (r *running) get(path string, want int) string {
	r.t.Helper()
	response, err := http.Get("http://" + r.admin + path)
	must(r.t, err)
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	must(r.t, err)
	if response.StatusCode != want {
		r.t.Errorf("%s: got %d, want %d: %s", path, response.StatusCode, want, body)
	}
	return string(body)
}

// stopped stops the gate and wants it to end well.
func (r *running) stopped() {
	r.t.Helper()
	r.stop()
	select {
	case err := <-r.ended:
		if err != nil {
			r.t.Errorf("the gate ended with %v", err)
		}
	case <-time.After(20 * time.Second):
		r.t.Fatal("the gate does not stop")
	}
}

// audited wants an audit line, every line being JSON.
func (r *running) audited(reason, subject, session string) {
	r.t.Helper()
	found := false
	for line := range strings.Lines(r.out.String()) {
		var e map[string]any
		if err := json.Unmarshal([]byte(line), &e); err != nil {
			r.t.Fatalf("%q: %v", line, err)
		}
		found = found ||
			(e["reason"] == reason && e["subject"] == subject && strings.Contains(line, session))
	}
	if !found {
		r.t.Errorf("no audit line says %s, %s, %s:\n%s", reason, subject, session, r.out.String())
	}
}

func TestAGateIsNotReadyWithoutALog(t *testing.T) {
	s := newStage(t)
	nowhere := freeport.Address(t)
	r := s.serve("--redis-address", nowhere)
	eventually.True(t, "the gate answers", func() bool {
		_, err := r.health.Check(t.Context(), &healthpb.HealthCheckRequest{})
		return err == nil
	})
	if r.serving() {
		t.Error("the gate is serving")
	}
	r.get("/readyz", 503)
	r.get("/livez", 200)
	r.wants(503, "no_copy", "/protected", s.token("s-1"))
	r.wants(401, "no_token", "/protected", "")
	if err := daemon.AskReady(t.Context(), s.admin); err == nil ||
		!strings.Contains(err.Error(), "503") {
		t.Errorf("healthcheck: got %v", err)
	}
	r.stopped()
}

func TestAStaleGateRefusesAndStillKnowsTheRevoked(t *testing.T) {
	s := newStage(t)
	r := s.serve().ready()
	gone, live := s.token("s-1"), s.token("s-2")
	_, err := s.log.Append(t.Context(), []revocation.Request{
		{Kind: revocation.KindSID, Issuer: issuerName, Value: "s-1", Reason: "logout", Actor: "alice"},
	})
	must(t, err)
	eventually.True(t, "the revocation is applied",
		func() bool { status, _, _ := r.ask("/protected", gone); return status == 401 })
	client := redis.NewClient(&redis.Options{Addr: s.redis})
	defer client.Close()
	_ = client.ShutdownNoSave(t.Context()) // the answer is a closed connection
	eventually.True(t, "the gate is stale",
		func() bool { _, reason, _ := r.ask("/protected", live); return reason == "stale" })
	r.wants(401, "revoked", "/protected", gone)
	r.wants(200, "", "/public", "")
	r.stopped()
}

// TestARevokedKeyIsTakenOutOfTheGatesSet, so that it stays out when the revocation has expired.
func TestARevokedKeyIsTakenOutOfTheGatesSet(t *testing.T) {
	s := newStage(t)
	r := s.serve().ready()
	tok := s.token("s-1")
	r.wants(200, "", "/protected", tok)
	_, err := s.log.Append(t.Context(), []revocation.Request{
		{
			Kind: revocation.KindKID, Issuer: issuerName, Value: s.key.ID(), Reason: "stolen",
			Actor: "root",
		},
	})
	must(t, err)
	none := fmt.Sprintf(`sallyport_keyset_keys{issuer=%q} 0`, issuerName)
	eventually.True(t, "the key is gone",
		func() bool { return strings.Contains(r.get("/metrics", 200), none) })
	r.wants(401, "revoked", "/protected", tok)
	r.stopped()
}

func TestAGateWithoutKeysSaysThatItCannotKnow(t *testing.T) {
	s := newStage(t)
	must(t, os.Remove(filepath.Join(s.dir, "jwks.json")))
	r := s.serve()
	eventually.True(t, "the gate answers", func() bool {
		_, err := r.health.Check(t.Context(), &healthpb.HealthCheckRequest{})
		return err == nil
	})
	r.wants(503, "no_keys", "/protected", s.token("s-1"))
	if r.serving() {
		t.Error("the gate is serving")
	}
	r.stopped()
}

// TestAnIssuerWhoseTokensOutliveRevocationsIsRefused: the log keeps revocations for tokens of an
// hour.
func TestAnIssuerWhoseTokensOutliveRevocationsIsRefused(t *testing.T) {
	s := newStage(t)
	s.lifetime = "2h"
	s.configure("{match: {path: /protected}}")
	r := s.serve().ready()
	r.wants(503, "issuer_lifetime", "/protected", s.token("s-1"))
	r.stopped()
}

func TestAHangupPutsAnotherPolicyInForce(t *testing.T) {
	s := newStage(t)
	r := s.serve().ready()
	tok := s.token("s-1")
	r.wants(200, "", "/protected", tok)
	s.configure("{match: {path: /protected}, require: {roles: [nobody]}}")
	must(t, syscall.Kill(os.Getpid(), syscall.SIGHUP))
	eventually.True(t, "the new policy is in force",
		func() bool { _, reason, _ := r.ask("/protected", tok); return reason == "insufficient_role" })
	s.configure("{match: {path: protected}}")
	must(t, syscall.Kill(os.Getpid(), syscall.SIGHUP))
	eventually.True(t, "the broken policy is reported",
		func() bool { return strings.Contains(r.log.String(), "does not begin with a slash") })
	r.wants(403, "insufficient_role", "/protected", tok)
	r.stopped()
}

func TestAStoppingGateSaysSoFirst(t *testing.T) {
	s := newStage(t)
	r := s.serve("--drain-delay", "2s").ready()
	r.stop()
	eventually.True(t, "the gate is not serving any more", func() bool { return !r.serving() })
	r.wants(200, "", "/public", "")
	r.stopped()
}

// TestAGateWithoutARateWritesNoAuditLines of those that it refuses.
func TestAGateWithoutARateWritesNoAuditLines(t *testing.T) {
	s := newStage(t)
	r := s.serve("--audit-rate", "0").ready()
	r.wants(401, "no_token", "/protected", "")
	r.stopped()
	if out := r.out.String(); out != "" {
		t.Errorf("got %s", out)
	}
}

func TestServeOnAUnixSocket(t *testing.T) {
	s := newStage(t)
	s.grpc = "unix:" + filepath.Join(s.dir, "gate.sock")
	r := s.serve("--listen", s.grpc).ready()
	r.wants(200, "", "/protected", s.token("s-1"))
	r.stopped()
	if _, err := os.Stat(filepath.Join(s.dir, "gate.sock")); err == nil {
		t.Error("the socket is left behind")
	}
}

// run runs a command line to its end.
func runCommand(t *testing.T, args ...string) (string, error) {
	t.Helper()
	var out, log eventually.Buffer
	cmd := newCommand(&out, &log)
	cmd.SetArgs(args)
	err := cmd.ExecuteContext(t.Context())
	return out.String(), err
}

func TestCheckSaysWhatIsInTheFile(t *testing.T) {
	file := filepath.Join(t.TempDir(), "authz.yaml")
	must(t, os.WriteFile(file, []byte(
		`issuers: [{issuer: "https://a.example", jwks_url: "https://a.example/jwks", audiences: [x]}]
policy: {routes: [{match: {path: /a}}, {match: {path: /b}, allow: public}]}
`,
	), 0o600))
	out, err := runCommand(t, "check", "--config", file, "--name", "gate-7")
	const ok = "ok: gate gate-7 trusts 1 issuers and has 2 routes\n"
	if err != nil || !strings.HasPrefix(out, "note: ext_authz.strip is all:") ||
		!strings.HasSuffix(out, "\n"+ok) {
		t.Errorf("got %q, %v", out, err)
	}
	out, err = runCommand(t, "check", "--config", file, "--name", "gate-7",
		"--ext-authz-strip", "envoy")
	if err != nil || out != ok {
		t.Errorf("with an Envoy that strips: got %q, %v", out, err)
	}
}

// TestCheckTellsWhatEnvoyHasToBeToldOfHeaders that the policy makes of claims, or goes by.
func TestCheckTellsWhatEnvoyHasToBeToldOfHeaders(t *testing.T) {
	file := filepath.Join(t.TempDir(), "authz.yaml")
	must(t, os.WriteFile(file, []byte(
		`issuers: [{issuer: "https://a.example", jwks_url: "https://a.example/jwks", audiences: [x]}]
policy:
  routes:
    - match: {path: /a, headers: [{name: x-beta, present: true}]}
      headers: {x-tenant: /tenant, x-auth-mail: /email}
`,
	), 0o600))
	out, err := runCommand(t, "check", "--config", file, "--name", "gate-7", "--ext-authz-strip", "envoy")
	for _, want := range []string{
		`regex: "x[^a-z0-9]tenant"`, `make its value "1,x-tenant"`, "have x-beta in allowed_headers",
		"\nok: gate gate-7",
	} {
		if err != nil || !strings.Contains(out, want) {
			t.Errorf("expected %q, got %q, %v", want, out, err)
		}
	}
	must(t, os.WriteFile(file, []byte(
		`issuers: [{issuer: "https://a.example", jwks_url: "https://a.example/jwks", audiences: [x]}]
policy:
  routes:
    - match: {path: /a}
      headers: {x-auth-roles: /roles}
`,
	), 0o600))
	if _, err := runCommand(t, "check", "--config", file); err == nil ||
		!strings.Contains(err.Error(), "authz.yaml:5:31: policy.routes[0].headers.x-auth-roles") {
		t.Errorf("a header of the gate's own: %v", err)
	}
}

// TestCheckTellsOfPathsThatDifferInCaseAlone: what is refused for it, and what passes by a weaker
// route.
func TestCheckTellsOfPathsThatDifferInCaseAlone(t *testing.T) {
	const issuers = `issuers: [{issuer: "https://a.example", jwks_url: "https://a.example/jwks", audiences: [x]}]` + "\n"
	for name, row := range map[string]struct{ policy, want string }{
		"refused": {
			"policy: {routes: [{match: {path: /account/**}}, {match: {path: /**}, allow: public}]}\n",
			"note: routes[1] (/**) does not take paths that differ only in case from those of routes[0] " +
				"(/account/**)",
		},
		"sensitive": {
			"policy: {path_case: sensitive, routes: [{match: {path: /account/**}}, {match: {path: /**}, " +
				"allow: public}]}\n",
			"warning: routes[1] (/**) has path_case: sensitive",
		},
		"two of a name": {
			"policy: {routes: [{match: {path: /A}, allow: public}, {match: {path: /a}}]}\n",
			"warning: routes[0] (/A) differs only in case from routes[1] (/a)",
		},
	} {
		file := filepath.Join(t.TempDir(), "authz.yaml")
		must(t, os.WriteFile(file, []byte(issuers+row.policy), 0o600))
		out, err := runCommand(t, "check", "--config", file, "--ext-authz-strip", "envoy")
		if err != nil || !strings.HasPrefix(out, row.want) || !strings.Contains(out, "\nok: gate ") {
			t.Errorf("%s: got %q, %v", name, out, err)
		}
	}
}

// TestCheckWarnsOfFormerNames of settings.
func TestCheckWarnsOfFormerNames(t *testing.T) {
	file := filepath.Join(t.TempDir(), "authz.yaml")
	must(t, os.WriteFile(file, []byte(`issuers:
- {issuer: "https://a.example", jwks_url: "https://a.example/jwks", audiences: [x]}
policy: {routes: [{match: {path: /a}}]}
ext_authz:
  audit: {rate: 2}
  strip: envoy
name: gate-7
`), 0o600))
	out, err := runCommand(t, "check", "--config", file)
	want := "warning: " + file + ":5:3: ext_authz.audit: " +
		"this is a former name, which is still accepted: write audit\n" +
		"ok: gate gate-7 trusts 1 issuers and has 1 routes\n"
	if err != nil || out != want {
		t.Errorf("got %q, %v", out, err)
	}
}

func TestMistakesNameFileLineAndWhatToWrite(t *testing.T) {
	const issuers = `issuers: [{issuer: "https://a.example", jwks_url: "https://a.example/jwks", audiences: [x]}]` + "\n"
	const routes = "policy: {routes: [{match: {path: /a}}]}\n"
	for name, row := range map[string]struct{ yaml, want string }{
		"unknown key": {issuers + routes + "lissten: 127.0.0.1:1\n", "authz.yaml:3:1"},
		"no issuers":  {routes, "issuers"},
		"no audience": {
			`issuers: [{issuer: "https://a.example", jwks_url: "https://a.example/jwks"}]` + "\n" + routes,
			"authz.yaml:1:",
		},
		"no routes": {issuers, "routes"},
		"bad route": {issuers + "policy: {routes: [{match: {path: a}}]}\n", "authz.yaml:2:"},
		"bad path case": {
			issuers + "policy: {path_case: off, routes: [{match: {path: /a}}]}\n",
			"insensitive or sensitive",
		},
		"bad realm":       {issuers + routes + `realm: 'a"b'` + "\n", "authz.yaml:3:"},
		"no listen":       {issuers + routes + `listen: ""` + "\n", "authz.yaml:3:"},
		"bad limit":       {issuers + routes + "ext_authz: {max_message: 10}\n", "max_message"},
		"bad strip":       {issuers + routes + "ext_authz: {strip: some}\n", "envoy, seen or all"},
		"bad socket mode": {issuers + routes + "ext_authz: {socket_mode: \"0999\"}\n", "octal"},
		"nobody may ask": {
			issuers + routes + "http_check: {listen: 127.0.0.1:1, proxy: nginx}\n",
			"trusted_proxies: [127.0.0.1]",
		},
		"everybody may ask": {
			issuers + routes +
				"http_check:\n  listen: 127.0.0.1:1\n  proxy: nginx\n  trusted_proxies: [10.0.0.1, \"::/0\"]\n",
			"authz.yaml:6:31: http_check.trusted_proxies[1]: expected the addresses of your proxies",
		},
		"no network": {
			issuers + routes + "http_check: {listen: 127.0.0.1:1, proxy: nginx, trusted_proxies: [proxy]}\n",
			`an address such as "10.0.0.7"`,
		},
		"networks of a socket": {
			issuers + routes +
				"http_check: {listen: \"unix:/run/x.sock\", proxy: nginx, trusted_proxies: [127.0.0.1]}\n",
			"whose clients have no addresses",
		},
		"another proxy": {
			issuers + routes + "http_check: {listen: \"unix:/run/x.sock\", proxy: apache}\n",
			`authz.yaml:3:49: http_check.proxy: expected caddy, envoy, haproxy, nginx, traefik, got "apache"`,
		},
		"a door without an address": {
			issuers + routes + "http_check: {proxy: nginx}\n", "such as 127.0.0.1:10004",
		},
		"two doors at one address": {
			issuers + routes +
				"listen: 127.0.0.1:1\nhttp_check: {listen: 127.0.0.1:1, proxy: nginx, trusted_proxies: [127.0.0.1]}\n",
			"authz.yaml:4:", // both are named there
		},
		"no peer header": {
			issuers + routes +
				"http_check: {listen: \"unix:/run/x.sock\", proxy: nginx, peer_header: \"a b\"}\n",
			"expected the name of a header",
		},
		"a cookie to be taken out over HTTP": {
			issuers + "policy: {tokens: [{cookie: s, remove: true}], routes: [{match: {path: /a}}]}\n" +
				"http_check: {listen: \"unix:/run/x.sock\", proxy: nginx}\n", "authz.yaml:2:20: policy.tokens[0]: expected none beside http_check",
		},
		"preflights over HTTP": {
			issuers + "policy: {routes: [{match: {path: /a}, cors: {origins: [\"https://a.example\"]}}]}\n" +
				"http_check: {listen: \"unix:/run/x.sock\", proxy: nginx}\n", "policy.routes[0].cors: expected none beside http_check",
		},
		"headers for the client over HTTP": {
			issuers + "policy: {routes: [{match: {path: /a}, response_headers: {x-plan: plan}}]}\n" +
				"http_check: {listen: \"unix:/run/x.sock\", proxy: nginx}\n", "policy.routes[0].response_headers: expected none beside http_check",
		},
		"a token in the query over HTTP": {
			issuers + "policy: {routes: [{match: {path: /a}, query_token: t}]}\n" + "http_check: {listen: \"unix:/run/x.sock\", proxy: nginx}\n",
			"policy.routes[0].query_token: expected none beside http_check",
		},
		"metadata over HTTP": {
			issuers + "policy: {metadata: {plan: plan}, routes: [{match: {path: /a}}]}\n" + "http_check: {listen: \"unix:/run/x.sock\", proxy: nginx}\n",
			"policy.metadata: expected none beside http_check",
		},
		"small headers": {
			issuers + routes + "http_check: {listen: \"unix:/run/x.sock\", proxy: nginx, max_headers: 10}\n",
			"16384 to 1048576",
		},
		"a certificate without its key": {
			issuers + routes + "ext_authz: {tls: {cert_file: a}}\n",
			"authz.yaml:3:30: ext_authz.tls.cert_file: expected cert_file and key_file together",
		},
		"clients without names": {
			issuers + routes +
				"http_check: {listen: 127.0.0.1:1, proxy: nginx, tls: {cert_file: a, key_file: b, client_ca_file: c}}\n",
			"client_names: [proxy.example.com]",
		},
		"bad audit rate":  {issuers + routes + "audit: {rate: -1}\n", "authz.yaml:3:15: audit.rate"},
		"bad stream time": {issuers + routes + "ext_authz: {streams: {least: 0s}}\n", "least"},
		"bad drain":       {issuers + routes + "drain: {delay: 2h}\n", "delay"},
		"bad cache":       {issuers + routes + "cache: {entries: -1}\n", "entries"},
		"leeway beyond log": {
			`issuers: [{issuer: "https://a.example", jwks_url: "https://a.example/jwks", audiences: [x], clock_skew: 5m}]` + "\n" + routes,
			"outlive its revocation",
		},
		"two issuers of one": {
			strings.Replace(issuers, "]\n",
				`, {issuer: "https://a.example", jwks_url: "https://b.example/jwks", audiences: [x]}]`+
					"\n", 1) + routes,
			"a.example",
		},
	} {
		t.Run(name, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "authz.yaml")
			must(t, os.WriteFile(file, []byte(row.yaml), 0o600))
			_, err := runCommand(t, "check", "--config", file)
			if err == nil || !strings.Contains(err.Error(), row.want) {
				t.Errorf("expected %q in: %v", row.want, err)
			}
		})
	}
}

func TestAFileIsNeeded(t *testing.T) {
	for _, name := range []string{"serve", "check", "healthcheck"} {
		if _, err := runCommand(t, name); err == nil || !strings.Contains(err.Error(), "--config") {
			t.Errorf("%s: got %v", name, err)
		}
		if _, err := runCommand(t, name, "--config", "/nonexistent/authz.yaml"); err == nil {
			t.Errorf("%s: a missing file is accepted", name)
		}
	}
}

func TestVersion(t *testing.T) {
	out, err := runCommand(t, "version")
	if err != nil || !strings.HasPrefix(out, "authz ") ||
		strings.TrimSpace(strings.TrimPrefix(out, "authz ")) == "" {
		t.Errorf("got %q, %v", out, err)
	}
}
