package issuer

import (
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sallyport/sallyport/internal/credential"
	"github.com/sallyport/sallyport/internal/redisconn"
	"github.com/sallyport/sallyport/internal/revocation"
	"github.com/sallyport/sallyport/internal/session/sessiontest"
)

func TestLoginGivesAPairThatAGateAccepts(t *testing.T) {
	eachRedis(t, func(t *testing.T, h *house) {
		h.log.Advance(90 * time.Second)
		a := h.login("alice")
		now, _ := h.log.Time()
		if a.str("token_type") != "Bearer" || a.json["expires_in"] != 3600.0 ||
			a.json["refresh_expires_in"] != 2592000.0 ||
			a.str("scope") != "read write" {
			t.Errorf("got %s", a.text)
		}
		if a.header.Get("Cache-Control") != "no-store" ||
			a.header.Get("Content-Type") != "application/json" {
			t.Errorf("got headers %v", a.header)
		}
		c := h.claims(a.str("access_token"))
		if c.Issuer != issuerURL || c.Subject != "alice" || !slices.Equal(c.Audience, []string{"api"}) ||
			c.ClientID != "sallyport" ||
			c.Tenant != "acme" {
			t.Errorf("got claims %+v", c)
		}
		if !slices.Equal(c.Roles, []string{"admin", "dev"}) ||
			!slices.Equal(c.Scope, []string{"read", "write"}) ||
			!slices.Equal(c.AMR, []string{"pwd"}) {
			t.Errorf("got claims %+v", c)
		}
		if c.IssuedAt != now.Unix() || c.Expiry != now.Unix()+3600 || c.AuthTime != now.Unix() {
			t.Errorf("got times %d, %d, %d, expected the log's %d", c.IssuedAt, c.Expiry,
				c.AuthTime, now.Unix())
		}
		if c.ID == "" || !strings.HasPrefix(a.str("refresh_token"), c.SessionID+".1.") {
			t.Errorf("the session %q is not the refresh token's", c.SessionID)
		}
	})
}

func TestAnyOtherLoginIsRefused(t *testing.T) {
	eachRedis(t, func(t *testing.T, h *house) {
		wrong := h.post("/login", body("username", "alice", "password", "wrong"))
		wantStatus(t, wrong, http.StatusUnauthorized, "invalid_credentials")
		h.users.set("bob", func(u *credential.User) { u.Disabled = true })
		for name, other := range map[string]answer{
			"unknown name": h.post("/login", body("username", "mallory", "password", "wrong")),
			"no name":      h.post("/login", body("username", "no such name can be", "password", password)),
		} {
			other.header.Del("Date")
			wrong.header.Del("Date")
			if other.status != wrong.status || other.text != wrong.text ||
				!equalHeaders(other.header, wrong.header) {
				t.Errorf("%s: the answer differs from that to a wrong password: %d %s %v", name,
					other.status, other.text, other.header)
			}
		}
	})
}

func equalHeaders(a, b http.Header) bool {
	if len(a) != len(b) {
		return false
	}
	for name := range a {
		if !slices.Equal(a[name], b[name]) {
			return false
		}
	}
	return true
}

func TestRefreshGivesANewPairAndSpendsTheOldToken(t *testing.T) {
	eachRedis(t, func(t *testing.T, h *house) {
		first := h.login("alice")
		h.log.Advance(10 * time.Minute)
		second := h.refresh(first.str("refresh_token"))
		wantStatus(t, second, http.StatusOK, "")
		was, is := h.claims(first.str("access_token")), h.claims(second.str("access_token"))
		if is.ID == was.ID || is.SessionID != was.SessionID || is.AuthTime != was.AuthTime ||
			is.IssuedAt != was.IssuedAt+600 {
			t.Errorf("got %+v after %+v", is, was)
		}
		if second.json["refresh_expires_in"] != 2592000.0-600 {
			t.Errorf("the session was prolonged: %v", second.json["refresh_expires_in"])
		}
		h.log.Advance(11 * time.Second)
		wantStatus(t, h.refresh(first.str("refresh_token")), http.StatusUnauthorized, "invalid_grant")
		wantStatus(t, h.refresh(second.str("refresh_token")), http.StatusUnauthorized, "invalid_grant")
		if h.log.InLog(was.SessionID) != 1 {
			t.Error("reuse did not revoke the session")
		}
		if !strings.Contains(h.audited.String(), `"event":"reuse"`) {
			t.Error("the audit log does not name the reuse")
		}
	})
}

