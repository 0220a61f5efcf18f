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
	"github.com/sallyport/sallyport/issuer/httpapi"
)

var errInvalidCredentials = &httpapi.Refusal{
	Status: http.StatusUnauthorized, Code: "invalid_credentials",
	Description: "The username or password is wrong.",
}

// login answers POST /login {"username","password"}: a pair of tokens for a new session.
func (s *Server) login(r *httpapi.Request) (httpapi.Reply, error) {
	members, err := r.Members("username", "password")
	if err != nil {
		return httpapi.Reply{}, err
	}
	values, err := httpapi.Require(members, "username", "password")
	if err != nil {
		return httpapi.Reply{}, err
	}
	name, password := values[0], values[1]
	event := s.trail.Event(r, audit.Login)
	user, grant, err := s.signIn(r.Context(), name, password, r.From.Counted)
	if err != nil {
		outcome, refused := loginRefusal(err)
		// After the password was checked, so that the answer's time tells nothing of the name.
		event.Subject = s.known(r.Context(), name)
		s.metrics.logins.WithLabelValues(outcome).Inc()
		s.trail.Record(event, outcome)
		if refused != nil {
			return httpapi.Reply{}, refused
		}
		return httpapi.Reply{}, err
	}
	tokens, err := s.tokens.mint(grant, user.Roles, grant.Session.Scope)
	if err != nil {
		return httpapi.Reply{}, err
	}
	event.Subject, event.Tenant = user.Name, user.Tenant
	event.SessionID, event.TokenID = grant.Session.ID, tokens.id
	s.metrics.logins.WithLabelValues("success").Inc()
	s.trail.Record(event, "")
	return tokens.reply()
}

// known returns the name of a user there is, for the record of a failed login. What is nobody's
// name is not recorded: it may well be a password, typed into the wrong field.
func (s *Server) known(ctx context.Context, name string) string {
	user, err := s.users.Lookup(ctx, name)
	if err != nil {
		return ""
	}
	return user.Name
}

// nobody stands for a text that can be no user's name, so that it takes as long as a name.
const nobody = "\x00"

// signIn checks the password between StartLogin and Begin, which refuses with ErrMoved if the user was
// logged out everywhere in between. Then the password is checked once more: it may have been
// changed.
func (s *Server) signIn(ctx context.Context, name, password string,
	from netip.Addr) (credential.User, session.Grant, error) {
	subject, err := credential.Normalize(name)
	if err != nil {
		subject = nobody
	}
	for attempt := 0; ; attempt++ {
		// Before the password is checked: otherwise a log out everywhere during the check would not end
		// the session that is about to be made.
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

// loginRefusal returns what a failed login is called in metrics and events, and the answer to it;
// without a refusal that is 503.
func loginRefusal(err error) (outcome string, refused error) {
	var throttled *credential.ThrottledError
	switch {
	case errors.Is(err, credential.ErrInvalid):
		return "invalid", errInvalidCredentials
	case errors.As(err, &throttled) && throttled.By == credential.ByNameLogins:
		return "login_rate", httpapi.TooManyRequests(throttled.RetryAfter)
	case errors.As(err, &throttled):
		return "throttled", httpapi.TooManyRequests(throttled.RetryAfter)
	case errors.Is(err, credential.ErrBusy):
		return "busy", httpapi.ErrBusy
	}
	return "unavailable", nil
}
