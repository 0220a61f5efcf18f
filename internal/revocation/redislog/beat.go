package redislog

import (
	"context"
	"fmt"

	"github.com/redis/go-redis/v9"

	"github.com/sallyport/sallyport/internal/revocation"
)

// beats sends heartbeats over one dedicated connection until ctx ends. After any error it takes a
// new one, whose heartbeats do not count until it has settled.
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
		// A heartbeat that is asked for comes early, and never at once: a change that asks for the
		// next one at every answer would have them run in a loop.
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
		// Before the first heartbeat over it: an answer to an earlier one may still be on its way,
		// and must not count for a connection that may lead to another server.
		f.copy.Connected()
		return revocation.Outcome{}
	})
	return conn
}

// beat sends one heartbeat and reports whether the connection is still good.
func (f *follower) beat(ctx context.Context, conn *redis.Conn) bool {
	// A heartbeat that takes longer has settling start anew, whatever it is answered.
	ctx, cancel := context.WithTimeout(ctx, f.cfg.Settle)
	defer cancel()
	var hb revocation.Heartbeat
	f.change(func(now revocation.Instant) revocation.Outcome {
		hb = f.events.Beat(now)
		return revocation.Outcome{}
	})
	reply, err := f.send(ctx, conn, hb)
	if err != nil {
		// READONLY, MOVED, LOADING or no answer: this server may be the primary no longer.
		f.change(func(revocation.Instant) revocation.Outcome {
			f.copy.BeatFailed(hb)
			return revocation.Outcome{}
		})
		f.heartbeatFailed(err)
		f.client.Refresh(ctx)
		return false
	}
	out := f.change(
		func(now revocation.Instant) revocation.Outcome { return f.events.Answered(hb, reply, now) })
	outcome := outcomeOf(&reply, &out, f.cfg.MinReplicas)
	f.metrics.heartbeat(outcome, nil)
	f.setCause(f.causeOf(outcome, &reply))
	poke(f.wake)
	if reply.Replicas < f.cfg.MinReplicas {
		// A server that cannot fulfil WAIT may have been deposed, and would go on answering so. An
		// issuer that stayed with it would learn too late what the new primary's log lacks.
		f.client.Refresh(ctx)
		return false
	}
	return true
}

func (f *follower) heartbeatFailed(err error) {
	f.metrics.heartbeat("error", err)
	f.setCause("no heartbeat: " + f.client.Explain(err).Error())
}

// causeOf returns in words why an answered heartbeat kept nothing fresh, if somebody has to do
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

// forget drops what has expired, a little at a time: the lock is held, and requests are checked,
// meanwhile.
func (f *follower) forget() {
	f.mu.Lock()
	now, known := f.copy.Expired(f.instant())
	if f.writer != nil && known {
		f.writer.Forget(now, 1024)
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
