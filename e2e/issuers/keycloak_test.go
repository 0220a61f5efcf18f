//go:build issuers

package issuers_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"html"
	"maps"
	"net/http"
	"net/url"
	"path/filepath"
	"regexp"
	"slices"
	"testing"
	"time"

	"github.com/sallyport/sallyport/internal/eventually"
)

const keycloakVersion = "26.7.3"

// startKeycloak: a realm with the roles, audience and clients that examples/issuers/keycloak.yaml
// and examples/senders/keycloak.yaml speak of.
func startKeycloak(t *testing.T) *issuer {
	k := runKeycloak(t)
	entry := example(t, "issuers", "keycloak", "https://sso.example.com", k.base)
	return &issuer{
		name: "keycloak", version: "Keycloak " + keycloakVersion, iss: k.realm, entry: entry,
		variants: map[string]string{"discovery": discovering(entry)},
		sender:   k.sender(t, "sallyport", k.messages.url+"/events"),
		login:    k.browse,
		machine:  func(t *testing.T) string { return k.client(t, "shop-web") },
		wrong: []wrongToken{
			{"wrong audience", func(t *testing.T) string {
				return k.login(t, "billing-web", "bob", "openid").access
			}, []string{"audience"}},
			{"no audience mapper", func(t *testing.T) string {
				return k.login(t, "plain-web", "bob", "openid").access
			}, []string{"audience"}},
			{"ID token", func(t *testing.T) string { return k.login(t, "shop-web", "alice", "openid").id },
				[]string{"claim_required", "audience"}},
			{"refresh token", func(t *testing.T) string {
				return k.login(t, "shop-web", "alice", "openid").refresh
			}, []string{"alg"}},
			{"offline token", func(t *testing.T) string {
				return k.login(t, "shop-web", "alice", "openid offline_access").refresh
			}, []string{"alg"}},
			{"lightweight token", func(t *testing.T) string {
				return k.login(t, "light-web", "alice", "openid").access
			}, []string{"audience_missing", "audience", "subject"}},
			{"bound to a key", func(t *testing.T) string { return k.bound(t, "alice") },
				[]string{"token_bound", "claim_required"}},
		},
		rotate: k.rotate,
		refresh: func(t *testing.T, h handed) string {
			return refresh(t, k.realm+"/protocol/openid-connect/token", h.refresh,
				basic("shop-web", "secret-of-shop-web"))
		},
		channels: []string{backChannel, sharedSignals},
		endings: []ending{
			{"user logs out", "`/protocol/openid-connect/logout`", k.logOut,
				[]string{backChannel, sharedSignals}, ""},
			{"session deleted", "`DELETE /sessions/ID`", func(t *testing.T, h handed) {
				k.admin(t, http.MethodDelete, "/sessions/"+h.session, nil)
			}, tellsByLogoutToken, ""},
			{"refresh token revoked", "`/protocol/openid-connect/revoke`",
				func(t *testing.T, h handed) {
					send(t, plain, http.MethodPost, k.realm+"/protocol/openid-connect/revoke",
						url.Values{"token": {h.refresh}}, basic("shop-web", "secret-of-shop-web")).ok(t)
				}, nil, ""},
			{"password changed", "`PUT /users/ID/reset-password`", func(t *testing.T, h handed) {
				name := claim(t, h.access, "preferred_username")
				k.admin(t, http.MethodPut, "/users/"+h.subject+"/reset-password",
					map[string]any{"type": "password", "value": passwordOf(name)})
			}, []string{sharedSignals}, "/credential-change"},
			{"user disabled", "`PUT /users/ID`", func(t *testing.T, h handed) {
				k.admin(t, http.MethodPut, "/users/"+h.subject, map[string]any{"enabled": false})
			}, nil, ""},
			{"admin logs out", "`POST /users/ID/logout`", func(t *testing.T, h handed) {
				k.admin(t, http.MethodPost, "/users/"+h.subject+"/logout", map[string]any{})
			}, []string{backChannel, sharedSignals}, `"ALL"`},
		},
		streams:   k.sharesItsSignals,
		lives:     k.lives,
		revocable: []string{"jti", "sid", "kid", "sub", "client"},
		// SSO Session Max, by default.
		sessionLives: 10 * time.Hour,
		tokens:       k.record,
		documents: map[string]func(*testing.T) []byte{
			"jwks":              at(k.realm + "/protocol/openid-connect/certs"),
			"discovery":         at(k.realm + "/.well-known/openid-configuration"),
			"ssf-configuration": at(k.realm + "/.well-known/ssf-configuration"),
			"ssf-stream-push":   func(*testing.T) []byte { return k.pushed },
			"ssf-stream-poll":   func(*testing.T) []byte { return k.polled },
			"ssf-poll":          func(*testing.T) []byte { return k.answered },
		},
		messages: k.messages,
	}
}

