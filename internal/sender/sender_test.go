package sender_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sallyport/sallyport/internal/config"
	"github.com/sallyport/sallyport/internal/eventually"
	"github.com/sallyport/sallyport/internal/jose/josetest"
	"github.com/sallyport/sallyport/internal/revocation"
	"github.com/sallyport/sallyport/internal/sender"
	"github.com/sallyport/sallyport/internal/token"
)

func TestAMessageOfASenderIsVerified(t *testing.T) {
	w := newWorld(t, nil)
	for name, c := range map[string]struct {
		header, claims josetest.Object
	}{
		"as recommended":      {w.a.Header("logout+jwt"), w.claims()},
		"typ JWT":             {w.a.Header("JWT"), w.claims()},
		"aud a list":          {w.a.Header("JWT"), w.claims().With("aud", `["other","shop"]`)},
		"no exp":              {w.a.Header("JWT"), w.claims().Without("exp")},
		"iat with a fraction": {w.a.Header("JWT"), w.claims().With("iat", josetest.Seconds(w.clock.now())+".25")},
		"nbf now":             {w.a.Header("JWT"), w.claims().With("nbf", josetest.Seconds(w.clock.now()))},
		"a claim unheard of":  {w.a.Header("JWT"), w.claims().With("trace_id", `{"x":[1]}`)},
	} {
		m, err := w.verify(w.a.Token(c.header.JSON(), c.claims.JSON()))
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		sid, err := m.Text("sid")
		if m.Sender.Issuer != issuerA || m.ID != "message-1" || m.KeyID != w.a.ID || sid != "session-1" ||
			err != nil || m.IssuedAt.Unix() != w.clock.now().Unix() {
			t.Errorf("%s: read %+v, sid %q, %v", name, m, sid, err)
		}
	}
}

func TestWhatNoSenderHasSignedIsRefusedBeforeAnythingItSays(t *testing.T) {
	w := newWorld(t, nil)
	thief := josetest.NewKey("RS256", "key-a")
	good, header := w.claims().JSON(), w.a.Header("JWT").JSON()
	whole := w.a.Token(header, good)
	signed := func(h josetest.Object) string { return w.a.Token(h.JSON(), good) }
	for name, c := range map[string]struct {
		compact string
		reason  token.Reason
	}{
		"empty":                        {"", token.ReasonSegments},
		"no token":                     {"hostile", token.ReasonSegments},
		"too long":                     {whole + strings.Repeat("A", 8<<10), token.ReasonTooLong},
		"padded":                       {whole + "=", token.ReasonBase64},
		"another's key":                {thief.Token(header, good), token.ReasonSignature},
		"no signature":                 {whole[:strings.LastIndexByte(whole, '.')+1], token.ReasonUnsigned},
		"alg none":                     {signed(w.a.Header("JWT").With("alg", `"none"`)), token.ReasonAlgNone},
		"alg not in the list":          {signed(w.a.Header("JWT").With("alg", `"RS512"`)), token.ReasonAlg},
		"the public key as a secret":   {josetest.MAC("HS256", w.a.Header("JWT").With("alg", `"HS256"`).JSON(), good, josetest.PublicSpellings(w.a)["PEM, PKIX"]), token.ReasonAlg},
		"crit":                         {signed(w.a.Header("JWT").With("crit", `["x"]`)), token.ReasonHeaderCrit},
		"an access token's typ":        {signed(w.a.Header("at+jwt")), token.ReasonTyp},
		"a security event's typ":       {signed(w.a.Header("secevent+jwt")), token.ReasonTyp},
		"a kid that there is not":      {signed(w.a.Header("JWT").With("kid", `"hostile"`)), token.ReasonUnknownKey},
		"an issuer that is no sender":  {w.a.Token(header, w.claims().With("iss", `"https://hostile.example"`).JSON()), token.ReasonUnknownIssuer},
		"an issuer in other letters":   {w.a.Token(header, w.claims().With("iss", `"https://A.example"`).JSON()), token.ReasonUnknownIssuer},
		"no issuer":                    {w.a.Token(header, w.claims().Without("iss").JSON()), token.ReasonIssuer},
		"a claim twice":                {w.a.Token(header, w.claims().And("sid", `"hostile"`).JSON()), token.ReasonClaimDuplicate},
		"claims and something more":    {w.a.Token(header, good+"x"), token.ReasonClaims},
		"A's message by B's key":       {w.b.Token(w.b.Header("JWT").JSON(), good), token.ReasonAlg},
		"A's message under B's kid":    {w.a.Token(w.a.Header("JWT").With("kid", `"key-b"`).JSON(), good), token.ReasonUnknownKey},
		"expired, too, and not signed": {thief.Token(header, w.claims().With("exp", "1").JSON()), token.ReasonSignature},
	} {
		t.Run(name, func(t *testing.T) {
			// So that no fetch for an unknown kid has been made a moment ago.
			w.clock.advance(11 * time.Second)
			_, err := w.verify(c.compact)
			wantRefused(t, err, c.reason, false)
		})
	}
}

