package authz

import (
	"cmp"
	"errors"
	"fmt"
	"iter"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/sallyport/sallyport/internal/jose"
	"github.com/sallyport/sallyport/internal/policy"
	"github.com/sallyport/sallyport/internal/revocation"
	"github.com/sallyport/sallyport/internal/token"
)

// Keys are the trusted issuers and their public keys. Its methods look at a snapshot and never
// wait.
type Keys interface {
	// Profile returns the rules for the tokens of one issuer, named byte for byte: the same pointer
	// for as long as the rules are the same.
	Profile(issuer string) (*token.Profile, bool)
	// Key returns an issuer's key, or nil and why there is none by that id: the issuer's keys were
	// never had (token.ReasonNoKeys), it has no such key (token.ReasonUnknownKey), or nobody knows
	// yet (token.ReasonKeyPending, which all else is taken for). An empty id stands for the one key
	// that fits the algorithm; unless there is exactly one, the reason is token.ReasonKeyIDMissing.
	Key(issuer, keyID, algorithm string) (*jose.PublicKey, token.Reason)
	// Removals counts the times that a key has gone or changed, each after it has happened. What
	// was verified before the last of them is forgotten.
	Removals() uint64
}

// Revocations are the gate's copy of the revocation log and the clock that goes with it. Its
// methods never wait.
type Revocations interface {
	Check(*revocation.Facts) revocation.Verdict
	Freshness(revocation.Instant) revocation.Freshness
	// Now is the time by which tokens expire, at that moment.
	Now(revocation.Instant) time.Time
}

// Wire lets a transport marshal its answers once: what it returns is kept in the field Wire of its
// argument. It is any, as only the transport knows what it sends: with bytes in its place, gRPC's
// buffers around them would be allocated for each request, and a type parameter would stand on
// Engine, Decision and all that they are made of.
type Wire interface {
	Allow(*Identity) any
	Refuse(*Refusal) any
}

// Options are what an Engine stands on. Keys and Revocations are needed.
type Options struct {
	Keys        Keys
	Revocations Revocations
	Named       map[string]*policy.Policy // for requests that name one; see SetPolicies
	// KeepOverrides passes on the headers that OverrideHeaders lists, for upstreams that are to act
	// on them.
	KeepOverrides bool

	Realm string // of the challenge in a 401; default sallyport
	Cache CacheConfig
	Wire  Wire // may be nil
	// KeepClaims keeps all claims of a verified token, whether the policy reads them or not: for those
	// who ask Identity.Claim.
	KeepClaims bool
	// told of what Decide has recovered from; may be nil
	OnPanic func(what string, stack []byte)
	// for how long revocations are kept at least; may be nil
	MaxLifetime func() (limit time.Duration, known bool)
}

// Engine decides. Its methods may be called from many goroutines.
type Engine struct {
	options   Options
	cache     *cache
	reader    jose.Reader
	rules     atomic.Pointer[rules]
	shadow    atomic.Pointer[rules] // nil: none
	refusals  *refusals
	anonymous *Identity
}

// rules is one policy with the refusals that speak of it.
type rules struct {
	policy   *policy.Policy
	refusals *refusals // in the words of its schemes
	// what a token is told that does not meet a demand, where that is not the same for all demands
	lacking map[policy.Lack]*Refusal
	// plain means that nothing of what prepare does is asked for
	plain bool
	// lasting means that no decision depends on any of PassedOver
	lasting   bool
	anonymous *Identity         // who anybody is
	named     map[string]*rules // of policies that routes of the proxy name
	claims    *claims           // what is made of claims; nil: nothing
	sources   sources           // where tokens may stand; nil: where readHeaders has looked
	forms     forms             // in which clients are told that they are refused; nil: JSON alone
	cors      bool              // some rule lets pages of other origins read answers
	// parameters in which some rule takes a token, by whatever policy; for forms alone
	queryTokens []string
	wire        Wire
}

