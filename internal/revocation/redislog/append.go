package redislog

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/sallyport/sallyport/internal/revocation"
)

const (
	maxBatch = 1000 // entries in one call of the script
	maxQueue = 1024 // appends that may wait for their turn
)

// Append revokes: it returns nil only when every request is in the log, on min_replicas replicas
// and, if another issuer is alive, applied there. Every other outcome is an error that wraps
// revocation.ErrUnavailable (503) or ErrInvalidRequest (400); in the former case, unless Redis'
// time is unknown, this issuer denies what was asked from now on and goes on trying to append it.
func (i *Issuer) Append(ctx context.Context,
	reqs []revocation.Request) (revocation.Receipt, error) {
	ctx, cancel := context.WithTimeout(ctx, i.cfg.AppendTimeout)
	defer cancel()
	if len(reqs) == 0 {
		return revocation.Receipt{}, fmt.Errorf("%w: expected at least one", revocation.ErrInvalidRequest)
	}
	// This issuer's own set comes first: whatever becomes of the append, it denies what was asked,
	// and no refresh passes here while the append is under way.
	began := i.instant()
	i.mu.Lock()
	batch, err := i.writer.Begin(reqs, began)
	i.mu.Unlock()
	if err != nil {
		return revocation.Receipt{}, unlessInvalid(err)
	}
	parts := split(batch)
	stored := make([]revocation.Receipt, 0, len(parts))
	for n, part := range parts {
		at, err := i.store(ctx, part)
		if err != nil {
			i.metrics.appends.WithLabelValues("failed").Inc()
			// The parts behind it must come into the log as well: they are missing, and are mended.
			for _, unsent := range parts[n+1:] {
				i.failed(&job{batch: unsent})
			}
			return revocation.Receipt{}, err
		}
		stored = append(stored, receiptFor(at))
	}
	last, err := i.acknowledgeAll(ctx, stored, began)
	if err != nil {
		return revocation.Receipt{}, err
	}
	last.Until = batch.Entries[0].Expires
	for k := range batch.Entries {
		last.Until = min(last.Until, batch.Entries[k].Expires)
	}
	return last, nil
}

// acknowledgeAll acknowledges every part, and returns the receipt of the last.
func (i *Issuer) acknowledgeAll(ctx context.Context, stored []revocation.Receipt,
	began revocation.Instant) (last revocation.Receipt, err error) {
	// Not the last part alone: the log may have gone back between two of them, and then whoever
	// holds the last need not hold the first.
	alone := false
	for _, receipt := range stored {
		if last, err = i.acknowledge(ctx, receipt, began); err != nil {
			return revocation.Receipt{}, err
		}
		alone = alone || last.Alone
	}
	last.Alone = alone
	return last, nil
}

