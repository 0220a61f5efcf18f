package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/sallyport/sallyport/internal/jose"
	"github.com/sallyport/sallyport/internal/jose/josetest"
)

const other = "https://sso.test"

// logoutToken is one of another issuer, for a session there.
func logoutToken(key *josetest.Key, sid string) string {
	return key.Token(key.Header("logout+jwt").JSON(), josetest.Object(nil).
		With("iss", josetest.Text(other)).
		With("aud", josetest.Text("shop")).
		With("iat", josetest.Seconds(time.Now())).
		With("jti", josetest.Text("logout of "+sid)).
		With("sid", josetest.Text(sid)).
		With("events", `{"http://schemas.openid.net/event/backchannel-logout":{}}`).JSON())
}

// tell posts a logout token, and returns the answer's status and body.
func (r *running) tell(token string) (status int, body string) {
	r.t.Helper()
	res, err := http.PostForm(r.url+"/backchannel-logout", url.Values{"logout_token": {token}})
	if err != nil {
		r.t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		r.t.Fatal(err)
	}
	return res.StatusCode, string(text)
}

// TestAnIssuerWithoutUsersReceivesAndRevokes: on a real Redis, from a file that has neither users nor
// an audience.
func TestAnIssuerWithoutUsersReceivesAndRevokes(t *testing.T) {
	f, key := newFolder(t), josetest.NewKey("RS256", "other-1")
	set, err := jose.MarshalKeySet([]*jose.PublicKey{key.Public()})
	if err != nil {
		t.Fatal(err)
	}
	f.write("other.json", string(set))
	f.receives = fmt.Sprintf("senders:\n- {issuer: %q, jwks_file: other.json, audiences: [shop]}\n", other)
	if err := execute(t.Context(), io.Discard, io.Discard, "check", "--config",
		f.config("checked", "127.0.0.1:1", "127.0.0.1:2")); err != nil {
		t.Errorf("check: %v", err)
	}
	first, second := f.start("issuer-a"), f.start("issuer-b")
	for _, r := range []*running{first, second} {
		want(t, post(t, r.url+"/login", "", map[string]string{
			"username": "alice", "password": password,
		}), http.StatusNotFound)
	}
	for range 2 { // a message that comes again
		if status, body := first.tell(logoutToken(key, "session-1")); status != http.StatusOK {
			t.Fatalf("a logout token: %d %s\n%s", status, body, first.stderr)
		}
	}
	if status, body := second.tell(logoutToken(josetest.NewKey("RS256", "other-1"), "session-2")); status != http.StatusBadRequest {
		t.Errorf("a forged one: %d %s", status, body)
	}
	want(t, post(t, second.admin+"/admin/revocations", adminToken, map[string]string{
		"kind": "sid", "value": "session-3", "issuer": other,
	}), http.StatusOK)
	a := want(t, get(t, first.admin+"/admin/revocations?kind=sid", adminToken), http.StatusOK)
	text, err := json.Marshal(a.json["entries"])
	if err != nil {
		t.Fatal(err)
	}
	for what, n := range map[string]int{"session-1": 1, "session-2": 0, "session-3": 1} {
		if got := strings.Count(string(text), what); got != n {
			t.Errorf("expected %d entries for %s, got %d: %s", n, what, got, text)
		}
	}
	if !strings.Contains(string(text), `"reason":"backchannel_logout"`) ||
		!strings.Contains(string(text), `"actor":"`+other+`"`) {
		t.Errorf("the entries do not say whence they are: %s", text)
	}
	if strings.Contains(first.stdout.String()+first.stderr.String(), "eyJ") {
		t.Error("a log shows a logout token")
	}
}
