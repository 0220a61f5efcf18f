package e2e_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/sallyport/sallyport/internal/eventually"
	"github.com/sallyport/sallyport/internal/mesh"
	"github.com/sallyport/sallyport/internal/meshtest"
)

// TestLoginHandsOutAPairOfTokens: every member of the answer, and what the access token says.
func TestLoginHandsOutAPairOfTokens(t *testing.T) {
	s := shared(t)
	c := newCaller(t, s.Endpoints().Gateway)
	alice := user(t, s, "alice")

	a := c.post(t, "/login", map[string]string{"username": alice.Name, "password": alice.Password})
	got := a.tokens(t)
	if got.Type != "Bearer" || got.ExpiresIn != 3600 || got.RefreshExpires <= got.ExpiresIn {
		t.Errorf("token_type %q, expires_in %d, refresh_expires_in %d", got.Type, got.ExpiresIn,
			got.RefreshExpires)
	}
	if a.header.Get("Cache-Control") != "no-store" ||
		!strings.HasPrefix(a.header.Get("Content-Type"), "application/json") {
		t.Errorf("Cache-Control %q, Content-Type %q", a.header.Get("Cache-Control"),
			a.header.Get("Content-Type"))
	}

	head, claims := decode(t, got.Access)
	if head["typ"] != "at+jwt" || head["alg"] != "ES256" || head["kid"] == "" {
		t.Errorf("header %v", head)
	}
	for name, want := range map[string]any{
		"iss": s.Endpoints().Iss, "sub": alice.Name, "client_id": "sallyport",
	} {
		if claims[name] != want {
			t.Errorf("%s is %v, expected %v", name, claims[name], want)
		}
	}
	for _, name := range []string{"jti", "sid", "iat", "exp", "auth_time", "aud"} {
		if claims[name] == nil {
			t.Errorf("the access token has no %s", name)
		}
	}
	if lifetime := claims["exp"].(float64) - claims["iat"].(float64); lifetime != 3600 {
		t.Errorf("exp - iat is %v s, expected 3600", lifetime)
	}
}

// TestLoginRefusals: each wrong request has its status, and none hands anything out.
func TestLoginRefusals(t *testing.T) {
	s := shared(t)
	c := newCaller(t, s.Endpoints().Gateway)
	alice := user(t, s, "alice")
	valid := fmt.Sprintf(`{"username":%q,"password":%q}`, alice.Name, alice.Password)
	asJSON := []edit{header("Content-Type", "application/json")}
	asForm := []edit{header("Content-Type", "application/x-www-form-urlencoded")}

	const wrong, invalid = "invalid_credentials", "invalid_request"
	long := `{"username":"alice","password":"` + strings.Repeat("x", 64<<10) + `"}`
	for _, row := range []struct {
		name   string
		method string
		body   string
		edits  []edit
		status int
		code   string
	}{
		{"wrong password", "POST", `{"username":"alice","password":"not it"}`, asJSON, 401, wrong},
		{"unknown name", "POST", `{"username":"nobody","password":"not it"}`, asJSON, 401, wrong},
		{"empty body", "POST", ``, asJSON, 400, invalid},
		{"half an object", "POST", `{"username":"alice"`, asJSON, 400, invalid},
		{"no password", "POST", `{"username":"alice"}`, asJSON, 400, invalid},
		{"a number as password", "POST", `{"username":"alice","password":1}`, asJSON, 400, invalid},
		{"an array", "POST", `[]`, asJSON, 400, invalid},
		{"something after the object", "POST", valid + `{}`, asJSON, 400, invalid},
		{"a name twice", "POST", `{"username":"bob",` + valid[1:], asJSON, 400, invalid},
		{"a form", "POST", `username=alice&password=x`, asForm, 415, "unsupported_media_type"},
		{"no content type", "POST", valid, nil, 415, "unsupported_media_type"},
		{"over 64 KiB", "POST", long, asJSON, 413, "request_too_large"},
		{"GET", "GET", ``, nil, 405, "method_not_allowed"},
		{"PUT", "PUT", valid, asJSON, 405, "method_not_allowed"},
	} {
		t.Run(row.name, func(t *testing.T) {
			a := c.send(t, row.method, "/login", []byte(row.body), row.edits...)
			if a.status != row.status {
				t.Fatalf("status %d, expected %d\n%s", a.status, row.status, a.body)
			}
			object := a.object(t)
			if object["error"] != row.code || object["error_description"] == nil {
				t.Errorf("body %s, expected error %q and a description", a.body, row.code)
			}
			if object["access_token"] != nil || object["refresh_token"] != nil {
				t.Error("a refusal handed out a token")
			}
			if row.status == 405 && a.header.Get("Allow") != "POST" {
				t.Errorf("Allow is %q", a.header.Get("Allow"))
			}
		})
	}
}

