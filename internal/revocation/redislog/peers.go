package redislog

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/sallyport/sallyport/internal/revocation"
)

// observePeers takes the issuers' lines that came with a heartbeat. Of their positions, two are known to lie on the log:
// the head's, and this issuer's own if the heartbeat found it there. What lies before that and is held by another issuer
// too, or by the only one there is, is as safe as if it had just been acknowledged.
func (i *Issuer) observePeers(fields []string, hb *revocation.Heartbeat, r *revocation.HeartbeatReply) {
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
	holder := i.peers.SecondHolder(bare(lines), i.o.Name, hb.Position, i.cfg.Settle, now)
	i.linesMu.Unlock()
	if onLog && r.Replicas >= i.cfg.MinReplicas && holder != revocation.HolderWaited {
		i.acknowledged(hb.Position)
	}
}

func (i *Issuer) acknowledged(at revocation.Position) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.writer.Acknowledged(at)
}

func bare(lines []line) []revocation.Line {
	out := make([]revocation.Line, len(lines))
	for k := range lines {
		out[k] = lines[k].Line
	}
	return out
}

// acknowledge waits until another issuer has applied what is stored, or none is alive to.
func (i *Issuer) acknowledge(ctx context.Context, r Receipt) (Receipt, error) {
	at, err := r.position()
	if err != nil {
		return Receipt{}, err
	}
	if i.aloneByHeartbeat(at) {
		return i.alone(r, at), nil
	}
	for pause := 2 * time.Millisecond; ; pause = min(2*pause, 20*time.Millisecond) {
		read, err := i.readLines(ctx, i.keys.issuers)
		if err == nil {
			if read.epoch != at.Epoch {
				err = errMoved
			} else if holder := i.holder(read.lines, at); holder == revocation.HolderFound {
				return i.success(r, at), nil
			} else if holder == revocation.HolderNone {
				return i.alone(r, at), nil
			}
		}
		if err == errMoved || !sleep(ctx, pause, nil) {
			i.metrics.appends.WithLabelValues("no_second_holder").Inc()
			return Receipt{}, fmt.Errorf("%w: stored, but no other issuer has applied it: %w", ErrUnavailable, cause(ctx, err))
		}
	}
}

func cause(ctx context.Context, err error) error {
	if err != nil {
		return err
	}
	return ctx.Err()
}

func (i *Issuer) success(r Receipt, at revocation.Position) Receipt {
	i.acknowledged(at)
	i.metrics.appends.WithLabelValues("acknowledged").Inc()
	return r
}

func (i *Issuer) alone(r Receipt, at revocation.Position) Receipt {
	i.metrics.alone.Inc()
	r.Alone = true
	return i.success(r, at)
}

// aloneByHeartbeat judges by the lines of the last heartbeat, while that is recent: most single issuers need no
// further look.
func (i *Issuer) aloneByHeartbeat(at revocation.Position) bool {
	i.linesMu.Lock()
	defer i.linesMu.Unlock()
	now := i.instant()
	if i.recent == nil || now.Since(i.seenAt) > 2*i.cfg.Heartbeat {
		return false
	}
	return i.peers.SecondHolder(bare(i.recent), i.o.Name, at, i.cfg.Settle, now) == revocation.HolderNone
}

func (i *Issuer) holder(lines []line, at revocation.Position) revocation.Holder {
	i.linesMu.Lock()
	defer i.linesMu.Unlock()
	now := i.instant()
	i.peers.Observe(bare(lines), now)
	return i.peers.SecondHolder(bare(lines), i.o.Name, at, i.cfg.Settle, now)
}

func (r Receipt) position() (revocation.Position, error) {
	epoch, err := revocation.ParseEpoch(r.Epoch)
	if err != nil || r.Seq == 0 {
		return revocation.Position{}, fmt.Errorf("redislog: not a receipt: epoch %q, seq %d", r.Epoch, r.Seq)
	}
	return revocation.Position{Epoch: epoch, Seq: r.Seq}, nil
}

// reading is one reading of all lines of a hash, shared by everyone who waits for lines to move.
type reading struct {
	done  chan struct{}
	epoch revocation.Epoch
	lines []line
	err   error
}

// readLines reads all lines of a hash, with which of them lie on the log as it is now.
func (i *Issuer) readLines(ctx context.Context, hash string) (*reading, error) {
	i.linesMu.Lock()
	r, under := i.reads[hash]
	if !under {
		r = &reading{done: make(chan struct{})}
		i.reads[hash] = r
	}
	i.linesMu.Unlock()
	if !under {
		r.fill(ctx, i, hash)
		i.linesMu.Lock()
		delete(i.reads, hash)
		i.linesMu.Unlock()
		close(r.done)
	}
	select {
	case <-r.done:
		return r, r.err
	case <-ctx.Done():
		return r, ctx.Err()
	}
}

func (r *reading) fill(ctx context.Context, i *Issuer, hash string) {
	var answer any
	keys := []string{i.keys.log, i.keys.head, hash}
	for _, whole := range []bool{false, true} {
		answer, r.err = i.client.Universal().Do(ctx, linesScript.command(whole, keys, nil)...).Result()
		if !isNoScript(r.err) {
			break
		}
	}
	fields, err := list(answer, r.err, 3)
	if r.err = err; err != nil {
		return
	}
	if fields[0] != "" {
		if r.epoch, r.err = revocation.ParseEpoch(fields[0]); r.err != nil {
			return
		}
	}
	for k := 3; k+2 < len(fields); k += 3 {
		r.lines = append(r.lines, parseLine(fields[k], fields[k+1], fields[k+2] == "1"))
	}
	slices.SortFunc(r.lines, func(a, b line) int { return strings.Compare(a.Name, b.Name) })
}
