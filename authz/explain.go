package authz

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/sallyport/sallyport/internal/jose"
	"github.com/sallyport/sallyport/internal/policy"
	"github.com/sallyport/sallyport/internal/revocation"
	"github.com/sallyport/sallyport/internal/token"
)

// Outcome is what became of a step of a decision.
type Outcome string

// The outcomes.
const (
	Passed Outcome = "ok"
	Failed Outcome = "failed"
	Noted  Outcome = "note" // neither: what is worth knowing
)

// Step is one step that an engine took to a decision, for people. It holds what the step went by,
// and so words of the request and of the token: never the token itself, nor claims that no step
// went by.
type Step struct {
	Name    string  `json:"name"`
	Outcome Outcome `json:"outcome"`
	Text    string  `json:"text"`
	// Remedy is what would make the step pass, if it failed.
	Remedy string `json:"remedy,omitempty"`
}

// Explain is Engine.Decide for people who ask why: it decides in the same way, and returns the steps that
// were taken. A token is verified anew, as if the engine had not met it before. Decide itself knows
// nothing of it, so that nobody else pays for it.
func Explain(e *Engine, r *Request) (Decision, []Step) {
	t := &trace{keys: e.options.Keys, revocations: e.options.Revocations}
	again := &Engine{
		options: e.options, cache: newCache(CacheConfig{}), refusals: e.refusals, anonymous: e.anonymous,
	}
	again.options.Keys, again.options.Revocations = t, t
	again.rules.Store(e.rules.Load())
	d := again.Decide(r)
	t.tell(again.rules.Load(), r, &d)
	t.end(&d)
	return d, t.steps
}

// Unrevoked stands in for a copy of the revocation log where there is none: for explaining and
// testing a policy. By it no token is revoked, and the time is At, unless a request has one of its own.
type Unrevoked struct{ At time.Time }

// Check implements Revocations.
func (Unrevoked) Check(*revocation.Facts) revocation.Verdict { return revocation.Verdict{} }

// Freshness implements Revocations.
func (Unrevoked) Freshness(revocation.Instant) revocation.Freshness {
	return revocation.Freshness{Fresh: true}
}

// Now implements Revocations.
func (u Unrevoked) Now(at revocation.Instant) time.Time {
	if at.Wall.IsZero() {
		return u.At
	}
	return at.Wall
}

// trace stands between an engine and what it asks, and remembers what it was told.
type trace struct {
	keys        Keys
	revocations Revocations

	profile *token.Profile  // nil: no issuer that is trusted was asked for
	key     *jose.PublicKey // nil: there is none
	now     time.Time       // zero: nobody has asked for it
	aged    bool            // the age of the copy was asked for

	steps []Step
	at    string // the name of the step that comes next
	unmet bool   // a failed step has said what is lacking
}

// Profile implements Keys.
func (t *trace) Profile(issuer string) (p *token.Profile, ok bool) {
	t.profile, ok = t.keys.Profile(issuer)
	return t.profile, ok
}

// Key implements Keys.
func (t *trace) Key(issuer, keyID, algorithm string) (k *jose.PublicKey, why token.Reason) {
	t.key, why = t.keys.Key(issuer, keyID, algorithm)
	return t.key, why
}

// Removals implements Keys.
func (t *trace) Removals() uint64 { return t.keys.Removals() }

// Check implements Revocations.
func (t *trace) Check(f *revocation.Facts) revocation.Verdict { return t.revocations.Check(f) }

// Freshness implements Revocations.
func (t *trace) Freshness(at revocation.Instant) revocation.Freshness {
	t.aged = true
	return t.revocations.Freshness(at)
}

// Now implements Revocations.
func (t *trace) Now(at revocation.Instant) time.Time {
	t.now = t.revocations.Now(at)
	return t.now
}

