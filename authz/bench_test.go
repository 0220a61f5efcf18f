package authz_test

import (
	"testing"
	"time"
	"unsafe"

	"github.com/sallyport/sallyport/authz"
	"github.com/sallyport/sallyport/authz/authztest"
	"github.com/sallyport/sallyport/internal/jose"
	"github.com/sallyport/sallyport/internal/policy"
	"github.com/sallyport/sallyport/internal/revocation"
	"github.com/sallyport/sallyport/internal/token"
)

func view(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) }

// still are keys and revocations without locks, so that what is measured is the engine.
type still struct {
	profile *token.Profile
	key     *jose.PublicKey
	now     time.Time
}

func (s *still) Profile(issuer string) (*token.Profile, bool) {
	return s.profile, issuer == s.profile.Issuer
}
func (s *still) Key(_, id, _ string) (*jose.PublicKey, token.Reason) {
	if id != s.key.ID() {
		return nil, token.ReasonUnknownKey
	}
	return s.key, ""
}
func (s *still) Removals() uint64                           { return 1 }
func (s *still) Check(*revocation.Facts) revocation.Verdict { return revocation.Verdict{} }
func (s *still) Freshness(revocation.Instant) revocation.Freshness {
	return revocation.Freshness{Fresh: true}
}
func (s *still) Now(revocation.Instant) time.Time { return s.now }

// tenRoutes is a policy of ordinary size. It stays as it is, so that one build can be held against
// another.
func tenRoutes() policy.Config {
	at := func(path string) policy.Match { return policy.Match{Path: path} }
	return policy.Config{Routes: []policy.Route{
		{Match: at("/public"), Allow: "public"},
		{Match: at("/public-files/**"), Allow: "public"},
		{Match: at("/maybe"), Allow: "optional"},
		{Match: at("/protected")},
		{Match: at("/api/closed/*"), Allow: "nobody"},
		{Match: at("/api/**"), Allow: "authenticated"},
		{Match: at("/admin/**"), Require: policy.Require{Roles: []string{"admin", "root"}}},
		{Match: at("/scoped"), Require: policy.Require{Scopes: []string{"read", "write"}}},
		{Match: policy.Match{Path: "/put", Methods: []string{"PUT", "OPTIONS"}}},
		{Match: policy.Match{Path: "/inner/**", Hosts: []string{"*.inner.example.com"}}},
	}}
}

// hot is an engine with a request as Envoy sends them: 20 headers, of which two are of interest.
func hot(b testing.TB, cache authz.CacheConfig) (*authz.Engine, *authz.Request) {
	b.Helper()
	w := authztest.New()
	s := &still{profile: authztest.Profile(), key: w.Key.Public(), now: w.Now}
	rules, err := policy.Compile(tenRoutes())
	if err != nil {
		b.Fatal(err)
	}
	engine, err := authz.New(rules, authz.Options{Keys: s, Revocations: s, Cache: cache})
	if err != nil {
		b.Fatal(err)
	}
	r := authztest.Get("/api/v1/things/42?expand=all", "authorization", "Bearer "+w.Token())
	for _, name := range []string{
		"accept", "accept-encoding", "accept-language", "cache-control", "content-length", "content-type",
		"cookie", "dnt", "origin", "pragma",
		"referer", "sec-fetch-mode", "sec-fetch-site", "user-agent", "x-forwarded-for",
		"x-forwarded-proto", "x-request-id", "x-b3-traceid", "x-b3-spanid",
	} {
		r.Headers = append(r.Headers, authz.Header{Name: name, Value: "some value of ordinary length"})
	}
	if d := engine.Decide(&r); !d.Allow {
		b.Fatal(d.Reason())
	}
	return engine, &r
}

func TestACachedTokenCostsNoMemory(t *testing.T) {
	engine, r := hot(t, authz.DefaultCacheConfig())
	if n := testing.AllocsPerRun(100, func() {
		if d := engine.Decide(r); !d.Allow || !d.Cached {
			t.Fatal(d.Reason())
		}
	}); n != 0 {
		t.Errorf("deciding on a cached token allocates %v times", n)
	}
}

func BenchmarkDecideCached(b *testing.B) {
	engine, r := hot(b, authz.DefaultCacheConfig())
	b.ReportAllocs()
	for b.Loop() {
		if d := engine.Decide(r); !d.Cached {
			b.Fatal(d.Reason())
		}
	}
}

func BenchmarkDecideCachedParallel(b *testing.B) {
	engine, r := hot(b, authz.DefaultCacheConfig())
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if d := engine.Decide(r); !d.Cached {
				b.Error(d.Reason())
			}
		}
	})
}

func BenchmarkDecideNew(b *testing.B) {
	engine, r := hot(b, authz.CacheConfig{})
	b.ReportAllocs()
	for b.Loop() {
		if d := engine.Decide(r); !d.Allow || d.Cached {
			b.Fatal(d.Reason())
		}
	}
}

func BenchmarkDecideForged(b *testing.B) {
	engine, r := hot(b, authz.DefaultCacheConfig())
	r.Headers[0].Value = r.Headers[0].Value[:len(r.Headers[0].Value)-8] + "AAAAAAAA"
	b.ReportAllocs()
	for b.Loop() {
		if d := engine.Decide(r); d.Allow {
			b.Fatal("allowed")
		}
	}
}
