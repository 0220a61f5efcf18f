package issuer

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/sallyport/sallyport/internal/jose/signing"
	"github.com/sallyport/sallyport/internal/redisconn"
	"github.com/sallyport/sallyport/internal/revocation"
	"github.com/sallyport/sallyport/internal/session/sessiontest"
)

// TestADeadCredentialLogsNobodyOutEverywhere: who has a token that gates refuse, or a refresh token
// that gives nothing any more, must not end what its user has begun since.
func TestADeadCredentialLogsNobodyOutEverywhere(t *testing.T) {
	revoke := func(kind string, value func(h *house, a answer) string) func(*house, answer) {
		return func(h *house, a answer) {
			h.t.Helper()
			wantStatus(h.t,
				h.operate(http.MethodPost, "/admin/revocations", body("kind", kind, "value", value(h, a))),
				http.StatusOK, "")
		}
	}
	named := func(value string) func(*house, answer) string {
		return func(*house, answer) string { return value }
	}
	everywhere := func(by string) func(*house, answer) {
		return func(h *house, a answer) {
			h.t.Helper()
			wantStatus(h.t, waysOut()[by](h, a, ""), http.StatusOK, "")
		}
	}
	for name, c := range map[string]struct {
		kill            func(h *house, a answer)
		access, refresh bool // which of the two credentials it kills
	}{
		"logged out": {
			func(h *house, a answer) { h.post("/logout", "", bearer(a.str("access_token"))) },
			true, true,
		},
		"its session revoked": {revoke("sid", func(h *house, a answer) string {
			return h.claims(a.str("access_token")).SessionID
		}), true, true},
		"itself revoked": {revoke("jti", func(h *house, a answer) string {
			return h.claims(a.str("access_token")).ID
		}), true, false},
		"its user revoked":      {revoke("sub", named("alice")), true, true},
		"its client revoked":    {revoke("client", named("sallyport")), true, true},
		"its tenant revoked":    {revoke("tenant", named("acme")), true, true},
		"its key revoked":       {revoke("kid", activeKey), true, false},
		"everywhere, by itself": {everywhere("by access token"), true, true},
		"everywhere, refresh":   {everywhere("by refresh token"), true, true},
		"everywhere, operator":  {everywhere("by operator"), true, true},
		"spent too long ago": {func(h *house, a answer) {
			h.refresh(a.str("refresh_token"))
			h.log.Advance(time.Minute)
		}, false, true},
		"the counter ahead": {func(h *house, a answer) {
			next := h.refresh(a.str("refresh_token"))
			a.json["refresh_token"] = next.str("refresh_token")
			h.setField(h.claims(a.str("access_token")).SessionID, "n", "1")
		}, false, true},
		"its end begun long ago": {func(h *house, a answer) {
			h.setField(h.claims(a.str("access_token")).SessionID, "state", "ending")
		}, false, true},
		"of an older era": {func(h *house, _ answer) { h.log.Set(true, true, "era-2") }, false, true},
		"not remembered": {func(h *house, _ answer) {
			if err := h.redis.Universal().FlushAll(h.t.Context()).Err(); err != nil {
				h.t.Fatal(err)
			}
		}, false, true},
	} {
		t.Run(name, func(t *testing.T) {
			eachRedis(t, func(t *testing.T, h *house) {
				dead := h.login("alice")
				c.kill(h, dead)
				h.log.Advance(time.Second)
				fresh := h.login("alice")
				before := len(h.log.Entries())
				if c.access {
					wantStatus(t, waysOut()["by access token"](h, dead, ""),
						http.StatusUnauthorized, "invalid_token")
				}
				if c.refresh {
					wantStatus(t, waysOut()["by refresh token"](h, dead, ""),
						http.StatusUnauthorized, "invalid_token")
				}
				for _, e := range h.log.Entries()[before:] {
					if e.Kind != revocation.KindSID || e.Value != h.claims(dead.str("access_token")).SessionID {
						t.Errorf("it ended more than its own session: %+v", e)
					}
				}
				wantStatus(t, h.refresh(fresh.str("refresh_token")), http.StatusOK, "")
			})
		})
	}
}

func (h *house) setField(sessionID, name, value string) {
	h.t.Helper()
	tag, unique, _ := strings.Cut(sessionID, "~")
	key := "{" + tag + "}:s:" + unique
	if err := h.redis.Universal().HSet(h.t.Context(), key, name, value).Err(); err != nil {
		h.t.Fatal(err)
	}
}

// TestADeadCredentialStillEndsItsOwnSession, as often as it is sent: that is all it can.
func TestADeadCredentialStillEndsItsOwnSession(t *testing.T) {
	eachRedis(t, func(t *testing.T, h *house) {
		a := h.login("alice")
		for range 3 {
			wantStatus(t, h.post("/logout", "", bearer(a.str("access_token"))), http.StatusOK, "")
			wantStatus(t, h.post("/logout", body("refresh_token", a.str("refresh_token"))),
				http.StatusOK, "")
		}
		if n := h.log.InLog(h.claims(a.str("access_token")).SessionID); n != 1 {
			t.Errorf("%d entries", n)
		}
	})
}

