package redislog

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/sallyport/sallyport/internal/redisconn"
	"github.com/sallyport/sallyport/internal/revocation"
)

// Issuer reads the revocation log as a Gate does, appends to it, and mends it.
type Issuer struct {
	*peers
	jobs chan *job
	mend chan struct{} // tells mends to look

	checked atomic.Bool // Redis is as it must be, or was only to be warned about
}

// NewIssuer makes an issuer; Run makes it work.
func NewIssuer(client *redisconn.Client, cfg Config, o Options) (*Issuer, error) {
	f, err := newFollower(client, cfg, o)
	if err != nil {
		return nil, err
	}
	w := revocation.NewWriter(cfg.copy(), cfg.covered(), f.set)
	if o.SessionLifetime != nil {
		w.SessionsLive(o.SessionLifetime)
	}
	i := &Issuer{
		peers: newPeers(f), jobs: make(chan *job, maxQueue), mend: make(chan struct{}, 1),
	}
	// Each life of an issuer has a field of its own: one that took another's line for its own would
	// append alone beside it.
	f.field, f.send = f.o.Name+"#"+f.id, i.sendByIssuer
	f.lineCommand = func(line string) []any { return []any{"HSET", f.keys.issuers, f.field, line} }
	return i, f.setCopy(w.Copy, w)
}

// Run keeps the copy complete and fresh, appends, and mends the log, until ctx ends. It first
// checks Redis: with redis.checks: enforce, one that the promises cannot be kept on is an error.
func (i *Issuer) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	// Redis may not answer for long, so following the log does not wait for the check; Ready does.
	var failed error
	check := func(ctx context.Context) {
		if failed = i.check(ctx); failed != nil {
			cancel()
		}
	}
	run(ctx, check, i.beats, i.read, i.appends, i.mends, i.watchGates,
		func(ctx context.Context) { watchMemory(ctx, i.follower) })
	i.leave(context.WithoutCancel(ctx))
	return failed
}

// leave removes this issuer's line: nobody waits for an issuer that has stopped, and no later run
// has a line of this name.
func (i *Issuer) leave(ctx context.Context) {
	if !i.view.Load().Head { // no heartbeat was answered: there is no line
		return
	}
	ctx, cancel := context.WithTimeout(ctx, i.cfg.Settle)
	defer cancel()
	if err := i.client.Universal().HDel(ctx, i.keys.issuers, i.field).Err(); err != nil {
		i.log.Warn(
			"this issuer's line could not be removed: it is shown as gone until another issuer does",
			"error", oneLine(err.Error()))
	}
}

// check checks Redis as soon as it answers.
func (i *Issuer) check(ctx context.Context) error {
	for {
		bounded, cancel := context.WithTimeout(ctx, 10*time.Second)
		findings, err := i.CheckRedis(bounded)
		cancel()
		if err == nil {
			return i.judge(findings)
		}
		i.metrics.logError("Redis cannot be checked yet", err)
		if !sleep(ctx, i.cfg.Heartbeat, nil) {
			return nil
		}
	}
}

func (i *Issuer) judge(findings []error) error {
	i.metrics.failedChecks.Set(float64(len(findings)))
	if len(findings) > 0 && i.client.Config().Checks == redisconn.ChecksEnforce {
		return fmt.Errorf(
			"redislog: Redis is not safely set up (redis.checks: warn starts all the same): %w",
			errors.Join(findings...))
	}
	for _, finding := range findings {
		i.log.Warn("Redis is not safely set up", "finding", finding)
	}
	i.checked.Store(true)
	return nil
}

// CheckRedis reports every way in which Redis is not what the promises need, each naming the
// setting to change. The second result is an error of a connection: then it is not known what there
// is to find.
func (i *Issuer) CheckRedis(ctx context.Context) ([]error, error) {
	return checks{i.client, i.cfg, i.log}.all(ctx)
}

// sendByIssuer sends an issuer's heartbeat: by a script with the steps of a gate's, which also
// creates a missing head, trims, and marks the log as mending when this issuer holds entries that
// it lacks.
func (i *Issuer) sendByIssuer(ctx context.Context, conn *redis.Conn,
	hb revocation.Heartbeat) (r revocation.HeartbeatReply, err error) {
	p := hb.Position
	line := i.line(p)
	args := []any{
		randomBits(),
		i.cfg.covered().Milliseconds(),
		i.cfg.ClockSkew.Milliseconds(),
		i.field,
		line,
		p.Epoch.String(),
		p.Seq,
		p.Chain.String(),
		flag(hb.Mend),
		flag(hb.Holds),
		hb.Stored,
		i.cfg.Settle.Milliseconds(),
		maxTrim,
		hb.Times.Expired,
		hb.Times.Redis,
		hb.Live,
		maxDead,
	}
	done, err := redisconn.WriteAndWait(ctx, conn, redisconn.Write{
		Script: heartbeatScript, Keys: []string{i.keys.log, i.keys.head, i.keys.issuers}, Args: args,
		// The answer has all lines as the script left them, and none was ever like this one: its
		// counter is new.
		Wrote:    func(answer any) bool { return hasLine(answer, i.field, line) },
		Replicas: i.cfg.MinReplicas, Timeout: i.cfg.Settle / 2,
	})
	// With too few replicas the copy is told of the heartbeat all the same, and does not count it.
	if err != nil && !errors.Is(err, redisconn.ErrTooFewReplicas) {
		return r, fmt.Errorf("redislog: heartbeat: %w", err)
	}
	fields, err := list(done.Answer, beatFields)
	if err != nil {
		return r, err
	}
	if r, err = parseBeat(fields); err != nil {
		return r, err
	}
	r.Replicas = done.Replicas
	// The issuers' lines first: what others hold decides up to where the copy is acknowledged. Then
	// the mender looks again at what is missing.
	i.observe(fields[beatFields:], &hb, &r)
	poke(i.mend)
	return r, nil
}