func TestWhatASenderHasSignedAndIsWrongIsToldToIt(t *testing.T) {
	w := newWorld(t, nil)
	at := func(d time.Duration) string { return josetest.Seconds(w.clock.now().Add(d)) }
	for name, c := range map[string]struct {
		claims josetest.Object
		reason token.Reason
	}{
		"no aud":                      {w.claims().Without("aud"), token.ReasonAudienceMissing},
		"aud null":                    {w.claims().With("aud", "null"), token.ReasonAudience},
		"aud an empty list":           {w.claims().With("aud", "[]"), token.ReasonAudience},
		"aud another":                 {w.claims().With("aud", `"hostile"`), token.ReasonAudience},
		"aud ours in a list in it":    {w.claims().With("aud", `[["shop"]]`), token.ReasonAudience},
		"aud ours beside a number":    {w.claims().With("aud", `["shop",1]`), token.ReasonAudience},
		"no jti":                      {w.claims().Without("jti"), token.ReasonTokenID},
		"jti a number":                {w.claims().With("jti", "1"), token.ReasonClaimShape},
		"no iat":                      {w.claims().Without("iat"), token.ReasonIssuedAtMissing},
		"iat a text":                  {w.claims().With("iat", `"1"`), token.ReasonDate},
		"iat without end":             {w.claims().With("iat", "1e999"), token.ReasonDate},
		"iat in the future":           {w.claims().With("iat", at(time.Minute)), token.ReasonIssuedInFuture},
		"expired":                     {w.claims().With("exp", at(-time.Minute)), token.ReasonExpired},
		"exp a text":                  {w.claims().With("exp", `"1"`), token.ReasonDate},
		"exp null, and too old":       {w.claims().With("exp", "null").With("iat", at(-11*time.Minute)), token.ReasonExpired},
		"no exp, and too old":         {w.claims().Without("exp").With("iat", at(-11*time.Minute)), token.ReasonExpired},
		"no exp, and of another year": {w.claims().Without("exp").With("iat", "1000000000"), token.ReasonExpired},
		"not valid yet":               {w.claims().With("nbf", at(time.Minute)), token.ReasonNotYetValid},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := w.verify(w.a.Token(w.a.Header("JWT").JSON(), c.claims.JSON()))
			wantRefused(t, err, c.reason, true)
		})
	}
}

// TestTheLeewayOnTimesIsTheEntrys, and a message is refused from its very end on.
func TestTheLeewayOnTimesIsTheEntrys(t *testing.T) {
	w := newWorld(t, func(a *sender.Config) {
		a.ClockSkew, a.MaxMessageAge = 5*time.Second, time.Minute
	})
	w.clock.Store(w.clock.now().Truncate(time.Second).UnixMilli())
	made := w.clock.now()
	compact := w.a.Token(w.a.Header("JWT").JSON(), w.claims().Without("exp").JSON())
	for after, passes := range map[time.Duration]bool{
		-6 * time.Second: false, -5 * time.Second: true, 0: true,
		65*time.Second - time.Millisecond: true, 65 * time.Second: false,
	} {
		w.clock.Store(made.Add(after).UnixMilli())
		if _, err := w.verify(compact); (err == nil) != passes {
			t.Errorf("%s after it was made: %v", after, err)
		}
	}
}

