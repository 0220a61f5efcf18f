package session

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/sallyport/sallyport/internal/redisconn"
)

func userKey(tag string) string      { return "{" + tag + "}:user" }
func indexKey(tag string) string     { return "{" + tag + "}:sessions" }
func recordPrefix(tag string) string { return "{" + tag + "}:s:" }
func recordKey(id ID) string         { return recordPrefix(id.tag) + id.unique }

func keysOf(id ID) []string { return []string{userKey(id.tag), indexKey(id.tag), recordKey(id)} }

func millis(t time.Time) string { return strconv.FormatInt(t.UnixMilli(), 10) }

// script is a script and the first words of its answers: those that it gives only after a write,
// which may be acted upon once enough replicas have that, and those that refuse something, which it
// may give after having read alone. Any other answer is an error.
type script struct {
	*redis.Script
	wrote, refuses []string
}

func newScript(source string, wrote, refuses []string) *script {
	return &script{redis.NewScript(source), wrote, refuses}
}

// words reads a script's answer, of at least one word.
func words(answer any) ([]string, error) {
	list, err := redis.NewCmdResult(answer, nil).StringSlice()
	if err != nil {
		return nil, fmt.Errorf("session: reading a script's answer: %w", err)
	}
	if len(list) == 0 {
		return nil, errors.New("session: expected an answer from a script, got an empty one")
	}
	return list, nil
}

// run runs one script and waits until enough replicas have what it wrote. Only then is its answer
// true of what a fail-over would leave.
func (s *Store) run(ctx context.Context, sc *script, keys []string, args ...any) ([]string, error) {
	done, err := s.redis.WriteAndWait(ctx, keys[0], redisconn.Write{
		Script: sc.Script, Keys: keys, Args: args, Whole: true,
		Wrote: func(answer any) bool {
			list, err := words(answer)
			return err == nil && slices.Contains(sc.wrote, list[0])
		},
		Replicas: s.cfg.MinReplicas, Timeout: s.cfg.WaitTimeout,
	})
	switch {
	case err == nil:
		return words(done.Answer)
	case errors.Is(err, redisconn.ErrNothingWritten):
		// A refusal needs no proof: nothing is granted by it.
		if list, unread := words(done.Answer); unread == nil && slices.Contains(sc.refuses, list[0]) {
			return list, nil
		}
	case !errors.Is(err, redisconn.ErrTooFewReplicas):
		s.redis.Refresh(ctx)
	}
	return nil, fmt.Errorf("session: running a script: %w", err)
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
