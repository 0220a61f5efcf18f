package redislog

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/sallyport/sallyport/internal/redisconn"
	"github.com/sallyport/sallyport/internal/revocation"
)

// Relay follows the log as a gate does, for gates that ask it instead of Redis. Whoever serves them
// (package relay) gets from it what Redis would have answered:
//
//   - A gate's heartbeat is a part of the relay's next one, which is sent after it has come: one
//     write and one WAIT for all gates that have asked by then. So it confirms what it would have
//     confirmed at Redis, and no gate is fresh by anything that the relay knew before.
//   - Entries that are appended come out of what the relay has applied. Nothing rests on them: a
//     gate checks their chain, and only a heartbeat makes sure that none is missing.
//   - Pages of a load, and what the relay does not have, come from Redis.
//   - Gates' lines stay here. The relay's own says how far all of them are.
type Relay struct {
	*Gate
	reads sharedReads

	mu         sync.Mutex // guards what follows
	asking     []*question
	conn       *redis.Conn // the heartbeats' connection, and its number
	connection uint64
	lines      map[int]heldLine
	seen       revocation.Lines
	stood      bool          // it has made a line
	stoodAt    time.Duration // the first one, by the monotonic clock
}

// question is a gate's heartbeat that waits for an answer.
type question struct {
	seq    uint64
	answer chan Beat // of one place
	err    error     // set before answer is closed
}

// Beat is what Redis has answered to a heartbeat, as go-redis has it.
type Beat struct {
	Head, Time, Entry any
	Replicas          int
	// Connection differs for each connection to Redis: heartbeats settle on one of them alone, so
	// no two may come over one connection of a gate.
	Connection uint64
}

// heldLine is a gate's line, and when it was written.
type heldLine struct {
	text string
	at   time.Duration
}

// maxSeqs is how many places a heartbeat asks for beside the relay's own. Gates are at few
// different ones; those that find no place here have the next heartbeat.
const maxSeqs = 64

// NewRelay makes a relay; Run makes it work. It keeps no snapshot, and it never leaves the log: its
// gates answer on when it has ended.
func NewRelay(client *redisconn.Client, cfg Config, o Options) (*Relay, error) {
	o.Snapshot, o.Stopped = SnapshotConfig{}, nil
	g, err := NewGate(client, cfg, o)
	if err != nil {
		return nil, err
	}
	r := &Relay{Gate: g, reads: newSharedReads(), lines: map[int]heldLine{}}
	g.history = &history{key: g.keys.log}
	g.send, g.stands = r.sendByRelay, r.standing
	return r, nil
}

// Beat has the relay's next heartbeat ask for the entry at a place as well, and returns what it was
// answered. An error means that this heartbeat of the gate's has failed.
func (r *Relay) Beat(ctx context.Context, seq uint64) (Beat, error) {
	q := &question{seq: seq, answer: make(chan Beat, 1)}
	r.mu.Lock()
	r.asking = append(r.asking, q)
	r.mu.Unlock()
	poke(r.kick)
	select {
	case b, ok := <-q.answer:
		if !ok {
			return b, q.err
		}
		return b, nil
	case <-ctx.Done():
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.asking = slices.DeleteFunc(r.asking, func(other *question) bool { return other == q })
	return Beat{}, ctx.Err()
}

// sendByRelay sends a heartbeat for the relay itself and for all gates that have asked by now.
func (r *Relay) sendByRelay(ctx context.Context, conn *redis.Conn,
	hb revocation.Heartbeat) (revocation.HeartbeatReply, error) {
	asked, seqs, connection := r.take(conn)
	reply, answers, err := r.exchange(ctx, conn, hb, seqs)
	for _, q := range asked {
		if err != nil {
			q.err = err
			close(q.answer)
			continue
		}
		q.answer <- Beat{
			Head: answers[2], Time: answers[3], Entry: answers[5+slices.Index(seqs, q.seq)],
			Replicas: reply.Replicas, Connection: connection,
		}
	}
	return reply, err
}

// take returns the heartbeats that have come by now, with their places, each once.
func (r *Relay) take(conn *redis.Conn) (asked []*question, seqs []uint64, connection uint64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if conn != r.conn {
		r.conn = conn
		r.connection++
	}
	var later []*question
	for _, q := range r.asking {
		switch {
		case slices.Contains(seqs, q.seq):
		case len(seqs) < maxSeqs:
			seqs = append(seqs, q.seq)
		default:
			later = append(later, q)
			continue
		}
		asked = append(asked, q)
	}
	if r.asking = later; len(later) > 0 {
		poke(r.kick)
	}
	return asked, seqs, r.connection
}

// Tail waits until there are entries behind a place, or ctx ends, and returns up to count of them
// as XREAD answers, in RESP2; nil if none have come.
func (r *Relay) Tail(ctx context.Context, seq uint64, count int) ([]byte, error) {
	for asked := false; ; {
		changed := r.Changed()
		answer, known := r.history.after(seq, count)
		if answer != nil {
			return answer, nil
		}
		// Before what the relay has, ahead of it, or on another log: Redis knows. Once is enough,
		// since a gate asks again.
		if !known && !asked {
			asked = true
			answer, err := r.raw(ctx, "XREAD", "COUNT", count, "STREAMS", r.keys.log, idOf(seq))
			if errors.Is(err, errNoRead) {
				return nil, nil // a gate asks again
			}
			if err != nil || len(answer) > 0 && answer[0] == '*' && answer[1] != '-' {
				return answer, err
			}
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return nil, nil
		}
	}
}

// Page reads up to count entries of the log from a place on, as XRANGE answers, in RESP2.
func (r *Relay) Page(ctx context.Context, from uint64, count int) ([]byte, error) {
	return r.raw(ctx, "XRANGE", r.keys.log, idOf(from), "+", "COUNT", count)
}

func idOf(seq uint64) string { return fmt.Sprintf("%d-0", seq) }

// raw reads from Redis for a gate. What it reads is checked by the gate, against its heartbeats, so
// it may come over any connection.
func (r *Relay) raw(ctx context.Context, command ...any) ([]byte, error) {
	return r.reads.do(ctx, fmt.Sprintln(command...), func() ([]byte, error) {
		cmd := redis.NewRawCmd(ctx, command...)
		if err := r.client.Universal().Process(ctx, cmd); err != nil && err != redis.Nil {
			return nil, fmt.Errorf("redislog: reading for a gate: %w", err)
		}
		return cmd.Val(), nil
	})
}

// Line returns the gates' line of a number; "" if there is none.
func (r *Relay) Line(n int) string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.held(n).text
}

