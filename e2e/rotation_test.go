package e2e_test

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"flag"
	"fmt"
	"maps"
	"net/http"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sallyport/sallyport/internal/eventually"
	"github.com/sallyport/sallyport/internal/keyring"
	"github.com/sallyport/sallyport/internal/mesh"
	"github.com/sallyport/sallyport/internal/meshtest"
)

var deployedTimeouts = flag.Bool("deployed-timeouts", false,
	"leave Envoy's waits for a gate as they are installed, for a machine that has no other work")

// Who does what during a rotation.
const (
	callers    = 24
	refreshers = 3
	logins     = 2
	keptOfAKey = 32 // tokens of each signing key that are called with
)

// TestRotationUnderLoadRefusesNoValidToken (S8): two issuers, three gates, two turns of the key
// ring by the operator's command, everybody at work meanwhile: each token passes from the answer
// that brought it on, those of the retired keys to the end.
func TestRotationUnderLoadRefusesNoValidToken(t *testing.T) {
	s := meshtest.Start(t, meshtest.Options{Gates: 3, Issuers: 2, Mesh: quickRing(t)})
	operator := keysCommand(t, s)
	l := startLoad(t, s)

	kids := []string{find(t, operator("list"), keyring.Active).ID}
	l.awaitCalls(kids[0])
	for _, step := range []string{"rotate", "promote"} {
		next := find(t, operator("list"), keyring.Next)
		eventually.True(t, "the next key to have been published long enough",
			func() bool { return time.Now().After(next.Ready) })
		if step == "rotate" {
			operator("rotate")
		} else {
			operator("promote", next.ID)
		}
		kids = append(kids, next.ID)
		l.awaitCalls(kids...)
	}
	l.end()

	t.Logf(
		"%d calls in %v (%.0f a second), %d refreshes, %d logins, %d of them to be tried again; "+
			"calls by key in the order of the keys: %v; wrong denials: %d",
		l.calls.Load(), l.took.Round(time.Millisecond), float64(l.calls.Load())/l.took.Seconds(),
		l.refreshes.Load(), l.logins.Load(), l.again.Load(), l.byKey(kids), len(l.denied))
	if again, done := l.again.Load(), l.refreshes.Load()+l.logins.Load(); again > done/20 {
		t.Errorf("the issuer put off %d of %d", again, done)
	}
	for _, wrong := range l.denied[:min(len(l.denied), 10)] {
		t.Error(wrong)
	}
	for _, g := range s.Endpoints().Gates {
		admin := newCaller(t, g.Admin)
		if n := refusedBy(t, admin); n != 0 {
			t.Errorf("%s has refused %v requests", g.Name, n)
		}
		// A next key is published before it signs: nobody ever has to ask for it.
		if n := unknownKids(t, s, g.Name); n != 0 {
			t.Errorf("%s has met %v tokens under keys that it did not know yet", g.Name, n)
		}
	}
	// the counts are those of a gate that counts
	thief := hostile(t, s, l.gateway.login(t, s.Endpoints().Users[0]).Access)
	unknown := thief.Key.Token(
		thief.Key.Header("at+jwt").With("kid", `"of-nobody"`).JSON(),
		thief.Claims.JSON(),
	)
	tries := refusedAsUnknown(t, l.gateway, unknown)
	if n := unknownKids(t, s, "gate-1", "gate-2", "gate-3"); n != float64(tries) {
		t.Errorf("of %d tries with an unknown kid %v were counted", tries, n)
	}
}

// refusedAsUnknown presents a token whose key nobody has until a gate says so, and gives how often
// that was. Meanwhile a gate that has not heard from the issuer in time says nothing of the token.
func refusedAsUnknown(t *testing.T, c *caller, token string) (tries int) {
	t.Helper()
	var a answer
	eventually.True(t, "an answer about the token", func() bool {
		tries++
		a = c.get(t, "/protected", bearer(token))
		if a.header.Get("X-Sallyport-Reason") != "key_pending" {
			return true
		}
		a.refused(t, 503, "temporarily_unavailable", "key_pending")
		return false
	})
	a.refused(t, 401, "invalid_token", "unknown_key")
	return tries
}

// unknownKids is how many tokens these gates have met whose key they did not have.
func unknownKids(t *testing.T, s stack, gates ...string) (n float64) {
	t.Helper()
	for _, g := range s.Endpoints().Gates {
		if slices.Contains(gates, g.Name) {
			n += metricOr(t, newCaller(t, g.Admin), "sallyport_keyset_unknown_kids_total")
		}
	}
	return n
}

