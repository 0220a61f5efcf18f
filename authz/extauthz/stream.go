package extauthz

import (
	"time"

	"github.com/sallyport/sallyport/authz"
)

// headerStreamDuration limits the life of the upstream stream; Envoy takes it from an allowed
// request and removes it. 0 would mean no limit.
const headerStreamDuration = "x-envoy-upstream-stream-duration-ms"

// lifetime gives for how long an allowed request may last; 0 means that nothing is to be said.
//
// Every request that passes by a token has this limit, whatever it says of itself: whether its
// answer is a stream is known to the upstream alone, and a client that could choose would outlive
// its token by asking for */*. An answer that is over before costs Envoy a timer.
func (c StreamConfig) lifetime(d *authz.Decision) time.Duration {
	if !c.EndAtExpiry || !d.EndsWithToken {
		return 0
	}
	return max(d.Remaining, c.Least)
}