func TestASenderCanOnlyEndSessionsOfItsOwn(t *testing.T) {
	w := newWorld(t, nil)
	m, err := w.verify(w.a.Token(w.a.Header("JWT").JSON(), w.claims().JSON()))
	if err != nil {
		t.Fatal(err)
	}
	for _, kind := range []revocation.Kind{revocation.KindSID, revocation.KindSub} {
		r := m.Revoke(kind, "x", "logout", m.IssuedAt)
		if r.Issuer != issuerA || r.Actor != issuerA || r.Validate() != nil {
			t.Errorf("got %+v, %v", r, r.Validate())
		}
	}
	_, err = w.verify(w.a.Token(w.a.Header("JWT").JSON(),
		w.claims().With("iss", josetest.Text(issuerB)).JSON()))
	wantRefused(t, err, token.ReasonAlg, false)
}

func TestASenderMayHaveAnotherNameInItsTokens(t *testing.T) {
	w := newWorld(t, func(a *sender.Config) { a.SessionsOf = "https://accounts.a.example" })
	m, err := w.verify(w.a.Token(w.a.Header("JWT").JSON(), w.claims().JSON()))
	if err != nil {
		t.Fatal(err)
	}
	if r := m.Revoke(revocation.KindSID, "s", "logout", time.Time{}); r.Issuer != "https://accounts.a.example" {
		t.Errorf("it would end sessions of %s", r.Issuer)
	}
}

func TestANewKeyIsFetchedForTheMessageThatNamesIt(t *testing.T) {
	w := newWorld(t, nil)
	next := josetest.NewKey("RS256", "key-next")
	message := next.Token(next.Header("JWT").JSON(), w.claims().JSON())
	w.keysOfA.set(false, w.a, next)
	if _, err := w.verify(message); err != nil {
		t.Errorf("after a rotation: %v", err)
	}
	// The key before the rotation, which a message that was sent before still names.
	if _, err := w.verify(w.a.Token(w.a.Header("JWT").JSON(), w.claims().JSON())); err != nil {
		t.Errorf("by the former key: %v", err)
	}
	w.clock.advance(11 * time.Second)
	w.keysOfA.set(false, next)
	if err := w.senders.Reload(context.Background()); err != nil {
		t.Fatal(err)
	}
	_, err := w.verify(w.a.Token(w.a.Header("JWT").JSON(), w.claims().JSON()))
	wantRefused(t, err, token.ReasonUnknownKey, false)
}

// TestAKeyThatCanNotBeLookedUpIsNoRefusal: a sender that is told 400 never tries again.
func TestAKeyThatCanNotBeLookedUpIsNoRefusal(t *testing.T) {
	w := newWorld(t, nil)
	next := josetest.NewKey("RS256", "key-next")
	message := next.Token(next.Header("JWT").JSON(), w.claims().JSON())
	w.clock.advance(time.Second)
	w.keysOfA.set(true, w.a)
	if _, err := w.verify(message); !errors.Is(err, sender.ErrKeyPending) {
		t.Errorf("while the fetch fails: %v", err)
	}
	asked := w.keysOfA.asked.Load()
	if _, err := w.verify(message); !errors.Is(err, sender.ErrKeyPending) {
		t.Errorf("while the fetch waits for its turn: %v", err)
	}
	if n := w.keysOfA.asked.Load(); n != asked {
		t.Errorf("made-up kids cost the sender %d more requests", n-asked)
	}
	// What is known goes on.
	if _, err := w.verify(w.a.Token(w.a.Header("JWT").JSON(), w.claims().JSON())); err != nil {
		t.Errorf("by a key that is kept: %v", err)
	}
}