// runKeycloak starts it, with a realm and no stream yet.
func runKeycloak(t *testing.T) *keycloak {
	dir := installed(t, "keycloak")
	port, messages := freePort(t), receive(t)
	k := &keycloak{
		base: fmt.Sprintf("http://127.0.0.1:%d", port), password: rand.Text(), messages: messages,
		users: map[string]string{},
	}
	k.realm = k.base + "/realms/shop"
	s := serve(t, "keycloak", []string{
		"KC_BOOTSTRAP_ADMIN_USERNAME=root", "KC_BOOTSTRAP_ADMIN_PASSWORD=" + k.password,
		"JAVA_OPTS_KC_HEAP=-Xmx700m",
		// It starts in half the time when code is compiled once, and quickly.
		"JAVA_OPTS_APPEND=-XX:TieredStopAtLevel=1",
	}, filepath.Join(dir, "keycloak", "bin", "kc.sh"), "start-dev", "--features=ssf", "--db=dev-mem",
		"--http-host=127.0.0.1", fmt.Sprint("--http-port=", port),
		// By default a signal waits for up to 30 s until it is sent.
		"--spi-ssf-transmitter--default--outbox-drainer-interval=500ms",
		// The receiver is on loopback, without TLS.
		"--spi-ssf-transmitter--default--allow-insecure-push-targets=true")
	s.answers(k.base + "/realms/master")
	k.makeRealm(t)
	return k
}

// sender is the entry for its messages, with the stream of a client that is pushed to an address.
func (k *keycloak) sender(t *testing.T, client, endpoint string) string {
	t.Helper()
	return example(t, "senders", "keycloak", "https://sso.example.com", k.base,
		"https://gateway.example.com/security-events", endpoint,
		"/run/secrets/keycloak_push_authorization", secretFile(t, "Bearer of-this-stream-alone"),
		"/run/secrets/keycloak_client_secret", secretFile(t, "secret-of-"+client),
		"client_id: sallyport\n", "client_id: "+client+"\n")
}

type keycloak struct {
	base, realm, password string
	users                 map[string]string // ids by name
	messages              *receiver
	// What it says of its streams, and answers to a poll.
	pushed, polled, answered []byte
}

func passwordOf(user string) string { return "of-" + user + "-alone" }

// admin asks the admin API of the realm.
func (k *keycloak) admin(t *testing.T, method, path string, body any) reply {
	t.Helper()
	token := send(t, plain, http.MethodPost, k.base+"/realms/master/protocol/openid-connect/token",
		url.Values{
			"grant_type": {"password"}, "client_id": {"admin-cli"}, "username": {"root"},
			"password": {k.password},
		}).text(t, "access_token")
	at := k.base + "/admin/realms"
	if path != "" {
		at += "/shop" + path
	}
	r := send(t, plain, method, at, body, "Authorization: Bearer "+token)
	if r.status/100 != 2 {
		t.Fatalf("%s %s: %d: %s", method, path, r.status, r.body)
	}
	return r
}

