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

// Admit reports whether a session's user may go on, and names the rights that tokens minted now
// will carry. It returns ErrBarred or ErrPassword when the session is to end.
type Admit func(context.Context, Session) (rights string, err error)

// Refresh spends a refresh token and returns leave to mint the next pair. admit is asked about the
// user before the token is spent: ErrBarred and ErrPassword end the session, any other error leaves
// everything as it was. A refused token is a *Refusal; every other error means that nothing is
// known, and nothing is handed out.
func (s *Store) Refresh(ctx context.Context, token string, admit Admit) (Grant, error) {
	t, err := s.genuine(token)
	if err != nil {
		return Grant{}, err
	}
	// The order makes it safe. The clock first: what is minted later with this time expires no later
	// than the revocation of a session that is ended from here on.
	now, era, err := s.mintingNow()
	if err != nil {
		return Grant{}, err
	}
	if err := s.Fresh(); err != nil {
		return Grant{}, err
	}
	// Then what could forbid it, while the token still works: an error here costs nobody a session.
	rec, err := s.load(ctx, t.id)
	if err != nil {
		return Grant{}, err
	}
	rights, err := s.checkRefresh(ctx, t.id, rec, admit)
	if err != nil {
		return Grant{}, err
	}
	// The compare-and-set on enough replicas last. It sees an end that has begun since the record
	// was read. The caller mints after it.
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

// checkClient refuses a session that is not remembered, or is another client's.
func (s *Store) checkClient(id ID, rec record) error {
	switch {
	case rec.state == Missing:
		return &Refusal{Reason: ReasonMissing, SessionID: id.String()}
	case rec.session.ClientID != s.cfg.ClientID:
		return &Refusal{Reason: ReasonClient, SessionID: id.String()}
	}
	return nil
}

// checkRefresh looks for what forbids a refresh of the session, other than its counter. It returns
// the rights that the next tokens will carry.
func (s *Store) checkRefresh(ctx context.Context, id ID, rec record,
	admit Admit) (rights string, err error) {
	if err := s.checkClient(id, rec); err != nil {
		return "", err
	}
	// An end that may have failed halfway is tried again by whoever comes by.
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
// have expired.
func (s *Store) checkRevoked(ctx context.Context, id ID, rec record) error {
	session := rec.session
	refusal := &Refusal{Reason: ReasonRevoked, SessionID: session.ID, Subject: session.Subject}
	// Without the subject: checkSubject compares a log out everywhere with beganForUser, not with
	// Began.
	own := s.log.CheckSession(&revocation.Facts{
		Issuer: s.cfg.Issuer, SessionID: session.ID, ClientID: session.ClientID,
		Tenant: session.Tenant, Ours: true,
	}, session.Began)
	// Where the session or its user is meant, the record ends as well, so that it stays ended after
	// the entry has gone. Other cutoffs are remembered for longer than any session lives.
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
	case !found.Others.IsZero() && !session.Began.After(found.Others):
		// A session that idled for longer than an entry lives must not come back.
		return refusal
	case !found.Subject.IsZero() && !rec.beganForUser().After(found.Subject):
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

// moveArgs returns the arguments of moveScript.
func (s *Store) moveArgs(t refreshToken, rights string, now time.Time, era, mode string) []any {
	return []any{
		strconv.FormatInt(t.n, 10), millis(now), strconv.FormatInt(s.cfg.Grace.Milliseconds(), 10),
		era, s.cfg.ClientID, rights, strconv.Itoa(maxSpent), mode,
		strconv.FormatInt(askAgain.Milliseconds(), 10),
	}
}

// grant makes the successor that moveScript has answered.
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

// refusalFor translates an answer of moveScript: why, and whether the session has to end for it.
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
		return ReasonLoggedOut, true
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

// CheckRefreshToken returns the session of a refresh token that could be spent now, and does not
// spend it: only such a token may do anything beyond its own session. Any other token is a
// *Refusal; if a refresh by it would end its session, so does this. A session whose end is under
// way and is not known to be stored counts as alive, since what has failed halfway is to be tried
// again.
func (s *Store) CheckRefreshToken(ctx context.Context, token string) (Session, error) {
	t, err := s.genuine(token)
	if err != nil {
		return Session{}, err
	}
	now, era, err := s.now()
	if err != nil {
		return Session{}, err
	}
	rec, err := s.loadNotEnded(ctx, t.id)
	if err == nil {
		err = s.checkClient(t.id, rec)
	}
	if err != nil {
		return Session{}, err
	}
	return rec.session, s.checkCounter(ctx, t, rec.session, now, era)
}

// CheckNotEnded refuses a session that is known to have ended, with a *Refusal: its access tokens
// may do nothing beyond it. One that Redis does not remember may: it has been lost, not ended. What
// else may revoke an access token is not asked here.
func (s *Store) CheckNotEnded(ctx context.Context, sessionID string) error {
	id, err := ParseID(sessionID)
	if err != nil {
		return &Refusal{Reason: ReasonMalformed}
	}
	_, err = s.loadNotEnded(ctx, id)
	return err
}

// loadNotEnded loads a session and refuses it if it has ended. It is an error while this issuer
// does not know what is revoked.
func (s *Store) loadNotEnded(ctx context.Context, id ID) (record, error) {
	if err := s.Fresh(); err != nil {
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
	return rec, s.checkEndStored(ctx, id, rec)
}

// checkEndStored refuses a session that is ending, or lost, if its end is known to be stored.
func (s *Store) checkEndStored(ctx context.Context, id ID, rec record) error {
	refusal := &Refusal{Reason: ReasonEnded, SessionID: id.String(), Subject: rec.session.Subject}
	own := s.log.CheckSession(
		&revocation.Facts{Issuer: s.cfg.Issuer, SessionID: id.String(), Ours: true},
		rec.session.Began)
	// An entry without a place is this issuer's own, and not known to be in the log: the end that it
	// belongs to may have failed, and whoever asked for it may try again.
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

// checkCounter holds a refresh token against the session's counter, and spends nothing.
func (s *Store) checkCounter(ctx context.Context, t refreshToken, session Session, now time.Time,
	era string) error {
	answer, err := s.run(ctx, moveScript, keysOf(t.id), s.moveArgs(t, "", now, era, "look")...)
	if err != nil || answer[0] == "good" {
		return err
	}
	return s.refuseMove(ctx, t.id, session, answer[0])
}

// Owner returns the session of a genuine refresh token, spent or not, alive or not, whose record is
// there: only the record tells whose the token is. Any other token is a *Refusal.
func (s *Store) Owner(ctx context.Context, token string) (Session, error) {
	t, err := s.genuine(token)
	if err != nil {
		return Session{}, err
	}
	rec, err := s.load(ctx, t.id)
	if err == nil {
		err = s.checkClient(t.id, rec)
	}
	if err != nil {
		return Session{}, err
	}
	return rec.session, nil
}