// TestAKeyThatSomebodyNamedBeforeItWasPublishedIsLookedUpAnew: an answer of before the message does
// not refuse it, be it a moment old.
func TestAKeyThatSomebodyNamedBeforeItWasPublishedIsLookedUpAnew(t *testing.T) {
	w := newWorld(t, nil)
	next := josetest.NewKey("RS256", "key-next")
	message := next.Token(next.Header("JWT").JSON(), w.claims().JSON())
	w.clock.advance(time.Second)
	_, err := w.verify(message)
	wantRefused(t, err, token.ReasonUnknownKey, false)
	w.keysOfA.set(true, w.a, next) // published, and not to be had
	w.clock.advance(100 * time.Millisecond)
	if _, err := w.verify(message); !errors.Is(err, sender.ErrKeyPending) {
		t.Errorf("while the next fetch waits for its turn: %v", err)
	}
	w.clock.advance(time.Second)
	if _, err := w.verify(message); !errors.Is(err, sender.ErrKeyPending) {
		t.Errorf("while the fetch fails: %v", err)
	}
	w.keysOfA.set(false, w.a, next)
	w.clock.advance(time.Minute)
	if _, err := w.verify(message); err != nil {
		t.Errorf("once it can be had: %v", err)
	}
}

// TestOnlySomeMessagesWaitForAKey, whoever has made them up: the others have it fetched, and are to
// be sent again.
func TestOnlySomeMessagesWaitForAKey(t *testing.T) {
	w := newWorld(t, nil)
	w.clock.advance(time.Second) // a fetch may begin
	w.keysOfA.hold(t)
	var pending atomic.Int32
	var all sync.WaitGroup
	thief := josetest.NewKey("RS256", "thief")
	for i := range 64 {
		header := thief.Header("JWT").With("kid", josetest.Text(fmt.Sprint("made-up-", i)))
		message := thief.Token(header.JSON(), w.claims().JSON())
		all.Go(func() {
			if _, err := w.verify(message); errors.Is(err, sender.ErrKeyPending) {
				pending.Add(1)
			}
		})
	}
	eventually.True(t, "half to wait and half to be put off", func() bool {
		return w.senders.Waiting() == 32 && pending.Load() == 32
	})
	all.Wait()
}

func TestAMessageByARevokedKeyEndsNothing(t *testing.T) {
	for _, issuer := range []string{issuerA, "https://accounts.a.example"} {
		w := newWorld(t, func(a *sender.Config) { a.SessionsOf = "https://accounts.a.example" })
		w.revoked[issuer+" key-a"] = true
		for _, header := range []josetest.Object{
			w.a.Header("JWT"), w.a.Header("JWT").Without("kid"), // the sender's only key is meant
		} {
			_, err := w.verify(w.a.Token(header.JSON(), w.claims().JSON()))
			wantRefused(t, err, token.ReasonRevoked, false)
		}
	}
}

// TestRealLogoutTokens: header and claims as the issuers wrote them, letter by letter, signed with a
// key of ours, under the entries of the examples.
func TestRealLogoutTokens(t *testing.T) {
	const recorded = "../../e2e/issuers/testdata"
	var headers []string
	for _, issuer := range []string{"hydra", "keycloak", "oidc-provider"} {
		found, err := filepath.Glob(filepath.Join(recorded, issuer, "logout-*.header.json"))
		if err != nil || len(found) == 0 {
			t.Fatalf("%s: got %v, %v", issuer, found, err)
		}
		headers = append(headers, found...)
	}
	for _, file := range headers {
		t.Run(strings.TrimPrefix(file, recorded+"/"), func(t *testing.T) {
			header, claims := read(t, file), read(t, strings.Replace(file, ".header.", ".claims.", 1))
			var h struct{ Kid string }
			var c struct {
				Iss string
				Iat int64
				Sid string
			}
			if err := errors.Join(json.Unmarshal([]byte(header), &h),
				json.Unmarshal([]byte(claims), &c)); err != nil {
				t.Fatal(err)
			}
			key := josetest.NewKey("RS256", h.Kid)
			entry := example(t, filepath.Base(filepath.Dir(file)))
			entry.Issuer, entry.JWKSURL = c.Iss, publish(t, key).URL
			senders, err := sender.New([]sender.Config{entry}, sender.Options{Now: time.Now})
			if err != nil {
				t.Fatal(err)
			}
			if err := senders.Reload(t.Context()); err != nil {
				t.Fatal(err)
			}
			m, err := senders.Verify(t.Context(), key.Token(header, claims), time.Unix(c.Iat+1, 0), kind)
			if err != nil {
				t.Fatal(err)
			}
			_, event := m.Event("http://schemas.openid.net/event/backchannel-logout")
			if sid, err := m.Text("sid"); err != nil || sid != c.Sid || sid == "" || !event {
				t.Errorf("read sid %q, %v, event %v", sid, err, event)
			}
		})
	}
}