// TestLoginDoesNotTellWhoExists: an unknown name and a wrong password get the very same bytes.
func TestLoginDoesNotTellWhoExists(t *testing.T) {
	s := shared(t)
	c := newCaller(t, s.Endpoints().Gateway)
	known := c.post(t, "/login", map[string]string{"username": "alice", "password": "wrong"})
	unknown := c.post(t, "/login", map[string]string{"username": "mallory", "password": "wrong"})
	if known.status != 401 || unknown.status != 401 || string(known.body) != string(unknown.body) {
		t.Errorf("known name: %d %s\nunknown name: %d %s", known.status, known.body,
			unknown.status, unknown.body)
	}
	for name := range known.header {
		// What differs from answer to answer by itself is the proxy's.
		if name != "Date" && name != "X-Envoy-Upstream-Service-Time" &&
			known.header.Get(name) != unknown.header.Get(name) {
			t.Errorf("header %s: %q for a known name, %q for an unknown one", name,
				known.header.Get(name), unknown.header.Get(name))
		}
	}
}

// TestRefreshTokenWorksOnce (S5): a refresh returns a new pair and spends the old token; a retry
// within the grace window gets the same next refresh token; later use is reuse, and ends the
// session with its access tokens.
func TestRefreshTokenWorksOnce(t *testing.T) {
	s := meshtest.Start(t,
		with(func(o *mesh.Options) { o.IssuerArgs = []string{"--refresh-grace=2s"} }))
	c := newCaller(t, s.Endpoints().Gateway)
	first := c.login(t, user(t, s, "bob"))
	refresh := func(token string) answer {
		return c.post(t, "/refresh", map[string]string{"refresh_token": token})
	}

	second := refresh(first.Refresh).tokens(t)
	if second.Refresh == first.Refresh || second.Access == first.Access {
		t.Fatal("a refresh gave the old tokens again")
	}
	c.get(t, "/protected", bearer(second.Access)).reached(t)
	if _, before := decode(t, first.Access); true {
		if _, after := decode(t, second.Access); before["sid"] != after["sid"] ||
			before["jti"] == after["jti"] {
			t.Errorf("sid %v -> %v, jti %v -> %v: expected one session and two tokens",
				before["sid"], after["sid"], before["jti"], after["jti"])
		}
	}
	if retry := refresh(first.Refresh); retry.status == 200 {
		if retry.tokens(t).Refresh != second.Refresh {
			t.Error("a retry within the grace window got another refresh token")
		}
	} else {
		t.Errorf("a retry within the grace window: %d %s", retry.status, retry.body)
	}

	var reuse answer
	eventually.True(t, "the grace window to end",
		func() bool { reuse = refresh(first.Refresh); return reuse.status != 200 })
	if reuse.status != 401 || reuse.field(t, "error") != "invalid_grant" {
		t.Errorf("reuse: %d %s", reuse.status, reuse.body)
	}
	eventually.True(t, "the session's access token to be refused", func() bool {
		return c.get(t, "/protected", bearer(second.Access)).status == 401
	})
	c.get(t, "/protected", bearer(second.Access)).refused(t, 401, "invalid_token", "revoked")
	if a := refresh(second.Refresh); a.status != 401 || a.field(t, "error") != "invalid_grant" {
		t.Errorf("the newest refresh token of a session ended by reuse: %d %s", a.status, a.body)
	}
}

