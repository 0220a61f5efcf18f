package redislog

import (
	"context"
	"errors"
	"fmt"

	"github.com/redis/go-redis/v9"

	"github.com/sallyport/sallyport/internal/redisconn"
	"github.com/sallyport/sallyport/internal/revocation"
)

// Gate is a reader of the revocation log: a complete copy in memory, and the knowledge of how old
// it is.
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
	r := revocation.NewCopy(cfg.copy(), f.set)
	if s != nil {
		r.Restore(s.Position)
	}
	g := &Gate{f, keeper, &places{follower: f}}
	f.field, f.send, f.tell = f.o.Name, g.sendByGate, g.places.tell
	return g, f.adopt(r, nil)
}

// Run keeps the copy complete and fresh until ctx ends, through whatever happens to Redis.
func (g *Gate) Run(ctx context.Context) error {
	parts := []func(context.Context){g.beats, g.read}
	if g.keeper != nil {
		g.keeper.tellNoted()
		parts = append(parts, g.keeper.run)
	}
	run(ctx, parts...)
	g.leave(context.WithoutCancel(ctx))
	return nil
}

// leave says as this gate's last word that it answers nobody any more, so that acknowledged logouts
// do not wait for it. It says nothing unless it knows: a gate that still answers must be counted.
func (g *Gate) leave(ctx context.Context) {
	// with a line written there is a place for it
	if g.o.Stopped == nil || !g.o.Stopped() || !g.wrote.Load() {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, g.cfg.Settle)
	defer cancel()
	g.mu.Lock()
	position := g.copy.Position()
	g.mu.Unlock()
	d := g.details()
	d.Ready, d.Left = false, true
	command := g.places.tell(formatLine(position, g.counter.Add(1), g.id, d))
	if err := g.client.Universal().Do(ctx, command...).Err(); err != nil {
		g.log.Warn(
			"the last word could not be left on the log: this gate counts as behind until its line is old",
			"error", oneLine(err.Error()))
	}
}

// sendByGate is a gate's heartbeat.
func (g *Gate) sendByGate(ctx context.Context, conn *redis.Conn,
	hb revocation.Heartbeat) (r revocation.HeartbeatReply, err error) {
	place, err := g.places.find(ctx, conn)
	if err != nil {
		return r, fmt.Errorf("redislog: heartbeat: %w", err)
	}
	done, err := redisconn.WriteAndWait(ctx, conn, redisconn.Write{
		Commands: g.commands(&hb, g.keys.gate(place)),
		Wrote:    wroteLine,
		Replicas: g.cfg.MinReplicas, Timeout: g.cfg.Settle / 2,
	})
	// Too few replicas are for the copy to judge.
	if err != nil && !errors.Is(err, redisconn.ErrTooFewReplicas) {
		return r, fmt.Errorf("redislog: heartbeat: %w", err)
	}
	r.Replicas = done.Replicas
	answers, err := answersOf(done.Answer)
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

// gateCommands are a gate's heartbeat: the few commands a gate may use, for one MULTI.
func (g *Gate) commands(hb *revocation.Heartbeat, key string) [][]any {
	mine := fmt.Sprintf("%d-0", hb.Position.Seq)
	return [][]any{
		{"GETRANGE", key, 0, maxLine - 1},
		g.tellLine(hb.Position),
		append([]any{"HMGET", g.keys.head}, headFields...),
		{"TIME"},
		{"XRANGE", g.keys.log, mine, mine},
	}
}

// wroteLine reports whether the commands of a gate's heartbeat have written its line.
func wroteLine(answer any) bool {
	answers, ok := answer.([]any)
	return ok && len(answers) == 5 && answers[1] == "OK"
}

// answersOf are the answers to gateCommands, none of which is an error.
func answersOf(answer any) ([]any, error) {
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
