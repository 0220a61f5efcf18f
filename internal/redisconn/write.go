package redisconn

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/redis/go-redis/v9"
)

// Write is something to be written that counts once enough replicas have it.
type Write struct {
	Script   *redis.Script // is run with Keys and Args; nil: Commands are run, in one MULTI
	Keys     []string
	Args     []any
	Commands [][]any

	// Wrote reports whether an answer shows that something was written, whatever was found there
	// before. Without it, and by every answer for which it is false, nothing was.
	Wrote    func(answer any) bool
	Replicas int           // how many replicas must have it
	Timeout  time.Duration // how long WAIT waits for them, at least a millisecond
}

// Written is what a Write was answered.
type Written struct {
	Answer   any // a script's answer, or a []any with one for each of the commands
	Replicas int // how many replicas have it, as WAIT says
}

// The errors of a Write that was answered: the Written beside them is what Redis said, and the
// caller judges what it may still be used for. After any other error nothing is known, not even
// whether anything was written.
var (
	// ErrTooFewReplicas means that not enough replicas answered WAIT: what was written may be lost
	// at a fail-over, or this server may have been deposed already. It is looked for first, so
	// the answer may show no write either.
	ErrTooFewReplicas = errors.New("redisconn: too few replicas have the write")
	// ErrNothingWritten means that enough replicas follow, but the answer does not show that
	// anything was written, so that WAIT says nothing about what was read either. Such an answer
	// may be used to refuse something, never to grant it.
	ErrNothingWritten = errors.New("redisconn: the answer does not show that anything was written")
)

// WriteAndWait writes on a connection to a primary and waits until enough replicas have it. It
// returns no error only when what the answer says would outlive the primary. Whatever is to be
// acknowledged is written here, by this one rule:
//
// WAIT tells how many replicas have the last write of the connection that it comes over. From Redis
// 7.2 on, and in Valkey, it waits for nothing else. Behind a script that has only read, or on
// another connection than the write's, it speaks of some older write, or of none, and answers at
// once that all is well. So it proves something only when
//
//   - write and WAIT are one pipeline on one connection, which nobody repeats on another one;
//   - the answer shows that this very call wrote, which then covers all that it read, too: a script
//     that has nothing to write must write a field all the same. Write.Wrote says which answers
//     show it, so that nobody forgets to ask;
//   - WAIT stands outside MULTI, where it does not wait;
//   - the number that WAIT answers is compared: it answers in time, met or not.
func WriteAndWait(ctx context.Context, conn *redis.Conn, w Write) (Written, error) {
	outcomes := make([]outcome, 1)
	writeAll(ctx, conn, []*Write{&w}, outcomes)
	return outcomes[0].written, outcomes[0].err
}

// outcome is what became of one Write.
type outcome struct {
	written Written
	err     error
}

// writeAll is WriteAndWait for several writes, which have nothing to do with each other: one WAIT
// behind all of them. Each is judged by its own answer.
func writeAll(ctx context.Context, conn *redis.Conn, writes []*Write, outcomes []outcome) {
	send(ctx, conn, writes, outcomes, (*Write).queue)
	var forgotten []*Write
	var places []int
	for i, o := range outcomes {
		// Redis does not know the script and has done nothing; the WAIT behind it spoke of other
		// writes. Both are sent again, over the same connection.
		if o.err != nil && redis.HasErrorPrefix(o.err, "NOSCRIPT") {
			forgotten, places = append(forgotten, writes[i]), append(places, i)
		}
	}
	if len(forgotten) == 0 {
		return
	}
	again := make([]outcome, len(forgotten))
	send(ctx, conn, forgotten, again, (*Write).whole)
	for k, i := range places {
		outcomes[i] = again[k]
	}
}

// queue puts a write into a pipeline, its script by its hash.
func (w *Write) queue(ctx context.Context, pipe redis.Pipeliner) *redis.Cmd {
	if w.Script == nil {
		return w.transaction(ctx, pipe)
	}
	return w.Script.EvalSha(ctx, pipe, w.Keys, w.Args...)
}

func (w *Write) whole(ctx context.Context, pipe redis.Pipeliner) *redis.Cmd {
	return w.Script.Eval(ctx, pipe, w.Keys, w.Args...)
}

func (w *Write) transaction(ctx context.Context, pipe redis.Pipeliner) *redis.Cmd {
	pipe.Do(ctx, "MULTI")
	for _, c := range w.Commands {
		pipe.Do(ctx, c...)
	}
	return pipe.Do(ctx, "EXEC")
}

// send sends what queue puts into a pipeline and the WAIT for it, and judges the answers.
func send(ctx context.Context, conn *redis.Conn, writes []*Write, outcomes []outcome,
	queue func(*Write, context.Context, redis.Pipeliner) *redis.Cmd) {
	pipe := conn.Pipeline()
	answers := make([]*redis.Cmd, len(writes))
	wanted, timeout := 0, time.Millisecond // WAIT with a time of 0 would wait for ever
	for i, w := range writes {
		answers[i] = queue(w, ctx, pipe)
		wanted, timeout = max(wanted, w.Replicas), max(timeout, w.Timeout)
	}
	waited := pipe.Do(ctx, "WAIT", wanted, timeout.Milliseconds())
	commands, err := pipe.Exec(ctx)
	err = ofAll(err, commands)
	replicas, unread := waited.Int()
	if err == nil && unread != nil {
		err = fmt.Errorf("redisconn: WAIT: %w", unread)
	}
	for i, w := range writes {
		if outcomes[i] = (outcome{err: err}); err == nil {
			outcomes[i] = w.judge(answers[i], replicas)
		}
	}
}

// judge judges the answer to one write, which so many replicas have.
func (w *Write) judge(answer *redis.Cmd, replicas int) outcome {
	if err := answer.Err(); err != nil {
		return outcome{err: err}
	}
	done := Written{answer.Val(), replicas}
	switch {
	case replicas < w.Replicas:
		return outcome{done, fmt.Errorf("%w: expected %d, got %d", ErrTooFewReplicas, w.Replicas,
			replicas)}
	case w.Wrote == nil || !w.Wrote(done.Answer):
		return outcome{done, nothingWritten(done.Answer)}
	}
	return outcome{written: done}
}

// nothingWritten returns ErrNothingWritten, with the error of a command of a MULTI if one has
// failed.
func nothingWritten(answer any) error {
	answers, _ := answer.([]any)
	for _, a := range answers {
		if err, failed := a.(error); failed {
			return fmt.Errorf("%w: %w", ErrNothingWritten, err)
		}
	}
	return ErrNothingWritten
}
