package filter

import (
	"sync"
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/sallyport/sallyport/authz"
	"github.com/sallyport/sallyport/internal/revocation"
)

// Stream names one of Envoy's streams: a place at one of its workers, and which of the streams that
// have had that place, counted from 1.
type Stream struct {
	Worker, Place uint32
	Generation    uint64
}

// MaxWorkers and MaxPlaces are how many of each a Stream can name.
const (
	MaxWorkers = 1024
	MaxPlaces  = chunks * chunkSize

	chunks    = 1024
	chunkSize = 1024
)

// streams are those that were let pass by a token. A place is written by its worker, and once more
// for a request that the worker has held; it is read by whoever looks for tokens that are revoked.
// Nobody takes a lock. What is over stays in its place until the next stream has it: the generation
// tells.
type streams struct {
	workers [MaxWorkers]atomic.Pointer[places]
	rounds  atomic.Uint64 // looks through all of them that have begun
	wake    chan struct{}
	ended   prometheus.Counter
}

// places are one worker's.
type places struct {
	grow   sync.Mutex // held by whoever makes a chunk
	chunks [chunks]atomic.Pointer[chunk]
}

type chunk [chunkSize]place

type place struct {
	identity    atomic.Pointer[authz.Identity]
	allowsStale atomic.Bool
	generation  atomic.Uint64 // 0: nobody to be watched
}

func newStreams(registry prometheus.Registerer) *streams {
	return &streams{wake: make(chan struct{}, 1), ended: newEnded(registry)}
}

// put watches a stream, which has just begun, by its identity. allowsStale says that its route goes on
// while the copy is stale.
func (s *streams) put(at Stream, id *authz.Identity, allowsStale bool) {
	p := s.place(at)
	// In between, nobody takes the new token for that of the old stream, nor the other way round.
	p.generation.Store(0)
	p.identity.Store(id)
	p.allowsStale.Store(allowsStale)
	p.generation.Store(at.Generation)
}

// claim is the place of a request that is held. Its stream may be over, and the place another's,
// when it is decided on.
type claim struct {
	place *place
	mark  *authz.Identity // stands in the place until the place is another's
	at    Stream
}

// claim keeps the place of a request for what is decided later.
func (s *streams) claim(at Stream) *claim {
	c := &claim{s.place(at), new(authz.Identity), at}
	c.place.generation.Store(0)
	c.place.identity.Store(c.mark)
	c.place.allowsStale.Store(false)
	return c
}

// put watches the stream by its identity, unless its place is another's by now. It ends when the copy
// is stale whatever its route allows: that could not be noted without the risk of noting it for another.
func (c *claim) put(id *authz.Identity) {
	if c.place.identity.CompareAndSwap(c.mark, id) {
		// The worker that gives the place to another stream just now has the last word: it writes the
		// generation last, and until then this one names a stream that is over.
		c.place.generation.CompareAndSwap(0, c.at.Generation)
	}
}

func (s *streams) place(at Stream) *place {
	all := s.workers[at.Worker].Load()
	if all == nil {
		s.workers[at.Worker].CompareAndSwap(nil, new(places))
		all = s.workers[at.Worker].Load()
	}
	slot := &all.chunks[at.Place/chunkSize]
	c := slot.Load()
	if c == nil {
		all.grow.Lock()
		defer all.grow.Unlock()
		if c = slot.Load(); c == nil {
			c = new(chunk)
			slot.Store(c)
		}
	}
	return &c[at.Place%chunkSize]
}

// each calls f for every stream that is watched, and watches those no more that it says no to.
func (s *streams) each(f func(s Stream, facts *revocation.Facts, allowsStale bool) bool) {
	for w := range s.workers {
		all := s.workers[w].Load()
		if all == nil {
			continue
		}
		for n := range all.chunks {
			c := all.chunks[n].Load()
			if c == nil {
				continue
			}
			for i := range c {
				at := Stream{Worker: uint32(w), Place: uint32(n*chunkSize + i)}
				c[i].look(at, f)
			}
		}
	}
}

func (p *place) look(at Stream, f func(Stream, *revocation.Facts, bool) bool) {
	at.Generation = p.generation.Load()
	if at.Generation == 0 {
		return
	}
	id, allowsStale := p.identity.Load(), p.allowsStale.Load()
	// Unless it is still the same stream's, the identity may be another's.
	if id == nil || p.generation.Load() != at.Generation || f(at, id.Facts, allowsStale) {
		return
	}
	p.generation.CompareAndSwap(at.Generation, 0)
}

// begin begins a look through all streams.
func (s *streams) begin() { s.rounds.Add(1) }

// round is how many looks have begun.
func (s *streams) round() uint64 { return s.rounds.Load() }

// again asks for one more look.
func (s *streams) again() {
	select {
	case s.wake <- struct{}{}:
	default: // asked for already
	}
}