// tell describes the steps that were taken, as far as the decision went. What is not known of them is
// asked of the functions that have decided.
func (t *trace) tell(rules *rules, r *Request, d *Decision) {
	t.at = "policy"
	if r.Policy != "" {
		if rules = rules.named[r.Policy]; rules == nil {
			return
		}
		t.add("policy", Noted, "the proxy's route names the policy %s", quoted(r.Policy))
	}
	if d.Preflight() {
		return
	}
	header := rules.header(r)
	found := rules.policy.FindWith(r.Method, r.Host, r.Path, header)
	t.routed(rules.policy, r, header, &found)
	h := readHeaders(r.Headers, false)
	presented, problem, _ := credential(rules.prepare(&Decision{}, r, &h, found.Rule), &h)
	if found.Detail != "" || found.Rule.Access == policy.Public || d.Problem != "" || problem != "" {
		return
	}
	t.took(r, presented)
	parsed, err := jose.Parse(presented)
	if err != nil {
		return
	}
	t.parsed(&parsed)
	if !t.verifying(parsed.Header, d) {
		return
	}
	v := &verified{profile: t.profile, claims: d.Identity.Claims, facts: *d.Identity.Facts}
	t.believed(v)
	if t.now.IsZero() {
		return // it is revoked
	}
	t.unrevoked(v)
	t.times(v)
	if d.cause != nil {
		return
	}
	t.inTime(v, d.Remaining)
	switch d.Refused().Reason {
	case token.ReasonDenied, token.ReasonNoRoute, token.ReasonStale, token.ReasonNoCopy,
		token.ReasonIssuerLifetime:
		if !d.Allow {
			return
		}
	}
	caller := policy.Caller{
		Claims: v.claims, Entry: v.profile.Issuer, Skew: v.profile.ClockSkew, Now: t.now,
		Method: r.Method, Host: r.Host, Peer: r.Peer, Found: found, Headers: r.shown(rules),
	}
	if caller.Body, err = parsed.Body(); err == nil { // it was read when the signature was verified
		t.judged(found.Rule, &caller)
	}
}

// verifying describes how the token was verified, and reports whether it was.
func (t *trace) verifying(h jose.Header, d *Decision) bool {
	if t.profile == nil {
		return false
	}
	t.add("issuer", Passed, "trusted by the entry %s of issuers", t.profile.Issuer)
	t.at = "header"
	if t.profile.CheckHeader(h) != nil {
		return false
	}
	t.add("header", Passed, "alg and typ are as the entry says")
	t.at = "key"
	if t.key == nil {
		return false
	}
	t.add("key", Passed, "the issuer's key %s", quoted(t.key.ID()))
	t.at = "signature, claims"
	return d.Identity != nil && d.Identity.Claims != nil
}

func (t *trace) add(name string, outcome Outcome, format string, args ...any) {
	t.steps = append(t.steps, Step{Name: name, Outcome: outcome, Text: fmt.Sprintf(format, args...)})
}

// routed tells which routes were considered, and which of them decides.
func (t *trace) routed(p *policy.Policy, r *Request, header policy.Header, f *policy.Finding) {
	t.at = "path"
	path, problem := policy.Canonical(p, r.Path)
	if problem != "" {
		return // the engine says so at its end
	}
	t.add("path", Passed, "read as %s", quoted(path))
	t.at = "route"
	considered := policy.Consider(p, r.Method, r.Host, r.Path, header)
	elsewhere := 0
	for _, c := range considered {
		switch {
		case c.Near:
			t.add("route", Noted, "%s has the path and does not match: %s", c.Rule, c.Misfit)
		case c.Misfit != "":
			elsewhere++
		}
	}
	if elsewhere > 0 {
		t.add("route", Noted, "%s of another path", routes(elsewhere))
	}
	if n := len(considered); n > 0 && considered[n-1].Misfit == "" {
		t.matched(considered[n-1].Rule, f)
	}
	t.at = "token"
	if f.Detail != "" || f.Rule.Index < 0 {
		t.at = "route"
	}
}

func routes(n int) string {
	if n == 1 {
		return "1 route is"
	}
	return fmt.Sprintf("%d routes are", n)
}

func (t *trace) matched(rule *policy.Rule, f *policy.Finding) {
	t.add("route", Passed, "%s is the first that matches", rule)
	for _, name := range f.Rule.Variables() {
		if value, ok := f.Variable(name); ok {
			t.add("route", Noted, "{%s} is %s", name, quoted(value))
		}
	}
	switch rule.Access {
	case policy.Public:
		t.add("route", Noted, "allow: public, so no token is looked at")
	case policy.Optional:
		t.add("route", Noted, "allow: optional, so no token is needed, and one that is there is judged")
	}
}

// took tells where the one token stood.
func (t *trace) took(r *Request, presented string) {
	where := "in the one place where it may be"
	for _, h := range r.Headers {
		if presented != "" && strings.Contains(h.Value, presented) {
			where = "in the header " + strings.ToLower(h.Name)
		}
	}
	t.add("token", Passed, "one token, %s", where)
	t.at = "form"
}

