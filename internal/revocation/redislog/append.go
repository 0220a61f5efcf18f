package redislog

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/sallyport/sallyport/internal/revocation"
)

const (
	maxBatch = 1000 // entries in one call of the script
	maxQueue = 1024 // appends that may wait for their turn
)

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

// Append revokes: it returns nil only when every request is in the log, on min_replicas replicas and, if another issuer
// is alive, applied there. Every other outcome is an error that wraps ErrUnavailable (503) or
// revocation.ErrInvalidRequest (400); in the former case, unless Redis' time is unknown, this issuer denies what was
// asked from now on and goes on trying to append it.
func (i *Issuer) Append(ctx context.Context, reqs []revocation.Request) (Receipt, error) {
	ctx, cancel := context.WithTimeout(ctx, i.cfg.AppendTimeout)
	defer cancel()
	if len(reqs) == 0 {
		return Receipt{}, fmt.Errorf("%w: expected at least one", revocation.ErrInvalidRequest)
	}
	i.mu.Lock()
	batch, err := i.writer.Begin(reqs, i.instant())
	i.mu.Unlock()
	if err != nil {
		return Receipt{}, unlessInvalid(err)
	}
	var receipt Receipt
	for _, part := range split(batch) {
		at, err := i.store(ctx, part)
		if err != nil {
			i.metrics.appends.WithLabelValues("failed").Inc()
			return Receipt{}, err
		}
		receipt = receiptFor(at)
	}
	return i.acknowledge(ctx, receipt)
}

// Live reports whether every one of reqs is in force by a live entry that is found in the log and was acknowledged, by
// whichever issuer: stored on min_replicas replicas and held by every process that Append would ask for. The receipt
// names the last. A kind with a cutoff must give it. What only this issuer's own set holds does not count.
func (i *Issuer) Live(reqs []revocation.Request) (Receipt, bool) {
	now := i.instant()
	if !i.Freshness(now).Fresh {
		return Receipt{}, false
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	at, found := i.writer.Find(reqs, now)
	return receiptFor(at), found
}

func receiptFor(at revocation.Position) Receipt {
	return Receipt{Seq: at.Seq, Epoch: at.Epoch.String(), Chain: at.Chain.String()}
}

func unlessInvalid(err error) error {
	if errors.Is(err, revocation.ErrInvalidRequest) {
		return err
	}
	return fmt.Errorf("%w: %w", ErrUnavailable, err)
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

// store has a batch appended. When that fails, the batch may be in the log all the same, or be mended into it: then it
// is found there and confirmed, for as long as ctx allows.
func (i *Issuer) store(ctx context.Context, b revocation.Batch) (revocation.Position, error) {
	j := &job{batch: b}
	at, err := i.run(ctx, j)
	for err != nil {
		changed := i.applied.next()
		i.mu.Lock()
		at, found := i.writer.Locate(j.batch)
		i.mu.Unlock()
		if found {
			if at, again := i.run(ctx, &job{confirm: true, at: at}); again == nil {
				return at, nil
			}
		}
		if !sleep(ctx, i.cfg.Heartbeat, changed) {
			return revocation.Position{}, err
		}
	}
	return at, nil
}

// run gives a job to the appending goroutine and waits for its result.
func (i *Issuer) run(ctx context.Context, j *job) (revocation.Position, error) {
	j.done = make(chan result, 1)
	select {
	case i.jobs <- j:
	case <-ctx.Done():
		i.failed(j)
		return revocation.Position{}, fmt.Errorf("%w: too many appends are waiting", ErrUnavailable)
	}
	select {
	case r := <-j.done:
		if r.err != nil {
			return r.at, fmt.Errorf("%w: %w", ErrUnavailable, r.err)
		}
		return r.at, nil
	case <-ctx.Done():
		return revocation.Position{}, fmt.Errorf("%w: not stored in time", ErrUnavailable)
	}
}

func (i *Issuer) failed(jobs ...*job) {
	i.mu.Lock()
	defer i.mu.Unlock()
	for _, j := range jobs {
		i.writer.Failed(j.batch)
	}
}

// appends runs jobs over one dedicated connection until ctx ends: as many new entries in one call as are waiting.
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
		err := a.run(ctx, group)
		if err != nil {
			closeConn(a.conn)
			a.conn = nil
			i.client.Refresh(ctx)
		}
	}
}

