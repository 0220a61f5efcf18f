package issuer

import (
	"errors"
	"maps"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/sallyport/sallyport/internal/credential"
	"github.com/sallyport/sallyport/internal/redisconn"
	"github.com/sallyport/sallyport/internal/session/sessiontest"
)

// TestCVE holds published vulnerabilities of systems like this one against the issuer; most are one
// line because the test they point to is elsewhere in this package.
func TestCVE(t *testing.T) {
	for id, test := range map[string]func(*testing.T){
		// a storage error answered as success
		"CVE-2020-15223": eachCallThatFailsIs503,
		// failures that differ when the user exists
		"CVE-2025-69413": TestAnyOtherLoginIsRefused,
		// refresh ignored disabled accounts
		"CVE-2026-43983": TestRefreshSeesTheUserAsItIsNow,
		// changed claims were not reflected in decisions
		"CVE-2021-41230": TestWhoLosesSomethingLosesTheSessionsOfBefore,
		// refresh tokens survived a password reset
		"GHSA-x4vh-j75g-268g": TestAChangeThatNobodyNoticedIsSeenByTheNextRefresh,
		// exchange widened scopes
		"CVE-2026-56668": notOffered(
			"urn:ietf:params:oauth:grant-type:token-exchange", "/token", "/exchange", "/token/exchange",
		),
		// exchange took revoked tokens
		"CVE-2026-9097": notOffered(
			"urn:ietf:params:oauth:grant-type:token-exchange", "/oauth/token", "/oauth2/token",
		),
		// revoked, and called active
		"CVE-2026-68481": notOffered(
			"introspection", "/introspect", "/oauth/introspect", "/oauth2/introspect", "/token/introspect",
		),
		// told clients about others' tokens
		"CVE-2026-58425": notOffered("introspection", "/introspection", "/tokeninfo", "/userinfo"),
		// signed answers about tokens that are not active (RFC 9701)
		"CVE-2026-18208": notOffered("introspection", "/introspect", "/introspection"),
		// refresh accepted access tokens
		"CVE-2026-101023": TestRefreshTakesRefreshTokensOnly,
		// a limit that was never applied
		"CVE-2026-33621": TestEachEndpointThatTakesASecretIsThrottled,
		// unparsable X-Forwarded-For
		"CVE-2024-47070": TestBrokenForwardingHeadersChangeNoAnswer,
		// headers that dodged the limit
		"CVE-2026-24000": TestAClientCanNotChooseItsAddress,
		// very long passwords
		"CVE-2013-1443": TestALargeBodyIsRefusedBeforeItIsRead,
		// refresh tokens in URLs
		"CVE-2026-34969": TestATokenInAURLIsRefusedAndNotLogged,
		// h2c upgrade with a body
		"CVE-2022-41721": TestAnUpgradeLeadsNowhere,
		// profiles on the public port
		"CVE-2026-40173": TestAPathHasOneSpelling,
		// methods as metric labels
		"CVE-2022-21698": TestStrangersMakeNoNewSeries,
		// a library's error text
		"CVE-2022-29266": TestErrorsOfWhatIsUnderneathStayInside,
		// scopes that were never granted
		"CVE-2024-52287": TestRefreshSeesTheUserAsItIsNow,
		// the private key in the key set
		"CVE-2026-90942": TestNoAnswerHoldsAPrivateKey,
		// client assertions: not offered
		"CVE-2020-15222": TestTheMetadataOffersNothingThatIsNotThere,
		// JSON that grows
		"CVE-2025-59043": TestABodyIsReadStrictly,
		// everyone trusted as a proxy
		"CVE-2026-20896": TestConfigurationsThatWouldBeUnsafeAreRefused,
		// bypasses of origin checks
		"CVE-2025-47910": TestPagesOfOtherOriginsAreNotServed,
		// tokens in the audit log
		"CVE-2024-8365": TestNoSecretIsInAnyLogEventOrMetric,
	} {
		t.Run(id, test)
	}
}

