package authz

import (
	"encoding/json"
	"slices"
	"strings"
	"sync/atomic"

	"github.com/sallyport/sallyport/internal/policy"
	"github.com/sallyport/sallyport/internal/token"
	"github.com/sallyport/sallyport/internal/token/strict"
)

// Bounds on what is made of claims for one request. Over them it is refused: an upstream that goes
// by such a header must not take one that was left out for one that the token does not have.
const (
	maxClaimValue  = 4 << 10  // bytes, percent-encoded
	maxClaimValues = 16 << 10 // of all together
)

// claims is what a policy makes of claims, beside the identity headers.
type claims struct {
	// named are the headers for the upstream that some rule makes; what a client sends under these
	// names, in any spelling, goes no further
	named    []string
	metadata []policy.ClaimValue
	// anonymous is who anybody is, under this policy
	anonymous *Identity
}

// newClaims returns nil for a policy that makes nothing of claims, beside which none does. named are
// the headers that all of them make.
func newClaims(p *policy.Policy, named []string, wire Wire) *claims {
	c := &claims{named: named, metadata: p.Metadata()}
	used := len(c.named)+len(c.metadata) > 0 ||
		slices.ContainsFunc(p.Rules(), func(r *policy.Rule) bool { return r.Outgoing != nil })
	if !used {
		return nil
	}
	c.anonymous = &Identity{Remove: append(IdentityHeaders(), c.named...), Named: c.named}
	if wire != nil {
		c.anonymous.Wire = wire.Allow(c.anonymous)
	}
	return c
}

// told is what was made of a token's claims for the rules that hand on the same.
type told struct {
	claims   *claims
	outgoing *policy.Outgoing
	identity *Identity // nil: too much
	size     int
}

// remembered are those of a token that were made last. They are bounded, and counted with the token
// when it is kept.
type remembered struct{ all atomic.Pointer[[]told] }

const maxRemembered = 4 << 10 // bytes

// find returns what was made before; ok is false when nothing was.
func (m *remembered) find(c *claims, o *policy.Outgoing) (id *Identity, ok bool) {
	if all := m.all.Load(); all != nil {
		for i := range *all {
			if t := &(*all)[i]; t.claims == c && t.outgoing == o {
				return t.identity, true
			}
		}
	}
	return nil, false
}

// keep remembers t, and of the others what there is room for. Of two at once, one is made again.
func (m *remembered) keep(t told) {
	if t.size > maxRemembered {
		return
	}
	next, size := []told{t}, t.size
	if all := m.all.Load(); all != nil {
		for _, old := range *all {
			if size += old.size; size > maxRemembered || old.claims != t.claims {
				break
			}
			next = append(next, old)
		}
	}
	m.all.Store(&next)
}

// identify returns who calls as the rule has the upstream told; nil when that is too much to tell.
func (e *Engine) identify(c *claims, rule *policy.Rule, v *verified) *Identity {
	if id, ok := v.told.find(c, rule.Outgoing); ok {
		return id
	}
	t := told{claims: c, outgoing: rule.Outgoing}
	t.identity, t.size = c.tell(v, rule.Outgoing, e.options.Wire)
	v.told.keep(t)
	return t.identity
}

// tell makes an identity that says of the token's claims what the policy and a rule hand on.
func (c *claims) tell(v *verified, o *policy.Outgoing, wire Wire) (id *Identity, size int) {
	const fixed = 512 // what holds it all together
	id = &Identity{
		Claims: v.identity.Claims, Facts: v.identity.Facts,
		Set: slices.Clone(v.identity.Set), Remove: slices.Clone(v.identity.Remove), Named: c.named,
		body: v.body,
	}
	told, total := map[string]bool{}, 0
	value := func(m policy.ClaimValue) (string, bool) {
		found, _ := v.body.Root().Lookup(m.Claim)
		text := headerValue(found, m.JSON)
		total += len(m.Name) + len(text)
		return text, len(text) <= maxClaimValue
	}
	if o != nil {
		for _, m := range o.Upstream {
			text, ok := value(m)
			if !ok {
				return nil, fixed
			}
			told[m.Name] = text != ""
			if text != "" {
				id.Set = append(id.Set, Header{m.Name, text})
			}
		}
		for _, m := range o.Client {
			text, ok := value(m)
			if !ok {
				return nil, fixed
			}
			if text != "" {
				id.Client = append(id.Client, Header{m.Name, text})
			}
		}
	}
	for _, m := range c.metadata {
		found, ok := v.body.Root().Lookup(m.Claim)
		text := asJSON(found)
		if total += len(m.Name) + len(text); len(text) > maxClaimValue {
			return nil, fixed
		}
		if ok && found.Kind() != strict.Null {
			id.Metadata = append(id.Metadata, Metadata{m.Name, found})
		}
	}
	if total > maxClaimValues {
		return nil, fixed
	}
	for _, name := range c.named {
		if !told[name] {
			id.Remove = append(id.Remove, name)
		}
	}
	if wire != nil {
		id.Wire = wire.Allow(id)
	}
	for _, h := range id.Set {
		total += len(h.Name) + len(h.Value)
	}
	return id, fixed + 3*total // as it is, and twice in answers
}

