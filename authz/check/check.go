// Package check is what every transport does around a decision: it has a missing key fetched once,
// counts what was decided, records what was refused, and turns a panic into a refusal.
//
// It promises:
//   - Whatever goes wrong, a Decision comes back, and what nobody has decided refuses.
//   - What a stranger can cause is bounded: how many checks wait for keys and how long, audit
//     lines, the labels of metrics, and the lines that panics write.
package check

import (
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"runtime/debug"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/time/rate"

	"github.com/sallyport/sallyport/authz"
	"github.com/sallyport/sallyport/internal/audit"
	"github.com/sallyport/sallyport/internal/decisionlog"
	"github.com/sallyport/sallyport/internal/keyset"
	"github.com/sallyport/sallyport/internal/revocation"
	"github.com/sallyport/sallyport/internal/token"
)

// Keys fetches what the engine misses.
type Keys interface {
	// Await has the keys of an issuer fetched, unless that was done lately, and reports whether the
	// key is there now. It returns when ctx ends at the latest.
	Await(ctx context.Context, issuer, keyID string) bool
}

// Recorder takes audit events, within a limit of its own: *audit.Log is one.
type Recorder interface {
	// Offer records an event of which only the name, the outcome and the reason are known, and
	// reports whether it has a line; fill, called before Offer returns, fills in the rest, and is
	// called only then. It must not block.
	Offer(e audit.Event, fill func(*audit.Event)) bool
}

// Options is what a Checker needs beside its engine. Instant is needed.
type Options struct {
	Instant func() revocation.Instant // the clocks by which the revocations' freshness is told
	Keys    Keys                      // nil: what the gate has must do
	Audit   Recorder                  // nil: no audit lines
	// Decisions is the decision log; nil: there is none.
	Decisions *decisionlog.Log
	Logger    *slog.Logger          // nil: silent
	Registry  prometheus.Registerer // nil: metrics go nowhere

	KeyWait    time.Duration // how long a check may wait for a key
	KeyWaiters int           // how many may at a time

	// ProxyStrips says that the proxy removes the headers by which clients could say who they are,
	// and marks each request in which it has looked for them: no other one passes.
	ProxyStrips bool
	// ProxyCannotStrip says that the proxy shows all headers of a request, and cannot be told which of
	// them to remove: a request that has one to be removed or overwritten does not pass.
	ProxyCannotStrip bool
}

// Request is a check: what the engine judges, and what its audit line says besides.
type Request struct {
	authz.Request
	// Malformed is what is wrong with the request itself, of a fixed list; "" when nothing is.
	Malformed string
	// ID is the request's id when it has no header x-request-id.
	ID string
	// Source knows from where the request came; nil when nobody does.
	Source Source
	// Mark is the proxy's word that it has removed what Options.ProxyStrips is about: the value of
	// HeaderStripped.
	Mark string
	// Tally is a number of whoever checks, or of the processor: those who count under different ones
	// write to different memory.
	Tally int

	decided authz.Decision // what was refused, for its audit line
}

// HeaderStripped is the mark that Envoy sets behind the patterns by which it removes headers, in
// the same list, so that nobody has the one without the others, and Stripped what its value begins
// with: headers that the policy makes of claims follow, with commas between them and no spaces. A
// gate removes it, lest it speaks for another Envoy further on.
const (
	HeaderStripped = "x-sallyport-stripped"
	Stripped       = "1"
)

// MaxHeaders is how many header lines a request may have. Envoy lets 100 through by default.
const MaxHeaders = 1000

// Source is where a request came from. It is asked for an audit line alone.
type Source interface {
	// Address returns an IP address, "" when there is none.
	Address() string
}

// Address is a Source that is known already.
type Address string

// Address implements Source.
func (a Address) Address() string { return string(a) }

// Checker checks requests. Its methods may be called from many goroutines.
type Checker struct {
	Options
	engine  *authz.Engine
	waiters *keyset.Waiters
	metrics *metrics

	panics     *rate.Limiter
	unlogged   atomic.Uint64 // panics since the last one that was logged
	unstripped *rate.Limiter // log lines about a proxy that does not strip
	shadowed   *rate.Limiter // log lines about a shadow policy that decides otherwise
}