func TestAnAccessTokenNeverOutlivesItsSession(t *testing.T) {
	eachRedis(t, func(t *testing.T, h *house) {
		a := h.login("alice")
		h.log.Advance(720*time.Hour - 10*time.Minute)
		b := h.refresh(a.str("refresh_token"))
		wantStatus(t, b, http.StatusOK, "")
		if b.json["expires_in"] != 600.0 || b.json["refresh_expires_in"] != 600.0 {
			t.Errorf("got %v and %v, expected the session's last 600 seconds",
				b.json["expires_in"], b.json["refresh_expires_in"])
		}
	})
}

func TestRefreshSeesTheUserAsItIsNow(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*credential.User)
		ends   bool
		roles  []string
		scope  []string
	}{
		"a role and a scope less": {
			change: func(u *credential.User) { u.Roles, u.Scopes = []string{"dev"}, []string{"write"} },
			roles:  []string{"dev"}, scope: []string{"write"},
		},
		"scopes do not widen": {
			change: func(u *credential.User) { u.Scopes = []string{"admin", "read", "write"} },
			roles:  []string{"admin", "dev"}, scope: []string{"read", "write"},
		},
		"disabled": {change: func(u *credential.User) { u.Disabled = true }, ends: true},
		"moved to another tenant": {
			change: func(u *credential.User) { u.Tenant = "umbrella" }, ends: true,
		},
	} {
		t.Run(name, func(t *testing.T) {
			eachRedis(t, func(t *testing.T, h *house) {
				a := h.login("alice")
				before := h.users.known["alice"]
				h.users.set("alice", c.change)
				b := h.refresh(a.str("refresh_token"))
				if !c.ends {
					wantStatus(t, b, http.StatusOK, "")
					got := h.claims(b.str("access_token"))
					if !slices.Equal(got.Roles, c.roles) || !slices.Equal(got.Scope, c.scope) {
						t.Errorf("got roles %q and scope %q", got.Roles, got.Scope)
					}
					return
				}
				wantStatus(t, b, http.StatusUnauthorized, "invalid_grant")
				h.users.set("alice", func(u *credential.User) { *u = before })
				wantStatus(t, h.refresh(a.str("refresh_token")), http.StatusUnauthorized, "invalid_grant")
				if h.log.InLog(h.claims(a.str("access_token")).SessionID) != 1 {
					t.Error("the session's access tokens live on")
				}
			})
		})
	}
}

func TestRefreshTakesRefreshTokensOnly(t *testing.T) {
	eachRedis(t, func(t *testing.T, h *house) {
		a := h.login("alice")
		for name, wrong := range map[string]string{
			"access token": a.str("access_token"),
			"cut":          a.str("refresh_token")[:40],
			"flipped":      strings.Replace(a.str("refresh_token"), ".1.", ".2.", 1),
			"nonsense":     "x",
		} {
			refused := h.refresh(wrong)
			wantStatus(t, refused, http.StatusUnauthorized, "invalid_grant")
			if refused.header.Get("WWW-Authenticate") == "" {
				t.Errorf("%s: a 401 without a challenge", name)
			}
		}
		wantStatus(t, h.refresh(a.str("refresh_token")), http.StatusOK, "")
	})
}

func TestLogoutEndsTheSessionByEitherToken(t *testing.T) {
	for name, logout := range map[string]func(h *house, a answer) answer{
		"access token": func(h *house, a answer) answer {
			return h.post("/logout", "", bearer(a.str("access_token")))
		},
		"refresh token": func(h *house, a answer) answer {
			return h.post("/logout", body("refresh_token", a.str("refresh_token")))
		},
	} {
		t.Run(name, func(t *testing.T) {
			eachRedis(t, func(t *testing.T, h *house) {
				a, other := h.login("alice"), h.login("alice")
				out := logout(h, a)
				wantStatus(t, out, http.StatusOK, "")
				if out.json["revoked"] != true || out.json["seq"].(float64) < 1 {
					t.Errorf("got %s", out.text)
				}
				if _, ok := out.json["applied"]; ok {
					t.Errorf("nobody asked to wait: %s", out.text)
				}
				sid := h.claims(a.str("access_token")).SessionID
				if h.log.InLog(sid) != 1 {
					t.Fatal("acknowledged, and not in the log")
				}
				wantStatus(t, h.refresh(a.str("refresh_token")), http.StatusUnauthorized, "invalid_grant")
				wantStatus(t, logout(h, a), http.StatusOK, "")
				h.log.Advance(48 * time.Hour) // the access token has expired long ago
				wantStatus(t, logout(h, a), http.StatusOK, "")
				wantStatus(t, h.refresh(other.str("refresh_token")), http.StatusOK, "")
			})
		})
	}
}

