package redisconn_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/sallyport/sallyport/internal/config"
	"github.com/sallyport/sallyport/internal/eventually"
	"github.com/sallyport/sallyport/internal/redisconn"
)

// counter writes and says so with its new value; reader only reads it.
var (
	counter = redis.NewScript(`return redis.call('INCR', KEYS[1])`)
	reader  = redis.NewScript(`return redis.call('GET', KEYS[1])`)
)

const counted = "{writes}:counter"

// counting is a write that shows by a number that it wrote, and wants one replica to have it.
func counting() redisconn.Write {
	return redisconn.Write{
		Script: counter, Keys: []string{counted}, Wrote: aNumber, Replicas: 1,
		Timeout: 20 * time.Second,
	}
}

// briefly has a write wait for a replica that will not have it.
func briefly(w redisconn.Write) redisconn.Write {
	w.Timeout = 100 * time.Millisecond
	return w
}

func aNumber(answer any) bool {
	_, ok := answer.(int64)
	return ok
}

// inMulti is counting by commands that stand between two that only read.
func inMulti() redisconn.Write {
	w := counting()
	w.Script, w.Keys = nil, nil
	w.Commands = [][]any{{"GET", counted}, {"INCR", counted}, {"TIME"}}
	w.Wrote = func(answer any) bool {
		answers, ok := answer.([]any)
		return ok && len(answers) == 3 && aNumber(answers[1])
	}
	return w
}

var writes = map[string]func() redisconn.Write{
	"script": counting, "MULTI": inMulti,
}

// pair is a primary with one replica, and a client of the primary.
type pair struct {
	*redisconn.Client
	t       *testing.T
	replica int // its process
}

func startPair(t *testing.T) pair {
	t.Helper()
	port, second := freePort(t), freePort(t)
	server(t, port, "--port", strconv.Itoa(port), "--save", "", "--repl-diskless-sync-delay", "0")
	pid := server(t, second, "--port", strconv.Itoa(second), "--save", "", "--replicaof",
		fmt.Sprintf("127.0.0.1 %d", port))
	cfg := redisconn.DefaultConfig()
	cfg.Address, cfg.ReadTimeout, cfg.WriteTimeout = address(port), time.Minute, time.Minute
	p := pair{open(t, cfg), t, pid}
	eventually.True(t, "the replica follows",
		func() bool { return strings.Contains(p.info("replication"), "state=online") })
	return p
}

func (p pair) info(section string) string {
	p.t.Helper()
	text, err := p.Universal().Info(p.t.Context(), section).Result()
	if err != nil {
		p.t.Fatal(err)
	}
	return text
}

// freeze stops the replica once it has all there is: WAIT for anything older is met from then on.
func (p pair) freeze() {
	p.t.Helper()
	eventually.True(p.t, "the replica has said that it has everything", func() bool {
		info := p.info("replication")
		_, written, _ := strings.Cut(info, "master_repl_offset:")
		written, _, _ = strings.Cut(written, "\r\n")
		return strings.Contains(info, ",offset="+written+",")
	})
	if err := syscall.Kill(p.replica, syscall.SIGSTOP); err != nil {
		p.t.Fatal(err)
	}
	p.t.Cleanup(func() { _ = syscall.Kill(p.replica, syscall.SIGCONT) }) // it may have been killed
}

// writer is WriteAndWait over some connection.
type writer func(context.Context, redisconn.Write) (redisconn.Written, error)

// over calls f with both kinds of connection.
func (p pair) over(f func(t *testing.T, write writer)) {
	p.t.Run("pooled", func(t *testing.T) {
		f(t, func(ctx context.Context, w redisconn.Write) (redisconn.Written, error) {
			return p.WriteAndWait(ctx, counted, w)
		})
	})
	p.t.Run("dedicated", func(t *testing.T) {
		conn, err := p.Dedicated(t.Context(), counted)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = conn.Close() }()
		f(t, func(ctx context.Context, w redisconn.Write) (redisconn.Written, error) {
			return redisconn.WriteAndWait(ctx, conn, w)
		})
	})
}

// unanswered wants an error after which nothing is known.
func unanswered(t *testing.T, done redisconn.Written, err error) {
	t.Helper()
	if err == nil || errors.Is(err, redisconn.ErrTooFewReplicas) ||
		errors.Is(err, redisconn.ErrNothingWritten) || done != (redisconn.Written{}) {
		t.Errorf("expected an error without an answer, got %v with %+v", err, done)
	}
}

