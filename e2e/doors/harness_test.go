// Package doors_test holds the doors of a gate beside gRPC to their word: real proxies, with the
// configuration that their pages in docs/doors show, ask a real gate over HTTP.
package doors_test

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/sallyport/sallyport/internal/eventually"
	"github.com/sallyport/sallyport/internal/mesh"
	"github.com/sallyport/sallyport/internal/meshtest"
)

// common is the mesh whose issuer and Redis all tests share: nothing here breaks it.
var common struct {
	start sync.Once
	dir   string
	mesh  *mesh.Mesh
	err   error
}

// TestMain ends the shared mesh; a daemon of it that did not end well fails the run.
func TestMain(m *testing.M) {
	code := m.Run()
	if common.mesh != nil {
		if err := common.mesh.Stop(); err != nil {
			fmt.Fprintln(os.Stderr, "the shared mesh did not end well:", err)
			code = 1
		}
	}
	if err := os.RemoveAll(common.dir); err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

// routes are put before those of the mesh's own policy.
const routes = `  - match: {path: /optional}
    allow: optional
  - match: {path: /checkout}
    require: {when: 'peer.principal == "spiffe://example.com/checkout"'}
  - match: {path: /closed}
    allow: nobody
  - {match: {path: /page}, refusals: {as: html}}
  - {match: {path: /problem}, refusals: {as: problem}}
  - {match: {path: /flask}, refusals: {as: flask}}
  - match: {path: /files/**}
    allow: public
  - match: {path: /inner/**, hosts: [inner.example.com]}
    allow: public
  - match: {path: /write, methods: [POST]}
    allow: public
`

func shared(t *testing.T) *mesh.Mesh {
	t.Helper()
	common.start.Do(func() {
		if common.dir, common.err = os.MkdirTemp("", "sallyport-doors-"); common.err != nil {
			return
		}
		common.mesh, common.err = mesh.Start(t.Context(), mesh.Options{
			Dir: common.dir, Binaries: meshtest.Binaries(t, false), Envoy: meshtest.Envoy(t),
			RedisServer: meshtest.RedisServer(t),
			Rewrite: func(name, content string) string {
				const first = "  routes:\n"
				if name == "authz.yaml" && strings.Count(content, first) == 1 {
					return strings.Replace(content, first, first+routes, 1)
				}
				return content
			},
		})
	})
	if common.err != nil {
		t.Fatal(common.err)
	}
	return common.mesh
}

// tokens are those of users who are logged in, by name.
var tokens sync.Map

// login returns an access token of one of the mesh's users, which all tests share.
func login(t *testing.T, name string) string {
	t.Helper()
	if token, ok := tokens.Load(name); ok {
		return token.(string)
	}
	token := loginAnew(t, name)
	tokens.Store(name, token)
	return token
}

// loginAnew is login for a token that a test has to itself.
func loginAnew(t *testing.T, name string) string {
	t.Helper()
	e := shared(t).Endpoints()
	for _, u := range e.Users {
		if u.Name != name {
			continue
		}
		body, err := json.Marshal(map[string]string{"username": u.Name, "password": u.Password})
		if err != nil {
			t.Fatal(err)
		}
		a, err := http.Post(e.Issuer+"/login", "application/json", strings.NewReader(string(body)))
		if err != nil {
			t.Fatal(err)
		}
		defer a.Body.Close()
		var said struct {
			Access string `json:"access_token"`
		}
		if err := json.NewDecoder(a.Body).Decode(&said); err != nil || said.Access == "" {
			t.Fatalf("login: %d %v", a.StatusCode, err)
		}
		return said.Access
	}
	t.Fatalf("no user %s", name)
	return ""
}

// port returns a free address on this machine, and keeps others from it until the test ends.
func port(t *testing.T) string {
	t.Helper()
	ports := mesh.NewProcesses(t.TempDir())
	t.Cleanup(func() {
		if err := ports.Stop(time.Second); err != nil {
			t.Error(err)
		}
	})
	address, err := ports.Address(t.Name())
	if err != nil {
		t.Fatal(err)
	}
	return address
}

// spawn starts a program that lasts until the test ends, and waits until it listens. When the test
// fails, the end of what it has written is in the test's output.
func spawn(t *testing.T, name, listens, path string, args ...string) *exec.Cmd {
	t.Helper()
	log, err := os.Create(filepath.Join(t.TempDir(), name+".log"))
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(path, args...)
	cmd.Stdout, cmd.Stderr, cmd.Dir = log, log, t.TempDir()
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	exited := make(chan struct{})
	go func() { _ = cmd.Wait(); close(exited) }()
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM) // it may be gone
		select {
		case <-exited:
		case <-time.After(10 * time.Second):
			t.Errorf("%s does not end", name)
			_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
			<-exited
		}
		if t.Failed() {
			content, _ := os.ReadFile(log.Name())
			t.Logf("%s has written:\n%s", name, content[max(0, len(content)-8<<10):])
		}
		_ = log.Close()
	})
	eventually.True(t, name+" listens on "+listens, func() bool {
		select {
		case <-exited:
			content, _ := os.ReadFile(log.Name())
			t.Fatalf("%s has ended:\n%s", name, content)
		default:
		}
		network := "tcp"
		if strings.HasPrefix(listens, "/") {
			network = "unix"
		}
		conn, err := net.Dial(network, listens)
		if err == nil {
			_ = conn.Close()
		}
		return err == nil
	})
	return cmd
}

