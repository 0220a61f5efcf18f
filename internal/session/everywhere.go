package session

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"time"

	"github.com/sallyport/sallyport/internal/revocation"
)

// Everywhere is what ending several of a user's sessions has done. Without a session that had to
// end there is no receipt.
type Everywhere struct {
	Sessions int
	Receipt  revocation.Receipt
}

// EndAll logs a user out everywhere: every session of theirs, and every login that had begun
// before, whatever issuer it was at. A login that begins after this returned works. It returns nil
// only when all of that is stored.
func (s *Store) EndAll(ctx context.Context, subject, reason, actor string) (Everywhere, error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), s.cfg.EndTimeout)
	defer cancel()
	now, _, err := s.now()
	if err != nil {
		return Everywhere{}, err
	}
	tag := s.ring.SubjectTag(s.cfg.Issuer, subject)
	marked, err := s.markAll(ctx, tag, now)
	if err != nil {
		return Everywhere{}, err
	}
	cutoff := revocation.Request{
		Kind:         revocation.KindSub,
		Issuer:       s.cfg.Issuer,
		Value:        subject,
		IssuedBefore: now,
		Reason:       reason,
		Actor:        actor,
	}
	return s.endMarked(ctx, tag, marked, reason, actor, cutoff)
}

// Owner gives the session of a genuine refresh token, spent or not, alive or not, whose record is
// there: it alone says whose it is. Any other token is a *Refusal.
func (s *Store) Owner(ctx context.Context, token string) (Session, error) {
	t, err := s.genuine(token)
	if err != nil {
		return Session{}, err
	}
	rec, err := s.load(ctx, t.id)
	if err == nil {
		err = s.checkOwn(t.id, rec)
	}
	if err != nil {
		return Session{}, err
	}
	return rec.session, nil
}

// EndOutdated ends the sessions of a user that go by another credential or other rights than f has,
// and every login under way that does. It may be called again, by any issuer: what goes by f goes
// on.
func (s *Store) EndOutdated(ctx context.Context, f Facts,
	reason, actor string) (Everywhere, error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), s.cfg.EndTimeout)
	defer cancel()
	now, _, err := s.now()
	if err != nil {
		return Everywhere{}, err
	}
	tag := s.ring.SubjectTag(s.cfg.Issuer, f.Subject)
	marked, err := s.markMany(ctx, outdatedScript, tag, newGeneration(),
		millis(now.Add(s.cfg.Lifetime)), recordPrefix(tag), millis(now), f.Credential, f.Rights)
	if err != nil || len(marked) == 0 {
		return Everywhere{}, err
	}
	return s.endMarked(ctx, tag, marked, reason, actor)
}

// marked is a session that a script has marked as ending.
type marked struct {
	unique string // the random part of its id
	before State
}

// endMarked appends the sids of sessions that are marked, and what else belongs to that, in one
// batch, and finishes them. What an earlier attempt has stored is not appended again: as with one
// session, only one that was active until now needs a new entry.
func (s *Store) endMarked(ctx context.Context, tag string, sessions []marked,
	reason, actor string, more ...revocation.Request) (Everywhere, error) {
	requests := make([]revocation.Request, 0, len(sessions)+len(more))
	uniques := make([]string, len(sessions))
	var receipt revocation.Receipt
	for i, m := range sessions {
		uniques[i] = m.unique
		request := revocation.Request{
			Kind:   revocation.KindSID,
			Issuer: s.cfg.Issuer,
			Value:  ID{tag: tag, unique: m.unique}.String(),
			Reason: reason,
			Actor:  actor,
		}
		if m.before != Active {
			if stored, live := s.log.Live([]revocation.Request{request}); live {
				if stored.Seq > receipt.Seq {
					receipt = stored
				}
				continue
			}
		}
		requests = append(requests, request)
	}
	if requests = append(requests, more...); len(requests) > 0 {
		var err error
		if receipt, err = s.log.Append(ctx, requests); err != nil {
			return Everywhere{}, fmt.Errorf("session: ending a user's sessions: %w", err)
		}
	}
	if err := s.finish(ctx, tag, uniques); err != nil {
		return Everywhere{}, err
	}
	return Everywhere{Sessions: len(sessions), Receipt: receipt}, nil
}

// markAll moves the user's generation and marks all the user's sessions as ending.
func (s *Store) markAll(ctx context.Context, tag string, now time.Time) ([]marked, error) {
	return s.markMany(ctx, everywhereScript, tag,
		newGeneration(), millis(now), millis(now.Add(s.cfg.Lifetime)), recordPrefix(tag), millis(now))
}

// newGeneration makes a user's next generation: random, so that none ever comes again, not even
// after the record has expired.
func newGeneration() string {
	var generation [secretBytes]byte
	_, _ = rand.Read(generation[:]) // never fails: crypto/rand ends the process instead
	return hex.EncodeToString(generation[:])
}

// markMany runs a script that marks sessions of one user and answers with the random parts of their
// ids, each with what it was before.
func (s *Store) markMany(ctx context.Context, sc *script, tag string, args ...any) ([]marked, error) {
	answer, err := s.run(ctx, sc, []string{userKey(tag), indexKey(tag), recordPrefix(tag)},
		args...)
	if err != nil {
		return nil, err
	}
	if len(answer)%2 != 1 {
		return nil, errors.New("session: expected sessions with their states from a script")
	}
	found := make([]marked, 0, len(answer)/2)
	for i := 1; i < len(answer); i += 2 {
		m := marked{unique: answer[i]}
		if m.before, err = parseState(answer[i+1]); err != nil {
			return nil, err
		}
		if !isBase64(m.unique, secretBytes) {
			return nil, errors.New("session: the index of a user's sessions holds something else")
		}
		found = append(found, m)
	}
	return found, nil
}
