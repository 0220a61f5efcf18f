package issuer

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/netip"

	"github.com/sallyport/sallyport/internal/audit"
	"github.com/sallyport/sallyport/internal/credential"
	"github.com/sallyport/sallyport/internal/session"
)

// login answers POST /login {"username","password"}: a pair of tokens for a new session.
func (s *Server) login(r *request) (reply, error) {
	members, err := r.members("username", "password")
	if err != nil {
		return reply{}, err
	}
	values, err := require(members, "username", "password")
	if err != nil {
		return reply{}, err
	}
	name, password := values[0], values[1]
	event := s.event(r, audit.Login)
	user, grant, err := s.signIn(r.Context(), name, password, r.from.counted)
	if err != nil {
		outcome, refused := loginRefusal(err)
		event.Subject = s.known(r.Context(), name)
		s.metrics.logins.WithLabelValues(outcome).Inc()
		s.record(event, outcome)
		if refused != nil {
			return reply{}, refused
		}
		return reply{}, err
	}
	tokens, err := s.mint(grant, user.Roles, grant.Session.Scope)
	if err != nil {
		return reply{}, err
	}
	event.Subject, event.SessionID, event.TokenID, event.Tenant = user.Name, grant.Session.ID, tokens.id, user.Tenant
	s.metrics.logins.WithLabelValues("success").Inc()
	s.record(event, "")
	return reply{status: http.StatusOK, body: tokens}, nil
}

// known gives the name of a user there is, for the record of a failed login. What is nobody's name
// is not recorded: it may well be a password, typed into the wrong field.
func (s *Server) known(ctx context.Context, name string) string {
	user, err := s.users.Lookup(ctx, name)
	if err != nil {
		return ""
	}
	return user.Name
}

// nobody stands for what can be no user's name, so that it costs what a name costs.
const nobody = "\x00"

// signIn checks the password between taking note of the user's stamp and making the session.
// If the user was logged out everywhere meanwhile the password is checked once more: it may have
// been changed.
func (s *Server) signIn(ctx context.Context, name, password string,
	from netip.Addr) (credential.User, session.Grant, error) {
	subject, err := credential.Normalize(name)
	if err != nil {
		subject = nobody
	}
	for attempt := 0; ; attempt++ {
		started, err := s.sessions.StartLogin(ctx, subject)
		if err != nil {
			return credential.User{}, session.Grant{}, err
		}
		user, err := s.users.Verify(ctx, name, password, from)
		if err != nil {
			return credential.User{}, session.Grant{}, err
		}
		grant, err := s.sessions.Begin(ctx, started, session.Login{
			Subject: user.Name, Tenant: user.Tenant, Scope: user.Scopes, AMR: []string{"pwd"},
			Credential: user.Credential, Rights: user.Rights,
		})
		if errors.Is(err, session.ErrMoved) && attempt == 0 {
			continue
		}
		if err != nil {
			return credential.User{}, session.Grant{}, fmt.Errorf("issuer: beginning a session: %w", err)
		}
		return user, grant, nil
	}
}

// loginRefusal gives a failed login's name in metrics and events, and the answer; no refusal means
// 503.
func loginRefusal(err error) (outcome string, refused error) {
	var throttled *credential.ThrottledError
	switch {
	case errors.Is(err, credential.ErrInvalid):
		return "invalid", errInvalidCredentials
	case errors.As(err, &throttled) && throttled.By == credential.ByNameLogins:
		return "login_rate", tooManyRequests(throttled.RetryAfter)
	case errors.As(err, &throttled):
		return "throttled", tooManyRequests(throttled.RetryAfter)
	case errors.Is(err, credential.ErrBusy):
		return "busy", errBusy
	}
	return "unavailable", nil
}
