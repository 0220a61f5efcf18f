// Package admin is the issuer's admin API, by which operators revoke, and look at the revocation
// log and at the processes that follow it. It is served on the admin port, to whoever has the admin
// token, and only if one is configured. Its JSON is declared in internal/adminapi.
//
// A revocation is answered with 200 or 202 only if it is stored (S7), and every one is recorded,
// with who ordered it and why.
package admin

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/sallyport/sallyport/internal/adminapi"
	"github.com/sallyport/sallyport/internal/audit"
	"github.com/sallyport/sallyport/internal/config"
	"github.com/sallyport/sallyport/internal/credential"
	"github.com/sallyport/sallyport/internal/daemon"
	"github.com/sallyport/sallyport/internal/livefile"
	"github.com/sallyport/sallyport/internal/revocation"
	"github.com/sallyport/sallyport/internal/revocation/redislog"
	"github.com/sallyport/sallyport/internal/session"
	"github.com/sallyport/sallyport/issuer/httpapi"
)

// Log is where revocations go; *redislog.Issuer is one.
type Log interface {
	Append(ctx context.Context, requests []revocation.Request) (revocation.Receipt, error)
	Check(f *revocation.Facts) revocation.Verdict
}

// Inventory is what the log knows of those who follow it and of itself; *redislog.Issuer is one.
type Inventory interface {
	Gates(ctx context.Context) ([]redislog.Line, error)
	Issuers(ctx context.Context) ([]redislog.Line, error)
	Entries(ctx context.Context, after uint64, limit int) ([]revocation.Entry, error)
}

// Options are what an API is made of. All fields down to Now are required, unless no admin token is
// configured.
type Options struct {
	Config    daemon.AdminConfig
	Issuer    string // the iss of this issuer's tokens
	Sessions  *session.Store
	Log       Log
	Inventory Inventory
	HTTP      *httpapi.Handlers
	Trail     httpapi.Trail
	Waits     *httpapi.Waits
	Ended     *prometheus.CounterVec // counts ends of sessions, by what asked for them
	// MaxStaleness is this issuer's, which every process on the log is to have.
	MaxStaleness time.Duration
	// Requests and MaxConcurrent bound what one address, and all together, may ask for.
	Requests      credential.Rate
	MaxConcurrent int
	Now           func() time.Time // for the throttle
	Files         *livefile.Files  // which looks after the token's file; nil: nobody does
}

// API is the admin API of one issuer.
type API struct {
	cfg      Options
	token    *livefile.File[config.Secret]
	throttle *httpapi.Throttle
	slots    chan struct{} // one for each request under way; strangers have others
}

// New makes an API; nothing is served yet.
func New(o Options) (*API, error) {
	if o.Inventory == nil && !o.Config.Token.IsZero() {
		return nil, errors.New("issuer: expected an inventory for the admin API")
	}
	token, err := o.Config.Token.Live(o.Files, "admin.token", daemon.CheckToken)
	if err != nil {
		return nil, fmt.Errorf("issuer: %w", err)
	}
	return &API{
		cfg: o, token: token, throttle: httpapi.NewThrottle(o.Requests, o.Now()),
		slots: make(chan struct{}, o.MaxConcurrent),
	}, nil
}

// endpoints is everything that is served to operators. All of it needs the admin token.
func (a *API) endpoints() []httpapi.Endpoint {
	return []httpapi.Endpoint{
		{
			Method: http.MethodPost, Path: adminapi.RevocationsPath, Name: "admin_revoke",
			Query: []string{"wait", "dry_run"}, Handle: a.revoke,
		},
		{
			Method: http.MethodGet, Path: adminapi.RevocationsPath, Name: "admin_entries",
			Query: []string{"after", "limit", "kind", "value", "issuer"}, Handle: a.entries,
		},
		{
			Method: http.MethodGet, Path: adminapi.RevocationsPath + "/{seq}", Name: "admin_entry",
			Handle: a.entryAt,
		},
		{
			Method: http.MethodPost, Path: adminapi.UserLogoutPath, Name: "admin_logout",
			Query: []string{"wait"}, Handle: a.logoutUser,
		},
		{Method: http.MethodGet, Path: adminapi.StatusPath, Name: "admin_status", Handle: a.status},
	}
}

