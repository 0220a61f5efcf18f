package redislog

import (
	"fmt"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/sallyport/sallyport/internal/revocation"
	"github.com/sallyport/sallyport/internal/revocation/liveset"
)

// BenchmarkLoad takes in pages of the log as Redis sends them: decoded, chained, put into the set.
func BenchmarkLoad(b *testing.B) {
	const pages = 20
	raw := make([]string, pages)
	genesis := revocation.Genesis(revocation.Epoch{1}, 1)
	chain := genesis.Chain
	seq := uint64(1)
	for p := range raw {
		var s strings.Builder
		fmt.Fprintf(&s, "*%d\r\n", pageSize)
		for range pageSize {
			seq++
			e := revocation.Entry{
				Seq:     seq,
				Kind:    revocation.KindSID,
				Issuer:  "https://issuer.example",
				Value:   fmt.Sprintf("tagtagtagtag~%032x", seq),
				Expires: 1 << 41,
				Reason:  "logout",
				Actor:   "alice",
				At:      1 << 40,
			}
			e.Chain = e.After(chain)
			chain = e.Chain
			id := fmt.Sprintf("%d-0", seq)
			fmt.Fprintf(&s,
				"*2\r\n$%d\r\n%s\r\n*4\r\n$1\r\ne\r\n$%d\r\n%s\r\n$1\r\nc\r\n$40\r\n%s\r\n",
				len(id), id, len(e.Body()), e.Body(), e.Chain)
		}
		raw[p] = s.String()
	}
	cpu := func() time.Duration {
		var r syscall.Rusage
		if err := syscall.Getrusage(syscall.RUSAGE_SELF, &r); err != nil {
			b.Fatal(err)
		}
		return time.Duration(r.Utime.Nano() + r.Stime.Nano())
	}
	entries := 0
	began := cpu()
	for b.Loop() {
		set := liveset.New(liveset.Config{})
		r := revocation.NewCopy(revocation.CopyConfig{Page: pageSize}, set)
		r.Connected()
		hb := r.Beat(revocation.Instant{})
		r.Answered(hb, revocation.HeartbeatReply{HeadFound: true, Head: revocation.Head{
			Epoch: revocation.Epoch{1}, Seq: seq, Chain: chain, First: 1,
		}}, revocation.Instant{})
		r.Entries(r.Next(), []revocation.Entry{genesis}, revocation.Instant{})
		for _, page := range raw {
			list, err := (&decoder{page}).entries()
			if err != nil {
				b.Fatal(err)
			}
			r.Entries(r.Next(), list, revocation.Instant{})
		}
		if !r.Complete() {
			b.Fatal("not complete")
		}
		entries += pages * pageSize
	}
	b.ReportMetric(float64(cpu()-began)/float64(entries), "cpu-ns/entry")
}
