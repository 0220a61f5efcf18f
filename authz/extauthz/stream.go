package extauthz

import (
	"strings"
	"time"

	"github.com/sallyport/sallyport/authz"
)

// headerStreamDuration limits the life of the upstream stream; Envoy takes it from an allowed request and removes it. 0 would
// mean no limit.
const headerStreamDuration = "x-envoy-upstream-stream-duration-ms"

// lifetime gives for how long an allowed request may live; 0 means that nothing is to be said.
func (c StreamConfig) lifetime(r *checkRequest, d *authz.Decision) time.Duration {
	if !c.EndAtExpiry || d.Identity.Claims == nil || !r.streams() {
		return 0
	}
	return max(d.Remaining, c.Least)
}

// streams says that a request is of a kind that may live long: an upgrade, a CONNECT, a gRPC call, an event stream.
func (r *checkRequest) streams() bool {
	if r.Method == "CONNECT" {
		return true
	}
	for i := range r.Headers {
		name, value := r.Headers[i].Name, r.Headers[i].Value
		switch {
		case len(name) == len("upgrade") && name == "upgrade",
			len(name) == len("content-type") && name == "content-type" && strings.HasPrefix(value, "application/grpc"),
			len(name) == len("accept") && name == "accept" && strings.Contains(value, "text/event-stream"):
			return true
		}
	}
	return false
}
