package redislog

import (
	"context"
	"maps"
	"slices"
	"strings"

	"github.com/sallyport/sallyport/internal/revocation"
)

// reading is one reading of all lines of a hash, shared by everyone who waits for lines to move. It also asks Redis, in
// the same step, which of the positions they wait for lie on the log.
type reading struct {
	done  chan struct{}
	asked []revocation.Position // nil until it is sent
	onLog map[revocation.Position]bool
	lines []line
	err   error
}

// maxAsked bounds the positions of one reading.
const maxAsked = 256

// lineReader makes the readings of one hash, one at a time.
type lineReader struct {
	hash   string
	under  *reading
	wanted map[revocation.Position]int // by those who wait
}

// readLines reads all lines of a hash, with which of them lie on the log as it is now, and whether at does.
func (i *Issuer) readLines(ctx context.Context, hash string, at revocation.Position) ([]line, bool, error) {
	i.linesMu.Lock()
	lr := i.readers[hash]
	lr.wanted[at]++
	i.linesMu.Unlock()
	defer func() {
		i.linesMu.Lock()
		defer i.linesMu.Unlock()
		if lr.wanted[at]--; lr.wanted[at] == 0 {
			delete(lr.wanted, at)
		}
	}()
	for {
		r := i.join(ctx, lr)
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

// join returns the reading that is under way, or begins one and returns it done.
func (i *Issuer) join(ctx context.Context, lr *lineReader) *reading {
	i.linesMu.Lock()
	if r := lr.under; r != nil {
		i.linesMu.Unlock()
		return r
	}
	r := &reading{done: make(chan struct{}), onLog: map[revocation.Position]bool{}}
	for p := range maps.Keys(lr.wanted) {
		if len(r.asked) < maxAsked {
			r.asked = append(r.asked, p)
		}
	}
	lr.under = r
	i.linesMu.Unlock()
	r.fill(ctx, i, lr.hash)
	i.linesMu.Lock()
	lr.under = nil
	i.linesMu.Unlock()
	close(r.done)
	return r
}

func (r *reading) fill(ctx context.Context, i *Issuer, hash string) {
	var answer any
	var args []any
	for _, p := range r.asked {
		args = append(args, p.Epoch.String(), p.Seq, p.Chain.String())
	}
	keys := []string{i.keys.log, i.keys.head, hash}
	for _, whole := range []bool{false, true} {
		answer, r.err = i.client.Universal().Do(ctx, linesScript.command(whole, keys, args)...).Result()
		if !isNoScript(r.err) {
			break
		}
	}
	var fields []string
	if fields, r.err = list(answer, r.err, len(r.asked)); r.err != nil {
		return
	}
	for k, p := range r.asked {
		r.onLog[p] = fields[k] == "1"
	}
	for k := len(r.asked); k+2 < len(fields); k += 3 {
		r.lines = append(r.lines, parseLine(fields[k], fields[k+1], fields[k+2] == "1"))
	}
	slices.SortFunc(r.lines, func(a, b line) int { return strings.Compare(a.Name, b.Name) })
}
