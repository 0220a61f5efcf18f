package issuer

import (
	"context"
	"errors"
	"net/http"
	"slices"

	"github.com/sallyport/sallyport/internal/audit"
	"github.com/sallyport/sallyport/internal/credential"
	"github.com/sallyport/sallyport/internal/session"
	"github.com/sallyport/sallyport/issuer/httpapi"
)

var errInvalidGrant = &httpapi.Refusal{
	Status: http.StatusUnauthorized, Code: "invalid_grant",
	Description: "The refresh token is not valid: log in again.",
}

// refresh answers POST /refresh {"refresh_token"}: a new pair; the old refresh token is spent.
func (s *Server) refresh(r *httpapi.Request) (httpapi.Reply, error) {
	members, err := r.Members("refresh_token")
	if err != nil {
		return httpapi.Reply{}, err
	}
	values, err := httpapi.Require(members, "refresh_token")
	if err != nil {
		return httpapi.Reply{}, err
	}
	var user credential.User
	// The user is asked about before the token is spent: an error then leaves it as it was.
	grant, err := s.sessions.Refresh(r.Context(), values[0],
		func(ctx context.Context, live session.Session) (string, error) {
			var err error
			user, err = s.admit(ctx, live)
			return user.Rights, err
		})
	event := s.trail.Event(r, audit.Refresh)
	if err != nil {
		return httpapi.Reply{}, s.refreshRefusal(event, err)
	}
	tokens, err := s.tokens.mint(grant, user.Roles, intersect(grant.Session.Scope, user.Scopes))
	if err != nil {
		return httpapi.Reply{}, err
	}
	event.Subject, event.Tenant = grant.Session.Subject, grant.Session.Tenant
	event.SessionID, event.TokenID = grant.Session.ID, tokens.id
	s.trail.Record(event, "")
	return tokens.reply()
}

// admit reads the user anew. A user who is disabled or gone may not go on, nor one who has moved to
// another tenant: the session and its tokens are of the old one. After a change of the password the
// session may be that of whoever knew the old one.
func (s *Server) admit(ctx context.Context, live session.Session) (credential.User, error) {
	user, err := s.users.Lookup(ctx, live.Subject)
	if errors.Is(err, credential.ErrNoUser) ||
		(err == nil && (user.Disabled || user.Tenant != live.Tenant)) {
		return credential.User{}, session.ErrBarred
	}
	if err == nil && user.Credential != live.Credential {
		return credential.User{}, session.ErrPassword
	}
	return user, err
}

// refreshRefusal returns the answer to a refresh that failed. The reason is for the event and the
// metric, not for the client.
func (s *Server) refreshRefusal(event audit.Event, err error) error {
	var refused *session.Refusal
	if !errors.As(err, &refused) {
		s.trail.Record(event, "unavailable")
		return err
	}
	s.metrics.refused.WithLabelValues(string(refused.Reason)).Inc()
	if refused.Ended {
		s.metrics.ended.WithLabelValues("refresh_" + string(refused.Reason)).Inc()
	}
	// The token was stolen, or its client is broken: an event of its own, for alerts.
	if refused.Reason == session.ReasonReuse {
		event.Name = audit.Reuse
	}
	event.SessionID, event.Subject, event.Seq = refused.SessionID, refused.Subject, refused.Seq
	s.trail.Record(event, string(refused.Reason))
	return errInvalidGrant
}

// intersect returns those of a that are in b, in a's order.
func intersect(a, b []string) []string {
	var both []string
	for _, x := range a {
		if slices.Contains(b, x) {
			both = append(both, x)
		}
	}
	return both
}
