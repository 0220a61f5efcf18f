package redislog

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/sallyport/sallyport/internal/revocation"
)

// Applied waits until every live gate has applied what r names, or ctx ends, and tells how many
// have. It looks once however soon ctx ends, by a reading that others share. An error means that
// this could not be found out.
func (i *Issuer) Applied(ctx context.Context, r revocation.Receipt) (revocation.Applied, error) {
	at, err := positionOf(r)
	if err != nil {
		return revocation.Applied{}, err
	}
	last, err := i.look(ctx, at)
	for pause := 2 * time.Millisecond; (err != nil || !last.All()) && sleep(ctx, pause, nil); pause = min(2*pause, 25*time.Millisecond) {
		if now, failed := i.look(ctx, at); failed == nil {
			last, err = now, nil
		}
	}
	if err != nil {
		return revocation.Applied{}, fmt.Errorf("%w: the gates' lines: %w", revocation.ErrUnavailable, err)
	}
	return last, nil
}

// look reads the gates' lines once. It does not end with ctx: what is stored is not to be answered
// with an error because its caller had little time left.
func (i *Issuer) look(ctx context.Context, at revocation.Position) (revocation.Applied, error) {
	// one may be under way that does not ask for at
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*i.oneLook())
	defer cancel()
	lines, onLog, err := i.readLines(ctx, i.gateLines, at)
	if err != nil {
		return revocation.Applied{}, err
	}
	return i.appliedBy(lines, onLog, at), nil
}

// ofFormerVersion stands for gates of an earlier version among those behind: their lines are not
// read.
const ofFormerVersion = "(a gate of an earlier version)"

func (i *Issuer) appliedBy(lines []line, onLog bool, at revocation.Position) (a revocation.Applied) {
	i.linesMu.Lock()
	defer i.linesMu.Unlock()
	now := i.instant()
	i.gates.Observe(bare(lines), now)
	oldest := i.cfg.MaxStaleness + i.cfg.Settle
	var behind []string
	a.Applied, a.Total, behind = i.gates.Applied(bare(lines), at, onLog, oldest, now)
	if i.former != nil && now.Since(*i.former) <= oldest {
		a.Total++
		behind = append(behind, ofFormerVersion)
	}
	for _, field := range behind {
		a.Behind = append(a.Behind, nameIn(field))
	}
	return a
}

// goneAfter is the age at which a line is removed: its process will not come back under that name
// unnoticed.
const goneAfter = 10 * time.Minute

// watchGates keeps the ages of all gates' lines known, and removes both kinds of lines long after
// their process has gone, until ctx ends.
func (i *Issuer) watchGates(ctx context.Context) {
	for sleep(ctx, i.cfg.Settle, nil) {
		bounded, cancel := context.WithTimeout(ctx, i.cfg.Settle)
		if lines, _, err := i.readLines(bounded, i.gateLines, revocation.Position{}); err == nil {
			i.linesMu.Lock()
			i.gates.Observe(bare(lines), i.instant())
			i.linesMu.Unlock()
			i.watchFormer(bounded)
			i.removeGone(bounded)
		}
		cancel()
	}
}

// watchFormer takes away, unread, what gates of an earlier version write of themselves. While they
// are at work it is there again the next time: so many logouts that wait for all gates are told
// that one is behind.
func (i *Issuer) watchFormer(ctx context.Context) {
	if seen, err := i.seesFormer(ctx); err != nil || !seen {
		return
	}
	i.linesMu.Lock()
	defer i.linesMu.Unlock()
	now := i.instant()
	if i.former == nil {
		i.log.Warn(
			"gates of an earlier version are at work: until they are updated, logouts that wait for all gates are answered 202")
	}
	i.former = &now
}