// beatFields is how many fields the answer to an issuer's heartbeat has before the lines.
const beatFields = 9

// hasLine reports whether the lines in the answer to an issuer's heartbeat have one under a name.
func hasLine(answer any, name, line string) bool {
	fields, err := list(answer, beatFields)
	for k := beatFields; err == nil && k+1 < len(fields); k += 2 {
		if fields[k] == name {
			return fields[k+1] == line
		}
	}
	return false
}

// parseBeat reads the answer to an issuer's heartbeat up to its lines.
func parseBeat(f []string) (r revocation.HeartbeatReply, err error) {
	if r.Time, err = millis(f[0]); err != nil {
		return r, err
	}
	if r.Head, r.HeadFound, err = parseHead(f[1:8]); err != nil {
		return r, err
	}
	if r.AtMineFound = f[8] != ""; r.AtMineFound {
		r.AtMine, err = revocation.ParseChain(f[8])
	}
	return r, err
}

func flag(b bool) string {
	if b {
		return "1"
	}
	return "0"
}

// maxDead is how many entries that are not live the log may have, besides as many as are, before
// live ones are carried on from among them.
const maxDead = 1000

// maxTrim is the most entries that one heartbeat trims: Redis serves nobody else meanwhile.
const maxTrim = 1000

// Ready returns nil when this issuer may get work: once Redis has been checked, while its copy may
// be relied on. Otherwise the error says why not.
func (i *Issuer) Ready() error {
	if !i.checked.Load() {
		return i.withCause(errors.New("redislog: Redis has not been checked yet"))
	}
	return i.follower.Ready()
}

// Freshness reports whether the copy is fresh, and is not while this issuer's clock and Redis' are
// more than clock_skew apart: whoever is wrong, no token is to be minted by Redis' time, which
// could make it outlive the revocations of others, or be refused as one of the future. Revocations
// are appended all the same.
func (i *Issuer) Freshness(now revocation.Instant) revocation.Freshness {
	view := i.view.Load()
	f := view.Freshness(now)
	if f.Fresh && !view.InStep() {
		return revocation.Freshness{Staleness: f.Staleness, Why: revocation.WhyClock}
	}
	return f
}

// Time returns Redis' time: that of the last heartbeat, carried on by the monotonic clock. Use it
// for iat, auth_time and cutoffs. It reports false when the last heartbeat is older than
// max_staleness.
func (i *Issuer) Time() (time.Time, bool) {
	return i.view.Load().Time(i.instant())
}

// MintingTime returns Time for whoever makes tokens by it: it also reports false while this
// issuer's clock and Redis' are more than clock_skew apart, however fresh or stale the copy is.
func (i *Issuer) MintingTime() (time.Time, bool) {
	view := i.view.Load() // both answers by one view: the next may show a clock that has jumped
	if !view.InStep() {
		return time.Time{}, false
	}
	return view.Time(i.instant())
}

// Era returns the name of the log's era: sessions carry the era they began in, and those of another
// era must log in again. It reports false until a heartbeat has shown a head.
func (i *Issuer) Era() (string, bool) {
	v := i.view.Load()
	return v.Era, v.Era != ""
}

// CheckSession reports whether a session is revoked by this issuer's own set, so that it may not be
// refreshed: its sid is, or its subject, client, tenant or issuer has a cutoff at or after its
// beginning (Redis' time, to the millisecond). Like Check, it is worth something only while the
// copy is fresh.
func (i *Issuer) CheckSession(f *revocation.Facts, began time.Time) revocation.Verdict {
	return i.set.CheckSession(f, began)
}

// Entries returns up to limit entries of the log after a place, oldest first.
func (i *Issuer) Entries(ctx context.Context, after uint64, limit int) ([]revocation.Entry, error) {
	raw := redis.NewRawCmd(ctx, "XRANGE", i.keys.log, fmt.Sprintf("%d-0", after+1), "+", "COUNT",
		limit)
	if err := i.client.Universal().Process(ctx, raw); err != nil {
		return nil, fmt.Errorf("%w: %w", revocation.ErrUnavailable, err)
	}
	return (&decoder{string(raw.Val())}).entries()
}
