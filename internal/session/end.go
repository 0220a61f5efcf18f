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

// End ends a session and every access token of it. It returns nil only when the revocation is
// stored; it may be called again for a session that has ended. reason is short and stable (a-z 0-9
// _), actor who asked. A client that leaves does not stop it halfway.
func (s *Store) End(ctx context.Context,
	sessionID, reason, actor string) (revocation.Receipt, error) {
	id, err := ParseID(sessionID)
	if err != nil {
		return revocation.Receipt{}, err
	}
	// A client that hangs up after the session is marked would leave it half ended.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), s.cfg.EndTimeout)
	defer cancel()
	request := []revocation.Request{s.sidRequest(id, reason, actor)}
	// The type End says why the steps are in this order, and which of them may be left out.
	var (
		machine End
		receipt revocation.Receipt
	)
	for step := machine.Begin(); ; {
		switch step {
		case Mark:
			var before State
			if before, err = s.mark(ctx, id); err != nil {
				step = machine.Failed()
				continue
			}
			// Looked for after the mark: what is found is of a session that nobody refreshes any
			// more.
			var live bool
			receipt, live = s.log.Live(request)
			step = machine.Marked(before, live)
		case Append:
			if receipt, err = s.log.Append(ctx, request); err != nil {
				step = machine.Failed()
				continue
			}
			step = machine.Appended()
		case Finish:
			if err = s.finish(ctx, id.tag, []string{id.unique}); err != nil {
				step = machine.Failed()
				continue
			}
			step = machine.Finished()
		case Answer:
			return receipt, nil
		default:
			return revocation.Receipt{}, fmt.Errorf("session: ending a session: %w", err)
		}
	}
}

// EndByToken ends the session of a genuine refresh token, spent or not. A token that is not genuine
// is a *Refusal.
func (s *Store) EndByToken(ctx context.Context,
	token, reason string) (sessionID string, receipt revocation.Receipt, err error) {
	t, err := s.genuine(token)
	if err != nil {
		return "", revocation.Receipt{}, err
	}
	receipt, err = s.End(ctx, t.id.String(), reason, "")
	return t.id.String(), receipt, err
}

// sidRequest returns the request to revoke a session of this issuer.
func (s *Store) sidRequest(id ID, reason, actor string) revocation.Request {
	return revocation.Request{
		Kind: revocation.KindSID, Issuer: s.cfg.Issuer, Value: id.String(), Reason: reason,
		Actor: actor,
	}
}

// mark marks a session as ending, unless it has ended, and returns what it was.
func (s *Store) mark(ctx context.Context, id ID) (State, error) {
	answer, err := s.run(ctx, markScript, keysOf(id), id.unique)
	if err != nil {
		return Missing, err
	}
	if answer[0] == Missing.String() {
		return Missing, nil
	}
	return parseState(answer[0])
}

// finish marks sessions of one user as ended and lets their records go when the last access token
// has.
func (s *Store) finish(ctx context.Context, tag string, uniques []string) error {
	now, ok := s.log.Time()
	if !ok {
		return fmt.Errorf("%w: its time is not known", ErrNotFresh)
	}
	const batch = 1000 // more would hold up everybody else in Redis
	for len(uniques) > 0 {
		n := min(batch, len(uniques))
		keys := []string{userKey(tag), indexKey(tag)}
		args := []any{millis(now.Add(s.cfg.Retain))}
		for _, unique := range uniques[:n] {
			keys = append(keys, recordPrefix(tag)+unique)
			args = append(args, unique)
		}
		if _, err := s.run(ctx, finishScript, keys, args...); err != nil {
			return err
		}
		uniques = uniques[n:]
	}
	return nil
}

// EndAgain marks sessions as ending whose entries the log has lost and is about to get again: the
// records may have been lost with them. Sessions of other issuers are left alone. It is made for
// redislog.Options.OnReappend.
func (s *Store) EndAgain(ctx context.Context, refs []revocation.SessionRef) error {
	for _, ref := range refs {
		id, err := ParseID(ref.SessionID)
		if ref.Issuer != s.cfg.Issuer || err != nil {
			continue // not one of ours: there is no record to end
		}
		if _, err := s.mark(ctx, id); err != nil {
			return err
		}
	}
	return nil
}

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
	// In the order of the type End, which is of one session: mark, append, finish (endMarked). The
	// mark changes the user's stamp as well, so that a login under way cannot pass in between.
	tag := s.ring.SubjectTag(s.cfg.Issuer, subject)
	sessions, err := s.markMany(ctx, everywhereScript, tag, now, millis(now))
	if err != nil {
		return Everywhere{}, err
	}
	// Beside the sids, for sessions that Redis has lost.
	cutoff := revocation.Request{
		Kind: revocation.KindSub, Issuer: s.cfg.Issuer, Value: subject, IssuedBefore: now,
		Reason: reason, Actor: actor,
	}
	return s.endMarked(ctx, tag, sessions, reason, actor, cutoff)
}

// EndOutdated ends the sessions of a user whose login had another credential or other rights than
// current has, and every login under way that has. It may be called again, by any issuer: sessions
// with the credential and the rights of current go on.
func (s *Store) EndOutdated(ctx context.Context, current Login,
	reason, actor string) (Everywhere, error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), s.cfg.EndTimeout)
	defer cancel()
	now, _, err := s.now()
	if err != nil {
		return Everywhere{}, err
	}
	tag := s.ring.SubjectTag(s.cfg.Issuer, current.Subject)
	sessions, err := s.markMany(ctx, outdatedScript, tag, now, current.Credential, current.Rights)
	if err != nil || len(sessions) == 0 {
		return Everywhere{}, err
	}
	return s.endMarked(ctx, tag, sessions, reason, actor)
}

// markedSession is a session that a script has marked as ending.
type markedSession struct {
	unique string // the random part of its id
	before State
}

// endMarked appends the sids of sessions that are marked, and more requests, in one batch, and
// finishes the sessions.
func (s *Store) endMarked(ctx context.Context, tag string, sessions []markedSession,
	reason, actor string, more ...revocation.Request) (Everywhere, error) {
	requests := make([]revocation.Request, 0, len(sessions)+len(more))
	uniques := make([]string, len(sessions))
	var receipt revocation.Receipt
	for i, m := range sessions {
		uniques[i] = m.unique
		request := s.sidRequest(ID{tag: tag, unique: m.unique}, reason, actor)
		// What an earlier attempt has stored is not appended again: as in End, only a session that
		// was active until now needs a new entry.
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

// newStamp returns a user's next stamp: random, so that none ever comes again, not even after the
// record has expired.
func newStamp() string {
	var stamp [secretBytes]byte
	_, _ = rand.Read(stamp[:]) // never fails: crypto/rand ends the process instead
	return hex.EncodeToString(stamp[:])
}

// markMany runs a script that marks sessions of one user and answers with the random parts of their
// ids, each with what it was before.
func (s *Store) markMany(ctx context.Context, sc *script, tag string, now time.Time,
	more ...any) ([]markedSession, error) {
	args := append([]any{newStamp(), millis(now), millis(now.Add(s.cfg.Lifetime))}, more...)
	answer, err := s.run(ctx, sc, []string{userKey(tag), indexKey(tag), recordPrefix(tag)},
		args...)
	if err != nil {
		return nil, err
	}
	if len(answer)%2 != 1 {
		return nil, errors.New("session: expected sessions with their states from a script")
	}
	found := make([]markedSession, 0, len(answer)/2)
	for i := 1; i < len(answer); i += 2 {
		m := markedSession{unique: answer[i]}
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
