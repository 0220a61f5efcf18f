package authz_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/sallyport/sallyport/authz/authztest"
	"github.com/sallyport/sallyport/internal/jose"
	"github.com/sallyport/sallyport/internal/jose/josetest"
	"github.com/sallyport/sallyport/internal/token"
)

// shape is a token in the spelling that is reported of an issuer's: header and claims stand to the
// letter, signed with keys of our own.
type shape struct {
	name   string
	entry  string // the issuer's entry in YAML, less where its keys are
	header string
	claims string
	// one of both: what a gate knows of who calls, or why it refuses
	who    string
	reason token.Reason
}

// sharedSecret is that of HS256 tokens.
const sharedSecret = "0123456789 abcdefghij KLMNOPQRST"

// load writes the entry into a file and loads it as a gate does.
func (s shape) load(t *testing.T, alg string) token.Profile {
	t.Helper()
	keys := "jwks_url: https://keys.example.com/jwks.json"
	if strings.HasPrefix(alg, "HS") {
		keys = "secret_file: secret"
	}
	lines := append(strings.Split(strings.TrimSpace(s.entry), "\n"), keys)
	file := filepath.Join(t.TempDir(), "authz.yaml")
	text := "issuers:\n  - " + strings.Join(lines, "\n    ") + "\n"
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return loadIssuer(t, file).Profile
}

// keyFor returns a key as a header names it, and what signs tokens with it.
func keyFor(t *testing.T, header string) (*jose.PublicKey, func(header, claims string) string) {
	t.Helper()
	var h struct{ Alg, Kid string }
	// what comes behind the first value is for the gate to refuse
	if err := json.NewDecoder(strings.NewReader(header)).Decode(&h); err != nil {
		t.Fatal(err)
	}
	if h.Alg == "HS256" {
		key, err := jose.NewSecretKey(h.Kid, []byte(sharedSecret))
		if err != nil {
			t.Fatal(err)
		}
		return key, func(header, claims string) string {
			return josetest.MAC(h.Alg, header, claims, []byte(sharedSecret))
		}
	}
	k := josetest.NewKey(token.Algorithm(h.Alg), h.Kid)
	return k.Public(), k.Token
}

// shown is what a gate knows of who calls.
func shown(c *token.Claims) string {
	var all []string
	for _, f := range [][2]string{
		{"sub", c.Subject}, {"id", c.ID}, {"session", c.SessionID}, {"client", c.ClientID},
		{"tenant", c.Tenant}, {"scope", strings.Join(c.Scope, " ")}, {"roles", strings.Join(c.Roles, ",")},
	} {
		if f[1] != "" {
			all = append(all, f[0]+"="+f[1])
		}
	}
	return strings.Join(all, "; ")
}

// TestTokensInTheShapesThatIssuersWrite: each is read as its issuer means it, or refused for what it
// is; whatever another key signs is refused.
func TestTokensInTheShapesThatIssuersWrite(t *testing.T) {
	seen := map[string]bool{}
	for _, s := range shapes {
		if seen[s.name] || (s.who == "") == (s.reason == "") {
			t.Fatalf("%s: expected a name of its own and one outcome", s.name)
		}
		seen[s.name] = true
		t.Run(s.name, func(t *testing.T) { s.run(t) })
	}
}

func (s shape) run(t *testing.T) {
	key, sign := keyFor(t, s.header)
	profile := s.load(t, key.Algorithm())
	w := authztest.New()
	w.Now, w.MaxLifetime = time.Unix(shapedAt+60, 0), 24*time.Hour+token.Forgiven
	w.Keys.Trust(&profile, key)
	engine := w.Engine(nil)
	presented := sign(s.header, s.claims)
	if s.reason != "" {
		refused(t, engine, presented, s.reason)
		return
	}
	for range 2 { // once more, now that it may be cached
		d := engine.Decide(protected(presented))
		if !d.Allow {
			t.Fatalf("refused: %s (%s)", d.Reason(), d.Detail())
		}
		if got := shown(d.Identity.Claims); got != s.who {
			t.Errorf("got  %s\nwant %s", got, s.who)
		}
	}
	thief := josetest.NewKey("EdDSA", key.ID())
	forged := presented[:strings.LastIndexByte(presented, '.')+1] +
		josetest.Encode(string(thief.Sign("EdDSA", presented)))
	refused(t, engine, forged, token.ReasonSignature)
}