// TestALogOutEverywhereThatWasNotAcknowledgedIsTriedAgain with the credential that asked for it, at
// whichever issuer while it is not stored; what was stored meanwhile is acknowledged, and ends
// nothing that began since.
func TestALogOutEverywhereThatWasNotAcknowledgedIsTriedAgain(t *testing.T) {
	for _, by := range []string{"by access token", "by refresh token"} {
		for _, fault := range []string{"append", "lost"} {
			t.Run(by+" "+fault, func(t *testing.T) {
				eachRedis(t, func(t *testing.T, h *house) {
					a := h.login("alice")
					h.log.Fail(func(call string) error {
						if call == fault {
							return sessiontest.ErrInjected
						}
						return nil
					})
					want503(t, waysOut()[by](h, a, ""))
					h.log.Fail(nil)
					fresh := h.login("alice")
					wantStatus(t, waysOut()[by](h, a, ""), http.StatusOK, "")
					if h.log.InLog(h.claims(a.str("access_token")).SessionID) != 1 {
						t.Error("acknowledged, and not in the log once")
					}
					if fault == "lost" { // it was stored
						wantStatus(t, h.refresh(fresh.str("refresh_token")), http.StatusOK, "")
					}
					wantStatus(t, waysOut()[by](h, a, ""), http.StatusUnauthorized, "invalid_token")
				})
			})
		}
	}
}

// TestAnIssuerThatDoesNotKnowLogsNobodyOutEverywhere: with a copy of the log that is not fresh, the
// token may be revoked.
func TestAnIssuerThatDoesNotKnowLogsNobodyOutEverywhere(t *testing.T) {
	eachRedis(t, func(t *testing.T, h *house) {
		a := h.login("alice")
		h.log.Set(true, false, "era-1")
		for _, by := range []string{"by access token", "by refresh token"} {
			want503(t, waysOut()[by](h, a, ""))
		}
		wantStatus(t, h.post("/logout", "", bearer(a.str("access_token"))), http.StatusOK, "")
	})
}

// TestALogOutWithABodyThatSaysNothingIsOneWithoutABody: clients' libraries send {} or null for
// nothing, with whatever type.
func TestALogOutWithABodyThatSaysNothingIsOneWithoutABody(t *testing.T) {
	sessiontest.EachRedis(t, func(t *testing.T, c *redisconn.Client) {
		h := newHouse(t, c, nil)
		for _, text := range []string{"", "{}", "null", " {} ", "{ \r\n\t}", "null\n", "  "} {
			for _, kind := range []string{
				"", "application/json", "application/json; charset=utf-8", "application/x-www-form-urlencoded",
				"text/plain",
			} {
				for _, chunked := range []bool{false, true} {
					a := h.login("alice")
					out := h.post("/logout", text, bearer(a.str("access_token")), func(r *http.Request) {
						r.Header.Del("Content-Type")
						if kind != "" {
							r.Header.Set("Content-Type", kind)
						}
						if chunked {
							r.ContentLength = -1
						}
					})
					if out.status != http.StatusOK || h.log.InLog(h.claims(a.str("access_token")).SessionID) != 1 {
						t.Fatalf("%q as %q, chunked %t: %d %s", text, kind, chunked, out.status, out.text)
					}
				}
			}
		}
		a := h.login("alice")
		for _, text := range []string{"{}", "null"} {
			// no token at all
			wantStatus(t, h.post("/logout", text), http.StatusUnauthorized, "invalid_token")
		}
		for _, text := range []string{
			`{"refresh_token":""}`, `{"refresh_token":"` + a.str("refresh_token") + `"}`, "[]", `""`, "0",
			"false", "{}{}", "nul", "{", `{"a":1}`,
		} {
			wantStatus(t, h.post("/logout", text, bearer(a.str("access_token"))),
				http.StatusBadRequest, "invalid_request")
		}
		gzip := h.post("/logout", "{}x", bearer(a.str("access_token")),
			withHeader("Content-Encoding", "gzip"))
		wantStatus(t, gzip, http.StatusUnsupportedMediaType, "unsupported_media_type")
		plain := func(r *http.Request) { r.Header.Set("Content-Type", "text/plain") }
		wantStatus(t, h.post("/logout", body("refresh_token", a.str("refresh_token")), plain),
			http.StatusUnsupportedMediaType, "unsupported_media_type")
		wantStatus(t, h.post("/login", "{}", plain), http.StatusUnsupportedMediaType,
			"unsupported_media_type")
		if n := h.log.InLog(h.claims(a.str("access_token")).SessionID); n != 0 {
			t.Error("a request that was refused logged somebody out")
		}
	})
}

// activeKey is the key that has signed so far; the next one signs once it is revoked.
func activeKey(h *house, _ answer) string {
	next, err := signing.GenerateKey("ES256")
	if err != nil {
		h.t.Fatal(err)
	}
	h.keys.next = next
	return h.keys.private.ID()
}
