package main

import (
	"cmp"
	"context"
	"encoding/json"
	"slices"
	"strings"
	"time"

	"github.com/sallyport/sallyport/authz"
	"github.com/sallyport/sallyport/authz/gate"
	"github.com/sallyport/sallyport/internal/adminapi"
	"github.com/sallyport/sallyport/internal/decisionlog"
	"github.com/sallyport/sallyport/internal/policy"
	"github.com/sallyport/sallyport/internal/token"
)

// player decides logged requests again.
type player struct {
	gate    *gate.Offline
	before  *gate.Offline // that has decided; nil when it is not known
	issuers *trial
}

// verdict is what would become of a request.
type verdict struct {
	reason  string // of a refusal; "" when it may pass
	route   string
	unknown string // what the log lacks to know; "" when it is known
}

// newPlayer returns one by a configuration. before is the one that has decided, nil when it is not
// known: tokens are then taken to have been looked for where they are without a word of a policy.
func newPlayer(c, before *gate.Config) (*player, error) {
	issuers, err := newTrial(c, time.Time{})
	if err != nil {
		return nil, err
	}
	p := &player{issuers: issuers}
	if before != nil {
		if p.before, err = gate.NewTrial(before, issuers, time.Time{}); err != nil {
			return nil, err
		}
	}
	p.gate, err = gate.NewTrial(c, issuers, time.Time{})
	return p, err
}

// The tokens that a request is asked about without one that is good.
const (
	noToken  = ""
	badToken = "no.such.token"
)

// preflight is what the engine says of a browser's question, which it answers.
const preflight = "preflight"

// decide asks the engine about one line, as far as the line says what the policy goes by.
func (p *player) decide(ctx context.Context, was *decisionlog.Record) (verdict, error) {
	same := verdict{reason: was.Reason, route: was.Route}
	if was.Token == authz.TokenUnasked.String() {
		return same, nil // no policy was asked: none can change it
	}
	for _, field := range was.Cut {
		if slices.Contains([]string{"line", "method", "host", "path", "peer", "policy"}, field) {
			return verdict{unknown: "the line does not have all of its " + field}, nil
		}
	}
	q := &adminapi.Question{
		Method: was.Method, Host: was.Host, Path: was.Path, Peer: was.Peer, Policy: was.Policy,
	}
	for name, value := range was.Headers {
		q.Headers = append(q.Headers, adminapi.Header{Name: name, Value: value})
	}
	needs, ok := p.gate.Needs(q)
	if !ok { // there is no such policy, and the engine says so
		return p.ask(ctx, q, place{}, noToken, was.Time), nil
	}
	if lacks := lackingHeaders(was, &needs); lacks != "" {
		return verdict{route: needs.Rule.String(), unknown: lacks}, nil
	}
	now, before := placesOf(&needs), p.placesBefore(q)
	switch was.Token {
	case authz.TokenNone.String():
		return p.without(ctx, q, &needs, was, now.within(before)), nil
	case authz.TokenUnread.String():
		// What was wrong with the request itself, the line may not have: a header, as a rule.
		if was.Reason != "" && policy.DecidedBefore(token.Reason(was.Reason)) {
			return p.kept(ctx, q, now.first(), was), nil
		}
		now := p.ask(ctx, q, place{}, noToken, was.Time)
		if a := needs.Rule.Access; a == policy.Authenticated || a == policy.Optional {
			now.unknown = "no token was looked at when it was decided"
		}
		return now, nil
	}
	if needs.Rule.Access == policy.Public {
		return p.ask(ctx, q, place{}, noToken, was.Time), nil
	}
	at, lacks := whereStood(was.TokenFrom, before, now)
	switch token.Reason(was.Reason) {
	case token.ReasonManyTokens, token.ReasonScheme: // it is the places that make it so
		if at = now.first(); !now.within(before) || !before.within(now) {
			lacks = "the line does not say what stood in each place where a token is looked for now"
		}
	default:
		if was.TokenFrom == "" {
			lacks = "the line does not say where the token stood (token_from)"
		}
	}
	if lacks != "" {
		return verdict{route: needs.Rule.String(), unknown: lacks}, nil
	}
	switch probe := p.ask(ctx, q, at, badToken, was.Time); {
	case at == place{}, probe.reason == string(token.ReasonScheme), probe.reason == preflight:
		return probe, nil // it is not found
	case was.Token == authz.TokenRefused.String():
		return p.kept(ctx, q, at, was), nil
	}
	return p.believed(ctx, q, needs, at, was)
}

