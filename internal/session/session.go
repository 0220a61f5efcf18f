package session

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/sallyport/sallyport/internal/redisconn"
	"github.com/sallyport/sallyport/internal/revocation"
	"github.com/sallyport/sallyport/internal/revocation/redislog"
)

// Config is what a Store must know. All fields are required.
type Config struct {
	Issuer string // the tokens' iss: sessions of two issuers on one Redis never meet
	// the client that this issuer serves: another one's sessions are left alone
	ClientID string
	Lifetime time.Duration // of a session, from its login
	// how long each spent refresh token gives its successor again; 0: not at all
	Grace time.Duration
	// how long an ended session's record is kept: longer than any of its access tokens lives
	Retain      time.Duration
	MaxPerUser  int           // sessions of one user at a time; a further one ends the oldest
	MinReplicas int           // replicas that must have a write before it counts
	WaitTimeout time.Duration // longest wait for them
	// longest time for the whole end of a session; it goes on when the client has left
	EndTimeout time.Duration
}

func (c Config) validate() error {
	switch {
	case c.Issuer == "" || c.ClientID == "":
		return errors.New("session: expected an issuer and a client id, got none")
	case c.Lifetime < time.Second || c.Grace < 0 || c.Retain <= 0 || c.WaitTimeout <= 0 || c.EndTimeout <= 0:
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
		issuer, sessionID, subject, client, tenant string) (redislog.Remembered, error)
}

// Log is the revocation log as an issuer has it; *redislog.Issuer is one.
type Log interface {
	Appender
	Clock
	Revocations
}

// Store keeps the sessions of one issuer. All methods may be called from many goroutines and at
// many issuers at a time.
type Store struct {
	cfg   Config
	ring  Ring
	redis Redis
	log   Log
}

// New makes a Store. It does not talk to Redis yet.
func New(cfg Config, r Redis, log Log, ring Ring) (*Store, error) {
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	return &Store{cfg: cfg, ring: ring, redis: r, log: log}, nil
}

// Facts are what a session keeps of its login. Roles are not among them: each refresh reads them
// anew.
type Facts struct {
	Subject string
	Tenant  string
	Scope   []string
	AMR     []string // how the user was authenticated (RFC 8176)
	// Credential and Rights name what the login went by, as credential.User does: the password, and
	// what the user was allowed.
	Credential, Rights string
}

// Session is a session that lives.
type Session struct {
	Facts
	ID       string
	ClientID string
	// in the log's time; the tokens' auth_time, and then in a later second than the user's last log
	// out everywhere
	Began   time.Time
	Expires time.Time
}

// Grant is leave to mint tokens: it exists only after what it says is stored.
type Grant struct {
	Session      Session
	RefreshToken string
	// Now is the log's time from before the counter moved. iat and exp must come from it: a token
	// then never outlives the revocation of a session that was ended meanwhile.
	Now time.Time
	// Repeated says that the refresh token had been spent just before and that this is the same
	// successor again.
	Repeated bool
}

// Reason is why a refresh token was refused: short and stable, in snake case, out of a fixed list.
type Reason string

// The reasons. All of them are invalid_grant to the client (RFC 6749 section 5.2).
const (
	ReasonMalformed Reason = "malformed"       // not a refresh token
	ReasonForged    Reason = "forged"          // its code is not of this key ring
	ReasonClient    Reason = "client"          // another client's; its session is left as it is
	ReasonMissing   Reason = "session_unknown" // expired, or lost by Redis
	ReasonExpired   Reason = "session_expired" //
	ReasonEnded     Reason = "session_ended"   //
	ReasonEra       Reason = "era"             // Redis has lost the log since the session began
	ReasonReuse     Reason = "reuse"           // spent before; this ended the session
	ReasonAhead     Reason = "counter_ahead"   // Redis has lost a refresh; this ended the session
	// the user was logged out everywhere; this ended the session
	ReasonGeneration Reason = "generation"
	// the session, its user, client, tenant or issuer is revoked
	ReasonRevoked Reason = "revoked"
	// the user is disabled or gone; this ended the session
	ReasonBarred Reason = "account_disabled"
	// the password is another one than at login; this ended the session
	ReasonPassword Reason = "password_changed"
)

// Refusal says that a refresh token was refused. SessionID and Subject are filled in when the token
// was genuine and they are known.
type Refusal struct {
	Reason    Reason
	SessionID string
	Subject   string
	Ended     bool   // the refusal ended the session: its revocation is stored
	Seq       uint64 // then: its place in the log
}

func (e *Refusal) Error() string { return "session: refresh token refused: " + string(e.Reason) }

var (
	// ErrMoved says that the user was logged out everywhere while a login was under way: check the
	// password again.
	ErrMoved = errors.New("session: the user was logged out everywhere during the login")
	// ErrBarred is what an admission check returns for a user who may not go on: the session ends.
	ErrBarred = errors.New("session: the user may not go on")
	// ErrPassword is what an admission check returns when the password is another one than at
	// login: the session ends.
	ErrPassword = errors.New("session: the password has been changed since the login")
	// ErrNotFresh says that this issuer's copy of the revocations, or its clock, is not to be
	// relied on now.
	ErrNotFresh = errors.New("session: the copy of the revocation log is not fresh")
)

// Now is the log's time, which sessions and tokens go by.
func (s *Store) Now() (time.Time, error) {
	now, _, err := s.now()
	return now, err
}

// now gives the log's time and era.
func (s *Store) now() (time.Time, string, error) {
	now, ok := s.log.Time()
	if !ok {
		return time.Time{}, "", fmt.Errorf("%w: its time is not known", ErrNotFresh)
	}
	return s.inEra(now)
}

// mintingNow is now for whoever makes tokens by it: an error too while this issuer's clock and
// Redis' are too far apart.
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

// Fresh is an error while this issuer may not go by its own copy of the log.
func (s *Store) Fresh() error { return s.fresh() }

// fresh says whether this issuer may go by its own copy of the log.
func (s *Store) fresh() error {
	if f := s.log.Freshness(s.log.Instant()); !f.Fresh {
		return fmt.Errorf("%w: %s", ErrNotFresh, f.Why)
	}
	return nil
}
