package filter

import (
	"fmt"
	"testing"

	"github.com/sallyport/sallyport/authz"
	"github.com/sallyport/sallyport/authz/authztest"
	"github.com/sallyport/sallyport/internal/token"
)

// BenchmarkRequest is what a hook asks of Go, with a token that is remembered and one that is not.
func BenchmarkRequest(b *testing.B) {
	w := authztest.New()
	bench := start(b, w)
	out, s := make([]byte, 0, maxAnswer), bench.host.next()
	headers := carrying(w.Token())
	b.Run("remembered", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			bench.filter.Request(s, headers, Origin{}, out, nil)
		}
	})
	b.Run("refused", func(b *testing.B) {
		none := shown(authztest.Get("/protected"))
		b.ReportAllocs()
		for b.Loop() {
			bench.filter.Request(s, none, Origin{}, out, nil)
		}
	})
}

func carrying(token string) []authz.Header {
	return shown(authztest.Get("/protected", "authorization", "Bearer "+token, "x-auth-subject",
		"mallory", "user-agent", "curl", "accept", "*/*", "x-request-id", "r-1"))
}

// BenchmarkGrowth is requests of eight tokens in turn, each in the place of a stream that is
// over; what it reports is by how much the heap has grown at the end. For figures:
//
//	go test ./authz/filter -run '^$' -bench Growth -benchtime 100000000x
func BenchmarkGrowth(b *testing.B) {
	w := authztest.New()
	bench := start(b, w)
	requests := make([][]authz.Header, 8)
	for i := range requests {
		requests[i] = carrying(w.Token(func(c *token.Claims) { c.ID = fmt.Sprint("token-", i) }))
	}
	const places = 2048
	out, sent := make([]byte, 0, maxAnswer), 0
	ask := func() {
		sent++
		s := Stream{Place: uint32(sent % places), Generation: uint64(sent/places) + 1}
		if got := bench.filter.Request(s, requests[sent%len(requests)], Origin{}, out, nil); verdict(
			got) != verdictWatch {
			b.Fatalf("request %d: expected it to be let pass and watched, got %d", sent, verdict(got))
		}
	}
	for range 2 * places {
		ask()
	}
	before := authztest.Heap()
	for b.Loop() {
		ask()
	}
	b.ReportMetric(float64(authztest.Heap()-before), "grown-B")
}