// seesFormer reports whether a gate of an earlier version has written of itself since the last
// look, or whether another issuer says so, which may have taken it away just before.
func (i *Issuer) seesFormer(ctx context.Context) (bool, error) {
	n, err := i.client.Universal().Unlink(ctx, i.keys.formerGates).Result()
	switch {
	case err != nil:
		return false, err
	case n > 0:
		err := i.client.Universal().Set(ctx, i.keys.formerSeen, 1, 3*i.cfg.Settle).Err()
		if err != nil {
			i.log.Warn(
				"other issuers could not be told that gates of an earlier version are at work",
				"error", oneLine(err.Error()))
		}
		return true, nil
	}
	n, err = i.client.Universal().Exists(ctx, i.keys.formerSeen).Result()
	return n > 0, err
}

// removeGone removes the lines of processes that have gone. A gate's expires by itself, unless
// somebody else has written it.
func (i *Issuer) removeGone(ctx context.Context) {
	i.linesMu.Lock()
	now := i.instant()
	gates, issuers := i.gates.Older(goneAfter, now), i.peers.Older(goneAfter, now)
	i.linesMu.Unlock()
	pipe := i.client.Universal().Pipeline()
	for _, field := range gates {
		_, number, _ := strings.Cut(field, "#")
		pipe.Unlink(ctx, i.keys.gates+number)
	}
	if len(issuers) > 0 {
		pipe.HDel(ctx, i.keys.issuers, issuers...)
	}
	if pipe.Len() == 0 {
		return
	}
	if _, err := pipe.Exec(ctx); err != nil {
		i.log.Warn("lines of processes that have gone could not be removed", "error",
			oneLine(err.Error()))
	}
}

// Gates lists the lines of all gates, by name.
func (i *Issuer) Gates(ctx context.Context) ([]Line, error) {
	return i.list(ctx, i.gateLines, &i.gates)
}

// Issuers lists the lines of all issuers, by name.
func (i *Issuer) Issuers(ctx context.Context) ([]Line, error) {
	return i.list(ctx, i.issuerLines, &i.peers)
}

func (i *Issuer) list(ctx context.Context, lr *lineReader,
	lines *revocation.Lines) ([]Line, error) {
	found, _, err := i.readLines(ctx, lr, revocation.Position{})
	if err != nil {
		return nil, fmt.Errorf("%w: %w", revocation.ErrUnavailable, err)
	}
	i.linesMu.Lock()
	defer i.linesMu.Unlock()
	now := i.instant()
	lines.Observe(bare(found), now)
	oldest := i.cfg.MaxStaleness + i.cfg.Settle
	atWork := map[string]int{}
	for _, l := range found {
		if age, _ := lines.Age(l.Name, now); age <= i.cfg.Settle && !lines.HasLeft(l.Name) {
			atWork[nameIn(l.Name)]++
		}
	}
	out := make([]Line, 0, len(found))
	for _, l := range found {
		age, _ := lines.Age(l.Name, now)
		out = append(out, Line{
			Name:    nameIn(l.Name),
			Version: l.details.Version,
			Epoch:   l.Position.Epoch.String(),
			Seq:     l.Position.Seq,
			OnLog:   l.OnLog,
			Age:     age,
			Live:    age <= oldest && !lines.HasLeft(l.Name),
			Left:    lines.HasLeft(l.Name),
			Ready:   l.details.Ready,
			Shared: age <= oldest &&
				(atWork[nameIn(l.Name)] > 1 || lines.Shared(&l.Line, oldest, now)),
			MaxStaleness: time.Duration(l.details.MaxMS) * time.Millisecond,
			Staleness:    time.Duration(l.details.StalenessMS) * time.Millisecond,
			KeySetAge:    time.Duration(l.details.KeySetAgeMS) * time.Millisecond,
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
	raw := redis.NewRawCmd(ctx, "XRANGE", i.keys.log, fmt.Sprintf("%d-0", after+1), "+", "COUNT",
		limit)
	if err := i.client.Universal().Process(ctx, raw); err != nil {
		return nil, fmt.Errorf("%w: %w", revocation.ErrUnavailable, err)
	}
	return (&decoder{string(raw.Val())}).entries()
}