// makeRealm makes the realm with its roles and clients.
func (k *keycloak) makeRealm(t *testing.T) {
	t.Helper()
	type object = map[string]any
	audience := func(name string) []object {
		return []object{{
			"name": "audience", "protocol": "openid-connect", "protocolMapper": "oidc-audience-mapper",
			"config": object{"included.custom.audience": name, "access.token.claim": "true"},
		}}
	}
	client := func(id string, attributes object, mappers []object) object {
		return object{
			"clientId": id, "secret": "secret-of-" + id, "directAccessGrantsEnabled": true,
			"serviceAccountsEnabled": true, "redirectUris": []string{"http://127.0.0.1/*"},
			"attributes": attributes, "protocolMappers": mappers,
		}
	}
	k.admin(t, http.MethodPost, "", object{
		"realm": "shop", "enabled": true, "sslRequired": "none",
		"attributes": object{"ssf.transmitterEnabled": "true"},
		"roles": object{
			"realm":  []object{{"name": "admin"}, {"name": "user"}},
			"client": object{"orders": []object{{"name": "reader"}}},
		},
		"clients": []object{
			{"clientId": "orders", "bearerOnly": true},
			client("shop-web", object{
				"backchannel.logout.url":              k.messages.url + "/logout",
				"backchannel.logout.session.required": "true",
			}, audience("orders")),
			client("billing-web", nil, audience("billing")),
			client("plain-web", nil, nil),
			client("light-web", object{"client.use.lightweight.access.token.enabled": "true"},
				audience("orders")),
			client("bound-web", object{"dpop.bound.access.tokens": "true"}, audience("orders")),
			client("sallyport", object{
				"ssf.enabled": "true", "ssf.defaultSubjects": "ALL",
				"ssf.validPushUrls": k.messages.url + "/*",
			}, nil),
			client("sallyport-push", object{"ssf.enabled": "true", "ssf.defaultSubjects": "ALL"}, nil),
			client("sallyport-poll", object{"ssf.enabled": "true", "ssf.defaultSubjects": "ALL"}, nil),
		},
	})
	for _, client := range []string{"sallyport", "sallyport-push", "sallyport-poll"} {
		k.allow(t, client, "ssf.read", "ssf.manage")
	}
}

// user returns the id of a user, who is made when there is none of that name.
func (k *keycloak) user(t *testing.T, name string) string {
	t.Helper()
	if id := k.users[name]; id != "" {
		return id
	}
	type object = map[string]any
	roles := object{}
	if name == "alice" { // a role at orders puts orders into aud, whichever client asks
		roles["orders"] = []string{"reader"}
	}
	k.admin(t, http.MethodPost, "/partialImport", object{
		"ifResourceExists": "FAIL",
		"users": []object{{
			"username": name, "enabled": true, "email": name + "@example.com", "emailVerified": true,
			"firstName": name, "lastName": "Example",
			"realmRoles":  append(rolesOf(name), "default-roles-shop"),
			"clientRoles": roles,
			"credentials": []object{{"type": "password", "value": passwordOf(name)}},
		}},
	})
	var found []struct {
		ID string `json:"id"`
	}
	k.admin(t, http.MethodGet, "/users?exact=true&username="+name, nil).json(t, &found)
	if len(found) != 1 {
		t.Fatalf("expected one user %s, got %d", name, len(found))
	}
	k.users[name] = found[0].ID
	return found[0].ID
}

// allow lets a client ask for scopes.
func (k *keycloak) allow(t *testing.T, client string, scopes ...string) {
	t.Helper()
	var clients, known []struct {
		ID   string `json:"id"`
		Name string `json:"name"`
	}
	k.admin(t, http.MethodGet, "/clients?clientId="+client, nil).json(t, &clients)
	k.admin(t, http.MethodGet, "/client-scopes", nil).json(t, &known)
	for _, scope := range scopes {
		for _, s := range known {
			if s.Name == scope {
				k.admin(t, http.MethodPut,
					"/clients/"+clients[0].ID+"/optional-client-scopes/"+s.ID, nil)
			}
		}
	}
}

// stream makes a stream of shared signals, and returns what the realm says of it.
func (k *keycloak) stream(t *testing.T, client string, delivery map[string]string) reply {
	t.Helper()
	var transmitter struct {
		Configuration string `json:"configuration_endpoint"`
	}
	send(t, plain, http.MethodGet, k.realm+"/.well-known/ssf-configuration", nil).ok(t).
		json(t, &transmitter)
	return send(t, plain, http.MethodPost, transmitter.Configuration, map[string]any{
		"delivery": delivery,
		"events_requested": []string{
			"https://schemas.openid.net/secevent/caep/event-type/session-revoked",
			"https://schemas.openid.net/secevent/caep/event-type/credential-change",
		},
	}, k.mayManage(t, client)).ok(t)
}

// push has the realm push its signals to the receiver.
func (k *keycloak) push(t *testing.T) {
	t.Helper()
	k.pushed = k.stream(t, "sallyport", map[string]string{
		"method": "urn:ietf:rfc:8935", "endpoint_url": k.messages.url + "/events",
	}).body
}

