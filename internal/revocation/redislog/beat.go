package redislog

import (
	"context"
	"errors"
	"fmt"

	"github.com/redis/go-redis/v9"

	"github.com/sallyport/sallyport/internal/redisconn"
	"github.com/sallyport/sallyport/internal/revocation"
)

// beats sends heartbeats over one dedicated connection until ctx ends. Any error costs the
// connection.
func (f *follower) beats(ctx context.Context) {
	var conn *redis.Conn
	defer func() { closeConn(conn) }()
	for ctx.Err() == nil {
		began := f.instant().Mono
		if conn == nil {
			conn = f.connect(ctx)
		}
		if conn != nil && !f.beat(ctx, conn) {
			closeConn(conn)
			conn = nil
		}
		f.forget()
		pause := f.cfg.Heartbeat - (f.instant().Mono - began)
		if conn == nil {
			// A server that refuses must not be asked in a loop.
			sleep(ctx, max(pause, f.cfg.Heartbeat/4), nil)
			continue
		}
		least := f.cfg.Heartbeat / 10
		sleep(ctx, least, nil)
		sleep(ctx, max(pause-least, 0), f.kick)
	}
}

func (f *follower) connect(ctx context.Context) *redis.Conn {
	ctx, cancel := context.WithTimeout(ctx, f.cfg.Settle)
	defer cancel()
	conn, err := f.client.Dedicated(ctx, f.keys.log)
	if err != nil {
		f.heartbeatFailed(err)
		return nil
	}
	f.change(func(revocation.Instant) revocation.Outcome {
		f.machine.Connected()
		return revocation.Outcome{}
	})
	return conn
}

// beat sends one heartbeat and reports whether the connection is still good.
func (f *follower) beat(ctx context.Context, conn *redis.Conn) bool {
	ctx, cancel := context.WithTimeout(ctx, f.cfg.Settle)
	defer cancel()
	var hb revocation.Heartbeat
	f.change(func(now revocation.Instant) revocation.Outcome {
		hb = f.machine.Beat(now)
		return revocation.Outcome{}
	})
	reply, err := f.send(ctx, conn, hb)
	if err != nil {
		f.change(func(revocation.Instant) revocation.Outcome {
			f.machine.BeatFailed(hb)
			return revocation.Outcome{}
		})
		f.heartbeatFailed(err)
		f.client.Refresh(ctx)
		return false
	}
	out := f.change(
		func(now revocation.Instant) revocation.Outcome { return f.machine.Answered(hb, reply, now) })
	outcome := outcomeOf(&reply, &out, f.cfg.MinReplicas)
	f.metrics.heartbeat(outcome, nil)
	f.setCause(f.causeOf(outcome, &reply))
	poke(f.wake)
	if reply.Replicas < f.cfg.MinReplicas {
		// A server that cannot fulfil WAIT may have been deposed, and would go on answering so.
		// Whoever stayed with it could not say in time what the log of the new primary lacks.
		f.client.Refresh(ctx)
		return false
	}
	return true
}

func (f *follower) heartbeatFailed(err error) {
	f.metrics.heartbeat("error", err)
	f.setCause("no heartbeat: " + f.client.Explain(err).Error())
}

// causeOf says in words why an answered heartbeat kept nothing fresh, where somebody has to do
// something about it.
func (f *follower) causeOf(outcome string, reply *revocation.HeartbeatReply) string {
	switch outcome {
	case "replicas_missing":
		return fmt.Sprintf(
			"%d replicas of Redis have the heartbeat, and revocation.min_replicas is %d",
			reply.Replicas, f.cfg.MinReplicas)
	case "head_missing":
		return "the log has no head in Redis; an issuer makes it"
	}
	return ""
}

func outcomeOf(reply *revocation.HeartbeatReply, out *revocation.Outcome, minReplicas int) string {
	switch {
	case out.Counted:
		return "counted"
	case reply.Replicas < minReplicas:
		return "replicas_missing"
	case !reply.HeadFound:
		return "head_missing"
	}
	return "not_counted"
}

