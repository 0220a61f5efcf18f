package redisconn_test

import (
	"context"
	"errors"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/sallyport/sallyport/internal/eventually"
	"github.com/sallyport/sallyport/internal/redisconn"
)

// failing answers with an error.
var failing = redis.NewScript(`return redis.call('LPUSH', KEYS[1], 'x')`)

// fill fills the pipelines with a write each, which waits for a replica that is stopped. It returns
// what waits for them to be written.
func (p pair) fill() (written func()) {
	p.t.Helper()
	p.freeze()
	var wg sync.WaitGroup
	for n := range redisconn.MaxPipelines {
		wg.Go(func() {
			if _, err := p.WriteAndWait(p.t.Context(), counted, counting()); err != nil {
				p.t.Errorf("a write that waits for the replica: %v", err)
			}
		})
		eventually.True(p.t, "a pipeline waits for the replica",
			func() bool { return p.blocked() == n+1 })
	}
	return wg.Wait
}

// together has writes wait while all pipelines are taken, and then go on. It returns what each of
// them was told.
func (p pair) together(writes []redisconn.Write) ([]redisconn.Written, []error) {
	p.t.Helper()
	written := p.fill()
	done, errs := make([]redisconn.Written, len(writes)), make([]error, len(writes))
	var wg sync.WaitGroup
	for i, w := range writes {
		wg.Go(func() { done[i], errs[i] = p.WriteAndWait(p.t.Context(), counted, w) })
	}
	eventually.True(p.t, "the writes wait for a pipeline",
		func() bool { return p.Waiting() == len(writes) })
	p.thaw()
	written()
	wg.Wait()
	return done, errs
}

func (p pair) thaw() {
	p.t.Helper()
	if err := syscall.Kill(p.replica, syscall.SIGCONT); err != nil {
		p.t.Fatal(err)
	}
}

// blocked is how many connections wait for the replica.
func (p pair) blocked() int {
	_, n, _ := strings.Cut(p.info("clients"), "blocked_clients:")
	n, _, _ = strings.Cut(n, "\r\n")
	blocked, _ := strconv.Atoi(n)
	return blocked
}

// waits is how many WAITs there have been.
func (p pair) waits() int {
	_, n, _ := strings.Cut(p.info("commandstats"), "cmdstat_wait:calls=")
	n, _, _ = strings.Cut(n, ",")
	waits, _ := strconv.Atoi(n)
	return waits
}

// TestWritesThatShareAPipelineAreEachJudgedByTheirOwnAnswer: none is acknowledged by another's, and
// none fails with another.
func TestWritesThatShareAPipelineAreEachJudgedByTheirOwnAnswer(t *testing.T) {
	t.Parallel()
	p := startPair(t)
	if _, err := p.WriteAndWait(t.Context(), counted, counting()); err != nil {
		t.Fatal(err)
	}
	var writes []redisconn.Write
	for range 20 {
		onlyRead, bad := counting(), counting()
		onlyRead.Script, bad.Script = reader, failing
		writes = append(writes, onlyRead, counting(), bad, inMulti())
	}
	was, before := int64(1+redisconn.MaxPipelines), p.waits()
	done, errs := p.together(writes)
	seen := map[int64]bool{}
	for i, err := range errs {
		answer, _ := done[i].Answer.(int64)
		switch i % 4 {
		case 0:
			if !errors.Is(err, redisconn.ErrNothingWritten) {
				t.Errorf("write %d, which has only read: %v", i, err)
			}
		case 1:
			if err != nil || answer <= was || seen[answer] {
				t.Errorf("write %d: expected a count that no other was told, got %+v, %v", i, done[i], err)
			}
			seen[answer] = true
		case 2:
			if err == nil || !strings.Contains(err.Error(), "WRONGTYPE") {
				t.Errorf("write %d, which Redis has refused: %v", i, err)
			}
			unanswered(t, done[i], err)
		case 3:
			if err != nil {
				t.Errorf("write %d, in MULTI: %v", i, err)
			}
		}
	}
	// One for each pipeline that was full, then one for each that took some of the others, and one
	// more for those whose script Redis did not know.
	if n := p.waits() - before; n > 3*redisconn.MaxPipelines {
		t.Errorf("%d writes took %d WAITs", len(writes), n)
	}
	eventually.True(t, "no queue is left", func() bool { return p.Queues() == 0 })
}

