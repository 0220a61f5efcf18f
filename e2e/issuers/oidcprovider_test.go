//go:build issuers

package issuers_test

import (
	"fmt"
	"net/http"
	"net/url"
	"path/filepath"
	"regexp"
	"strconv"
	"testing"
	"time"

	"github.com/sallyport/sallyport/internal/meshtest"
)

// startOIDCProvider: its access tokens are JWTs of RFC 9068 for a resource that asks for them.
func startOIDCProvider(t *testing.T) *issuer {
	const version = "9.13.3"
	dir := installed(t, "oidc-provider")
	port, keys, messages := freePort(t), filepath.Join(t.TempDir(), "keys.json"), receive(t)
	p := &oidcProvider{base: fmt.Sprintf("http://127.0.0.1:%d", port)}
	start := func(t *testing.T, env ...string) *server {
		// The server's life is the issuer's, whichever subtest starts it again.
		s := serve(t, "oidc-provider", append(env, "OIDC_PROVIDER="+dir), "node",
			filepath.Join(meshtest.Root(t), "e2e", "issuers", "servers", "oidc-provider.mjs"),
			strconv.Itoa(port), keys, messages.url+"/logout")
		s.answers(p.base + "/jwks")
		return s
	}
	running := start(t)
	outer := t
	entry := example(t, "issuers", "oidc-provider", "https://id.example.com", p.base)
	return &issuer{
		name: "oidc-provider", version: "oidc-provider " + version, iss: p.base,
		entry:    entry,
		variants: map[string]string{"discovery": discovering(entry)},
		sender:   example(t, "senders", "oidc-provider", "https://id.example.com", p.base),
		login:    func(t *testing.T, user string) handed { return p.login(t, user, "urn:orders") },
		machine:  p.client,
		wrong: []wrongToken{
			{"wrong audience", func(t *testing.T) string {
				return p.login(t, "alice", "urn:billing").access
			}, []string{"audience"}},
			{"ID token", func(t *testing.T) string { return p.login(t, "alice", "urn:orders").id },
				[]string{"typ"}},
			{"refresh token", func(t *testing.T) string { return p.login(t, "alice", "urn:orders").refresh },
				[]string{"segments"}},
		},
		rotate: func(t *testing.T) {
			running.stop()
			running = start(outer, "ROTATE=yes")
		},
		refresh:  p.refresh,
		channels: []string{backChannel},
		endings: []ending{
			{"user logs out", "`/session/end`", p.logOut, tellsByLogoutToken, ""},
			{"session deleted", "`session.destroy()` in code of one's own", func(t *testing.T, h handed) {
				send(t, plain, http.MethodDelete, p.base+"/operator/sessions/"+h.session, nil).ok(t)
			}, nil, ""},
			{"user disabled", "`findAccount` finds nobody any more", func(t *testing.T, h handed) {
				send(t, plain, http.MethodDelete, p.base+"/operator/accounts/"+h.subject, nil).ok(t)
			}, nil, ""},
			{"refresh token revoked", "`/token/revocation`", func(t *testing.T, h handed) {
				send(t, plain, http.MethodPost, p.base+"/token/revocation", url.Values{"token": {h.refresh}},
					basic("shop", "of-the-shop")).ok(t)
			}, nil, ""},
		},
		absent: map[string]string{
			"admin logs out":   "it has no administration; the operator's own code deletes sessions",
			"password changed": "it has no passwords; they are the operator's own",
		},
		revocable: []string{"jti", "sid", "kid", "sub", "client"},
		// ttl.Session, ttl.Grant and ttl.RefreshToken, by default.
		sessionLives: 14 * 24 * time.Hour,
		tokens: func(t *testing.T) map[string]string {
			h := p.login(t, "alice", "urn:orders")
			return map[string]string{
				"access": h.access, "id": h.id, "refresh": h.refresh,
				"access-refreshed": p.token(t, url.Values{
					"grant_type": {"refresh_token"}, "refresh_token": {h.refresh},
				}).Access,
				"access-client": p.client(t),
			}
		},
		documents: map[string]func(*testing.T) []byte{
			"jwks": at(p.base + "/jwks"), "discovery": at(p.base + "/.well-known/openid-configuration"),
		},
		messages: messages,
	}
}

type oidcProvider struct{ base string }

// login goes through the code flow, as the user that login_hint names.
func (p *oidcProvider) login(t *testing.T, user, resource string) handed {
	t.Helper()
	c := browser(t)
	asked := url.Values{
		"client_id": {"shop"}, "response_type": {"code"}, "redirect_uri": {p.base + "/cb"},
		"scope": {"openid offline_access orders:read"}, "login_hint": {user}, "state": {"some"},
		"resource": {resource},
	}
	page, back := follow(t, c, p.base+"/auth?"+asked.Encode(), p.base+"/cb")
	if back == nil || back.Query().Get("code") == "" {
		t.Fatalf("expected a code, got %v %d: %s", back, page.status, page.body)
	}
	a := p.token(t, url.Values{
		"grant_type": {"authorization_code"}, "code": {back.Query().Get("code")},
		"redirect_uri": {p.base + "/cb"},
	})
	return handed{
		access: a.Access, id: a.ID, refresh: a.Refresh, subject: user, session: claim(t, a.ID, "sid"),
		client: "shop", roles: rolesOf(user), browser: c,
	}
}

func (p *oidcProvider) token(t *testing.T, asked url.Values) (answer tokenAnswer) {
	t.Helper()
	send(t, plain, http.MethodPost, p.base+"/token", asked, basic("shop", "of-the-shop")).ok(t).
		json(t, &answer)
	return answer
}

// refresh returns a new access token of a session, "" when it gets none.
func (p *oidcProvider) refresh(t *testing.T, h handed) string {
	t.Helper()
	return refresh(t, p.base+"/token", h.refresh, basic("shop", "of-the-shop"))
}

// client returns the access token of a client on its own behalf.
func (p *oidcProvider) client(t *testing.T) string {
	t.Helper()
	return send(t, plain, http.MethodPost, p.base+"/token",
		url.Values{"grant_type": {"client_credentials"}, "scope": {"orders:read"}},
		basic("machine", "of-the-machine")).text(t, "access_token")
}

var logoutForm = regexp.MustCompile(`name="xsrf" value="([^"]*)"`)

// logOut is what a user does who goes to the page for logging out, and says yes.
func (p *oidcProvider) logOut(t *testing.T, h handed) {
	t.Helper()
	page := send(t, h.browser, http.MethodGet,
		p.base+"/session/end?"+url.Values{"id_token_hint": {h.id}}.Encode(), nil)
	found := logoutForm.FindSubmatch(page.body)
	if found == nil {
		t.Fatalf("expected a form, got %d: %s", page.status, page.body)
	}
	done := send(t, h.browser, http.MethodPost, p.base+"/session/end/confirm",
		url.Values{"xsrf": {string(found[1])}, "logout": {"yes"}})
	if done.status/100 != 3 && done.status != http.StatusOK {
		t.Fatalf("logging out: %d: %s", done.status, done.body)
	}
}
