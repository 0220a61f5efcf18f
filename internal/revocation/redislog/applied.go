package redislog

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/sallyport/sallyport/internal/revocation"
	"github.com/sallyport/sallyport/internal/seeded"
)

// Applied waits until every live gate has applied what r names, or ctx ends, and tells how many have. An error means
// that this could not be found out.
func (i *Issuer) Applied(ctx context.Context, r Receipt) (Applied, error) {
	at, err := r.position()
	if err != nil {
		return Applied{}, err
	}
	var last Applied
	known := false
	for pause := 2 * time.Millisecond; ; pause = min(2*pause, 25*time.Millisecond) {
		lines, onLog, err := i.readLines(ctx, i.keys.gates, at)
		if err == nil {
			last, known = i.appliedBy(lines, onLog, at), true
			if last.All() {
				return last, nil
			}
		}
		if !sleep(ctx, pause, nil) {
			if !known {
				return Applied{}, fmt.Errorf("%w: the gates' lines: %w", ErrUnavailable, cause(ctx, err))
			}
			return last, nil
		}
	}
}

func (i *Issuer) appliedBy(lines []line, onLog bool, at revocation.Position) (a Applied) {
	i.linesMu.Lock()
	defer i.linesMu.Unlock()
	now := i.instant()
	i.gates.Observe(bare(lines), now)
	oldest := i.cfg.MaxStaleness + i.cfg.Settle
	if seeded.On(seeded.SilentGateDropped) {
		oldest = i.cfg.Settle
	}
	a.Applied, a.Total, a.Behind = i.gates.Applied(bare(lines), at, onLog, oldest, now)
	return a
}

// goneAfter is the age at which a line is removed: its process will not come back under that name unnoticed.
const goneAfter = 10 * time.Minute

// watchGates keeps the ages of all gates' lines known, and removes both kinds of lines long after their process has
// gone, until ctx ends.
func (i *Issuer) watchGates(ctx context.Context) {
	for sleep(ctx, i.cfg.Heartbeat, nil) {
		bounded, cancel := context.WithTimeout(ctx, i.cfg.Settle)
		if lines, _, err := i.readLines(bounded, i.keys.gates, revocation.Position{}); err == nil {
			i.linesMu.Lock()
			i.gates.Observe(bare(lines), i.instant())
			i.linesMu.Unlock()
			i.removeGone(bounded)
		}
		cancel()
	}
}

func (i *Issuer) removeGone(ctx context.Context) {
	i.linesMu.Lock()
	now := i.instant()
	gates, issuers := i.gates.Older(goneAfter, now), i.peers.Older(goneAfter, now)
	i.linesMu.Unlock()
	for hash, names := range map[string][]string{i.keys.gates: gates, i.keys.issuers: issuers} {
		if len(names) == 0 {
			continue
		}
		if err := i.client.Universal().HDel(ctx, hash, names...).Err(); err != nil {
			i.log.Warn("lines of processes that have gone could not be removed", "error", err)
		}
	}
}

// Gates lists the lines of all gates, by name.
func (i *Issuer) Gates(ctx context.Context) ([]Line, error) {
	return i.list(ctx, i.keys.gates, &i.gates)
}

// Issuers lists the lines of all issuers, by name.
func (i *Issuer) Issuers(ctx context.Context) ([]Line, error) {
	return i.list(ctx, i.keys.issuers, &i.peers)
}

func (i *Issuer) list(ctx context.Context, hash string, lines *revocation.Lines) ([]Line, error) {
	found, _, err := i.readLines(ctx, hash, revocation.Position{})
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	i.linesMu.Lock()
	defer i.linesMu.Unlock()
	now := i.instant()
	lines.Observe(bare(found), now)
	out := make([]Line, 0, len(found))
	for _, l := range found {
		age, _ := lines.Age(l.Name, now)
		out = append(out, Line{
			Name: nameIn(l.Name), Version: l.details.Version, Epoch: l.Position.Epoch.String(), Seq: l.Position.Seq, OnLog: l.OnLog,
			Age: age, Live: age <= i.cfg.MaxStaleness+i.cfg.Settle && !lines.HasLeft(l.Name), Left: lines.HasLeft(l.Name),
			Ready:     l.details.Ready,
			Staleness: time.Duration(l.details.StalenessMS) * time.Millisecond,
			KeySetAge: time.Duration(l.details.KeySetAgeMS) * time.Millisecond,
		})
	}
	return out, nil
}

// nameIn is the process's name in the name of its line.
func nameIn(field string) string {
	name, _, _ := strings.Cut(field, "#")
	return name
}

// Entries reads up to limit entries of the log after a place, oldest first.
func (i *Issuer) Entries(ctx context.Context, after uint64, limit int) ([]revocation.Entry, error) {
	raw := redis.NewRawCmd(ctx, "XRANGE", i.keys.log, fmt.Sprintf("%d-0", after+1), "+", "COUNT", limit)
	if err := i.client.Universal().Process(ctx, raw); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	return (&decoder{string(raw.Val())}).entries()
}
