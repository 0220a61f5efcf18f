package redislog_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/sallyport/sallyport/internal/config"
	"github.com/sallyport/sallyport/internal/revocation"
	"github.com/sallyport/sallyport/internal/revocation/redislog"
)

// fill writes a log of n live entries as issuers would have, in the stream and head of r.
func fill(t testing.TB, r *server, n int) revocation.Position {
	t.Helper()
	ctx, c := context.Background(), r.client()
	epoch := revocation.Epoch{7}
	now := time.Now().UnixMilli()
	e := revocation.Genesis(epoch, now)
	for seq := uint64(1); seq <= uint64(n)+1; {
		pipe := c.Pipeline()
		for ; seq <= uint64(n)+1 && pipe.Len() < 5000; seq++ {
			if seq > 1 {
				before := e.Chain
				e = revocation.Entry{
					Seq: seq, Kind: revocation.KindSID, Issuer: iss, Value: fmt.Sprintf("tagtagtagtag~%032x", seq),
					Expires: now + 3_600_000, Reason: "logout", Actor: "alice", At: now,
				}
				e.Chain = e.After(before)
			}
			pipe.Do(ctx, "XADD", "{sallyport}:rev:log", fmt.Sprintf("%d-0", seq),
				revocation.BodyField, e.Body(), revocation.ChainField, e.Chain.String())
		}
		if _, err := pipe.Exec(ctx); err != nil {
			t.Fatal(err)
		}
	}
	p := revocation.Position{Epoch: epoch, Seq: uint64(n) + 1, Chain: e.Chain}
	r.do("HSET", "{sallyport}:rev:head", "epoch", epoch.String(), "seq", p.Seq, "chain",
		p.Chain.String(), "first", 1, "beat", now, "mending", 0, "max_token_lifetime", 3_600_000,
		"era", "era")
	return p
}

// BenchmarkStartWithAMillion starts a gate on a log of a million live entries: from Redis, and from
// its snapshot. It tells the seconds until the copy is complete and until it counts, and how many
// heartbeats there were meanwhile.
func BenchmarkStartWithAMillion(b *testing.B) {
	const entries = 1_000_000
	r := startRedis(b, "--appendonly", "no")
	fill(b, r, entries)
	file := config.Path(filepath.Join(b.TempDir(), "state", "snapshot"))
	for _, from := range []string{"redis", "snapshot"} {
		b.Run(from, func(b *testing.B) {
			for b.Loop() {
				if from == "redis" {
					if err := os.Remove(string(file)); err != nil && !errors.Is(err, fs.ErrNotExist) {
						b.Fatal(err)
					}
				}
				registry := prometheus.NewRegistry()
				cfg := redislog.DefaultConfig()
				o := redislog.Options{
					Name: "gate-1", Registry: registry,
					Snapshot: redislog.SnapshotConfig{File: file, Every: time.Hour},
				}
				began, spent := time.Now(), processor(b)
				g, err := redislog.NewGate(connect(b, r.addr()), cfg, o)
				if err != nil {
					b.Fatal(err)
				}
				held := func() bool { return liveMillion(b, registry) == entries }
				wasRead := time.Since(began)
				p := running(b, g.Run)
				for !held() {
					time.Sleep(20 * time.Millisecond)
				}
				complete := time.Since(began)
				beats, spent := heartbeats(b, registry), processor(b)-spent
				for !g.Freshness(g.Instant()).Fresh {
					time.Sleep(time.Millisecond)
				}
				fresh := time.Since(began)
				p.stop()
				b.ReportMetric(wasRead.Seconds(), "s-to-read-the-file")
				b.ReportMetric(complete.Seconds(), "s-to-all-held")
				b.ReportMetric(spent.Seconds(), "cpu-s-to-all-held")
				b.ReportMetric(fresh.Seconds(), "s-to-fresh")
				b.ReportMetric(beats, "heartbeats-while-loading")
				b.ReportMetric((time.Since(began) - fresh).Seconds(), "s-to-stop")
			}
		})
	}
}

// processor is the processor time that this process has had: other work on the machine does not
// lengthen it much.
func processor(t testing.TB) time.Duration {
	t.Helper()
	var r syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &r); err != nil {
		t.Fatal(err)
	}
	return time.Duration(r.Utime.Nano() + r.Stime.Nano())
}

func liveMillion(t testing.TB, r *prometheus.Registry) int {
	return int(gathered(t, r, "sallyport_revocation_live_entries"))
}

func heartbeats(t testing.TB, r *prometheus.Registry) float64 {
	return gathered(t, r, "sallyport_revocation_heartbeats_total")
}

// gathered sums a metric over its labels.
func gathered(t testing.TB, r *prometheus.Registry, name string) (sum float64) {
	t.Helper()
	families, err := r.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() == name {
			for _, m := range f.GetMetric() {
				sum += m.GetGauge().GetValue() + m.GetCounter().GetValue()
			}
		}
	}
	return sum
}