// verify asks for a signal by which the receiver sees that its stream works.
func (k *keycloak) verify(t *testing.T) {
	t.Helper()
	var stream struct {
		ID string `json:"stream_id"`
	}
	if err := json.Unmarshal(k.pushed, &stream); err != nil {
		t.Fatal(err)
	}
	send(t, plain, http.MethodPost, k.realm+"/ssf/transmitter/verify",
		map[string]string{"stream_id": stream.ID, "state": "some"}, k.mayManage(t, "sallyport")).ok(t)
}

// mayManage is the header with which a client manages and polls its stream.
func (k *keycloak) mayManage(t *testing.T, client string) string {
	t.Helper()
	return "Authorization: Bearer " + k.token(t, client,
		url.Values{"grant_type": {"client_credentials"}, "scope": {"ssf.read ssf.manage"}}).Access
}

// poll makes a stream that is polled (RFC 8936), has a user log out, and returns what the realm
// says of the stream and, but for signatures, what it answers then.
func (k *keycloak) poll(t *testing.T) (stream, answer []byte) {
	t.Helper()
	made := k.stream(t, "sallyport-poll", map[string]string{"method": "urn:ietf:rfc:8936"})
	var of struct {
		Delivery struct {
			Endpoint string `json:"endpoint_url"`
		} `json:"delivery"`
	}
	made.json(t, &of)
	h := k.login(t, "shop-web", "bob", "openid")
	k.logOut(t, h)
	eventually.True(t, "the signal to be there for polling", func() bool {
		polled := send(t, plain, http.MethodPost, of.Delivery.Endpoint,
			map[string]any{"maxEvents": 1, "returnImmediately": true}, k.mayManage(t, "sallyport-poll"))
		answer = polled.ok(t).body
		return bytes.Contains(answer, []byte("eyJ"))
	})
	return made.body, signatures.ReplaceAll(answer, []byte("$1"))
}

// signatures are the third parts of tokens.
var signatures = regexp.MustCompile(`(eyJ[\w-]+\.eyJ[\w-]+\.)[\w-]+`)

// logOut is what a client does whose user logs out.
func (k *keycloak) logOut(t *testing.T, h handed) {
	send(t, plain, http.MethodPost, k.realm+"/protocol/openid-connect/logout",
		url.Values{"refresh_token": {h.refresh}}, basic("shop-web", "secret-of-shop-web")).ok(t)
}

func (k *keycloak) token(t *testing.T, client string, asked url.Values,
	headers ...string) (answer tokenAnswer) {
	t.Helper()
	send(t, plain, http.MethodPost, k.realm+"/protocol/openid-connect/token", asked,
		append(headers, basic(client, "secret-of-"+client))...).ok(t).json(t, &answer)
	return answer
}

// client returns the access token of a client on its own behalf.
func (k *keycloak) client(t *testing.T, client string) string {
	t.Helper()
	return k.token(t, client, url.Values{"grant_type": {"client_credentials"}}).Access
}

func (k *keycloak) login(t *testing.T, client, user, scope string, headers ...string) handed {
	t.Helper()
	k.user(t, user)
	a := k.token(t, client, url.Values{
		"grant_type": {"password"}, "username": {user}, "password": {passwordOf(user)},
		"scope": {scope},
	}, headers...)
	return k.handed(t, client, user, a)
}

var loginForm = regexp.MustCompile(`<form id="kc-form-login"[^>]* action="([^"]*)"`)

// browse logs a user in at the realm's page, as with a browser. The access tokens of such a session
// say when it began (auth_time).
func (k *keycloak) browse(t *testing.T, user string) handed {
	t.Helper()
	k.user(t, user)
	c := browser(t)
	c.Jar = secureOnLoopback{}
	const client, back = "shop-web", "http://127.0.0.1/cb"
	page := send(t, c, http.MethodGet, k.realm+"/protocol/openid-connect/auth?"+url.Values{
		"client_id": {client}, "response_type": {"code"}, "redirect_uri": {back}, "scope": {"openid"},
		"state": {"some"},
	}.Encode(), nil)
	form := loginForm.FindSubmatch(page.body)
	if form == nil {
		t.Fatalf("expected a form, got %d: %s", page.status, page.body)
	}
	done := send(t, c, http.MethodPost, html.UnescapeString(string(form[1])),
		url.Values{"username": {user}, "password": {passwordOf(user)}})
	to, err := url.Parse(done.header.Get("Location"))
	if err != nil || to.Query().Get("code") == "" {
		t.Fatalf("expected a code, got %d, %v, %v: %s", done.status, to, err, done.body)
	}
	return k.handed(t, client, user, k.token(t, client, url.Values{
		"grant_type": {"authorization_code"}, "code": {to.Query().Get("code")}, "redirect_uri": {back},
	}))
}