// placesBefore are where a token was looked for when a request was decided.
func (p *player) placesBefore(q *adminapi.Question) places {
	var needs policy.Needs
	if p.before != nil {
		needs, _ = p.before.Needs(q) // of a policy that it does not have, the usual ones
	}
	return placesOf(&needs)
}

// without is for a request in which no token was found. looked is whether one was looked for where
// one is now.
func (p *player) without(ctx context.Context, q *adminapi.Question, needs *policy.Needs,
	was *decisionlog.Record, looked bool) verdict {
	now := p.ask(ctx, q, place{}, noToken, was.Time)
	if !looked && (now.reason == string(token.ReasonNoToken) || now.reason == "" &&
		needs.Rule.Access == policy.Optional) {
		now.unknown = "a token is looked for where it was not"
		if p.before == nil {
			now.unknown = "a token is looked for where it may not have been" + sayBefore
		}
	}
	return now
}

// kept is for a request that was refused whatever the policy asks of a token, unless it asks for none.
func (p *player) kept(ctx context.Context, q *adminapi.Question, at place,
	was *decisionlog.Record) verdict {
	now := p.ask(ctx, q, at, badToken, was.Time)
	if now.reason != "" && now.reason != preflight && policy.DecidedBefore(token.Reason(now.reason)) {
		now.reason = was.Reason
	}
	return now
}

// believed asks with a token that says what the line has of the one that was genuine.
func (p *player) believed(ctx context.Context, q *adminapi.Question, needs policy.Needs, at place,
	was *decisionlog.Record) (verdict, error) {
	reason := token.Reason(was.Reason)
	// These are judged before the policy is. But a route may allow a stale copy.
	if was.Reason != "" && policy.DecidedBefore(reason) &&
		!(reason == token.ReasonStale && needs.Rule.AllowStale) {
		return p.kept(ctx, q, at, was), nil
	}
	issuer := p.issuers.find(was.Issuer)
	if issuer == nil {
		unknown := *was
		unknown.Reason = string(token.ReasonUnknownIssuer)
		return p.kept(ctx, q, at, &unknown), nil
	}
	logged := loggedClaims(was)
	if lacks := logged.lacks(&needs, issuer.profile); lacks != "" {
		return verdict{route: needs.Rule.String(), unknown: lacks}, nil
	}
	p.issuers.now = was.Time
	made, err := p.issuers.token(was.Issuer, logged.token(issuer.profile, was.Time))
	if err != nil {
		return verdict{}, err
	}
	now := p.ask(ctx, q, at, made, was.Time)
	// The token was good: what it was made of, the line does not have all.
	if now.reason != "" && policy.DecidedBefore(token.Reason(now.reason)) {
		now.unknown = "of the claims of the line no token can be made that is good (" + now.reason +
			"): log those that its issuer's entry asks for"
	}
	return now, nil
}

// ask puts a token where it stood, and asks the engine.
func (p *player) ask(ctx context.Context, q *adminapi.Question, at place, made string,
	when time.Time) verdict {
	if made != noToken {
		q = at.put(q, made)
	}
	now := p.gate.ExplainAt(ctx, q, when)
	if now.Allow {
		return verdict{route: now.Route}
	}
	return verdict{reason: now.Reason, route: now.Route}
}

// lackingHeaders returns what the line lacks of the headers that the policy goes by.
func lackingHeaders(was *decisionlog.Record, needs *policy.Needs) string {
	var names []string
	for _, name := range needs.Headers {
		if slices.Contains(was.Cut, "headers."+name) {
			return "the line does not have all of its header " + name
		}
		_, there := was.Headers[name]
		if !there && !slices.Contains(was.NoHeaders, name) {
			names = append(names, name)
		}
	}
	switch {
	case len(names) > 0:
		return "log it with decision_log: {headers: [" + strings.Join(names, ", ") + "]}"
	case needs.AllHeaders:
		return "a condition reads headers by names that it makes up"
	}
	return ""
}

// logged is the claims of a line, by their places in the token.
type logged struct {
	was   *decisionlog.Record
	names []string // shorter paths first
}