// New makes a Checker.
func New(engine *authz.Engine, o Options) (*Checker, error) {
	if engine == nil || o.Instant == nil {
		return nil, errors.New("check: expected an engine and Instant, got none")
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	return &Checker{
		Options: o, engine: engine, waiters: keyset.NewWaiters(o.KeyWaiters, o.KeyWait),
		metrics:    newMetrics(o.Registry),
		panics:     rate.NewLimiter(panicRate, panicBurst),
		unstripped: rate.NewLimiter(rate.Every(time.Minute), 1),
		shadowed:   rate.NewLimiter(shadowRate, shadowBurst),
	}, nil
}

// At returns a checker for another door of the same gate, by other options. It shares with c what
// both count, the places of those who wait for keys and the limits of the log, which c's options
// have set.
func (c *Checker) At(change func(*Options)) *Checker {
	o := c.Options
	change(&o)
	return &Checker{
		Options: o, engine: c.engine, waiters: c.waiters, metrics: c.metrics, panics: c.panics,
		unstripped: c.unstripped, shadowed: c.shadowed,
	}
}

// Check decides, and accounts for the decision. When a key is missing it has it fetched, waits for
// it within its budget, and decides once more.
func (c *Checker) Check(ctx context.Context, r *Request) (d authz.Decision) {
	// Not recovered from, a panic would end the process.
	defer func() {
		if value := recover(); value != nil {
			d = c.Recovered(value)
		}
	}()
	r.At = c.Instant()
	begun := r.At
	d = c.decide(r)
	if d.Missing.Needed() && c.await(ctx, d.Missing) {
		r.At = c.Instant() // the wait has taken time, in which the token may have expired
		d = c.decide(r)
	}
	c.account(r, &d, begun)
	return d
}

// Try is Check for a caller that must not wait: when a key is missing that Check would wait for, it
// accounts for nothing and reports false.
func (c *Checker) Try(r *Request) (d authz.Decision, decided bool) {
	return c.attempt(r, false)
}

// Quick is Check for a caller that others wait for: of a token that was not verified before, which may
// take a hundred times as long as all else, it accounts for nothing and reports false.
func (c *Checker) Quick(r *Request) (d authz.Decision, decided bool) {
	return c.attempt(r, true)
}

// attempt decides, by remembered tokens alone or by any, and accounts for the decision unless
// something is still to be done for it.
func (c *Checker) attempt(r *Request, remembered bool) (d authz.Decision, decided bool) {
	defer func() {
		if value := recover(); value != nil {
			d, decided = c.Recovered(value), true
		}
	}()
	r.At, r.Remembered = c.Instant(), remembered
	d = c.decide(r)
	// Off before a shadow policy is asked: that one may have to verify what the other need not.
	if r.Remembered = false; d.Unverified || d.Missing.Needed() && c.Keys != nil {
		return authz.Decision{}, false
	}
	c.account(r, &d, r.At)
	return d, true
}

// Lasting reports whether the answer to a request may be given again to the same request without
// asking: see [authz.Engine.Lasting]. A decision log is told of every request.
func (c *Checker) Lasting(r *Request, d *authz.Decision) bool {
	return c.Decisions == nil && r.Malformed == "" && c.engine.Lasting(&r.Request, d)
}

// Given counts requests that were let pass by an answer of before, so many of them by a token, under
// a tally's number.
func (c *Checker) Given(tally int, requests, tokens uint64) {
	c.metrics.checks.given(tally, requests, tokens)
}

func (c *Checker) decide(r *Request) authz.Decision {
	if r.Malformed != "" {
		return c.engine.Refuse(&r.Request, authz.Decision{}, token.ReasonBadRequest, r.Malformed)
	}
	// Before all else: what the proxy leaves to a client would reach the upstream on public routes,
	// too.
	if c.ProxyStrips {
		if problem := c.unmarked(r.Mark); problem != "" {
			return c.notStripped(r, authz.Decision{}, problem)
		}
	}
	d := c.engine.Decide(&r.Request)
	// A proxy that passes one on passes on others, which it may not show.
	if c.ProxyStrips && d.Allow && len(d.Strip) > 0 {
		return c.notStripped(r, d, notStripped)
	}
	if c.ProxyCannotStrip && d.Allow && (len(d.Strip) > 0 || r.saysWhoCalls(d.Identity)) {
		return c.engine.Refuse(&r.Request, d, token.ReasonBadRequest, clientsOwn)
	}
	return d
}

// clientsOwn is what a refusal tells of a request with a header that its proxy should have removed.
const clientsOwn = "a header by which the client says itself who calls, or which method or path is " +
	"meant, and which the proxy is to remove before it asks"

// saysWhoCalls reports whether a request has a header that its proxy is to set or to remove.
func (r *Request) saysWhoCalls(id *authz.Identity) bool {
	has := func(name string) bool { return authz.HasHeader(r.Headers, name) }
	return slices.ContainsFunc(id.Remove, has) ||
		slices.ContainsFunc(id.Set, func(h authz.Header) bool { return has(h.Name) })
}

// What a refusal tells of a proxy that does not strip.
const (
	notMarked = "expected " + HeaderStripped + ": " + Stripped +
		", which Envoy sets when it has removed identity headers"
	notStripped = "Envoy has passed on a header that it is to remove"
	notCovered  = "Envoy does not say in " + HeaderStripped + " that it removes "
)

// unmarked returns what the proxy's word lacks; "" when it is whole.
func (c *Checker) unmarked(mark string) string {
	names, marked := strings.CutPrefix(mark, Stripped)
	if !marked || names != "" && !isList(names) {
		return notMarked
	}
	if missing, ok := c.engine.Covered(names); !ok {
		return notCovered + missing
	}
	return ""
}

// isList reports whether what follows the mark is headers, each with a comma before it. Whatever else
// stands there is a client's, beside which Envoy has put its own.
func isList(names string) bool {
	if names[0] != ',' {
		return false
	}
	for name := range strings.SplitSeq(names, ",") {
		if name != "" && !strings.HasPrefix(name, "x-") {
			return false
		}
	}
	return true
}

// notStripped refuses a request from which the proxy should have removed headers and has not, and
// says so in the log now and then: all requests are refused until somebody mends it.
func (c *Checker) notStripped(r *Request, d authz.Decision, problem string) authz.Decision {
	if c.unstripped.Allow() {
		c.Logger.Warn("requests are refused: Envoy does not remove identity headers, or does not say "+
			"that it has; give it what deploy/config/envoy.yaml has. Where it asks over gRPC, "+
			"`ext_authz: {strip: all}` has the gate remove them", "problem", problem)
	}
	return c.engine.Refuse(&r.Request, d, token.ReasonNotStripped, problem)
}

// Unmarked says in the log, now and then, that the proxy has not marked a request which its gate has
// stripped itself.
func (c *Checker) Unmarked() {
	if c.unstripped.Allow() {
		c.Logger.Warn("Envoy does not say of requests that it has removed identity headers: give it the " +
			"patterns that deploy/config/envoy-in-process.yaml has, or say `ext_authz: {strip: all}`. This " +
			"gate removes those that it knows; on routes that ask no gate nothing does")
	}
}

// await has a missing key fetched, and reports whether it is there now. Those who find no place to
// wait are decided without it.
func (c *Checker) await(ctx context.Context, missing authz.Missing) bool {
	if c.Keys == nil {
		return false
	}
	known, crowded := c.waiters.Await(ctx, c.Keys, strings.Clone(missing.Issuer),
		strings.Clone(missing.KeyID))
	if crowded {
		c.metrics.notAwaited.Inc()
	}
	return known
}

// account gives a decision its ID, counts it, and has it recorded.
func (c *Checker) account(r *Request, d *authz.Decision, begun revocation.Instant) {
	took := c.Instant().Since(begun)
	c.metrics.checks.decided(r.Tally, d, took)
	// The answer to a preflight refuses nothing, and nobody asks for it afterwards.
	if d.Preflight() {
		c.metrics.preflights.Inc()
		return
	}
	d.ID = newID()
	if !d.Allow {
		c.refused(r, d)
	}
	shadow := c.shadow(r, d)
	if c.Decisions != nil {
		c.log(r, d, took, shadow)
	}
}

// newID makes an ID. The generator has a state for each processor, so that none waits for another.
func newID() authz.ID { return authz.ID{rand.Uint64(), rand.Uint64()} }

// Recovered returns what a request is told whose check has panicked, and accounts for it.
func (c *Checker) Recovered(value any) authz.Decision {
	c.metrics.checks.refused(0, token.ReasonInternal)
	c.Panicked(authz.PanicText(value), debug.Stack())
	return authz.Decision{Refusal: c.engine.Refusal(token.ReasonInternal), ID: newID()}
}

// Panicked counts a panic that was recovered from, the engine's too, and logs it within a limit: if
// a request can bring one about, whoever has found it can send as many as they like.
func (c *Checker) Panicked(what string, stack []byte) {
	c.metrics.panics.Inc()
	if !c.panics.Allow() {
		c.unlogged.Add(1)
		return
	}
	c.Logger.Error("recovered from a panic; the request was refused", "panic", what,
		"unlogged", c.unlogged.Swap(0), "stack", string(stack))
}

// Panics that are logged, a second and at once.
const (
	panicRate  = 1
	panicBurst = 10
)
