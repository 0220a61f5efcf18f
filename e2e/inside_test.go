package e2e_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"golang.org/x/net/websocket"
	rpcstatus "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/sallyport/sallyport/internal/eventually"
	"github.com/sallyport/sallyport/internal/jose/josetest"
	"github.com/sallyport/sallyport/internal/mesh"
	"github.com/sallyport/sallyport/internal/meshtest"
)

// inside is a mesh whose gate is inside Envoy.
func inside(t *testing.T, change ...func(*mesh.Options)) *meshtest.Stack {
	t.Helper()
	return meshtest.Start(t, with(func(o *mesh.Options) {
		o.Module = meshtest.Module(t)
		for _, f := range change {
			f(o)
		}
	}))
}

// besideAndInside runs f on two meshes: with the gate beside the shipped Envoy, whose file is changed
// so, and inside Envoy. policy begins the policy's lines, and has `routes:` in it; upstream is nil for
// the mesh's own.
func besideAndInside(t *testing.T, policy string, upstream http.Handler, changes []meshtest.Change,
	f func(t *testing.T, s *meshtest.Stack)) {
	t.Helper()
	settings := func(o *mesh.Options) {
		before := o.Rewrite
		if upstream != nil {
			o.Upstream = upstream
		}
		o.Rewrite = func(name, content string) string {
			if name == "authz.yaml" {
				return replace(t, content, "  routes:\n", policy)
			}
			if before != nil {
				return before(name, content)
			}
			return content
		}
	}
	t.Run("beside", func(t *testing.T) {
		f(t, meshtest.Start(t, with(func(o *mesh.Options) {
			settings(o)
			meshtest.RunShipped(t, o, changes...)
		})))
	})
	t.Run("inside", func(t *testing.T) { f(t, inside(t, settings)) })
}

// rewritten changes Envoy's configuration file, in which old has to stand.
func rewritten(t *testing.T, changes ...meshtest.Change) func(*mesh.Options) {
	return func(o *mesh.Options) {
		o.Rewrite = func(name, content string) string {
			if name != "envoy.yaml" {
				return content
			}
			for _, c := range changes {
				if !strings.Contains(content, c.Old) {
					t.Fatalf("envoy.yaml has no %q", c.Old)
				}
				content = strings.ReplaceAll(content, c.Old, c.New)
			}
			return content
		}
	}
}

