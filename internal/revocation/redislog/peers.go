package redislog

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/sallyport/sallyport/internal/revocation"
)

// peers is what an issuer knows of the other processes on the log, by their lines.
type peers struct {
	*follower
	linesMu sync.Mutex // guards what follows
	issuers revocation.Lines
	gates   revocation.Lines
	recent  []revocation.Line // the issuers' lines as the last heartbeat found them
	seenAt  revocation.Instant
	former  *revocation.Instant // when a gate of an earlier version was last at work

	issuerLines, gateLines *lineReader
}

func newPeers(f *follower) *peers {
	issuers, gates := &lineReader{f: f}, &lineReader{f: f}
	issuers.read, gates.read = issuers.readIssuers, gates.readGates
	return &peers{follower: f, issuerLines: issuers, gateLines: gates}
}

// observe takes the issuers' lines that came with a heartbeat. Of two positions it is known that
// they lie on the log: the head's, and this issuer's own if the heartbeat found it there. All up
// to this issuer's own is acknowledged when another issuer holds it, too, or there is no other.
func (p *peers) observe(fields []string, hb *revocation.Heartbeat, r *revocation.HeartbeatReply) {
	onLog := r.AtMineFound && r.AtMine == hb.Position.Chain && r.Head.Epoch == hb.Position.Epoch
	var lines []revocation.Line
	for k := 0; k+1 < len(fields); k += 2 {
		l := parseLine(fields[k], fields[k+1], true).Line
		l.OnLog = l.Position == r.Head.Position() || onLog && l.Position == hb.Position
		lines = append(lines, l)
	}
	p.linesMu.Lock()
	now := p.instant()
	p.issuers.Observe(lines, now)
	p.recent, p.seenAt = lines, now
	holder := p.issuers.SecondHolder(lines, p.field, hb.Position, p.cfg.Settle, now)
	p.linesMu.Unlock()
	// As an append would ask: on this log, on enough replicas, and no other issuer to wait for.
	if onLog && r.Replicas >= p.cfg.MinReplicas && holder != revocation.HolderWaited {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.writer.Acknowledged(*hb)
	}
}

// bare returns lines without their details.
func bare(lines []line) []revocation.Line {
	out := make([]revocation.Line, len(lines))
	for k := range lines {
		out[k] = lines[k].Line
	}
	return out
}

// acknowledge waits until another issuer has applied what is stored since began, or none is alive
// to.
func (p *peers) acknowledge(ctx context.Context, r revocation.Receipt,
	began revocation.Instant) (revocation.Receipt, error) {
	at, err := positionOf(r)
	if err != nil {
		return revocation.Receipt{}, err
	}
	if p.aloneByHeartbeat(at, began) {
		return p.alone(r), nil
	}
	// Others write their line at once after applying an entry, so this rarely takes a second look.
	for pause := 2 * time.Millisecond; ; pause = min(2*pause, 20*time.Millisecond) {
		lines, onLog, err := p.issuerLines.lines(ctx, at)
		if err == nil && !onLog {
			err = errMoved
		}
		if err == nil {
			switch p.holder(lines, at) {
			case revocation.HolderFound:
				return p.success(r), nil
			case revocation.HolderNone:
				return p.alone(r), nil
			}
		}
		// An error of the reading may pass. A log that moved does not come back.
		if err == errMoved || !sleep(ctx, pause, nil) {
			p.metrics.appends.WithLabelValues("no_second_holder").Inc()
			return revocation.Receipt{}, fmt.Errorf("%w: stored, but no other issuer has applied it: %w",
				revocation.ErrUnavailable, cause(ctx, err))
		}
	}
}

// cause returns err, or else why ctx has ended.
func cause(ctx context.Context, err error) error {
	if err != nil {
		return err
	}
	return ctx.Err()
}

func (p *peers) success(r revocation.Receipt) revocation.Receipt {
	p.metrics.appends.WithLabelValues("acknowledged").Inc()
	return r
}

func (p *peers) alone(r revocation.Receipt) revocation.Receipt {
	p.metrics.alone.Inc()
	r.Alone = true
	return p.success(r)
}