// gateCommands are a gate's heartbeat: the few commands a gate may use, for one MULTI.
func (f *follower) gateCommands(hb *revocation.Heartbeat, key string) [][]any {
	mine := fmt.Sprintf("%d-0", hb.Position.Seq)
	return [][]any{
		{"GETRANGE", key, 0, maxLine - 1},
		f.tellLine(hb.Position),
		append([]any{"HMGET", f.keys.head}, headFields...),
		{"TIME"},
		{"XRANGE", f.keys.log, mine, mine},
	}
}

// wroteLine reports whether the commands of a gate's heartbeat have written its line.
func wroteLine(answer any) bool {
	answers, ok := answer.([]any)
	return ok && len(answers) == 5 && answers[1] == "OK"
}

// gateAnswers are the answers to gateCommands, none of which is an error.
func gateAnswers(answer any) ([]any, error) {
	answers, ok := answer.([]any)
	if !ok || len(answers) != 5 {
		return nil, errReply
	}
	for n, a := range answers {
		// What lay where our line is now may have been no string: it is no longer there.
		if err, bad := a.(error); bad && (n > 0 || !isWrongType(err)) {
			return nil, err
		}
	}
	return answers, nil
}

// sendByGate is a gate's heartbeat.
func (g *Gate) sendByGate(ctx context.Context, conn *redis.Conn,
	hb revocation.Heartbeat) (r revocation.HeartbeatReply, err error) {
	place, err := g.places.find(ctx, conn)
	if err != nil {
		return r, fmt.Errorf("redislog: heartbeat: %w", err)
	}
	done, err := redisconn.WriteAndWait(ctx, conn, redisconn.Write{
		Commands: g.gateCommands(&hb, g.keys.gate(place)),
		Wrote:    wroteLine,
		Replicas: g.cfg.MinReplicas, Timeout: g.cfg.Settle / 2,
	})
	// Too few replicas are for the copy to judge.
	if err != nil && !errors.Is(err, redisconn.ErrTooFewReplicas) {
		return r, fmt.Errorf("redislog: heartbeat: %w", err)
	}
	r.Replicas = done.Replicas
	answers, err := gateAnswers(done.Answer)
	if err != nil {
		return r, fmt.Errorf("redislog: heartbeat: %w", err)
	}
	if last, ok := answers[0].(string); ok {
		g.places.beware(last)
	}
	head, err := list(answers[2], nil, len(headFields))
	if err != nil {
		return r, err
	}
	if r.Head, r.HeadFound, err = parseHead(head); err != nil {
		return r, err
	}
	if r.Time, err = redisTime(answers[3]); err != nil {
		return r, err
	}
	r.AtMine, r.AtMineFound, err = chainOf(answers[4])
	return r, err
}

// chainOf finds the chain in the answer to an XRANGE of one entry. One without a readable chain is
// there and nobody's.
func chainOf(v any) (c revocation.Chain, found bool, err error) {
	entries, ok := v.([]any)
	if !ok {
		return c, false, errReply
	}
	if len(entries) == 0 {
		return c, false, nil
	}
	entry, ok := entries[0].([]any)
	if !ok || len(entry) != 2 {
		return c, false, errReply
	}
	fields, err := list(entry[1], nil, 0)
	if err != nil {
		return c, false, err
	}
	for i := 0; i+1 < len(fields); i += 2 {
		if fields[i] == revocation.ChainField {
			if parsed, err := revocation.ParseChain(fields[i+1]); err == nil {
				c = parsed
			}
		}
	}
	return c, true, nil
}

// forget drops what has expired, a little at a time.
func (f *follower) forget() {
	f.mu.Lock()
	now, known := f.copy.Expired(f.instant())
	if w, ok := f.machine.(*revocation.Writer); ok && known {
		w.Forget(now, 1024)
	}
	f.mu.Unlock()
	if known {
		f.set.Sweep(now, max(f.set.Shards()/64, 1))
	}
}

func closeConn(conn *redis.Conn) {
	if conn != nil {
		_ = conn.Close() // there is nothing left to lose on it
	}
}