// parsed tells what the token says before anybody believes it.
func (t *trace) parsed(p *jose.Parsed) {
	t.add("form", Passed, "three parts; the header has alg %s, kid %s, typ %s",
		quoted(p.Header.Algorithm), quoted(p.Header.KeyID), quoted(p.Header.Type))
	t.at = "issuer"
	if issuer, err := p.Issuer(); err == nil {
		t.add("issuer", Noted, "iss is %s", quoted(issuer))
	}
}

// believed tells what was verified.
func (t *trace) believed(v *verified) {
	t.add("signature", Passed, "made by that key over this token")
	if v.profile.AnyAudience {
		t.add("audience", Passed, "any_audience: whatever the token is for")
	} else {
		t.add("audience", Passed, "the token is for %s; the entry accepts %s",
			quotedAll(v.claims.Audience), quotedAll(v.profile.Audiences))
	}
	t.at = "revocation"
}

// unrevoked tells by what the token could have been revoked.
func (t *trace) unrevoked(v *verified) {
	if _, none := t.revocations.(Unrevoked); none {
		t.add("revocation", Noted, "not looked at: there is no copy of the revocation log here, so a "+
			"running gate may know better")
		return
	}
	f := &v.facts
	var by []string
	for _, one := range []struct{ name, value string }{
		{"token", f.TokenID}, {"session", f.SessionID}, {"subject", f.Subject}, {"client", f.ClientID},
		{"tenant", f.Tenant}, {"key", f.KeyID}, {"issuer", f.Issuer},
	} {
		if one.value != "" {
			by = append(by, one.name+" "+quoted(one.value))
		}
	}
	t.add("revocation", Passed, "nothing revokes it: looked for %s", strings.Join(by, ", "))
}

// times tells what the token's times are judged by.
func (t *trace) times(v *verified) {
	t.add("times", Noted, "it is %s; iat %s, exp %s, a leeway of %v", stamp(t.now),
		stamp(time.Unix(v.claims.IssuedAt, 0)), stamp(time.Unix(v.claims.Expiry, 0)),
		v.profile.ClockSkew)
	t.at = "times"
}

func (t *trace) inTime(v *verified, remaining time.Duration) {
	t.add("times", Passed, "it expires in %v and lives for %v in all", remaining.Round(time.Second),
		v.claims.Lifetime())
	t.at = "freshness"
}

// judged tells what the rule asks for, each demand by itself.
func (t *trace) judged(rule *policy.Rule, c *policy.Caller) {
	if _, none := t.revocations.(Unrevoked); !none && t.aged {
		t.add("freshness", Passed, "the gate's copy of the log is good enough")
	}
	t.at = "require"
	if len(t.demand("require", &rule.Demand, c)) > 0 {
		return // the alternatives are not looked at
	}
	if !rule.AsksForMore() {
		t.add("require", Passed, "%s asks for nothing besides a valid token", rule)
	}
	met := false
	for i, one := range rule.AnyOf {
		name := fmt.Sprintf("require.anyOf[%d]", i)
		failed := t.demand(name, one, c)
		if len(failed) == 0 {
			t.add(name, Passed, "met, and one alternative is enough")
			met = true
			break
		}
	}
	// An alternative that is not met is no failure where another one is.
	for i := range t.steps {
		if met && t.steps[i].Outcome == Failed {
			t.steps[i].Outcome, t.steps[i].Remedy = Noted, ""
		}
	}
	t.unmet = t.unmet && !met
}

// demand tells of each part of a demand, and returns those that failed.
func (t *trace) demand(name string, d *policy.Demand, c *policy.Caller) (failed []token.Reason) {
	for _, part := range d.Judge(c) {
		switch {
		case part.Reason == "" && part.Asked.Demand.When != nil:
			t.add(name, Passed, "has a condition that holds; %s", has(part.Asked, c))
			continue
		case part.Reason == "":
			t.add(name, Passed, "%s; %s", part.Asked, has(part.Asked, c))
			continue
		}
		failed = append(failed, part.Reason)
		t.unmet = true
		t.steps = append(t.steps, Step{
			Name: name, Outcome: Failed, Text: fmt.Sprintf("%s; %s", part.Asked, has(part.Asked, c)),
			Remedy: remedy(part, c),
		})
	}
	return failed
}

