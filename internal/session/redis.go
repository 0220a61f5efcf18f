package session

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
)

func userKey(tag string) string      { return "{" + tag + "}:user" }
func indexKey(tag string) string     { return "{" + tag + "}:sessions" }
func recordPrefix(tag string) string { return "{" + tag + "}:s:" }
func recordKey(id ID) string         { return recordPrefix(id.tag) + id.unique }

func keysOf(id ID) []string { return []string{userKey(id.tag), indexKey(id.tag), recordKey(id)} }

func millis(t time.Time) string { return strconv.FormatInt(t.UnixMilli(), 10) }

// run runs one script and waits until enough replicas have what it wrote, as one pipeline on one
// connection. Only when both the script and WAIT have succeeded, on that connection, is the answer
// true of what a failover would leave.
func (s *Store) run(ctx context.Context, script string, keys []string,
	args ...any) ([]string, error) {
	primary, err := s.primary(ctx, keys[0])
	if err != nil {
		return nil, err
	}
	pipe := primary.Pipeline()
	answer := pipe.Eval(ctx, script, keys, args...)
	replicas := pipe.Do(ctx, "WAIT", s.cfg.MinReplicas, max(1, s.cfg.WaitTimeout.Milliseconds()))
	if _, err := pipe.Exec(ctx); err != nil {
		s.redis.Refresh(ctx)
		return nil, fmt.Errorf("session: running a script: %w", err)
	}
	got, err := replicas.Int64()
	if err != nil {
		return nil, fmt.Errorf("session: waiting for replicas: %w", err)
	}
	if got < int64(s.cfg.MinReplicas) {
		return nil, fmt.Errorf("session: expected the write on %d replicas, it is on %d",
			s.cfg.MinReplicas, got)
	}
	list, err := answer.StringSlice()
	if err != nil {
		return nil, fmt.Errorf("session: reading a script's answer: %w", err)
	}
	if len(list) == 0 {
		return nil, errors.New("session: expected an answer from a script, got an empty one")
	}
	return list, nil
}

// primary gives the one server that a pipeline about key goes to: a cluster's client would send the
// WAIT elsewhere.
func (s *Store) primary(ctx context.Context, key string) (*redis.Client, error) {
	switch u := s.redis.Universal().(type) {
	case *redis.Client:
		return u, nil
	case *redis.ClusterClient:
		node, err := u.MasterForKey(ctx, key)
		if err != nil {
			return nil, fmt.Errorf("session: finding the primary of a user's sessions: %w", err)
		}
		return node, nil
	}
	return nil, errors.New("session: expected a Redis client or a cluster's, got another kind")
}

// recordFields are the record's fields in the order in which record reads them.
var recordFields = []string{
	"state",
	"sub",
	"client",
	"tenant",
	"scope",
	"amr",
	"begun",
	"exp",
	"cut",
	"cred",
	"rights",
}

// optionalFields are the last of recordFields: a record of an earlier version lacks them, and its
// session must log in again.
const optionalFields = 2

// record is a session's record as it is stored.
type record struct {
	session Session
	state   State
	cut     time.Time // the user's last log out everywhere before the session began
}

// load reads a session's record. It may come from a server that is no longer the primary: nothing
// is granted by it alone.
func (s *Store) load(ctx context.Context, id ID) (record, error) {
	values, err := s.redis.Universal().HMGet(ctx, recordKey(id), recordFields...).Result()
	if err != nil {
		s.redis.Refresh(ctx)
		return record{}, fmt.Errorf("session: reading a session: %w", err)
	}
	if values[0] == nil {
		return record{}, nil
	}
	return parseRecord(id, values)
}

func parseRecord(id ID, values []any) (record, error) {
	f := make([]string, len(recordFields))
	for i, v := range values {
		text, ok := v.(string)
		if !ok && i < len(recordFields)-optionalFields {
			return record{}, fmt.Errorf("session: a session's record lacks %s", recordFields[i])
		}
		f[i] = text
	}
	state, err := parseState(f[0])
	if err != nil {
		return record{}, err
	}
	var times [3]time.Time
	for i, text := range f[6:9] {
		if times[i], err = parseMillis(text); err != nil {
			return record{}, fmt.Errorf("session: a session's %s: %w", recordFields[6+i], err)
		}
	}
	return record{
		session: Session{
			Facts: Facts{
				Subject: f[1], Tenant: f[3], Scope: strings.Fields(f[4]),
				AMR: strings.Fields(f[5]), Credential: f[9], Rights: f[10],
			},
			ID:       id.String(),
			ClientID: f[2],
			Began:    times[0],
			Expires:  times[1],
		},
		state: state, cut: times[2],
	}, nil
}

func parseState(text string) (State, error) {
	for s := Active; s <= Ended; s++ {
		if s.String() == text {
			return s, nil
		}
	}
	return Missing, fmt.Errorf("session: a session's record has an unknown state, %q", text)
}

func parseMillis(text string) (time.Time, error) {
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		return time.Time{}, errors.New("expected milliseconds")
	}
	return time.UnixMilli(n), nil
}