// notOffered shows why a vulnerability has no ground here: the metadata does not name the feature,
// there is nothing at the places where others have it, and no endpoint takes its parameters.
// Whoever adds the feature finds this test, and the row of the advisory with it.
func notOffered(feature string, places ...string) func(*testing.T) {
	return func(t *testing.T) {
		h := onMiniredis(t, nil)
		pair := h.login("alice")
		metadata := h.do(http.MethodGet, h.url+"/.well-known/oauth-authorization-server", "")
		wantStatus(t, metadata, http.StatusOK, "")
		if strings.Contains(metadata.text, feature) || strings.Contains(metadata.text, "token_endpoint") {
			t.Errorf("the metadata offers %s: %s", feature, metadata.text)
		}
		for _, place := range places {
			for _, method := range []string{http.MethodGet, http.MethodPost} {
				wantStatus(t, h.do(method, h.url+place, "", bearer(pair.str("access_token"))),
					http.StatusNotFound, "not_found")
			}
		}
		for _, e := range h.server.endpoints() {
			if e.Method != http.MethodPost {
				continue
			}
			got := h.post(
				e.Path,
				body("grant_type", feature, "subject_token", pair.str("access_token"), "token",
					pair.str("access_token")),
			)
			if got.status != http.StatusBadRequest || strings.Contains(got.text, "active") ||
				got.str("access_token") != "" {
				t.Errorf("%s takes the parameters of %s: %d %s", e.Path, feature, got.status, got.text)
			}
		}
		wantStatus(t, h.refresh(pair.str("refresh_token")), http.StatusOK, "")
	}
}

// eachCallThatFailsIs503 makes each call to Redis of each endpoint fail in turn, before it happens
// and after: no 200, nothing handed out; and the retry does what was asked: where something was to
// end, it has ended.
func eachCallThatFailsIs503(t *testing.T) {
	type endpoint = func(h *house, a answer) answer
	revoke := func(kind string, value func(h *house, a answer) string) endpoint {
		return func(h *house, a answer) answer {
			return h.operate(http.MethodPost, "/admin/revocations", body("kind", kind, "value", value(h, a)))
		}
	}
	ends := map[string]endpoint{
		"logout": func(h *house, a answer) answer {
			return h.post("/logout", "", bearer(a.str("access_token")))
		},
		"logout by refresh token": func(h *house, a answer) answer {
			return h.post("/logout", body("refresh_token", a.str("refresh_token")))
		},
		"revoke a session": revoke("sid",
			func(h *house, a answer) string { return h.claims(a.str("access_token")).SessionID }),
		"revoke a user": revoke("sub", func(*house, answer) string { return "alice" }),
	}
	for name, do := range waysOut() {
		ends["log out everywhere "+name] = func(h *house, a answer) answer { return do(h, a, "") }
	}
	all := map[string]endpoint{
		"login": func(h *house, _ answer) answer {
			return h.post("/login", body("username", "bob", "password", password))
		},
		"refresh": func(h *house, a answer) answer { return h.refresh(a.str("refresh_token")) },
	}
	maps.Copy(all, ends)
	for name, do := range all {
		t.Run(name, func(t *testing.T) {
			sessiontest.EachRedis(t, func(t *testing.T, c *redisconn.Client) {
				faults := sessiontest.Inject(c)
				h := newHouse(t, c, nil)
				a := h.login("alice")
				faults.At(0, false)
				wantStatus(t, do(h, a), http.StatusOK, "")
				calls := faults.Calls()
				if calls == 0 {
					t.Fatal("the endpoint makes no call to Redis")
				}
				for _, lose := range []bool{false, true} {
					for n := int64(1); n <= calls; n++ {
						a := h.login("alice")
						faults.At(n, lose)
						want503(t, do(h, a))
						faults.At(0, false)
						wantStatus(t, do(h, a), http.StatusOK, "")
						if _, ending := ends[name]; !ending {
							continue
						}
						if h.log.InLog(h.claims(a.str("access_token")).SessionID) == 0 {
							t.Errorf("200 after call %d of %d had failed, and the access token is not revoked", n, calls)
						}
						wantStatus(t, h.refresh(a.str("refresh_token")), http.StatusUnauthorized, "invalid_grant")
					}
				}
			})
		})
	}
}

func want503(t *testing.T, a answer) {
	t.Helper()
	wantStatus(t, a, http.StatusServiceUnavailable, "temporarily_unavailable")
	if len(a.json) != 2 || a.header.Get("Retry-After") == "" ||
		a.header.Get("Cache-Control") != "no-store" {
		t.Errorf("a 503 hands out something, or does not say when to try again: %s %v", a.text, a.header)
	}
}

func TestALogThatFailsIs503(t *testing.T) {
	for _, call := range []string{"append", "lost", "applied"} {
		t.Run(call, func(t *testing.T) {
			eachRedis(t, func(t *testing.T, h *house) {
				a := h.login("alice")
				h.log.Fail(func(c string) error {
					if c == call {
						return sessiontest.ErrInjected
					}
					return nil
				})
				want503(t, h.post("/logout?wait=1s", "", bearer(a.str("access_token"))))
				h.log.Fail(nil)
				wantStatus(t, h.post("/logout?wait=1s", "", bearer(a.str("access_token"))), http.StatusOK, "")
			})
		})
	}
}