// TestAForgottenScriptIsSentAgainForAllThatShareAPipeline: each is run once.
func TestAForgottenScriptIsSentAgainForAllThatShareAPipeline(t *testing.T) {
	t.Parallel()
	p := startPair(t)
	writes := make([]redisconn.Write, 50)
	for i := range writes {
		writes[i] = counting()
		writes[i].Script = redis.NewScript("return redis.call('INCR', KEYS[1]) -- " + strconv.Itoa(i%7))
	}
	done, errs := p.together(writes)
	seen := map[int64]bool{}
	for i, err := range errs {
		if err != nil {
			t.Errorf("write %d: %v", i, err)
			continue
		}
		seen[done[i].Answer.(int64)] = true
	}
	want := int64(len(writes) + redisconn.MaxPipelines)
	if now, _ := p.Universal().Get(t.Context(), counted).Int64(); now != want || len(seen) != len(writes) {
		t.Errorf("expected %d, each once, got %d with %d answers", want, now, len(seen))
	}
}

// TestAWriteThatNobodyWaitsForAnyMoreIsNotSent, if it has not been.
func TestAWriteThatNobodyWaitsForAnyMoreIsNotSent(t *testing.T) {
	t.Parallel()
	p := startPair(t)
	written := p.fill()
	ctx, cancel := context.WithCancel(t.Context())
	left := make(chan struct{})
	go func() {
		defer close(left)
		done, err := p.WriteAndWait(ctx, counted, counting())
		unanswered(t, done, err)
	}()
	eventually.True(t, "it waits for a pipeline", func() bool { return p.Waiting() == 1 })
	cancel()
	<-left
	p.thaw()
	written()
	if now, _ := p.Universal().Get(t.Context(), counted).Int(); now != redisconn.MaxPipelines {
		t.Errorf("written %d times, expected %d", now, redisconn.MaxPipelines)
	}
}

// TestAConnectionThatIsStuckHoldsUpNoOther: what waits for ever over one is no reason to.
func TestAConnectionThatIsStuckHoldsUpNoOther(t *testing.T) {
	t.Parallel()
	p := startPair(t)
	p.freeze()
	stuck := make(chan error, 1)
	go func() {
		w := counting()
		w.Timeout = time.Hour
		_, err := p.WriteAndWait(t.Context(), counted, w)
		stuck <- err
	}()
	eventually.True(t, "one waits for the replica", func() bool { return p.blocked() == 1 })
	for range 100 {
		w := counting()
		w.Replicas = 0
		if _, err := p.WriteAndWait(t.Context(), counted, w); err != nil {
			t.Fatal(err)
		}
	}
	p.thaw()
	if err := <-stuck; err != nil {
		t.Error(err)
	}
}

// TestAPanicOverOneAnswerEndsNoProcess: it is the error of those that shared a pipeline with it.
func TestAPanicOverOneAnswerEndsNoProcess(t *testing.T) {
	t.Parallel()
	p := startPair(t)
	w := counting()
	w.Wrote = func(any) bool { panic("unexpected") }
	done, err := p.WriteAndWait(t.Context(), counted, w)
	unanswered(t, done, err)
	if _, err := p.WriteAndWait(t.Context(), counted, counting()); err != nil {
		t.Errorf("the next write: %v", err)
	}
}

// TestReadsAreAnsweredEachItsOwn, many at a time: one that fails is an error of no other.
func TestReadsAreAnsweredEachItsOwn(t *testing.T) {
	t.Parallel()
	p := startPair(t)
	for i := range 10 {
		if err := p.Universal().Set(t.Context(), "k"+strconv.Itoa(i), i, 0).Err(); err != nil {
			t.Fatal(err)
		}
	}
	var wg sync.WaitGroup
	for n := range 300 {
		wg.Go(func() {
			i := n % 10
			one := redis.NewStringCmd(t.Context(), "GET", "k"+strconv.Itoa(i))
			if err := p.Read(t.Context(), one); err != nil || one.Val() != strconv.Itoa(i) {
				t.Errorf("k%d: %v, %v", i, one, err)
			}
		})
		wg.Go(func() {
			list := redis.NewStringCmd(t.Context(), "HGET", "k1", "field")
			if err := p.Read(t.Context(), list); err == nil || !strings.Contains(err.Error(), "WRONGTYPE") {
				t.Errorf("expected WRONGTYPE, got %v", err)
			}
		})
		wg.Go(func() {
			none := redis.NewStringCmd(t.Context(), "GET", "none")
			if err := p.Read(t.Context(), none); !errors.Is(err, redis.Nil) {
				t.Errorf("expected nil, got %v", err)
			}
		})
	}
	wg.Wait()
	eventually.True(t, "no queue is left", func() bool { return p.Queues() == 0 })
}