// has says what the caller has of what is asked for.
func has(asked policy.Lack, c *policy.Caller) string {
	switch asked.Reason {
	case token.ReasonPolicy:
		return "the token is of " + quoted(c.Claims.Issuer)
	case token.ReasonAudience:
		return "the token is for " + quotedAll(c.Claims.Audience)
	case token.ReasonInsufficientRole:
		return "the token has " + quotedAll(c.Claims.Roles)
	case token.ReasonInsufficientScope:
		return "the token has " + quotedAll(c.Claims.Scope)
	case token.ReasonACR:
		return "the token has " + quoted(c.Claims.ACR)
	case token.ReasonLoginTooOld:
		if c.Claims.AuthTime == 0 {
			return "the token does not say when that was (auth_time)"
		}
		return "that was at " + stamp(time.Unix(c.Claims.AuthTime, 0))
	case token.ReasonCondition, token.ReasonConditionError:
		return "when: " + asked.Demand.When.String()
	}
	return ""
}

// remedy says what would meet a part of a demand.
func remedy(part policy.Judged, c *policy.Caller) string {
	d := part.Asked.Demand
	switch part.Reason {
	case token.ReasonInsufficientRole:
		return "a token with one of the roles " + quotedAll(d.Enough())
	case token.ReasonInsufficientScope:
		missing := slices.DeleteFunc(slices.Clone(d.Scopes),
			func(s string) bool { return slices.Contains(c.Claims.Scope, s) })
		return "a token that also has the scopes " + quotedAll(missing)
	case token.ReasonConditionError:
		return "a token and a request that have what the condition reads, or has(...) in the condition " +
			"before what may be absent"
	case token.ReasonCondition:
		return "a request and claims for which the condition is true"
	case token.ReasonPolicy:
		return "a token of " + quotedAll(d.Issuers)
	case token.ReasonAudience:
		return "a token that is for one of " + quotedAll(d.Audiences)
	case token.ReasonACR:
		return "a login that the issuer calls one of " + quotedAll(d.ACR)
	}
	return fmt.Sprintf("a login after %s", stamp(c.Now.Add(-d.Fresh)))
}

// end tells what became of it all.
func (t *trace) end(d *Decision) {
	if d.Preflight() {
		t.add("cors", Noted, "a browser asks what a page of another origin may send: the gate answers that "+
			"itself")
		return
	}
	if d.Allow {
		if c := d.Changes; c != nil && len(c.Set)+len(c.Remove)+len(c.Parameter) > 0 {
			t.add("headers", Noted, "the credential goes no further")
		}
		for _, name := range d.Strip {
			t.add("headers", Noted, "the client's %s goes no further", quoted(name))
		}
		var told []string
		for _, h := range d.Identity.Set {
			told = append(told, h.Name)
		}
		if len(told) > 0 {
			t.add("headers", Noted, "the upstream is told %s", strings.Join(told, ", "))
		}
		return
	}
	refused := d.Refused()
	if t.unmet {
		return // each part has said what is lacking
	}
	if refused.Reason == token.ReasonDenied {
		t.at = "route" // it is told so late for the log's sake: who was turned away
	}
	described, _ := refused.Reason.Describe()
	text := described.Meaning
	if detail := d.Detail(); detail != "" {
		text += " (" + detail + ")"
	}
	if d.Revocation.Revoked {
		text += fmt.Sprintf(" It was by %s, entry %d of the log: %s.", d.Revocation.Kind,
			d.Revocation.Seq, d.Revocation.Reason)
	}
	t.steps = append(t.steps,
		Step{Name: t.at, Outcome: Failed, Text: text, Remedy: described.Remedy})
}

func stamp(t time.Time) string { return t.UTC().Format("2006-01-02 15:04:05 UTC") }

func quoted(s string) string {
	if s == "" {
		return "none"
	}
	return strconv.Quote(s)
}

// listedNames is how many names a step shows.
const listedNames = 20

func quotedAll(names []string) string {
	if len(names) == 0 {
		return "none"
	}
	var all []string
	for _, name := range names[:min(len(names), listedNames)] {
		all = append(all, strconv.Quote(name))
	}
	text := strings.Join(all, ", ")
	if more := len(names) - listedNames; more > 0 {
		text += fmt.Sprintf(" and %d more", more)
	}
	return text
}