// quickRing makes the ring turn within seconds: its manifest is made with short times, which the
// configuration agrees with.
func quickRing(t *testing.T) func(*mesh.Options) {
	const skew = "2s"
	return func(o *mesh.Options) {
		o.Upstream = mesh.Echo
		o.IssuerArgs = []string{
			"--key-set-max-age=2s", "--keys-spread=1s", "--revocation-clock-skew=" + skew,
		}
		o.GateArgs = []string{"--revocation-clock-skew=" + skew}
		o.Rewrite = func(name, content string) string {
			switch name {
			case "authz.yaml":
				return replace(t, content, "  audiences: [sallyport-demo]\n",
					"  audiences: [sallyport-demo]\n  refresh_min: 1s\n  clock_skew: "+skew+"\n")
			case "envoy.yaml":
				if *deployedTimeouts {
					return content
				}
				// Keys are in question here, not how soon a gate answers on a machine that has other work.
				content = replace(t, content, "timeout: 0.8s", "timeout: 10s")
				content = replace(t, content, "max_interval: 0.25s", "max_interval: 5s")
				return replace(t, content, "- timeout: 0.1s", "- timeout: 5s")
			}
			return content
		}
		folder := keyring.Folder{Dir: filepath.Join(o.Dir, "keys"), Lifetimes: keyring.Lifetimes{
			Publish: 2 * time.Second,
			Token:   time.Hour,
			Session: 720 * time.Hour,
			Spread:  time.Second,
			Skew:    2 * time.Second,
		}}
		if _, err := folder.Generate(t.Context(), "ES256"); err != nil {
			t.Fatal(err)
		}
	}
}

func replace(t *testing.T, content, old, new string) string {
	t.Helper()
	if !strings.Contains(content, old) {
		t.Errorf("a configuration file of the mesh has nowhere %q", old)
	}
	return strings.Replace(content, old, new, 1)
}

// keysCommand runs `sallyport keys`, which must succeed, and returns what it prints.
func keysCommand(t *testing.T, s *meshtest.Stack) func(args ...string) []keyring.Key {
	program := filepath.Join(meshtest.Binaries(t, false), "sallyport")
	return func(args ...string) (printed []keyring.Key) {
		t.Helper()
		cmd := exec.CommandContext(t.Context(), program,
			slices.Concat([]string{"keys"}, args, []string{"--json", "--dir", s.Endpoints().KeyDir})...)
		var out, errOut bytes.Buffer
		cmd.Stdout, cmd.Stderr = &out, &errOut
		if err := cmd.Run(); err != nil {
			t.Fatalf("sallyport keys %v: %v\n%s", args, err, &errOut)
		}
		if err := json.Unmarshal(out.Bytes(), &printed); err != nil {
			t.Fatalf("sallyport keys %v: %v\n%s", args, err, &out)
		}
		return printed
	}
}

// find returns the signing key in a state.
func find(t *testing.T, all []keyring.Key, state keyring.State) keyring.Key {
	t.Helper()
	for _, k := range all {
		if k.Use == keyring.Signing && k.State == state {
			return k
		}
	}
	t.Fatalf("no %s signing key in %+v", state, all)
	return keyring.Key{}
}

// load is everybody at work.
type load struct {
	t       *testing.T
	gateway *caller
	began   time.Time
	took    time.Duration
	stop    chan struct{}
	wait    sync.WaitGroup

	calls, refreshes, logins atomic.Int64
	again                    atomic.Int64 // refreshes and logins that were told to try again

	mu     sync.Mutex
	tokens map[string][]string // by the key that signed them
	called map[string]int
	denied []string
}

func startLoad(t *testing.T, s *meshtest.Stack) *load {
	l := &load{
		t: t, gateway: newCaller(t, s.Endpoints().Gateway), began: time.Now(), stop: make(chan struct{}),
		tokens: map[string][]string{}, called: map[string]int{},
	}
	users := s.Endpoints().Users
	l.keep(l.gateway.login(t, users[0]).Access)
	for i := range callers {
		l.wait.Go(func() { l.every(0, func(n int) { l.call(n + i) }) })
	}
	for range refreshers {
		held := l.gateway.login(t, users[0])
		l.wait.Go(func() { l.every(20*time.Millisecond, func(int) { l.refresh(&held) }) })
	}
	for i := range logins {
		l.wait.Go(func() { l.every(100*time.Millisecond, func(int) { l.login(users[i%len(users)]) }) })
	}
	t.Cleanup(l.end)
	return l
}

// every does work again and again until the load ends.
func (l *load) every(pause time.Duration, work func(n int)) {
	for n := 0; ; n++ {
		select {
		case <-l.stop:
			return
		case <-time.After(pause):
			work(n)
		}
	}
}