// Handlers returns what goes onto the admin port, by pattern: nothing unless an admin token is
// configured.
func (a *API) Handlers() map[string]http.Handler {
	if a.cfg.Config.Token.IsZero() {
		return nil
	}
	// The router would answer a wrong method itself, in its own words and without
	// X-Content-Type-Options.
	mux := http.NewServeMux()
	allowed := map[string][]string{}
	for _, e := range a.endpoints() {
		mux.Handle(e.Method+" "+e.Path,
			a.cfg.HTTP.Endpoint(e, []chan struct{}{a.slots}, a.operator))
		allowed[e.Path] = append(allowed[e.Path], e.Method)
	}
	for path, methods := range allowed {
		mux.Handle(path, a.cfg.HTTP.WrongMethod("admin_other", strings.Join(methods, ", ")))
	}
	mux.Handle("/admin/", a.cfg.HTTP.NotFound("admin_other", ""))
	return map[string]http.Handler{"/admin/": mux}
}

var errNotOperator = &httpapi.Refusal{
	Status: http.StatusUnauthorized, Code: "invalid_token",
	Description: "Send the admin token as bearer.", Challenge: "invalid_token",
}

// operator lets a request pass that carries the admin token. It is counted against the peer itself:
// nothing on the admin port comes from clients behind a proxy.
func (a *API) operator(r *http.Request) (httpapi.Client, error) {
	from := httpapi.PeerOf(r)
	if wait := a.throttle.Take(from.Counted, a.cfg.Now()); wait > 0 {
		return from, httpapi.TooManyRequests(wait)
	}
	if !daemon.HasBearer(r, a.token.Value()) {
		return from, errNotOperator
	}
	return from, nil
}

// revoke answers POST /admin/revocations. With ?dry_run=true nothing is done: the answer says what
// would be.
func (a *API) revoke(r *httpapi.Request) (httpapi.Reply, error) {
	wait, err := a.cfg.Waits.Asked(r)
	if err != nil {
		return httpapi.Reply{}, err
	}
	var asked adminapi.Revocation
	if err := r.Read(&asked); err != nil {
		return httpapi.Reply{}, err
	}
	wanted, err := a.parse(asked)
	if err != nil {
		return httpapi.Reply{}, err
	}
	// After everything has been checked: a dry run refuses what a real one would.
	if dry, err := r.Flag("dry_run"); err != nil {
		return httpapi.Reply{}, err
	} else if dry {
		return a.preview(r.Context(), wanted)
	}
	return a.carryOut(r, wanted, wait)
}

// logoutUser answers POST /admin/users/{name}/logout, the body and both of its members optional: it
// logs a user out everywhere.
func (a *API) logoutUser(r *httpapi.Request) (httpapi.Reply, error) {
	wait, err := a.cfg.Waits.Asked(r)
	if err != nil {
		return httpapi.Reply{}, err
	}
	name, err := credential.Normalize(r.PathValue("name"))
	if err != nil {
		return httpapi.Reply{}, errNoUser
	}
	var order adminapi.Order
	if r.HasBody() {
		if err := r.Read(&order); err != nil {
			return httpapi.Reply{}, err
		}
	}
	wanted := revocation.Request{
		Kind: revocation.KindSub, Issuer: a.cfg.Issuer, Value: name,
		Reason: cmp.Or(order.Reason, "logout_everywhere"), Actor: cmp.Or(order.Actor, "operator"),
	}
	if err := wanted.Validate(); err != nil {
		return httpapi.Reply{}, invalid(err)
	}
	return a.carryOut(r, wanted, wait)
}

var errNoUser = httpapi.InvalidRequest("there can be no user of that name")

// invalid is the refusal of what the log does not take, in the log's words.
func invalid(err error) error {
	return httpapi.InvalidRequest(strings.TrimPrefix(err.Error(), "revocation: "))
}

