package redislog

import (
	"context"
	"log/slog"
	"time"

	"github.com/sallyport/sallyport/internal/revocation"
)

// BeatOnce sends one heartbeat over a connection of its own, for a process that does not run. The
// answer changes nothing.
func (f *follower) BeatOnce(ctx context.Context) (revocation.HeartbeatReply, error) {
	return f.BeatWith(ctx, f.events.Beat(f.instant()))
}

// BeatWith sends a heartbeat made by the caller.
func (f *follower) BeatWith(ctx context.Context,
	hb revocation.Heartbeat) (revocation.HeartbeatReply, error) {
	conn, err := f.client.Dedicated(ctx, f.keys.log)
	if err != nil {
		return revocation.HeartbeatReply{}, err
	}
	defer closeConn(conn)
	return f.send(ctx, conn, hb)
}

// AppendOnce runs the append script once, and returns its status and how many replicas have it.
func (i *Issuer) AppendOnce(ctx context.Context,
	b revocation.Batch) (status string, replicas int, err error) {
	conn, err := i.client.Dedicated(ctx, i.keys.log)
	if err != nil {
		return "", 0, err
	}
	defer closeConn(conn)
	a := appender{Issuer: i, conn: conn}
	s, err := a.call(ctx, []*job{{batch: b}})
	return s.status, s.replicas, err
}

// AcknowledgeAll acknowledges the parts of a batch that were stored.
func (i *Issuer) AcknowledgeAll(ctx context.Context,
	parts ...revocation.Receipt) (revocation.Receipt, error) {
	return i.acknowledgeAll(ctx, parts, i.instant())
}

// SeesFormer looks once for gates of an earlier version.
func (i *Issuer) SeesFormer(ctx context.Context) (bool, error) { return i.seesFormer(ctx) }

// SaveSnapshot has the gate write its snapshot file now, if it may.
func (g *Gate) SaveSnapshot() { g.keeper.save() }

// Note takes what a relay has applied, and its position after it.
func (r *Relay) Note(applied []revocation.Entry, p revocation.Position, complete bool) {
	r.history.note(applied, p, complete)
}

// After returns what a relay hands on behind a place, and whether it can tell.
func (r *Relay) After(seq uint64, count int) (answer []byte, known bool) {
	return r.history.after(seq, count)
}

// Standing returns the position that a relay's line says.
func (r *Relay) Standing() revocation.Position { return r.standing(revocation.Position{}) }

// GateLine makes a gate's line.
func GateLine(name, instance string, p revocation.Position, counter uint64, left bool) string {
	return formatLine(p, counter, instance, details{Name: name, Left: left})
}

// Entries decodes what XREAD answers.
func Entries(answer []byte) ([]revocation.Entry, error) {
	return (&decoder{string(answer)}).streams()
}

// Outage decides which errors of Redis are logged.
type Outage struct{ outage }

// Say reports whether an error is logged.
func (o *Outage) Say(now time.Duration, level slog.Level, text string) bool {
	return o.say(now, level, text)
}