const (
	keycloakEntry = `issuer: https://sso.example.com/realms/shop
audiences: [orders]
algorithms: [RS256]
typ: JWT
max_lifetime: 15m`
	keycloakNames = keycloakEntry + `
required_claims: [typ=Bearer]
claims: {client_id: azp, roles: [/realm_access/roles, /resource_access/orders/roles]}`
	keycloakHeader = `{"alg":"RS256","typ" : "JWT","kid" : "FJ86GcF3jTbNLOco4NvZkUCIUmfYCqoqtOQeMfbhNlE"}`
	keycloakFront  = `{"exp":1800000300,"iat":1800000000,"jti":"onrtro:8d5f2f0e","iss":"https://sso.example.com/realms/shop"`

	entraEntry = `issuer: https://login.microsoftonline.com/72f988bf/v2.0
audiences: [6e74172b]
algorithms: [RS256]
typ: JWT
max_lifetime: 2h
token_id: uti
required_claims: [ver=2.0, azp]
claims: {subject: oid, client_id: azp, tenant: tid, scope: scp}`
	entraClaims = `"aud":"6e74172b","iat":1800000000,"nbf":1800000000,"exp":1800004711,"aio":"AWQAm/8T","azp":"0d4d7a3e","azpacr":"1","oid":"690222be","rh":"0.AQ","roles":["Orders.Admin"],"scp":"Orders.Read Orders.Write","sub":"HKZpfaHy","tid":"72f988bf","uti":"fqiBqXLP","ver":"2.0","xms_ftd":"x"}`

	clerkEntry = `issuer: https://clerk.example.com
any_audience: true
algorithms: [RS256]
typ: JWT
claims: {client_id: azp}`
	clerkClaims = `{"azp":"https://app.example.com","exp":1800000060,"fva":[0,-1],"iat":1800000000,"iss":"https://clerk.example.com","jti":"8f1d7a","nbf":1799999990,"sid":"sess_2b","sts":"active","sub":"user_2a","v":2}`

	adfsEntry = `issuer: http://adfs.example.com/adfs/services/trust
audiences: ["microsoft:identityserver:orders"]
algorithms: [RS256]
typ: JWT
token_id: none
claims: {client_id: appid, scope: scp}`

	supabaseEntry = `issuer: https://abc.supabase.co/auth/v1
audiences: [authenticated]
algorithms: [HS256]
key_id: k1
typ: JWT
token_id: none
required_claims: [is_anonymous=false]
claims: {session: session_id, roles: [role]}`
	supabaseFront = `{"aal":"aal1","amr":[{"method":"password","timestamp":1800000000}],"app_metadata":{"provider":"email","providers":["email"]},"aud":"authenticated","email":"a@example.com","exp":1800003600,"iat":1800000000,"iss":"https://abc.supabase.co/auth/v1","phone":"","role":"authenticated","session_id":"1b2c","sub":"d7f5"`

	zitadelEntry = `issuer: https://zitadel.example.com
audiences: ["2331"]
algorithms: [RS256]
typ: JWT
max_lifetime: 12h
claims: {roles: ["urn:zitadel:iam:org:project:roles"]}`

	googleNames = `audiences: [orders.apps.googleusercontent.com]
algorithms: [RS256]
typ: JWT
token_id: none
required_claims: [email_verified=true]
claims: {client_id: azp}`
	googleClaims = `"azp":"orders.apps.googleusercontent.com","aud":"orders.apps.googleusercontent.com","sub":"1076","email":"a@example.com","email_verified":true,"at_hash":"HK6E","iat":1800000000,"exp":1800003600}`

	firebaseEntry = `issuer: https://securetoken.google.com/shop
audiences: [shop]
algorithms: [RS256]
typ: JWT
token_id: none
required_claims: [admin, "email_verified=true", "level=3"]`
	firebaseClaims = `"iss":"https://securetoken.google.com/shop","aud":"shop","auth_time":1799999000,"user_id":"u1","sub":"u1","iat":1800000000,"exp":1800003600,"email":"a@example.com","firebase":{"identities":{"email":["a@example.com"]},"sign_in_provider":"password"}}`

	hydraEntry = `issuer: https://hydra.example.com
algorithms: [RS256]
typ: JWT
claims: {scope: scp, session: /ext/sid, roles: [/ext/roles]}
`
	hydraHeader = `{"alg":"RS256","kid":"a610a028-6e1c-4ee1-b644-0dc92b1b5076","typ":"JWT"}`
	hydraBack   = `"ext":{"roles":["admin","user"],"sid":"59c5"},"iat":1800000000,"iss":"https://hydra.example.com","jti":"6b80","nbf":1800000000,"scp":["openid","orders:read"],"sub":"alice"}`

	flaskEntry = `issuer: https://flask.example.com
audiences: [orders]
algorithms: [HS256]
typ: JWT
max_lifetime: 24h
required_claims: [type=access]`
	flaskHeader = `{"alg":"HS256","typ":"JWT"}`
	flaskBack   = `"jti":"5149","sub":"alice","nbf":1800000000,"csrf":"2b99","aud":"orders","iss":"https://flask.example.com","exp":1800000900,"roles":["admin","user"]}`

	plainEntry = `issuer: https://issuer.example.com
audiences: [orders]
algorithms: [RS256]
typ: JWT`
	plainHeader = `{"alg":"RS256","kid":"k1","typ":"JWT"}`
	plainFront  = `{"iss":"https://issuer.example.com","sub":"alice","aud":"orders","jti":"j1"`
	plainDates  = `,"iat":1800000000,"exp":1800003600`
	plainClaims = plainFront + plainDates + `}`
)