// New makes an engine. p may be exchanged later.
func New(p *policy.Policy, o Options) (*Engine, error) {
	switch {
	case p == nil:
		return nil, errors.New("authz: expected a policy, got none")
	case o.Keys == nil || o.Revocations == nil:
		return nil, errors.New("authz: expected keys and revocations, got none")
	}
	o.Realm = cmp.Or(o.Realm, DefaultRealm)
	if err := ValidateRealm(o.Realm); err != nil {
		return nil, fmt.Errorf("authz: realm: %w", err)
	}
	if err := o.Cache.Validate(); err != nil {
		return nil, fmt.Errorf("authz: cache: %w", err)
	}
	e := &Engine{options: o, cache: newCache(o.Cache), refusals: newRefusals(o.Realm, o.Wire)}
	// Marshalled once, as all refusals are: neither depends on a request.
	e.anonymous = newIdentity(nil, nil, o.Wire)
	e.SetPolicies(p, o.Named)
	return e, nil
}

// SetPolicy puts another policy in force, for every decision that begins after it returns.
func (e *Engine) SetPolicy(p *policy.Policy) { e.SetPolicies(p, nil) }

// SetPolicies is SetPolicy with more policies, for requests that name one.
func (e *Engine) SetPolicies(p *policy.Policy, named map[string]*policy.Policy) {
	// Two routes of the proxy may lead to one upstream: what one policy makes of claims, a client of
	// another must not say.
	claimHeaders := p.ClaimHeaders()
	for _, other := range named {
		claimHeaders = append(slices.Clone(claimHeaders), other.ClaimHeaders()...)
	}
	slices.Sort(claimHeaders)
	claimHeaders = slices.Compact(claimHeaders)
	r := e.compile(p, claimHeaders)
	r.named = map[string]*rules{}
	for name, other := range named {
		r.named[name] = e.compile(other, claimHeaders)
	}
	r.queryTokens = queryTokens(p)
	for _, other := range named {
		r.queryTokens = append(r.queryTokens, queryTokens(other)...)
	}
	slices.Sort(r.queryTokens)
	r.queryTokens = slices.Compact(r.queryTokens)
	for _, other := range r.named {
		other.queryTokens = r.queryTokens
	}
	e.rules.Store(r)
}

// queryTokens lists the parameters in which routes of a policy take tokens.
func queryTokens(p *policy.Policy) (names []string) {
	for _, rule := range p.Rules() {
		if rule.QueryToken != "" {
			names = append(names, rule.QueryToken)
		}
	}
	return names
}

// compile makes all refusals and answers that a policy has, once.
func (e *Engine) compile(p *policy.Policy, claimHeaders []string) *rules {
	r := &rules{
		policy: p, refusals: e.refusals, lacking: map[policy.Lack]*Refusal{}, claims: newClaims(p, claimHeaders, e.options.Wire),
		sources: p.Tokens(), wire: e.options.Wire, cors: p.AnswersAcross(),
	}
	if schemes := schemesOf(p); !slices.Equal(schemes, e.refusals.schemes) {
		r.refusals = newRefusals(e.options.Realm, e.options.Wire, schemes...)
	}
	told := r.refusals.all()
	for _, rule := range p.Rules() {
		for _, demand := range rule.Demands() {
			for reason, refusal := range r.refusals.lacking(demand) {
				r.lacking[policy.Lack{Reason: reason, Demand: demand}] = refusal
				told = append(told, refusal)
			}
		}
	}
	r.forms = r.refusals.forms(p, told)
	r.anonymous = e.anonymous
	if r.claims != nil {
		r.anonymous = r.claims.anonymous
	}
	r.lasting = !p.MatchesHeaders() && !slices.ContainsFunc(claimHeaders, passedOver) &&
		!slices.ContainsFunc(r.sources, func(s policy.TokenSource) bool { return passedOver(s.Header) })
	r.plain = r.claims == nil && r.sources == nil && !r.cors && len(queryTokens(p)) == 0
	return r
}

// schemesOf lists the schemes by which a policy has tokens asked for in Authorization.
func schemesOf(p *policy.Policy) (schemes []string) {
	for _, s := range p.Tokens() {
		if s.Authorization != "" {
			schemes = append(schemes, s.Authorization)
		}
	}
	if schemes == nil {
		schemes = []string{defaultScheme}
	}
	return schemes
}

// SetShadow puts a policy beside the one in force, which decides nothing; nil takes it away.
func (e *Engine) SetShadow(p *policy.Policy) {
	if p == nil {
		e.shadow.Store(nil)
		return
	}
	r := e.compile(p, nil)
	// Nobody is told anything by it.
	r.claims, r.forms, r.cors, r.anonymous = nil, nil, false, e.anonymous
	e.shadow.Store(r)
}

