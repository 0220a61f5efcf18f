package issuer

import (
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/sallyport/sallyport/internal/audit"
	"github.com/sallyport/sallyport/internal/config"
	"github.com/sallyport/sallyport/internal/credential"
	"github.com/sallyport/sallyport/internal/jose"
	"github.com/sallyport/sallyport/internal/jose/josetest"
	"github.com/sallyport/sallyport/internal/redisconn"
	"github.com/sallyport/sallyport/internal/revocation"
	"github.com/sallyport/sallyport/internal/sender"
	"github.com/sallyport/sallyport/internal/session/sessiontest"
)

const (
	senderA = "https://a.example"
	senderB = "https://b.example"
)

// openSenders opens senders with the keys that they have now.
func openSenders(t *testing.T, configs []sender.Config, log *sessiontest.Log) *sender.Senders {
	t.Helper()
	s, err := sender.New(configs, sender.Options{Now: time.Now, Revoked: func(issuer, kid string) bool {
		v := log.Check(&revocation.Facts{Issuer: issuer, KeyID: kid})
		return v.Revoked && v.Kind == revocation.KindKID
	}})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Reload(t.Context()); err != nil {
		t.Fatal(err)
	}
	return s
}

// receiving is an issuer that hears of logouts from two senders.
type receiving struct {
	*house
	a, b *josetest.Key
}

func newReceiving(t *testing.T, c *redisconn.Client, change func(*Config)) *receiving {
	t.Helper()
	r := &receiving{a: josetest.NewKey("RS256", "key-a"), b: josetest.NewKey("RS256", "key-b")}
	r.house = newHouse(t, c, func(cfg *Config) {
		for issuer, key := range map[string]*josetest.Key{senderA: r.a, senderB: r.b} {
			cfg.Senders = append(cfg.Senders, sender.Config{
				Issuer: issuer, Audiences: []string{"shop"}, JWKSFile: keySetFile(t, key),
			})
		}
		if change != nil {
			change(cfg)
		}
	})
	return r
}

func newReceivingOnMiniredis(t *testing.T, change func(*Config)) *receiving {
	t.Helper()
	return newReceiving(t, sessiontest.Open(t, miniredis.RunT(t).Addr()), change)
}

func eachReceiving(t *testing.T, test func(t *testing.T, r *receiving)) {
	t.Helper()
	sessiontest.EachRedis(t, func(t *testing.T, c *redisconn.Client) { test(t, newReceiving(t, c, nil)) })
}

func keySetFile(t *testing.T, key *josetest.Key) config.Path {
	t.Helper()
	set, err := jose.MarshalKeySet([]*jose.PublicKey{key.Public()})
	if err != nil {
		t.Fatal(err)
	}
	name := filepath.Join(t.TempDir(), "jwks.json")
	if err := os.WriteFile(name, set, 0o600); err != nil {
		t.Fatal(err)
	}
	return config.Path(name)
}

// logoutClaims are those of a good logout token of A, made at the log's time.
func (r *receiving) logoutClaims() josetest.Object {
	now, _ := r.log.Time()
	return josetest.Object(nil).
		With("iss", josetest.Text(senderA)).
		With("aud", josetest.Text("shop")).
		With("iat", josetest.Seconds(now)).
		With("exp", josetest.Seconds(now.Add(2*time.Minute))).
		With("jti", josetest.Text("message-1")).
		With("sub", josetest.Text("alice")).
		With("sid", josetest.Text("session-1")).
		With("events", `{"`+backchannelLogoutEvent+`":{}}`)
}

func (r *receiving) byA(claims josetest.Object) string {
	return r.a.Token(r.a.Header("logout+jwt").JSON(), claims.JSON())
}

func (r *receiving) send(logoutToken string, options ...option) answer {
	r.t.Helper()
	return r.post("/backchannel-logout", url.Values{"logout_token": {logoutToken}}.Encode(),
		append([]option{withForm}, options...)...)
}

func withForm(r *http.Request) {
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
}

