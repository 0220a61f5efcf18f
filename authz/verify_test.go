package authz_test

import (
	"slices"
	"testing"
	"time"

	"github.com/sallyport/sallyport/authz"
	"github.com/sallyport/sallyport/authz/authztest"
	"github.com/sallyport/sallyport/internal/jose/josetest"
	"github.com/sallyport/sallyport/internal/revocation"
	"github.com/sallyport/sallyport/internal/token"
)

// warm asks until a token is cached.
func warm(t *testing.T, e *authz.Engine, tok string) {
	t.Helper()
	e.Decide(protected(tok))
	if d := e.Decide(protected(tok)); !d.Allow || !d.Cached {
		t.Fatalf("got %s, cached %v", d.Reason(), d.Cached)
	}
}

func refused(t *testing.T, e *authz.Engine, tok string, reason token.Reason) {
	t.Helper()
	if d := e.Decide(protected(tok)); d.Allow || d.Reason() != string(reason) {
		t.Errorf("got %s, want %s", d.Reason(), reason)
	}
}

func TestACachedTokenIsJudgedByTheTimeOfEachRequest(t *testing.T) {
	w := authztest.New()
	engine := w.Engine(nil)
	tok := w.Token(func(c *token.Claims) { c.NotBefore = w.Now.Unix() })
	warm(t, engine, tok)
	start := w.Now
	w.Now = start.Add(51 * time.Minute)
	refused(t, engine, tok, token.ReasonExpired)
	w.Now = start.Add(-time.Minute)
	refused(t, engine, tok, token.ReasonNotYetValid)
	w.Now = start
	warm(t, engine, tok)
}

func TestACachedTokenIsRevokedAtOnce(t *testing.T) {
	w := authztest.New()
	engine := w.Engine(nil)
	tok := w.Token()
	warm(t, engine, tok)
	w.Revocations.Revoke(func(f *revocation.Facts) bool { return f.SessionID == "session-1" })
	refused(t, engine, tok, token.ReasonRevoked)
}

func TestARemovedKeyEmptiesTheCache(t *testing.T) {
	w := authztest.New()
	engine := w.Engine(nil)
	tok, other := w.Token(), w.ForeignToken()
	warm(t, engine, tok)
	warm(t, engine, other)
	w.Keys.Remove(authztest.Issuer, authztest.KeyID)
	refused(t, engine, tok, token.ReasonUnknownKey)
	if d := engine.Decide(protected(other)); !d.Allow || d.Cached {
		t.Errorf("another issuer's token: got %s, cached %v", d.Reason(), d.Cached)
	}
}

// TestATokensTwinIsRevokedWithIt: an ECDSA signature (r, s) has a twin (r, n-s), which is another
// token to the cache and the same one to revocation.
func TestATokensTwinIsRevokedWithIt(t *testing.T) {
	w := authztest.New()
	engine := w.Engine(nil)
	tok := w.Token()
	twin := josetest.Twin(w.Key, tok)
	warm(t, engine, tok)
	w.Revocations.Revoke(func(f *revocation.Facts) bool { return f.TokenID == "token-1" })
	refused(t, engine, tok, token.ReasonRevoked)
	refused(t, engine, twin, token.ReasonRevoked)
}

// TestTwoTokensAreNotConfused: those of the same session that differ in one claim, and one token
// cut or lengthened.
func TestTwoTokensAreNotConfused(t *testing.T) {
	w := authztest.New()
	engine := w.Engine(nil)
	admin := w.Token()
	guest := w.Token(func(c *token.Claims) { c.Roles = []string{"guest"} })
	warm(t, engine, admin)
	warm(t, engine, guest)
	r := authztest.Get("/admin", "authorization", "Bearer "+guest)
	if d := engine.Decide(&r); d.Allow || d.Reason() != string(token.ReasonInsufficientRole) {
		t.Errorf("got %s", d.Reason())
	}
	for cut := 1; cut < 20; cut++ {
		if d := engine.Decide(protected(admin[:len(admin)-cut])); d.Allow || d.Cached {
			t.Errorf("cut by %d: got %s, cached %v", cut, d.Reason(), d.Cached)
		}
	}
	for _, more := range []string{"A", "=", ".", "\x00"} {
		if d := engine.Decide(protected(admin + more)); d.Allow || d.Cached {
			t.Errorf("with %q: got %s, cached %v", more, d.Reason(), d.Cached)
		}
	}
}

