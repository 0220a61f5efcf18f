package admin

import (
	"context"
	"net/http"

	"github.com/sallyport/sallyport/internal/adminapi"
	"github.com/sallyport/sallyport/internal/revocation"
	"github.com/sallyport/sallyport/internal/session"
	"github.com/sallyport/sallyport/issuer/httpapi"
)

// maxPreview is how many sessions a dry run lists.
const maxPreview = 1000

// preview answers POST /admin/revocations?dry_run=true.
func (a *API) preview(ctx context.Context, wanted revocation.Request) (httpapi.Reply, error) {
	ours := wanted.Issuer == a.cfg.Issuer
	p := adminapi.Preview{
		DryRun: true, Kind: wanted.Kind.String(), Value: wanted.Value, Issuer: wanted.Issuer,
		Effect: effectOf(wanted.Kind, ours), Sessions: []adminapi.Session{},
	}
	if !wanted.IssuedBefore.IsZero() {
		p.IssuedBefore = &wanted.IssuedBefore
	}
	// An entry with a cutoff names some tokens and not others: for those kinds there is no answer.
	if facts, exact := factsOf(wanted); exact {
		revoked := a.cfg.Log.Check(&facts).Revoked
		p.Revoked = &revoked
	}
	if err := a.findSessions(ctx, wanted, ours, &p); err != nil {
		return httpapi.Reply{}, err
	}
	return httpapi.Reply{Status: http.StatusOK, Body: p}, nil
}

// findSessions fills in the sessions that would end, where they can be found.
func (a *API) findSessions(ctx context.Context, wanted revocation.Request, ours bool,
	p *adminapi.Preview) error {
	switch {
	case wanted.Kind == revocation.KindJTI || wanted.Kind == revocation.KindKID:
		p.SessionsKnown = true // none: they go on by their refresh tokens
	case ours && wanted.Kind == revocation.KindSID:
		found, err := a.cfg.Sessions.Look(ctx, wanted.Value)
		if err != nil {
			return err
		}
		if p.SessionsKnown = true; found.State != session.Missing {
			p.Sessions, p.SessionsTotal = append(p.Sessions, showSession(found)), 1
		}
	case ours && wanted.Kind == revocation.KindSub:
		found, total, err := a.cfg.Sessions.List(ctx, wanted.Value, maxPreview)
		if err != nil {
			return err
		}
		p.SessionsKnown, p.SessionsTotal = true, total
		for _, l := range found {
			p.Sessions = append(p.Sessions, showSession(l))
		}
	}
	return nil
}

func showSession(l session.Listed) adminapi.Session {
	return adminapi.Session{
		ID: l.ID, Subject: l.Subject, ClientID: l.ClientID, Tenant: l.Tenant,
		Began: l.Began.UTC(), Expires: l.Expires.UTC(), State: l.State.String(),
	}
}

// factsOf returns what a token must be to be named by an entry of that kind; exact is false for
// kinds that also depend on the token's age.
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

// effectOf returns in words what a revocation does.
func effectOf(k revocation.Kind, ours bool) string {
	switch {
	case k == revocation.KindJTI:
		return "Refuses one access token. Its session goes on: a refresh gives another one."
	case k == revocation.KindKID:
		return "Refuses everything that the key has signed, and takes the key out of every gate. " +
			"Sessions go on: a refresh gives a token of another key."
	case k == revocation.KindSID && ours:
		return "Ends the session: its refresh token and every access token of it."
	case k == revocation.KindSID:
		return "Refuses every token of the session, also those that its issuer goes on making. " +
			"The session is not ended there: end it at its issuer, too."
	case k == revocation.KindSub && ours:
		return "Logs the user out everywhere: every session, refresh tokens included. " +
			"A login right after it works."
	case k == revocation.KindIss && ours:
		return "Refuses every token that this issuer has issued, and ends every session that has " +
			"begun, up to issued_before."
	case ours:
		return "Refuses tokens issued, and ends sessions begun, up to issued_before. " +
			"Which sessions those are is not kept."
	}
	if k == revocation.KindSub {
		return "Refuses the user's tokens issued up to issued_before, and later ones whose auth_time " +
			"says that their session began up to then. Nobody is logged out there: " +
			"end the sessions at their issuer, too."
	}
	return "Refuses tokens issued up to issued_before. " +
		"Sessions of another issuer go on there, and their next tokens are accepted."
}
