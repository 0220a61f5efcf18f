package issuer

import (
	"context"
	"errors"
	"net/http"
	"slices"

	"github.com/sallyport/sallyport/internal/audit"
	"github.com/sallyport/sallyport/internal/credential"
	"github.com/sallyport/sallyport/internal/session"
)

// refresh answers POST /refresh {"refresh_token"}: a new pair; the old refresh token is spent.
func (s *Server) refresh(r *request) (reply, error) {
	members, err := r.members("refresh_token")
	if err != nil {
		return reply{}, err
	}
	values, err := require(members, "refresh_token")
	if err != nil {
		return reply{}, err
	}
	var user credential.User
	grant, err := s.sessions.Refresh(
		r.Context(),
		values[0],
		func(ctx context.Context, live session.Session) (string, error) {
			var err error
			user, err = s.admit(ctx, live)
			return user.Rights, err
		},
	)
	event := s.event(r, audit.Refresh)
	if err != nil {
		return reply{}, s.refreshRefusal(event, err)
	}
	tokens, err := s.mint(grant, user.Roles, intersect(grant.Session.Scope, user.Scopes))
	if err != nil {
		return reply{}, err
	}
	event.Subject, event.SessionID, event.TokenID, event.Tenant = grant.Session.Subject, grant.Session.ID, tokens.id, grant.Session.Tenant
	s.record(event, "")
	return reply{status: http.StatusOK, body: tokens}, nil
}

// admit reads the user anew. One who is disabled or gone may not go on, nor one who has moved to
// another tenant: the session and its tokens are of the old one. With another password than at
// login the session may be a thief's.
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

// refreshRefusal gives the answer to a refresh that failed. The reason is for the event and the
// metric, not for the client.
func (s *Server) refreshRefusal(event audit.Event, err error) error {
	var refused *session.Refusal
	if !errors.As(err, &refused) {
		s.record(event, "unavailable")
		return err
	}
	s.metrics.refused.WithLabelValues(string(refused.Reason)).Inc()
	if refused.Ended {
		s.metrics.ended.WithLabelValues("refresh_" + string(refused.Reason)).Inc()
	}
	if refused.Reason == session.ReasonReuse {
		event.Name = audit.Reuse
	}
	event.SessionID, event.Subject, event.Seq = refused.SessionID, refused.Subject, refused.Seq
	s.record(event, string(refused.Reason))
	return errInvalidGrant
}

// intersect gives those of a that are in b, in a's order.
func intersect(a, b []string) []string {
	var both []string
	for _, x := range a {
		if slices.Contains(b, x) {
			both = append(both, x)
		}
	}
	return both
}