// simple jobs may share a call of the script.
func (j *job) simple() bool { return !j.confirm && !j.batch.Again }

// gather takes the jobs that are waiting into one group, up to maxBatch entries. The job that did not fit is returned.
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

// appender is the connection that appends.
type appender struct {
	*Issuer
	conn *redis.Conn
}

var errReplicas = errors.New("redislog: fewer than min_replicas replicas have the write")

// attempt is how long one pipeline may take: a stuck connection must leave time for another.
func (i *Issuer) attempt() time.Duration { return i.cfg.AppendTimeout / 3 }

// run runs one group and tells each job's result. The error is the connection's.
func (a *appender) run(ctx context.Context, group []*job) error {
	ctx, cancel := context.WithTimeout(ctx, a.attempt())
	defer cancel()
	if a.conn == nil {
		conn, err := a.client.Dedicated(ctx, a.keys.log)
		if err != nil {
			a.failed(group...)
			finish(group, result{err: err})
			return err
		}
		a.conn = conn
	}
	if group[0].confirm {
		return a.confirm(ctx, group[0])
	}
	return a.append(ctx, group)
}

func finish(group []*job, r result) {
	for _, j := range group {
		j.done <- r
	}
}

func (a *appender) confirm(ctx context.Context, j *job) error {
	a.mu.Lock()
	p := a.replica.Position()
	a.mu.Unlock()
	if p.Epoch != j.at.Epoch || p.Seq < j.at.Seq {
		finish([]*job{j}, result{err: errMoved})
		return nil
	}
	keys := []string{a.keys.log, a.keys.head, a.keys.issuers}
	args := []any{p.Epoch.String(), p.Seq, p.Chain.String(), a.field, a.line(p)}
	answer, replicas, err := a.writeAndWait(ctx, a.conn, confirmScript, keys, args, a.attempt()*3/4)
	r := result{at: j.at}
	switch {
	case err != nil:
		r.err = err
	case answer != int64(1):
		r.err = errMoved
	case replicas < a.cfg.MinReplicas:
		r.err = errReplicas
	}
	finish([]*job{j}, r)
	return err
}

var errMoved = errors.New("redislog: the log has moved meanwhile")

func randomBits() (string, error) {
	var b [16]byte
	if _, err := rand.Read(b[:]); err != nil {
		return "", fmt.Errorf("redislog: random bits: %w", err)
	}
	return hex.EncodeToString(b[:]), nil
}

// append runs the append script for a group.
func (a *appender) append(ctx context.Context, group []*job) error {
	stored, err := a.call(ctx, group)
	if err == nil && stored.status == "EARLY" {
		a.mu.Lock()
		for _, j := range group {
			j.batch = a.writer.TooEarly(j.batch, stored.time, stored.lifetime, a.instant())
		}
		a.mu.Unlock()
		stored, err = a.call(ctx, group)
	}
	if err == nil && stored.status == "MOVED" {
		stored, err = a.follow(ctx, group[0], stored)
	}
	switch {
	case err != nil:
		a.failed(group...)
		finish(group, result{err: err})
	case stored.status != "OK" || stored.last+1-stored.first != uint64(entries(group)):
		// Another head, or some of what was to be appended again has expired meanwhile: the copy will tell.
		a.failed(group...)
		finish(group, result{err: errMoved})
	default:
		a.tell(group, stored)
	}
	return err
}