// example returns the entry of an example, loaded as an issuer does.
func example(t *testing.T, name string) sender.Config {
	t.Helper()
	var issuer struct {
		Senders []sender.Config `yaml:"senders"`
	}
	file := filepath.Join("../../examples/senders", name+".yaml")
	if err := config.Load(&issuer, config.Options{File: file}); err != nil {
		t.Fatal(err)
	}
	if len(issuer.Senders) != 1 {
		t.Fatalf("%s: expected one entry, got %d", file, len(issuer.Senders))
	}
	return issuer.Senders[0]
}

func read(t *testing.T, file string) string {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func TestEntriesThatCanNotBeAreRefused(t *testing.T) {
	good := sender.Config{
		Issuer: issuerA, Audiences: []string{"shop"}, JWKSURL: "https://a.example/keys",
	}
	if err := good.Validate(); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		change func(*sender.Config)
		want   string
	}{
		"no issuer":         {func(c *sender.Config) { c.Issuer = "" }, "issuer"},
		"an endless issuer": {func(c *sender.Config) { c.Issuer = strings.Repeat("a", 300) }, "at most 256 bytes"},
		"no audience":       {func(c *sender.Config) { c.Audiences = nil }, "as [shop], got none"},
		"tenants": {
			func(c *sender.Config) { c.Issuer = "https://a.example/{tenantid}" }, "an entry for each tenant",
		},
		"sessions of tenants": {
			func(c *sender.Config) { c.SessionsOf = "https://a.example/{tenantid}" }, "an entry for each tenant",
		},
		"no keys":             {func(c *sender.Config) { c.JWKSURL = "" }, "jwks_url or jwks_file"},
		"keys twice":          {func(c *sender.Config) { c.JWKSFile = "keys.json" }, "one of them"},
		"a shared secret":     {func(c *sender.Config) { c.Algorithms = []string{"HS256"} }, "published key"},
		"no algorithm":        {func(c *sender.Config) { c.Algorithms = []string{} }, "algorithms"},
		"alg none":            {func(c *sender.Config) { c.Algorithms = []string{"none"} }, "algorithms"},
		"a line break":        {func(c *sender.Config) { c.SessionsOf = "a\nb" }, "sessions_of"},
		"messages for a week": {func(c *sender.Config) { c.MaxMessageAge = 168 * time.Hour }, "max_message_age"},
		"sessions for ever":   {func(c *sender.Config) { c.MaxSessionLifetime = 100000 * time.Hour }, "max_session_lifetime"},
		"a clock of its own":  {func(c *sender.Config) { c.ClockSkew = time.Hour }, "clock_skew"},
	} {
		bad := good
		c.change(&bad)
		if err := bad.Validate(); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %v", name, err)
		}
	}
	if _, err := sender.New([]sender.Config{good, good}, sender.Options{Now: time.Now}); err == nil ||
		!strings.Contains(err.Error(), "senders[1].issuer") {
		t.Errorf("one issuer twice: got %v", err)
	}
}
