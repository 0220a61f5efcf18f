package session

import (
	"context"
	"fmt"
	"time"

	"github.com/sallyport/sallyport/internal/revocation"
)

// Standing gives the session of a refresh token that could be spent now: only such a one may do
// anything beyond its own session. Any other token is a *Refusal; if a refresh by it would end its
// session, so does this. A session whose end is under way and is not known to be stored counts as
// alive, since what has failed halfway is to be tried again.
func (s *Store) Standing(ctx context.Context, token string) (Session, error) {
	t, err := s.genuine(token)
	if err != nil {
		return Session{}, err
	}
	now, era, err := s.now()
	if err != nil {
		return Session{}, err
	}
	rec, err := s.standing(ctx, t.id)
	if err == nil {
		err = s.checkOwn(t.id, rec)
	}
	if err != nil {
		return Session{}, err
	}
	return rec.session, s.look(ctx, t, rec.session, now, era)
}

// CheckStanding refuses a session that is known to have ended, with a *Refusal: its access tokens
// may do nothing beyond it. One that Redis does not remember may: it has been lost, not ended. What
// else may revoke an access token is not asked here.
func (s *Store) CheckStanding(ctx context.Context, sessionID string) error {
	id, err := ParseID(sessionID)
	if err != nil {
		return &Refusal{Reason: ReasonMalformed}
	}
	_, err = s.standing(ctx, id)
	return err
}

// standing loads a session and refuses it if it has ended. It may only be asked of an issuer that
// knows what is revoked.
func (s *Store) standing(ctx context.Context, id ID) (record, error) {
	if err := s.fresh(); err != nil {
		return record{}, err
	}
	rec, err := s.load(ctx, id)
	if err != nil {
		return record{}, err
	}
	switch {
	case rec.state == Ended:
		return record{}, &Refusal{
			Reason: ReasonEnded, SessionID: id.String(), Subject: rec.session.Subject,
		}
	case rec.state == Active:
		return rec, s.checkRevoked(ctx, id, rec)
	}
	return rec, s.checkStored(ctx, id, rec)
}

// checkStored refuses a session whose record does not say that it has ended, but the log does.
func (s *Store) checkStored(ctx context.Context, id ID, rec record) error {
	refusal := &Refusal{Reason: ReasonEnded, SessionID: id.String(), Subject: rec.session.Subject}
	own := s.log.CheckSession(
		&revocation.Facts{Issuer: s.cfg.Issuer, SessionID: id.String(), Ours: true},
		rec.session.Began)
	if own.Revoked && own.Seq > 0 {
		return refusal
	}
	found, err := s.log.Remembered(ctx, s.cfg.Issuer, id.String(), "", "", "")
	switch {
	case err != nil:
		return fmt.Errorf("session: asking whether the session has ended: %w", err)
	case found.Ended:
		return refusal
	case rec.state == Missing:
		return nil
	}
	others := s.log.CheckSession(&revocation.Facts{
		Issuer: s.cfg.Issuer, ClientID: rec.session.ClientID, Tenant: rec.session.Tenant, Ours: true,
	}, rec.session.Began)
	if subject := s.checkSubject(rec); others.Revoked || subject.Revoked && subject.Seq > 0 {
		return refusal
	}
	return nil
}

// look holds a refresh token against the session's counter, and spends nothing.
func (s *Store) look(ctx context.Context, t refreshToken, session Session, now time.Time,
	era string) error {
	answer, err := s.run(ctx, moveScript, keysOf(t.id), s.moveArgs(t, "", now, era, "look")...)
	if err != nil || answer[0] == "good" {
		return err
	}
	return s.refuseMove(ctx, t.id, session, answer[0])
}