func (l *load) end() {
	l.mu.Lock()
	select {
	case <-l.stop:
	default:
		close(l.stop)
		l.took = time.Since(l.began)
	}
	l.mu.Unlock()
	l.wait.Wait()
}

// call calls with one of the tokens of one of the keys, in turn.
func (l *load) call(n int) {
	l.mu.Lock()
	kids := slices.Sorted(maps.Keys(l.tokens))
	kid := kids[n%len(kids)]
	token := l.tokens[kid][n/len(kids)%len(l.tokens[kid])]
	l.mu.Unlock()
	a, err := l.gateway.try(http.MethodGet, "/protected", nil, bearer(token))
	l.calls.Add(1)
	if l.expect("a call", a, err) {
		l.mu.Lock()
		l.called[kid]++
		l.mu.Unlock()
	}
}

func (l *load) refresh(held *tokens) {
	a, err := l.post("/refresh", map[string]string{"refresh_token": held.Refresh})
	if l.expectIssuer("a refresh", a, err) && json.Unmarshal(a.body, held) == nil {
		l.refreshes.Add(1)
		l.keep(held.Access)
	}
}

func (l *load) login(u mesh.User) {
	a, err := l.post("/login", map[string]string{"username": u.Name, "password": u.Password})
	var got tokens
	if l.expectIssuer("a login", a, err) && json.Unmarshal(a.body, &got) == nil {
		l.logins.Add(1)
		l.keep(got.Access)
	}
}

func (l *load) post(path string, value any) (answer, error) {
	body, err := json.Marshal(value)
	if err != nil {
		return answer{}, err
	}
	return l.gateway.try(http.MethodPost, path, body, header("Content-Type", "application/json"))
}

func (l *load) expect(what string, a answer, err error) bool {
	if err == nil && a.status == http.StatusOK {
		return true
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.denied = append(l.denied, fmt.Sprintf(
		"%v after the beginning %s was answered %d %s %s %v",
		time.Since(l.began).Round(time.Millisecond), what, a.status,
		a.header.Get("X-Sallyport-Reason"), a.body, err,
	))
	return false
}

// expectIssuer is expect for the issuer, which may say that it could not store something in time
// (503). Nobody is denied by that: the next attempt, with the same refresh token, has to succeed.
func (l *load) expectIssuer(what string, a answer, err error) bool {
	if err == nil && a.status == http.StatusServiceUnavailable {
		l.again.Add(1)
		return false
	}
	return l.expect(what, a, err)
}

// keep has callers use a token from now on, in the place of an earlier one of the same key when
// there are many.
func (l *load) keep(token string) {
	kid := keyOf(token)
	l.mu.Lock()
	defer l.mu.Unlock()
	if all := l.tokens[kid]; len(all) < keptOfAKey {
		l.tokens[kid] = append(all, token)
	} else {
		all[len(token)*int(l.refreshes.Load()+1)%keptOfAKey] = token
	}
}

// keyOf reads the kid of an issuer's own token: "" when it cannot be read.
func keyOf(token string) string {
	head, _, _ := strings.Cut(token, ".")
	content, _ := base64.RawURLEncoding.DecodeString(head)
	var names struct{ Kid string }
	_ = json.Unmarshal(content, &names)
	return names.Kid
}

// awaitCalls waits until many more calls have passed with tokens of each of these keys.
func (l *load) awaitCalls(kids ...string) {
	l.t.Helper()
	const many = 1500
	before := l.byKey(kids)
	for i, kid := range kids {
		eventually.True(l.t, "calls with tokens of key "+kid,
			func() bool { return l.byKey(kids)[i] >= before[i]+many })
	}
}

func (l *load) byKey(kids []string) []int {
	l.mu.Lock()
	defer l.mu.Unlock()
	counts := make([]int, len(kids))
	for i, kid := range kids {
		counts[i] = l.called[kid]
	}
	return counts
}

// refusedBy is how many decisions of a gate were refusals.
func refusedBy(t *testing.T, admin *caller) float64 {
	t.Helper()
	refused, allowed := 0.0, false
	for series, figure := range figures(t, admin, "sallyport_gate_decisions_total") {
		if strings.Contains(series, `code="200"`) {
			allowed = allowed || figure > 0
		} else {
			refused += figure
		}
	}
	if !allowed {
		t.Error("a gate has allowed nothing")
	}
	return refused
}

// metricOr is metric, or 0 when there is no series of it yet.
func metricOr(t *testing.T, admin *caller, name string) (sum float64) {
	t.Helper()
	for _, figure := range figures(t, admin, name) {
		sum += figure
	}
	return sum
}
