package stream

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"sync/atomic"
	"time"

	"github.com/sallyport/sallyport/internal/livefile"
)

const (
	// So long after every issuer can know of a new value the transmitter is told it: one that did not
	// know it yet would refuse messages.
	authorizationSettles = 30 * time.Second
	// So long the value of before is good after that: messages may be under way.
	authorizationBefore = 10 * time.Minute
)

// Authorizations are what all issuers know of a stream's Authorization header, as digests: a file
// that is replaced comes to one issuer later than to another, and not at all to one that starts.
type Authorizations struct {
	Stream string // the id of the stream whose transmitter was told
	Told   string // what it was told; "" until it was
	Next   string // what it is to be told; "" for nothing else
	Before string // what it was told before
	// since when Next is known, and Before is replaced
	NextAt, BeforeAt time.Time
}

// authorization is what the Authorization header of pushed messages must say. It stands between
// strangers and the work of a signature, and nothing else: who has the one of before can send no
// message that counts.
type authorization struct {
	file   *livefile.File[string]
	now    func() time.Time
	shared atomic.Pointer[Authorizations] // nil until they were read
}

// digest returns what is kept of a value. The prefix is so that it is no plain digest of a secret.
func digest(value string) string {
	sum := sha256.Sum256([]byte("sallyport authorization\n" + value))
	return hex.EncodeToString(sum[:])
}

// accepts reports whether a header says what it must. All that it may be is compared, always, and
// digests, whose length says nothing of the secret's.
func (a *authorization) accepts(header string) bool {
	may := [4]string{digest(a.file.Value())}
	if all := a.shared.Load(); all != nil {
		may[1], may[2] = all.Told, all.Next
		if within(a.now(), all.BeforeAt, authorizationBefore) {
			may[3] = all.Before
		}
	}
	got, fits := []byte(digest(header)), 0
	for _, one := range may {
		fits |= subtle.ConstantTimeCompare([]byte(one), got)
	}
	return fits == 1
}

// within reports whether now is less than d after then. By a clock that has gone back it is not.
func within(now, then time.Time, d time.Duration) bool {
	age := now.Sub(then)
	return age >= 0 && age < d
}

// settles notes that there is another value, where there is one that nobody knows of yet, and
// reports whether the transmitter must not be told it for now.
func (s *Stream) settles(ctx context.Context, authorization string) (bool, error) {
	all, err := s.authorizations(ctx)
	if err != nil {
		return false, err
	}
	now, value := s.o.Now(), digest(authorization)
	switch {
	case all.Told == "" || all.Told == value:
		return false, nil
	case all.Next != value:
		all.Next, all.NextAt = value, now
		if err := s.share(ctx, all); err != nil {
			return false, err
		}
		time.AfterFunc(authorizationSettles, s.look)
		return true, nil
	}
	return within(now, all.NextAt, authorizationSettles), nil
}

// told notes that a stream's transmitter has a value.
func (s *Stream) told(ctx context.Context, id, value string) error {
	all, err := s.authorizations(ctx)
	is := digest(value)
	switch {
	case err != nil || all.Told == is && all.Stream == id:
		return err
	case all.Told == is:
		all.Stream = id
	default:
		all = Authorizations{Stream: id, Told: is, Before: all.Told, BeforeAt: s.o.Now()}
	}
	return s.share(ctx, all)
}

// changed reports whether a stream's transmitter is to be told the authorization of its messages,
// which it does not show. One that has it is left alone, at a restart too: when its stream is
// updated, Keycloak 26.7.3 delivers no more what waits to be pushed (findings/ has it run).
func (s *Stream) changed(id, value string) bool {
	if s.authorization == nil {
		return false
	}
	all := s.authorization.shared.Load()
	return all == nil || all.Told != digest(value) || all.Stream != id
}

// authorizations reads what all issuers know.
func (s *Stream) authorizations(ctx context.Context) (Authorizations, error) {
	all, err := s.o.Lease.Authorizations(ctx)
	if err == nil {
		s.authorization.shared.Store(&all)
	}
	return all, err
}

func (s *Stream) share(ctx context.Context, all Authorizations) error {
	err := s.o.Lease.SetAuthorizations(ctx, all)
	if err == nil {
		s.authorization.shared.Store(&all)
	}
	return err
}
