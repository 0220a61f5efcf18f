package session

import (
	"context"
	"fmt"

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
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), s.cfg.EndTimeout)
	defer cancel()
	request := []revocation.Request{
		{
			Kind: revocation.KindSID, Issuer: s.cfg.Issuer, Value: id.String(), Reason: reason,
			Actor: actor,
		},
	}
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

// mark marks a session as ending, whatever it was, and tells what it was.
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
	const batch = 1000
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
