package issuer

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/sallyport/sallyport/internal/adminapi"
	"github.com/sallyport/sallyport/internal/audit"
	"github.com/sallyport/sallyport/internal/revocation"
	"github.com/sallyport/sallyport/internal/session"
	"github.com/sallyport/sallyport/internal/token"
	"github.com/sallyport/sallyport/issuer/httpapi"
)

var (
	errNoToken = &httpapi.Refusal{
		Status: http.StatusUnauthorized, Code: "invalid_token",
		Description: "Send the access token as bearer, or the refresh token in the body.",
	}
	errInvalidToken = &httpapi.Refusal{
		Status: http.StatusUnauthorized, Code: "invalid_token",
		Description: "The token is not one of this issuer's.", Challenge: "invalid_token",
	}
)

// logout answers POST /logout: it ends the session of an access token (as bearer, expired or not)
// or of a refresh token (in the body, spent or not), and answers once that is stored; with ?wait=
// once every live gate has applied it, or 202. With ?everywhere=true it ends every session of the
// token's user, if the token is in force.
func (s *Server) logout(r *httpapi.Request) (httpapi.Reply, error) {
	wait, err := s.waits.Asked(r)
	if err != nil {
		return httpapi.Reply{}, err
	}
	everywhere, err := r.Flag("everywhere")
	if err != nil {
		return httpapi.Reply{}, err
	}
	bearer, refresh, err := logoutToken(r)
	if err != nil {
		return httpapi.Reply{}, err
	}
	event, by := s.trail.Event(r, audit.Logout), "logout"
	end := s.endByAccessToken
	switch {
	case everywhere:
		by, event.Kind, end = "logout_everywhere", revocation.KindSub.String(), s.endAllByAccessToken
		if bearer == "" {
			end = s.endAllByRefreshToken
		}
	case bearer == "":
		end = s.endByRefreshToken
	}
	receipt, err := end(r.Context(), bearer+refresh, &event) // one of the two is empty
	event.Seq = receipt.Seq
	if err != nil {
		outcome := "unavailable"
		if errors.Is(err, errInvalidToken) {
			outcome = "invalid_token"
		}
		s.trail.Record(event, outcome)
		return httpapi.Reply{}, err
	}
	s.metrics.ended.WithLabelValues(by).Inc()
	s.trail.Record(event, "")
	return s.waits.Acknowledge(r.Context(), receipt, wait, adminapi.Revoked{})
}

// logoutToken takes the token from exactly one place.
func logoutToken(r *httpapi.Request) (bearer, refresh string, err error) {
	headers := r.Header.Values("Authorization")
	// an empty object or null counts as no body
	if len(headers) > 1 || (len(headers) == 1 && r.HasBody()) {
		return "", "", httpapi.InvalidRequest("send one token, in one place")
	}
	if len(headers) == 1 {
		scheme, value, ok := strings.Cut(headers[0], " ")
		if !ok || !strings.EqualFold(scheme, "Bearer") || value == "" {
			return "", "", errInvalidToken
		}
		return value, "", nil
	}
	if !r.HasBody() {
		return "", "", errNoToken
	}
	members, err := r.Members("refresh_token")
	if err != nil {
		return "", "", err
	}
	if members["refresh_token"] == "" {
		return "", "", errNoToken
	}
	return "", members["refresh_token"], nil
}

// endByAccessToken ends what an access token of ours belongs to: its session, or, if it has none,
// itself.
func (s *Server) endByAccessToken(ctx context.Context, bearer string,
	event *audit.Event) (revocation.Receipt, error) {
	claims, kid, err := s.tokens.read(bearer)
	if err != nil {
		return revocation.Receipt{}, err
	}
	nameToken(event, claims, kid)
	if claims.SessionID != "" {
		return s.sessions.End(ctx, claims.SessionID, "logout", claims.Subject)
	}
	return s.log.Append(ctx, []revocation.Request{{
		Kind: revocation.KindJTI, Issuer: s.cfg.Issuer, Value: claims.ID, Reason: "logout",
		Actor: claims.Subject,
	}})
}