func TestNothingIsHandedOutByAnIssuerThatDoesNotKnow(t *testing.T) {
	eachRedis(t, func(t *testing.T, h *house) {
		a := h.login("alice")
		for name, set := range map[string]func(){
			"the time":  func() { h.log.Set(false, true, "era-1") },
			"the era":   func() { h.log.Set(true, true, "") },
			"the copy":  func() { h.log.Set(true, false, "era-1") },
			"the users": func() { h.log.Set(true, true, "era-1"); h.users.fail(credential.ErrUnavailable) },
		} {
			set()
			want503(t, h.refresh(a.str("refresh_token")))
			if name != "the copy" {
				want503(t, h.post("/login", body("username", "alice", "password", password)))
			}
			h.log.Set(true, true, "era-1")
		}
		h.users.fail(nil)
		wantStatus(t, h.refresh(a.str("refresh_token")), http.StatusOK, "")
	})
}

func TestASigningKeyThatFailsIs503(t *testing.T) {
	eachRedis(t, func(t *testing.T, h *house) {
		a := h.login("alice")
		broken := &brokenKeys{keys: h.keys}
		h.server.tokens.keys = broken
		want503(t, h.post("/login", body("username", "alice", "password", password)))
		want503(t, h.refresh(a.str("refresh_token")))
		h.server.tokens.keys = h.keys
		wantStatus(t, h.refresh(a.str("refresh_token")), http.StatusOK, "") // within the grace window
	})
}

type brokenKeys struct{ *keys }

func (*brokenKeys) SignUnless(func(string) bool, string, []byte) (string, error) {
	return "", errors.New("key away")
}

func TestATokenThatNoGateWouldReadIsNotHandedOut(t *testing.T) {
	h := onMiniredis(t, nil)
	h.users.set("alice",
		func(u *credential.User) { u.Roles = strings.Fields(strings.Repeat("some-role ", 700)) })
	want503(t, h.post("/login", body("username", "alice", "password", password)))
	if !strings.Contains(h.logged.String(), "too_long") {
		t.Errorf("the log does not say why: %s", h.logged)
	}
}

func TestTheDirectorysAnswersHaveTheirStatuses(t *testing.T) {
	h := onMiniredis(t, nil)
	for name, c := range map[string]struct {
		err    error
		status int
		code   string
	}{
		"wrong":       {credential.ErrInvalid, 401, "invalid_credentials"},
		"too long":    {credential.ErrTooLong, 401, "invalid_credentials"},
		"busy":        {credential.ErrBusy, 503, "temporarily_unavailable"},
		"unavailable": {credential.ErrUnavailable, 503, "temporarily_unavailable"},
		"throttled": {
			&credential.ThrottledError{RetryAfter: 90*time.Second + time.Millisecond}, 429,
			"too_many_requests",
		},
		"too often": {
			&credential.ThrottledError{RetryAfter: 6 * time.Second, By: credential.ByNameLogins}, 429,
			"too_many_requests",
		},
		"unheard of": {errors.New("whatever"), 503, "temporarily_unavailable"},
	} {
		h.users.fail(c.err)
		got := h.post("/login", body("username", "alice", "password", password))
		if got.status != c.status || got.str("error") != c.code ||
			strings.Contains(got.text, "access_token") {
			t.Errorf("%s: got %d %s", name, got.status, got.text)
		}
		if name == "throttled" && got.header.Get("Retry-After") != "91" {
			t.Errorf("expected Retry-After 91, got %q", got.header.Get("Retry-After"))
		}
	}
}

func TestErrorsOfWhatIsUnderneathStayInside(t *testing.T) {
	h := onMiniredis(t, nil)
	a := h.login("alice")
	canary := "canary-10.0.0.1:6379"
	h.log.Fail(func(string) error { return errors.New(canary) })
	out := h.post("/logout", "", bearer(a.str("access_token")))
	want503(t, out)
	h.log.Fail(nil)
	b := h.login("bob")
	h.users.fail(errors.New(canary))
	in := h.refresh(b.str("refresh_token"))
	want503(t, in)
	if strings.Contains(out.text+in.text, canary) {
		t.Error("an error from underneath reached the client")
	}
	if strings.Count(h.logged.String(), canary) < 2 {
		t.Error("the log does not hold the causes")
	}
}

func TestAnIssuerThatIsNotOpenTakesNoSecret(t *testing.T) {
	h := onMiniredis(t, nil)
	h.server.open = func() error { return errors.New("Redis has not been checked") }
	for _, path := range []string{"/login", "/refresh", "/logout"} {
		want503(t, h.post(path, "{}"))
	}
	if a := h.do(http.MethodGet, h.url+"/.well-known/jwks.json", ""); a.status != http.StatusOK {
		t.Errorf("the public keys are withheld: %d", a.status)
	}
}
