package e2e_test

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sallyport/sallyport/internal/eventually"
	"github.com/sallyport/sallyport/internal/jose/josetest"
	"github.com/sallyport/sallyport/internal/mesh"
	"github.com/sallyport/sallyport/internal/meshtest"
	"github.com/sallyport/sallyport/internal/token"
)

// TestHostileTokensThroughEnvoy: what a thief of the issuer's key and everybody else can put where
// a token belongs, headers joined and raw. Nothing of it reaches the upstream, and what the gate
// gets to see it refuses for what it is.
func TestHostileTokensThroughEnvoy(t *testing.T) {
	for name, raw := range map[string]bool{"joined headers": false, "raw headers": true} {
		t.Run(name, func(t *testing.T) {
			s := meshtest.Start(t, with(func(o *mesh.Options) { o.EncodeRawHeaders = raw }))
			c := newCaller(t, s.Endpoints().Gateway)
			setup := hostile(t, s, c.login(t, user(t, s, "alice")).Access)
			refusedThroughEnvoy(t, s, setup.Good(), setup.Attacks())
		})
	}
}

// TestHostileTokensOfOthersThroughEnvoy: the same of an issuer that is not ours, whose tokens are
// read as the RFCs have them. What they allow is let through as what it says.
func TestHostileTokensOfOthersThroughEnvoy(t *testing.T) {
	for name, raw := range map[string]bool{"joined headers": false, "raw headers": true} {
		t.Run(name, func(t *testing.T) {
			o := other{josetest.NewKey("ES256", "other-1")}
			s := meshtest.Start(t, with(func(m *mesh.Options) {
				o.believed(t, m)
				m.EncodeRawHeaders = raw
			}))
			access, _ := o.session("session-1")
			setup := josetest.Setup{
				Key: o.key, Type: "JWT", Now: time.Now(),
				Claims: josetest.ParseObject(josetest.Decode(strings.Split(access, ".")[1])),
			}
			attacks, allowed := setup.ForeignAttacks()
			refusedThroughEnvoy(t, s, setup.Good(), attacks)
			c := newCaller(t, s.Endpoints().Gateway)
			for _, a := range allowed {
				t.Run(url.PathEscape(a.Name), func(t *testing.T) {
					got := c.get(t, "/protected", bearer(a.Token)).reached(t)
					if h := got.Headers; h["x-auth-issuer"] != otherIssuer || h["x-auth-subject"] != "carol" {
						t.Errorf("the upstream was told %v", h)
					}
				})
			}
			t.Logf("%d others accepted, as the RFCs allow", len(allowed))
		})
	}
}

// refusedThroughEnvoy sends hostile tokens through Envoy in two places; the good one passes before
// and after them.
func refusedThroughEnvoy(t *testing.T, s *meshtest.Stack, good string, attacks []josetest.Attack) {
	t.Helper()
	c := newCaller(t, s.Endpoints().Gateway)
	c.get(t, "/protected", bearer(good)).reached(t)
	s.Forget()
	// White space around a field's value is no part of it (RFC 9110 section 5.5): what arrives would
	// be the good token.
	attacks = slices.DeleteFunc(attacks,
		func(a josetest.Attack) bool { return strings.Trim(a.Token, " \t\r\n") != a.Token })
	toEnvoy := 0
	for _, a := range attacks {
		for _, place := range []string{"authorization: Bearer ", "x-access-token: "} {
			t.Run(url.PathEscape(a.Name)+"/"+place[:strings.IndexByte(place, ':')], func(t *testing.T) {
				if byGate := refusedThrough(t, s, place, a); !byGate {
					toEnvoy++
				}
			})
		}
	}
	if seen := s.Seen(); len(seen) > 0 {
		t.Errorf("%d hostile requests have reached the upstream, the first of them %s %s", len(seen),
			seen[0].Method, seen[0].Path)
	}
	c.get(t, "/protected", bearer(good)).reached(t)
	t.Logf("%d hostile tokens in two places, none accepted; %d requests were refused by Envoy itself",
		len(attacks), toEnvoy)
}

// hostile is the running issuer as makers of hostile tokens need it: with its own key, as a thief
// has it.
func hostile(t *testing.T, s stack, good string) josetest.Setup {
	t.Helper()
	parts := strings.Split(good, ".")
	head, claims := josetest.ParseObject(josetest.Decode(parts[0])), josetest.ParseObject(
		josetest.Decode(parts[1]))
	var kid string
	if err := json.Unmarshal([]byte(head.Get("kid")), &kid); err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob(filepath.Join(s.Endpoints().KeyDir, "*"+kid+"*.pem"))
	if err != nil || len(files) != 1 {
		t.Fatalf("expected one file of key %s, got %v, %v", kid, files, err)
	}
	content, err := os.ReadFile(files[0])
	if err != nil {
		t.Fatal(err)
	}
	return josetest.Setup{
		Key: josetest.FromPEM("ES256", kid, content), Claims: claims, Now: time.Now(),
	}
}

