package redislog

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"
)

// crowdedReads are those of a relay all of whose places are taken.
func crowdedReads() *sharedReads {
	s := newSharedReads()
	for range readsAtOnce {
		s.places <- struct{}{}
	}
	return &s
}

// TestAReadThatFailsForWantOfTimeFailsForNobodyElse: the first to ask has little time left, the other
// has plenty.
func TestAReadThatFailsForWantOfTimeFailsForNobodyElse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := crowdedReads()
		slow := func(ctx context.Context) func() ([]byte, error) {
			return func() ([]byte, error) {
				select {
				case <-time.After(100 * time.Millisecond):
					return []byte("*0\r\n"), nil
				case <-ctx.Done():
					return nil, ctx.Err()
				}
			}
		}
		ask := func(within time.Duration) chan error {
			ctx, cancel := context.WithTimeout(t.Context(), within)
			done := make(chan error, 1)
			go func() {
				defer cancel()
				_, err := s.do(ctx, "x", slow(ctx))
				done <- err
			}()
			synctest.Wait()
			return done
		}
		first, second := ask(120*time.Millisecond), ask(10*time.Second)
		time.Sleep(40 * time.Millisecond) // 80 are left for the first
		<-s.places
		if err := <-first; !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("the first is told %v", err)
		}
		if err := <-second; err != nil {
			t.Errorf("who had ten seconds is told %v", err)
		}
	})
}

// TestWhoWaitsForAnothersReadIsNotCutOff: with a time of its own that ends before the other has found a
// place, a gate is told that there is nothing yet, as where it is the first.
func TestWhoWaitsForAnothersReadIsNotCutOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := crowdedReads()
		never := func() ([]byte, error) { return nil, errors.New("read") }
		long, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		ended := make(chan error, 1)
		go func() {
			_, err := s.do(long, "x", never)
			ended <- err
		}()
		synctest.Wait()
		short, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		defer cancel()
		if _, err := s.do(short, "x", never); !errors.Is(err, errNoRead) {
			t.Errorf("expected errNoRead, for which Tail answers that there is nothing, got %v", err)
		}
		if err := <-ended; !errors.Is(err, errNoRead) {
			t.Errorf("the first is told %v", err)
		}
	})
}