// inLog are the entries that are stored, as text.
func (r *receiving) inLog() (entries []string) {
	for _, e := range r.log.Entries() {
		if e.InLog {
			entries = append(entries, fmt.Sprintf("%s %s %s", e.Issuer, e.Kind, e.Value))
		}
	}
	return entries
}

func (r *receiving) wantInLog(want ...string) {
	r.t.Helper()
	if got := r.inLog(); strings.Join(got, "\n") != strings.Join(want, "\n") {
		r.t.Errorf("expected the entries %q, got %q", want, got)
	}
}

func TestALogoutElsewhereEndsTheSessionHere(t *testing.T) {
	eachReceiving(t, func(t *testing.T, r *receiving) {
		a := r.send(r.byA(r.logoutClaims()))
		wantStatus(t, a, http.StatusOK, "")
		if a.header.Get("Cache-Control") != "no-store" {
			t.Errorf("got Cache-Control %q", a.header.Get("Cache-Control"))
		}
		// The session alone: the user's other sessions go on.
		r.wantInLog(senderA + " sid session-1")
		for _, want := range []string{
			`"event":"message"`, `"outcome":"success"`, `"issuer":"` + senderA + `"`,
			`"token_id":"message-1"`, `"kind":"sid"`, `"value":"session-1"`, `"seq":`,
		} {
			if !strings.Contains(r.audited.String(), want) {
				t.Errorf("the record lacks %s: %s", want, r.audited.String())
			}
		}
	})
}

// TestASubjectAloneEndsWhatItHadBegunByThen: the cutoff is when the message was made, so that who has
// logged in again since stays logged in.
func TestASubjectAloneEndsWhatItHadBegunByThen(t *testing.T) {
	eachReceiving(t, func(t *testing.T, r *receiving) {
		made, _ := r.log.Time()
		message := r.byA(r.logoutClaims().Without("sid"))
		r.log.Advance(time.Minute)
		wantStatus(t, r.send(message), http.StatusOK, "")
		r.wantInLog(senderA + " sub alice")
		if cutoff := r.log.Entries()[0].IssuedBefore; cutoff.Unix() != made.Unix() {
			t.Errorf("expected the cutoff %v, got %v", made, cutoff)
		}
	})
}

func TestWhatRealSendersLeaveOutOrAddIsTaken(t *testing.T) {
	r := newReceivingOnMiniredis(t, nil)
	good := r.logoutClaims()
	for name, c := range map[string]struct {
		claims josetest.Object
		typ    string
	}{
		"Hydra: typ JWT, no exp, no sub": {good.Without("exp").Without("sub"), "JWT"},
		"Keycloak: a claim typ":          {good.With("typ", `"Logout"`), "logout+jwt"},
		"another event beside it": {
			good.With("events", `{"https://x.example/y":{},"`+backchannelLogoutEvent+`":{"z":1}}`), "JWT",
		},
	} {
		claims := c.claims.With("jti", josetest.Text(name))
		a := r.send(r.a.Token(r.a.Header(c.typ).JSON(), claims.JSON()))
		if a.status != http.StatusOK {
			t.Errorf("%s: got %d %s", name, a.status, a.text)
		}
	}
	// A parameter that nobody understands is ignored (section 2.5).
	token := r.byA(good.With("jti", `"more"`))
	a := r.post("/backchannel-logout",
		url.Values{"logout_token": {token}, "state": {"x"}}.Encode(), withForm)
	wantStatus(t, a, http.StatusOK, "")
}

