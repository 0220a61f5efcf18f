package issuer

import (
	"sync"
	"time"
)

const (
	unansweredFor  = time.Minute
	unansweredMost = 1024
)

// unanswered remembers for a while which credentials asked to log their user out everywhere and got
// an error: it may have been stored all the same, and then whoever asks again is to be told. It is
// bounded; who is forgotten gets 401 for a token that has ended.
type unanswered struct {
	mu    sync.Mutex
	asked map[string]unansweredAsk
}

type unansweredAsk struct {
	since time.Time // the log's time when it first asked
	until time.Time
}

func newUnanswered() *unanswered { return &unanswered{asked: map[string]unansweredAsk{}} }

func (u *unanswered) note(credential string, since, now time.Time) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if before, asked := u.asked[credential]; asked {
		since = before.since
	} else if len(u.asked) >= unansweredMost {
		u.expire(now)
		if len(u.asked) >= unansweredMost {
			return
		}
	}
	u.asked[credential] = unansweredAsk{since: since, until: now.Add(unansweredFor)}
}

func (u *unanswered) expire(now time.Time) {
	for credential, ask := range u.asked {
		if now.After(ask.until) {
			delete(u.asked, credential)
		}
	}
}

func (u *unanswered) since(credential string, now time.Time) (time.Time, bool) {
	u.mu.Lock()
	defer u.mu.Unlock()
	ask, asked := u.asked[credential]
	return ask.since, asked && !now.After(ask.until)
}

func (u *unanswered) drop(credential string) {
	u.mu.Lock()
	defer u.mu.Unlock()
	delete(u.asked, credential)
}
