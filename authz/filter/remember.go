package filter

import (
	"encoding/binary"
	"strings"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/sallyport/sallyport/authz"
	"github.com/sallyport/sallyport/authz/check"
	"github.com/sallyport/sallyport/internal/revocation"
)

// Keep says for how long the answer to a request holds for the same request: one whose route names
// the same policy, from the same peer, with the same headers but for x-request-id, content-length and
// those by which a request is traced. The module keeps answers in memory of C's, an entry of its
// worker's for each, and gives them again without entering Go, which costs Envoy more than the
// decision does.
//
// An answer holds until For has passed on either clock since before the request was judged, and no
// longer than the numbers that it was made by stand still: All, and those of its classes. Whoever
// gives it again first has the stream watched (Host.Watched), then looks at the numbers: a
// revocation that moves them later finds the stream.
//
// Its fields lie as in the module's C.
type Keep struct {
	For     time.Duration // 0: not at all
	All     uint64
	Version [revocation.MaxClasses]uint64
	// Lifetime, in milliseconds, is what the answer says of how long the request may last: less by as
	// much as has passed, but no less than Least. Its digits are at LifetimeAt.
	Lifetime, Least int64

	Entry                   uint32 // where the answer would be kept, set by the caller
	Classes                 uint32 // how many
	Class                   [revocation.MaxClasses]revocation.Class
	LifetimeAt, LifetimeLen uint32 // in the answer; 0: no lifetime
	IDAt                    uint32 // the decision's ID, of which each request has its own; 0: none
}

// What a worker remembers.
const (
	Entries = 4096
	NoEntry = 1<<32 - 1 // there is no entry that could be used
)

// longestKept is for how long an answer is given again without asking, however long it would hold:
// what nobody has thought of is forgotten by then.
const longestKept = 10 * time.Second

// remembered are those whose tokens the module lets pass without asking.
type remembered [MaxWorkers]atomic.Pointer[entries]

type entries [Entries]atomic.Pointer[bearer]

// bearer is who an entry lets pass.
type bearer struct {
	facts       *revocation.Facts
	allowsStale bool
}

// newBearer copies the facts: they are a part of all that is known of a token, which would be kept
// with them.
func newBearer(of *revocation.Facts, allowsStale bool) *bearer {
	facts := *of
	for _, name := range []*string{
		&facts.Issuer, &facts.TokenID, &facts.SessionID, &facts.Subject, &facts.ClientID, &facts.Tenant,
		&facts.KeyID,
	} {
		*name = strings.Clone(*name)
	}
	return &bearer{&facts, allowsStale}
}

// at returns who an entry lets pass; nil for nobody.
func (r *remembered) at(worker, entry uint32) *bearer {
	if worker >= MaxWorkers || entry >= Entries {
		return nil
	}
	all := r[worker].Load()
	if all == nil {
		return nil
	}
	return all[entry].Load()
}

// put has an entry let pass by, which nobody uses any more. The worker whose entry it is calls it.
func (r *remembered) put(worker, entry uint32, by *bearer) {
	all := r[worker].Load()
	if all == nil {
		all = new(entries)
		r[worker].Store(all)
	}
	all[entry].Store(by)
}

// passes reports whether an answer lets pass.
func passes(answer []byte) bool {
	if len(answer) < headSize {
		return false
	}
	verdict := binary.NativeEndian.Uint32(answer)
	return verdict == verdictAllow || verdict == verdictWatch
}

// remember says for how long the answer to a request that may pass holds. version is that of all that
// is of no class, from before the request was judged.
func (f *Filter) remember(k *Keep, version uint64, s Stream, r *check.Request,
	d *authz.Decision) {
	if k.Entry >= Entries || !f.checker.Lasting(r, d) {
		return
	}
	lasts := longestKept
	k.All, k.Classes = version, 0
	k.Least = min(k.Lifetime, f.options.Streams.Least.Milliseconds())
	if facts := d.Identity.Facts; facts != nil {
		fresh := f.options.Revocations.Freshness(r.At)
		if !fresh.Fresh {
			return
		}
		lasts = min(lasts, d.Remaining, f.options.MaxStaleness-fresh.Staleness)
		var array [revocation.MaxClasses]revocation.Class
		classes := f.options.Revocations.Classes(facts, array[:0])
		k.Classes = uint32(copy(k.Class[:], classes))
		for i, c := range classes {
			k.Version[i] = f.versions.Of(c)
		}
		if s := f.options.Streams; s.EndAtExpiry && d.EndsWithToken && s.Lifetime(d) == s.Max {
			// until the token's end comes before that of any request
			lasts = min(lasts, d.Remaining-s.Max-time.Second)
		}
		// Once more, now that the numbers are known: what was revoked before them is found.
		if lasts <= 0 || f.options.Revocations.Check(facts).Revoked {
			return
		}
		// Only now: the module keeps the answer, and what stood in the entry is over.
		f.remembered.put(s.Worker, k.Entry, newBearer(facts, d.AllowsStale()))
	}
	k.For = lasts
}

func newKept(registry prometheus.Registerer) prometheus.Gauge {
	kept := prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "sallyport_gate_remembered_bytes",
		Help: "What the answers take that may be given again, of all workers: 8 MiB each at most.",
	})
	if registry != nil {
		registry.MustRegister(kept)
	}
	return kept
}

// Given is what a worker has done by what it remembers.
type Given struct {
	Requests uint64 // that it has let pass so far
	Tokens   uint64 // of these, by a token
	Bytes    uint64 // that what it remembers takes now
}

// countGiven counts the requests that got answers of before.
func (f *Filter) countGiven() {
	all := uint64(0)
	f.options.Host.Given(func(worker int, now Given) {
		before := &f.given[worker]
		f.checker.Given(worker, now.Requests-before.Requests, now.Tokens-before.Tokens)
		*before = now
		all += now.Bytes
	})
	f.kept.Set(float64(all))
}