func TestLogoutWantsOneGenuineToken(t *testing.T) {
	eachRedis(t, func(t *testing.T, h *house) {
		a := h.login("alice")
		access, refresh := a.str("access_token"), a.str("refresh_token")
		forger := newKeys(t)
		claims, err := h.claims(access).Marshal()
		if err != nil {
			t.Fatal(err)
		}
		forged, err := forger.Sign("at+jwt", claims)
		if err != nil {
			t.Fatal(err)
		}
		idToken, err := h.keys.Sign("JWT", claims)
		if err != nil {
			t.Fatal(err)
		}
		foreign := h.claims(access)
		foreign.Issuer += "/other"
		foreignClaims, err := foreign.Marshal()
		if err != nil {
			t.Fatal(err)
		}
		foreignToken, err := h.keys.Sign("at+jwt", foreignClaims)
		if err != nil {
			t.Fatal(err)
		}
		for name, c := range map[string]struct {
			body    string
			options []option
			status  int
			code    string
		}{
			"none":                {"", nil, 401, "invalid_token"},
			"empty object":        {"{}", nil, 401, "invalid_token"},
			"empty refresh token": {`{"refresh_token":""}`, nil, 401, "invalid_token"},
			"empty bearer": {
				"", []option{withHeader("Authorization", "Bearer ")}, 401, "invalid_token",
			},
			"another scheme": {
				"", []option{withHeader("Authorization", "Basic YTpi")}, 401, "invalid_token",
			},
			"no scheme":         {"", []option{withHeader("Authorization", access)}, 401, "invalid_token"},
			"refresh as bearer": {"", []option{bearer(refresh)}, 401, "invalid_token"},
			"access as refresh": {body("refresh_token", access), nil, 401, "invalid_token"},
			"another key":       {"", []option{bearer(forged)}, 401, "invalid_token"},
			"no access token":   {"", []option{bearer(idToken)}, 401, "invalid_token"},
			"another issuer":    {"", []option{bearer(foreignToken)}, 401, "invalid_token"},
			"unsigned": {
				"", []option{bearer(access[:strings.LastIndex(access, ".")+1])}, 401, "invalid_token",
			},
			"a bit changed": {"", []option{bearer(flip(access))}, 401, "invalid_token"},
			"bearer twice":  {"", []option{bearer(access), bearer(access)}, 400, "invalid_request"},
			"bearer and body": {
				body("refresh_token", refresh), []option{bearer(access)}, 400, "invalid_request",
			},
			"bearer and no token": {
				`{"refresh_token":""}`, []option{bearer(access)}, 400, "invalid_request",
			},
		} {
			got := h.post("/logout", c.body, c.options...)
			if got.status != c.status || got.str("error") != c.code {
				t.Errorf("%s: expected %d %s, got %d %s", name, c.status, c.code, got.status, got.text)
			}
			if got.status == 401 && !strings.HasPrefix(got.header.Get("WWW-Authenticate"), "Bearer ") {
				t.Errorf("%s: a 401 without a Bearer challenge", name)
			}
		}
		if len(h.log.Entries()) != 0 {
			t.Error("something was revoked")
		}
		wantStatus(t, h.refresh(refresh), http.StatusOK, "")
	})
}

// flip changes one bit in the middle of a token's signature.
func flip(access string) string {
	b := []byte(access)
	i := len(b) - 40
	if b[i] == 'A' {
		b[i] = 'B'
	} else {
		b[i] = 'A'
	}
	return string(b)
}

func TestAKeyThatWasRevokedLogsNobodyOut(t *testing.T) {
	eachRedis(t, func(t *testing.T, h *house) {
		a := h.login("alice")
		out := h.do(http.MethodPost, h.admin+"/admin/revocations",
			body("kind", "kid", "value", h.keys.private.ID()), bearer(adminToken))
		wantStatus(t, out, http.StatusOK, "")
		wantStatus(t, h.post("/logout", "", bearer(a.str("access_token"))),
			http.StatusUnauthorized, "invalid_token")
		wantStatus(t, h.post("/logout", body("refresh_token", a.str("refresh_token"))), http.StatusOK, "")
	})
}