// secureOnLoopback keeps cookies by name and sends all of them: to a browser, loopback is as good
// as https, to a jar of the standard library it is not.
type secureOnLoopback map[string]*http.Cookie

func (jar secureOnLoopback) SetCookies(_ *url.URL, cookies []*http.Cookie) {
	for _, c := range cookies {
		jar[c.Name] = c
	}
}

func (jar secureOnLoopback) Cookies(*url.URL) []*http.Cookie {
	return slices.Collect(maps.Values(jar))
}

// handed is what a login hands out, with what the realm knows of the user.
func (k *keycloak) handed(t *testing.T, client, user string, a tokenAnswer) handed {
	t.Helper()
	roles := rolesOf(user)
	if user == "alice" {
		roles = append(roles, "reader")
	}
	return handed{
		access: a.Access, id: a.ID, refresh: a.Refresh, subject: k.user(t, user),
		session: claim(t, a.ID, "sid"), client: client, roles: roles,
	}
}

// bound returns an access token that is bound to a key (RFC 9449).
func (k *keycloak) bound(t *testing.T, user string) string {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	public, err := key.PublicKey.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	encode := base64.RawURLEncoding.EncodeToString
	part := func(v any) string {
		text, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		return encode(text)
	}
	proof := part(map[string]any{
		"typ": "dpop+jwt", "alg": "ES256",
		"jwk": map[string]string{
			"kty": "EC", "crv": "P-256", "x": encode(public[1:33]), "y": encode(public[33:]),
		},
	}) + "." + part(map[string]any{
		"jti": rand.Text(), "htm": "POST", "iat": time.Now().Unix(),
		"htu": k.realm + "/protocol/openid-connect/token",
	})
	sum := sha256.Sum256([]byte(proof))
	r, s, err := ecdsa.Sign(rand.Reader, key, sum[:])
	if err != nil {
		t.Fatal(err)
	}
	signature := append(r.FillBytes(make([]byte, 32)), s.FillBytes(make([]byte, 32))...)
	return k.login(t, "bound-web", user, "openid", "DPoP: "+proof+"."+encode(signature)).access
}

// rotate adds a key that takes precedence of those before. They stay published.
func (k *keycloak) rotate(t *testing.T) {
	var realm struct {
		ID string `json:"id"`
	}
	k.admin(t, http.MethodGet, "/", nil).json(t, &realm)
	k.admin(t, http.MethodPost, "/components", map[string]any{
		"name": "rotated", "parentId": realm.ID, "providerId": "rsa-generated",
		"providerType": "org.keycloak.keys.KeyProvider",
		"config": map[string][]string{
			"priority": {"1000"}, "enabled": {"true"}, "active": {"true"}, "algorithm": {"RS256"},
		},
	})
}

// record are the kinds of token that the realm makes.
func (k *keycloak) record(t *testing.T) map[string]string {
	k.push(t)
	h := k.login(t, "shop-web", "alice", "openid profile email")
	offline := k.login(t, "shop-web", "alice", "openid offline_access")
	refreshed := k.token(t, "shop-web",
		url.Values{"grant_type": {"refresh_token"}, "refresh_token": {h.refresh}})
	k.polled, k.answered = k.poll(t)
	k.verify(t)
	verification := k.messages.about(soon, sharedSignals, ending{signal: "/verification"}, handed{})
	if len(verification) == 0 {
		t.Fatal("nothing came to verify the stream")
	}
	return map[string]string{
		"access": h.access, "id": h.id, "refresh": h.refresh,
		"access-refreshed": refreshed.Access, "refresh-refreshed": refreshed.Refresh,
		"access-offline": offline.access, "refresh-offline": offline.refresh,
		"access-client": k.client(t, "shop-web"), "access-client-lightweight": k.client(t, "light-web"),
		"access-lightweight": k.login(t, "light-web", "alice", "openid").access,
		"access-no-audience": k.login(t, "plain-web", "bob", "openid").access,
		// No audience was asked for, and alice has a role at orders.
		"access-audience-by-role": k.login(t, "plain-web", "alice", "openid").access,
		"access-bound":            k.bound(t, "alice"), "events-verification": verification[0].jwt(),
	}
}
