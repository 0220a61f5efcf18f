// Command writer is an issuer of the revocation log that nobody logs in to: it fills the log with
// live entries, and then revokes as many sessions a second as it is told to over HTTP.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"os/signal"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/sallyport/sallyport/internal/redisconn"
	"github.com/sallyport/sallyport/internal/revocation"
	"github.com/sallyport/sallyport/internal/revocation/redislog"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

type writer struct {
	log     *redislog.Issuer
	issuer  string
	filled  atomic.Bool
	rate    atomic.Int64
	revoked atomic.Int64
}

func run(ctx context.Context) error {
	at := flag.String("redis", "", "host:port of Redis")
	listen := flag.String("listen", "", "host:port to be told at")
	issuer := flag.String("issuer", "", "whose sessions are revoked")
	fill := flag.Int("fill", 0, "how many entries to write at the start")
	flag.Parse()
	settings := redisconn.DefaultConfig()
	settings.Address, settings.Checks = *at, "warn"
	client, err := redisconn.Open(settings)
	if err != nil {
		return err
	}
	defer client.Close()
	config := redislog.DefaultConfig()
	config.AppendTimeout = time.Minute
	log, err := redislog.NewIssuer(client, config,
		redislog.Options{Name: "writer", Registry: prometheus.NewRegistry()})
	if err != nil {
		return err
	}
	w := &writer{log: log, issuer: *issuer}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var wg sync.WaitGroup
	defer wg.Wait()
	wg.Go(func() {
		if err := log.Run(ctx); err != nil {
			cancel(err)
		}
	})
	wg.Go(func() {
		if err := w.work(ctx, *fill); err != nil {
			cancel(err)
		}
	})
	server := &http.Server{Addr: *listen, Handler: w.handler(), ReadHeaderTimeout: 5 * time.Second}
	defer context.AfterFunc(ctx, func() { _ = server.Close() })()
	if err := server.ListenAndServe(); !errors.Is(err, http.ErrServerClosed) {
		cancel(err)
	}
	if err := context.Cause(ctx); !errors.Is(err, context.Canceled) {
		return fmt.Errorf("writer: %w", err)
	}
	return nil
}

func (w *writer) handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /readyz", func(r http.ResponseWriter, _ *http.Request) {
		if !w.filled.Load() {
			http.Error(r, "filling", http.StatusServiceUnavailable)
		}
	})
	mux.HandleFunc("POST /rate", func(r http.ResponseWriter, q *http.Request) {
		n, err := strconv.ParseInt(q.FormValue("rate"), 10, 64)
		if err != nil || n < 0 || n > 100_000 {
			http.Error(r, "expected a rate of 0 to 100000", http.StatusBadRequest)
			return
		}
		w.rate.Store(n)
	})
	mux.HandleFunc("GET /revoked", func(r http.ResponseWriter, _ *http.Request) {
		fmt.Fprintln(r, w.revoked.Load())
	})
	return mux
}

const (
	batch   = 1000 // entries in one append while filling
	batches = 8    // such appends at a time
)

// work fills the log, and then revokes at the rate that is wanted.
func (w *writer) work(ctx context.Context, fill int) error {
	for w.log.Ready() != nil {
		select {
		case <-time.After(10 * time.Millisecond):
		case <-ctx.Done():
			return nil
		}
	}
	if err := w.fill(ctx, fill); err != nil {
		return err
	}
	w.filled.Store(true)
	return w.revoke(ctx)
}

func (w *writer) fill(ctx context.Context, n int) error {
	errs := make([]error, batches)
	var wg sync.WaitGroup
	for part := range batches {
		wg.Go(func() {
			for from := part * batch; from < n && errs[part] == nil; from += batches * batch {
				requests := make([]revocation.Request, min(batch, n-from))
				for i := range requests {
					requests[i] = w.request()
				}
				_, errs[part] = w.log.Append(ctx, requests)
			}
		})
	}
	wg.Wait()
	return errors.Join(errs...)
}

// request names a session that nobody has.
func (w *writer) request() revocation.Request {
	return revocation.Request{
		Kind: revocation.KindSID, Issuer: w.issuer, Reason: "logout", Actor: "user-000001",
		Value: fmt.Sprintf("benchbenchbench~%016x%016x", rand.Uint64()|1<<63, rand.Uint64()),
	}
}

const (
	tick   = 5 * time.Millisecond
	atOnce = 64 // appends on their way at most; more than that are not owed later
)

// revoke ends sessions one by one, each in an append of its own, as logouts do.
func (w *writer) revoke(ctx context.Context) error {
	ticks := time.NewTicker(tick)
	defer ticks.Stop()
	failed := make(chan error, atOnce)
	places := make(chan struct{}, atOnce)
	owed := 0.0
	var wg sync.WaitGroup
	defer wg.Wait()
	for {
		select {
		case <-ticks.C:
		case err := <-failed:
			return err
		case <-ctx.Done():
			return nil
		}
		for owed += float64(w.rate.Load()) * tick.Seconds(); owed >= 1; owed-- {
			select {
			case places <- struct{}{}:
			default:
				owed = 1
				continue
			}
			wg.Go(func() {
				defer func() { <-places }()
				if _, err := w.log.Append(ctx, []revocation.Request{w.request()}); err == nil {
					w.revoked.Add(1)
				} else if ctx.Err() == nil {
					failed <- err
				}
			})
		}
	}
}
