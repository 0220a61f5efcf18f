package session

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/sallyport/sallyport/internal/revocation"
)

// maxSpent is how many spent refresh tokens of a session are remembered, with the time that each
// was spent: more rotations than that within the grace window come from a client that repeats
// nothing, or from a thief, so what is older is taken for reuse.
const maxSpent = 8

// askAgain is how long a log out everywhere that failed halfway may be asked for again with the
// same refresh token.
const askAgain = time.Minute

// Admit says whether a session's user may go on, and names the rights that tokens minted now will
// carry.
type Admit func(context.Context, Session) (rights string, err error)

// Refresh spends a refresh token and gives leave to mint the next pair. admit is asked about the
// user before the token is spent: ErrBarred and ErrPassword end the session, any other error leaves
// everything as it was.
//
// The order is what makes it safe: the clock first, then what could forbid it, then the
// compare-and-set on enough replicas; the caller mints last. A refused token is a *Refusal; every
// other error means that nothing is known, and nothing is handed out.
func (s *Store) Refresh(ctx context.Context, token string, admit Admit) (Grant, error) {
	t, err := s.genuine(token)
	if err != nil {
		return Grant{}, err
	}
	now, era, err := s.mintingNow()
	if err != nil {
		return Grant{}, err
	}
	if err := s.fresh(); err != nil {
		return Grant{}, err
	}
	rec, err := s.load(ctx, t.id)
	if err != nil {
		return Grant{}, err
	}
	rights, err := s.mayGoOn(ctx, t.id, rec, admit)
	if err != nil {
		return Grant{}, err
	}
	live := rec.session
	live.Began = rec.authTime()
	return s.move(ctx, t, live, rights, now, era)
}

// genuine reads a refresh token and believes it only if a key of the ring made it.
func (s *Store) genuine(token string) (refreshToken, error) {
	t, err := parseRefreshToken(token)
	if err != nil {
		return refreshToken{}, &Refusal{Reason: ReasonMalformed}
	}
	if !s.ring.CheckRefreshMAC(t.message(s.cfg.Issuer), t.mac[:]) {
		return refreshToken{}, &Refusal{Reason: ReasonForged}
	}
	return t, nil
}

// checkOwn refuses a session that is not remembered, or is another client's.
func (s *Store) checkOwn(id ID, rec record) error {
	switch {
	case rec.state == Missing:
		return &Refusal{Reason: ReasonMissing, SessionID: id.String()}
	case rec.session.ClientID != s.cfg.ClientID:
		return &Refusal{Reason: ReasonClient, SessionID: id.String()}
	}
	return nil
}

// mayGoOn looks for what forbids a refresh of the session, other than its counter.
func (s *Store) mayGoOn(ctx context.Context, id ID, rec record,
	admit Admit) (rights string, err error) {
	if err := s.checkOwn(id, rec); err != nil {
		return "", err
	}
	if rec.state != Active {
		return "", s.refuseAndEnd(ctx, id, rec.session.Subject, ReasonEnded)
	}
	if err := s.checkRevoked(ctx, id, rec); err != nil {
		return "", err
	}
	rights, err = admit(ctx, rec.session)
	switch {
	case errors.Is(err, ErrBarred):
		return "", s.refuseAndEnd(ctx, id, rec.session.Subject, ReasonBarred)
	case errors.Is(err, ErrPassword):
		return "", s.refuseAndEnd(ctx, id, rec.session.Subject, ReasonPassword)
	}
	return rights, err
}

