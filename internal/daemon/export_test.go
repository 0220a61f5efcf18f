package daemon

import (
	"net/http"
	"time"
)

// NewAdminServer is the admin port's server with other time-outs.
func NewAdminServer(h http.Handler, header, idle time.Duration) *http.Server {
	return newAdminServer(h, timeouts{header: header, read: header, write: time.Second, idle: idle})
}

// Reachable is the address to ask for one to listen on.
func Reachable(listen string) string { return reachable(listen) }
