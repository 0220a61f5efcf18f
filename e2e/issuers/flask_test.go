//go:build issuers

package issuers_test

import (
	"crypto/rand"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"testing"

	"github.com/sallyport/sallyport/internal/meshtest"
)

const flaskVersion, pyjwtVersion = "4.7.4", "2.15.1"

// startPython starts servers/flask_app.py, and returns its base URL and the file with its secret.
func startPython(t *testing.T) (base, secret string) {
	t.Helper()
	dir := installed(t, "flask")
	port := freePort(t)
	secret = filepath.Join(t.TempDir(), "secret")
	newSecret(t, secret)
	base = fmt.Sprintf("http://127.0.0.1:%d", port)
	s := serve(t, "flask", nil, filepath.Join(dir, "bin", "python"),
		filepath.Join(meshtest.Root(t), "e2e", "issuers", "servers", "flask_app.py"),
		strconv.Itoa(port), secret)
	s.answers(base + "/pyjwt/jwks.json")
	return base, secret
}

func newSecret(t *testing.T, file string) {
	t.Helper()
	if err := os.WriteFile(file, []byte(rand.Text()+rand.Text()+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
}

// startFlask: HS256 without kid, one secret that the gate holds too.
func startFlask(t *testing.T) *issuer {
	base, secret := startPython(t)
	login := func(t *testing.T, user string) (answer struct {
		Access    string `json:"access_token"`
		Refresh   string `json:"refresh_token"`
		Elsewhere string `json:"elsewhere"`
		Minimal   string `json:"minimal"`
	}) {
		t.Helper()
		send(t, plain, http.MethodPost, base+"/flask/login", map[string]string{"user": user}).
			ok(t).json(t, &answer)
		return answer
	}
	return &issuer{
		name: "flask", version: "Flask-JWT-Extended " + flaskVersion, iss: base + "/flask",
		entry: example(t, "issuers", "flask-jwt-extended", "https://shop.example.com", base+"/flask",
			"/etc/sallyport/flask_jwt_secret_key", secret),
		login: func(t *testing.T, user string) handed {
			a := login(t, user)
			return handed{
				access: a.Access, refresh: a.Refresh, subject: user, roles: rolesOf(user),
			}
		},
		wrong: []wrongToken{
			{"wrong audience", func(t *testing.T) string { return login(t, "alice").Elsewhere },
				[]string{"audience"}},
			{"refresh token", func(t *testing.T) string { return login(t, "alice").Refresh },
				[]string{"claim_required", "lifetime"}},
		},
		rotate: func(t *testing.T) {
			newSecret(t, secret)
			send(t, plain, http.MethodPost, base+"/flask/rotate", nil).ok(t)
		},
		revocable: []string{"jti", "sub"},
		tokens: func(t *testing.T) map[string]string {
			a := login(t, "alice")
			fresh := send(t, plain, http.MethodPost, base+"/flask/refresh", nil,
				"Authorization: Bearer "+a.Refresh)
			return map[string]string{
				"access": a.Access, "refresh": a.Refresh, "access-minimal": a.Minimal,
				"access-refreshed": fresh.text(t, "access_token"),
			}
		},
	}
}

// rolesOf are the roles that every issuer here gives the users of the tests.
func rolesOf(user string) []string {
	if user == "alice" {
		return []string{"admin", "user"}
	}
	return []string{"user"}
}

// startPyJWT: ES256 with kid, and what else the library writes by itself.
func startPyJWT(t *testing.T) *issuer {
	base, _ := startPython(t)
	token := func(t *testing.T, asked map[string]any) string {
		t.Helper()
		return send(t, plain, http.MethodPost, base+"/pyjwt/token", asked).text(t, "access_token")
	}
	return &issuer{
		name: "pyjwt", version: "PyJWT " + pyjwtVersion, iss: base + "/pyjwt",
		entry: example(t, "issuers", "pyjwt", "https://shop.example.com", base+"/pyjwt"),
		login: func(t *testing.T, user string) handed {
			access := token(t, map[string]any{"user": user})
			return handed{
				access: access, subject: user, session: claim(t, access, "sid"), client: "shop",
				roles: rolesOf(user),
			}
		},
		wrong: []wrongToken{
			{"wrong audience", func(t *testing.T) string {
				return token(t, map[string]any{"user": "alice", "audience": "billing"})
			}, []string{"audience"}},
			{"no audience", func(t *testing.T) string {
				return token(t, map[string]any{"user": "alice", "claims": map[string]any{"aud": []string{}}})
			}, []string{"audience_missing", "audience"}},
			{"crit", func(t *testing.T) string {
				return token(t, map[string]any{
					"user": "alice", "headers": map[string]any{"crit": []string{"exp"}, "exp": 1},
				})
			}, []string{"header_crit"}},
			{"bound to a key", func(t *testing.T) string {
				cnf := map[string]string{"jkt": "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I"}
				return token(t, map[string]any{"user": "alice", "claims": map[string]any{"cnf": cnf}})
			}, []string{"token_bound"}},
		},
		rotate: func(t *testing.T) {
			send(t, plain, http.MethodPost, base+"/pyjwt/rotate", nil).ok(t)
		},
		revocable: []string{"jti", "sid", "kid", "sub", "client"},
		tokens: func(t *testing.T) map[string]string {
			return map[string]string{
				"access":       token(t, map[string]any{"user": "alice"}),
				"access-rs256": token(t, map[string]any{"user": "alice", "algorithm": "RS256"}),
				"access-eddsa": token(t, map[string]any{"user": "alice", "algorithm": "EdDSA"}),
				"access-fractional": token(t, map[string]any{
					"user": "alice", "claims": map[string]any{"iat": 1790000000.25, "exp": 1790000900.5},
				}),
			}
		},
		documents: map[string]func(*testing.T) []byte{"jwks": at(base + "/pyjwt/jwks.json")},
	}
}
