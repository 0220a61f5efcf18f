package redislog_test

import (
	"context"
	"fmt"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/sallyport/sallyport/internal/revocation"
	"github.com/sallyport/sallyport/internal/revocation/redislog"
)

// stuck is a primary and a replica that is connected and takes in nothing, from when freeze is called.
func stuck(t *testing.T) (primary *server, freeze func(), s settings) {
	t.Helper()
	primary = startRedis(t)
	replica := replicaOf(t, primary)
	s = named("issuer-1")
	s.cfg.MinReplicas = 1
	freeze = func() {
		t.Helper()
		signal(t, replica.cmd.Process.Pid, syscall.SIGSTOP)
		t.Cleanup(func() { signal(t, replica.cmd.Process.Pid, syscall.SIGCONT) })
	}
	return primary, freeze, s
}

// TestAHeartbeatHasNoReplicaThatHasNotTakenItIn: it is a write, and WAIT waits for that very write.
func TestAHeartbeatHasNoReplicaThatHasNotTakenItIn(t *testing.T) {
	t.Parallel()
	primary, freeze, s := stuck(t)
	s.cfg.Settle, s.cfg.MaxStaleness = 2*time.Second, 10*time.Second // WAIT waits for half of settle
	i, err := redislog.NewIssuer(connect(t, primary.addr()), s.cfg, s.o)
	if err != nil {
		t.Fatal(err)
	}
	g, err := redislog.NewGate(connect(t, primary.addr()), s.cfg, s.o)
	if err != nil {
		t.Fatal(err)
	}
	beats := map[string]func(context.Context) (revocation.HeartbeatReply, error){"issuer": i.BeatOnce, "gate": g.BeatOnce}
	expect := func(when string, want int) {
		t.Helper()
		for name, beat := range beats {
			if r, err := beat(t.Context()); err != nil || r.Replicas != want {
				t.Errorf("%s, %s: %d replicas (%v), expected %d", name, when, r.Replicas, err, want)
			}
		}
	}
	expect("in health", 1)
	freeze()
	expect("with a replica that is stuck", 0)
}

// TestAnAppendIsNotAcknowledgedForAReplicaThatHasNotTakenItIn: from the first on a connection on (S7).
func TestAnAppendIsNotAcknowledgedForAReplicaThatHasNotTakenItIn(t *testing.T) {
	t.Parallel()
	primary, freeze, s := stuck(t)
	i := startIssuer(t, primary.addr(), s)
	eventually(t, "fresh", i.fresh)
	freeze()
	refused(t, i, "with a replica that is stuck", sid("first"))
}

// TestAnAppendWhoseConnectionIsCutIsNotAcknowledged: a WAIT over another connection answers at once (S7). Nor is it sent
// twice.
func TestAnAppendWhoseConnectionIsCutIsNotAcknowledged(t *testing.T) {
	t.Parallel()
	primary, freeze, s := stuck(t)
	i := startIssuer(t, primary.addr(), s)
	eventually(t, "fresh", i.fresh)
	freeze()
	cut := make(chan struct{})
	go func() {
		defer close(cut)
		eventually(t, "the entry is in the log", func() bool { return primary.do("XLEN", logKey) == int64(2) })
		for client := range strings.Lines(fmt.Sprint(primary.do("CLIENT", "LIST", "TYPE", "normal"))) {
			if strings.Contains(client, "cmd=wait") {
				id := strings.TrimPrefix(strings.Fields(client)[0], "id=")
				primary.do("CLIENT", "KILL", "ID", id)
			}
		}
	}()
	refused(t, i, "over a connection that was cut", sid("first"))
	<-cut
	if n := primary.do("XLEN", logKey); n != int64(2) {
		t.Errorf("%v entries in the log, expected the first and one", n)
	}
}

// TestAnAppendWhoseScriptRedisHasForgottenIsStored: NOSCRIPT means that nothing was done, whatever WAIT says (S7).
func TestAnAppendWhoseScriptRedisHasForgottenIsStored(t *testing.T) {
	t.Parallel()
	r := startRedis(t)
	i := startIssuer(t, r.addr(), named("issuer-1"))
	eventually(t, "fresh", i.fresh)
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
