package session

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/sallyport/sallyport/internal/redisconn"
	"github.com/sallyport/sallyport/internal/revocation"
)

// Config is what a Store must know. All fields are required.
type Config struct {
	Issuer      string        // the tokens' iss: sessions of two issuers on one Redis never meet
	ClientID    string        // the client that this issuer serves: another's sessions are left alone
	Lifetime    time.Duration // of a session, from its login
	Grace       time.Duration // how long a spent refresh token works again; 0: not at all
	Retain      time.Duration // of an ended session's record: longer than its access tokens live
	MaxPerUser  int           // sessions of one user at a time; a further one ends the oldest
	MinReplicas int           // replicas that must have a write before it counts
	WaitTimeout time.Duration // longest wait for them
	EndTimeout  time.Duration // for the whole end of a session; it goes on when the client has left
}

func (c Config) validate() error {
	switch {
	case c.Issuer == "" || c.ClientID == "":
		return errors.New("session: expected an issuer and a client id, got none")
	case c.Lifetime < time.Second || c.Grace < 0 || c.Retain <= 0 || c.WaitTimeout <= 0 ||
		c.EndTimeout <= 0:
		return errors.New("session: expected times above 0 for lifetime, retain, wait and end")
	case c.MaxPerUser < 1:
		return fmt.Errorf("session: expected at least 1 session per user, got %d", c.MaxPerUser)
	case c.MinReplicas < 0:
		return fmt.Errorf("session: expected 0 replicas or more, got %d", c.MinReplicas)
	}
	return nil
}

// Ring makes and checks the codes in refresh tokens and names users; *keyring.Ring is one.
type Ring interface {
	RefreshMAC(msg []byte) []byte
	CheckRefreshMAC(msg, mac []byte) bool
	SubjectTag(issuer, subject string) string
}

// Redis is where sessions live; *redisconn.Client is one.
type Redis interface {
	Universal() redis.UniversalClient
	Read(ctx context.Context, command redis.Cmder) error
	WriteAndWait(ctx context.Context, key string, w redisconn.Write) (redisconn.Written, error)
	Refresh(ctx context.Context)
}

// Appender stores revocations. Append returns nil only when they are stored so that no single fault
// loses them.
type Appender interface {
	Append(ctx context.Context, requests []revocation.Request) (revocation.Receipt, error)
	Live(requests []revocation.Request) (revocation.Receipt, bool)
}

// Clock is the log's clock and calendar.
type Clock interface {
	Time() (time.Time, bool)
	MintingTime() (time.Time, bool)
	Era() (string, bool)
}

// Revocations is this issuer's own copy of the log, and what Redis remembers for longer than that.
type Revocations interface {
	Freshness(now revocation.Instant) revocation.Freshness
	Instant() revocation.Instant
	CheckSession(f *revocation.Facts, began time.Time) revocation.Verdict
	Remembered(ctx context.Context,
		issuer, sessionID, subject, client, tenant string) (revocation.Remembered, error)
}

// Log is the revocation log as an issuer has it; *redislog.Issuer is one.
type Log interface {
	Appender
	Clock
	Revocations
}

// Store keeps the sessions of one issuer. All methods may be called from many goroutines and at
// many issuers at a time.
//
// store.go has its time and its reading of Redis, login.go how a session begins, refresh.go how it
// goes on, end.go how it ends.
type Store struct {
	cfg   Config
	ring  Ring
	redis Redis
	log   Log
}

// New returns a Store. It does not talk to Redis yet.
func New(cfg Config, r Redis, log Log, ring Ring) (*Store, error) {
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	return &Store{cfg: cfg, ring: ring, redis: r, log: log}, nil
}

// Now is the log's time, which sessions and tokens go by.
func (s *Store) Now() (time.Time, error) {
	now, _, err := s.now()
	return now, err
}

// now returns the log's time and era.
func (s *Store) now() (time.Time, string, error) {
	now, ok := s.log.Time()
	if !ok {
		return time.Time{}, "", fmt.Errorf("%w: its time is not known", ErrNotFresh)
	}
	return s.inEra(now)
}

