package session_test

import (
	"net"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/sallyport/sallyport/internal/eventually"
	"github.com/sallyport/sallyport/internal/session"
	"github.com/sallyport/sallyport/internal/session/sessiontest"
)

// TestAWriteCountsOnceItsReplicaHasIt has a real primary and a real replica that stops for a while:
// what has not reached it is no answer, also when another connection wrote it and this one only
// repeats it.
func TestAWriteCountsOnceItsReplicaHasIt(t *testing.T) {
	port := freePort(t)
	primary, _ := sessiontest.StartRedis(t, "--port", port, "--repl-diskless-sync-delay", "0")
	_, process := sessiontest.StartRedis(t, "--replicaof", "127.0.0.1 "+port)
	client := sessiontest.Open(t, primary)
	another := sessiontest.Open(t, primary) // its writes go over connections of its own
	log, ring := sessiontest.NewLog(), sessiontest.NewRing()
	alone := newWorldWith(t, another, config(), log, ring)
	cfg := config()
	cfg.MinReplicas, cfg.WaitTimeout = 1, 100*time.Millisecond
	w := newWorldWith(t, client, cfg, log, ring)
	awaitReplica(t, primary)

	g := w.login("alice")
	if err := process.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = process.Signal(syscall.SIGCONT) }()
	alone.mustRefresh(g.RefreshToken)
	if _, err := w.refresh(g.RefreshToken); err == nil {
		t.Error("a refresh that the replica does not have was repeated")
	}
	if _, err := w.end(g.Session.ID); err == nil {
		t.Error("an end that the replica does not have was acknowledged")
	}
	if err := process.Signal(syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	eventually.True(t, "the end to be acknowledged, since the replica is back", func() bool {
		_, err := w.end(g.Session.ID)
		return err == nil
	})
}

// TestNothingIsAnsweredBeforeTheReplicaHasIt: WAIT waits for the very write, though the replica has
// all that was written before.
func TestNothingIsAnsweredBeforeTheReplicaHasIt(t *testing.T) {
	for name, operation := range map[string]func(*world, session.Grant) error{
		"login":   func(w *world, _ session.Grant) error { return second(w.tryLogin("bob")) },
		"refresh": func(w *world, g session.Grant) error { return second(w.refresh(g.RefreshToken)) },
		"end":     func(w *world, g session.Grant) error { return second(w.end(g.Session.ID)) },
		"end of a session that is not there": func(w *world, g session.Grant) error {
			tag, _, _ := strings.Cut(g.Session.ID, "~")
			return second(w.end(tag + "~" + strings.Repeat("A", 22)))
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			port := freePort(t)
			primary, _ := sessiontest.StartRedis(t, "--port", port, "--repl-diskless-sync-delay", "0")
			_, process := sessiontest.StartRedis(t, "--replicaof", "127.0.0.1 "+port)
			cfg := config()
			cfg.MinReplicas, cfg.WaitTimeout = 1, 100*time.Millisecond
			alone := newWorldWith(t, sessiontest.Open(t, primary), config(), sessiontest.NewLog(),
				sessiontest.NewRing())
			w := newWorldWith(t, alone.redis, cfg, alone.log, alone.ring)
			awaitReplica(t, primary)
			g := alone.login("alice")
			awaitAcknowledged(t, alone.redis.Universal())
			if err := process.Signal(syscall.SIGSTOP); err != nil {
				t.Fatal(err)
			}
			defer func() { _ = process.Signal(syscall.SIGCONT) }()
			if err := operation(w, g); err == nil {
				t.Error("answered though the replica has nothing of it")
			}
		})
	}
}

// TestASessionThatHasGoneMeanwhileIsFinishedOnTheReplicaToo: what is found to be gone is believed
// when the replica has nothing of it either, which a script that writes nothing cannot tell.
func TestASessionThatHasGoneMeanwhileIsFinishedOnTheReplicaToo(t *testing.T) {
	port := freePort(t)
	primary, _ := sessiontest.StartRedis(t, "--port", port, "--repl-diskless-sync-delay", "0")
	_, process := sessiontest.StartRedis(t, "--replicaof", "127.0.0.1 "+port)
	cfg := config()
	cfg.MinReplicas, cfg.WaitTimeout = 1, 100*time.Millisecond
	w := newWorldWith(t, sessiontest.Open(t, primary), cfg, sessiontest.NewLog(),
		sessiontest.NewRing())
	awaitReplica(t, primary)
	g := w.login("alice")
	w.log.Fail(func(call string) error { // the session has been marked
		if call != "append" {
			return nil
		}
		w.redis.Universal().FlushAll(t.Context())
		awaitAcknowledged(t, w.redis.Universal())
		return process.Signal(syscall.SIGSTOP)
	})
	defer func() { _ = process.Signal(syscall.SIGCONT) }()
	if _, err := w.end(g.Session.ID); err == nil {
		t.Error("an end was acknowledged though the replica has nothing of it")
	}
}

// awaitAcknowledged waits until the replica has said that it has everything.
func awaitAcknowledged(t *testing.T, client redis.UniversalClient) {
	t.Helper()
	eventually.True(t, "the replica has everything", func() bool {
		info, err := client.Info(t.Context(), "replication").Result()
		if err != nil {
			t.Fatal(err)
		}
		_, written, _ := strings.Cut(info, "master_repl_offset:")
		written, _, _ = strings.Cut(written, "\r\n")
		return strings.Contains(info, ",offset="+written+",")
	})
}

func freePort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	return strconv.Itoa(l.Addr().(*net.TCPAddr).Port)
}

// awaitReplica waits until the primary at an address has a replica that follows it.
func awaitReplica(t *testing.T, address string) {
	t.Helper()
	client := redis.NewClient(&redis.Options{Addr: address, MaxRetries: -1})
	defer func() { _ = client.Close() }()
	eventually.True(t, "the replica follows", func() bool {
		pipe := client.Pipeline()
		pipe.Set(t.Context(), "awaited", "1", 0)
		replicas := pipe.Do(t.Context(), "WAIT", 1, 100)
		if _, err := pipe.Exec(t.Context()); err != nil {
			t.Fatal(err)
		}
		n, err := replicas.Int64()
		return err == nil && n == 1
	})
}
