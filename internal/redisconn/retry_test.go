package redisconn_test

import (
	"bytes"
	"context"
	"net"
	"strconv"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/sallyport/sallyport/internal/redisconn"
)

// cutting gives the address of a way to the server on a port that is cut whenever an INCR was done and before its answer
// has come back.
func cutting(t *testing.T, port int) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			in, err := l.Accept()
			if err != nil {
				return
			}
			go carry(in, port)
		}
	}()
	return l.Addr().String()
}

// carry hands one request after the other over, and its answer back.
func carry(in net.Conn, port int) {
	defer func() { _ = in.Close() }()
	out, err := net.Dial("tcp", address(port))
	if err != nil {
		return
	}
	defer func() { _ = out.Close() }()
	request, answer := make([]byte, 1<<16), make([]byte, 1<<16)
	for {
		n, err := in.Read(request)
		if err != nil {
			return
		}
		if _, err := out.Write(request[:n]); err != nil {
			return
		}
		m, err := out.Read(answer)
		if err != nil || bytes.Contains(bytes.ToLower(request[:n]), []byte("incr")) {
			return
		}
		if _, err := in.Write(answer[:m]); err != nil {
			return
		}
	}
}

// TestNothingIsSentTwice (S7): what was done and whose answer was lost is an error. A client that repeats it by itself, on
// another connection, forges the acknowledgement.
func TestNothingIsSentTwice(t *testing.T) {
	t.Parallel()
	port := freePort(t)
	server(t, port, "--port", strconv.Itoa(port))
	direct := redis.NewClient(&redis.Options{Addr: address(port), Protocol: 2, DisableIdentity: true})
	t.Cleanup(func() { _ = direct.Close() })
	cfg := redisconn.DefaultConfig()
	cfg.Address = cutting(t, port)
	c := open(t, cfg)
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	for name, send := range map[string]func(key string) error{
		"pooled": func(key string) error { return c.Universal().Incr(ctx, key).Err() },
		"pooled pipeline": func(key string) error {
			pipe := c.Universal().Pipeline()
			pipe.Incr(ctx, key)
			_, err := pipe.Exec(ctx)
			return err
		},
		"dedicated": func(key string) error {
			conn, err := c.Dedicated(ctx, key)
			if err != nil {
				return err
			}
			defer func() { _ = conn.Close() }()
			pipe := conn.Pipeline()
			pipe.Incr(ctx, key)
			pipe.Do(ctx, "WAIT", 0, 1)
			_, err = pipe.Exec(ctx)
			return err
		},
	} {
		if err := send(name); err == nil {
			t.Errorf("%s: no error though the answer was lost", name)
		}
		if n, err := direct.Get(ctx, name).Int(); err != nil || n != 1 {
			t.Errorf("%s: done %d times (%v), expected once", name, n, err)
		}
	}
}
