package redislog

import (
	"context"
	"sync"

	"github.com/sallyport/sallyport/internal/redisconn"
	"github.com/sallyport/sallyport/internal/revocation"
)

// Gate is a reader of the revocation log: a complete copy in memory, and the knowledge of how old it is.
type Gate struct {
	*follower
	keeper *keeper // nil without a snapshot file
}

// NewGate makes a gate; Run makes it work. It reads the snapshot file, if it is to have one.
func NewGate(client *redisconn.Client, cfg Config, o Options) (*Gate, error) {
	f, err := newFollower(client, cfg, o)
	if err != nil {
		return nil, err
	}
	f.lines, f.field = f.keys.gates, f.o.Name
	f.send = f.sendByGate
	keeper, s, err := openKeeper(f)
	if err != nil {
		return nil, err
	}
	r := revocation.NewReplica(cfg.replica(), f.set)
	if s != nil {
		r.Restore(s.Position)
	}
	return &Gate{f, keeper}, f.adopt(r, r)
}

// Run keeps the copy complete and fresh until ctx ends, through whatever happens to Redis.
func (g *Gate) Run(ctx context.Context) error {
	parts := []func(context.Context){g.beats, g.read}
	if g.keeper != nil {
		g.tellNoted()
		parts = append(parts, g.keeper.run)
	}
	run(ctx, parts...)
	return nil
}

// run runs parts until ctx ends and all of them have.
func run(ctx context.Context, parts ...func(context.Context)) {
	var wg sync.WaitGroup
	for _, part := range parts {
		wg.Go(func() { part(ctx) })
	}
	wg.Wait()
}