// Shadow returns what the policy beside the one in force would decide; ok is false without one.
func (e *Engine) Shadow(r *Request) (d Decision, ok bool) {
	rules := e.shadow.Load()
	if rules == nil {
		return d, false
	}
	return e.decideBy(r, rules), true
}

// Decide judges one request. It keeps nothing of r and never blocks.
func (e *Engine) Decide(r *Request) Decision { return e.decideBy(r, e.rules.Load()) }

func (e *Engine) decideBy(r *Request, rules *rules) (d Decision) {
	defer func() {
		if value := recover(); value != nil {
			d = e.recovered(value)
		}
	}()
	if r.Policy != "" {
		named := rules.named[r.Policy]
		if named == nil {
			d.Problem = "the proxy's route names a policy that there is not"
			return e.refuse(d, r, rules, token.ReasonNoRoute)
		}
		rules = named
	}
	found := rules.policy.FindWith(r.Method, r.Host, r.Path, rules.header(r))
	d.rule, d.Problem, d.stricter = found.Rule, found.Detail, found.Stricter
	d.Token = TokenUnread
	h := readHeaders(r.Headers, e.options.KeepOverrides)
	var t *taken
	if !rules.plain {
		if t = rules.prepare(&d, r, &h, found.Rule); d.Refusal != nil {
			return d
		}
	}
	d.Strip = h.strip

	switch {
	case found.Detail != "":
		return e.refuse(d, r, rules, found.Reason)
	case !rules.plain && !d.Changes.sendable():
		d.Problem = "a header that holds a token is not UTF-8"
		return e.refuse(d, r, rules, token.ReasonBadRequest)
	// Before the token is looked at: what is public is so with a broken token too.
	case found.Rule.Access == policy.Public:
		return e.pass(d, r, rules, rules.anonymous)
	case h.nominated:
		d.Problem = "the Connection header names an identity header"
		return e.refuse(d, r, rules, token.ReasonBadRequest)
	}
	presented, problem, bearer := credential(t, &h)
	d.Token = TokenRefused // until more is known of it
	if problem == token.ReasonNoToken {
		d.Token = TokenNone
		if found.Rule.Access == policy.Optional {
			return e.pass(d, r, rules, rules.anonymous)
		}
	}
	if problem != "" {
		return e.refuseCredential(d, r, rules, problem, bearer)
	}
	return e.decideToken(d, r, rules, found, presented)
}

// decideToken judges a request by the one token that it carries.
func (e *Engine) decideToken(d Decision, r *Request, rules *rules, found policy.Finding,
	presented string) Decision {
	v, reason := e.verify(&d, r, presented, rules)
	switch {
	case d.Unverified:
		return d
	case v == nil:
		return e.refuse(d, r, rules, reason)
	}
	d.Identity, d.Token = v.identity, TokenVerified
	// Before its time and before the copy's age: a token known to be revoked is told so, whatever
	// else is wrong (S3).
	if verdict := e.options.Revocations.Check(&v.facts); verdict.Revoked {
		d.Revocation = verdict
		return e.refuse(d, r, rules, token.ReasonRevoked)
	}
	now := e.options.Revocations.Now(r.At)
	if err := v.profile.CheckTime(v.claims, now); err != nil {
		d.cause = err
		return e.refuse(d, r, rules, token.ReasonOf(err))
	}
	d.Remaining = v.claims.Remaining(now)
	// Only now, so that who was turned away stands in the log by name.
	if found.Rule.Access == policy.Nobody {
		return e.refuse(d, r, rules, found.Reason)
	}
	if reason := e.cannotKnow(v, found.Rule, r.At); reason != "" {
		return e.refuse(d, r, rules, reason)
	}
	caller := policy.Caller{
		Claims: v.claims, Entry: v.profile.Issuer, Skew: v.profile.ClockSkew, Now: now,
		Body: v.body, Method: r.Method, Host: r.Host, Peer: r.Peer, Found: found,
	}
	if found.Rule.Conditional() {
		caller.Headers = r.shown(rules)
	}
	if d.lack = found.Rule.Permits(&caller); d.lack.Reason != "" {
		if told := rules.lacking[d.lack]; told != nil {
			return e.tell(d, r, rules, told)
		}
		return e.refuse(d, r, rules, d.lack.Reason)
	}
	who := v.identity
	if rules.claims != nil {
		if who = e.identify(rules.claims, found.Rule, v); who == nil {
			d.cause = errTooMuch
			return e.refuse(d, r, rules, token.ReasonClaimSize)
		}
	}
	d.EndsWithToken = !found.Rule.OutlivesToken
	return e.pass(d, r, rules, who)
}