// parse checks what is asked for, and fills in what was left out.
func (a *API) parse(asked adminapi.Revocation) (revocation.Request, error) {
	kind, err := revocation.ParseKind(asked.Kind)
	if err != nil {
		return revocation.Request{}, httpapi.InvalidRequest(
			"kind is not jti, sid, sub, client, tenant, kid or iss")
	}
	wanted := revocation.Request{
		Kind: kind, Issuer: cmp.Or(asked.Issuer, a.cfg.Issuer), Value: asked.Value,
		Reason: cmp.Or(asked.Reason, "operator"), Actor: cmp.Or(asked.Actor, "operator"),
	}
	if asked.IssuedBefore != "" {
		if wanted.IssuedBefore, err = time.Parse(time.RFC3339, asked.IssuedBefore); err != nil {
			return revocation.Request{}, httpapi.InvalidRequest(
				"issued_before is not a time as 2026-01-31T12:00:00Z")
		}
	}
	if err := wanted.Validate(); err != nil {
		return revocation.Request{}, invalid(err)
	}
	if wanted.Issuer == a.cfg.Issuer {
		err = checkOurs(&wanted)
	}
	return wanted, err
}

// checkOurs refuses what makes no sense for sessions of our own, and finds the one spelling of a
// user's name: a revocation of another one would be stored and end nothing.
func checkOurs(wanted *revocation.Request) (err error) {
	switch wanted.Kind {
	case revocation.KindSub:
		if !wanted.IssuedBefore.IsZero() {
			return httpapi.InvalidRequest(
				"a user of this issuer is logged out as of now: leave issued_before out")
		}
		if wanted.Value, err = credential.Normalize(wanted.Value); err != nil {
			return errNoUser
		}
	case revocation.KindSID:
		if _, err := session.ParseID(wanted.Value); err != nil {
			return httpapi.InvalidRequest("value is not the id of a session of this issuer")
		}
	}
	return nil
}

// carryOut ends what an operator has ordered to end, records it, whether it could be stored or not,
// and answers.
func (a *API) carryOut(r *httpapi.Request, wanted revocation.Request,
	wait time.Duration) (httpapi.Reply, error) {
	event := a.cfg.Trail.Event(r, audit.Revoke)
	event.Kind, event.Value, event.Issuer = wanted.Kind.String(), wanted.Value, wanted.Issuer
	event.Actor, event.RevocationReason = wanted.Actor, wanted.Reason
	receipt, sessions, err := a.end(r.Context(), wanted)
	event.Seq = receipt.Seq
	a.cfg.Trail.Record(event, httpapi.FailureOf(err))
	if err != nil {
		return httpapi.Reply{}, err
	}
	a.cfg.Ended.WithLabelValues("operator").Inc()
	answer := adminapi.Revoked{Issuer: wanted.Issuer, Sessions: sessions}
	if wanted.Issuer != a.cfg.Issuer {
		answer.Effect = effectOf(wanted.Kind, false)
		if receipt.Until > 0 {
			until := time.UnixMilli(receipt.Until).UTC()
			answer.Until = &until
		}
	}
	return a.cfg.Waits.Acknowledge(r.Context(), receipt, wait, answer)
}

// end ends sessions of our own where that is what was asked for, so that their refresh tokens end
// too; else it appends. It returns how many of our own sessions were known; nil where they are not
// kept by what was named.
func (a *API) end(ctx context.Context,
	wanted revocation.Request) (revocation.Receipt, *int, error) {
	ours := wanted.Issuer == a.cfg.Issuer
	switch {
	case ours && wanted.Kind == revocation.KindSID:
		return a.endOne(ctx, wanted)
	case ours && wanted.Kind == revocation.KindSub:
		done, err := a.cfg.Sessions.EndAll(ctx, wanted.Value, wanted.Reason, wanted.Actor)
		return done.Receipt, &done.Sessions, err
	}
	receipt, err := a.cfg.Log.Append(ctx, []revocation.Request{wanted})
	if errors.Is(err, revocation.ErrInvalidRequest) {
		return revocation.Receipt{}, nil, invalid(err)
	}
	return receipt, nil, err
}

// endOne ends a session whether its record is known or not: its tokens may outlive the record.
func (a *API) endOne(ctx context.Context,
	wanted revocation.Request) (revocation.Receipt, *int, error) {
	found, err := a.cfg.Sessions.Look(ctx, wanted.Value)
	if err != nil {
		return revocation.Receipt{}, nil, err
	}
	known := 0
	if found.State != session.Missing {
		known = 1
	}
	receipt, err := a.cfg.Sessions.End(ctx, wanted.Value, wanted.Reason, wanted.Actor)
	return receipt, &known, err
}
