package redislog

import (
	"context"
	"sync"

	"github.com/sallyport/sallyport/internal/redisconn"
	"github.com/sallyport/sallyport/internal/revocation"
)

// Gate is a reader of the revocation log: a complete copy in memory, and the knowledge of how old it is.
type Gate struct{ *follower }

// NewGate makes a gate; Run makes it work.
func NewGate(client *redisconn.Client, cfg Config, o Options) (*Gate, error) {
	f, err := newFollower(client, cfg, o)
	if err != nil {
		return nil, err
	}
	f.lines, f.field = f.keys.gates, f.o.Name
	f.send = f.sendByGate
	r := revocation.NewReplica(cfg.replica(), f.set)
	return &Gate{f}, f.adopt(r, r)
}

// Run keeps the copy complete and fresh until ctx ends, through whatever happens to Redis.
func (g *Gate) Run(ctx context.Context) error {
	run(ctx, g.beats, g.read)
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
