package issuer

import (
	"context"
	"net/http"
	"strconv"
	"time"

	"github.com/sallyport/sallyport/internal/revocation"
	"github.com/sallyport/sallyport/internal/session"
)

// preview is the answer to a dry run: what a revocation would end, as far as it can be known.
// Nothing is changed.
type preview struct {
	DryRun       bool       `json:"dry_run"`
	Kind         string     `json:"kind"`
	Value        string     `json:"value,omitempty"`
	Issuer       string     `json:"issuer"`
	IssuedBefore *time.Time `json:"issued_before,omitempty"` // absent: the moment it is carried out
	Effect       string     `json:"effect"`
	// Revoked says whether this issuer knows it to be revoked already; absent where that depends on
	// a token's age.
	Revoked *bool `json:"already_revoked,omitempty"`
	// SessionsKnown is false where sessions are not kept by what was asked for: they may be any
	// number.
	SessionsKnown bool      `json:"sessions_known"`
	SessionsTotal int       `json:"sessions_total"`
	Sessions      []listing `json:"sessions"` // at most maxPreview of them
}

// listing is a session as a dry run shows it.
type listing struct {
	ID       string    `json:"id"`
	Subject  string    `json:"subject"`
	ClientID string    `json:"client_id"`
	Tenant   string    `json:"tenant,omitempty"`
	Began    time.Time `json:"began"`
	Expires  time.Time `json:"expires"`
	State    string    `json:"state"`
}

// maxPreview is how many sessions a dry run lists.
const maxPreview = 1000

// parseDryRun reads ?dry_run=true.
func parseDryRun(r *request) (bool, error) {
	text := orElse(r.URL.Query().Get("dry_run"), "false")
	if text != "true" && text != "false" {
		return false, invalidRequest("dry_run is not true or false")
	}
	return strconv.ParseBool(text)
}

// preview answers POST /admin/revocations?dry_run=true.
func (s *Server) preview(ctx context.Context, wanted revocation.Request) (reply, error) {
	ours := wanted.Issuer == s.cfg.Issuer
	p := preview{
		DryRun: true, Kind: wanted.Kind.String(), Value: wanted.Value, Issuer: wanted.Issuer,
		Effect: effectOf(wanted.Kind, ours), Sessions: []listing{},
	}
	if !wanted.IssuedBefore.IsZero() {
		p.IssuedBefore = &wanted.IssuedBefore
	}
	if facts, exact := factsOf(wanted); exact {
		revoked := s.log.Check(&facts).Revoked
		p.Revoked = &revoked
	}
	if err := s.findSessions(ctx, wanted, ours, &p); err != nil {
		return reply{}, err
	}
	return reply{status: http.StatusOK, body: p}, nil
}

// findSessions fills in the sessions that would end, where they can be found.
func (s *Server) findSessions(ctx context.Context, wanted revocation.Request, ours bool,
	p *preview) error {
	switch {
	case wanted.Kind == revocation.KindJTI || wanted.Kind == revocation.KindKID:
		p.SessionsKnown = true // none: they go on by their refresh tokens
	case ours && wanted.Kind == revocation.KindSID:
		found, err := s.sessions.Look(ctx, wanted.Value)
		if err != nil {
			return err
		}
		if p.SessionsKnown = true; found.State != session.Missing {
			p.Sessions, p.SessionsTotal = append(p.Sessions, list(found)), 1
		}
	case ours && wanted.Kind == revocation.KindSub:
		found, total, err := s.sessions.List(ctx, wanted.Value, maxPreview)
		if err != nil {
			return err
		}
		p.SessionsKnown, p.SessionsTotal = true, total
		for _, l := range found {
			p.Sessions = append(p.Sessions, list(l))
		}
	}
	return nil
}

func list(l session.Listed) listing {
	return listing{
		ID:       l.ID,
		Subject:  l.Subject,
		ClientID: l.ClientID,
		Tenant:   l.Tenant,
		Began:    l.Began.UTC(),
		Expires:  l.Expires.UTC(),
		State:    l.State.String(),
	}
}

// factsOf gives what an entry names whatever the age of the token is.
func factsOf(wanted revocation.Request) (f revocation.Facts, exact bool) {
	f.Issuer = wanted.Issuer
	switch wanted.Kind {
	case revocation.KindJTI:
		f.TokenID = wanted.Value
	case revocation.KindSID:
		f.SessionID = wanted.Value
	case revocation.KindKID:
		f.KeyID = wanted.Value
	default:
		return f, false
	}
	return f, true
}

// effectOf says in words what a revocation does.
func effectOf(k revocation.Kind, ours bool) string {
	switch {
	case k == revocation.KindJTI:
		return "Refuses one access token. Its session goes on: a refresh gives another one."
	case k == revocation.KindKID:
		return "Refuses everything that the key has signed, and takes the key out of every gate. Sessions go on: a refresh gives a token of another key."
	case k == revocation.KindSID && ours:
		return "Ends the session: its refresh token and every access token of it."
	case k == revocation.KindSID:
		return "Refuses every token of the session. Sessions of another issuer are not known here."
	case k == revocation.KindSub && ours:
		return "Logs the user out everywhere: every session, refresh tokens included. A login right after it works."
	case k == revocation.KindIss && ours:
		return "Refuses every token that this issuer has issued, and ends every session that has begun, up to issued_before."
	case ours:
		return "Refuses tokens issued, and ends sessions begun, up to issued_before. Which sessions those are is not kept."
	}
	return "Refuses tokens issued up to issued_before. Sessions of another issuer are not known here."
}