func TestARevokedIssuerCanStillLogItsUsersOut(t *testing.T) {
	eachRedis(t, func(t *testing.T, h *house) {
		before := h.login("alice")
		out := h.operate(http.MethodPost, "/admin/revocations", body("kind", "iss", "issuer", issuerURL))
		wantStatus(t, out, http.StatusOK, "")
		h.log.Advance(time.Second)
		for _, a := range []answer{before, h.login("alice")} {
			wantStatus(t, h.post("/logout", "", bearer(a.str("access_token"))), http.StatusOK, "")
			if h.log.InLog(h.claims(a.str("access_token")).SessionID) != 1 {
				t.Error("the session is not revoked")
			}
		}
		wantStatus(t,
			h.post("/logout?everywhere=true", "", bearer(h.login("alice").str("access_token"))),
			http.StatusOK, "")
	})
}

func TestLogoutWaitsForGatesWhenAsked(t *testing.T) {
	eachRedis(t, func(t *testing.T, h *house) {
		a := h.login("alice")
		h.log.SetApplied(revocation.Applied{Applied: 3, Total: 3})
		out := h.post("/logout?wait=2s", "", bearer(a.str("access_token")))
		wantStatus(t, out, http.StatusOK, "")
		if out.str("applied") != "3/3" {
			t.Errorf("got %s", out.text)
		}
		h.log.SetApplied(revocation.Applied{Applied: 2, Total: 3, Behind: []string{"gate-2"}})
		out = h.post("/logout?wait=2s", "", bearer(a.str("access_token")))
		wantStatus(t, out, http.StatusAccepted, "")
		if behind, _ := out.json["behind"].([]any); out.str("applied") != "2/3" || len(behind) != 1 ||
			behind[0] != "gate-2" ||
			out.json["revoked"] != true {
			t.Errorf("got %s", out.text)
		}
		for _, wait := range []string{"", "2", "-2s", "0s", "11s", "1h", "x", "2s&wait=2s"} {
			wantStatus(t, h.post("/logout?wait="+wait, "", bearer(a.str("access_token"))),
				http.StatusBadRequest, "invalid_request")
		}
	})
}

func TestALoginThatCrossesALogOutEverywhereChecksThePasswordAgain(t *testing.T) {
	sessiontest.EachRedis(t, func(t *testing.T, c *redisconn.Client) {
		h := newHouse(t, c, nil)
		old := h.login("alice")
		checks := 0
		h.users.onVerify = func() {
			if checks++; checks == 1 {
				if _, err := h.server.sessions.EndAll(t.Context(), "alice", "admin", ""); err != nil {
					t.Error(err)
				}
			}
		}
		a := h.login("alice")
		if checks != 2 {
			t.Errorf("the password was checked %d times", checks)
		}
		h.users.onVerify = nil
		wantStatus(t, h.refresh(old.str("refresh_token")), http.StatusUnauthorized, "invalid_grant")
		wantStatus(t, h.refresh(a.str("refresh_token")), http.StatusOK, "")
	})
}

func TestALoginFindsTheUserUnderEverySpelling(t *testing.T) {
	eachRedis(t, func(t *testing.T, h *house) {
		for _, name := range []string{"alice", " Alice ", "ＡＬＩＣＥ"} {
			if c := h.claims(h.login(name).str("access_token")); c.Subject != "alice" {
				t.Errorf("%q: subject %q", name, c.Subject)
			}
		}
		if done, err := h.server.sessions.EndAll(t.Context(), "alice", "admin", ""); err != nil ||
			done.Sessions != 3 {
			t.Errorf("expected three sessions of one user, got %+v, %v", done, err)
		}
	})
}

// TestAnAccountKeepsAHundredSessions unless the settings say otherwise: each further login ends the
// oldest, also its access tokens, and what its logins leave in Redis is bounded with them.
func TestAnAccountKeepsAHundredSessions(t *testing.T) {
	h := onMiniredis(t, nil)
	first := h.login("alice")
	bob := h.login("bob")
	var second answer
	for n := range 100 {
		h.log.Advance(time.Millisecond)
		if a := h.login("alice"); n == 0 {
			second = a
		}
	}
	wantStatus(t, h.refresh(first.str("refresh_token")), http.StatusUnauthorized, "invalid_grant")
	if h.log.InLog(h.claims(first.str("access_token")).SessionID) != 1 {
		t.Error("the oldest session's access token lives on")
	}
	wantStatus(t, h.refresh(second.str("refresh_token")), http.StatusOK, "")
	wantStatus(t, h.refresh(bob.str("refresh_token")), http.StatusOK, "")
	if _, total, err := h.server.sessions.List(t.Context(), "alice", 1); err != nil || total != 100 {
		t.Errorf("%d sessions live, %v", total, err)
	}
}
