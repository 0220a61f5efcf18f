package redislog

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/sallyport/sallyport/internal/revocation"
)

// observePeers takes the issuers' lines that came with a heartbeat. Of their positions, two are
// known to lie on the log: the head's, and this issuer's own if the heartbeat found it there. What
// lies before that and is held by another issuer too, or by the only one there is, is as safe as if
// it had just been acknowledged.
func (i *Issuer) observePeers(fields []string, hb *revocation.Heartbeat,
	r *revocation.HeartbeatReply) {
	onLog := r.AtMineFound && r.AtMine == hb.Position.Chain && r.Head.Epoch == hb.Position.Epoch
	var lines []line
	for k := 0; k+1 < len(fields); k += 2 {
		l := parseLine(fields[k], fields[k+1], true)
		l.OnLog = l.Position == r.Head.Position() || onLog && l.Position == hb.Position
		lines = append(lines, l)
	}
	i.linesMu.Lock()
	now := i.instant()
	i.peers.Observe(bare(lines), now)
	i.recent, i.seenAt = lines, now
	holder := i.peers.SecondHolder(bare(lines), i.field, hb.Position, i.cfg.Settle, now)
	i.linesMu.Unlock()
	if onLog && r.Replicas >= i.cfg.MinReplicas && holder != revocation.HolderWaited {
		i.mu.Lock()
		defer i.mu.Unlock()
		i.writer.Acknowledged(*hb)
	}
}

func bare(lines []line) []revocation.Line {
	out := make([]revocation.Line, len(lines))
	for k := range lines {
		out[k] = lines[k].Line
	}
	return out
}

// acknowledge waits until another issuer has applied what is stored since began, or none is alive
// to.
func (i *Issuer) acknowledge(ctx context.Context, r revocation.Receipt,
	began revocation.Instant) (revocation.Receipt, error) {
	at, err := positionOf(r)
	if err != nil {
		return revocation.Receipt{}, err
	}
	if i.aloneByHeartbeat(at, began) {
		return i.alone(r), nil
	}
	for pause := 2 * time.Millisecond; ; pause = min(2*pause, 20*time.Millisecond) {
		lines, onLog, err := i.readLines(ctx, i.issuerLines, at)
		if err == nil && !onLog {
			err = errMoved
		}
		if err == nil {
			switch i.holder(lines, at) {
			case revocation.HolderFound:
				return i.success(r), nil
			case revocation.HolderNone:
				return i.alone(r), nil
			}
		}
		if err == errMoved || !sleep(ctx, pause, nil) {
			i.metrics.appends.WithLabelValues("no_second_holder").Inc()
			return revocation.Receipt{}, fmt.Errorf("%w: stored, but no other issuer has applied it: %w",
				revocation.ErrUnavailable, cause(ctx, err))
		}
	}
}

func cause(ctx context.Context, err error) error {
	if err != nil {
		return err
	}
	return ctx.Err()
}

func (i *Issuer) success(r revocation.Receipt) revocation.Receipt {
	i.metrics.appends.WithLabelValues("acknowledged").Inc()
	return r
}

func (i *Issuer) alone(r revocation.Receipt) revocation.Receipt {
	i.metrics.alone.Inc()
	r.Alone = true
	return i.success(r)
}

// aloneByHeartbeat judges by the lines of the last heartbeat before the append, while that is
// recent: most single issuers need no further look. A later heartbeat may have found a log, and
// lines, that began anew without what was stored.
func (i *Issuer) aloneByHeartbeat(at revocation.Position, began revocation.Instant) bool {
	i.linesMu.Lock()
	defer i.linesMu.Unlock()
	now := i.instant()
	if i.recent == nil || now.Since(i.seenAt) > 2*i.cfg.Heartbeat || i.seenAt.Mono > began.Mono {
		return false
	}
	return i.peers.SecondHolder(bare(i.recent), i.field, at, i.cfg.Settle,
		now) == revocation.HolderNone
}

func (i *Issuer) holder(lines []line, at revocation.Position) revocation.Holder {
	i.linesMu.Lock()
	defer i.linesMu.Unlock()
	now := i.instant()
	i.peers.Observe(bare(lines), now)
	return i.peers.SecondHolder(bare(lines), i.field, at, i.cfg.Settle, now)
}

func positionOf(r revocation.Receipt) (revocation.Position, error) {
	p, err := parsePosition(r.Epoch, strconv.FormatUint(r.Seq, 10), r.Chain)
	if err != nil {
		return p, fmt.Errorf("redislog: not a receipt: %w", err)
	}
	return p, nil
}
