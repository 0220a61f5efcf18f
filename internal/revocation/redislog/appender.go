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

	"github.com/sallyport/sallyport/internal/redisconn"
	"github.com/sallyport/sallyport/internal/revocation"
)

// appender runs jobs over the connection that appends; append.go has what makes the jobs.
type appender struct {
	*Issuer
	conn *redis.Conn
}

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

// finish tells the same result of all jobs of a group.
func finish(group []*job, r result) {
	for _, j := range group {
		j.done <- r
	}
}

// confirm finds out whether entries that the copy has met in the log at a place are on enough
// replicas: by a write of this issuer's line that the script makes only on the log that goes
// through the copy's position, and so through that place.
func (a *appender) confirm(ctx context.Context, j *job) error {
	p := a.position()
	if p.Epoch != j.at.Epoch || p.Seq < j.at.Seq {
		finish([]*job{j}, result{err: errMoved})
		return nil
	}
	_, err := redisconn.WriteAndWait(ctx, a.conn, redisconn.Write{
		Script: confirmScript, Keys: []string{a.keys.log, a.keys.head, a.keys.issuers},
		Args:     []any{p.Epoch.String(), p.Seq, p.Chain.String(), a.field, a.line(p)},
		Wrote:    func(answer any) bool { return answer == int64(1) },
		Replicas: a.cfg.MinReplicas, Timeout: a.attempt() * 3 / 4,
	})
	if errors.Is(err, redisconn.ErrNothingWritten) {
		// The script met another log. That is no fault of the connection.
		finish([]*job{j}, result{at: j.at, err: errMoved})
		return nil
	}
	// Any other error costs the connection, too few replicas as well: as with a heartbeat, another
	// server may be the primary now.
	finish([]*job{j}, result{at: j.at, err: err})
	return err
}

var errMoved = errors.New("redislog: the log has moved meanwhile")

// append runs the append script for a group.
func (a *appender) append(ctx context.Context, group []*job) error {
	stored, err := a.call(ctx, group)
	if err == nil && stored.status == "EARLY" {
		// Redis' clock, or the head's max_token_lifetime, is ahead of what this issuer knew: the
		// entries would expire before the tokens they speak of. Once, with a later life.
		a.mu.Lock()
		for _, j := range group {
			j.batch = a.writer.TooEarly(j.batch, stored.time, stored.lifetime)
		}
		a.mu.Unlock()
		stored, err = a.call(ctx, group)
	}
	if err == nil && stored.status == "MOVED" {
		stored, err = a.appendMoved(ctx, group[0], stored)
	}
	switch {
	case err != nil:
		a.failed(group...)
		finish(group, result{err: err})
	case stored.status != "OK" || stored.last+1-stored.first != uint64(entries(group)):
		// The head is another one: the copy will show what of these entries the log has.
		a.failed(group...)
		finish(group, result{err: errMoved})
	default:
		a.tell(group, stored)
		return stored.unsafe
	}
	return err
}

// appendMoved appends again what was computed against a head that has moved since, as soon as this
// issuer's copy has come to where it is. New entries wait for that: if they moved the head each
// time, those that the log has lost would never get in.
func (a *appender) appendMoved(ctx context.Context, j *job,
	s appendAnswer) (appendAnswer, error) {
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

// reach waits until the copy has come to where the log's end was. It reports whether it has: not if
// it is another log, or ctx has ended.
func (a *appender) reach(ctx context.Context, s appendAnswer) bool {
	for {
		changed := a.applied.next()
		p := a.position()
		if p.Epoch != s.epoch || p.Seq >= s.last {
			return p.Epoch == s.epoch
		}
		if !sleep(ctx, a.cfg.Heartbeat, changed) {
			return false
		}
	}
}

// entries returns how many entries a group has.
func entries(group []*job) (n int) {
	for _, j := range group {
		n += len(j.batch.Entries)
	}
	return n
}

// tell tells the writer and the jobs where the entries are. They are in the log, whatever WAIT
// said: too few replicas are the jobs' error, and the entries are not appended a second time.
func (a *appender) tell(group []*job, stored appendAnswer) {
	a.mu.Lock()
	next, before := stored.first, stored.before
	for _, j := range group {
		j.at = a.writer.Stored(j.batch, stored.epoch, next, before)
		next, before = j.at.Seq+1, j.at.Chain
	}
	a.mu.Unlock()
	for _, j := range group {
		j.done <- result{at: j.at, err: stored.unsafe}
	}
}

// appendAnswer is what the append script answers. Only with OK has it stored anything.
type appendAnswer struct {
	status      string // OK, EARLY or MOVED
	epoch       revocation.Epoch
	first, last uint64
	before      revocation.Chain // the chain at the entry before first
	time        int64
	lifetime    time.Duration
	replicas    int
	unsafe      error // the entries are in the log, and a fail-over may lose them; nil if not
}

// call runs the append script once.
func (a *appender) call(ctx context.Context, group []*job) (s appendAnswer, err error) {
	b := group[0].batch
	mode, mending := "new", time.Duration(0)
	if b.Again {
		mode = "again"
	}
	if b.More {
		// More batches follow: no gate may take the log for mended before the next heartbeat renews
		// the mark.
		mending = a.cfg.Settle
	}
	a.mu.Lock()
	times := a.writer.ScriptTimes(a.instant())
	a.mu.Unlock()
	args := []any{
		randomBits(),
		a.cfg.covered().Milliseconds(),
		a.cfg.ClockSkew.Milliseconds(),
		a.cfg.MaxSessionLifetime.Milliseconds(),
		mode,
		b.Expect.Epoch.String(),
		b.Expect.Seq,
		b.Expect.Chain.String(),
		mending.Milliseconds(),
		times.Expired,
		times.Redis,
	}
	for _, j := range group {
		for k := range j.batch.Entries {
			args = append(args, j.batch.Entries[k].Body())
		}
	}
	keys := []string{a.keys.log, a.keys.head, a.keys.cutoffs}
	// A fourth key, the third once more, tells the script to remember the ends of sessions beside the
	// log. In a cluster a session's record may lie on another shard, which can lose an end that the
	// log still has; elsewhere both lie on one server and are lost together.
	if a.client.Config().Mode == redisconn.ModeCluster {
		keys = append(keys, a.keys.cutoffs)
	}
	w := redisconn.Write{
		Script: appendScript, Keys: keys, Args: args,
		Wrote: func(answer any) bool {
			s, err := parseAppendAnswer(answer)
			return err == nil && s.status == "OK"
		},
		Replicas: a.cfg.MinReplicas, Timeout: a.attempt() * 3 / 4,
	}
	done, err := redisconn.WriteAndWait(ctx, a.conn, w)
	var unsafe error
	switch {
	case err == nil:
	case errors.Is(err, redisconn.ErrTooFewReplicas):
		unsafe = fmt.Errorf("redislog: append: %w", err)
	case errors.Is(err, redisconn.ErrNothingWritten):
		// EARLY and MOVED have appended nothing and acknowledge nothing.
	default:
		return s, fmt.Errorf("redislog: append: %w", err)
	}
	s, err = parseAppendAnswer(done.Answer)
	s.replicas, s.unsafe = done.Replicas, unsafe
	return s, err
}

func parseAppendAnswer(answer any) (s appendAnswer, err error) {
	f, err := list(answer, 7)
	if err != nil {
		return s, err
	}
	s.status = f[0]
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

// randomBits returns the 128 bits that an epoch or an era would be named by.
func randomBits() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails: crypto/rand ends the process instead
	return hex.EncodeToString(b[:])
}
