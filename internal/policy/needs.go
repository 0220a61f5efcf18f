package policy

import (
	"slices"

	"github.com/sallyport/sallyport/internal/token"
)

// Needs is what a policy goes by when it judges a request, beside its method, host and path. It is
// for those who judge again what somebody has written down: whatever is named here and was not
// written down, leaves the answer open.
type Needs struct {
	Rule    *Rule    // under which the request falls, if its headers are as they were written down
	Headers []string // of the request, in small letters
	// AllHeaders and AllClaims mean that a condition reads them by names that are not known before.
	AllHeaders, AllClaims bool

	Tokens []TokenSource // where the token may stand

	Roles, Scopes, Audience, ACR, AuthTime bool     // of the token
	Claims                                 []string // of the token, by their names as they stand
}

// NeedsOf returns what a policy goes by for a request.
func NeedsOf(p *Policy, method, host, path string, header Header) Needs {
	found := p.FindWith(method, host, path, header)
	n := Needs{Rule: found.Rule, Tokens: p.tokens}
	for _, c := range Consider(p, method, host, path, header) {
		// A route that would match by all but its headers might be the one.
		if c.Misfit == "" || c.Near {
			for _, h := range p.candidates[c.Rule.Index].headers {
				n.Headers = append(n.Headers, h.Name)
			}
		}
	}
	for _, d := range found.Rule.Demands() {
		n.add(d)
	}
	// Of what goes on, too much is refused.
	if a := found.Rule.Access; a == Authenticated || a == Optional {
		if o := found.Rule.Outgoing; o != nil {
			n.handed(o.Upstream)
			n.handed(o.Client)
		}
		n.handed(p.metadata)
	}
	// Whether it is a browser's preflight, which is answered and not judged.
	if method == "OPTIONS" && p.AnswersAcross() {
		n.Headers = append(n.Headers, "origin", "access-control-request-method")
	}
	slices.Sort(n.Headers)
	n.Headers = slices.Compact(n.Headers)
	slices.Sort(n.Claims)
	n.Claims = slices.Compact(n.Claims)
	return n
}

func (n *Needs) handed(on []ClaimValue) {
	for _, v := range on {
		n.Claims = append(n.Claims, v.Claim)
	}
}

func (n *Needs) add(d *Demand) {
	n.Roles = n.Roles || len(d.enough) > 0
	n.Scopes = n.Scopes || len(d.Scopes) > 0
	n.Audience = n.Audience || len(d.Audiences) > 0
	n.ACR = n.ACR || len(d.ACR) > 0
	n.AuthTime = n.AuthTime || d.Fresh > 0
	if d.When == nil {
		return
	}
	n.Roles = n.Roles || d.When.Reads("roles")
	n.Scopes = n.Scopes || d.When.Reads("scopes")
	claims, all := d.When.Members("claims")
	n.Claims, n.AllClaims = append(n.Claims, claims...), n.AllClaims || all
	headers, all := d.When.Members("request.headers")
	n.Headers, n.AllHeaders = append(n.Headers, headers...), n.AllHeaders || all
}

// DecidedBefore reports whether a policy has no say in a refusal for that reason: whatever it asks
// for, the token is refused, unless it asks for none.
func DecidedBefore(r token.Reason) bool {
	switch r {
	case token.ReasonNoToken, token.ReasonDenied, token.ReasonNoRoute, token.ReasonClaimSize,
		token.ReasonBadPath, token.ReasonPathCase:
		return false
	}
	return !slices.Contains(judged[:], r)
}
