package issuer

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/sallyport/sallyport/internal/audit"
	"github.com/sallyport/sallyport/internal/jose"
	"github.com/sallyport/sallyport/internal/revocation"
	"github.com/sallyport/sallyport/internal/session"
	"github.com/sallyport/sallyport/internal/token"
)

// revoked is the answer to a logout.
type revoked struct {
	Revoked bool   `json:"revoked"`
	Seq     uint64 `json:"seq"`
	// "3/3": gates that have it, of all that live; only when asked to wait
	Applied string   `json:"applied,omitempty"`
	Behind  []string `json:"behind,omitempty"`
	// For operators: the issuer that it was revoked at, and, where sessions are kept by what was
	// named, how many of them there were; 0 mostly means a name that is spelt wrongly.
	Issuer   string `json:"issuer,omitempty"`
	Sessions *int   `json:"sessions,omitempty"`
}

// logout answers POST /logout: it ends the session of an access token (as bearer, expired or not)
// or of a refresh token (in the body, spent or not), and answers once that is stored; with ?wait=
// once every live gate has applied it, or 202. With ?everywhere=true it ends every session of the
// token's user, if the token is in force.
func (s *Server) logout(r *request) (reply, error) {
	wait, err := s.parseWait(r)
	if err != nil {
		return reply{}, err
	}
	everywhere, err := parseEverywhere(r)
	if err != nil {
		return reply{}, err
	}
	bearer, refresh, err := logoutToken(r)
	if err != nil {
		return reply{}, err
	}
	event, by := s.event(r, audit.Logout), "logout"
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
	receipt, err := end(r.Context(), bearer+refresh, &event) // one of them is empty
	event.Seq = receipt.Seq
	if err != nil {
		outcome := "unavailable"
		if errors.Is(err, errInvalidToken) {
			outcome = "invalid_token"
		}
		s.record(event, outcome)
		return reply{}, err
	}
	s.metrics.ended.WithLabelValues(by).Inc()
	s.record(event, "")
	return s.acknowledge(r.Context(), receipt, wait)
}

// parseEverywhere reads ?everywhere=true.
func parseEverywhere(r *request) (bool, error) {
	text := orElse(r.URL.Query().Get("everywhere"), "false")
	if text != "true" && text != "false" {
		return false, invalidRequest("everywhere is not true or false")
	}
	return text == "true", nil
}

// logoutToken takes the token from exactly one place.
func logoutToken(r *request) (bearer, refresh string, err error) {
	headers := r.Header.Values("Authorization")
	// a body that says nothing is none, see receive
	if len(headers) > 1 || (len(headers) == 1 && len(r.body) > 0) {
		return "", "", invalidRequest("send one token, in one place")
	}
	if len(headers) == 1 {
		scheme, value, ok := strings.Cut(headers[0], " ")
		if !ok || !strings.EqualFold(scheme, "Bearer") || value == "" {
			return "", "", errInvalidToken
		}
		return value, "", nil
	}
	if len(r.body) == 0 {
		return "", "", errNoToken
	}
	members, err := r.members("refresh_token")
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
	claims, kid, err := s.genuine(bearer)
	if err != nil {
		return revocation.Receipt{}, err
	}
	event.Subject, event.SessionID, event.TokenID, event.Tenant = claims.Subject, claims.SessionID, claims.ID, claims.Tenant
	event.KeyID = kid
	if claims.SessionID != "" {
		return s.sessions.End(ctx, claims.SessionID, "logout", claims.Subject)
	}
	return s.log.Append(ctx, []revocation.Request{
		{
			Kind: revocation.KindJTI, Issuer: s.cfg.Issuer, Value: claims.ID, Reason: "logout",
			Actor: claims.Subject,
		},
	})
}

// endAllByAccessToken logs the user of an access token out everywhere. The token must be one that
// gates would let pass: one that somebody finds years later would log its user out for ever, and
// who has one that is revoked has no say in what its user has begun since.
func (s *Server) endAllByAccessToken(ctx context.Context, bearer string,
	event *audit.Event) (revocation.Receipt, error) {
	claims, kid, err := s.genuine(bearer)
	if err != nil {
		return revocation.Receipt{}, err
	}
	event.Subject, event.SessionID, event.TokenID, event.Tenant = claims.Subject, claims.SessionID, claims.ID, claims.Tenant
	event.KeyID, event.Value = kid, claims.Subject
	return s.endAllBy(
		ctx,
		credentialOf(claims.SessionID, claims.ID),
		claims.Subject,
		func(ctx context.Context) error {
			return s.checkStanding(ctx, claims, kid)
		},
	)
}