func TestALogoutTokenThatIsNoneIsRefusedWithTheReason(t *testing.T) {
	r := newReceivingOnMiniredis(t, nil)
	good := r.logoutClaims()
	for name, c := range map[string]struct {
		claims josetest.Object
		want   string
	}{
		"a nonce":                    {good.With("nonce", `"n"`), "nonce"},
		"a nonce that is null":       {good.With("nonce", "null"), "nonce"},
		"no events":                  {good.Without("events"), "events"},
		"events a list":              {good.With("events", `["`+backchannelLogoutEvent+`"]`), "events"},
		"events of something else":   {good.With("events", `{"https://x.example/y":{}}`), "events"},
		"the event is no object":     {good.With("events", `{"`+backchannelLogoutEvent+`":true}`), "events"},
		"neither sid nor sub":        {good.Without("sid").Without("sub"), "sid or sub"},
		"an empty sid beside a sub":  {good.With("sid", `""`), "sid"},
		"sid a number":               {good.With("sid", "1"), "sid"},
		"sid with a line break":      {good.With("sid", `"a\nb"`), "sid"},
		"sub a list":                 {good.With("sub", `["alice"]`), "sub"},
		"expired":                    {good.With("exp", "1000000000"), "older"},
		"no exp, and of other times": {good.Without("exp").With("iat", "1000000000"), "older"},
		"for another client":         {good.With("aud", `"other"`), "aud"},
	} {
		a := r.send(r.byA(c.claims))
		if a.status != http.StatusBadRequest || a.str("error") != "invalid_request" ||
			!strings.Contains(a.str("error_description"), c.want) {
			t.Errorf("%s: got %d %s", name, a.status, a.text)
		}
	}
	r.wantInLog()
}

// TestAForgedLogoutTokenRevealsAndChangesNothing: whatever is wrong with it, the same bytes, and
// they depend on nothing that the token says.
func TestAForgedLogoutTokenRevealsAndChangesNothing(t *testing.T) {
	eachReceiving(t, func(t *testing.T, r *receiving) {
		thief := josetest.NewKey("RS256", "key-a")
		good := r.logoutClaims()
		header := r.a.Header("logout+jwt")
		first := answer{}
		for name, forged := range map[string]string{
			"another's key":               thief.Token(header.JSON(), good.JSON()),
			"no token":                    "x",
			"no signature":                josetest.Encode(header.JSON()) + "." + josetest.Encode(good.JSON()) + ".",
			"an issuer that is no sender": thief.Token(header.JSON(), good.With("iss", `"https://c.example"`).JSON()),
			"this issuer":                 thief.Token(header.JSON(), good.With("iss", josetest.Text(issuerURL)).JSON()),
			"a token of another typ":      r.a.Token(r.a.Header("at+jwt").JSON(), good.JSON()),
			"A's, signed by B":            r.b.Token(header.JSON(), good.JSON()),
			"expired, and forged":         thief.Token(header.JSON(), good.With("exp", "1").JSON()),
			"no events, and forged":       thief.Token(header.JSON(), good.Without("events").JSON()),
		} {
			a := r.send(forged)
			if first.text == "" {
				first = a
			}
			if a.status != http.StatusBadRequest || a.text != first.text {
				t.Errorf("%s: got %d %s, another got %s", name, a.status, a.text, first.text)
			}
		}
		if n := len(r.log.Entries()); n != 0 {
			t.Errorf("forged messages made %d entries", n)
		}
		if n := strings.Count(r.audited.String(), `"event":"message","outcome":"failure"`); n != 9 {
			t.Errorf("expected 9 records, got %d: %s", n, r.audited.String())
		}
	})
}

func TestASenderOfOneIssuerEndsNoSessionOfAnother(t *testing.T) {
	eachReceiving(t, func(t *testing.T, r *receiving) {
		claims := r.logoutClaims().With("iss", josetest.Text(senderB))
		wantStatus(t, r.send(r.b.Token(r.b.Header("JWT").JSON(), claims.JSON())), http.StatusOK, "")
		wantStatus(t, r.send(r.a.Token(r.a.Header("JWT").JSON(), claims.JSON())),
			http.StatusServiceUnavailable, "temporarily_unavailable") // B may have that key tomorrow
		r.wantInLog(senderB + " sid session-1")
	})
}

