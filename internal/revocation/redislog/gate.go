package redislog

import (
	"context"
	"sync"

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
	return g, f.adopt(r, r)
}

// Run keeps the copy complete and fresh until ctx ends, through whatever happens to Redis.
func (g *Gate) Run(ctx context.Context) error {
	parts := []func(context.Context){g.beats, g.read}
	if g.keeper != nil {
		g.tellNoted()
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

// run runs parts until ctx ends and all of them have.
func run(ctx context.Context, parts ...func(context.Context)) {
	var wg sync.WaitGroup
	for _, part := range parts {
		wg.Go(func() { part(ctx) })
	}
	wg.Wait()
}