func loggedClaims(was *decisionlog.Record) *logged {
	l := &logged{was: was}
	for name := range was.Claims {
		l.names = append(l.names, name)
	}
	slices.SortFunc(l.names, func(a, b string) int {
		return cmp.Or(cmp.Compare(len(steps(a)), len(steps(b))), strings.Compare(a, b))
	})
	return l
}

// steps are the names on the way to a claim: one, or those of a JSON Pointer (RFC 6901).
func steps(name string) []string {
	path, ok := strings.CutPrefix(name, "/")
	if !ok {
		return []string{name}
	}
	all := strings.Split(path, "/")
	for i, step := range all {
		all[i] = strings.ReplaceAll(strings.ReplaceAll(step, "~1", "/"), "~0", "~")
	}
	return all
}

// has reports whether the line says what the token has under a name, or that it has nothing there.
func (l *logged) has(name string) bool {
	within := func(outer string) bool {
		o, n := steps(outer), steps(name)
		return len(o) <= len(n) && slices.Equal(o, n[:len(o)])
	}
	return slices.ContainsFunc(l.names, within) || slices.ContainsFunc(l.was.NoClaims, within)
}

// lacks returns what the line lacks of the claims that the policy goes by.
func (l *logged) lacks(needs *policy.Needs, p *token.Profile) string {
	var names []string
	need := func(is bool, all ...string) {
		for _, name := range all {
			if is && name != "none" && !l.has(name) && !slices.Contains(names, name) {
				names = append(names, name)
			}
		}
	}
	roles := p.Claims.Roles
	if roles == nil {
		roles = []string{"roles"}
	}
	need(needs.Roles, roles...)
	need(needs.Scopes, cmp.Or(p.Claims.Scope, "scope"))
	need(needs.Audience, cmp.Or(p.Claims.Audience, "aud"))
	need(needs.ACR, "acr")
	need(needs.AuthTime, "auth_time")
	need(true, slices.DeleteFunc(slices.Clone(needs.Claims),
		func(name string) bool { return name == "iss" })...) // which each line has
	isCut := func(name string) bool { return slices.Contains(l.was.Cut, "claims."+name) }
	switch {
	case slices.ContainsFunc(names, isCut):
		return "the line does not have all of its claim " + names[slices.IndexFunc(names, isCut)]
	case len(names) > 0:
		return "log it with decision_log: {claims: [" + strings.Join(names, ", ") + "]}"
	case needs.AllClaims:
		return "a condition reads claims by names that it makes up"
	}
	return ""
}

// token returns the claims for a token that was good at a time. What the line does not have is made
// up, so that it is: nothing goes by that.
func (l *logged) token(p *token.Profile, at time.Time) map[string]json.RawMessage {
	root := map[string]any{}
	for _, name := range l.names {
		put(root, steps(name), l.was.Claims[name])
	}
	for _, name := range l.was.NoClaims {
		if s := steps(name); len(s) == 1 {
			root[s[0]] = json.RawMessage("null") // it has none
		}
	}
	// A token that is nearly over lives no longer for a date that is made up.
	iat, issued := date(root["iat"])
	exp, expires := date(root["exp"])
	switch lifetime := cmp.Or(p.MaxLifetime, time.Hour); {
	case issued && !expires:
		root["exp"] = min(at.Unix()+1, iat+int64(lifetime/time.Second))
	case expires && !issued:
		root["iat"] = min(at.Unix(), exp-1)
	}
	if root["sid"] != nil && root["auth_time"] == nil {
		root["auth_time"] = at.Unix() // they come together in tokens of ours
	}
	claims := map[string]json.RawMessage{}
	for name, value := range root {
		text, err := json.Marshal(value)
		if err == nil { // each was read from JSON
			claims[name] = text
		}
	}
	return claims
}

// put puts a value at a place, unless a claim that holds it is there already.
func put(root map[string]any, path []string, value json.RawMessage) {
	for _, step := range path[:len(path)-1] {
		inner, ok := root[step].(map[string]any)
		if !ok && root[step] != nil {
			return
		}
		if !ok {
			inner = map[string]any{}
			root[step] = inner
		}
		root = inner
	}
	root[path[len(path)-1]] = value
}

func date(claim any) (seconds int64, ok bool) {
	raw, ok := claim.(json.RawMessage)
	var n float64
	if !ok || json.Unmarshal(raw, &n) != nil {
		return 0, false
	}
	return int64(n), true
}
