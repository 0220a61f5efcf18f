package filter

import (
	"encoding/binary"
	"hash/fnv"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc/codes"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/sallyport/sallyport/authz"
	"github.com/sallyport/sallyport/authz/authztest"
	"github.com/sallyport/sallyport/authz/check"
	"github.com/sallyport/sallyport/internal/revocation"
)

// bench is a filter in front of an engine, with the test for a host.
type bench struct {
	world    *authztest.World
	engine   *authz.Engine
	filter   *Filter
	registry *prometheus.Registry
	lines    authztest.Lines
	host     *host
}

// host is an Envoy with one worker, which has as many streams as one asks about.
type host struct {
	mu      sync.Mutex
	streams uint64
	answers map[Stream]chan []byte
	over    []Stream
	ended   chan Stream
	whys    map[Stream]Ending

	versions *revocation.Versions
	watched  []remembering // by remembered answers
	given    uint64
}

type remembering struct {
	stream Stream
	entry  uint32
}

func (h *host) Versions() *revocation.Versions { return h.versions }

func (h *host) Watched(f func(Stream, uint32)) {
	h.mu.Lock()
	all := slices.Clone(h.watched)
	h.mu.Unlock()
	for _, w := range all {
		f(w.stream, w.entry)
	}
}

func (h *host) Given(f func(worker int, now Given)) {
	h.mu.Lock()
	defer h.mu.Unlock()
	f(0, Given{Requests: h.given, Tokens: h.given / 2, Bytes: 1000})
}

func (h *host) next() Stream {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.streams++
	s := Stream{Worker: 0, Place: uint32(h.streams % 3000), Generation: h.streams}
	h.answers[s] = make(chan []byte, 1)
	return s
}

func (h *host) Resume(s Stream, answer []byte) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.answers[s] <- slices.Clone(answer)
}

func (h *host) End(s Stream, why Ending, _ []byte) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if slices.Contains(h.over, s) {
		return false
	}
	h.whys[s] = why
	h.watched = slices.DeleteFunc(h.watched, func(w remembering) bool { return w.stream == s })
	h.ended <- s
	return true
}

func (h *host) why(s Stream) Ending {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.whys[s]
}

// copied is a world's revocations, whose changes the test tells of, and how fresh they are while
// streams go on.
type copied struct {
	*authztest.Revocations
	changed chan struct{}
	fresh   *atomic.Pointer[revocation.Freshness] // nil: fresh
}

func (c copied) Freshness(revocation.Instant) revocation.Freshness {
	if c.fresh == nil {
		return revocation.Freshness{Fresh: true}
	}
	return *c.fresh.Load()
}

func (copied) Classes(f *revocation.Facts, to []revocation.Class) []revocation.Class {
	for _, name := range []string{f.SessionID, f.TokenID, f.Subject} {
		to = append(to, classOf(name))
	}
	return to
}

func classOf(name string) revocation.Class {
	h := fnv.New64a()
	_, _ = h.Write([]byte(name)) // never fails
	return revocation.ClassOf(h.Sum64())
}

func (c copied) Changed() <-chan struct{} { return c.changed }

func instant() revocation.Instant { return revocation.Instant{Mono: time.Minute} }

func start(t testing.TB, w *authztest.World, change ...func(*Options)) *bench {
	t.Helper()
	b := &bench{
		world: w, registry: prometheus.NewRegistry(),
		host: &host{
			answers: map[Stream]chan []byte{}, ended: make(chan Stream, 4096),
			whys:     map[Stream]Ending{},
			versions: revocation.NewVersions(make([]atomic.Uint64, revocation.VersionWords)),
		},
	}
	o := Options{
		Host:         b.host,
		Revocations:  copied{w.Revocations, make(chan struct{}), nil},
		MaxStaleness: 10 * time.Second,
		Streams:      check.DefaultStreamConfig(),
		Check: check.Options{
			Instant: instant, Keys: w.Keys, Audit: &b.lines, Registry: b.registry,
			KeyWait: 150 * time.Millisecond, KeyWaiters: 256,
		},
	}
	for _, f := range change {
		f(&o)
	}
	var err error
	b.engine = w.Engine(Wire)
	if b.filter, err = New(b.engine, o); err != nil {
		t.Fatal(err)
	}
	return b
}

// shown is a request as Envoy shows it, with its pseudo-headers.
func shown(r authz.Request) []authz.Header {
	all := []authz.Header{{Name: ":method", Value: r.Method}, {Name: ":path", Value: r.Path}}
	if r.Host != "" {
		all = append(all, authz.Header{Name: ":authority", Value: r.Host})
	}
	return append(all, r.Headers...)
}

// begin has the request judged that a stream begins with, and returns what its hook is told.
func (b *bench) begin(s Stream, headers []authz.Header) []byte {
	return b.filter.Request(s, headers, Origin{}, make([]byte, 0, maxAnswer), nil)
}

// send has a request judged, in memory that is used for something else afterwards, as Envoy's is.
func (b *bench) send(t testing.TB, headers []authz.Header, peer string) []byte {
	t.Helper()
	return b.sendFrom(t, headers, authz.Request{Peer: peer})
}