// TestRefreshRefusals: what is no refresh token of a living session is an invalid grant, and spoils
// nothing.
func TestRefreshRefusals(t *testing.T) {
	s := shared(t)
	c := newCaller(t, s.Endpoints().Gateway)
	pair := c.login(t, user(t, s, "bob"))
	for name, token := range map[string]string{
		"garbage":              "garbage",
		"an access token":      pair.Access,
		"cut by one character": pair.Refresh[:len(pair.Refresh)-1],
		"one character more":   pair.Refresh + "A",
		"one bit changed":      flip(pair.Refresh),
	} {
		t.Run(name, func(t *testing.T) {
			a := c.post(t, "/refresh", map[string]string{"refresh_token": token})
			if a.status != 401 || a.field(t, "error") != "invalid_grant" {
				t.Errorf("%d %s, expected 401 invalid_grant", a.status, a.body)
			}
		})
	}
	if a := c.post(t, "/refresh", map[string]string{}); a.status != 400 {
		t.Errorf("no refresh token: %d %s, expected 400", a.status, a.body)
	}
	c.post(t, "/refresh", map[string]string{"refresh_token": pair.Refresh}).tokens(t)
}

// TestLogoutEndsTheSession: by access token or by refresh token, every access token of the session
// is refused, the refresh token too, and asking again is fine.
func TestLogoutEndsTheSession(t *testing.T) {
	s := shared(t)
	c := newCaller(t, s.Endpoints().Gateway)
	for _, row := range []struct {
		name   string
		logout func(tokens) answer
	}{
		{"by access token", func(p tokens) answer {
			return c.send(t, "POST", "/logout", nil, bearer(p.Access))
		}},
		{"by refresh token", func(p tokens) answer {
			return c.post(t, "/logout", map[string]string{"refresh_token": p.Refresh})
		}},
	} {
		t.Run(row.name, func(t *testing.T) {
			older := c.login(t, user(t, s, "bob"))
			newer := c.post(t, "/refresh", map[string]string{"refresh_token": older.Refresh}).tokens(t)
			for _, token := range []string{older.Access, newer.Access} {
				c.get(t, "/protected", bearer(token)).reached(t)
			}
			for range 2 {
				a := row.logout(newer)
				if seq, ok := a.field(t, "seq").(float64); a.status != 200 || a.field(t, "revoked") != true ||
					!ok ||
					seq < 1 {
					t.Fatalf("logout: %d %s", a.status, a.body)
				}
			}
			for _, token := range []string{older.Access, newer.Access} {
				eventually.True(t, "the token to be refused",
					func() bool { return c.get(t, "/protected", bearer(token)).status == 401 })
				c.get(t, "/protected", bearer(token)).refused(t, 401, "invalid_token", "revoked")
			}
			a := c.post(t, "/refresh", map[string]string{"refresh_token": newer.Refresh})
			if a.status != 401 || a.field(t, "error") != "invalid_grant" {
				t.Errorf("refresh after logout: %d %s", a.status, a.body)
			}
		})
	}
}

// TestLogoutTakesAnExpiredTokenButNoForgedOne: an expired token of ours still says which session to
// end.
func TestLogoutTakesAnExpiredTokenButNoForgedOne(t *testing.T) {
	s := shared(t)
	c := newCaller(t, s.Endpoints().Gateway)
	pair := c.login(t, user(t, s, "bob"))
	head, claims := decode(t, pair.Access)
	for name, shift := range map[string]float64{"iat": 7200, "exp": 7200, "auth_time": 7200} {
		claims[name] = claims[name].(float64) - shift
	}
	expired := sign(t, signingKey(t, s.Endpoints().KeyDir, head["kid"].(string)), head, claims)
	c.get(t, "/protected", bearer(expired)).refused(t, 401, "invalid_token", "expired")

	for name, token := range map[string]string{"forged": flip(expired), "garbage": "garbage"} {
		if a := c.send(t, "POST", "/logout", nil, bearer(token)); a.status != 401 ||
			a.field(t, "error") != "invalid_token" {
			t.Errorf("%s: %d %s", name, a.status, a.body)
		}
	}
	if a := c.send(t, "POST", "/logout", nil); a.status != 401 {
		t.Errorf("no token: %d %s", a.status, a.body)
	}
	c.get(t, "/protected", bearer(pair.Access)).reached(t)

	if a := c.send(t, "POST", "/logout", nil, bearer(expired)); a.status != 200 {
		t.Fatalf("expired but genuine: %d %s", a.status, a.body)
	}
	eventually.True(t, "the session's living token to be refused",
		func() bool { return c.get(t, "/protected", bearer(pair.Access)).status == 401 })
}

