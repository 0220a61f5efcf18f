package filter

import (
	"testing"

	"github.com/sallyport/sallyport/authz/authztest"
)

// BenchmarkRequest is what a hook asks of Go, with a token that is remembered and one that is not.
func BenchmarkRequest(b *testing.B) {
	w := authztest.New()
	bench := start(b, w)
	out, s := make([]byte, 0, maxAnswer), bench.host.next()
	headers := shown(authztest.Get("/protected", "authorization", "Bearer "+w.Token(), "x-auth-subject",
		"mallory", "user-agent", "curl", "accept", "*/*", "x-request-id", "r-1"))
	b.Run("remembered", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			bench.filter.Request(s, headers, Origin{}, out)
		}
	})
	b.Run("refused", func(b *testing.B) {
		none := shown(authztest.Get("/protected"))
		b.ReportAllocs()
		for b.Loop() {
			bench.filter.Request(s, none, Origin{}, out)
		}
	})
}
