package issuer

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/sallyport/sallyport/internal/audit"
	"github.com/sallyport/sallyport/internal/config"
	"github.com/sallyport/sallyport/internal/credential"
	"github.com/sallyport/sallyport/internal/eventually"
	"github.com/sallyport/sallyport/internal/jose"
	"github.com/sallyport/sallyport/internal/jose/signing"
	"github.com/sallyport/sallyport/internal/redisconn"
	"github.com/sallyport/sallyport/internal/revocation"
	"github.com/sallyport/sallyport/internal/revocation/redislog"
	"github.com/sallyport/sallyport/internal/sender"
	"github.com/sallyport/sallyport/internal/session"
	"github.com/sallyport/sallyport/internal/session/sessiontest"
	"github.com/sallyport/sallyport/internal/ssf/stream"
	"github.com/sallyport/sallyport/internal/token"
)

const (
	issuerURL  = "https://login.example"
	adminToken = "0123456789abcdef0123456789abcdef"
	password   = "correct horse battery staple"
)

// house is an issuer behind a real HTTP server, with everything around it in the test's hands.
type house struct {
	t        *testing.T
	issuer   *Issuer
	server   *Server
	url      string
	admin    string
	cfg      Config
	keys     *keys
	users    *users
	log      *sessiontest.Log
	redis    *redisconn.Client
	registry *prometheus.Registry
	logged   *eventually.Buffer
	audited  *eventually.Buffer
}

func testConfig() Config {
	cfg := DefaultConfig()
	cfg.Issuer, cfg.Audience = issuerURL, []string{"api"}
	cfg.HTTP.Requests = credential.Rate{Burst: 100000, Every: time.Nanosecond}
	cfg.Admin.Token = config.NewSecret(adminToken)
	return cfg
}

// newHouse makes an issuer on the Redis that c talks to; change may be nil.
func newHouse(t *testing.T, c *redisconn.Client, change func(*Config)) *house {
	t.Helper()
	h := &house{
		t: t, cfg: testConfig(), keys: newKeys(t), users: newUsers(), log: sessiontest.NewLog(), redis: c,
		registry: prometheus.NewRegistry(), logged: &eventually.Buffer{}, audited: &eventually.Buffer{},
	}
	if change != nil {
		change(&h.cfg)
	}
	store, err := session.New(session.Config{
		Issuer:      h.cfg.Issuer,
		ClientID:    h.cfg.ClientID,
		Lifetime:    h.cfg.RefreshTokenLifetime,
		Grace:       h.cfg.RefreshGrace,
		Retain:      time.Hour,
		MaxPerUser:  h.cfg.MaxSessionsPerUser,
		WaitTimeout: time.Second,
		EndTimeout:  10 * time.Second,
	}, c, h.log, sessiontest.NewRing())
	if err != nil {
		t.Fatal(err)
	}
	logger := slog.New(slog.NewJSONHandler(h.logged, &slog.HandlerOptions{Level: slog.LevelDebug}))
	var senders *sender.Senders
	if len(h.cfg.Senders) > 0 {
		senders = openSenders(t, h.cfg.Senders, h.log)
	}
	o := Options{
		Config:    h.cfg,
		Keys:      h.keys,
		Sessions:  store,
		Senders:   senders,
		Lease:     func(sender string) stream.Lease { return stream.NewLease(c, "{sallyport}", sender) },
		Log:       h.log,
		Inventory: inventory{},
		Audit:     audit.New(h.audited, audit.Options{}),
		Logger:    logger,
		Registry:  h.registry,
	}
	if len(h.cfg.Audience) > 0 { // else nobody is to log in
		o.Users, o.Directory = h.users, h.users
	}
	h.issuer, err = New(o)
	if err != nil {
		t.Fatal(err)
	}
	h.server = h.issuer.Public
	h.url = serveHTTP(t, h.server.http)
	mux := http.NewServeMux()
	for pattern, handler := range h.issuer.Admin.Handlers() {
		mux.Handle(pattern, handler)
	}
	h.admin = serveHTTP(t, &http.Server{Handler: mux})
	return h
}

func serveHTTP(t *testing.T, server *http.Server) string {
	t.Helper()
	s := httptest.NewUnstartedServer(nil)
	s.Config = server
	s.Start()
	t.Cleanup(s.Close)
	return s.URL
}

// eachRedis runs a test with an issuer on a real Redis and on miniredis.
func eachRedis(t *testing.T, test func(t *testing.T, h *house)) {
	t.Helper()
	sessiontest.EachRedis(t, func(t *testing.T, c *redisconn.Client) { test(t, newHouse(t, c, nil)) })
}

// answer is what came back.
type answer struct {
	status int
	header http.Header
	text   string
	json   map[string]any
}

func (a answer) str(name string) string { s, _ := a.json[name].(string); return s }

type option func(*http.Request)

func withHeader(name, value string) option {
	return func(r *http.Request) { r.Header.Add(name, value) }
}

func bearer(token string) option { return withHeader("Authorization", "Bearer "+token) }

