package issuer

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/sallyport/sallyport/internal/revocation"
)

// waysOut is every way to log a user out everywhere.
func waysOut() map[string]func(h *house, a answer, query string) answer {
	return map[string]func(h *house, a answer, query string) answer{
		"by access token": func(h *house, a answer, query string) answer {
			return h.post("/logout?everywhere=true"+query, "", bearer(a.str("access_token")))
		},
		"by refresh token": func(h *house, a answer, query string) answer {
			return h.post("/logout?everywhere=true"+query, body("refresh_token", a.str("refresh_token")))
		},
		"by operator": func(h *house, _ answer, query string) answer {
			return h.operate(http.MethodPost,
				"/admin/users/alice/logout?"+strings.TrimPrefix(query, "&"), "")
		},
		"by selector": func(h *house, _ answer, query string) answer {
			return h.operate(http.MethodPost,
				"/admin/revocations?"+strings.TrimPrefix(query, "&"),
				body("kind", "sub", "value", "alice"))
		},
	}
}

// TestLogOutEverywhereEndsEverySessionAndALoginRightAfterItWorks: the log's clock does not move in
// between.
func TestLogOutEverywhereEndsEverySessionAndALoginRightAfterItWorks(t *testing.T) {
	for name, logout := range waysOut() {
		t.Run(name, func(t *testing.T) {
			eachRedis(t, func(t *testing.T, h *house) {
				first, second, bob := h.login("alice"), h.login("alice"), h.login("bob")
				out := logout(h, first, "")
				wantStatus(t, out, http.StatusOK, "")
				after := h.login("alice")
				for _, a := range []answer{first, second} {
					if sid := h.claims(a.str("access_token")).SessionID; h.log.InLog(sid) != 1 {
						t.Errorf("%s is not revoked once", sid)
					}
					wantStatus(t, h.refresh(a.str("refresh_token")), http.StatusUnauthorized, "invalid_grant")
				}
				for _, a := range []answer{after, bob} {
					if sid := h.claims(a.str("access_token")).SessionID; h.log.InLog(sid) != 0 {
						t.Errorf("%s is revoked", sid)
					}
					wantStatus(t, h.refresh(a.str("refresh_token")), http.StatusOK, "")
				}
				// its end is acknowledged: it has no say in what has begun since
				if strings.Contains(name, "token") {
					wantStatus(t, logout(h, first, ""), http.StatusUnauthorized, "invalid_token")
				} else {
					wantStatus(t, logout(h, first, ""), http.StatusOK, "")
				}
				if out.json["revoked"] != true || out.json["seq"].(float64) < 3 {
					t.Errorf("got %s", out.text)
				}
			})
		})
	}
}

// TestEveryLogoutWaitsForGatesAlike: 200 with all of them, or 202 with the names of those behind;
// the revocation is stored either way.
func TestEveryLogoutWaitsForGatesAlike(t *testing.T) {
	ways := waysOut()
	ways["one session by access token"] = func(h *house, a answer, query string) answer {
		return h.post("/logout?"+query[1:], "", bearer(a.str("access_token")))
	}
	ways["one session by refresh token"] = func(h *house, a answer, query string) answer {
		return h.post("/logout?"+query[1:], body("refresh_token", a.str("refresh_token")))
	}
	ways["one session by selector"] = func(h *house, a answer, query string) answer {
		return h.operate(http.MethodPost, "/admin/revocations?"+query[1:],
			body("kind", "sid", "value", h.claims(a.str("access_token")).SessionID))
	}
	for name, logout := range ways {
		t.Run(name, func(t *testing.T) {
			h := onMiniredis(t, nil)
			h.log.SetApplied(revocation.Applied{Applied: 3, Total: 3})
			out := logout(h, h.login("alice"), "&wait=2s")
			wantStatus(t, out, http.StatusOK, "")
			if out.str("applied") != "3/3" || out.json["behind"] != nil || out.json["seq"] == nil {
				t.Errorf("got %s", out.text)
			}
			h.log.SetApplied(revocation.Applied{Applied: 1, Total: 3, Behind: []string{"gate-2", "gate-3"}})
			a := h.login("alice")
			out = logout(h, a, "&wait=2s")
			wantStatus(t, out, http.StatusAccepted, "")
			if behind, _ := out.json["behind"].([]any); out.str("applied") != "1/3" || len(behind) != 2 ||
				behind[1] != "gate-3" ||
				out.json["revoked"] != true {
				t.Errorf("got %s", out.text)
			}
			if h.log.InLog(h.claims(a.str("access_token")).SessionID) != 1 {
				t.Error("202, and not stored")
			}
			wantStatus(t, logout(h, a, "&wait=1h"), http.StatusBadRequest, "invalid_request")
		})
	}
}

// TestLogOutEverywhereWantsATokenInForce: neither a token that was found long after, nor one that
// is not ours, nor a slip in the parameter ends anything.
func TestLogOutEverywhereWantsATokenInForce(t *testing.T) {
	eachRedis(t, func(t *testing.T, h *house) {
		a := h.login("alice")
		access, refresh := a.str("access_token"), a.str("refresh_token")
		for _, text := range []string{"1", "yes", "TRUE", "true&everywhere=true"} {
			wantStatus(t, h.post("/logout?everywhere="+text, "", bearer(access)),
				http.StatusBadRequest, "invalid_request")
		}
		wantStatus(t, h.post("/logout?everywhere=true", ""), http.StatusUnauthorized, "invalid_token")
		wantStatus(t,
			h.post("/logout?everywhere=true", "", bearer(access[:len(access)-4]+"AAAA")),
			http.StatusUnauthorized, "invalid_token")
		wantStatus(t,
			h.post("/logout?everywhere=true", body("refresh_token", refresh[:len(refresh)-2]+"AA")),
			http.StatusUnauthorized, "invalid_token")
		wantStatus(t,
			h.post("/logout?everywhere=true", body("refresh_token", refresh), bearer(access)),
			http.StatusBadRequest, "invalid_request")
		h.log.Advance(2 * time.Hour)
		wantStatus(t, h.post("/logout?everywhere=true", "", bearer(access)),
			http.StatusUnauthorized, "invalid_token")
		if n := len(h.log.Entries()); n != 0 {
			t.Fatalf("%d entries", n)
		}
		wantStatus(t, h.refresh(refresh), http.StatusOK, "")
		// a spent one of a session that lives
		wantStatus(t, h.post("/logout?everywhere=true", body("refresh_token", refresh)),
			http.StatusOK, "")
	})
}
