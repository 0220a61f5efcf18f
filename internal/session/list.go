package session

import (
	"context"
	"errors"
	"fmt"

	"github.com/redis/go-redis/v9"
)

// Listed is a session as its record tells it, for an operator: it may come from a server that is no
// longer the primary, and nothing is granted or ended by it.
type Listed struct {
	Session
	State State
}

// Look gives one session; its State is Missing when there is no record of it.
func (s *Store) Look(ctx context.Context, sessionID string) (Listed, error) {
	id, err := ParseID(sessionID)
	if err != nil {
		return Listed{}, err
	}
	rec, err := s.load(ctx, id)
	return Listed{Session: rec.session, State: rec.state}, err
}

// List gives the sessions of a user that live or are being ended, the next to expire first: at most
// limit of them, and how many there are in all.
func (s *Store) List(ctx context.Context, subject string,
	limit int) (found []Listed, total int, err error) {
	now, ok := s.log.Time()
	if !ok {
		return nil, 0, fmt.Errorf("%w: its time is not known", ErrNotFresh)
	}
	tag := s.ring.SubjectTag(s.cfg.Issuer, subject)
	pipe := s.redis.Universal().Pipeline()
	alive := "(" + millis(now)
	counted := pipe.ZCount(ctx, indexKey(tag), alive, "+inf")
	listed := pipe.ZRangeByScore(ctx, indexKey(tag),
		&redis.ZRangeBy{Min: alive, Max: "+inf", Count: int64(limit)})
	if _, err := pipe.Exec(ctx); err != nil {
		s.redis.Refresh(ctx)
		return nil, 0, fmt.Errorf("session: listing a user's sessions: %w", err)
	}
	ids := make([]ID, 0, len(listed.Val()))
	for _, unique := range listed.Val() {
		if !isBase64(unique, secretBytes) {
			return nil, 0, errors.New("session: the index of a user's sessions holds something else")
		}
		ids = append(ids, ID{tag: tag, unique: unique})
	}
	found, err = s.lookAll(ctx, ids)
	return found, int(counted.Val()), err
}

// lookAll reads records in one round trip. Those that are gone are left out.
func (s *Store) lookAll(ctx context.Context, ids []ID) ([]Listed, error) {
	if len(ids) == 0 {
		return nil, nil
	}
	pipe := s.redis.Universal().Pipeline()
	answers := make([]*redis.SliceCmd, len(ids))
	for i, id := range ids {
		answers[i] = pipe.HMGet(ctx, recordKey(id), recordFields...)
	}
	if _, err := pipe.Exec(ctx); err != nil {
		s.redis.Refresh(ctx)
		return nil, fmt.Errorf("session: reading a user's sessions: %w", err)
	}
	var found []Listed
	for i, answer := range answers {
		if answer.Val()[0] == nil {
			continue
		}
		rec, err := parseRecord(ids[i], answer.Val())
		if err != nil {
			return nil, err
		}
		found = append(found, Listed{Session: rec.session, State: rec.state})
	}
	return found, nil
}