// sendFrom is send with what Envoy says of a request besides its headers.
func (b *bench) sendFrom(t testing.TB, headers []authz.Header, r authz.Request) []byte {
	t.Helper()
	s := b.host.next()
	memory, views := borrowed(
		append(slices.Clone(headers), authz.Header{Name: r.Peer, Value: r.Policy}),
	)
	last := len(views) - 1
	out := b.filter.Request(s, views[:last], Origin{
		Peer: views[last].Name, Policy: views[last].Value, Source: check.Address("192.0.2.1"),
	}, make([]byte, 0, maxAnswer), nil)
	for i := range memory {
		memory[i] = '#'
	}
	if verdict(out) != verdictHeld {
		return out
	}
	select {
	case out = <-b.host.answers[s]:
		return out
	case <-time.After(20 * time.Second):
		t.Fatal("a request that was held is never answered")
		return nil
	}
}

func verdict(answer []byte) uint32 { return binary.NativeEndian.Uint32(answer) }

func (b *bench) ask(t testing.TB) authztest.Ask {
	return func(r authz.Request) authztest.Answer {
		t.Helper()
		headers := shown(r)
		return answerOf(t, b.sendFrom(t, headers, r), headers)
	}
}

// answerOf does what the module does with an answer.
func answerOf(t testing.TB, b []byte, request []authz.Header) (a authztest.Answer) {
	t.Helper()
	d := decoder{b}
	verdict, _, status, grpc, headers := d.number(), d.number(), d.number(), d.number(), d.number()
	removed := map[string]bool{}
	for range headers {
		name, value, keep := d.header()
		switch {
		case !keep:
			removed[name] = true
		case name == ":path":
			a.Path = value
		case verdict == verdictRefuse:
			a.Headers = append(a.Headers, authz.Header{Name: name, Value: value})
		case name != check.HeaderStreamDuration:
			a.Set = append(a.Set, authz.Header{Name: name, Value: value})
		}
	}
	switch verdict {
	case verdictRefuse:
		a.Status, a.Body = int(status), d.text(d.number())
		if details := d.text(d.number()); !strings.HasPrefix(details, "sallyport_") {
			t.Errorf("details %q", details)
		}
		want := map[int]codes.Code{
			400: codes.InvalidArgument, 401: codes.Unauthenticated, 403: codes.PermissionDenied,
			503: codes.Unavailable, 302: codes.Unauthenticated, 422: codes.InvalidArgument,
			204: codes.Unavailable, // what is no refusal is no status of gRPC's either
		}[a.Status]
		if codes.Code(grpc) != want || want == codes.OK {
			t.Errorf("a refusal with %d has gRPC status %d", a.Status, grpc)
		}
		// What does not fit at all, and what is no decision, has none.
		if a.Status != http.StatusServiceUnavailable ||
			authz.HasHeader(a.Headers, authz.HeaderDecision) {
			a.Headers = authztest.WithoutID(t, a.Status, a.Headers)
		}
	case verdictAllow, verdictWatch:
		a.Status = http.StatusOK
		a.Client, a.Metadata = d.more()
		a.Client = authztest.WithoutID(t, a.Status, a.Client)
		// What is not there needs no removing.
		for _, name := range authz.IdentityHeaders() {
			if !authz.HasHeader(request, name) && !authz.HasHeader(a.Set, name) {
				removed[name] = true
			}
		}
	default:
		t.Fatalf("verdict %d", verdict)
	}
	if len(d.rest) > 0 {
		t.Errorf("%d bytes too many", len(d.rest))
	}
	for name := range removed {
		a.Remove = append(a.Remove, name)
	}
	return a
}

// decoder reads what an answer is made of, as the module's C does.
type decoder struct{ rest []byte }

func (d *decoder) number() uint32 {
	n := binary.NativeEndian.Uint32(d.rest)
	d.rest = d.rest[4:]
	return n
}

// more reads the two lists that may stand behind all headers.
func (d *decoder) more() (client []authz.Header, metadata map[string]string) {
	if len(d.rest) == 0 {
		return nil, nil
	}
	for range d.number() {
		name, value, _ := d.header()
		client = append(client, authz.Header{Name: name, Value: value})
	}
	metadata = map[string]string{}
	for range d.number() {
		name, value, _ := d.header()
		metadata[name] = value
	}
	return client, metadata
}

func (d *decoder) text(n uint32) string {
	s := string(d.rest[:n])
	d.rest = d.rest[n:]
	return s
}

func (d *decoder) header() (name, value string, keep bool) {
	n, v := d.number(), d.number()
	name = d.text(n)
	if v == gone {
		return name, "", false
	}
	return name, d.text(v), true
}

// borrowed returns headers that are views of memory.
func borrowed(headers []authz.Header) (memory []byte, views []authz.Header) {
	for _, h := range headers {
		memory = append(append(memory, h.Name...), h.Value...)
	}
	at := 0
	view := func(n int) string {
		at += n
		return viewOf(memory[at-n : at])
	}
	for _, h := range headers {
		views = append(views, authz.Header{Name: view(len(h.Name)), Value: view(len(h.Value))})
	}
	return memory, views
}