// mintingNow is now for whoever makes tokens by it: it is an error, too, while this issuer's clock
// and Redis' are too far apart.
func (s *Store) mintingNow() (time.Time, string, error) {
	now, ok := s.log.MintingTime()
	if !ok {
		return time.Time{}, "", fmt.Errorf(
			"%w: its time is not known, or this machine's clock and Redis' are too far apart",
			ErrNotFresh)
	}
	return s.inEra(now)
}

func (s *Store) inEra(now time.Time) (time.Time, string, error) {
	era, ok := s.log.Era()
	if !ok {
		return time.Time{}, "", fmt.Errorf("%w: its era is not known", ErrNotFresh)
	}
	return now.Truncate(time.Millisecond), era, nil
}

// Fresh returns an error while this issuer may not go by its own copy of the log.
func (s *Store) Fresh() error {
	if f := s.log.Freshness(s.log.Instant()); !f.Fresh {
		return fmt.Errorf("%w: %s", ErrNotFresh, f.Why)
	}
	return nil
}

func userKey(tag string) string      { return "{" + tag + "}:user" }
func indexKey(tag string) string     { return "{" + tag + "}:sessions" }
func recordPrefix(tag string) string { return "{" + tag + "}:s:" }
func recordKey(id ID) string         { return recordPrefix(id.tag) + id.unique }

func keysOf(id ID) []string { return []string{userKey(id.tag), indexKey(id.tag), recordKey(id)} }

func millis(t time.Time) string { return strconv.FormatInt(t.UnixMilli(), 10) }

// run runs one script and waits until enough replicas have what it wrote. Only then is its answer
// true of what a fail-over would leave.
func (s *Store) run(ctx context.Context, sc *script, keys []string, args ...any) ([]string, error) {
	done, err := s.redis.WriteAndWait(ctx, keys[0], redisconn.Write{
		Script: sc.Script, Keys: keys, Args: args,
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

// load reads a session's record; its state is Missing when there is none. It may come from a server
// that is no longer the primary: nothing is granted by it alone.
func (s *Store) load(ctx context.Context, id ID) (record, error) {
	command := []any{"HMGET", recordKey(id)}
	for _, field := range recordFields {
		command = append(command, field)
	}
	answer := redis.NewSliceCmd(ctx, command...)
	if err := s.redis.Read(ctx, answer); err != nil {
		s.redis.Refresh(ctx)
		return record{}, fmt.Errorf("session: reading a session: %w", err)
	}
	values := answer.Val()
	if values[0] == nil {
		return record{}, nil
	}
	return parseRecord(id, values)
}

// Look returns one session; its State is Missing when there is no record of it.
func (s *Store) Look(ctx context.Context, sessionID string) (Listed, error) {
	id, err := ParseID(sessionID)
	if err != nil {
		return Listed{}, err
	}
	rec, err := s.load(ctx, id)
	return Listed{Session: rec.session, State: rec.state}, err
}

// List returns the sessions of a user that live or are being ended, the next to expire first: at
// most limit of them, and how many there are in all.
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
	// What somebody else has written into the index must not become a key that is read.
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

// knownKey is the key of one hash beside the sessions that has what users were when all of their
// older sessions had last ended. Its tag is that of no user. It does not expire: it has no more
// fields than there are users.
func (s *Store) knownKey() string { return "{" + s.ring.SubjectTag(s.cfg.Issuer, "") + "}:users" }

// KnownUsers returns what SetKnownUsers was last told, by name. It may be older than that: what it
// is for may be done again.
func (s *Store) KnownUsers(ctx context.Context) (map[string]string, error) {
	known, err := s.redis.Universal().HGetAll(ctx, s.knownKey()).Result()
	if err != nil {
		s.redis.Refresh(ctx)
		return nil, fmt.Errorf("session: reading what users were: %w", err)
	}
	return known, nil
}

// SetKnownUsers remembers what users are, all of whose sessions go by that; "" forgets one.
func (s *Store) SetKnownUsers(ctx context.Context, users map[string]string) error {
	// Without waiting for replicas: what is lost of this is found out and done again.
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
