package session

import (
	"context"
	"fmt"
)

// What users were when all of their older sessions had last ended is kept in one hash beside the
// sessions, {tag}:users, whose tag is that of no user. It does not expire: there are no more of
// them than users.

func (s *Store) knownKey() string { return "{" + s.ring.SubjectTag(s.cfg.Issuer, "") + "}:users" }

// KnownUsers gives what SetKnownUsers has been told, by name. It may be older than that: what it is
// for may be done again.
func (s *Store) KnownUsers(ctx context.Context) (map[string]string, error) {
	known, err := s.redis.Universal().HGetAll(ctx, s.knownKey()).Result()
	if err != nil {
		s.redis.Refresh(ctx)
		return nil, fmt.Errorf("session: reading what users were: %w", err)
	}
	return known, nil
}

// SetKnownUsers remembers what users are whose sessions all go by that; "" forgets one.
func (s *Store) SetKnownUsers(ctx context.Context, users map[string]string) error {
	pipe := s.redis.Universal().Pipeline()
	for name, is := range users {
		if is == "" {
			pipe.HDel(ctx, s.knownKey(), name)
		} else {
			pipe.HSet(ctx, s.knownKey(), name, is)
		}
	}
	if _, err := pipe.Exec(ctx); err != nil {
		s.redis.Refresh(ctx)
		return fmt.Errorf("session: remembering what users are: %w", err)
	}
	return nil
}
