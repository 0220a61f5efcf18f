package redislog

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/sallyport/sallyport/internal/revocation"
)

// reading is one reading of all lines of a kind, shared by all who wait for lines to move: a
// hundred logouts that wait cost Redis as much as one. It asks in the same step which of the
// positions that they wait for lie on the log.
type reading struct {
	done  chan struct{}
	asked []revocation.Position
	onLog map[revocation.Position]bool
	lines []line
	err   error
}

// maxAsked bounds the positions of one reading.
const maxAsked = 256

// lineReader makes the readings of one kind of lines, one at a time.
type lineReader struct {
	f    *follower
	read func(ctx context.Context, r *reading) error

	mu     sync.Mutex // guards the next two
	under  *reading
	wanted []wanted // by those who wait, the oldest first

	droppedAt atomic.Int64 // mono of when dropped lines were last told of
}

// wanted is a position and how many wait for it.
type wanted struct {
	at      revocation.Position
	waiting int
}

// register adds a position to those that readings ask for, until unregister has been called as
// often. lr.mu is held.
func (lr *lineReader) register(at revocation.Position) {
	for k := range lr.wanted {
		if lr.wanted[k].at == at {
			lr.wanted[k].waiting++
			return
		}
	}
	lr.wanted = append(lr.wanted, wanted{at, 1})
}

func (lr *lineReader) unregister(at revocation.Position) {
	for k := range lr.wanted {
		if lr.wanted[k].at != at {
			continue
		}
		if lr.wanted[k].waiting--; lr.wanted[k].waiting == 0 {
			lr.wanted = slices.Delete(lr.wanted, k, k+1)
		}
		return
	}
}

// lines reads all lines of a kind, with which of them lie on the log as it is now, and
// whether at does.
func (lr *lineReader) lines(ctx context.Context, at revocation.Position) ([]line, bool, error) {
	lr.mu.Lock()
	lr.register(at)
	lr.mu.Unlock()
	defer func() {
		lr.mu.Lock()
		defer lr.mu.Unlock()
		lr.unregister(at)
	}()
	// The reading that is under way may have been sent before at was wanted. The next one asks for
	// it, unless too many are wanted: the oldest go first.
	for {
		r := lr.join()
		select {
		case <-r.done:
		case <-ctx.Done():
			return nil, false, ctx.Err()
		}
		if onLog, asked := r.onLog[at]; asked || r.err != nil {
			return r.lines, onLog, r.err
		}
		if ctx.Err() != nil {
			return nil, false, ctx.Err()
		}
	}
}

// join returns the reading that is under way, or begins one. A reading is for everyone who waits
// for it, so it has a time of its own: the caller that happened to be the first may have almost
// none left, and a reading cut short costs its connection.
func (lr *lineReader) join() *reading {
	lr.mu.Lock()
	defer lr.mu.Unlock()
	if lr.under != nil {
		return lr.under
	}
	r := &reading{done: make(chan struct{}), onLog: map[revocation.Position]bool{}}
	for _, w := range lr.wanted[:min(len(lr.wanted), maxAsked)] {
		r.asked = append(r.asked, w.at)
	}
	lr.under = r
	// Like all that an issuer runs on, this does not recover from a panic (see run), and no gate runs
	// it: those who wait would take a reading that stopped halfway for one that is complete.
	go func() {
		defer close(r.done)
		ctx, cancel := context.WithTimeout(context.Background(), oneLook(lr.f.cfg))
		defer cancel()
		r.err = lr.read(ctx, r)
		lr.mu.Lock()
		defer lr.mu.Unlock()
		lr.under = nil
	}()
	return r
}

// oneLook returns how long one reading of lines may take.
func oneLook(cfg Config) time.Duration { return cfg.Settle }

// run runs a script that reads lines. Its answer begins with what is said of the positions, which
// r keeps.
func (r *reading) run(ctx context.Context, f *follower, s *redis.Script, keys []string,
	args []any) (rest []string, err error) {
	for _, p := range r.asked {
		args = append(args, p.Epoch.String(), p.Seq, p.Chain.String())
	}
	// A read, which may be repeated over any connection.
	answer, err := s.Run(ctx, f.client.Universal(), keys, args...).Result()
	if err != nil {
		return nil, err
	}
	fields, err := list(answer, len(r.asked))
	if err != nil {
		return nil, err
	}
	for k, p := range r.asked {
		r.onLog[p] = fields[k] == "1"
	}
	return fields[len(r.asked):], nil
}

func (r *reading) sort() {
	slices.SortFunc(r.lines, func(a, b line) int { return strings.Compare(a.Name, b.Name) })
}

// readIssuers reads the issuers' lines.
func (lr *lineReader) readIssuers(ctx context.Context, r *reading) error {
	keys := []string{lr.f.keys.log, lr.f.keys.head, lr.f.keys.issuers}
	fields, err := r.run(ctx, lr.f, linesScript, keys, nil)
	if err != nil {
		return err
	}
	for k := 0; k+2 < len(fields); k += 3 {
		r.lines = append(r.lines, parseLine(fields[k], fields[k+1], fields[k+2] == "1"))
	}
	r.sort()
	return nil
}

// readGates reads the gates' lines: those of max_gates keys, and no other, whatever else somebody
// with a gate's Redis user may have written.
func (lr *lineReader) readGates(ctx context.Context, r *reading) error {
	keys := []string{lr.f.keys.log, lr.f.keys.head}
	for n := 1; n <= lr.f.cfg.MaxGates; n++ {
		keys = append(keys, lr.f.keys.gate(n))
	}
	fields, err := r.run(ctx, lr.f, gatesScript, keys, []any{maxLine})
	if err != nil {
		return err
	}
	if len(fields) == 0 {
		return errReply
	}
	lr.droppedLines(fields[0])
	for k := 1; k+2 < len(fields); k += 3 {
		n, err := strconv.Atoi(fields[k])
		if err != nil || n < 1 || n > lr.f.cfg.MaxGates {
			return fmt.Errorf("%w: expected the number of a line", errReply)
		}
		r.lines = append(r.lines, parseGateLine(n, fields[k+1], fields[k+2] == "1"))
	}
	r.sort()
	return nil
}

// droppedLines counts the gates' lines that were dropped unread, and logs that, at most once a
// second.
func (lr *lineReader) droppedLines(text string) {
	n, err := strconv.Atoi(text)
	if err != nil || n == 0 {
		return
	}
	lr.f.metrics.dropped.Add(float64(n))
	now, last := int64(lr.f.instant().Mono), lr.droppedAt.Load()
	if last != 0 && now-last < int64(time.Second) || !lr.droppedAt.CompareAndSwap(last, now) {
		return
	}
	lr.f.log.Error(
		"dropped what somebody with a gate's Redis user has written in place of a gate's line",
		"lines", n)
	if lr.f.o.OnLinesDropped != nil {
		lr.f.o.OnLinesDropped(n)
	}
}
