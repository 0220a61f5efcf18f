package stream

import (
	"crypto/sha256"
	"crypto/subtle"
	"sync"
	"time"
)

const (
	// So long after its file has changed a transmitter is told the new value: an issuer that has the
	// file of before, because it gets files a minute later, would refuse it.
	authorizationSettles = 2 * time.Minute
	// So long the value of before is good: the transmitter goes on with it until it is told.
	authorizationBefore = 10 * time.Minute
)

// authorization is what the Authorization header of pushed messages must say. It stands between
// strangers and the work of a signature, and nothing else: who has the one of before can send no
// message that counts.
type authorization struct {
	now func() time.Time

	mu      sync.Mutex
	value   string
	before  string    // "" for none
	changed time.Time // when value took its place
}

// set puts a value in force, at the start or because its file has changed.
func (a *authorization) set(value string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if value == a.value {
		return
	}
	// One that changes again before it was told leaves the transmitter with the one before that.
	if !a.within(authorizationSettles) {
		a.before = a.value
	}
	a.value, a.changed = value, a.now()
}

// within reports whether the value changed less than d ago. By a clock that has gone back it did
// not. The caller holds a.mu.
func (a *authorization) within(d time.Duration) bool {
	age := a.now().Sub(a.changed)
	return a.before != "" && age >= 0 && age < d
}

// accepts reports whether a header says what it must.
func (a *authorization) accepts(header string) bool {
	a.mu.Lock()
	value, before := a.value, a.value
	if a.within(authorizationBefore) {
		before = a.before
	}
	a.mu.Unlock()
	// Digests: their length says nothing of the secret's. Both are compared, always.
	got := sha256.Sum256([]byte(header))
	fits := 0
	for _, one := range []string{value, before} {
		want := sha256.Sum256([]byte(one))
		fits |= subtle.ConstantTimeCompare(want[:], got[:])
	}
	return fits == 1
}

// told returns what the transmitter is to be told.
func (a *authorization) told() string {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.within(authorizationSettles) {
		return a.before
	}
	return a.value
}