// follow appends again what was computed against a head that has moved since, as soon as this issuer's copy has come to
// where it is. New entries wait for that: while there is always one under way, it would never be the turn of those lost.
func (a *appender) follow(ctx context.Context, j *job, s stored) (stored, error) {
	var err error
	for err == nil && s.status == "MOVED" && a.reach(ctx, s) {
		a.mu.Lock()
		b, found := a.writer.Rebase(j.batch)
		a.mu.Unlock()
		if !found || b.Expect == j.batch.Expect {
			return s, nil
		}
		j.batch = b
		s, err = a.call(ctx, []*job{j})
	}
	return s, err
}

// reach waits until the copy has come to where the log's end was. False if it is another log, or ctx has ended.
func (a *appender) reach(ctx context.Context, s stored) bool {
	for {
		changed := a.applied.next()
		a.mu.Lock()
		p := a.replica.Position()
		a.mu.Unlock()
		if p.Epoch != s.epoch || p.Seq >= s.last {
			return p.Epoch == s.epoch
		}
		if !sleep(ctx, a.cfg.Heartbeat, changed) {
			return false
		}
	}
}

func entries(group []*job) (n int) {
	for _, j := range group {
		n += len(j.batch.Entries)
	}
	return n
}

// tell notes where each job's entries are. They are in the log, whatever WAIT said.
func (a *appender) tell(group []*job, stored stored) {
	var err error
	if stored.replicas < a.cfg.MinReplicas {
		err = errReplicas
	}
	a.mu.Lock()
	next, before := stored.first, stored.before
	for _, j := range group {
		j.at = a.writer.Stored(j.batch, stored.epoch, next, before)
		next, before = j.at.Seq+1, j.at.Chain
	}
	a.mu.Unlock()
	for _, j := range group {
		j.done <- result{at: j.at, err: err}
	}
}

type stored struct {
	status      string
	epoch       revocation.Epoch
	first, last uint64
	before      revocation.Chain // the chain at the entry before first
	time        int64
	lifetime    time.Duration
	replicas    int
}

func (a *appender) call(ctx context.Context, group []*job) (s stored, err error) {
	random, err := randomBits()
	if err != nil {
		return s, err
	}
	b := group[0].batch
	mode, mending := "new", time.Duration(0)
	if b.Again {
		mode = "again"
	}
	if b.More {
		mending = a.cfg.Settle
	}
	args := []any{
		random, a.cfg.MaxTokenLifetime.Milliseconds(), a.cfg.ClockSkew.Milliseconds(), a.cfg.MaxSessionLifetime.Milliseconds(),
		mode, b.Expect.Epoch.String(), b.Expect.Seq, b.Expect.Chain.String(), mending.Milliseconds(),
	}
	for _, j := range group {
		for k := range j.batch.Entries {
			args = append(args, j.batch.Entries[k].Body())
		}
	}
	keys := []string{a.keys.log, a.keys.head, a.keys.cutoffs}
	answer, replicas, err := a.writeAndWait(ctx, a.conn, appendScript, keys, args, a.attempt()*3/4)
	if err != nil {
		return s, fmt.Errorf("redislog: append: %w", err)
	}
	return parseStored(answer, replicas)
}

func parseStored(answer any, replicas int) (s stored, err error) {
	f, err := list(answer, nil, 7)
	if err != nil {
		return s, err
	}
	s.status, s.replicas = f[0], replicas
	if s.epoch, err = revocation.ParseEpoch(f[1]); err != nil {
		return s, err
	}
	if s.first, err = strconv.ParseUint(f[2], 10, 53); err != nil {
		return s, errReply
	}
	if s.last, err = parseSeq(f[3]); err != nil {
		return s, err
	}
	if s.before, err = revocation.ParseChain(f[4]); err != nil {
		return s, err
	}
	if s.time, err = millis(f[5]); err != nil {
		return s, err
	}
	lifetime, err := millis(f[6])
	s.lifetime = time.Duration(lifetime) * time.Millisecond
	return s, err
}
