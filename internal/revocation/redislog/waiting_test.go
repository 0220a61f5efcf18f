package redislog_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/sallyport/sallyport/internal/eventually"
	"github.com/sallyport/sallyport/internal/revocation"
	"github.com/sallyport/sallyport/internal/revocation/redislog"
)

// patient are settings for one replica, with time enough for it in health: WAIT waits for half of
// settle.
func patient() settings {
	s := named("issuer-1")
	s.cfg.MinReplicas, s.cfg.Settle, s.cfg.MaxStaleness = 1, 2*time.Second, 10*time.Second
	s.cfg.AppendTimeout = 6 * time.Second
	return s
}

// stuck is an idle issuer on a primary whose replica stays connected and takes in nothing from when
// freeze is called, which waits until it has said that it has all there is: WAIT on a connection
// that knows of nothing newer is met from then on.
func stuck(t *testing.T) (i idle, freeze func()) {
	t.Helper()
	i = newIdle(t, func(s *settings) { *s = patient() })
	replica := replicaOf(t, i.server)
	return i, func() {
		t.Helper()
		eventually.True(t, "the replica has said that it has everything",
			func() bool { return acknowledged(i.server) })
		signal(t, replica.cmd.Process.Pid, syscall.SIGSTOP)
		t.Cleanup(func() { signal(t, replica.cmd.Process.Pid, syscall.SIGCONT) })
	}
}

// acknowledged compares what a primary has written with what its replica says it has.
func acknowledged(primary *server) bool {
	info := fmt.Sprint(primary.do("INFO", "replication"))
	_, written, _ := strings.Cut(info, "master_repl_offset:")
	written, _, _ = strings.Cut(written, "\r\n")
	return strings.Contains(info, ",offset="+written+",")
}

// TestAHeartbeatHasNoReplicaThatHasNotTakenItIn: it is a write, and WAIT waits for that very write,
// though nobody else writes.
func TestAHeartbeatHasNoReplicaThatHasNotTakenItIn(t *testing.T) {
	t.Parallel()
	type sender = func(context.Context) (revocation.HeartbeatReply, error)
	for name, of := range map[string]func(idle) sender{
		"issuer": func(i idle) sender { return i.BeatOnce },
		"gate": func(i idle) sender {
			g, err := redislog.NewGate(connect(t, i.addr()), patient().cfg, patient().o)
			if err != nil {
				t.Fatal(err)
			}
			return g.BeatOnce
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			i, freeze := stuck(t)
			beat := of(i)
			if r, err := beat(t.Context()); err != nil || r.Replicas != 1 {
				t.Fatalf("in health: %d replicas (%v)", r.Replicas, err)
			}
			freeze()
			if r, err := beat(t.Context()); err != nil || r.Replicas != 0 {
				t.Errorf("with a replica that is stuck: %d replicas (%v)", r.Replicas, err)
			}
		})
	}
}

// TestAnAppendHasNoReplicaThatHasNotTakenItIn: from the first on a connection on.
func TestAnAppendHasNoReplicaThatHasNotTakenItIn(t *testing.T) {
	t.Parallel()
	i, freeze := stuck(t)
	r := i.beat()
	freeze()
	b := revocation.Batch{
		Again: true, Expect: r.Head.Position(),
		Entries: []revocation.Entry{lasting("a", r.Time+time.Hour.Milliseconds())},
	}
	if status, replicas, err := i.AppendOnce(t.Context(), b); err != nil || status != "OK" ||
		replicas != 0 {
		t.Errorf("%s on %d replicas (%v)", status, replicas, err)
	}
}

// TestAnAppendThatTooFewReplicasHaveIsNotAcknowledged (S7): WAIT that ends in time and gives too
// few is an error.
func TestAnAppendThatTooFewReplicasHaveIsNotAcknowledged(t *testing.T) {
	t.Parallel()
	i, freeze := stuck(t)
	s := patient()
	s.cfg.AppendTimeout = 3 * time.Second // WAIT waits for a quarter
	running := startIssuer(t, i.addr(), s)
	eventually.True(t, "fresh", running.fresh)
	freeze()
	if receipt, err := running.Append(t.Context(), asked("first")); !errors.Is(err,
		revocation.ErrUnavailable) {
		t.Errorf("%+v, %v, want ErrUnavailable", receipt, err)
	}
}

// TestAnAppendWhoseConnectionIsCutIsAnError (S7): whatever another connection says, which may lead
// to another server with a replica of its own.
func TestAnAppendWhoseConnectionIsCutIsAnError(t *testing.T) {
	t.Parallel()
	old, freeze := stuck(t)
	next, _ := stuck(t)
	d := openDoor(t, old.addr())
	i, err := redislog.NewIssuer(connect(t, d.Addr().String()), patient().cfg, patient().o)
	if err != nil {
		t.Fatal(err)
	}
	r := old.beat()
	freeze()
	cut := make(chan error, 1)
	go func() { cut <- cutWaiting(old.client(), d, next.addr()) }()
	b := revocation.Batch{
		Again: true, Expect: r.Head.Position(),
		Entries: []revocation.Entry{lasting("a", r.Time+time.Hour.Milliseconds())},
	}
	if status, replicas, err := i.AppendOnce(t.Context(), b); err == nil {
		t.Errorf("%s on %d replicas, though the connection was cut", status, replicas)
	}
	if err := <-cut; err != nil {
		t.Fatal(err)
	}
}

// cutWaiting waits for a connection that waits for replicas, has new ones lead elsewhere, and cuts
// it.
func cutWaiting(c *redis.Client, d *door, elsewhere string) error {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	for {
		list, err := c.ClientList(ctx).Result()
		if err != nil {
			return err
		}
		for client := range strings.Lines(list) {
			if strings.Contains(client, " cmd=wait ") {
				d.to.Store(&elsewhere)
				return c.ClientKillByFilter(ctx, "ID", strings.TrimPrefix(strings.Fields(client)[0], "id=")).
					Err()
			}
		}
	}
}

// TestAnAppendWhoseScriptRedisHasForgottenIsStored: NOSCRIPT means that nothing was done, whatever
// WAIT says (S7).
func TestAnAppendWhoseScriptRedisHasForgottenIsStored(t *testing.T) {
	t.Parallel()
	r := startRedis(t)
	i := startIssuer(t, r.addr(), named("issuer-1"))
	eventually.True(t, "fresh", i.fresh)
	revoke(t, i, sid("before"))
	for n := range 5 {
		r.do("SCRIPT", "FLUSH")
		id := fmt.Sprintf("s%d", n)
		receipt := revoke(t, i, sid(id))
		entry := fmt.Sprint(r.do("XRANGE", logKey, fmt.Sprintf("%d-0", receipt.Seq), "+"))
		if !strings.Contains(entry, "\t"+id+"\t") {
			t.Fatalf("acknowledged at %d, where the log has %s", receipt.Seq, entry)
		}
	}
}
