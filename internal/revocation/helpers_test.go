package revocation_test

import (
	"time"

	"github.com/sallyport/sallyport/internal/revocation"
	"github.com/sallyport/sallyport/internal/revocation/liveset"
)

const (
	iss  = "https://issuer.example"
	skew = 30 * time.Second
)

// at is a time in the tests' own calendar, in unix seconds.
const at = int64(1_800_000_000)

func newSet() *liveset.Set {
	return liveset.New(liveset.Config{ClockSkew: skew, Key: liveset.Key{K0: 1, K1: 2}, Shards: 1})
}

func entry(k revocation.Kind, value string) *revocation.Entry {
	e := &revocation.Entry{
		Seq: 7, Kind: k, Issuer: iss, Value: value, Expires: (at + 3660) * 1000, At: at * 1000,
		Reason: "test",
	}
	if k.Cutoff() {
		e.IssuedBefore = at * 1000
	}
	return e
}