// TestAMessageIsAcknowledgedOnlyOnceItsEntryIs (S7).
func TestAMessageIsAcknowledgedOnlyOnceItsEntryIs(t *testing.T) {
	eachReceiving(t, func(t *testing.T, r *receiving) {
		message := r.byA(r.logoutClaims())
		for _, call := range []string{"append", "lost"} {
			r.log.Fail(func(c string) error {
				if c == call {
					return sessiontest.ErrInjected
				}
				return nil
			})
			a := r.send(message)
			wantStatus(t, a, http.StatusServiceUnavailable, "temporarily_unavailable")
			if a.header.Get("Retry-After") == "" {
				t.Errorf("%s: a sender is not told to try again", call)
			}
		}
		r.log.Fail(nil)
		wantStatus(t, r.send(message), http.StatusOK, "")
		if n := len(r.inLog()); n == 0 {
			t.Error("acknowledged, and not stored")
		}
		r.log.Set(false, false, "era-1")
		a := r.send(r.byA(r.logoutClaims().With("jti", `"2"`)))
		wantStatus(t, a, http.StatusServiceUnavailable, "temporarily_unavailable")
	})
}

func TestAMessageThatComesAgainAddsNoEntry(t *testing.T) {
	eachReceiving(t, func(t *testing.T, r *receiving) {
		for _, claims := range []josetest.Object{
			r.logoutClaims(), r.logoutClaims().Without("sid").With("jti", `"2"`),
		} {
			before := len(r.log.Entries())
			for range 3 {
				wantStatus(t, r.send(r.byA(claims)), http.StatusOK, "")
			}
			if n := len(r.log.Entries()) - before; n != 1 {
				t.Errorf("expected one entry, got %d", n)
			}
		}
		// Once its entry has expired, it is stored again.
		r.log.Forget()
		wantStatus(t, r.send(r.byA(r.logoutClaims())), http.StatusOK, "")
		r.wantInLog(senderA + " sid session-1")
		repeated := testutil.ToFloat64(r.server.metrics.messages.WithLabelValues("backchannel", "repeated"))
		if repeated != 4 {
			t.Errorf("expected 4 repeated messages, counted %v", repeated)
		}
	})
}

// TestAnotherMessageUnderTheSameIDIsNotTheSame: a sender that counts its messages anew after a
// restart has its logouts carried out all the same.
func TestAnotherMessageUnderTheSameIDIsNotTheSame(t *testing.T) {
	r := newReceivingOnMiniredis(t, nil)
	wantStatus(t, r.send(r.byA(r.logoutClaims())), http.StatusOK, "")
	wantStatus(t, r.send(r.byA(r.logoutClaims().With("sid", `"session-2"`))), http.StatusOK, "")
	r.wantInLog(senderA+" sid session-1", senderA+" sid session-2")
}

func TestAMessageByAKeyThatIsRevokedEndsNothing(t *testing.T) {
	r := newReceivingOnMiniredis(t, nil)
	if _, err := r.log.Append(t.Context(), []revocation.Request{
		{Kind: revocation.KindKID, Issuer: senderA, Value: "key-a", Reason: "stolen"},
	}); err != nil {
		t.Fatal(err)
	}
	wantStatus(t, r.send(r.byA(r.logoutClaims())), http.StatusBadRequest, "invalid_request")
	r.wantInLog(senderA + " kid key-a")
}

func TestOnlyAFormWithOneLogoutTokenIsRead(t *testing.T) {
	r := newReceivingOnMiniredis(t, nil)
	good := r.byA(r.logoutClaims())
	for name, c := range map[string]struct {
		body, typ string
		status    int
	}{
		"JSON":              {`{"logout_token":"` + good + `"}`, "application/json", http.StatusUnsupportedMediaType},
		"a form in Latin-1": {"logout_token=" + good, "application/x-www-form-urlencoded; charset=latin1", http.StatusUnsupportedMediaType},
		"no token":          {"x=y", "application/x-www-form-urlencoded", http.StatusBadRequest},
		"an empty token":    {"logout_token=", "application/x-www-form-urlencoded", http.StatusBadRequest},
		"two tokens":        {"logout_token=" + good + "&logout_token=" + good, "application/x-www-form-urlencoded", http.StatusBadRequest},
		"broken escapes":    {"logout_token=%zz", "application/x-www-form-urlencoded", http.StatusBadRequest},
		"nothing":           {"", "application/x-www-form-urlencoded", http.StatusBadRequest},
		"too much":          {"logout_token=" + strings.Repeat("a", 65<<10), "application/x-www-form-urlencoded", http.StatusRequestEntityTooLarge},
	} {
		a := r.post("/backchannel-logout", c.body,
			func(q *http.Request) { q.Header.Set("Content-Type", c.typ) })
		if a.status != c.status {
			t.Errorf("%s: expected %d, got %d %s", name, c.status, a.status, a.text)
		}
	}
	a := r.do(http.MethodGet, r.url+"/backchannel-logout?logout_token="+good, "")
	if a.status != http.StatusMethodNotAllowed || a.header.Get("Allow") != http.MethodPost {
		t.Errorf("GET: got %d, Allow %q", a.status, a.header.Get("Allow"))
	}
	a = r.post("/backchannel-logout?logout_token="+good, "", withForm)
	wantStatus(t, a, http.StatusBadRequest, "invalid_request")
	r.wantInLog()
	if strings.Contains(r.logged.String()+r.audited.String(), good[len(good)-40:]) {
		t.Error("a log shows a logout token")
	}
}