// checkRevoked asks this issuer's own copy, and then Redis about ends and cutoffs whose entries
// have expired. A session or user that is revoked ends the record too, so that it stays ended after
// the entry has gone.
func (s *Store) checkRevoked(ctx context.Context, id ID, rec record) error {
	session := rec.session
	refusal := &Refusal{Reason: ReasonRevoked, SessionID: session.ID, Subject: session.Subject}
	own := s.log.CheckSession(&revocation.Facts{
		Issuer:    s.cfg.Issuer,
		SessionID: session.ID,
		ClientID:  session.ClientID,
		Tenant:    session.Tenant,
		Ours:      true,
	}, session.Began)
	if (own.Revoked && own.Kind == revocation.KindSID) || s.checkSubject(rec).Revoked {
		return s.refuseAndEnd(ctx, id, session.Subject, ReasonRevoked)
	}
	if own.Revoked {
		return refusal
	}
	found, err := s.log.Remembered(ctx, s.cfg.Issuer, session.ID, session.Subject,
		session.ClientID, session.Tenant)
	switch {
	case err != nil:
		return fmt.Errorf("session: asking for what Redis remembers of the session: %w", err)
	case found.Ended: // the record has lost its end: a shard other than the log's went back
		return s.refuseAndEnd(ctx, id, session.Subject, ReasonRevoked)
	case !found.Others.IsZero() && !session.Began.After(found.Others): // a session that idled for longer than an entry lives must not come back
		return refusal
	case !found.Subject.IsZero() && !rec.subjectSince().After(found.Subject):
		return s.refuseAndEnd(ctx, id, session.Subject, ReasonRevoked)
	}
	return nil
}

// move spends the token by compare-and-set.
func (s *Store) move(ctx context.Context, t refreshToken, session Session, rights string,
	now time.Time, era string) (Grant, error) {
	answer, err := s.run(ctx, moveScript, keysOf(t.id), s.moveArgs(t, rights, now, era, "spend")...)
	if err != nil {
		return Grant{}, err
	}
	if answer[0] == "next" || answer[0] == "again" {
		return s.grant(t.id, session, now, answer)
	}
	return Grant{}, s.refuseMove(ctx, t.id, session, answer[0])
}

// refuseMove turns the script's answer into a refusal, and ends the session if it has to.
func (s *Store) refuseMove(ctx context.Context, id ID, session Session, answer string) error {
	reason, ends := refusalFor(answer)
	if reason == "" {
		return fmt.Errorf("session: unexpected answer %q to a refresh", answer)
	}
	if ends {
		return s.refuseAndEnd(ctx, id, session.Subject, reason)
	}
	return &Refusal{Reason: reason, SessionID: session.ID, Subject: session.Subject}
}

// moveArgs are the script's arguments.
func (s *Store) moveArgs(t refreshToken, rights string, now time.Time, era, mode string) []any {
	return []any{
		strconv.FormatInt(t.n, 10),
		millis(now),
		strconv.FormatInt(s.cfg.Grace.Milliseconds(), 10),
		era,
		s.cfg.ClientID,
		rights,
		strconv.Itoa(maxSpent),
		mode,
		strconv.FormatInt(askAgain.Milliseconds(), 10),
	}
}

func (s *Store) grant(id ID, session Session, now time.Time, answer []string) (Grant, error) {
	if len(answer) != 2 {
		return Grant{}, errors.New("session: a refresh gave no counter")
	}
	next, ok := parseCounter(answer[1])
	if !ok {
		return Grant{}, fmt.Errorf(
			"session: a session's counter is not a number of up to %d digits", maxDigits)
	}
	token := makeRefreshToken(s.ring, s.cfg.Issuer, id, next)
	return Grant{Session: session, RefreshToken: token, Now: now, Repeated: answer[0] == "again"}, nil
}

// refusalFor translates the script's answer: why, and whether the session has to end for it.
func refusalFor(answer string) (reason Reason, ends bool) {
	switch answer {
	case "missing":
		return ReasonMissing, false
	case "client":
		return ReasonClient, false
	case "expired":
		return ReasonExpired, false
	case "era":
		return ReasonEra, false
	case "ending", "ended":
		return ReasonEnded, true
	case "reuse":
		return ReasonReuse, true
	case "ahead":
		return ReasonAhead, true
	case "generation":
		return ReasonGeneration, true
	}
	return "", false
}

// refuseAndEnd ends the session and then refuses. When the end could not be stored that is the
// error instead: the session is marked, so no refresh passes, and the next request tries again.
func (s *Store) refuseAndEnd(ctx context.Context, id ID, subject string, reason Reason) error {
	receipt, err := s.End(ctx, id.String(), "refresh_"+string(reason), subject)
	if err != nil {
		return err
	}
	return &Refusal{
		Reason: reason, SessionID: id.String(), Subject: subject, Ended: true, Seq: receipt.Seq,
	}
}
