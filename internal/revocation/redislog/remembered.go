package redislog

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/sallyport/sallyport/internal/revocation"
)

// Remembered returns what Redis remembers of a session within max_session_lifetime, in one round
// trip. An empty name asks for none of its kind.
func (i *Issuer) Remembered(ctx context.Context,
	issuer, sessionID, subject, client, tenant string) (revocation.Remembered, error) {
	pipe := i.client.Universal().Pipeline()
	ask := func(kind revocation.Kind, value string) *redis.FloatCmd {
		if value == "" && kind != revocation.KindIss {
			return nil
		}
		return pipe.ZScore(ctx, i.keys.cutoffs, cutoffMember(kind, issuer, value))
	}
	ended, subjects := ask(revocation.KindSID, sessionID), ask(revocation.KindSub, subject)
	others := []*redis.FloatCmd{
		ask(revocation.KindIss, ""),
		ask(revocation.KindClient, client),
		ask(revocation.KindTenant, tenant),
	}
	if _, err := pipe.Exec(ctx); err != nil && !errors.Is(err, redis.Nil) {
		return revocation.Remembered{}, fmt.Errorf("%w: cutoffs and ended sessions: %w",
			revocation.ErrUnavailable, err)
	}
	// One that cannot be read makes an error of all: it could be the one that forbids the refresh.
	var found revocation.Remembered
	var err error
	if at, readErr := latestOf(ended); readErr == nil {
		found.Ended = !at.IsZero()
	} else {
		err = readErr
	}
	var subjectErr, othersErr error
	found.Subject, subjectErr = latestOf(subjects)
	found.Others, othersErr = latestOf(others...)
	if err = errors.Join(err, subjectErr, othersErr); err != nil {
		return revocation.Remembered{}, fmt.Errorf("%w: cutoffs and ended sessions: %w",
			revocation.ErrUnavailable, err)
	}
	return found, nil
}

// latestOf returns the latest of times that Redis keeps as scores, zero when it has none. nil was
// not asked for.
func latestOf(scores ...*redis.FloatCmd) (time.Time, error) {
	latest := 0.0
	for _, s := range scores {
		if s == nil {
			continue
		}
		at, err := s.Result()
		if err != nil && !errors.Is(err, redis.Nil) {
			return time.Time{}, err
		}
		latest = max(latest, at)
	}
	if latest == 0 {
		return time.Time{}, nil
	}
	return time.UnixMilli(int64(latest)), nil
}

// cutoffMember returns the name of a cutoff, or of an ended session, in the sorted set; the append
// script makes the same.
func cutoffMember(k revocation.Kind, issuer, value string) string {
	return fmt.Sprintf("%s:%d:%s:%s", k, len(issuer), issuer, value)
}
