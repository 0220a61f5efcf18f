package redislog

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/sallyport/sallyport/internal/redisconn"
	"github.com/sallyport/sallyport/internal/revocation"
)

// Gate reads the revocation log: it has a complete copy in memory, and knows how old that is.
type Gate struct {
	*follower
	keeper *keeper // nil without a snapshot file
	places *places
}

// NewGate makes a gate; Run makes it work. It reads the snapshot file, if it is to have one.
func NewGate(client *redisconn.Client, cfg Config, o Options) (*Gate, error) {
	f, err := newFollower(client, cfg, o)
	if err != nil {
		return nil, err
	}
	keeper, s, err := openKeeper(f)
	if err != nil {
		return nil, err
	}
	c := revocation.NewCopy(cfg.copy(), f.set)
	if s != nil {
		c.HoldsFor(time.UnixMilli(s.Set.Last()).Sub(f.instant().Wall))
		c.Restore(s.Position)
	}
	g := &Gate{f, keeper, &places{follower: f}}
	f.field, f.send, f.lineCommand = f.o.Name, g.sendByGate, g.places.lineCommand
	return g, f.setCopy(c, nil)
}

// Run keeps the copy complete and fresh until ctx ends, through whatever happens to Redis.
func (g *Gate) Run(ctx context.Context) error {
	parts := []func(context.Context){g.beats, g.read}
	if g.keeper != nil {
		g.keeper.tellNoted()
		parts = append(parts, g.keeper.run)
	}
	if err := runGuarded(ctx, parts...); err != nil {
		return err
	}
	g.leave(context.WithoutCancel(ctx))
	return nil
}

// Changed returns a channel that is closed with the next change of the copy, once it is in force.
// Take it before looking at what may have changed.
func (g *Gate) Changed() <-chan struct{} { return g.applied.next() }

// leave writes a last line, by which this gate answers nobody any more, so that logouts that wait
// for all gates do not wait for it. It does so only when that is known: a gate that still answers
// must be counted.
func (g *Gate) leave(ctx context.Context) {
	// Without a line so far nobody counts this gate, and it may have no place to write to.
	if g.o.Stopped == nil || !g.o.Stopped() || !g.wrote.Load() {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, g.cfg.Settle)
	defer cancel()
	d := g.details()
	d.Ready, d.Left = false, true
	command := g.places.lineCommand(formatLine(g.position(), g.counter.Add(1), g.id, d))
	if err := g.client.Universal().Do(ctx, command...).Err(); err != nil {
		g.log.Warn(
			"this gate could not leave the log: it counts as behind until its line is old",
			"error", oneLine(err.Error()))
	}
}

// sendByGate sends a gate's heartbeat: it writes the gate's line and reads what the log is now.
// That it writes is the point: a primary that was deposed cannot have replicas take the write in.
func (g *Gate) sendByGate(ctx context.Context, conn *redis.Conn,
	hb revocation.Heartbeat) (revocation.HeartbeatReply, error) {
	r, _, err := g.exchange(ctx, conn, hb, nil)
	return r, err
}

// exchange sends a heartbeat that also asks for the entries at some more places. It returns Redis'
// answers, which are whole unless there is an error.
func (g *Gate) exchange(ctx context.Context, conn *redis.Conn, hb revocation.Heartbeat,
	more []uint64) (r revocation.HeartbeatReply, answers []any, err error) {
	place, err := g.places.find(ctx, conn)
	if err != nil {
		return r, nil, fmt.Errorf("redislog: heartbeat: %w", err)
	}
	commands := g.commands(&hb, g.keys.gate(place), more)
	done, err := redisconn.WriteAndWait(ctx, conn, redisconn.Write{
		Commands: commands,
		Wrote:    wroteLine,
		Replicas: g.cfg.MinReplicas, Timeout: g.cfg.Settle / 2,
	})
	// With too few replicas the copy is told of the heartbeat all the same, and does not count it.
	if err != nil && !errors.Is(err, redisconn.ErrTooFewReplicas) {
		return r, nil, fmt.Errorf("redislog: heartbeat: %w", err)
	}
	r.Replicas = done.Replicas
	if answers, err = answersOf(done.Answer, len(commands)); err != nil {
		return r, nil, fmt.Errorf("redislog: heartbeat: %w", err)
	}
	if last, ok := answers[0].(string); ok {
		g.places.checkRival(last)
	}
	head, err := list(answers[2], len(headFields))
	if err != nil {
		return r, nil, err
	}
	if r.Head, r.HeadFound, err = parseHead(head); err != nil {
		return r, nil, err
	}
	if r.Time, err = redisTime(answers[3]); err != nil {
		return r, nil, err
	}
	r.AtMine, r.AtMineFound, err = chainOf(answers[4])
	return r, answers, err
}

// commands are a gate's heartbeat, of the few commands that a gate's Redis user may run. They run
// in one MULTI, so that head, time and entries are of one moment, after the write.
func (g *Gate) commands(hb *revocation.Heartbeat, key string, more []uint64) [][]any {
	all := [][]any{
		{"GETRANGE", key, 0, maxLine - 1},
		g.commandAt(hb.Position),
		append([]any{"HMGET", g.keys.head}, headFields...),
		{"TIME"},
	}
	for _, seq := range append([]uint64{hb.Position.Seq}, more...) {
		id := fmt.Sprintf("%d-0", seq)
		all = append(all, []any{"XRANGE", g.keys.log, id, id})
	}
	return all
}

// wroteLine reports whether the second of the commands of a heartbeat, which writes, has written.
func wroteLine(answer any) bool {
	answers, ok := answer.([]any)
	return ok && len(answers) >= 5 && answers[1] == "OK"
}

// answersOf returns the answers to the n commands of a heartbeat, none of which is an error.
func answersOf(answer any, n int) ([]any, error) {
	answers, ok := answer.([]any)
	if !ok || len(answers) != n {
		return nil, errReply
	}
	for n, a := range answers {
		// The first one reads what lay where our line is now. If that was no string, somebody else
		// has put it there, and the second command has replaced it.
		if err, bad := a.(error); bad && (n > 0 || !isWrongType(err)) {
			return nil, err
		}
	}
	return answers, nil
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
	fields, err := list(entry[1], 0)
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