// endAllByAccessToken logs the user of an access token out everywhere. The token must be one that
// gates would let pass: else one that somebody finds years later would log its user out for ever,
// and one that is revoked would end what its user has begun since.
func (s *Server) endAllByAccessToken(ctx context.Context, bearer string,
	event *audit.Event) (revocation.Receipt, error) {
	claims, kid, err := s.tokens.read(bearer)
	if err != nil {
		return revocation.Receipt{}, err
	}
	nameToken(event, claims, kid)
	event.Value = claims.Subject
	// What ends with a log out everywhere: the token's session, or, if it has none, the token.
	credential := cmp.Or(claims.SessionID, claims.ID)
	return s.endAllBy(ctx, credential, claims.Subject, func(ctx context.Context) error {
		return s.checkStanding(ctx, claims, kid)
	})
}

// nameToken says in a record which token was used, and whose it is.
func nameToken(event *audit.Event, claims *token.Claims, kid string) {
	event.Subject, event.Tenant = claims.Subject, claims.Tenant
	event.SessionID, event.TokenID, event.KeyID = claims.SessionID, claims.ID, kid
}

// checkStanding refuses an access token that a gate would refuse now, and one of a session that
// could not be refreshed.
func (s *Server) checkStanding(ctx context.Context, claims *token.Claims, kid string) error {
	now, err := s.sessions.Now()
	if err != nil {
		return err
	}
	if err := s.tokens.checkInForce(claims, kid, now); err != nil {
		return err
	}
	if claims.SessionID == "" {
		// Without a session there is no record to look at: this issuer's copy of the log must be fresh.
		return s.sessions.Fresh()
	}
	return refusedIsInvalid(s.sessions.CheckNotEnded(ctx, claims.SessionID))
}

// refusedIsInvalid returns errInvalidToken for a refusal of the session store, and any other error
// as it is.
func refusedIsInvalid(err error) error {
	var refused *session.Refusal
	if errors.As(err, &refused) {
		return errInvalidToken
	}
	return err
}

func (s *Server) endByRefreshToken(ctx context.Context, refresh string,
	event *audit.Event) (revocation.Receipt, error) {
	id, receipt, err := s.sessions.EndByToken(ctx, refresh, "logout")
	event.SessionID = id
	var refused *session.Refusal
	if errors.As(err, &refused) {
		return revocation.Receipt{}, errInvalidToken
	}
	return receipt, err
}

// endAllByRefreshToken logs the user of a refresh token out everywhere, if a refresh by it would
// pass.
func (s *Server) endAllByRefreshToken(ctx context.Context, refresh string,
	event *audit.Event) (revocation.Receipt, error) {
	owner, err := s.sessions.Owner(ctx, refresh)
	event.SessionID, event.Subject, event.Tenant = owner.ID, owner.Subject, owner.Tenant
	event.Value = owner.Subject
	if err != nil {
		return revocation.Receipt{}, refusedIsInvalid(err)
	}
	return s.endAllBy(ctx, owner.ID, owner.Subject, func(ctx context.Context) error {
		_, err := s.sessions.CheckRefreshToken(ctx, refresh)
		return refusedIsInvalid(err)
	})
}

// endAllBy logs a user out everywhere, if may allows the credential to. A credential may have been
// ended by the very log out everywhere that it asked for, which was stored although the answer was
// an error: then it is told so, and ends nothing more.
func (s *Server) endAllBy(ctx context.Context, credential, user string,
	may func(context.Context) error) (revocation.Receipt, error) {
	// Read before anything is ended: should this fail, the entry to look for is from this time on.
	asking, err := s.sessions.Now()
	if err != nil {
		return revocation.Receipt{}, err
	}
	done, err := s.everywhere.do(ctx, user, may)
	var refused *httpapi.Refusal
	switch {
	case err == nil:
		s.unanswered.drop(credential)
		return done.Receipt, nil
	case !errors.As(err, &refused):
		s.unanswered.note(credential, asking, s.now())
		return revocation.Receipt{}, err
	case refused != errInvalidToken:
		return revocation.Receipt{}, err
	}
	since, asked := s.unanswered.since(credential, s.now())
	if !asked {
		return revocation.Receipt{}, err
	}
	// The credential may have ended for another reason: only the entry in the log earns a 200.
	receipt, stored := s.log.Live([]revocation.Request{
		{Kind: revocation.KindSub, Issuer: s.cfg.Issuer, Value: user, IssuedBefore: since},
	})
	if !stored {
		return revocation.Receipt{}, fmt.Errorf(
			"issuer: a log out everywhere is not stored yet: %w", httpapi.ErrUnavailable)
	}
	s.unanswered.drop(credential)
	return receipt, nil
}
