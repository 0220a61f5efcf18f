package filter

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"log/slog"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
	"unsafe"

	"github.com/sallyport/sallyport/authz"
	"github.com/sallyport/sallyport/authz/authztest"
	"github.com/sallyport/sallyport/authz/check"
	"github.com/sallyport/sallyport/internal/audit"
	"github.com/sallyport/sallyport/internal/eventually"
	"github.com/sallyport/sallyport/internal/jose/josetest"
	"github.com/sallyport/sallyport/internal/revocation"
	"github.com/sallyport/sallyport/internal/token"
)

func viewOf(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) }

func TestVectorsThroughTheFilter(t *testing.T) {
	authztest.Run(
		t,
		func(t *testing.T, w *authztest.World) authztest.Ask { return start(t, w).ask(t) },
	)
}

func TestHostileTokensAreRefusedByTheFilter(t *testing.T) {
	authztest.RunAttacks(t,
		func(t *testing.T, w *authztest.World) authztest.Ask { return start(t, w).ask(t) })
}

func TestHostileTokensOfOthersAreRefusedByTheFilter(t *testing.T) {
	authztest.RunForeignAttacks(t,
		func(t *testing.T, w *authztest.World) authztest.Ask { return start(t, w).ask(t) })
}

// TestARequestWithATokenThatIsKnownAllocatesNothing, from the hook to the bytes that C acts on.
func TestARequestWithATokenThatIsKnownAllocatesNothing(t *testing.T) {
	b := start(t, authztest.New())
	headers := shown(authztest.Get("/protected", "authorization", "Bearer "+b.world.Token(),
		"x-auth-subject", "mallory", "x-tenant", "mallory", "user-agent", "curl"))
	out, from := make([]byte, 0, maxAnswer), check.Source(check.Address("192.0.2.1"))
	s := b.host.next()
	authztest.Compare(
		t,
		authztest.Alice,
		answerOf(t, b.filter.Request(s, headers, Origin{Source: from}, out, nil), headers),
	)
	if n := testing.AllocsPerRun(1000, func() { b.filter.Request(s, headers, Origin{Source: from}, out, nil) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// TestEnvoysMarkGoesNoFurther: it speaks for this Envoy alone.
func TestEnvoysMarkGoesNoFurther(t *testing.T) {
	b := start(t, authztest.New())
	for _, path := range []string{"/protected", "/public"} {
		headers := shown(authztest.Get(path, "authorization", "Bearer "+b.world.Token(),
			check.HeaderStripped, check.Stripped))
		if got := answerOf(t, b.send(t, headers, ""), headers); got.Status != 200 ||
			!slices.Contains(got.Remove, check.HeaderStripped) {
			t.Errorf("%s: got %+v", path, got)
		}
	}
}

// TestAnAnswerThatDoesNotFitRefuses, and is never written past the memory that there is.
func TestAnAnswerThatDoesNotFitRefuses(t *testing.T) {
	b := start(t, authztest.New())
	many := []string{"authorization", "Bearer " + b.world.Token()}
	for range 300 {
		many = append(many, "x.auth.subject", "mallory")
	}
	headers := shown(authztest.Get("/protected", many...))
	full := b.begin(b.host.next(), headers)
	for size := len(b.filter.broken); size < len(full); size += 7 {
		memory := make([]byte, size+64)
		got := b.filter.Request(b.host.next(), headers, Origin{}, memory[:0:size], nil)
		if len(got) > size || &got[0] != &memory[0] {
			t.Fatalf("an answer of %d bytes for a memory of %d", len(got), size)
		}
		if answerOf(t, got, headers).Status != 503 {
			t.Fatalf("%d bytes: not refused", size)
		}
	}
}

func TestWhatContradictsItselfIsRefused(t *testing.T) {
	b := start(t, authztest.New())
	good := shown(authztest.Get("/public"))
	if got := answerOf(t, b.send(t, good, ""), good); got.Status != 200 {
		t.Fatalf("got %d", got.Status)
	}
	many := append([]authz.Header{}, good...)
	for range check.MaxHeaders {
		many = append(many, authz.Header{Name: "a", Value: "b"})
	}
	for name, headers := range map[string][]authz.Header{
		"nothing":          nil,
		"no method":        good[1:],
		"two paths":        append([]authz.Header{{Name: ":path", Value: "/public"}}, good...),
		"two methods":      append([]authz.Header{{Name: ":method", Value: "GET"}}, good...),
		"two hosts":        append([]authz.Header{{Name: ":authority", Value: "h"}}, good...),
		"too many headers": many,
	} {
		if got := answerOf(t, b.send(t, headers, ""), headers); got.Status != 400 {
			t.Errorf("%s: got %d", name, got.Status)
		}
	}
}

// TestARequestThatIsHeldHasADeadline: whoever names a key that nobody has is told so in time, and
// nothing of the request is looked at after the hook has returned.
func TestARequestThatIsHeldHasADeadline(t *testing.T) {
	w := authztest.New()
	w.Keys.Doubt(authztest.Issuer)
	bearer := "Bearer " + w.Token()
	w.Keys.Remove(authztest.Issuer, authztest.KeyID)
	b := start(t, w)
	headers := shown(
		authztest.Get("/protected?secret", "authorization", bearer, "user-agent", "curl"),
	)
	s := b.host.next()
	if got := b.begin(s, headers); verdict(got) != verdictHeld {
		t.Fatalf("verdict %d", verdict(got))
	}
	<-b.host.answers[s] // else its line may come after that of the next
	got := answerOf(t, b.send(t, headers, ""), headers)
	if got.Status != 503 {
		t.Errorf("got %d", got.Status)
	}
	lines := b.lines.All()
	last := lines[len(lines)-1]
	if last.Path != "/protected" || last.UserAgent != "curl" || last.Address != "192.0.2.1" {
		t.Errorf("got %+v", last)
	}
}

// TestARequestThatIsHeldIsTheSame: in each of its fields, and none of them views Envoy's memory.
func TestARequestThatIsHeldIsTheSame(t *testing.T) {
	memory := []byte("GET example.com /a?b spiffe://a partner id 1,x-tenant name value")
	whole, at := viewOf(memory), 0
	next := func() string {
		word, _, _ := strings.Cut(whole[at:], " ")
		at += len(word) + 1
		return word
	}
	r := &check.Request{}
	r.Method, r.Host, r.Path, r.Peer, r.Policy = next(), next(), next(), next(), next()
	r.ID, r.Mark, r.Malformed = next(), next(), badMany
	r.Headers = []authz.Header{{Name: next(), Value: next()}}
	r.Source = check.Address("192.0.2.1")
	want := *r
	text := func(r *check.Request) string { return fmt.Sprintf("%+v", *r) }
	before := text(&want)
	c := clone(r)
	for i := range memory {
		memory[i] = '#'
	}
	// What is counted and when is for whoever checks it; the mark is of no use here.
	if before = strings.ReplaceAll(before, "Mark:1,x-tenant", "Mark:"); text(c) != before {
		t.Errorf("got\n%s, want\n%s", text(c), before)
	}
}

// thrower panics wherever a transport can be made to.
type thrower struct{ check.Keys }

func (thrower) Await(context.Context, string, string) bool     { panic("thrown") }
func (thrower) Offer(audit.Event, func(*audit.Event)) bool     { panic("thrown") }
func (thrower) Check(*revocation.Facts) (v revocation.Verdict) { panic("thrown") }
func (thrower) Changed() <-chan struct{}                       { panic("thrown") }

// TestAPanicIsARefusal, whatever throws, in the hook or while a request is held.
func TestAPanicIsARefusal(t *testing.T) {
	unknown := func(w *authztest.World) { w.Keys.Remove(authztest.Issuer, authztest.KeyID) }
	for name, row := range map[string]struct {
		given func(*authztest.World)
		throw func(*Options)
		path  string
	}{
		"the recorder":          {nil, func(o *Options) { o.Check.Audit = thrower{} }, "/closed"},
		"the clock":             {nil, func(o *Options) { o.Check.Instant = func() revocation.Instant { panic("thrown") } }, "/protected"},
		"the wait for a key":    {unknown, func(o *Options) { o.Check.Keys = thrower{} }, "/protected"},
		"a recorder after that": {unknown, func(o *Options) { o.Check.Audit = thrower{} }, "/protected"},
	} {
		t.Run(name, func(t *testing.T) {
			w := authztest.New()
			bearer := "Bearer " + w.Token()
			if row.given != nil {
				row.given(w)
			}
			b := start(t, w, row.throw)
			headers := shown(authztest.Get(row.path, "authorization", bearer))
			if got := answerOf(t, b.send(t, headers, ""), headers); got.Status != 503 {
				t.Errorf("got %d", got.Status)
			}
			if authztest.Value(t, b.registry, "sallyport_gate_panics_total", "") == 0 {
				t.Error("no panic is counted")
			}
		})
	}
}

// run runs a filter until the test ends.
func (b *bench) run(t *testing.T) (revoke func(func(*revocation.Facts) bool)) {
	t.Helper()
	return b.runWith(t, nil)
}

func (b *bench) runWith(t *testing.T, fresh *atomic.Pointer[revocation.Freshness]) (
	revoke func(func(*revocation.Facts) bool)) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	changed := make(chan struct{}, 1)
	b.filter.options.Revocations = copied{b.world.Revocations, changed, fresh}
	go func() { done <- b.filter.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		headers := shown(authztest.Get("/public"))
		if got := answerOf(t, b.send(t, headers, ""), headers); got.Status != 503 {
			t.Errorf("a filter that has ended lets pass: %d", got.Status)
		}
	})
	return func(match func(*revocation.Facts) bool) {
		b.world.Revocations.Revoke(match)
		changed <- struct{}{}
	}
}

func (b *bench) nextEnded(t *testing.T) Stream {
	t.Helper()
	select {
	case s := <-b.host.ended:
		return s
	case <-time.After(20 * time.Second):
		t.Fatal("no stream is ended")
		return Stream{}
	}
}

func (b *bench) open(t *testing.T, bearer string) Stream {
	t.Helper()
	s, headers := b.host.next(), shown(authztest.Get("/protected", "authorization", bearer))
	if got := b.begin(s, headers); verdict(got) != verdictWatch {
		t.Fatalf("verdict %d", verdict(got))
	}
	return s
}

// TestAStreamEndsWhenItsTokenIsRevoked, and no other does, whatever the entry names.
func TestAStreamEndsWhenItsTokenIsRevoked(t *testing.T) {
	b := start(t, authztest.New())
	revoke := b.run(t)
	bob := "Bearer " + b.world.Token(func(c *token.Claims) { c.Subject, c.ID = "bob", "token-2" })
	alice := "Bearer " + b.world.Token()
	streams := map[Stream]bool{}
	for range 2500 { // more than a chunk
		streams[b.open(t, alice)] = true
	}
	others := b.open(t, bob)
	revoke(func(f *revocation.Facts) bool { return f.TokenID == "token-1" })
	for len(streams) > 0 {
		s := b.nextEnded(t)
		if !streams[s] {
			t.Fatalf("%+v is ended, which is none of alice's or was ended before", s)
		}
		delete(streams, s)
	}
	revoke(func(f *revocation.Facts) bool { return f.Subject == "bob" })
	if s := b.nextEnded(t); s != others || b.host.why(s) != Revoked {
		t.Errorf("%+v is ended as %d, want %+v", s, b.host.why(s), others)
	}
	eventually.True(t, "each of them is counted", func() bool {
		return authztest.Value(t, b.registry, "sallyport_gate_streams_ended_total", "") == 2501
	})
}

// TestAPlaceThatIsTakenAgainIsTheNewStreams: its old token's end does not end it.
func TestAPlaceThatIsTakenAgainIsTheNewStreams(t *testing.T) {
	b := start(t, authztest.New())
	revoke := b.run(t)
	old := b.open(t, "Bearer "+b.world.Token())
	headers := shown(authztest.Get("/protected", "authorization", "Bearer "+
		b.world.Token(func(c *token.Claims) { c.Subject, c.ID = "bob", "token-2" })))
	next := Stream{old.Worker, old.Place, old.Generation + 1}
	b.begin(next, headers)
	revoke(func(f *revocation.Facts) bool { return f.TokenID == "token-1" })
	revoke(func(f *revocation.Facts) bool { return f.TokenID == "token-2" })
	if s := b.nextEnded(t); s != next {
		t.Errorf("%+v is ended, want %+v", s, next)
	}
}

// TestStreamsEndWhenNobodyCanTellWhoIsRevoked: once the copy is stale, but for those of routes with
// allow_stale; and when it is not confirmed otherwise for as long as that, all.
func TestStreamsEndWhenNobodyCanTellWhoIsRevoked(t *testing.T) {
	for why, tolerant := range map[string]bool{revocation.WhyStale: true, revocation.WhyNoCopy: false} {
		clock := new(atomic.Int64)
		clock.Store(int64(time.Minute))
		b := start(t, authztest.New(), func(o *Options) {
			o.Check.Instant = func() revocation.Instant {
				return revocation.Instant{Mono: time.Duration(clock.Load())}
			}
		})
		fresh := new(atomic.Pointer[revocation.Freshness])
		fresh.Store(&revocation.Freshness{Fresh: true})
		revoke := b.runWith(t, fresh)
		bearer := "Bearer " + b.world.Token()
		strict, other := b.open(t, bearer), b.host.next()
		headers := shown(authztest.Get("/tolerant", "authorization", bearer))
		if got := b.begin(other, headers); verdict(got) != verdictWatch {
			t.Fatalf("verdict %d", verdict(got))
		}
		fresh.Store(&revocation.Freshness{Why: why})
		// As long again and again: the filter may begin to run only now.
		ctx, stop := context.WithCancel(t.Context())
		var passing sync.WaitGroup
		passing.Go(func() {
			for ; ctx.Err() == nil; runtime.Gosched() {
				clock.Add(int64(time.Millisecond))
			}
		})
		want := map[Stream]bool{strict: true}
		if !tolerant {
			want[other] = true
		}
		for len(want) > 0 {
			s := b.nextEnded(t)
			if !want[s] || b.host.why(s) != Stale {
				t.Fatalf("%s: %+v is ended as %d", why, s, b.host.why(s))
			}
			delete(want, s)
		}
		stop()
		passing.Wait()
		if !tolerant {
			continue
		}
		revoke(func(f *revocation.Facts) bool { return f.Subject == "alice" })
		if s := b.nextEnded(t); s != other || b.host.why(s) != Revoked {
			t.Errorf("%+v is ended as %d, want %+v", s, b.host.why(s), other)
		}
	}
}

// TestACopyThatIsLoadedAgainEndsNoStream, if it is confirmed before max_staleness is over.
func TestACopyThatIsLoadedAgainEndsNoStream(t *testing.T) {
	b := start(t, authztest.New())
	fresh := new(atomic.Pointer[revocation.Freshness])
	fresh.Store(&revocation.Freshness{Why: revocation.WhyNoCopy})
	at := instant()
	if got := b.filter.options.Check.Instant(); got != at {
		t.Fatalf("the clock stands at %v", got)
	}
	revoke := b.runWith(t, fresh)
	s := b.open(t, "Bearer "+b.world.Token())
	// A look at how fresh the copy is comes before this one's, as each look through the streams does.
	revoke(func(*revocation.Facts) bool { return false })
	revoke(func(f *revocation.Facts) bool { return f.Subject == "alice" })
	if ended := b.nextEnded(t); ended != s || b.host.why(s) != Revoked {
		t.Errorf("%+v is ended as %d, want %+v as %d", ended, b.host.why(ended), s, Revoked)
	}
}

// awaited are keys whose waiters wait until the test lets them go on.
type awaited struct {
	*authztest.Keys
	let chan struct{}
}

func (k awaited) Await(ctx context.Context, issuer, keyID string) bool {
	<-k.let
	return k.Keys.Await(ctx, issuer, keyID)
}

// held starts a filter with a request that it holds for a key, and returns what lets the key come.
func held(t *testing.T) (b *bench, s Stream, let func()) {
	t.Helper()
	w := authztest.New()
	keys := awaited{w.Keys, make(chan struct{})}
	b = start(t, w, func(o *Options) { o.Check.Keys, o.Check.KeyWait = keys, 10*time.Second })
	key := josetest.NewKey("ES256", "key-2")
	w.Keys.Publish(authztest.Issuer, key.Public())
	bearer := "Bearer " + key.Token(key.Header("at+jwt").JSON(), w.Setup().Claims.JSON())
	s = b.host.next()
	headers := shown(authztest.Get("/protected", "authorization", bearer))
	if got := b.begin(s, headers); verdict(got) != verdictHeld {
		t.Fatalf("verdict %d", verdict(got))
	}
	return b, s, func() { close(keys.let) }
}

// TestARequestThatIsHeldTakesNobodysPlace: its client leaves, its place is another stream's, and
// then it is decided on. The other stream still ends with its own token.
func TestARequestThatIsHeldTakesNobodysPlace(t *testing.T) {
	b, s, let := held(t)
	revoke := b.run(t)
	next := Stream{s.Worker, s.Place, s.Generation + 1}
	headers := shown(authztest.Get("/protected", "authorization", "Bearer "+
		b.world.Token(func(c *token.Claims) { c.Subject, c.ID = "bob", "token-2" })))
	b.begin(next, headers)
	let()
	<-b.host.answers[s]
	revoke(func(f *revocation.Facts) bool { return f.TokenID == "token-2" })
	if ended := b.nextEnded(t); ended != next {
		t.Errorf("%+v is ended, want %+v", ended, next)
	}
}

// TestARequestThatWasHeldEndsWithItsToken, as any other.
func TestARequestThatWasHeldEndsWithItsToken(t *testing.T) {
	b, s, let := held(t)
	revoke := b.run(t)
	let()
	if got := <-b.host.answers[s]; verdict(got) != verdictWatch {
		t.Fatalf("verdict %d", verdict(got))
	}
	revoke(func(f *revocation.Facts) bool { return f.Subject == "alice" })
	if ended := b.nextEnded(t); ended != s {
		t.Errorf("%+v is ended, want %+v", ended, s)
	}
}

// TestNothingPassesOnceTheFilterHasEnded, what was held until then included: nobody counts this gate
// any more.
func TestNothingPassesOnceTheFilterHasEnded(t *testing.T) {
	b, s, let := held(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := b.filter.Run(ctx); err != nil {
		t.Fatal(err)
	}
	let()
	if got := <-b.host.answers[s]; verdict(got) != verdictRefuse {
		t.Errorf("a request that was held: verdict %d", verdict(got))
	}
	headers := shown(authztest.Get("/public"))
	if got := b.send(t, headers, ""); verdict(got) != verdictRefuse {
		t.Errorf("a request: verdict %d", verdict(got))
	}
}

// TestAnyRefusalIsKnownToBeOfGRPC: without, the module adds no grpc-status.
func TestAnyRefusalIsKnownToBeOfGRPC(t *testing.T) {
	headers := shown(
		authztest.Get("/protected", "content-type", "application/grpc", "authorization",
			"Bearer "+authztest.New().Token()),
	)
	ended := start(t, authztest.New())
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := ended.filter.Run(ctx); err != nil {
		t.Fatal(err)
	}
	thrown := start(t, authztest.New(), func(o *Options) {
		o.Check.Instant = func() revocation.Instant { panic("thrown") }
	})
	for name, b := range map[string]*bench{"the filter has ended": ended, "a panic": thrown} {
		got := b.begin(b.host.next(), headers)
		noted := found(binary.NativeEndian.Uint32(got[4:]))
		if verdict(got) != verdictRefuse || noted&foundGRPC == 0 {
			t.Errorf("%s: verdict %d, found %d", name, verdict(got), noted)
		}
	}
}

// TestARevocationBesideADecisionIsNotMissed: streams begin on several workers while their tokens
// are revoked; whichever comes first, none is left.
func TestARevocationBesideADecisionIsNotMissed(t *testing.T) {
	w := authztest.New()
	b := start(t, w)
	revoke := b.run(t)
	const rounds = 300
	for n := range rounds {
		id := "round-" + strings.Repeat("i", n)
		headers := shown(authztest.Get("/protected", "authorization",
			"Bearer "+w.Token(func(c *token.Claims) { c.ID = id })))
		var both sync.WaitGroup
		s := b.host.next()
		s.Worker = uint32(n % 3)
		var got []byte
		both.Go(func() {
			runtime.Gosched()
			got = b.begin(s, headers)
		})
		both.Go(func() { revoke(func(f *revocation.Facts) bool { return f.TokenID == id }) })
		both.Wait()
		if verdict(got) == verdictRefuse {
			continue
		}
		if ended := b.nextEnded(t); ended != s {
			t.Fatalf("%+v is ended, want %+v", ended, s)
		}
	}
}

// TestHeadersAreChecked: Envoy checks none of an answer's.
func TestHeadersAreChecked(t *testing.T) {
	for h, want := range map[authz.Header]bool{
		{Name: "x-auth-subject", Value: "alice"}:     true,
		{Name: "x-auth-scope", Value: "read\twrite"}: true,
		{Name: "x", Value: ""}:                       true,
		{Name: "", Value: "v"}:                       false,
		{Name: ":path", Value: "/"}:                  false,
		{Name: "X-Auth", Value: "v"}:                 false,
		{Name: "x auth", Value: "v"}:                 false,
		{Name: "x\x00", Value: "v"}:                  false,
		{Name: "x", Value: "a\r\nb: c"}:              false,
		{Name: "x", Value: "\x00"}:                   false,
		{Name: "x", Value: " v"}:                     false,
		{Name: "x", Value: "v\t"}:                    false,
		{Name: "x", Value: "\x7f"}:                   false,
		{Name: "x", Value: "\u00e9"}:                 false,
	} {
		if got := valid(h); got != want {
			t.Errorf("%q: %v", h, got)
		}
		id := &authz.Identity{Set: []authz.Header{h}}
		if set, ok := Wire.Allow(id).(*made); (ok && set != nil) != want {
			t.Errorf("%q in an answer: %v", h, set)
		}
		if _, ok := Wire.Refuse(&authz.Refusal{Status: 401, Headers: id.Set}).([]byte); ok != want {
			t.Errorf("%q in a refusal: %v", h, ok)
		}
	}
}

// TestAnIdentityThatNobodyHasMadeIsRefused.
func TestAnIdentityThatNobodyHasMadeIsRefused(t *testing.T) {
	b := start(t, authztest.New())
	for _, d := range []authz.Decision{
		{}, {Allow: true, Identity: &authz.Identity{}},
		{Allow: true, Identity: &authz.Identity{Wire: (*made)(nil)}},
		{Refusal: &authz.Refusal{Status: 401}},
	} {
		out := b.filter.answer(make([]byte, 0, maxAnswer), &d, nil, 0, new(Keep))
		if verdict(out) != verdictRefuse {
			t.Errorf("%+v: verdict %d", d, verdict(out))
		}
	}
}

func TestGRPCIsKnownByItsContentType(t *testing.T) {
	for contentType, want := range map[string]found{
		"application/grpc": foundGRPC, "application/grpc+proto": foundGRPC,
		"application/grpc;charset=utf-8": foundGRPC, "application/grpc-web": 0, "text/plain": 0, "": 0,
	} {
		r := &check.Request{}
		if got := read(r, shown(authztest.Get("/", "content-type", contentType))); got != want {
			t.Errorf("%s: %v", contentType, got)
		}
	}
}

// TestAnEnvoyThatDoesNotStripIsSaidOnce: inside Envoy the gate strips itself, but not on routes that do
// not ask it.
func TestAnEnvoyThatDoesNotStripIsSaidOnce(t *testing.T) {
	for name, test := range map[string]struct {
		marked bool
		more   []string
		want   int
	}{
		"as is said":            {true, []string{check.HeaderStripped, "1"}, 0},
		"nothing was said":      {false, nil, 0},
		"patterns that are not": {true, nil, 1},
	} {
		t.Run(name, func(t *testing.T) {
			var log bytes.Buffer
			w := authztest.New()
			b := start(t, w, func(o *Options) {
				o.Marked, o.Check.Logger = test.marked, slog.New(slog.NewTextHandler(&log, nil))
			})
			for range 10 {
				headers := append([]string{"authorization", "Bearer " + w.Token()}, test.more...)
				out := b.send(t, shown(authztest.Get("/protected", headers...)), "")
				if verdict(out) != verdictWatch {
					t.Fatalf("verdict %d", verdict(out))
				}
			}
			if n := strings.Count(log.String(), "identity headers"); n != test.want {
				t.Errorf("said %d times, expected %d: %s", n, test.want, &log)
			}
		})
	}
}