// refusedThrough sends a token byte for byte, and wants a refusal; byGate says whether it was the
// gate's.
func refusedThrough(t *testing.T, s stack, place string, a josetest.Attack) (byGate bool) {
	t.Helper()
	var status int
	var reason string
	// Of a kid that it has not met, a gate says nothing until it has heard from the issuer.
	eventually.True(t, "an answer about the token", func() bool {
		status, reason = sendBytes(t, s, "GET /protected HTTP/1.1\r\nhost: gateway\r\n"+
			"connection: close\r\n"+place+a.Token+"\r\n\r\n")
		return status != http.StatusServiceUnavailable || reason != "key_pending" ||
			a.Reason != token.ReasonUnknownKey
	})
	if status < 400 || status >= 500 {
		t.Fatalf("answered with %d %s", status, reason)
	}
	if reason == "" { // Envoy's own: no such header may be sent
		if clean(a.Token) && len(a.Token) < 16<<10 {
			t.Errorf("%d without a reason for a header that Envoy has nothing against", status)
		}
		return false
	}
	around := strings.ContainsAny(a.Token, " \t,\r\n") || a.Token == ""
	if status != http.StatusUnauthorized || reason != string(a.Reason) && !around {
		t.Errorf("%d %s, expected 401 %s", status, reason, a.Reason)
	}
	return true
}

func clean(value string) bool {
	return strings.IndexFunc(value, func(r rune) bool { return r < ' ' || r > '~' }) < 0
}

// sendBytes sends a request as it is written, and returns the answer's status and the gate's
// reason.
func sendBytes(t *testing.T, s stack, request string) (status int, reason string) {
	t.Helper()
	conn, err := net.DialTimeout("tcp", strings.TrimPrefix(s.Endpoints().Gateway, "http://"),
		10*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(20 * time.Second)); err != nil {
		t.Fatal(err)
	}
	sent := make(chan struct{})
	go func() { // a request that is too large is answered, and broken off, before it is sent
		defer close(sent)
		_, _ = io.WriteString(conn, request)
	}()
	response, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		conn.Close()
		<-sent
		return http.StatusBadRequest, "" // broken off without an answer
	}
	defer response.Body.Close()
	if _, err := io.Copy(io.Discard, response.Body); err != nil && response.StatusCode < 400 {
		t.Errorf("half an answer: %v", err)
	}
	return response.StatusCode, response.Header.Get("X-Sallyport-Reason")
}

// TestATokenCausesNoRequest: addresses in a token's header and claims are nowhere asked for.
func TestATokenCausesNoRequest(t *testing.T) {
	s := shared(t)
	c := newCaller(t, s.Endpoints().Gateway)
	setup := hostile(t, s, c.login(t, user(t, s, "alice")).Access)
	var asked atomic.Int64
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			asked.Add(1)
			conn.Close()
		}
	}()
	trap := "http://" + listener.Addr().String()
	head := setup.Key.Header("at+jwt")
	for name, token := range map[string]string{
		"jku": setup.Key.Token(
			head.And("jku", josetest.Text(trap+"/jwks.json")).JSON(), setup.Claims.JSON()),
		"x5u": setup.Key.Token(
			head.And("x5u", josetest.Text(trap+"/cert.pem")).JSON(), setup.Claims.JSON()),
		"kid": setup.Key.Token(head.With("kid", josetest.Text(trap+"/key")).JSON(), setup.Claims.JSON()),
		"iss": setup.Key.Token(head.JSON(), setup.Claims.With("iss", josetest.Text(trap)).JSON()),
		"aud": setup.Key.Token(head.JSON(), setup.Claims.With("aud", josetest.Text(trap)).JSON()),
	} {
		for range 3 {
			if a := c.get(t, "/protected", bearer(token)); a.status != 401 {
				t.Errorf("%s: %d %s", name, a.status, a.body)
			}
		}
	}
	conn, err := net.Dial("tcp", listener.Addr().String()) // the trap itself works
	if err != nil {
		t.Fatal(err)
	}
	conn.Close()
	eventually.True(t, "the trap to notice the test's own visit",
		func() bool { return asked.Load() > 0 })
	if err := listener.Close(); err != nil {
		t.Fatal(err)
	}
	<-done
	if n := asked.Load(); n != 1 {
		t.Errorf("%d visits to an address that only tokens name", n-1)
	}
}

// TestTheTwinOfARevokedTokenIsRevoked: neither the other signature of the same token, nor another
// spelling of its ids, nor another token of its session with an id of its own, gets past a logout.
func TestTheTwinOfARevokedTokenIsRevoked(t *testing.T) {
	s := shared(t)
	c := newCaller(t, s.Endpoints().Gateway)
	token := c.login(t, user(t, s, "bob")).Access
	setup := hostile(t, s, token)
	escaped := func(name string) string {
		var value string
		if err := json.Unmarshal([]byte(setup.Claims.Get(name)), &value); err != nil {
			t.Fatal(err)
		}
		var b bytes.Buffer
		for i := range len(value) {
			fmt.Fprintf(&b, `\u%04x`, value[i])
		}
		return `"` + b.String() + `"`
	}
	head := setup.Key.Header("at+jwt").JSON()
	twins := map[string]string{
		"the token":           token,
		"the other signature": josetest.Twin(setup.Key, token),
		"the ids escaped": setup.Key.Token(head,
			setup.Claims.With("jti", escaped("jti")).With("sid", escaped("sid")).JSON()),
		"another id": setup.Key.Token(head, setup.Claims.With("jti", `"another"`).JSON()),
		"a later time of issue": setup.Key.Token(head,
			setup.Claims.With("iat", josetest.Seconds(time.Now().Add(5*time.Second))).JSON()),
	}
	for _, twin := range twins {
		c.get(t, "/protected", bearer(twin)).reached(t)
	}
	if a := c.send(t, "POST", "/logout?wait=5s", nil, bearer(token)); a.status != 200 {
		t.Fatalf("logout: %d %s", a.status, a.body)
	}
	for name, twin := range twins {
		t.Run(name, func(t *testing.T) {
			c.get(t, "/protected", bearer(twin)).refused(t, 401, "invalid_token", "revoked")
		})
	}
}