// PassedOver are headers, in lower case, that differ from request to request, and that no decision
// depends on which is Lasting.
func PassedOver() []string {
	return []string{
		"x-request-id", "content-length", "traceparent", "tracestate", "x-b3-traceid", "x-b3-spanid",
		"x-b3-parentspanid",
	}
}

func passedOver(name string) bool { return slices.Contains(PassedOver(), name) }

// Lasting reports whether a request that was let pass would be again, with the same answer: by a
// token until that expires or is revoked, and as long as no key is removed and no other policy is
// put in force. Two requests are the same when they differ in no header but those of PassedOver.
func (e *Engine) Lasting(r *Request, d *Decision) bool {
	rules := e.rules.Load()
	if r.Policy != "" {
		rules = rules.named[r.Policy]
	}
	// A shadow policy is told of every request.
	return d.Allow && rules != nil && rules.lasting && d.rule != nil && !d.rule.Timed() &&
		e.shadow.Load() == nil
}

// header is what a policy goes by that goes by headers; nil for any other.
func (rs *rules) header(r *Request) policy.Header {
	if rs.policy.MatchesHeaders() {
		return r.headerOnce()
	}
	return nil
}

// credential returns the one token of a request, or the reason why there is not exactly one, and
// whether there was a credential of the kind that is asked for. t is nil where tokens stand in the
// usual places.
func credential(t *taken, h *headers) (presented string, problem token.Reason, bearer bool) {
	if t != nil {
		presented, problem = t.token()
		return presented, problem, t.bearer()
	}
	presented, problem = h.token()
	return presented, problem, h.bearer
}

// prepare does what few policies ask for, before a request is judged: it answers a preflight, finds
// headers that clients make up for claims, and looks for tokens in other places.
func (rs *rules) prepare(d *Decision, r *Request, h *headers, rule *policy.Rule) (t *taken) {
	if rs.cors {
		if d.Refusal = rs.preflight(r); d.Refusal != nil {
			return nil
		}
	}
	h.strip = slices.DeleteFunc(h.strip, rs.names)
	if c := rs.claims; c != nil {
		h.strip, h.nominated = c.strip(r.Headers, h.strip), h.nominated || c.nominated(r.Headers)
	}
	// Of what is public too, a credential may be none of the upstream's business.
	if rs.sources != nil || rule.QueryToken != "" {
		t = rs.take(r, rule.QueryToken)
		d.Changes = t.made()
	}
	return t
}

// names reports whether a policy has a use of its own for a header: it is made of a claim, and set
// or removed anyway, or clients send their tokens in it.
func (rs *rules) names(header string) bool {
	header = strings.ToLower(header)
	return rs.claims != nil && slices.Contains(rs.claims.named, header) ||
		slices.ContainsFunc(rs.sources, func(s policy.TokenSource) bool {
			return header == s.Header
		})
}

// take looks for tokens where the policy says, or where they may stand when it does not, and in a
// parameter of the query.
func (rs *rules) take(r *Request, parameter string) *taken {
	from := rs.sources
	if from == nil {
		from = defaultSources
	}
	t := from.take(r, parameter)
	return &t
}

var defaultSources = sources(policy.DefaultTokens())

// cannotKnow returns the reason why the gate cannot tell whether a token has been revoked, or "". A
// route may allow a copy that has grown stale, but not one that is incomplete.
func (e *Engine) cannotKnow(v *verified, rule *policy.Rule, at revocation.Instant) token.Reason {
	freshness := e.options.Revocations.Freshness(at)
	stale := freshness.Why == revocation.WhyStale
	switch {
	case freshness.Fresh, stale && rule.AllowStale:
	case stale:
		return token.ReasonStale
	default:
		return token.ReasonNoCopy
	}
	// A token that outlives its revocation would come back to life.
	if e.options.MaxLifetime != nil {
		if limit, known := e.options.MaxLifetime(); known && outlives(v, limit) {
			return token.ReasonIssuerLifetime
		}
	}
	return ""
}