// aloneByHeartbeat reports whether this issuer is alone by the lines of the last heartbeat before
// the append, while that is recent: a single issuer then needs no further look. A later heartbeat
// does not do: it may have met a log, and lines, that began anew without what was stored.
func (p *peers) aloneByHeartbeat(at revocation.Position, began revocation.Instant) bool {
	p.linesMu.Lock()
	defer p.linesMu.Unlock()
	now := p.instant()
	if p.recent == nil || now.Since(p.seenAt) > 2*p.cfg.Heartbeat || p.seenAt.Mono > began.Mono {
		return false
	}
	return p.issuers.SecondHolder(p.recent, p.field, at, p.cfg.Settle,
		now) == revocation.HolderNone
}

func (p *peers) holder(found []line, at revocation.Position) revocation.Holder {
	p.linesMu.Lock()
	defer p.linesMu.Unlock()
	lines, now := bare(found), p.instant()
	p.issuers.Observe(lines, now)
	return p.issuers.SecondHolder(lines, p.field, at, p.cfg.Settle, now)
}

func positionOf(r revocation.Receipt) (revocation.Position, error) {
	p, err := parsePosition(r.Epoch, strconv.FormatUint(r.Seq, 10), r.Chain)
	if err != nil {
		return p, fmt.Errorf("redislog: not a receipt: %w", err)
	}
	return p, nil
}

// Applied waits until every live gate has applied what r names, or ctx ends, and returns how many
// have. It looks once however soon ctx ends, by a reading that others share. An error means that
// this could not be found out.
func (p *peers) Applied(ctx context.Context, r revocation.Receipt) (revocation.Applied, error) {
	at, err := positionOf(r)
	if err != nil {
		return revocation.Applied{}, err
	}
	last, err := p.look(ctx, at)
	pause := 2 * time.Millisecond
	for (err != nil || !last.All()) && sleep(ctx, pause, nil) {
		// A look that fails takes back nothing of what an earlier one has shown.
		if now, failed := p.look(ctx, at); failed == nil {
			last, err = now, nil
		}
		pause = min(2*pause, 25*time.Millisecond)
	}
	if err != nil {
		return revocation.Applied{}, fmt.Errorf("%w: the gates' lines: %w",
			revocation.ErrUnavailable, err)
	}
	return last, nil
}

// look reads the gates' lines once. It does not end with ctx: what is stored is not to be answered
// with an error because its caller had little time left.
func (p *peers) look(ctx context.Context, at revocation.Position) (revocation.Applied, error) {
	// Twice the time of one reading: one may be under way that does not ask for at.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*oneLook(p.cfg))
	defer cancel()
	lines, onLog, err := p.gateLines.lines(ctx, at)
	if err != nil {
		return revocation.Applied{}, err
	}
	return p.appliedBy(lines, onLog, at), nil
}

// ofFormerVersion stands for all gates of an earlier version among those behind: their lines are
// not read.
const ofFormerVersion = "(a gate of an earlier version)"

func (p *peers) appliedBy(found []line, onLog bool, at revocation.Position) (a revocation.Applied) {
	p.linesMu.Lock()
	defer p.linesMu.Unlock()
	lines, now := bare(found), p.instant()
	p.gates.Observe(lines, now)
	oldest := p.cfg.MaxStaleness + p.cfg.Settle
	var behind []string
	a.Applied, a.Total, behind = p.gates.Applied(lines, at, onLog, oldest, now)
	// A gate of an earlier version may be behind, and nobody can tell.
	if p.former != nil && now.Since(*p.former) <= oldest {
		a.Total++
		behind = append(behind, ofFormerVersion)
	}
	for _, field := range behind {
		a.Behind = append(a.Behind, nameIn(field))
	}
	return a
}

// Gates returns the lines of all gates, by name.
func (p *peers) Gates(ctx context.Context) ([]Line, error) {
	return p.list(ctx, p.gateLines, &p.gates)
}