// TestAWriteCountsOnlyOnceAReplicaHasIt: the answer is there without, for whoever must know that it
// was stored.
func TestAWriteCountsOnlyOnceAReplicaHasIt(t *testing.T) {
	t.Parallel()
	p := startPair(t)
	p.over(func(t *testing.T, write writer) {
		for name, of := range writes {
			if done, err := write(t.Context(), of()); err != nil || done.Replicas != 1 {
				t.Errorf("%s, in health: %+v, %v", name, done, err)
			}
		}
	})
	p.freeze()
	p.over(func(t *testing.T, write writer) {
		for name, of := range writes {
			done, err := write(t.Context(), briefly(of()))
			if !errors.Is(err, redisconn.ErrTooFewReplicas) || done.Replicas != 0 ||
				!of().Wrote(done.Answer) {
				t.Errorf("%s, with a replica that is stopped: %+v, %v", name, done, err)
			}
		}
	})
	w := counting()
	w.Replicas = 0
	if _, err := p.WriteAndWait(t.Context(), counted, w); err != nil {
		t.Errorf("without the need for a replica: %v", err)
	}
}

// TestAnAnswerThatShowsNoWriteProvesNothing: whatever WAIT says, which from Redis 7.2 on is that
// all is well.
func TestAnAnswerThatShowsNoWriteProvesNothing(t *testing.T) {
	t.Parallel()
	p := startPair(t)
	if _, err := p.WriteAndWait(t.Context(), counted, counting()); err != nil {
		t.Fatal(err)
	}
	onlyRead, withoutProof, misspelt := counting(), counting(), inMulti()
	onlyRead.Script = reader
	withoutProof.Wrote = nil
	misspelt.Commands[1] = []any{"GETRANGE", counted, 0, 0}
	for name, w := range map[string]redisconn.Write{
		"a script that has only read": onlyRead, "no way to tell": withoutProof,
		"MULTI with reads alone": misspelt,
	} {
		done, err := p.WriteAndWait(t.Context(), counted, w)
		if !errors.Is(err, redisconn.ErrNothingWritten) || done.Answer == nil {
			t.Errorf("%s: expected ErrNothingWritten and the answer, got %v and %+v", name, err, done)
		}
	}
	failing := inMulti()
	failing.Commands[1] = []any{"LPUSH", counted, "x"}
	if _, err := p.WriteAndWait(t.Context(), counted, failing); !errors.Is(err,
		redisconn.ErrNothingWritten) || !strings.Contains(err.Error(), "WRONGTYPE") {
		t.Errorf("a write that failed in its MULTI: %v, want what Redis said", err)
	}
}

// TestAForgottenScriptIsSentAgainOverTheSameConnection: the WAIT behind NOSCRIPT is met, and speaks
// of another write.
func TestAForgottenScriptIsSentAgainOverTheSameConnection(t *testing.T) {
	t.Parallel()
	p := startPair(t)
	connections := func() string {
		_, n, _ := strings.Cut(p.info("stats"), "total_connections_received:")
		n, _, _ = strings.Cut(n, "\r\n")
		return n
	}
	p.over(func(t *testing.T, write writer) {
		if _, err := write(t.Context(), inMulti()); err != nil { // connects
			t.Fatal(err)
		}
		before := connections()
		for range 3 {
			if err := p.Universal().ScriptFlush(t.Context()).Err(); err != nil {
				t.Fatal(err)
			}
			was, _ := p.Universal().Get(t.Context(), counted).Int64()
			done, err := write(t.Context(), counting())
			if err != nil || done.Answer != was+1 {
				t.Errorf("expected the answer %d once, got %+v, %v", was+1, done, err)
			}
		}
		if after := connections(); after != before {
			t.Errorf("another connection was made: %s, before %s", after, before)
		}
	})
	p.freeze()
	p.over(func(t *testing.T, write writer) {
		if err := p.Universal().ScriptFlush(t.Context()).Err(); err != nil {
			t.Fatal(err)
		}
		_, err := write(t.Context(), briefly(counting()))
		if !errors.Is(err, redisconn.ErrTooFewReplicas) {
			t.Errorf("with a replica that is stopped: %v", err)
		}
	})
}