func (h *house) do(method, url, body string, options ...option) answer {
	h.t.Helper()
	r, err := http.NewRequest(method, url, strings.NewReader(body))
	if err != nil {
		h.t.Fatal(err)
	}
	if body != "" {
		r.Header.Set("Content-Type", "application/json")
	}
	for _, o := range options {
		o(r)
	}
	client := &http.Client{
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	res, err := client.Do(r)
	if err != nil {
		h.t.Fatal(err)
	}
	return read(h.t, res)
}

func read(t *testing.T, res *http.Response) answer {
	t.Helper()
	defer func() { _ = res.Body.Close() }()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	a := answer{status: res.StatusCode, header: res.Header, text: string(text)}
	if len(text) > 0 {
		if err := json.Unmarshal(text, &a.json); err != nil {
			t.Fatalf("the answer is not a JSON object: %v\n%s", err, text)
		}
	}
	return a
}

func (h *house) post(path, body string, options ...option) answer {
	h.t.Helper()
	return h.do(http.MethodPost, h.url+path, body, options...)
}

func body(members ...string) string {
	m := map[string]string{}
	for i := 0; i < len(members); i += 2 {
		m[members[i]] = members[i+1]
	}
	b, err := json.Marshal(m)
	if err != nil {
		panic(err)
	}
	return string(b)
}

func (h *house) login(name string) answer {
	h.t.Helper()
	a := h.post("/login", body("username", name, "password", password))
	wantStatus(h.t, a, http.StatusOK, "")
	return a
}

func (h *house) refresh(token string) answer {
	h.t.Helper()
	return h.post("/refresh", body("refresh_token", token))
}

func wantStatus(t *testing.T, a answer, status int, code string) {
	t.Helper()
	if a.status != status || a.str("error") != code {
		t.Fatalf("expected %d %s, got %d %s", status, code, a.status, a.text)
	}
}

// claims reads an access token as a gate would.
func (h *house) claims(access string) *token.Claims {
	h.t.Helper()
	parsed, err := jose.Parse(access)
	if err != nil {
		h.t.Fatal(err)
	}
	profile := token.DefaultProfile()
	profile.Issuer, profile.Audiences, profile.Ours = h.cfg.Issuer, h.cfg.Audience, true
	claims, err := parsed.Verify(&profile, h.keys.private.Public())
	if err != nil {
		h.t.Fatalf("a gate would refuse the token: %v", err)
	}
	now, _ := h.log.Time()
	if err := profile.CheckTime(claims, now); err != nil {
		h.t.Fatalf("a gate would refuse the token: %v", err)
	}
	return claims
}

// keys is a ring of one signing key, and, if it is there, a next one.
type keys struct {
	private, next *signing.PrivateKey
	set           []byte
}

func newKeys(t *testing.T) *keys {
	t.Helper()
	private, err := signing.GenerateKey("ES256")
	if err != nil {
		t.Fatal(err)
	}
	set, err := jose.MarshalKeySet([]*jose.PublicKey{private.Public()})
	if err != nil {
		t.Fatal(err)
	}
	return &keys{private: private, set: set}
}

func (k *keys) Sign(typ string, claims []byte) (string, error) {
	return k.private.Sign(typ, claims)
}

func (k *keys) SignUnless(revoked func(kid string) bool, typ string,
	claims []byte) (string, error) {
	for _, key := range []*signing.PrivateKey{k.private, k.next} {
		if key != nil && !revoked(key.ID()) {
			return key.Sign(typ, claims)
		}
	}
	return "", errors.New("every key is revoked")
}
func (k *keys) KeySet() []byte { return k.set }
func (k *keys) Public(kid string) (*jose.PublicKey, bool) {
	return k.private.Public(), kid == k.private.ID()
}

// users is a directory in memory.
type users struct {
	mu       sync.Mutex
	known    map[string]credential.User
	err      error // of both calls
	onVerify func()
	onLookup func(name string)
	from     []netip.Addr
}

func newUsers() *users {
	return &users{known: map[string]credential.User{
		"alice": {
			Name: "alice", Roles: []string{"admin", "dev"}, Scopes: []string{"read", "write"},
			Tenant: "acme",
		},
		"bob": {Name: "bob"},
	}}
}

func (u *users) set(name string, change func(*credential.User)) {
	u.mu.Lock()
	defer u.mu.Unlock()
	user := u.known[name]
	change(&user)
	u.known[name] = user
}

func (u *users) fail(err error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.err = err
}

func (u *users) Verify(_ context.Context, name, given string,
	from netip.Addr) (credential.User, error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.from = append(u.from, from)
	if u.onVerify != nil {
		u.onVerify()
	}
	normal, err := credential.Normalize(name)
	user, ok := u.known[normal]
	switch {
	case u.err != nil:
		return credential.User{}, u.err
	case err != nil || !ok || given != password:
		return credential.User{}, credential.ErrInvalid
	}
	return user, nil
}

func (u *users) All() map[string]credential.User {
	u.mu.Lock()
	defer u.mu.Unlock()
	return maps.Clone(u.known)
}

func (u *users) Lookup(_ context.Context, name string) (credential.User, error) {
	if u.onLookup != nil {
		u.onLookup(name)
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	user, ok := u.known[name]
	switch {
	case u.err != nil:
		return credential.User{}, u.err
	case !ok || user.Disabled:
		return credential.User{}, credential.ErrNoUser
	}
	return user, nil
}

// inventory is what operators see.
type inventory struct{}

func (inventory) Gates(context.Context) ([]redislog.Line, error) {
	return []redislog.Line{{Name: "gate-1", Seq: 7, Live: true}}, nil
}
func (inventory) Issuers(context.Context) ([]redislog.Line, error) { return nil, nil }
func (inventory) Entries(_ context.Context, after uint64, _ int) ([]revocation.Entry, error) {
	if after > 0 {
		return nil, errors.New("log away")
	}
	return []revocation.Entry{
		{Seq: 1, Kind: revocation.KindClient, Value: "app", IssuedBefore: 1700000000000},
	}, nil
}
