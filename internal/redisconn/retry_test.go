package redisconn_test

import (
	"bufio"
	"context"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/sallyport/sallyport/internal/redisconn"
)

// dropper is a server that counts connections and what it is asked, and ends each connection
// unanswered at the first command after HELLO, which it does not know.
type dropper struct {
	addr string

	mu          sync.Mutex
	connections int
	asked       map[string]int
}

func startDropper(t *testing.T) *dropper {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	d := &dropper{addr: l.Addr().String(), asked: map[string]int{}}
	var serving sync.WaitGroup
	serving.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			d.mu.Lock()
			d.connections++
			d.mu.Unlock()
			serving.Go(func() { d.serve(c) })
		}
	})
	t.Cleanup(func() {
		_ = l.Close()
		serving.Wait()
	})
	return d
}

// serve reads commands as they are on the wire: the word after an array's head and a length is the
// command's name.
func (d *dropper) serve(c net.Conn) {
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(20 * time.Second))
	for r := bufio.NewReader(c); ; {
		var line [3]string
		for i := range line {
			var err error
			if line[i], err = r.ReadString('\n'); err != nil {
				return
			}
		}
		name := strings.ToLower(strings.TrimSpace(line[2]))
		d.mu.Lock()
		d.asked[name]++
		d.mu.Unlock()
		if name != "hello" {
			return
		}
		n := int(line[0][1] - '0')
		for range 2 * (n - 1) {
			if _, err := r.ReadString('\n'); err != nil {
				return
			}
		}
		if _, err := c.Write([]byte("-ERR unknown command\r\n")); err != nil {
			return
		}
	}
}

func (d *dropper) count(name string) (asked, connections int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.asked[name], d.connections
}

// TestNoCommandIsSentTwice: whoever gets no answer must not be answered for by a repetition on
// another connection: WAIT there knows nothing of the write (S7).
func TestNoCommandIsSentTwice(t *testing.T) {
	t.Parallel()
	set := func(ctx context.Context, c redis.Cmdable) error { return c.Set(ctx, "k", "v", 0).Err() }
	pipe := func(ctx context.Context, c redis.Cmdable) error {
		_, err := c.Pipelined(ctx, func(p redis.Pipeliner) error { return p.Set(ctx, "k", "v", 0).Err() })
		return err
	}
	for name, do := range map[string]func(context.Context, redis.Cmdable) error{
		"command": set, "pipeline": pipe,
	} {
		for _, dedicated := range []bool{false, true} {
			d := startDropper(t)
			cfg := redisconn.DefaultConfig()
			cfg.Address = d.addr
			client := open(t, cfg)
			ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
			defer cancel()
			var over redis.Cmdable = client.Universal()
			if dedicated {
				conn, err := client.Dedicated(ctx, "{sallyport}:rev:log")
				if err != nil {
					t.Fatal(err)
				}
				defer conn.Close()
				over = conn
			}
			if err := do(ctx, over); err == nil {
				t.Errorf("%s, dedicated %v: no error of a server that never answers", name, dedicated)
			}
			if asked, connections := d.count("set"); asked != 1 || connections != 1 {
				t.Errorf(
					"%s, dedicated %v: SET came %d times over %d connections, want once over one (all: %v)",
					name, dedicated, asked, connections, d.asked)
			}
		}
	}
}

// TestADeadServerIsDialledOnce: who looks for another primary must hear at once that this one is
// gone.
func TestADeadServerIsDialledOnce(t *testing.T) {
	t.Parallel()
	cfg := redisconn.DefaultConfig()
	cfg.Address = address(freePort(t))
	client := open(t, cfg)
	if dials := redisconn.DialsOf(client, func() {
		conn, err := client.Dedicated(t.Context(), "k")
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		if err := conn.Set(t.Context(), "k", "v", 0).Err(); err == nil {
			t.Error("no error although nobody listens")
		}
	}); dials != 1 {
		t.Errorf("dialled %d times, want once", dials)
	}
}
