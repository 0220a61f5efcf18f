package session

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/sallyport/sallyport/internal/revocation"
)

// Arrival is a login under way: what was true before its password was checked.
type Arrival struct {
	subject    string
	tag        string
	generation string
	began      time.Time
}

// Arrive takes note of the user's generation and of the time. Call it before the password is
// checked, for every name that somebody tries: it tells nothing about whether there is such a user,
// and stores nothing.
func (s *Store) Arrive(ctx context.Context, subject string) (Arrival, error) {
	now, _, err := s.mintingNow()
	if err != nil {
		return Arrival{}, err
	}
	tag := s.ring.SubjectTag(s.cfg.Issuer, subject)
	generation, err := s.redis.Universal().HGet(ctx, userKey(tag), "gen").Result()
	switch {
	case errors.Is(err, redis.Nil):
		generation = "0"
	case err != nil:
		s.redis.Refresh(ctx)
		return Arrival{}, fmt.Errorf("session: reading a user's generation: %w", err)
	}
	return Arrival{subject: subject, tag: tag, generation: generation, began: now}, nil
}

// Begin makes a session for a login whose password was right, and its first refresh token. When the
// user was logged out everywhere since the arrival it is ErrMoved: that log out meant this login
// too.
func (s *Store) Begin(ctx context.Context, a Arrival, f Facts) (Grant, error) {
	if f.Subject != a.subject {
		return Grant{}, fmt.Errorf("session: expected the user who arrived: %w", ErrMoved)
	}
	now, era, err := s.mintingNow()
	if err != nil {
		return Grant{}, err
	}
	session := Session{
		Facts: f, ID: newID(a.tag).String(), ClientID: s.cfg.ClientID, Began: a.began,
		Expires: now.Add(s.cfg.Lifetime),
	}
	cut, err := s.create(ctx, a, session, s.cutKnown(session), now, era)
	if err != nil {
		return Grant{}, err
	}
	id, err := ParseID(session.ID)
	if err != nil {
		return Grant{}, err
	}
	if s.checkSubject(record{session: session, cut: cut}).Revoked {
		// Redis has lost the log out everywhere that this issuer still knows of.
		if _, err := s.End(ctx, session.ID, "logout_everywhere", ""); err != nil {
			return Grant{}, err
		}
		return Grant{}, ErrMoved
	}
	session.Began = record{session: session, cut: cut}.authTime()
	return Grant{
		Session: session, RefreshToken: makeRefreshToken(s.ring, s.cfg.Issuer, id, 1), Now: now,
	}, nil
}

// create stores the session, and makes room for it by ending the user's oldest ones. It returns
// when the user was last logged out everywhere: as Redis says, or at known if that is later.
func (s *Store) create(ctx context.Context, a Arrival, session Session, known, now time.Time,
	era string) (cut time.Time, err error) {
	const attempts = 3 // others may log in as the same user meanwhile
	id, err := ParseID(session.ID)
	if err != nil {
		return time.Time{}, err
	}
	for range attempts {
		answer, err := s.run(ctx, beginScript, keysOf(id), a.generation, millis(now),
			millis(session.Expires), strconv.Itoa(s.cfg.MaxPerUser), id.unique, millis(known),
			"sub", session.Subject, "client", session.ClientID, "tenant", session.Tenant, "scope",
			strings.Join(session.Scope, " "), "amr", strings.Join(session.AMR, " "), "cred",
			session.Credential, "rights", session.Rights, "begun", millis(session.Began), "era",
			era)
		switch {
		case err != nil:
			return time.Time{}, err
		case answer[0] == "begun" && len(answer) == 2:
			return parseMillis(answer[1])
		case answer[0] == "moved":
			return time.Time{}, ErrMoved
		case answer[0] == "full" && len(answer) == 2:
			oldest := ID{tag: a.tag, unique: answer[1]}
			if _, err := s.End(ctx, oldest.String(), "too_many_sessions", ""); err != nil {
				return time.Time{}, err
			}
		default:
			return time.Time{}, fmt.Errorf("session: unexpected answer %q to a login", answer[0])
		}
	}
	return time.Time{}, errors.New("session: the user has too many sessions and more are beginning")
}

// cutKnown is a time that the user's last log out everywhere was not before, as this issuer's own
// copy knows; zero if it knows of none in the second in which the session began. Redis may have
// lost it.
func (s *Store) cutKnown(session Session) time.Time {
	second := session.Began.Truncate(time.Second)
	if session.Began.After(second) &&
		s.checkSubject(record{session: Session{Facts: session.Facts, Began: second}}).Revoked {
		return second
	}
	return time.UnixMilli(0)
}

// checkSubject asks this issuer's own copy about log outs everywhere.
func (s *Store) checkSubject(rec record) revocation.Verdict {
	return s.log.CheckSession(
		&revocation.Facts{Issuer: s.cfg.Issuer, Subject: rec.session.Subject, Ours: true},
		rec.subjectSince())
}

// subjectSince is the session's beginning as a log out everywhere sees it: after the one that the
// user's record knew of, whatever the clocks of two issuers say of the last milliseconds.
func (r record) subjectSince() time.Time {
	if after := r.cut.Add(time.Millisecond); after.After(r.session.Began) {
		return after
	}
	return r.session.Began
}

// authTime is the session's beginning as its tokens tell it, in whole seconds: after the second of
// that log out everywhere. Gates deny what began in the very second, for they cannot tell what
// began before it from what began behind it.
func (r record) authTime() time.Time {
	if after := r.cut.Truncate(time.Second).Add(time.Second); after.After(r.session.Began) {
		return after
	}
	return r.session.Began
}
