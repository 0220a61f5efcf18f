package e2e_test

import (
	"cmp"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/goccy/go-yaml"

	"github.com/sallyport/sallyport/authz/extauthz"
	"github.com/sallyport/sallyport/internal/eventually"
	"github.com/sallyport/sallyport/internal/jose"
	"github.com/sallyport/sallyport/internal/jose/josetest"
	"github.com/sallyport/sallyport/internal/mesh"
	"github.com/sallyport/sallyport/internal/meshtest"
)

// keyServer stands between gates and an issuer. Until it is slow, it answers with a set of one
// other key; then with the issuer's, and takes 100 ms for it.
type keyServer struct {
	*httptest.Server
	mu     sync.Mutex
	set    []byte
	issuer string
}

func newKeyServer(t *testing.T) *keyServer {
	set, err := jose.MarshalKeySet([]*jose.PublicKey{josetest.NewKey("ES256", "another").Public()})
	if err != nil {
		t.Fatal(err)
	}
	k := &keyServer{set: set}
	k.Server = httptest.NewServer(k)
	t.Cleanup(k.Close)
	return k
}

func (k *keyServer) slow(issuer string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.issuer = issuer
}

func (k *keyServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	k.mu.Lock()
	issuer := k.issuer
	k.mu.Unlock()
	if issuer == "" {
		_, _ = w.Write(k.set)
		return
	}
	select {
	case <-time.After(100 * time.Millisecond):
	case <-r.Context().Done():
		return
	}
	response, err := http.Get(issuer + "/.well-known/jwks.json")
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadGateway)
		return
	}
	defer response.Body.Close()
	_, _ = io.Copy(w, response.Body)
}

// TestATokenUnderANewKeyWaitsForASlowKeyServer through the shipped file: a check may take as
// long as a gate waits for a key. A key that nobody has is the token's fault and no gate's.
func TestATokenUnderANewKeyWaitsForASlowKeyServer(t *testing.T) {
	for name, gates := range map[string]int{"one gate": 1, "two gates": 2} {
		t.Run(name, func(t *testing.T) {
			server := newKeyServer(t)
			s := meshtest.Start(t, with(func(o *mesh.Options) {
				o.Gates = gates
				o.Rewrite = func(name, content string) string {
					if name != "authz.yaml" {
						return content
					}
					own := regexp.MustCompile(`(?m)^  jwks_url: .*$`)
					return own.ReplaceAllString(content, "  jwks_url: "+server.URL)
				}
				meshtest.RunShipped(t, o)
			}))
			c := newCaller(t, s.Endpoints().Gateway)
			token := c.login(t, user(t, s, "alice")).Access
			if gates == 1 {
				server.slow(s.Endpoints().Issuer)
				c.get(t, "/protected", bearer(token)).reached(t)
				return
			}
			setup := hostile(t, s, token)
			head := setup.Key.Header("at+jwt").With("kid", `"of-nobody"`)
			unknown := setup.Key.Token(head.JSON(), setup.Claims.JSON())
			server.slow(s.Endpoints().Issuer)
			refusedAsUnknown(t, c, unknown)
		})
	}
}

// TestAGateHasTimeToWaitForAKey: the gates' key_wait is shorter than Envoy's limit for one try,
// and every try has its time, in what is shipped and in what the demo writes.
func TestAGateHasTimeToWaitForAKey(t *testing.T) {
	shippedGate, err := os.ReadFile(filepath.Join(meshtest.Root(t), "deploy/config/authz.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	var gate struct {
		ExtAuthz struct {
			KeyWait time.Duration `yaml:"key_wait"`
		} `yaml:"ext_authz"`
	}
	if err := yaml.Unmarshal(shippedGate, &gate); err != nil {
		t.Fatal(err)
	}
	wait := cmp.Or(gate.ExtAuthz.KeyWait, extauthz.DefaultConfig().KeyWait)
	for _, file := range []string{meshtest.Shipped, "internal/mesh/templates/envoy.yaml.tmpl"} {
		content, err := os.ReadFile(filepath.Join(meshtest.Root(t), file))
		if err != nil {
			t.Fatal(err)
		}
		_, service, _ := strings.Cut(string(content), "envoy_grpc: {cluster_name: authz}")
		whole := timeIn(t, file, service, `(?m)^ *timeout: (\S+)$`)
		try := timeIn(t, file, service, `max_interval: ([0-9.a-z]+)`)
		tries := 1 + numberIn(t, file, service, `num_retries: (\d+)`)
		late := numberIn(t, file, string(content), `default_value: (\d+), runtime_key: gate_late`)
		all := time.Duration(tries) * try
		// What a check takes besides: the way to and fro, and a busy machine.
		if wait+50*time.Millisecond > try || all > whole || int64(late) != all.Milliseconds() {
			t.Errorf("%s: key_wait %v, %d tries of %v within %v, late from %d ms on",
				file, wait, tries, try, whole, late)
		}
	}
}

func timeIn(t *testing.T, file, content, pattern string) time.Duration {
	t.Helper()
	found := regexp.MustCompile(pattern).FindStringSubmatch(content)
	if found == nil {
		t.Fatalf("%s has no %s", file, pattern)
	}
	d, err := time.ParseDuration(found[1])
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func numberIn(t *testing.T, file, content, pattern string) int {
	t.Helper()
	found := regexp.MustCompile(pattern).FindStringSubmatch(content)
	if found == nil {
		t.Fatalf("%s has no %s", file, pattern)
	}
	n, err := strconv.Atoi(found[1])
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// TestALateGateIsNotSaidToBeDead: a gate that is there and does not answer in time has another
// reason than none at all.
func TestALateGateIsNotSaidToBeDead(t *testing.T) {
	s := meshtest.Start(t, with(func(o *mesh.Options) { meshtest.RunShipped(t, o) }))
	c := newCaller(t, s.Endpoints().Gateway)
	token := c.login(t, user(t, s, "alice")).Access
	c.get(t, "/protected", bearer(token)).reached(t)
	gate := s.Child("gate-1")
	if err := gate.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	eventually.True(t, "all of the gate to have stopped", func() bool {
		return c.get(t, "/protected", bearer(token)).status != 200
	})
	c.get(t, "/protected", bearer(token)).refused(t, 503, "temporarily_unavailable", "gate_late")
	if err := gate.Signal(syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	eventually.True(t, "the gate to answer again", func() bool {
		return c.get(t, "/protected", bearer(token)).status == 200
	})
	if err := gate.Kill(); err != nil {
		t.Fatal(err)
	}
	c.get(t, "/protected", bearer(token)).refused(t, 503, "temporarily_unavailable", "no_gate")
}

// TestNoRequestIsLostWhenAGateHangsOrDies through the shipped file, whose tries take longer
// than a gate waits for keys.
func TestNoRequestIsLostWhenAGateHangsOrDies(t *testing.T) {
	s := meshtest.Start(t, with(func(o *mesh.Options) {
		o.Gates = 2
		meshtest.RunShipped(t, o)
	}))
	c := newCaller(t, s.Endpoints().Gateway)
	token := c.login(t, user(t, s, "alice")).Access
	ask := func() {
		for range 100 {
			c.get(t, "/protected", bearer(token)).reached(t)
		}
	}
	gate := s.Child("gate-1")
	ask()
	if err := gate.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	ask()
	if err := gate.Signal(syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	ask()
	if err := gate.Kill(); err != nil {
		t.Fatal(err)
	}
	ask()
}