func (r *Relay) held(n int) heldLine {
	l := r.lines[n]
	if l.text != "" && r.instant().Mono-l.at > lineLife {
		delete(r.lines, n)
		return heldLine{}
	}
	return l
}

// SetLine keeps a gate's line under a number, of those up to max_gates, and reports whether it did:
// with free it does so only where there is none.
func (r *Relay) SetLine(n int, text string, free bool) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if n < 1 || n > r.cfg.MaxGates || len(text) > maxLine || free && r.held(n).text != "" {
		return false
	}
	r.lines[n] = heldLine{text, r.instant().Mono}
	poke(r.kick) // logouts that wait for all gates wait for it
	return true
}

// standing returns the position that the relay's line is to say: the newest one that the relay and
// all gates below it that may still answer somebody have applied; none if that is not known.
//
// All of them lie on one history, the relay's own, by their chains. So if the log as it is has the
// place that the line says, it has, up to there, what each of them has applied.
func (r *Relay) standing(revocation.Position) revocation.Position {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := r.instant()
	if !r.stood {
		r.stood, r.stoodAt = true, now.Mono
	}
	lines, own := r.observe(now)
	oldest := r.cfg.MaxStaleness + r.cfg.Settle
	// Gates that asked the relay in its former life may answer for as long, and are not known.
	if own.Seq == 0 || now.Mono-r.stoodAt <= oldest {
		return revocation.Position{}
	}
	places := []revocation.Position{own}
	for k := range lines {
		if lines[k].OnLog && lines[k].Position.Seq < own.Seq {
			places = append(places, lines[k].Position)
		}
	}
	slices.SortFunc(places, func(a, b revocation.Position) int { return cmp.Compare(b.Seq, a.Seq) })
	for _, at := range slices.Compact(places) {
		if applied, total, _ := r.seen.Applied(lines, at, true, oldest, now); applied == total {
			return at
		}
	}
	return revocation.Position{}
}

// observe looks at the gates' lines, and returns them and how far the relay itself is. r.mu is held.
func (r *Relay) observe(now revocation.Instant) (lines []revocation.Line,
	own revocation.Position) {
	for n := range r.lines {
		if held := r.held(n); held.text != "" {
			lines = append(lines, parseGateLine(n, held.text, false).Line)
		}
	}
	own = r.history.judge(lines)
	r.seen.Observe(lines, now)
	return lines, own
}

// Gates returns how many gates below may still answer somebody.
func (r *Relay) Gates() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := r.instant()
	lines, _ := r.observe(now)
	_, total, _ := r.seen.Applied(lines, revocation.Position{}, false,
		r.cfg.MaxStaleness+r.cfg.Settle, now)
	return total
}

// Names of what gates ask for, and the bounds of that.
type Names struct {
	Log, Head, Lines string // keys; a line's is Lines and its number
	HeadFields       []string
	MaxLine          int // bytes
	LineLife         time.Duration
	Page             int // most entries in one read
}

// Names returns what gates on this log ask for.
func (r *Relay) Names() Names {
	n := Names{
		Log: r.keys.log, Head: r.keys.head, Lines: r.keys.gates,
		MaxLine: maxLine, LineLife: lineLife, Page: pageSize,
	}
	for _, f := range headFields {
		n.HeadFields = append(n.HeadFields, f.(string))
	}
	return n
}

// Config returns the relay's settings.
func (r *Relay) Config() Config { return r.cfg }
