package extauthz

import (
	"testing"

	"github.com/sallyport/sallyport/authz/authztest"
)

// BenchmarkCheckRoundTrip is one check after the other over loopback, client and server in one process.
func BenchmarkCheckRoundTrip(b *testing.B) {
	s := start(b, authztest.New())
	m := encoded(authztest.Get("/protected", "authorization", "Bearer "+s.world.Token()), false)
	b.ReportAllocs()
	for b.Loop() {
		s.send(b, m)
	}
}
