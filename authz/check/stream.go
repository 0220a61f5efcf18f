package check

import (
	"time"

	"github.com/sallyport/sallyport/authz"
	"github.com/sallyport/sallyport/internal/config"
)

// StreamConfig is what happens to requests that outlive their token: websockets, gRPC calls,
// event streams, downloads.
type StreamConfig struct {
	// EndAtExpiry has Envoy end them when their token expires, by the header
	// x-envoy-upstream-stream-duration-ms, unless their route says outlives_token.
	EndAtExpiry bool `yaml:"end_at_expiry" usage:"end requests that are not over when their token expires"`
	// Least is what a request gets whose token is about to expire.
	Least time.Duration `yaml:"least"         usage:"how long a request may last at least"`
	// Max bounds what a revocation cannot end while it is open: every request that passes by a token,
	// on routes that say outlives_token, too. 0 is no bound.
	Max time.Duration `yaml:"max" usage:"how long a request that passes by a token may last at most; 0: as long as its token lives"`
}

// DefaultStreamConfig ends every stream with its token.
func DefaultStreamConfig() StreamConfig {
	return StreamConfig{EndAtExpiry: true, Least: 5 * time.Second}
}

// Validate checks the bounds.
func (c StreamConfig) Validate() error {
	if c.EndAtExpiry && (c.Least < 100*time.Millisecond || c.Least > time.Hour) {
		return config.At("least", "expected 100ms to 1h, got %v", c.Least)
	}
	if c.Max != 0 && (c.Max < time.Second || c.Max < c.Least || c.Max > 30*24*time.Hour) {
		return config.At("max", "expected 0, or 1s to 720h and no less than least (%v), got %v", c.Least,
			c.Max)
	}
	return nil
}

// HeaderStreamDuration limits the life of the upstream stream; Envoy takes it from an allowed
// request and removes it. 0 would mean no limit.
const HeaderStreamDuration = "x-envoy-upstream-stream-duration-ms"

// Lifetime returns for how long an allowed request may last; 0 if that is not limited.
//
// Every request that passes by a token has this limit, whatever it says of itself: whether its
// answer is a stream is known to the upstream alone, and a client that could choose would outlive
// its token by asking for */*. An answer that is over before costs Envoy a timer. It is whole
// seconds, so that a token's requests of one second have one answer.
func (c StreamConfig) Lifetime(d *authz.Decision) (lifetime time.Duration) {
	if c.EndAtExpiry && d.EndsWithToken {
		lifetime = max(d.Remaining.Truncate(time.Second), c.Least)
	}
	byToken := d.Allow && d.Identity != nil && d.Identity.Claims != nil
	if c.Max > 0 && byToken && (lifetime == 0 || c.Max < lifetime) {
		return c.Max
	}
	return lifetime
}
