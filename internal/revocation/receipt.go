package revocation

import "errors"

// SessionRef names a session of an issuer.
type SessionRef struct{ Issuer, SessionID string }

// ErrUnavailable is wrapped by every error that means "not acknowledged, try again": a 503.
var ErrUnavailable = errors.New("revocation: log unavailable")

// Receipt is the acknowledgement of an append: where its last entry is.
type Receipt struct {
	Seq   uint64
	Epoch string
	Chain string // of that entry: a place alone says nothing once a log has gone back and grown again
	Alone bool   // no other issuer was alive to hold the entries too
}

// Applied says how many live gates have applied what a receipt names.
type Applied struct {
	Applied, Total int
	Behind         []string // the names of those that have not, sorted
}

// All reports whether every live gate has.
func (a Applied) All() bool { return a.Applied == a.Total }