// Issuers returns the lines of all issuers, by name.
func (p *peers) Issuers(ctx context.Context) ([]Line, error) {
	return p.list(ctx, p.issuerLines, &p.issuers)
}

func (p *peers) list(ctx context.Context, lr *lineReader,
	lines *revocation.Lines) ([]Line, error) {
	found, _, err := lr.lines(ctx, revocation.Position{})
	if err != nil {
		return nil, fmt.Errorf("%w: %w", revocation.ErrUnavailable, err)
	}
	p.linesMu.Lock()
	defer p.linesMu.Unlock()
	now := p.instant()
	lines.Observe(bare(found), now)
	oldest := p.cfg.MaxStaleness + p.cfg.Settle
	atWork := map[string]int{}
	for _, l := range found {
		if age, _ := lines.Age(l.Name, now); age <= p.cfg.Settle && !lines.HasLeft(l.Name) {
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

// nameIn returns the process's name in the name of its line.
func nameIn(field string) string {
	name, _, _ := strings.Cut(field, "#")
	return name
}

// goneAfter is the age at which a line is removed: long after its process has left every count.
const goneAfter = 10 * time.Minute

// watchGates observes the gates' lines, so that their ages are known, and removes the lines of
// gates and issuers long after their process has gone, until ctx ends.
func (p *peers) watchGates(ctx context.Context) {
	for sleep(ctx, p.cfg.Settle, nil) {
		bounded, cancel := context.WithTimeout(ctx, p.cfg.Settle)
		if lines, _, err := p.gateLines.lines(bounded, revocation.Position{}); err == nil {
			p.linesMu.Lock()
			p.gates.Observe(bare(lines), p.instant())
			p.linesMu.Unlock()
			p.watchFormer(bounded)
			p.removeGone(bounded)
		}
		cancel()
	}
}

// watchFormer removes, unread, the lines of gates of an earlier version. While such gates are at
// work the lines are there again the next time, and logouts that wait for all gates are told that
// one is behind.
func (p *peers) watchFormer(ctx context.Context) {
	if seen, err := p.seesFormer(ctx); err != nil || !seen {
		return
	}
	p.linesMu.Lock()
	defer p.linesMu.Unlock()
	now := p.instant()
	if p.former == nil {
		p.log.Warn(
			"gates of an earlier version are at work: until they are updated, logouts that wait " +
				"for all gates are answered 202")
	}
	p.former = &now
}

// seesFormer reports whether a gate of an earlier version has written its line since the last look,
// or another issuer says so, which may have removed the line just before.
func (p *peers) seesFormer(ctx context.Context) (bool, error) {
	n, err := p.client.Universal().Unlink(ctx, p.keys.formerGates).Result()
	switch {
	case err != nil:
		return false, err
	case n > 0:
		err := p.client.Universal().Set(ctx, p.keys.formerSeen, 1, 3*p.cfg.Settle).Err()
		if err != nil {
			p.log.Warn(
				"other issuers could not be told that gates of an earlier version are at work",
				"error", oneLine(err.Error()))
		}
		return true, nil
	}
	n, err = p.client.Universal().Exists(ctx, p.keys.formerSeen).Result()
	return n > 0, err
}

// removeGone removes the lines of processes that have gone. A gate's expires by itself, unless
// somebody else has written it.
func (p *peers) removeGone(ctx context.Context) {
	p.linesMu.Lock()
	now := p.instant()
	gates, issuers := p.gates.Older(goneAfter, now), p.issuers.Older(goneAfter, now)
	p.linesMu.Unlock()
	// A process that is still there, unseen for so long, writes its line again.
	pipe := p.client.Universal().Pipeline()
	for _, field := range gates {
		_, number, _ := strings.Cut(field, "#")
		pipe.Unlink(ctx, p.keys.gates+number)
	}
	if len(issuers) > 0 {
		pipe.HDel(ctx, p.keys.issuers, issuers...)
	}
	if pipe.Len() == 0 {
		return
	}
	if _, err := pipe.Exec(ctx); err != nil {
		p.log.Warn("lines of processes that have gone could not be removed", "error",
			oneLine(err.Error()))
	}
}
