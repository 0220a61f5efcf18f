package extauthz

import (
	"sync/atomic"
	"time"

	"github.com/sallyport/sallyport/authz"
)

// answer is a marshalled CheckResponse. It may be sent any number of times.
type answer struct {
	message []byte
	more    []byte                  // of the same message, and the same for many answers
	lasting atomic.Pointer[lasting] // the last that was asked for; nil: none
}

// lasting is the part of an answer that says for how long what it allows may last.
type lasting struct {
	lifetime time.Duration
	message  []byte
}

func newAnswer(message []byte) *answer { return &answer{message: message} }

func (a *answer) append(to []byte) []byte { return append(append(to, a.message...), a.more...) }

// within returns what stands behind the answer a for a request that may last so long: made once,
// until another lifetime is asked for.
func (a *answer) within(lifetime time.Duration) []byte {
	if l := a.lasting.Load(); l != nil && l.lifetime == lifetime {
		return l.message
	}
	l := &lasting{lifetime, besides(&authz.Decision{}, lifetime)}
	a.lasting.Store(l)
	return l.message
}