// TestAWriteEndsWithItsContext, while WAIT goes on. What WAIT answers in the end is read by nobody.
func TestAWriteEndsWithItsContext(t *testing.T) {
	t.Parallel()
	p := startPair(t)
	p.freeze()
	p.over(func(t *testing.T, write writer) {
		ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
		defer cancel()
		w := counting()
		w.Timeout = time.Hour
		done, err := write(ctx, w)
		unanswered(t, done, err)
	})
	if err := syscall.Kill(p.replica, syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	eventually.True(t, "the next one gets its own answer", func() bool {
		was, _ := p.Universal().Get(t.Context(), counted).Int64()
		done, err := p.WriteAndWait(t.Context(), counted, counting())
		return err == nil && done == redisconn.Written{Answer: was + 1, Replicas: 1}
	})
}

// TestAWriteWhoseConnectionIsCutIsAnError: it is not repeated on another one, where WAIT would be
// met.
func TestAWriteWhoseConnectionIsCutIsAnError(t *testing.T) {
	t.Parallel()
	p := startPair(t)
	p.freeze()
	p.over(func(t *testing.T, write writer) {
		was, _ := p.Universal().Get(t.Context(), counted).Int64()
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		defer cancel()
		cut := make(chan error, 1)
		go func() { cut <- cutWaiting(ctx, p.Universal()) }()
		w := counting()
		w.Timeout = time.Hour
		done, err := write(ctx, w)
		unanswered(t, done, err)
		if err := <-cut; err != nil {
			t.Fatal(err)
		}
		if now, _ := p.Universal().Get(t.Context(), counted).Int64(); now != was+1 {
			t.Errorf("written %d times", now-was)
		}
	})
}

// blocked is the flag of a connection that waits now; cmd is the last command of an idle one, too.
var blocked = regexp.MustCompile(` flags=[A-Za-z]*b`)

// cutWaiting cuts the first connection that waits for replicas.
func cutWaiting(ctx context.Context, c redis.UniversalClient) error {
	for {
		list, err := c.ClientList(ctx).Result()
		if err != nil {
			return err
		}
		for client := range strings.Lines(list) {
			if strings.Contains(client, " cmd=wait ") && blocked.MatchString(client) {
				id := strings.TrimPrefix(strings.Fields(client)[0], "id=")
				return c.ClientKillByFilter(ctx, "ID", id).Err()
			}
		}
	}
}

// TestARefusedGreetingIsAnError: go-redis puts it into none of a pipeline's commands.
func TestARefusedGreetingIsAnError(t *testing.T) {
	t.Parallel()
	port := freePort(t)
	server(t, port, "--port", strconv.Itoa(port), "--requirepass", "right-password")
	cfg := redisconn.DefaultConfig()
	cfg.Address, cfg.Password = address(port), config.NewSecret("wrong-password")
	p := pair{Client: open(t, cfg), t: t}
	p.over(func(t *testing.T, write writer) {
		w := counting()
		w.Replicas, w.Wrote = 0, func(any) bool { return true }
		done, err := write(t.Context(), w)
		unanswered(t, done, err)
		var setting *redisconn.SettingError
		if !errors.As(p.Explain(err), &setting) {
			t.Errorf("expected an error about a setting, got %v", err)
		}
	})
	fields := redis.NewSliceCmd(t.Context(), "HMGET", "a session", "state")
	if err := p.Read(t.Context(), fields); err == nil {
		t.Errorf("a read was answered %v", fields.Val())
	}
}

// TestWAITStandsInOnePlace: what waits for replicas anywhere else forgets one of the rules.
func TestWAITStandsInOnePlace(t *testing.T) {
	t.Parallel()
	command := regexp.MustCompile(`"WAIT"|Do\([^)]*"(?i:wait)"`)
	method := regexp.MustCompile(`\.Wait(AOF)?\([^\n]*, `)
	// Other types have a method Wait as well.
	client := regexp.MustCompile(`"github.com/redis/go-redis/|internal/redisconn"`)
	var places []string
	err := filepath.WalkDir("../..", func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		hidden := strings.HasPrefix(d.Name(), ".") && d.Name() != ".."
		// Bugs quote what they break; a gate that is simulated waits for nothing.
		if d.IsDir() && (hidden || path == "../../e2e/bugs" || path == "../../bench/scale") {
			return fs.SkipDir
		}
		if !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") ||
			path == "../../internal/revocation/relay/session.go" { // is asked for it, and sends none
			return nil
		}
		text, err := os.ReadFile(path)
		if command.Match(text) || client.Match(text) && method.Match(text) {
			places = append(places, path)
		}
		return err
	})
	if err != nil || len(places) != 1 || places[0] != "../../internal/redisconn/write.go" {
		t.Errorf("WAIT stands in %v (%v), want it in write.go alone", places, err)
	}
}