// gate starts a gate of the mesh's that is asked over HTTP by a proxy, and returns when it is
// ready.
func gate(t *testing.T, proxy, listen string, args ...string) *exec.Cmd {
	t.Helper()
	cmd, admin := unready(t, proxy, listen, args...)
	eventually.True(t, "the gate is ready", func() bool {
		a, err := http.Get("http://" + admin + "/readyz")
		if err != nil {
			return false
		}
		defer a.Body.Close()
		return a.StatusCode == http.StatusOK
	})
	return cmd
}

// unready is gate, and returns as soon as the gate listens, with the address of its admin port.
func unready(t *testing.T, proxy, listen string, args ...string) (cmd *exec.Cmd, admin string) {
	t.Helper()
	shared(t)
	admin = port(t)
	args = append([]string{
		"serve", "--config", filepath.Join(common.dir, "authz.yaml"), "--name", "gate-" + proxy,
		"--listen", port(t), "--admin-listen", admin, "--key-cache-dir", t.TempDir(),
		"--http-check-listen", listen, "--http-check-proxy", proxy, "--drain-delay", "0s",
	}, args...)
	return spawn(t, "gate-"+proxy, strings.TrimPrefix(listen, "unix:"),
		filepath.Join(meshtest.Binaries(t, false), "authz"), args...), admin
}

// upstream is what stands behind a proxy: it answers with what it has received.
type upstream struct {
	address string
	mu      sync.Mutex
	seen    []mesh.Received
}

func newUpstream(t *testing.T) *upstream {
	t.Helper()
	u := &upstream{}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		u.mu.Lock()
		u.seen = append(u.seen, mesh.Receive(r))
		u.mu.Unlock()
		body, err := io.Copy(io.Discard, r.Body)
		if err != nil {
			return // the client has gone
		}
		w.Header().Set("X-Body-Length", strconv.FormatInt(body, 10))
		// What an upstream says itself must come through.
		if status, ok := strings.CutPrefix(r.URL.Path, "/files/own/"); ok {
			w.Header().Set("Content-Type", "text/plain")
			w.Header().Set("WWW-Authenticate", "Upstream")
			code, _ := strconv.Atoi(status)
			w.WriteHeader(code)
			_, _ = io.WriteString(w, "the upstream's own")
			return
		}
		mesh.Echo.ServeHTTP(w, r)
	}))
	t.Cleanup(server.Close)
	u.address = server.Listener.Addr().String()
	return u
}

// received returns what has come since the last call.
func (u *upstream) received() []mesh.Received {
	u.mu.Lock()
	defer u.mu.Unlock()
	seen := u.seen
	u.seen = nil
	return seen
}

// answer is what a client gets.
type answer struct {
	status   int
	header   http.Header
	body     string
	received mesh.Received // by the upstream, of a request that has reached it
}

// held sends a request that is not answered until its client has gone, which is when the test ends.
func held(t *testing.T, address, request string) {
	t.Helper()
	conn, err := net.DialTimeout("tcp", address, 10*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	if _, err := io.WriteString(conn, request); err != nil {
		t.Fatal(err)
	}
}

// raw sends a request as it is written and reads the answer. A connection that is closed without
// one is a status of 0.
func raw(t *testing.T, address, request string) answer {
	t.Helper()
	conn, err := net.DialTimeout("tcp", address, 10*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(20 * time.Second)); err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(conn, request); err != nil {
		t.Fatal(err)
	}
	method, _, _ := strings.Cut(request, " ")
	response, err := http.ReadResponse(bufio.NewReader(conn), &http.Request{Method: method})
	if err != nil {
		if errors.Is(err, os.ErrDeadlineExceeded) {
			t.Fatal("no answer")
		}
		return answer{}
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	a := answer{status: response.StatusCode, header: response.Header, body: string(body)}
	// A 200 without a body is the proxy's own, as Go's to OPTIONS *.
	if response.StatusCode == http.StatusOK && len(body) > 0 &&
		json.Unmarshal(body, &a.received) != nil {
		t.Fatalf("%q is no answer of the upstream's", body)
	}
	return a
}

// get sends a GET of a path, with header lines as "Name: value".
func get(t *testing.T, address, path string, lines ...string) answer {
	t.Helper()
	return do(t, address, "GET", path, lines...)
}

func do(t *testing.T, address, method, path string, lines ...string) answer {
	t.Helper()
	head := append([]string{method + " " + path + " HTTP/1.1", "Host: things.example.com",
		"Connection: close"}, lines...)
	return raw(t, address, strings.Join(head, "\r\n")+"\r\n\r\n")
}

func bearer(token string) string { return "Authorization: Bearer " + token }

// reason returns why the gate has refused.
func (a answer) reason() string { return a.header.Get("X-Sallyport-Reason") }

// block returns the n-th block of a language, from 0, that a page shows.
func block(t *testing.T, page, language string, n int) string {
	t.Helper()
	content, err := os.ReadFile(filepath.Join(meshtest.Root(t), "docs", "doors", page))
	if err != nil {
		t.Fatal(err)
	}
	blocks := strings.Split(string(content), "\n```"+language+"\n")
	if len(blocks) < n+2 {
		t.Fatalf("docs/doors/%s has no %d blocks of %s", page, n+1, language)
	}
	text, _, ended := strings.Cut(blocks[n+1], "\n```\n")
	if !ended {
		t.Fatalf("docs/doors/%s: a block of %s does not end", page, language)
	}
	return text + "\n"
}

// placed replaces the addresses that a page has by those of a test. Each must be there.
func placed(t *testing.T, text string, changes ...string) string {
	t.Helper()
	for i := 0; i < len(changes); i += 2 {
		if !strings.Contains(text, changes[i]) {
			t.Fatalf("there is no %q to be replaced in\n%s", changes[i], text)
		}
		text = strings.ReplaceAll(text, changes[i], changes[i+1])
	}
	return text
}

func write(t *testing.T, path, text string) string {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}