// TestKeySetIsPublic: the JWKS holds the key that signed, and nothing private.
func TestKeySetIsPublic(t *testing.T) {
	s := shared(t)
	c := newCaller(t, s.Endpoints().Gateway)
	head, _ := decode(t, c.login(t, user(t, s, "bob")).Access)
	a := c.get(t, "/.well-known/jwks.json")
	var set struct{ Keys []map[string]any }
	if err := json.Unmarshal(a.body, &set); err != nil || a.status != 200 {
		t.Fatalf("%d %v\n%s", a.status, err, a.body)
	}
	found := false
	for _, key := range set.Keys {
		found = found || key["kid"] == head["kid"]
		for _, private := range []string{"d", "p", "q", "dp", "dq", "qi", "k"} {
			if key[private] != nil {
				t.Errorf("key %v has the private member %s", key["kid"], private)
			}
		}
	}
	if !found {
		t.Errorf("no key %v among %d", head["kid"], len(set.Keys))
	}
}

// TestNothingIsAcknowledgedThatWasNotStored (S7): without Redis every request that would have to
// store is a 503.
func TestNothingIsAcknowledgedThatWasNotStored(t *testing.T) {
	s := meshtest.Start(t, meshtest.Options{})
	c := newCaller(t, s.Endpoints().Gateway)
	alice := user(t, s, "alice")
	pair := c.login(t, alice)
	if err := s.Child("redis").Kill(); err != nil {
		t.Fatal(err)
	}

	for name, a := range map[string]answer{
		"login": c.post(t, "/login",
			map[string]string{"username": alice.Name, "password": alice.Password}),
		"refresh":                c.post(t, "/refresh", map[string]string{"refresh_token": pair.Refresh}),
		"logout":                 c.send(t, "POST", "/logout", nil, bearer(pair.Access)),
		"logout by refreshtoken": c.post(t, "/logout", map[string]string{"refresh_token": pair.Refresh}),
	} {
		object := a.object(t)
		if a.status != http.StatusServiceUnavailable || object["error"] != "temporarily_unavailable" {
			t.Errorf("%s: %d %s, expected 503 temporarily_unavailable", name, a.status, a.body)
		}
		if object["access_token"] != nil || object["refresh_token"] != nil || object["revoked"] != nil {
			t.Errorf("%s handed something out: members %v", name, keys(object))
		}
	}
}

// TestSameTimeForAnUnknownName is judged by what was done, not by a clock: one password hash for
// each kind of failure.
func TestSameTimeForAnUnknownName(t *testing.T) {
	s := meshtest.Start(t, meshtest.Options{})
	c := newCaller(t, s.Endpoints().Gateway)
	admin := newCaller(t, s.Endpoints().IssuerAdmin)
	hashes := func() float64 { return metric(t, admin, "sallyport_password_hashes_total") }

	for _, name := range []string{"alice", "nobody"} {
		before := hashes()
		if a := c.post(t, "/login",
			map[string]string{"username": name, "password": "wrong"}); a.status != 401 {
			t.Fatalf("%s: %d", name, a.status)
		}
		if done := hashes() - before; done != 1 {
			t.Errorf("%s: %v password hashes, expected 1", name, done)
		}
	}
}