// checkStanding refuses an access token that a gate would refuse now. What this issuer itself could
// not store is no end: the log out everywhere that failed is to be tried again.
func (s *Server) checkStanding(ctx context.Context, claims *token.Claims, kid string) error {
	now, err := s.sessions.Now()
	if err != nil {
		return err
	}
	if s.profile.CheckTime(claims, now) != nil {
		return errInvalidToken
	}
	facts := revocation.Facts{
		Issuer:    claims.Issuer,
		TokenID:   claims.ID,
		SessionID: claims.SessionID,
		Subject:   claims.Subject,
		ClientID:  claims.ClientID,
		Tenant:    claims.Tenant,
		KeyID:     kid,
		IssuedAt:  claims.IssuedAt,
		AuthTime:  claims.AuthTime,
		Ours:      true,
	}
	verdict := s.log.Check(&facts)
	if pending := verdict.Seq == 0 &&
		(verdict.Kind == revocation.KindSID || verdict.Kind == revocation.KindSub); verdict.Revoked &&
		pending {
		facts.SessionID, facts.Subject = "", ""
		verdict = s.log.Check(&facts)
	}
	if verdict.Revoked {
		return errInvalidToken
	}
	if claims.SessionID == "" {
		return s.sessions.Fresh()
	}
	return refusedIsInvalid(s.sessions.CheckNotEnded(ctx, claims.SessionID))
}

// refusedIsInvalid is the answer to a credential that sessions refuse; any other error stays what
// it is.
func refusedIsInvalid(err error) error {
	var refused *session.Refusal
	if errors.As(err, &refused) {
		return errInvalidToken
	}
	return err
}

// genuine believes an access token that one of our published keys has signed, whenever it expires.
// A key that was revoked vouches for nothing: who stole it could end anybody's session.
func (s *Server) genuine(bearer string) (*token.Claims, string, error) {
	parsed, err := jose.Parse(bearer)
	if err != nil {
		return nil, "", errInvalidToken
	}
	kid := parsed.Header.KeyID
	key, ok := s.keys.Public(kid)
	if !ok || s.keyRevoked(kid) {
		return nil, "", errInvalidToken
	}
	claims, err := parsed.Verify(&s.profile, key)
	if err != nil {
		return nil, "", errInvalidToken
	}
	return claims, kid, nil
}

// keyRevoked looks at the entry of the key alone: one of the whole issuer has a cutoff and speaks
// of tokens, not of who may end them.
func (s *Server) keyRevoked(kid string) bool {
	verdict := s.log.Check(&revocation.Facts{Issuer: s.cfg.Issuer, KeyID: kid})
	return verdict.Revoked && verdict.Kind == revocation.KindKID
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
	of, err := s.sessions.Owner(ctx, refresh)
	event.SessionID, event.Subject, event.Value, event.Tenant = of.ID, of.Subject, of.Subject, of.Tenant
	if err != nil {
		return revocation.Receipt{}, refusedIsInvalid(err)
	}
	return s.endAllBy(ctx, credentialOf(of.ID, ""), of.Subject, func(ctx context.Context) error {
		_, err := s.sessions.CheckRefreshToken(ctx, refresh)
		return refusedIsInvalid(err)
	})
}

// credentialOf names what ends with a log out everywhere: a session, or a token that has none.
func credentialOf(sessionID, tokenID string) string { return orElse(sessionID, tokenID) }

// endAllBy logs a user out everywhere if the credential that asks may. One that may not because the
// very log out everywhere that it asked for is stored, while the answer to that was an error, is
// told so; it ends nothing more.
func (s *Server) endAllBy(ctx context.Context, credential, user string,
	may func(context.Context) error) (revocation.Receipt, error) {
	asking, err := s.sessions.Now()
	if err != nil {
		return revocation.Receipt{}, err
	}
	done, err := s.everywhere.do(ctx, user, may)
	var refused *refusal
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
	receipt, stored := s.log.Live([]revocation.Request{
		{Kind: revocation.KindSub, Issuer: s.cfg.Issuer, Value: user, IssuedBefore: since},
	})
	if !stored {
		return revocation.Receipt{}, fmt.Errorf(
			"issuer: a log out everywhere is not stored yet: %w", errUnavailable)
	}
	s.unanswered.drop(credential)
	return receipt, nil
}

// acknowledge says that the revocation is stored, and, if asked to wait, who has applied it.
func (s *Server) acknowledge(ctx context.Context, receipt revocation.Receipt,
	wait time.Duration) (reply, error) {
	answer := revoked{Revoked: true, Seq: receipt.Seq}
	if wait == 0 {
		return reply{status: http.StatusOK, body: answer}, nil
	}
	select {
	case s.waits <- struct{}{}:
		defer func() { <-s.waits }()
	default:
		wait = 0 // too many wait already: say how things stand, by one look that all of them share
	}
	ctx, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	applied, err := s.log.Applied(ctx, receipt)
	if err != nil {
		return reply{}, fmt.Errorf("issuer: asking who has applied a revocation: %w", err)
	}
	answer.Applied, answer.Behind = fmt.Sprintf("%d/%d", applied.Applied,
		applied.Total), applied.Behind
	if !applied.All() {
		return reply{status: http.StatusAccepted, body: answer}, nil
	}
	return reply{status: http.StatusOK, body: answer}, nil
}

// parseWait reads ?wait=2s: how long to wait for gates, 0 when it was not asked for.
func (s *Server) parseWait(r *request) (time.Duration, error) {
	query, err := parseQuery(r.URL.RawQuery)
	if err != nil || !query.Has("wait") {
		return 0, err
	}
	wait, err := time.ParseDuration(query.Get("wait"))
	if err != nil || wait <= 0 || wait > s.cfg.HTTP.MaxWait {
		return 0, invalidRequest(
			"wait is not a time as 2s, above 0 and at most " + s.cfg.HTTP.MaxWait.String())
	}
	return wait, nil
}