// TestNoListenerOpensBeforeTheFirstConfirmedCopy (S2): without Redis the gate inside Envoy has no
// copy of the log, and Envoy takes no connection; it answers its admin port meanwhile, and ends
// when it is told to.
func TestNoListenerOpensBeforeTheFirstConfirmedCopy(t *testing.T) {
	s := inside(t)
	e := s.Endpoints()
	gateway := strings.TrimPrefix(e.Gateway, "http://")
	dial := func() error {
		conn, err := net.DialTimeout("tcp", gateway, 5*time.Second)
		if err == nil {
			err = conn.Close()
		}
		return err
	}
	if err := dial(); err != nil {
		t.Fatalf("a gate that is ready: %v", err)
	}
	redis, envoy := s.Child("redis"), s.Child("envoy")
	if err := envoy.Terminate(t.Context()); err != nil {
		t.Fatalf("Envoy has not ended well: %v", err)
	}
	if err := redis.Kill(); err != nil {
		t.Fatal(err)
	}
	restarted := make(chan error, 1)
	go func() { restarted <- envoy.Restart(t.Context()) }()
	admin := newCaller(t, e.EnvoyAdmin)
	s.Eventually("Envoy to say that it initialises, and the gate what it waits for", func() bool {
		a, err := admin.try("GET", "/ready", nil)
		gate, gateErr := newCaller(t, e.Gates[0].Admin).try("GET", "/readyz", nil)
		return err == nil && a.status == 503 && gateErr == nil && gate.status == 503 &&
			bytes.Contains(gate.body, []byte("revocation"))
	})
	if err := dial(); err == nil {
		t.Error("Envoy takes connections before there is a copy of the log")
	}
	if err := redis.Restart(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := <-restarted; err != nil {
		t.Fatal(err)
	}
	c := newCaller(t, e.Gateway)
	c.get(t, "/protected", bearer(c.login(t, user(t, s, "alice")).Access)).reached(t)
}

// TestValidateStartsNothing: Envoy looks at a configuration while nothing that it speaks of is
// there, and says what is wrong with the gate's.
func TestValidateStartsNothing(t *testing.T) {
	s := inside(t)
	e := s.Endpoints()
	if err := s.Child("envoy").Terminate(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := s.Child("redis").Kill(); err != nil {
		t.Fatal(err)
	}
	cache := filepath.Join(s.Dir, "cache", "gate-1")
	if err := os.RemoveAll(cache); err != nil {
		t.Fatal(err)
	}
	// Whoever listened on the admin port would find it taken.
	taken, err := net.Listen("tcp", strings.TrimPrefix(e.Gates[0].Admin, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	validate := func() (string, error) {
		ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
		defer cancel()
		cmd := exec.CommandContext(ctx, meshtest.Envoy(t), "--mode", "validate", "-c",
			filepath.Join(s.Dir, "envoy.yaml"))
		cmd.Dir = s.Dir
		out, err := cmd.CombinedOutput()
		return string(out), err
	}
	if out, err := validate(); err != nil || !strings.Contains(out, "OK") {
		t.Errorf("%v\n%s", err, out)
	}
	if _, err := os.Stat(cache); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the folder for keys: %v", err)
	}
	file := filepath.Join(s.Dir, "authz.yaml")
	content, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	wrong := bytes.Replace(content, []byte("allow: public"), []byte("allow: anybody"), 1)
	if err := os.WriteFile(file, wrong, 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := validate(); err == nil || !strings.Contains(out, "authz.yaml:") {
		t.Errorf("a wrong policy: %v\n%s", err, out)
	}
}

// TestAClientsNamesForItselfNeverPassTheGateInsideEnvoy: with nothing of Envoy's own to remove
// them, in every spelling that a server may fold.
func TestAClientsNamesForItselfNeverPassTheGateInsideEnvoy(t *testing.T) {
	s := inside(t, rewritten(
		t,
		meshtest.Change{
			Old: "headers_with_underscores_action: DROP_HEADER",
			New: "headers_with_underscores_action: ALLOW",
		},
		meshtest.Change{Old: `regex: "[^:]*[^a-z0-9:-][^:]*"`, New: `regex: "none"`},
		meshtest.Change{
			Old: `(auth|sallyport)[^a-z0-9].*)"`,
			New: `none)"`,
		},
	))
	c := newCaller(t, s.Endpoints().Gateway)
	token := c.login(t, user(t, s, "bob")).Access
	names := []string{
		"x-auth-subject",
		"x-auth-issuer",
		"x-auth-roles",
		"x-auth-scope",
		"x-auth-session",
		"x-auth-token-id",
	}
	for _, path := range []string{"/public", "/protected"} {
		for _, sign := range []string{"-", "_", ".", "!", "~", "|"} {
			for _, name := range names {
				spelt := strings.ReplaceAll(name, "-", sign)
				a := c.get(t, path, bearer(token), func(r *http.Request) {
					r.Header[spelt] = []string{"mallory", "mallory"}
				})
				var got mesh.Received
				if err := json.Unmarshal(a.body, &got); err != nil || a.status != 200 {
					t.Fatalf("%s: %d %v", spelt, a.status, err)
				}
				for name, value := range got.Headers {
					if strings.Contains(value, "mallory") {
						t.Errorf("%s: the upstream received %s", path, name)
					}
				}
				if want := map[string]string{"/protected": "bob"}[path]; got.Headers["x-auth-subject"] != want {
					t.Errorf(
						"%s with %s: the upstream knows %q",
						path,
						spelt,
						got.Headers["x-auth-subject"],
					)
				}
			}
		}
	}
}

// TestGRPCClientsInsideEnvoyAreToldTheirStatus: a refusal is one in the words of gRPC.
func TestGRPCClientsInsideEnvoyAreToldTheirStatus(t *testing.T) {
	up := newStreaming(t)
	s := inside(t, func(o *mesh.Options) { o.Upstream = up })
	c := newCaller(t, s.Endpoints().Gateway)
	conn := dialGRPC(t, s.Endpoints().Gateway)
	good := c.login(t, user(t, s, "bob")).Access
	setup := hostile(t, s, good)
	unknown := setup.Key.Token(setup.Key.Header("at+jwt").With("kid", `"nobody"`).JSON(),
		setup.Claims.JSON())
	revoked := c.login(t, user(t, s, "bob")).Access
	if a := c.send(t, "POST", "/logout?wait=5s", nil, bearer(revoked)); a.status != 200 {
		t.Fatalf("logout: %d %s", a.status, a.body)
	}
	call := func(method, token string) *status.Status {
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		defer cancel()
		if token != "" {
			ctx = metadata.AppendToOutgoingContext(ctx, "authorization", "Bearer "+token)
		}
		return status.Convert(conn.Invoke(ctx, method, wrapperspb.String("hello"),
			&wrapperspb.StringValue{}))
	}
	for _, row := range []struct {
		name, method, token string
		code                codes.Code
		says                string
	}{
		{"who may pass", "/api/Echo", good, codes.OK, ""},
		{"no token", "/api/Echo", "", codes.Unauthenticated, "carries none"},
		{"no genuine token", "/api/Echo", josetest.Twin(setup.Key, good) + "x", codes.Unauthenticated, ""},
		{"a revoked token", "/api/Echo", revoked, codes.Unauthenticated, "revoked"},
		{"not the role", "/admin/Echo", good, codes.PermissionDenied, "role"},
		{"no route", "/nowhere/Echo", good, codes.PermissionDenied, "route"},
		{"a path with two meanings", "/api/Echo;x", good, codes.InvalidArgument, "path"},
	} {
		if got := call(row.method, row.token); got.Code() != row.code ||
			!strings.Contains(got.Message(), row.says) {
			t.Errorf(
				"%s: got %v %q, want %v %q",
				row.name,
				got.Code(),
				got.Message(),
				row.code,
				row.says,
			)
		}
	}
	s.Eventually("a refusal has its audit line, with the client's address", func() bool {
		content, err := os.ReadFile(s.Child("envoy").LogFile())
		return err == nil && slices.ContainsFunc(strings.Split(string(content), "\n"),
			func(line string) bool {
				return strings.Contains(line, `"event":"deny"`) &&
					strings.Contains(line, `"reason":"insufficient_role"`) &&
					strings.Contains(line, `"subject":"bob"`) &&
					strings.Contains(line, `"address":"127.0.0.1"`)
			})
	})
	// Of a kid that it has not met, a gate says nothing until it has heard from the issuer.
	s.Eventually("a kid that nobody has is unknown", func() bool {
		got := call("/api/Echo", unknown)
		if got.Code() != codes.Unavailable && got.Code() != codes.Unauthenticated {
			t.Errorf("an unknown kid: %v %q", got.Code(), got.Message())
		}
		return got.Code() == codes.Unauthenticated
	})
}

// TestAReaderThatIsGoneCostsLinesAndNotEnvoy: the gate inside Envoy writes audit lines to a standard
// output that nobody reads any more, which would end a program of Go's.
func TestAReaderThatIsGoneCostsLinesAndNotEnvoy(t *testing.T) {
	s := inside(t)
	if err := s.Child("envoy").Terminate(t.Context()); err != nil {
		t.Fatal(err)
	}
	gone, stdout, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := gone.Close(); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(meshtest.Envoy(t), "-c", filepath.Join(s.Dir, "envoy.yaml"),
		"--disable-hot-restart")
	cmd.Dir, cmd.Stdout = s.Dir, stdout
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if err := stdout.Close(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	c, admin := newCaller(t, s.Endpoints().Gateway), newCaller(t, s.Endpoints().Gates[0].Admin)
	s.Eventually("Envoy to take requests, and lines to be lost", func() bool {
		a, err := c.try("GET", "/protected", nil)
		return err == nil && a.status == 401 && metric(t, admin, "sallyport_audit_lost_total") > 3
	})
	if a := c.get(t, "/public"); a.status != 200 {
		t.Errorf("got %d", a.status)
	}
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := <-ended; err != nil {
		t.Errorf("Envoy has not ended well: %v", err)
	}
}

// TestStreamsEndWhenTheirTokenIsRevoked (S9) through the shipped file, each as its client understands
// it; those of others go on, and the access log has the reason.
func TestStreamsEndWhenTheirTokenIsRevoked(t *testing.T) {
	up, reached := newStreaming(t), make(chan struct{}, 1)
	s := inside(t, func(o *mesh.Options) {
		o.Upstream = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/api/never" {
				reached <- struct{}{}
			}
			up.ServeHTTP(w, r)
		})
		meshtest.RunShipped(t, o)
	})
	gateway := s.Endpoints().Gateway
	c := newCaller(t, gateway)
	alice, bob := c.login(t, user(t, s, "alice")).Access, c.login(t, user(t, s, "bob")).Access
	theirs, others := map[string]conversation{}, map[string]conversation{}
	for name, dial := range openings {
		theirs[name], others[name] = dial(t, gateway, bob, up), dial(t, gateway, alice, up)
		for _, o := range []conversation{theirs[name], others[name]} {
			if err := o.exchange(); err != nil {
				t.Fatalf("%s: %v", name, err)
			}
		}
	}
	// A websocket and a gRPC stream whose ends are looked at, and a request that waits for its answer.
	socket, err := dialWebsocket(t, gateway, "/api/websocket", bob)
	if err != nil {
		t.Fatal(err)
	}
	stream := openEcho(t, gateway, bob)
	waiting := make(chan answer, 1)
	go func() {
		a, err := c.try("GET", "/api/never", nil, bearer(bob))
		if err != nil {
			t.Error(err)
		}
		waiting <- a
	}()
	select {
	case <-reached:
	case <-time.After(20 * time.Second):
		t.Fatal("the upstream does not get the request that waits")
	}

	if a := c.send(t, "POST", "/logout?wait=5s", nil, bearer(bob)); a.status != 200 {
		t.Fatalf("logout: %d %s", a.status, a.body)
	}
	logged := time.Now()
	for name, o := range theirs {
		if err := o.ended(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	t.Logf("all streams had ended %v after the logout was acknowledged", time.Since(logged))
	if end := closeFrame(socket); end != "\x88\x0f\x03\xf0token revoked" {
		t.Errorf("the websocket ends with %q", end)
	}
	if got := status.Convert(stream()); got.Code() != codes.Unauthenticated ||
		got.Message() != "token revoked" {
		t.Errorf("the gRPC stream ends with %v %q", got.Code(), got.Message())
	}
	(<-waiting).refused(t, 401, "invalid_token", "revoked")
	for name, o := range others {
		if err := o.exchange(); err != nil {
			t.Errorf("another user's stream, %s: %v", name, err)
		}
	}
	s.Eventually("the access log to have the reason of six ends", func() bool {
		content, err := os.ReadFile(s.Child("envoy").LogFile())
		return err == nil && bytes.Count(content, []byte(`"ended":"revoked"`)) == 6
	})
	stats := newCaller(t, s.Endpoints().EnvoyAdmin).get(t, "/stats?filter=sallyport").body
	if !bytes.Contains(stats, []byte("sallyport_streams_ended: 6")) ||
		!bytes.Contains(stats, []byte("sallyport_allowed")) {
		t.Errorf("Envoy counts\n%s", stats)
	}
	admin := newCaller(t, s.Endpoints().Gates[0].Admin)
	if n := metric(t, admin, "sallyport_gate_streams_ended_total"); n != 6 {
		t.Errorf("the gate counts %v", n)
	}
}

// TestStreamsEndWhenNobodyCanTellWhoIsRevoked (S9): with Redis gone for max_staleness a logout that
// is acknowledged would not be heard of. Each kind of client is told so; once Redis is back, they
// open streams again.
func TestStreamsEndWhenNobodyCanTellWhoIsRevoked(t *testing.T) {
	up := newStreaming(t)
	s := inside(t, func(o *mesh.Options) {
		o.Upstream = up
		o.GateArgs = []string{fmt.Sprintf("--revocation-max-staleness=%v", outageStaleness)}
		o.IssuerArgs = o.GateArgs
		meshtest.RunShipped(t, o)
	})
	gateway := s.Endpoints().Gateway
	token := newCaller(t, gateway).login(t, user(t, s, "bob")).Access
	streams := map[string]conversation{}
	for name, dial := range openings {
		streams[name] = dial(t, gateway, token, up)
		if err := streams[name].exchange(); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
	}
	socket, err := dialWebsocket(t, gateway, "/api/websocket", token)
	if err != nil {
		t.Fatal(err)
	}
	stream := openEcho(t, gateway, token)

	redis := s.Child("redis")
	if err := redis.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	stopped := time.Now()
	for name, o := range streams {
		if err := o.ended(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	t.Logf("all streams had ended %v after Redis stopped, max_staleness %v", time.Since(stopped),
		outageStaleness)
	if end := closeFrame(socket); end != "\x88\x15\x03\xf5revocations unknown" {
		t.Errorf("the websocket ends with %q", end)
	}
	if got := status.Convert(stream()); got.Code() != codes.Unavailable ||
		got.Message() != "revocations unknown" {
		t.Errorf("the gRPC stream ends with %v %q", got.Code(), got.Message())
	}
	s.Eventually("the access log to have the reason of five ends", func() bool {
		content, err := os.ReadFile(s.Child("envoy").LogFile())
		return err == nil && bytes.Count(content, []byte(`"ended":"stale"`)) == 5
	})
	if err := redis.Signal(syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	s.Eventually("streams to open again", func() bool {
		conn, err := dialWebsocket(t, gateway, "/api/websocket", token)
		if err == nil {
			_ = conn.Close() // it is not used
		}
		return err == nil
	})
}

// openEcho opens a gRPC stream, and returns what reads it to its end.
func openEcho(t *testing.T, gateway, token string) (end func() error) {
	t.Helper()
	_, o := openGRPCStream(t, gateway, token)
	if err := o.SendMsg(wrapperspb.String("hello")); err != nil {
		t.Fatal(err)
	}
	if err := o.RecvMsg(&wrapperspb.StringValue{}); err != nil {
		t.Fatal(err)
	}
	return func() error { return o.RecvMsg(&wrapperspb.StringValue{}) }
}

// closeFrame reads what is left of a websocket's connection, as bytes.
func closeFrame(socket *websocket.Conn) string {
	r, err := socket.NewFrameReader()
	if err != nil {
		return err.Error()
	}
	var head bytes.Buffer
	if _, err := io.Copy(&head, r.HeaderReader()); err != nil {
		return err.Error()
	}
	body, err := io.ReadAll(r)
	if err != nil {
		return err.Error()
	}
	return head.String() + string(body)
}

var manyStreams = flag.Int("streams", 1000, "streams of TestManyStreamsEndWithTheirToken, `n`")

// TestManyStreamsEndWithTheirToken: none of a thousand is left, and how soon is logged. For figures:
//
//	go test ./e2e -run TestManyStreamsEndWithTheirToken -v -streams 10000
func TestManyStreamsEndWithTheirToken(t *testing.T) {
	// As many as are shipped would not be enough for ten thousand.
	room := rewritten(t,
		meshtest.Change{Old: "max_connections: 1024", New: "max_connections: 20000"},
		meshtest.Change{Old: "max_pending_requests: 1024", New: "max_pending_requests: 20000"},
		meshtest.Change{Old: "max_requests: 1024", New: "max_requests: 20000"})
	s := inside(t, func(o *mesh.Options) {
		o.Upstream = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if err := http.NewResponseController(w).Flush(); err != nil {
				t.Error(err)
			}
			<-r.Context().Done()
		})
		room(o)
	})
	c := newCaller(t, s.Endpoints().Gateway)
	token := c.login(t, user(t, s, "bob")).Access
	var open, ended sync.WaitGroup
	var mu sync.Mutex
	var last time.Time
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	// A hundred streams a connection: each of these has another one to the upstream besides.
	transport := &http.Transport{Protocols: new(http.Protocols)}
	transport.Protocols.SetUnencryptedHTTP2(true)
	defer transport.CloseIdleConnections()
	// All at once, nearly each would dial a connection of its own, not knowing yet how many streams those
	// that are being opened take.
	opening := make(chan struct{}, 50)
	for range *manyStreams {
		open.Add(1)
		ended.Go(func() {
			r, err := http.NewRequestWithContext(ctx, "GET", c.base+"/protected", nil)
			if err == nil {
				bearer(token)(r)
				var response *http.Response
				opening <- struct{}{}
				response, err = transport.RoundTrip(r)
				<-opening
				if err == nil {
					if response.StatusCode != http.StatusOK {
						t.Errorf("a stream was opened with %s", response.Status)
					}
					open.Done()
					_, err = io.Copy(io.Discard, response.Body)
					_ = response.Body.Close()
					mu.Lock()
					defer mu.Unlock()
					last = time.Now()
					if err == nil || ctx.Err() != nil {
						t.Errorf("a stream has ended with %v", errors.Join(err, ctx.Err()))
					}
					return
				}
			}
			open.Done()
			t.Error(err)
		})
	}
	open.Wait()
	if a := c.send(t, "POST", "/logout?wait=5s", nil, bearer(token)); a.status != 200 {
		t.Fatalf("logout: %d %s", a.status, a.body)
	}
	acknowledged := time.Now()
	ended.Wait()
	t.Logf("the last of %d streams had ended %v after the acknowledgement", *manyStreams,
		last.Sub(acknowledged))
}

// insideEnvoy is a gate inside Envoy, asked as one beside it would be.
type insideEnvoy struct{ *caller }

// Check implements authv3.AuthorizationClient.
func (e insideEnvoy) Check(ctx context.Context, in *authv3.CheckRequest,
	_ ...grpc.CallOption) (*authv3.CheckResponse, error) {
	asked := in.GetAttributes().GetRequest().GetHttp()
	a, err := e.try(asked.GetMethod(), asked.GetPath(), nil,
		header("Authorization", asked.GetHeaders()["authorization"]),
		func(r *http.Request) { *r = *r.WithContext(ctx) })
	if err != nil {
		return nil, err
	}
	if a.status == http.StatusOK {
		return &authv3.CheckResponse{Status: &rpcstatus.Status{}}, nil
	}
	return &authv3.CheckResponse{
		Status: &rpcstatus.Status{Code: int32(codes.PermissionDenied)},
		HttpResponse: &authv3.CheckResponse_DeniedResponse{
			DeniedResponse: &authv3.DeniedHttpResponse{
				Status: &typev3.HttpStatus{Code: typev3.StatusCode(a.status)},
				Headers: []*corev3.HeaderValueOption{{Header: &corev3.HeaderValue{
					Key: "x-sallyport-reason", Value: a.header.Get("X-Sallyport-Reason"),
				}}},
			},
		},
	}, nil
}

// TestNothingOfOursEndsEnvoy: whatever is thrown in what Envoy calls or in a goroutine that it
// stands on, requests are refused and Envoy goes on.
func TestNothingOfOursEndsEnvoy(t *testing.T) {
	for _, row := range []struct {
		name, file, old, code string
		status                int
	}{
		{
			"in the hook of a request", "authz/module/module.go",
			"	s := filter.Stream{\n", "	panic(\"thrown\")\n	s := filter.Stream{\n", 503,
		},
		{
			"in the decision", "authz/engine.go", "	if r.Policy != \"\" {\n",
			"	var nobody *Engine\n	nobody.rules.Load()\n	if r.Policy != \"\" {\n", 503,
		},
	} {
		t.Run(row.name, func(t *testing.T) {
			content, err := os.ReadFile(filepath.Join(meshtest.Root(t), row.file))
			if err != nil {
				t.Fatal(err)
			}
			broken := strings.Replace(string(content), row.old, row.code, 1)
			if broken == string(content) {
				t.Fatalf("%s has no %q", row.file, row.old)
			}
			s := inside(t, func(o *mesh.Options) {
				o.Module = meshtest.BrokenModule(t, map[string]string{row.file: broken})
			})
			c := newCaller(t, s.Endpoints().Gateway)
			for range 20 {
				if a := c.get(t, "/protected"); a.status != row.status {
					t.Fatalf("got %d %s", a.status, a.body)
				}
			}
			if seen := s.Seen(); len(seen) > 0 {
				t.Errorf("the upstream saw %v", seen)
			}
			// The issuer's own routes ask no gate.
			if a := c.get(t, "/.well-known/jwks.json"); a.status != 200 {
				t.Errorf("got %d", a.status)
			}
			eventually.True(t, "Envoy is live", func() bool {
				a, err := newCaller(t, s.Endpoints().EnvoyAdmin).try("GET", "/ready", nil)
				return err == nil && a.status == 200
			})
		})
	}
}

// TestAGateThatFailsInsideEnvoyLetsNothingPass: a panic in what it runs on ends the gate, and not
// Envoy, which goes on to serve what asks no gate.
func TestAGateThatFailsInsideEnvoyLetsNothingPass(t *testing.T) {
	const file, rule = "authz/filter/filter.go", "if !f.options.Revocations.Check(facts).Revoked {"
	content, err := os.ReadFile(filepath.Join(meshtest.Root(t), file))
	if err != nil {
		t.Fatal(err)
	}
	broken := strings.Replace(string(content), rule, "panic(\"thrown\")\n\t\t"+rule, 1)
	if broken == string(content) {
		t.Fatalf("%s has no %q", file, rule)
	}
	s := inside(t, func(o *mesh.Options) {
		o.Module = meshtest.BrokenModule(t, map[string]string{file: broken})
	})
	c := newCaller(t, s.Endpoints().Gateway)
	token := c.login(t, user(t, s, "alice")).Access
	c.get(t, "/protected", bearer(token)).reached(t)
	// The log changes, and streams are looked through. The gate may be gone before it has said so.
	if a := c.send(t, "POST", "/logout", nil, bearer(token)); a.status != 200 && a.status != 202 {
		t.Fatalf("logout: %d %s", a.status, a.body)
	}
	for _, path := range []string{"/protected", "/public"} {
		s.Eventually("the gate to let nothing pass", func() bool {
			return c.get(t, path, bearer(token)).status == http.StatusServiceUnavailable
		})
	}
	if a := c.get(t, "/.well-known/jwks.json"); a.status != 200 {
		t.Errorf("what asks no gate: %d", a.status)
	}
	if a := newCaller(t, s.Endpoints().EnvoyAdmin).get(t, "/ready"); a.status != 200 {
		t.Errorf("Envoy: %d %s", a.status, a.body)
	}
}

// endsItsStart starts Envoy with the files of a mesh that is started, whose own Envoy has ended,
// and wants it to end by itself as with a wrong setting, with status 1. It returns what it said.
func endsItsStart(t *testing.T, s *meshtest.Stack, configuration string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, meshtest.Envoy(t), "--disable-hot-restart", "-c", configuration)
	cmd.Dir = s.Dir
	out, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.ExitCode() != 1 {
		t.Errorf("Envoy has not ended its start: %v", err)
	}
	return string(out)
}

// TestAnAdminPortThatIsTakenEndsEnvoysStart, and Envoy says which: it would wait for the gate for
// ever.
func TestAnAdminPortThatIsTakenEndsEnvoysStart(t *testing.T) {
	s := inside(t)
	if err := s.Child("envoy").Terminate(t.Context()); err != nil {
		t.Fatal(err)
	}
	address := strings.TrimPrefix(s.Endpoints().Gates[0].Admin, "http://")
	taken, err := net.Listen("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	out := endsItsStart(t, s, filepath.Join(s.Dir, "envoy.yaml"))
	if !strings.Contains(out, "admin port") || !strings.Contains(out, address) {
		t.Errorf("it does not say what is wrong:\n%s", out)
	}
}

// TestAGateThatFailsBeforeItIsReadyEndsEnvoysStart: nothing is served yet, and nothing ever would
// be.
func TestAGateThatFailsBeforeItIsReadyEndsEnvoysStart(t *testing.T) {
	s := inside(t)
	configuration, err := os.ReadFile(filepath.Join(s.Dir, "envoy.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Child("envoy").Terminate(t.Context()); err != nil {
		t.Fatal(err)
	}
	for name, row := range map[string]struct{ file, begin string }{
		"a part of it fails":         {"internal/keyset/tend.go", "tend(ctx context.Context) {\n"},
		"its readiness is not known": {"authz/gate/gate.go", "(g *Gate) Ready() error {\n"},
	} {
		t.Run(name, func(t *testing.T) {
			content, err := os.ReadFile(filepath.Join(meshtest.Root(t), row.file))
			if err != nil {
				t.Fatal(err)
			}
			broken := strings.Replace(string(content), row.begin, row.begin+"\tpanic(\"thrown\")\n", 1)
			if broken == string(content) {
				t.Fatalf("%s has no %q", row.file, row.begin)
			}
			module := meshtest.BrokenModule(t, map[string]string{row.file: broken})
			path := filepath.Join(t.TempDir(), "envoy.yaml")
			if err := os.WriteFile(path, bytes.ReplaceAll(configuration, []byte(meshtest.Module(t)),
				[]byte(module)), 0o600); err != nil {
				t.Fatal(err)
			}
			if out := endsItsStart(t, s, path); !strings.Contains(out, "before it was ready") {
				t.Errorf("it does not say what is wrong:\n%s", out)
			}
		})
	}
}

// TestAPanicWhileEnvoyStartsOrEndsIsNoCrash: in each function of Go's that Envoy's main thread
// enters. A start that has failed ends Envoy as any wrong setting does, with status 1.
func TestAPanicWhileEnvoyStartsOrEndsIsNoCrash(t *testing.T) {
	const file = "authz/module/module.go"
	content, err := os.ReadFile(filepath.Join(meshtest.Root(t), file))
	if err != nil {
		t.Fatal(err)
	}
	thrown := func(t *testing.T, function string) string {
		t.Helper()
		begin := "func " + function + "("
		before, after, ok := strings.Cut(string(content), begin)
		head, body, is := strings.Cut(after, "	defer recovered(&ok)\n")
		if !ok || !is {
			t.Fatalf("%s has no %s that recovers", file, function)
		}
		throw := "	panic(\"thrown\")\n"
		return meshtest.BrokenModule(t, map[string]string{
			file: before + begin + head + "	defer recovered(&ok)\n" + throw + body,
		})
	}
	whole := inside(t)
	configuration, err := os.ReadFile(filepath.Join(whole.Dir, "envoy.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	if err := whole.Child("envoy").Terminate(t.Context()); err != nil {
		t.Fatal(err)
	}
	for function, arguments := range map[string][]string{
		"sallyport_check":    {"--mode", "validate"},
		"sallyport_start":    {"--disable-hot-restart"},
		"sallyport_attached": {"--disable-hot-restart"},
	} {
		t.Run(function, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "envoy.yaml")
			broken := bytes.ReplaceAll(configuration, []byte(meshtest.Module(t)),
				[]byte(thrown(t, function)))
			if err := os.WriteFile(path, broken, 0o600); err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			cmd := exec.CommandContext(ctx, meshtest.Envoy(t), append(arguments, "-c", path)...)
			cmd.Dir = whole.Dir
			out, err := cmd.CombinedOutput()
			var exit *exec.ExitError
			if !errors.As(err, &exit) || exit.ExitCode() != 1 ||
				!bytes.Contains(out, []byte("recovered from a panic")) {
				t.Errorf("%v\n%s", err, out)
			}
		})
	}
	t.Run("sallyport_stop", func(t *testing.T) {
		s := inside(t, func(o *mesh.Options) { o.Module = thrown(t, "sallyport_stop") })
		ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
		defer cancel()
		if err := s.Child("envoy").Terminate(ctx); err != nil {
			t.Errorf("Envoy has not ended well: %v", err)
		}
	})
}