// TestStrangersTakeNothingFromASender: those without number are limited together, and one that is
// known goes on.
func TestStrangersTakeNothingFromASender(t *testing.T) {
	r := newReceivingOnMiniredis(t, func(c *Config) {
		trusting(t, "127.0.0.1")(c)
		c.Messages.Together = credential.Rate{Burst: 20, Every: time.Hour}
		c.Messages.Requests = credential.Rate{Burst: 10, Every: time.Hour}
	})
	from := func(address string) option { return withHeader("X-Forwarded-For", address) }
	wantStatus(t, r.send(r.byA(r.logoutClaims()), from("192.0.2.1")), http.StatusOK, "")
	limited := 0
	for i := range 30 {
		a := r.send("x", from(fmt.Sprintf("198.51.100.%d", i)))
		if a.status == http.StatusTooManyRequests && a.header.Get("Retry-After") != "" {
			limited++
		}
	}
	if limited != 11 { // 20, of which the sender's first has taken one
		t.Errorf("expected 11 of 30 strangers to be refused, got %d", limited)
	}
	wantStatus(t, r.send(r.byA(r.logoutClaims().With("jti", `"2"`)), from("192.0.2.1")),
		http.StatusOK, "")
	last := answer{}
	for range 10 {
		last = r.send("x", from("192.0.2.1"))
	}
	wantStatus(t, last, http.StatusTooManyRequests, "too_many_requests")
	// A flood of messages keeps nobody from logging in.
	wantStatus(t, r.post("/login", body("username", "alice", "password", password),
		from("192.0.2.1")), http.StatusOK, "")
}

// TestOneStrangerShutsOutNoSenderThatHasNotBeenHeard since the start of this issuer.
func TestOneStrangerShutsOutNoSenderThatHasNotBeenHeard(t *testing.T) {
	r := newReceivingOnMiniredis(t, func(c *Config) {
		trusting(t, "127.0.0.1")(c)
		c.Messages.Together = credential.Rate{Burst: 20, Every: time.Hour}
	})
	from := func(address string) option { return withHeader("X-Forwarded-For", address) }
	for range 30 {
		r.send("x", from("198.51.100.1"))
	}
	wantStatus(t, r.send("x", from("198.51.100.1")), http.StatusTooManyRequests, "too_many_requests")
	wantStatus(t, r.send(r.byA(r.logoutClaims()), from("192.0.2.1")), http.StatusOK, "")
}

func TestMessagesHaveABoundedNumberOfPlaces(t *testing.T) {
	r := newReceivingOnMiniredis(t, func(c *Config) { c.Messages.MaxConcurrent = 1 })
	var inside, release sync.WaitGroup
	inside.Add(1)
	release.Add(1)
	var once sync.Once
	r.log.Fail(func(string) error {
		once.Do(func() { inside.Done(); release.Wait() })
		return nil
	})
	done := make(chan answer, 1)
	go func() { done <- r.send(r.byA(r.logoutClaims())) }()
	inside.Wait()
	// The log is one of tests, which has a lock: ask for nothing that needs it.
	busy := r.send("x")
	release.Done()
	wantStatus(t, busy, http.StatusServiceUnavailable, "temporarily_unavailable")
	wantStatus(t, <-done, http.StatusOK, "")
}

