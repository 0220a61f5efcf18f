package stream

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"sync"
	"time"

	"github.com/sallyport/sallyport/internal/ssf"
)

const (
	atOnce       = 16 // messages that are carried out at a time
	longestRetry = 5 * time.Second
)

// pending is what the transmitter is to be told with the next poll. It is not kept over a restart:
// what is not acknowledged comes again, and has been carried out already then.
type pending struct {
	ack    []string
	errors map[string]problem
}

// polling polls while this process has the lease and the stream is there.
func (s *Stream) polling(ctx context.Context) {
	var (
		todo        pending
		b           backoff
		immediately bool
		last        map[string]string // the messages of the last answer
	)
	for ctx.Err() == nil {
		began := s.o.Now()
		is := s.kept.Load()
		if !s.held.Load() || is == nil || is.poll == nil {
			sleep(ctx, min(s.o.Config.PollEvery, time.Second))
			continue
		}
		answer, err := s.client.poll(ctx, is.poll, poll{
			Ack: todo.ack, Errors: todo.errors, Max: maxPolled, Immediately: immediately,
		})
		// A transmitter may hold a poll for longer than we do (RFC 8936 section 2.4). Whether it is
		// there at all, one that is to be answered at once shows.
		if !immediately && errors.Is(err, context.DeadlineExceeded) && ctx.Err() == nil {
			immediately = true
			continue
		}
		immediately = false
		s.tell(ctx, stepPoll, err)
		if err != nil {
			if isStatus(err, http.StatusNotFound, http.StatusGone) {
				s.kept.CompareAndSwap(is, nil)
				s.look()
			}
			sleep(ctx, b.after(err, 0))
			continue
		}
		var undone int
		todo, undone = s.carryOut(ctx, answer.Sets)
		if undone > 0 {
			err = fmt.Errorf("%d messages could not be carried out yet, and come again", undone)
		}
		s.tell(ctx, stepCarryOut, err)
		// A message that never can be carried out must not keep those behind it for long.
		wait := min(b.after(err, 0), longestRetry)
		// No transmitter decides how often it is asked: one that has nothing new has to wait.
		if err == nil && !bringsNew(answer.Sets, last) {
			wait = s.o.Config.PollEvery - s.o.Now().Sub(began)
		}
		last = answer.Sets
		sleep(ctx, wait)
	}
}

// bringsNew reports whether sets has a message that last has not.
func bringsNew(sets, last map[string]string) bool {
	for id := range sets {
		if _, again := last[id]; !again {
			return true
		}
	}
	return false
}

// carryOut has messages carried out, and returns what the transmitter is to be told of them, and
// how many are to come again.
func (s *Stream) carryOut(ctx context.Context, sets map[string]string) (pending, int) {
	var (
		todo   = pending{errors: map[string]problem{}}
		undone int
		mu     sync.Mutex
		all    sync.WaitGroup
		places = make(chan struct{}, atOnce)
	)
	for id, compact := range maps.All(sets) {
		places <- struct{}{}
		all.Go(func() {
			defer func() { <-places }()
			err := s.o.Handle(ctx, id, compact)
			mu.Lock()
			defer mu.Unlock()
			var refused *ssf.Error
			switch {
			case err == nil:
				todo.ack = append(todo.ack, id)
			case errors.As(err, &refused):
				todo.errors[id] = problem{refused.Code, refused.Description}
			default:
				undone++
			}
		})
	}
	all.Wait()
	return todo, undone
}

// backoff says how long to wait after failures: longer after each, up to a minute.
type backoff struct{ failures int }

// after returns the wait after a step that ended with err: usual when it did not fail.
func (b *backoff) after(err error, usual time.Duration) time.Duration {
	if err == nil {
		b.failures = 0
		return usual
	}
	b.failures = min(b.failures+1, 8)
	return min(time.Duration(1<<b.failures)*250*time.Millisecond, time.Minute)
}

func sleep(ctx context.Context, d time.Duration) {
	if d <= 0 {
		return
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-t.C:
	}
}
