// Package issuer is door one: it checks who somebody is and hands out tokens, over HTTP.
//
// It promises:
//
//   - Nothing is handed out or acknowledged unless it is stored: whatever goes wrong with storage
//     is a 503 (S7).
//   - An unknown name, a disabled user and a wrong password get the same bytes after the same work.
//   - A request is read strictly before anything is looked up: its method, its type, its size, one
//     JSON object of known members. No endpoint takes or gives a token in a URL.
//   - What a stranger can make it do is bounded: connections, requests at a time, bytes, time,
//     memory of the throttle.
//   - Of what others may have made up in a sender's name nothing is told or changed.
//   - No answer, log line or metric holds a password or token; errors are out of a fixed catalogue.
//
// Server is the public API: login.go, refresh.go and logout.go have an endpoint each, documents.go
// the two that anybody may read. Without users there are none of the three. receiver.go has what the
// endpoints share that other issuers tell of logouts, backchannel.go the one of OpenID Connect. Package admin is the operators' API, httpapi what both are served
// through. ChangedUsers ends the sessions of users who have lost something.
package issuer

import (
	"context"
	"errors"
	"log/slog"
	"net/netip"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/sallyport/sallyport/internal/credential"
	"github.com/sallyport/sallyport/internal/jose"
	"github.com/sallyport/sallyport/internal/livefile"
	"github.com/sallyport/sallyport/internal/revocation"
	"github.com/sallyport/sallyport/internal/sender"
	"github.com/sallyport/sallyport/internal/session"
	"github.com/sallyport/sallyport/internal/ssf/stream"
	"github.com/sallyport/sallyport/issuer/admin"
	"github.com/sallyport/sallyport/issuer/httpapi"
)

// Keys sign access tokens and know the published keys; *keyring.Ring is one.
type Keys interface {
	SignUnless(revoked func(kid string) bool, typ string, claims []byte) (string, error)
	KeySet() []byte
	Public(kid string) (*jose.PublicKey, bool)
}

// Users check passwords and know who may go on; *credential.Store is one.
type Users interface {
	Verify(ctx context.Context, name, password string, from netip.Addr) (credential.User, error)
	Lookup(ctx context.Context, name string) (credential.User, error)
}

// Directory returns all users there are, by name, the disabled ones too; *credential.Store is one.
type Directory interface {
	All() map[string]credential.User
}

// Log is the revocation log beyond what sessions need of it; *redislog.Issuer is one.
type Log interface {
	Append(ctx context.Context, requests []revocation.Request) (revocation.Receipt, error)
	Live(requests []revocation.Request) (revocation.Receipt, bool)
	Check(f *revocation.Facts) revocation.Verdict
	httpapi.Gates
}

// Options are what an Issuer is made of. All fields down to Audit are required.
type Options struct {
	Config   Config
	Keys     Keys
	Sessions *session.Store
	Log      Log
	Audit    httpapi.Recorder

	// Users are those who log in. nil: nobody does.
	Users Users

	// Senders are the issuers whose messages are taken. nil: none are.
	Senders *sender.Senders
	// Lease returns the lease of a sender's stream of security events; required where one sends any.
	Lease func(sender string) stream.Lease

	// Directory lets what users lose while no issuer runs be noticed at the next start. nil: it is
	// not.
	Directory Directory

	// Inventory is required when an admin token is configured.
	Inventory admin.Inventory

	// Open says whether passwords and tokens are to be taken yet; until it is nil they get 503.
	// nil: always.
	Open     func() error
	Logger   *slog.Logger          // nil: silent
	Registry prometheus.Registerer // nil: metrics go nowhere
	Now      func() time.Time      // for the throttles; nil: time.Now
	Files    *livefile.Files       // which looks after the admin token's file; nil: nobody does
}

// Issuer is all that an issuer's process serves and does over HTTP.
type Issuer struct {
	Public  *Server
	Admin   *admin.API
	Users   *ChangedUsers    // nil without users
	Streams []*stream.Stream // of the senders that send security events
}

// New makes an Issuer; nothing is served yet.
func New(o Options) (*Issuer, error) {
	if o.Keys == nil || o.Sessions == nil || o.Log == nil || o.Audit == nil {
		return nil, errors.New("issuer: expected keys, sessions, a log and an audit log")
	}
	cfg := o.Config
	if o.Users != nil && len(cfg.Audience) == 0 {
		return nil, errors.New("issuer: expected an audience for the tokens of users")
	}
	if err := errors.Join(cfg.Validate(), cfg.HTTP.Validate(), cfg.Admin.Validate()); err != nil {
		return nil, err
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Open == nil {
		o.Open = func() error { return nil }
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	shared := shared{
		handlers: httpapi.NewHandlers(cfg.Issuer, o.Logger, o.Registry, o.Now),
		trail:    httpapi.Trail{Issuer: cfg.Issuer, ClientID: cfg.ClientID, To: o.Audit},
		// Half as many as there are places for logouts, so that waiting ones never take them all.
		waits:   httpapi.NewWaits(o.Log, cfg.HTTP.MaxWait, max(1, cfg.HTTP.MaxConcurrent/4)),
		metrics: newMetrics(o.Registry),
	}
	api, err := admin.New(admin.Options{
		Config:        cfg.Admin,
		Issuer:        cfg.Issuer,
		Sessions:      o.Sessions,
		Log:           o.Log,
		Inventory:     o.Inventory,
		HTTP:          shared.handlers,
		Trail:         shared.trail,
		Waits:         shared.waits,
		Ended:         shared.metrics.ended,
		MaxStaleness:  cfg.Revocation.MaxStaleness,
		Requests:      cfg.HTTP.Requests,
		MaxConcurrent: cfg.HTTP.MaxConcurrent,
		Now:           o.Now,
		Files:         o.Files,
	})
	if err != nil {
		return nil, err
	}
	public, err := newServer(o, shared)
	if err != nil {
		return nil, err
	}
	all := &Issuer{Public: public, Admin: api}
	if public.receiver != nil {
		for _, c := range o.Senders.Configs() { // in their order, by which their parts are named
			if s, sends := public.receiver.streams[c.Issuer]; sends {
				all.Streams = append(all.Streams, s.Stream)
			}
		}
	}
	if o.Users != nil {
		all.Users = newChangedUsers(o, shared)
	}
	return all, nil
}

// shared is what the parts of an issuer have in common.
type shared struct {
	handlers *httpapi.Handlers
	trail    httpapi.Trail
	waits    *httpapi.Waits
	metrics  *metrics
}