func TestASenderCanNotBeThisIssuer(t *testing.T) {
	for name, s := range map[string]sender.Config{
		"by its name":     {Issuer: issuerURL},
		"by its sessions": {Issuer: senderA, SessionsOf: issuerURL},
	} {
		cfg := testConfig()
		cfg.Senders = []sender.Config{s}
		if err := cfg.Validate(); err == nil || !strings.Contains(err.Error(), "senders[0]") {
			t.Errorf("%s: got %v", name, err)
		}
	}
	cfg := testConfig()
	cfg.Senders = []sender.Config{{Issuer: senderA}, {Issuer: senderA}}
	if err := cfg.Validate(); err == nil || !strings.Contains(err.Error(), "senders[1].issuer") {
		t.Errorf("twice: got %v", err)
	}
}

// TestASendersClockIsNoFurtherOffThanTheLogKnows: else tokens made by it outlive what revokes them.
func TestASendersClockIsNoFurtherOffThanTheLogKnows(t *testing.T) {
	cfg := testConfig()
	cfg.Senders = []sender.Config{{Issuer: senderA}, {Issuer: senderB}}
	for skew, passes := range map[time.Duration]bool{
		cfg.Revocation.ClockSkew: true, cfg.Revocation.ClockSkew + time.Millisecond: false,
	} {
		cfg.Senders[1].ClockSkew = skew
		err := cfg.Validate()
		if (err == nil) != passes || err != nil && !strings.Contains(err.Error(), "senders[1].clock_skew") {
			t.Errorf("%s: got %v", skew, err)
		}
	}
}

func TestWithoutSendersNoMessageIsTaken(t *testing.T) {
	h := onMiniredis(t, nil)
	wantStatus(t, h.post("/backchannel-logout", "logout_token=x", withForm), http.StatusNotFound,
		"not_found")
}

// TestWithoutUsersAnIssuerRevokesAndReceives: it has no login, and says so.
func TestWithoutUsersAnIssuerRevokesAndReceives(t *testing.T) {
	r := newReceivingOnMiniredis(t, func(c *Config) { c.Audience = nil })
	for _, path := range []string{"/login", "/refresh", "/logout"} {
		wantStatus(t, r.post(path, "{}"), http.StatusNotFound, "not_found")
	}
	a := r.do(http.MethodGet, r.url+metadataPath, "")
	for _, member := range []string{"login_endpoint", "refresh_endpoint", "logout_endpoint"} {
		if _, ok := a.json[member]; ok {
			t.Errorf("the metadata has %s", member)
		}
	}
	if a.str("issuer") != issuerURL || a.str("jwks_uri") == "" {
		t.Errorf("got the metadata %s", a.text)
	}
	if r.issuer.Users != nil {
		t.Error("something looks for users who have changed")
	}
	wantStatus(t, r.send(r.byA(r.logoutClaims())), http.StatusOK, "")
	revoke := r.do(http.MethodPost, r.admin+"/admin/revocations",
		body("kind", "sid", "value", "session-2", "issuer", senderB), bearer(adminToken))
	wantStatus(t, revoke, http.StatusOK, "")
	r.wantInLog(senderA+" sid session-1", senderB+" sid session-2")
}

func TestAnAudienceIsNeededWhereUsersLogIn(t *testing.T) {
	cfg := testConfig()
	cfg.Audience = nil
	if err := cfg.Validate(); err != nil {
		t.Errorf("without users: %v", err)
	}
	cfg.Users.File = "users.yaml"
	if err := cfg.Validate(); err == nil || !strings.Contains(err.Error(), "audience") {
		t.Errorf("with users: %v", err)
	}
	h := onMiniredis(t, nil)
	_, err := New(Options{
		Config: func() Config { c := h.cfg; c.Audience = nil; return c }(),
		Keys:   h.keys, Users: h.users, Sessions: h.server.sessions, Log: h.log, Inventory: inventory{},
		Audit: audit.New(io.Discard, audit.Options{}),
	})
	if err == nil || !strings.Contains(err.Error(), "audience") {
		t.Errorf("users and no audience: %v", err)
	}
}
