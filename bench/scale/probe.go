package main

import (
	"context"
	"fmt"
	"sync"

	"github.com/sallyport/sallyport/internal/redisconn"
	"github.com/sallyport/sallyport/internal/revocation"
	"github.com/sallyport/sallyport/internal/revocation/redislog"
)

// probe is a real gate's copy of the log, which is asked at each change whether what was revoked
// last is in force.
type probe struct {
	*stand
	client *redisconn.Client
	gate   *redislog.Gate

	mu    sync.Mutex
	asked map[string]bool  // sessions that are about to be revoked
	since map[string]int64 // when each of them was found in force
}

func (s *stand) newProbe(socket string, k int) (*probe, error) {
	client, err := s.open(socket)
	if err != nil {
		return nil, err
	}
	g, err := redislog.NewGate(client, s.settings,
		redislog.Options{Name: fmt.Sprintf("probe-%d", k+1)})
	if err != nil {
		return nil, err
	}
	return &probe{
		stand: s, client: client, gate: g, asked: map[string]bool{}, since: map[string]int64{},
	}, nil
}

func (p *probe) run(ctx context.Context) {
	defer p.client.Close()
	go func() {
		for ctx.Err() == nil {
			changed := p.gate.Changed()
			p.look()
			select {
			case <-changed:
			case <-ctx.Done():
			}
		}
	}()
	_ = p.gate.Run(ctx) // a gate that fails grows stale, which the figures show
}

func (p *probe) expect(sid string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.asked[sid] = true
}

func (p *probe) look() {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := p.mono()
	for sid := range p.asked {
		facts := revocation.Facts{Issuer: issuerName, SessionID: sid, TokenID: "t", Ours: true}
		if p.gate.Check(&facts).Revoked {
			delete(p.asked, sid)
			p.since[sid] = now
		}
	}
}

// inForce returns when a session was found revoked.
func (p *probe) inForce(sid string) (int64, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	at, ok := p.since[sid]
	return at, ok
}
