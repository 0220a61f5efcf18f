package credential

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"
)

func mib(n int64) int64 { return n << 20 }

func TestWhoWaitsTooLongIsToldThatItIsBusy(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPool(Hashing{Concurrency: 1, MemoryMiB: 10, Queue: 1, Wait: 2 * time.Second})
		if err := p.acquire(t.Context(), mib(1), place{}); err != nil {
			t.Fatal(err)
		}
		begun := time.Now()
		if err := p.acquire(t.Context(), mib(1), place{}); !errors.Is(err, ErrBusy) ||
			time.Since(begun) != 2*time.Second {
			t.Errorf("got %v after %v", err, time.Since(begun))
		}
		p.release(mib(1))
		if err := p.acquire(t.Context(), mib(1), place{}); err != nil {
			t.Errorf("after a wait given up: %v", err)
		}
	})
}

func TestWhoGoesAwayLeavesTheQueue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPool(Hashing{Concurrency: 1, MemoryMiB: 10, Queue: 1, Wait: time.Minute})
		if err := p.acquire(t.Context(), mib(1), place{}); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		gone := make(chan error, 1)
		go func() { gone <- p.acquire(ctx, mib(1), place{}) }()
		synctest.Wait()
		if err := p.acquire(t.Context(), mib(1), place{}); !errors.Is(err, ErrBusy) {
			t.Errorf("the queue is not full: %v", err)
		}
		cancel()
		if err := <-gone; !errors.Is(err, context.Canceled) {
			t.Errorf("got %v", err)
		}
		if running, waiting := p.load(); running != 1 || waiting != 0 {
			t.Errorf("%d running, %d waiting", running, waiting)
		}
	})
}

// TestTurnsAreGrantedInOrder also holds when the first needs more memory than the second: else it
// would wait for ever.
func TestTurnsAreGrantedInOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPool(Hashing{Concurrency: 4, MemoryMiB: 10, Queue: 10, Wait: time.Minute})
		if err := p.acquire(t.Context(), mib(4), place{}); err != nil {
			t.Fatal(err)
		}
		order := make(chan int64, 3)
		for _, memory := range []int64{8, 1, 2} {
			go func() {
				if err := p.acquire(t.Context(), mib(memory), place{}); err != nil {
					t.Error(err)
				}
				order <- memory
			}()
			synctest.Wait()
		}
		if len(order) > 0 {
			t.Errorf("%d overtook", <-order)
		}
		p.release(mib(4))
		synctest.Wait()
		if first, second := <-order, <-order; first+second != 9 {
			t.Errorf("granted %d and %d, want 8 and 1", first, second)
		}
		p.release(mib(8))
		if third := <-order; third != 2 {
			t.Errorf("granted %d", third)
		}
	})
}

func TestOneThatGivesUpLetsASmallerOneBehindItGo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPool(Hashing{Concurrency: 4, MemoryMiB: 10, Queue: 10, Wait: time.Minute})
		if err := p.acquire(t.Context(), mib(4), place{}); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		large, small := make(chan error, 1), make(chan error, 1)
		go func() { large <- p.acquire(ctx, mib(8), place{}) }()
		synctest.Wait()
		go func() { small <- p.acquire(t.Context(), mib(2), place{}) }()
		synctest.Wait()
		cancel()
		if err := <-large; !errors.Is(err, context.Canceled) {
			t.Errorf("got %v", err)
		}
		if err := <-small; err != nil {
			t.Error(err)
		}
	})
}

// TestAGrantThatCrossesWithGivingUpIsNotLost has a turn granted while its owner's context ends.
func TestAGrantThatCrossesWithGivingUpIsNotLost(t *testing.T) {
	p := newPool(Hashing{Concurrency: 1, MemoryMiB: 10, Queue: 10, Wait: time.Minute})
	e, err := p.enter(mib(1), place{})
	if err != nil || e != nil {
		t.Fatal(e, err)
	}
	e, err = p.enter(mib(1), place{})
	if err != nil || e == nil {
		t.Fatal(e, err)
	}
	p.release(mib(1)) // grants it
	if err := p.leave(e, context.Canceled); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	if running, waiting := p.load(); running != 0 || waiting != 0 || p.used != 0 {
		t.Errorf("%d running, %d waiting, %d bytes", running, waiting, p.used)
	}
}

func TestOneProcessorIsLeftForOthers(t *testing.T) {
	if n := (Hashing{}).slots(); n < 1 {
		t.Errorf("%d", n)
	}
	if n := (Hashing{Concurrency: 7}).slots(); n != 7 {
		t.Errorf("%d", n)
	}
}