// headerValue returns a claim as the value of a header; "" when there is nothing to say. A list is
// joined by commas, each element percent-encoded where it has to be; a list or an object within it
// is JSON.
func headerValue(v strict.Value, asIs bool) string {
	switch kind := v.Kind(); {
	case kind == strict.Absent, kind == strict.Null:
		return ""
	case kind == strict.Array && !asIs:
		parts := make([]string, 0, len(v.Members()))
		for _, m := range v.Members() {
			if part := headerValue(m.Value, m.Value.Kind() == strict.Array); part != "" {
				parts = append(parts, part)
			}
		}
		return strings.Join(parts, ",")
	case kind == strict.Array, kind == strict.Object, asIs:
		return encode(asJSON(v))
	}
	return encode(v.Text())
}

// asJSON writes a value as it was read: numbers keep their digits.
func asJSON(v strict.Value) string {
	var b strings.Builder
	writeJSON(&b, v)
	return b.String()
}

func writeJSON(b *strings.Builder, v strict.Value) {
	switch v.Kind() {
	case strict.Bool, strict.Number:
		b.WriteString(v.Text())
	case strict.String:
		writeText(b, v.Text())
	case strict.Array, strict.Object:
		brackets, object := "[]", v.Kind() == strict.Object
		if object {
			brackets = "{}"
		}
		b.WriteByte(brackets[0])
		for i, m := range v.Members() {
			if i > 0 {
				b.WriteByte(',')
			}
			if object {
				writeText(b, m.Name)
				b.WriteByte(':')
			}
			writeJSON(b, m.Value)
		}
		b.WriteByte(brackets[1])
	default:
		b.WriteString("null")
	}
}

func writeText(b *strings.Builder, s string) {
	quoted, err := json.Marshal(s)
	if err != nil { // strings always marshal
		quoted = []byte(`""`)
	}
	b.Write(quoted)
}

// strip adds the headers of a request that a server might take for one that is made of a claim. The
// true names need none: they are overwritten or removed.
func (c *claims) strip(all []Header, strip []string) []string {
	for i := range all {
		for _, name := range c.named {
			if folds(all[i].Name, name) && !equalFold(all[i].Name, name) {
				strip = append(strip, all[i].Name)
			}
		}
	}
	return strip
}

// nominated reports whether a Connection header names one of the headers, so that a proxy on the
// way would drop it.
func (c *claims) nominated(all []Header) bool {
	return slices.ContainsFunc(all, func(h Header) bool {
		return equalFold(h.Name, "connection") && nominates(h.Value, c.named)
	})
}

// hides reports whether a server might take a header for one that is made of a claim.
func (c *claims) hides(name string) bool {
	return c != nil && slices.ContainsFunc(c.named, func(s string) bool { return folds(name, s) })
}

// Covered reports whether the proxy's word of what it removes covers all headers that the policy
// makes of claims. names follow its mark, with commas between them; those that begin as the
// identity headers do are covered by the mark alone.
func (e *Engine) Covered(names string) (missing string, ok bool) {
	c := e.rules.Load().claims
	if c == nil {
		return "", true
	}
	for _, name := range c.named {
		if !strings.HasPrefix(name, IdentityPrefix) && !listed(names, name) {
			return name, false
		}
	}
	return "", true
}

func listed(names, name string) bool {
	for rest, more := names, true; more; {
		var one string
		if one, rest, more = strings.Cut(rest, ","); one == name {
			return true
		}
	}
	return false
}

// SpellingsOf lists every spelling of a header's name with `-`, `_` and `.` in the place of its
// hyphens but the true one, as Misspellings does of the identity headers.
func SpellingsOf(name string) []string {
	return slices.DeleteFunc(spellings(name), func(s string) bool { return s == name })
}

// Metadata is what a proxy's other filters are told of a claim.
type Metadata struct {
	Name  string
	Value strict.Value // anything but null
}

// Text returns a plain value as it is, a list or an object as JSON.
func (m *Metadata) Text() string {
	if kind := m.Value.Kind(); kind == strict.Array || kind == strict.Object {
		return asJSON(m.Value)
	}
	return m.Value.Text()
}

// errTooMuch is why a request is refused whose token says more than is handed on.
var errTooMuch = token.Refuse(token.ReasonClaimSize,
	"a claim that the route hands on has more than %d bytes, or all together more than %d",
	maxClaimValue, maxClaimValues)