// Live reports whether every one of reqs is in force by a live entry that is found in the log and
// was acknowledged, by whichever issuer: stored on min_replicas replicas and held by every process
// that Append would ask for. The receipt names the last. A kind with a cutoff must give it. What
// only this issuer's own set holds does not count.
func (i *Issuer) Live(reqs []revocation.Request) (revocation.Receipt, bool) {
	// A stale copy may show what the log has lost since.
	now := i.instant()
	if !i.Freshness(now).Fresh {
		return revocation.Receipt{}, false
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	at, found := i.writer.Find(reqs, now)
	return receiptFor(at), found
}

func receiptFor(at revocation.Position) revocation.Receipt {
	return revocation.Receipt{Seq: at.Seq, Epoch: at.Epoch.String(), Chain: at.Chain.String()}
}

func unlessInvalid(err error) error {
	if errors.Is(err, revocation.ErrInvalidRequest) {
		return err
	}
	return fmt.Errorf("%w: %w", revocation.ErrUnavailable, err)
}

func split(b revocation.Batch) []revocation.Batch {
	var parts []revocation.Batch
	for rest := b.Entries; len(rest) > 0; {
		n := min(len(rest), maxBatch)
		parts = append(parts, revocation.Batch{Entries: rest[:n]})
		rest = rest[n:]
	}
	return parts
}

// store has a batch appended. When that fails, the batch may be in the log all the same, or be
// mended into it: then it is found there and confirmed, for as long as ctx allows.
func (i *Issuer) store(ctx context.Context, b revocation.Batch) (revocation.Position, error) {
	j := &job{batch: b}
	at, err := i.submit(ctx, j)
	for err != nil {
		// An error says nothing of whether the entries were stored. When the copy meets them in the
		// log, a confirmation there is the missing answer; appending them again would be a second
		// entry.
		changed := i.applied.next()
		i.mu.Lock()
		at, found := i.writer.Locate(j.batch)
		i.mu.Unlock()
		if found {
			if at, again := i.submit(ctx, &job{confirm: true, at: at}); again == nil {
				return at, nil
			}
		}
		if !sleep(ctx, i.cfg.Heartbeat, changed) {
			return revocation.Position{}, err
		}
	}
	return at, nil
}

// job is an append, or a confirmation, that waits for the appending connection.
type job struct {
	batch   revocation.Batch
	confirm bool
	at      revocation.Position // of a confirmation
	done    chan result         // takes one
}

type result struct {
	at  revocation.Position
	err error
}

// submit hands a job to the appending goroutine and waits for its result.
func (i *Issuer) submit(ctx context.Context, j *job) (revocation.Position, error) {
	j.done = make(chan result, 1)
	select {
	case i.jobs <- j:
	case <-ctx.Done():
		i.failed(j)
		return revocation.Position{}, fmt.Errorf("%w: too many appends are waiting",
			revocation.ErrUnavailable)
	}
	// From here on the job is the appending goroutine's: it tells the writer of the outcome, also
	// when nobody waits any more.
	select {
	case r := <-j.done:
		if r.err != nil {
			return r.at, fmt.Errorf("%w: %w", revocation.ErrUnavailable, r.err)
		}
		return r.at, nil
	case <-ctx.Done():
		return revocation.Position{}, fmt.Errorf("%w: not stored in time", revocation.ErrUnavailable)
	}
}

// attempt is how long one pipeline may take: a stuck connection must leave time for another.
func (i *Issuer) attempt() time.Duration { return i.cfg.AppendTimeout / 3 }

// failed tells the writer that it is not known whether the entries of jobs were stored.
func (i *Issuer) failed(jobs ...*job) {
	i.mu.Lock()
	defer i.mu.Unlock()
	for _, j := range jobs {
		i.writer.Failed(j.batch)
	}
}

// appends runs jobs over one dedicated connection until ctx ends: as many new entries in one call
// as are waiting.
func (i *Issuer) appends(ctx context.Context) {
	a := appender{Issuer: i}
	defer func() { closeConn(a.conn) }()
	var held *job
	for {
		j := held
		held = nil
		if j == nil {
			select {
			case j = <-i.jobs:
			case <-ctx.Done():
				return
			}
		}
		group := []*job{j}
		if j.simple() {
			group, held = i.gather(j)
		}
		if err := a.run(ctx, group); err != nil {
			// After an error nobody knows what the connection still has to answer.
			closeConn(a.conn)
			a.conn = nil
			i.client.Refresh(ctx)
		}
	}
}

// simple reports whether a job may share a call of the script with others. What is appended again
// may not: it is bound to a head.
func (j *job) simple() bool { return !j.confirm && !j.batch.Again }

// gather takes the jobs that are waiting into one group, up to maxBatch entries. The job that did
// not fit is returned.
func (i *Issuer) gather(first *job) (group []*job, rest *job) {
	group = []*job{first}
	n := len(first.batch.Entries)
	for {
		select {
		case j := <-i.jobs:
			if !j.simple() || n+len(j.batch.Entries) > maxBatch {
				return group, j
			}
			group = append(group, j)
			n += len(j.batch.Entries)
		default:
			return group, nil
		}
	}
}
