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

// LoginAttempt is a login under way: what was true before its password was checked.
type LoginAttempt struct {
	subject string
	tag     string
	stamp   string // the user's: see scripts.go
	began   time.Time
}

// StartLogin takes note of the user's stamp and of the time. Call it before the password is
// checked, for every name that somebody tries: it tells nothing about whether there is such a user,
// and stores nothing.
func (s *Store) StartLogin(ctx context.Context, subject string) (LoginAttempt, error) {
	now, _, err := s.mintingNow()
	if err != nil {
		return LoginAttempt{}, err
	}
	tag := s.ring.SubjectTag(s.cfg.Issuer, subject)
	stamp, err := s.redis.Universal().HGet(ctx, userKey(tag), "gen").Result()
	switch {
	case errors.Is(err, redis.Nil):
		stamp = "0"
	case err != nil:
		s.redis.Refresh(ctx)
		return LoginAttempt{}, fmt.Errorf("session: reading a user's stamp: %w", err)
	}
	return LoginAttempt{subject: subject, tag: tag, stamp: stamp, began: now}, nil
}

// Begin begins a session for a login whose password was right, and makes its first refresh token.
// When the user was logged out everywhere since the login started it is ErrMoved: that meant this
// login, too.
func (s *Store) Begin(ctx context.Context, a LoginAttempt, l Login) (Grant, error) {
	if l.Subject != a.subject {
		return Grant{}, fmt.Errorf("session: expected the user who started the login: %w", ErrMoved)
	}
	now, era, err := s.mintingNow()
	if err != nil {
		return Grant{}, err
	}
	// It begins when the login started, since a cutoff in between means it, too; it lives from now.
	id := newID(a.tag)
	session := Session{
		Login: l, ID: id.String(), ClientID: s.cfg.ClientID, Began: a.began,
		Expires: now.Add(s.cfg.Lifetime),
	}
	cut, err := s.create(ctx, a, id, session, s.knownLogout(session), now, era)
	if err != nil {
		return Grant{}, err
	}
	// Redis may have lost a log out everywhere that this issuer still knows of, and the stamp with
	// it. Asked once the session is stored, so that one that arrives meanwhile counts, too.
	if s.checkSubject(record{session: session, cut: cut}).Revoked {
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
func (s *Store) create(ctx context.Context, a LoginAttempt, id ID, session Session,
	known, now time.Time, era string) (cut time.Time, err error) {
	const attempts = 3 // others may log in as the same user meanwhile
	for range attempts {
		answer, err := s.run(ctx, beginScript, keysOf(id), a.stamp, millis(now),
			millis(session.Expires), strconv.Itoa(s.cfg.MaxPerUser), id.unique, millis(known),
			"sub", session.Subject, "client", session.ClientID, "tenant", session.Tenant,
			"scope", strings.Join(session.Scope, " "), "amr", strings.Join(session.AMR, " "),
			"cred", session.Credential, "rights", session.Rights,
			"begun", millis(session.Began), "era", era)
		switch {
		case err != nil:
			return time.Time{}, err
		case answer[0] == "begun" && len(answer) == 2:
			return parseMillis(answer[1])
		case answer[0] == "moved":
			return time.Time{}, ErrMoved
		case answer[0] == "full" && len(answer) == 2:
			// Ended as any other, with its access tokens, and not merely forgotten.
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

// knownLogout returns a time that the user's last log out everywhere was not before, as this
// issuer's own copy knows: Redis may have lost it. It is 1970 unless there was one in the second in
// which the session began.
func (s *Store) knownLogout(session Session) time.Time {
	second := session.Began.Truncate(time.Second)
	if session.Began.After(second) &&
		s.checkSubject(record{session: Session{Login: session.Login, Began: second}}).Revoked {
		return second
	}
	return time.UnixMilli(0)
}

// checkSubject asks this issuer's own copy about log outs everywhere.
func (s *Store) checkSubject(rec record) revocation.Verdict {
	return s.log.CheckSession(
		&revocation.Facts{Issuer: s.cfg.Issuer, Subject: rec.session.Subject, Ours: true},
		rec.beganForUser())
}