// TestAnIssuersKeyVerifiesItsOwnTokensOnly: both issuers have a key of one name, and the cache is
// warm from the other.
func TestAnIssuersKeyVerifiesItsOwnTokensOnly(t *testing.T) {
	w := authztest.New()
	engine := w.Engine(nil)
	foreign := w.ForeignToken()
	warm(t, engine, w.Token())
	warm(t, engine, foreign)
	claims := w.ForeignClaims().
		With("iss", josetest.Text(authztest.Issuer)).
		With("jti", `"x"`).
		With("client_id", `"x"`)
	refused(t, engine, w.ForeignKey.Token(w.ForeignKey.Header("at+jwt").JSON(), claims.JSON()),
		token.ReasonAlg)
	refused(t, engine, w.Key.Token(w.Key.Header("JWT").JSON(), w.ForeignClaims().JSON()),
		token.ReasonAlg)
	lying := w.ForeignKey.Header("at+jwt").With("alg", `"ES256"`)
	refused(t, engine, w.ForeignKey.Token(lying.JSON(), claims.JSON()), token.ReasonSignature)
}

// TestOtherRulesOfAnIssuerAreAppliedAtOnce: what the former rules accepted is judged anew, also
// while the keys stay.
func TestOtherRulesOfAnIssuerAreAppliedAtOnce(t *testing.T) {
	w := authztest.New()
	engine := w.Engine(nil)
	tok := w.Token()
	warm(t, engine, tok)
	stricter := authztest.Profile()
	stricter.Audiences = []string{"another"}
	w.Keys.Trust(stricter, w.Key.Public())
	refused(t, engine, tok, token.ReasonAudience)
}

func TestWhatIsRefusedIsNotCached(t *testing.T) {
	w := authztest.New()
	engine := w.Engine(nil)
	for _, a := range w.Setup().Attacks() {
		for range 2 {
			if d := engine.Decide(protected(a.Token)); d.Allow || (d.Cached && d.Identity == nil) {
				t.Errorf("%s: got %s, cached %v", a.Name, d.Reason(), d.Cached)
			}
		}
	}
}

// TestRevocationIsAskedAboutEverythingThatATokenSaysOfItself, from the cache too.
func TestRevocationIsAskedAboutEverythingThatATokenSaysOfItself(t *testing.T) {
	w := authztest.New()
	engine := w.Engine(nil)
	var asked []revocation.Facts
	w.Revocations.Revoke(func(f *revocation.Facts) bool { asked = append(asked, *f); return false })
	buffer := []byte(w.Token(func(c *token.Claims) { c.Tenant = "acme" }))
	foreign := w.ForeignToken()
	for range 2 {
		engine.Decide(protected(view(buffer)))
		engine.Decide(protected(foreign))
	}
	clear(buffer)
	c := w.Claims()
	alice := revocation.Facts{
		Issuer:    authztest.Issuer,
		TokenID:   "token-1",
		SessionID: "session-1",
		Subject:   "alice",
		ClientID:  "sallyport",
		Tenant:    "acme",
		KeyID:     authztest.KeyID,
		IssuedAt:  c.IssuedAt,
		AuthTime:  c.AuthTime,
		Ours:      true,
	}
	zoe := revocation.Facts{
		Issuer: authztest.Foreign, Subject: "zoe", KeyID: authztest.KeyID, IssuedAt: w.Now.Unix(),
	}
	if want := []revocation.Facts{alice, zoe, alice, zoe}; !slices.Equal(asked, want) {
		t.Errorf("asked about %+v, want %+v", asked, want)
	}
}

// TestATokenMustNotOutliveItsRevocation, whatever its issuer's rules leave to a default.
func TestATokenMustNotOutliveItsRevocation(t *testing.T) {
	w := authztest.New()
	engine := w.Engine(nil)
	p := authztest.Profile()
	p.MaxLifetime = 0
	w.Keys.Trust(p, w.Key.Public())
	tok := w.Token()
	warm(t, engine, tok)
	w.MaxLifetime = time.Hour - time.Second
	refused(t, engine, tok, token.ReasonIssuerLifetime)
}
