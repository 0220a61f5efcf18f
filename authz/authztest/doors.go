package authztest

import (
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/sallyport/sallyport/authz"
	"github.com/sallyport/sallyport/internal/audit"
	"github.com/sallyport/sallyport/internal/policy"
	"github.com/sallyport/sallyport/internal/revocation"
)

// Door is a transport in front of an engine whose policies are exchanged while it runs.
type Door struct {
	Ask   Ask
	Put   func(p *policy.Policy, named map[string]*policy.Policy)
	Lines *Lines // what it has recorded
	// OverHTTP says that the door's proxy can be told no more than HTTP has words for: policies that
	// take more are refused when they are loaded, and no route of the proxy names a policy.
	OverHTTP bool
}

// OneAnswer holds doors against the engine, and what the engine is explained by. For any policies,
// any request with any tokens, and any state of the gate, they allow alike, refuse for one reason
// in the same words, record the same detail, and tell upstream, client and filters the same. Where
// an answer is remembered, it stays.
//
// By their nature doors differ in what stands around an answer: over HTTP the proxy removes headers
// by itself before it asks, as its settings say.
func OneAnswer(t *testing.T, w *World, doors map[string]Door) {
	engine := w.Engine(nil)
	rapid.Check(t, func(t *rapid.T) {
		c := DrawPolicy(t)
		main, named, err := policy.CompileAll(c, map[string]policy.Config{"other": DrawPolicy(t)})
		if err != nil {
			t.Fatal(err)
		}
		engine.SetPolicies(main, named)
		for _, d := range doors {
			d.Put(main, named)
		}
		w.Revocations.Fresh = pick(t, "fresh", revocation.Freshness{Fresh: true},
			revocation.Freshness{Fresh: true}, revocation.Freshness{Why: revocation.WhyStale},
			revocation.Freshness{Why: revocation.WhyNoCopy})
		for range rapid.IntRange(1, 3).Draw(t, "requests") {
			r := DrawRequest(t, w)
			r.Policy = pick(t, "policy", "", "", "", "other", "nobody's")
			want := engine.Decide(&r)
			explained, _ := authz.Explain(engine, &r)
			sameDecision(t, &want, &explained)
			for name, door := range doors {
				if door.OverHTTP && (r.Policy != "" || len(c.BeyondHTTP()) > 0) {
					continue
				}
				for _, again := range []string{"", " once more"} {
					before := len(door.Lines.All())
					compareDecision(t, name+again, &r, &want, door.Ask(r))
					compareLines(t, name+again, &want, door.Lines.All()[before:])
				}
			}
		}
	})
}

func sameDecision(t *rapid.T, d, explained *authz.Decision) {
	if d.Allow != explained.Allow || d.Reason() != explained.Reason() ||
		d.Detail() != explained.Detail() || d.Route() != explained.Route() {
		t.Fatalf("decided %s (%s) by %q, explained as %s (%s) by %q", d.Reason(), d.Detail(), d.Route(),
			explained.Reason(), explained.Detail(), explained.Route())
	}
}

// compareDecision holds what a door said against a decision.
func compareDecision(t *rapid.T, door string, r *authz.Request, d *authz.Decision, got Answer) {
	reason := header(got.Headers, authz.HeaderReason)
	wrong := func(what string, got, want any) {
		t.Fatalf("%s: the engine says %s by %q (%s), and the door has %s %v, not %v", door, d.Reason(),
			d.Route(), d.Detail(), what, got, want)
	}
	if !d.Allow {
		told := d.Refused()
		if got.Status != told.Status || reason != header(told.Headers, authz.HeaderReason) {
			wrong("status and reason", []any{got.Status, reason}, told.Status)
		}
		if got.Body != told.Body {
			wrong("the body", got.Body, told.Body)
		}
		if len(got.Set)+len(got.Remove)+len(got.Client)+len(got.Metadata) > 0 {
			wrong("changes", got, "none")
		}
		for _, name := range []string{
			authz.HeaderReason, "www-authenticate", "content-type", "cache-control", "location",
			"retry-after", "vary", "access-control-allow-origin", "access-control-allow-credentials",
			"access-control-expose-headers", "access-control-allow-methods",
			"access-control-allow-headers", "access-control-max-age",
		} {
			if has, should := header(got.Headers, name), header(told.Headers, name); has != should {
				wrong(name, has, should)
			}
		}
		return
	}
	if got.Status != 200 {
		wrong("status and reason", []any{got.Status, reason}, 200)
	}
	changes := authz.Changes{}
	if d.Changes != nil {
		changes = *d.Changes
	}
	if has, should := sorted(got.Set), sorted(d.Identity.Set, changes.Set); !slices.Equal(
		has,
		should,
	) {
		wrong("headers for the upstream", has, should)
	}
	if has, should := sorted(got.Client), sorted(d.Identity.Client, changes.Client); !slices.Equal(
		has,
		should,
	) {
		wrong("headers for the client", has, should)
	}
	// Envoy is told which parameter to remove, or what the path is without it.
	without := changes.Parameter != "" &&
		(got.Parameter == changes.Parameter || got.Path == changes.Path)
	if !without && got.Parameter+got.Path+changes.Parameter != "" {
		wrong("the query", got.Parameter+" "+got.Path, changes.Parameter+" "+changes.Path)
	}
	if len(got.Metadata) != len(d.Identity.Metadata) {
		wrong("metadata", got.Metadata, d.Identity.Metadata)
	}
	for _, m := range d.Identity.Metadata {
		if got.Metadata[m.Name] != m.Text() {
			wrong("metadata", got.Metadata, m.Text())
		}
	}
	for _, name := range slices.Concat(d.Identity.Remove, d.Strip, changes.Remove) {
		if authz.HasHeader(r.Headers, name) &&
			!slices.ContainsFunc(got.Remove, func(s string) bool { return strings.EqualFold(s, name) }) {
			wrong("removed", got.Remove, name)
		}
	}
	for _, name := range got.Remove {
		if header(got.Set, name) != "" {
			wrong("set and removed", name, "one of them")
		}
	}
}

// compareLines: a refusal has one line, which names what was wrong and by which route.
func compareLines(t *rapid.T, door string, d *authz.Decision, lines []audit.Event) {
	switch {
	case d.Allow || d.Preflight():
		if len(lines) > 0 {
			t.Fatalf("%s: recorded %+v, and the engine says %s", door, lines, d.Reason())
		}
	case len(lines) != 1 || lines[0].Reason != d.Reason() || lines[0].Detail != d.Detail():
		t.Fatalf("%s: recorded %+v, and the engine says %s (%s)", door, lines, d.Reason(), d.Detail())
	}
}

// sorted lists headers in the order of their names, those of the gate's clock left out.
func sorted(lists ...[]authz.Header) []authz.Header {
	all := slices.Concat(lists...)
	slices.SortFunc(all, func(a, b authz.Header) int {
		return strings.Compare(a.Name+"\x00"+a.Value, b.Name+"\x00"+b.Value)
	})
	return all
}

// TakenFor reports whether a server might take a header for one of these, as its proxy is to have
// it removed.
func TakenFor(name string, of ...string) bool {
	folded := strings.Map(func(c rune) rune {
		if strings.ContainsRune(Signs, c) {
			return '-'
		}
		return c
	}, strings.ToLower(name))
	return slices.Contains(of, folded)
}

// BeginsAsIdentity reports whether a header begins as a gate's own do, to a server that makes one of
// many signs.
func BeginsAsIdentity(name string) bool {
	n := len(authz.IdentityPrefix)
	return len(name) > n && TakenFor(name[:n], authz.IdentityPrefix)
}