// outlives reports whether a token, or any that its issuer may make, lives longer than revocations
// are kept.
func outlives(v *verified, limit time.Duration) bool {
	return v.profile.MaxLifetime > limit || v.claims.Lifetime() > limit
}

func (e *Engine) pass(d Decision, r *Request, rs *rules, who *Identity) Decision {
	d.Allow, d.Identity = true, who
	if rs.cors {
		rs.across(&d, r)
	}
	return d
}

func (e *Engine) refuse(d Decision, r *Request, rs *rules, reason token.Reason) Decision {
	return e.tell(d, r, rs, rs.refusals.of(reason))
}

// tell refuses in the words of base, in the form that the policy has for it.
func (e *Engine) tell(d Decision, r *Request, rs *rules, base *Refusal) Decision {
	if rs.forms != nil {
		base = rs.refusals.variant(&d, r, base)
	}
	d.Refusal = rs.tell(&d, r, base)
	if rs.cors {
		d.Refusal = rs.acrossRefused(&d, r)
	}
	return d
}

// refuseCredential refuses a request whose credentials are not one token. RFC 6750 section 3.1 has
// no error code for a request that brought no token, or another scheme's credentials.
func (e *Engine) refuseCredential(d Decision, r *Request, rs *rules, reason token.Reason,
	bearer bool) Decision {
	if reason == token.ReasonScheme && !bearer {
		return e.tell(d, r, rs, rs.refusals.otherScheme)
	}
	return e.refuse(d, r, rs, reason)
}

func (e *Engine) recovered(value any) Decision {
	if e.options.OnPanic != nil {
		e.options.OnPanic(PanicText(value), debug.Stack())
	}
	return Decision{Refusal: e.refusals.of(token.ReasonInternal)}
}

// Refuse refuses for a reason that the transport has found by itself, in the form of the policy
// that the request is decided by. d is what the engine has decided, and the zero Decision before it
// was asked: then the form is that of requests that fall under no route. problem is from a fixed
// list.
func (e *Engine) Refuse(r *Request, d Decision, reason token.Reason, problem string) Decision {
	rs := e.rules.Load()
	if named := rs.named[r.Policy]; named != nil {
		rs = named
	}
	return e.refuse(Decision{rule: d.rule, Problem: problem}, r, rs, reason)
}

// Refusal returns what a client is told, in JSON, for a reason that is no request's.
func (e *Engine) Refusal(reason token.Reason) *Refusal { return e.refusals.of(reason) }

// Shown goes over the headers of a request that logs may have by the operator's leave: none that says
// who calls, or in which a token may stand.
func (e *Engine) Shown(r *Request) iter.Seq2[string, string] {
	rules := e.rulesOf(r)
	if rules == nil {
		return func(func(name, value string) bool) {}
	}
	return r.shown(rules)
}

// TokenPlace returns where a token stands that was decided on, as "authorization", the name of
// another header, or "query"; "" where there was none to be looked at, or where several stand.
func (e *Engine) TokenPlace(r *Request, d *Decision) string {
	rules := e.rulesOf(r)
	if rules == nil || d.Token < TokenRefused || d.rule == nil {
		return ""
	}
	if rules.sources != nil || d.rule.QueryToken != "" {
		if t := rules.take(r, d.rule.QueryToken); t.count == 1 {
			return t.from
		}
		return ""
	}
	h := readHeaders(r.Headers, true)
	switch {
	case h.authorizations+h.accessTokens != 1:
		return ""
	case h.accessTokens == 1:
		return "x-access-token"
	}
	return "authorization"
}

// rulesOf returns what a request is judged by; nil when it names a policy that there is not.
func (e *Engine) rulesOf(r *Request) *rules {
	rules := e.rules.Load()
	if r.Policy != "" {
		return rules.named[r.Policy]
	}
	return rules
}

// PanicText describes what was recovered from. Only the runtime's own words are repeated: any other
// value may hold a secret.
func PanicText(value any) string {
	if err, ok := value.(runtime.Error); ok {
		return err.Error()
	}
	return fmt.Sprintf("a panic with a value of type %T", value)
}
