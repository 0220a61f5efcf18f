//go:build issuers

package issuers_test

import (
	"crypto/rand"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// startHydra: with the JWT strategy for access tokens. Login and consent, which are the operator's
// own programs, are played by the test.
func startHydra(t *testing.T) *issuer {
	const version = "v2.3.0"
	program := filepath.Join(installed(t, "hydra"), "hydra")
	public, admin, messages := freePort(t), freePort(t), receive(t)
	h := &hydra{
		public: fmt.Sprintf("http://127.0.0.1:%d", public),
		admin:  fmt.Sprintf("http://127.0.0.1:%d", admin), app: messages.url + "/app",
	}
	config := filepath.Join(t.TempDir(), "hydra.yaml")
	content := fmt.Sprintf(`
dsn: memory
serve:
  public: {host: 127.0.0.1, port: %d}
  admin: {host: 127.0.0.1, port: %d}
urls:
  self: {issuer: "%s"}
  login: %[4]s/login
  consent: %[4]s/consent
  logout: %[4]s/logout
  post_logout_redirect: %[4]s/bye
strategies: {access_token: jwt}
secrets: {system: [%s]}
`, public, admin, h.public, h.app, rand.Text())
	if err := os.WriteFile(config, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	s := serve(t, "hydra", nil, program, "serve", "all", "--dev", "--sqa-opt-out", "-c", config)
	s.answers(h.admin + "/health/ready")
	for name, client := range map[string]map[string]any{
		"shop": {
			"grant_types":   []string{"authorization_code", "refresh_token"},
			"redirect_uris": []string{h.app + "/cb"}, "response_types": []string{"code"},
			"backchannel_logout_uri":              messages.url + "/logout",
			"backchannel_logout_session_required": true,
		},
		"machine": {"grant_types": []string{"client_credentials"}},
	} {
		client["client_id"], client["client_secret"] = name, "secret-of-"+name
		client["scope"] = "openid offline_access orders:read"
		client["audience"] = []string{"orders", "billing"}
		send(t, plain, http.MethodPost, h.admin+"/admin/clients", client).ok(t)
	}
	entry := example(t, "issuers", "hydra", "https://hydra.example.com", h.public)
	return &issuer{
		name: "hydra", version: "Hydra " + version, iss: h.public,
		entry:    entry,
		variants: map[string]string{"discovery": discovering(entry)},
		sender:   example(t, "senders", "hydra", "https://hydra.example.com", h.public),
		login:    func(t *testing.T, user string) handed { return h.login(t, user, "orders") },
		machine:  h.client,
		wrong: []wrongToken{
			{"wrong audience", func(t *testing.T) string { return h.login(t, "alice", "billing").access },
				[]string{"audience"}},
			{"no audience", func(t *testing.T) string { return h.login(t, "alice", "").access },
				[]string{"audience", "audience_missing"}},
			{"ID token", func(t *testing.T) string { return h.login(t, "alice", "orders").id },
				[]string{"audience", "claim_required"}},
			{"refresh token", func(t *testing.T) string { return h.login(t, "alice", "orders").refresh },
				[]string{"segments"}},
		},
		rotate: func(t *testing.T) {
			for _, set := range []string{"hydra.jwt.access-token", "hydra.openid.id-token"} {
				send(t, plain, http.MethodPost, h.admin+"/admin/keys/"+set,
					map[string]string{"alg": "RS256", "use": "sig", "kid": rand.Text()}).ok(t)
			}
		},
		refresh: func(t *testing.T, l handed) string {
			return refresh(t, h.public+"/oauth2/token", l.refresh, basic("shop", "secret-of-shop"))
		},
		channels: []string{backChannel},
		repeats:  true,
		endings: []ending{
			{"user logs out", "`/oauth2/sessions/logout`", h.logOut, tellsByLogoutToken, ""},
			{"admin logs out", "`DELETE /admin/oauth2/auth/sessions/login?subject=`",
				func(t *testing.T, l handed) {
					h.delete(t, "/admin/oauth2/auth/sessions/login?subject="+l.subject)
				}, nil, ""},
			{"session deleted", "`DELETE /admin/oauth2/auth/sessions/login?sid=`",
				func(t *testing.T, l handed) {
					h.delete(t, "/admin/oauth2/auth/sessions/login?sid="+url.QueryEscape(l.session))
				}, tellsByLogoutToken, ""},
			{"refresh token revoked", "`/oauth2/revoke`", func(t *testing.T, l handed) {
				send(t, plain, http.MethodPost, h.public+"/oauth2/revoke", url.Values{"token": {l.refresh}},
					basic("shop", "secret-of-shop")).ok(t)
			}, nil, ""},
			{"consent revoked", "`DELETE /admin/oauth2/auth/sessions/consent?all=true&subject=`",
				func(t *testing.T, l handed) {
					h.delete(t, "/admin/oauth2/auth/sessions/consent?all=true&subject="+l.subject)
				}, nil, ""},
		},
		absent: map[string]string{
			"user disabled":    "it has no users; they are the operator's own",
			"password changed": "it has no passwords; they are the operator's own",
		},
		revocable: []string{"jti", "sid", "kid", "sub", "client"},
		// ttl.refresh_token, by default; each refresh begins it anew.
		sessionLives: 720 * time.Hour,
		tokens: func(t *testing.T) map[string]string {
			l := h.login(t, "alice", "orders")
			return map[string]string{
				"access": l.access, "id": l.id, "refresh": l.refresh,
				"access-no-audience": h.login(t, "bob", "").access,
				"access-refreshed": h.token(t, "shop", url.Values{
					"grant_type": {"refresh_token"}, "refresh_token": {l.refresh},
				}).Access,
				"access-client": h.client(t),
			}
		},
		documents: map[string]func(*testing.T) []byte{
			"jwks":      at(h.public + "/.well-known/jwks.json"),
			"discovery": at(h.public + "/.well-known/openid-configuration"),
		},
		messages: messages,
	}
}

type hydra struct{ public, admin, app string }

// login goes through the code flow. The login session's id is put into the access token, so that
// a session can be revoked.
func (h *hydra) login(t *testing.T, user, audience string) handed {
	t.Helper()
	c := browser(t)
	asked := url.Values{
		"client_id": {"shop"}, "response_type": {"code"}, "redirect_uri": {h.app + "/cb"},
		"scope": {"openid offline_access orders:read"}, "state": {"of-eight-or-more"},
		"audience": {audience},
	}
	to := h.sent(t, c, h.public+"/oauth2/auth?"+asked.Encode())
	to = h.accept(t, "login", to.Query().Get("login_challenge"),
		map[string]any{"subject": user, "remember": true, "remember_for": 3600})
	to = h.sent(t, c, to.String())

	challenge := to.Query().Get("consent_challenge")
	session := send(t, plain, http.MethodGet,
		h.admin+"/admin/oauth2/auth/requests/consent?consent_challenge="+url.QueryEscape(challenge), nil).
		text(t, "login_session_id")
	granted := map[string]any{
		"grant_scope": []string{"openid", "offline_access", "orders:read"},
		"session": map[string]any{
			"access_token": map[string]any{"roles": rolesOf(user), "sid": session},
		},
	}
	if audience != "" {
		granted["grant_access_token_audience"] = []string{audience}
	}
	to = h.sent(t, c, h.accept(t, "consent", challenge, granted).String())
	a := h.token(t, "shop", url.Values{
		"grant_type": {"authorization_code"}, "code": {to.Query().Get("code")},
		"redirect_uri": {h.app + "/cb"},
	})
	return handed{
		access: a.Access, id: a.ID, refresh: a.Refresh, subject: user, session: session,
		client: "shop", roles: rolesOf(user), browser: c,
	}
}

// sent goes where Hydra sends a browser, until it is sent to the operator's own program.
func (h *hydra) sent(t *testing.T, c *http.Client, at string) *url.URL {
	t.Helper()
	page, to := follow(t, c, at, h.app)
	if to == nil || to.Query().Get("error") != "" {
		t.Fatalf("expected to be sent back, got %v %d: %s", to, page.status, page.body)
	}
	return to
}

// accept says yes to a challenge, and returns where the browser is to go on.
func (h *hydra) accept(t *testing.T, what, challenge string, answer any) *url.URL {
	t.Helper()
	to := send(t, plain, http.MethodPut, h.admin+"/admin/oauth2/auth/requests/"+what+"/accept?"+what+
		"_challenge="+url.QueryEscape(challenge), answer).text(t, "redirect_to")
	address, err := url.Parse(to)
	if err != nil {
		t.Fatal(err)
	}
	return address
}

func (h *hydra) token(t *testing.T, client string, asked url.Values) (answer tokenAnswer) {
	t.Helper()
	send(t, plain, http.MethodPost, h.public+"/oauth2/token", asked,
		basic(client, "secret-of-"+client)).ok(t).json(t, &answer)
	return answer
}

// client returns the access token of a client on its own behalf.
func (h *hydra) client(t *testing.T) string {
	t.Helper()
	return h.token(t, "machine", url.Values{
		"grant_type": {"client_credentials"}, "scope": {"orders:read"}, "audience": {"orders"},
	}).Access
}

func (h *hydra) delete(t *testing.T, path string) {
	t.Helper()
	send(t, plain, http.MethodDelete, h.admin+path, nil).ok(t)
}

// logOut is what a user does who logs out at the shop.
func (h *hydra) logOut(t *testing.T, l handed) {
	t.Helper()
	to := h.sent(t, l.browser, h.public+"/oauth2/sessions/logout?"+
		url.Values{"id_token_hint": {l.id}, "state": {"some"}}.Encode())
	if challenge := to.Query().Get("logout_challenge"); challenge != "" {
		h.sent(t, l.browser, h.accept(t, "logout", challenge, map[string]any{}).String())
	}
}
