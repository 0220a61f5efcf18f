package extauthz

import (
	"fmt"
	"runtime"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/sallyport/sallyport/authz"
	"github.com/sallyport/sallyport/authz/authztest"
	"github.com/sallyport/sallyport/authz/check"
	"github.com/sallyport/sallyport/internal/jose"
	"github.com/sallyport/sallyport/internal/jose/josetest"
)

// distinct has a gate allow so many tokens, each another, twice: so that their answers are kept as
// well. It returns by how many bytes the heap has grown. The tokens are of a shared secret, since a
// million signatures would take minutes.
func distinct(t testing.TB, cache authz.CacheConfig, n int) (grown int64) {
	t.Helper()
	w, c := authztest.New(), DefaultConfig()
	byEnvoy(&c)
	secret := []byte("0123456789abcdef-0123456789abcdef")
	key, err := jose.NewSecretKey(authztest.KeyID, secret)
	if err != nil {
		t.Fatal(err)
	}
	p := authztest.Profile()
	p.Algorithms = []string{"HS256"}
	w.Keys.Trust(p, key)
	options := w.Options(NewWire(c))
	options.Cache = cache
	engine, err := authz.New(w.Policy, options)
	if err != nil {
		t.Fatal(err)
	}
	registry := prometheus.NewRegistry()
	s, err := New(engine, c, Options{
		Ready: func() error { return nil }, Check: check.Options{Instant: clock(), Registry: registry},
	})
	if err != nil {
		t.Fatal(err)
	}
	header := w.Key.Header("at+jwt").With("alg", `"HS256"`).JSON()
	ask := func(i int) {
		claims := w.Claims()
		claims.ID, claims.SessionID = fmt.Sprint("token-", i), fmt.Sprint("session-", i)
		text, err := claims.Marshal()
		if err != nil {
			t.Fatal(err)
		}
		r := authztest.Get(
			"/protected",
			"authorization",
			"Bearer "+josetest.MAC(
				"HS256",
				header,
				string(text),
				secret,
			),
			check.HeaderStripped,
			check.Stripped,
		)
		message := encoded(r, false)
		for range 2 {
			var r checkRequest
			r.read(message)
			s.check(t.Context(), &r, nil)
		}
	}
	ask(-1) // what is made once
	before := authztest.Heap()
	for i := range n {
		ask(i)
	}
	grown = authztest.Heap() - before
	allowed := authztest.Value(t, registry, "sallyport_gate_decisions_total", "code=200 reason=allowed")
	if allowed != float64(2*n+2) {
		t.Fatalf("%v checks of %d were allowed", allowed, 2*n+2)
	}
	runtime.KeepAlive(s)
	return grown
}

// TestDistinctTokensTakeNoMoreThanTheCachesBytes, whoever sends however many: twice as many as fit.
func TestDistinctTokensTakeNoMoreThanTheCachesBytes(t *testing.T) {
	const limit = 8 << 20
	grown := distinct(t, authz.CacheConfig{Entries: 1 << 13, Bytes: limit}, 6000)
	t.Logf("%d bytes of %d", grown, limit)
	if grown > limit || grown < limit/4 {
		t.Errorf("the heap has grown by %d bytes, the cache's limit is %d", grown, limit)
	}
}

// BenchmarkAMillionDistinctTokens is the same with a million, and the cache as it is shipped.
func BenchmarkAMillionDistinctTokens(b *testing.B) {
	for b.Loop() {
		cache := authz.DefaultCacheConfig()
		grown := distinct(b, cache, 1_000_000)
		b.ReportMetric(float64(grown)/(1<<20), "grown-MiB")
		b.ReportMetric(float64(cache.Bytes)/(1<<20), "limit-MiB")
	}
}
