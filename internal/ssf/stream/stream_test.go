package stream_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"go.uber.org/goleak"

	"github.com/sallyport/sallyport/internal/config"
	"github.com/sallyport/sallyport/internal/eventually"
	"github.com/sallyport/sallyport/internal/livefile"
	"github.com/sallyport/sallyport/internal/redisconn"
	"github.com/sallyport/sallyport/internal/ssf"
	"github.com/sallyport/sallyport/internal/ssf/stream"
	"github.com/sallyport/sallyport/internal/ssf/stream/streamtest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const authorization = "Bearer of-our-own-choosing"

// receiver is a Stream under test, and what it was handed.
type receiver struct {
	*stream.Stream
	log *eventually.Buffer

	mu      sync.Mutex
	handled map[string]int // by jti
	answer  func(id string) error
}

func (r *receiver) handle(_ context.Context, id, _ string) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.handled[id]++
	if r.answer == nil {
		return nil
	}
	return r.answer(id)
}

func (r *receiver) times(id string) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.handled[id]
}

func (r *receiver) answers(f func(id string) error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.answer = f
}

func file(t *testing.T, content string) config.Path {
	t.Helper()
	path := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return config.Path(path)
}

func settings(t *testing.T, delivery string) stream.Config {
	t.Helper()
	c := stream.Config{}
	c.SetDefaults()
	c.Delivery, c.ClientID = delivery, streamtest.Client
	c.ClientSecretFile = file(t, streamtest.Secret+"\n")
	c.CheckEvery, c.VerifyEvery, c.PollEvery = time.Second, time.Second, 10*time.Millisecond
	if delivery == stream.Push {
		c.EndpointURL = "http://127.0.0.1:1/security-events"
		c.AuthorizationFile = file(t, authorization)
	}
	if err := c.Validate(); err != nil {
		t.Fatal(err)
	}
	return c
}

func lease(t *testing.T, redis *miniredis.Miniredis, sender string) stream.Lease {
	t.Helper()
	c := redisconn.DefaultConfig()
	c.Address = redis.Addr()
	client, err := redisconn.Open(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = client.Close() })
	return stream.NewLease(client, "{sallyport}", sender)
}

func newReceiver(t *testing.T, tr *streamtest.Transmitter, c stream.Config, l stream.Lease,
	registry prometheus.Registerer) *receiver {
	t.Helper()
	r := &receiver{handled: map[string]int{}, log: &eventually.Buffer{}}
	files, err := livefile.New(slog.New(slog.DiscardHandler), nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Stream, err = stream.New(stream.Options{
		Sender: tr.URL, Config: c, Lease: l, Handle: r.handle, Files: files,
		Logger: slog.New(slog.NewTextHandler(r.log, nil)), Metrics: stream.NewMetrics(registry),
	})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// run runs it until the test or the returned function ends it.
func (r *receiver) run(t *testing.T) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := r.Run(ctx); err != nil {
			t.Error(err)
		}
	}()
	stop = func() { cancel(); <-done }
	t.Cleanup(stop)
	return stop
}

func start(t *testing.T, delivery string) (*streamtest.Transmitter, *receiver) {
	t.Helper()
	tr := streamtest.New(t)
	r := newReceiver(t, tr, settings(t, delivery), lease(t, miniredis.RunT(t), tr.URL), nil)
	r.run(t)
	return tr, r
}

func oneStream(tr *streamtest.Transmitter) func() bool {
	return func() bool { return len(tr.Streams()) == 1 }
}

// TestAStreamIsMadeByConfigurationAlone: with what it asks for, whom it goes to and the secret that
// its messages are to come with.
func TestAStreamIsMadeByConfigurationAlone(t *testing.T) {
	t.Parallel()
	for delivery, want := range map[string]streamtest.Stream{
		stream.Push: {
			Method: "urn:ietf:rfc:8935", EndpointURL: "http://127.0.0.1:1/security-events",
			Authorization: authorization, Status: "enabled",
		},
		stream.Poll: {Method: "urn:ietf:rfc:8936", Status: "enabled"},
	} {
		t.Run(delivery, func(t *testing.T) {
			t.Parallel()
			tr, r := start(t, delivery)
			eventually.True(t, "the stream to be verified", func() bool { return len(tr.States()) > 0 })
			got := tr.Streams()[0]
			if len(got.Events) != len(ssf.Ending()) {
				t.Errorf("it asks for %v", got.Events)
			}
			want.ID, got.Events = "stream-1", nil
			if fmt.Sprint(got) != fmt.Sprint(want) {
				t.Errorf("expected %+v, got %+v", want, got)
			}
			if strings.Contains(r.log.String(), "choosing") || strings.Contains(r.log.String(),
				"token-1") {
				t.Errorf("the log holds a secret:\n%s", r.log)
			}
		})
	}
}

// TestAStreamIsMendedByConfigurationAlone: gone, paused, or asking for less than is wanted.
func TestAStreamIsMendedByConfigurationAlone(t *testing.T) {
	t.Parallel()
	tr, r := start(t, stream.Push)
	eventually.True(t, "the stream to be made", oneStream(tr))
	tr.Change(nil)
	eventually.True(t, "the stream to be made again", oneStream(tr))
	tr.Change(func(s *streamtest.Stream) { s.Status = "paused" })
	eventually.True(t, "the stream to be enabled", func() bool {
		return tr.Streams()[0].Status == "enabled"
	})
	tr.Change(func(s *streamtest.Stream) { s.Events = s.Events[:1] })
	eventually.True(t, "the stream to ask for everything", func() bool {
		return len(tr.Streams()[0].Events) == len(ssf.Ending())
	})
	if !strings.Contains(r.log.String(), "was=paused") {
		t.Errorf("nobody is told that it was paused:\n%s", r.log)
	}
}

// TestAStreamThatIsThereIsTaken: after a restart none is made beside it, and the authorization,
// which no transmitter shows, is told again.
func TestAStreamThatIsThereIsTaken(t *testing.T) {
	t.Parallel()
	tr := streamtest.New(t)
	redis, c := miniredis.RunT(t), settings(t, stream.Push)
	stop := newReceiver(t, tr, c, lease(t, redis, tr.URL), nil).run(t)
	eventually.True(t, "the stream to be made", oneStream(tr))
	stop()
	redis.FlushAll() // of the lease, so as not to wait for its end
	c.AuthorizationFile = file(t, "Bearer another-one-of-ours")
	newReceiver(t, tr, c, lease(t, redis, tr.URL), nil).run(t)
	eventually.True(t, "the new authorization to be told", func() bool {
		return tr.Streams()[0].Authorization == "Bearer another-one-of-ours"
	})
	if list := tr.Streams(); len(list) != 1 || tr.Calls("POST /streams") != 1 {
		t.Errorf("expected one stream, got %+v", list)
	}
}

// TestARestartLeavesAStreamAloneThatIsWell: writing it can keep back what waits to be pushed.
func TestARestartLeavesAStreamAloneThatIsWell(t *testing.T) {
	t.Parallel()
	tr, redis := streamtest.New(t), miniredis.RunT(t)
	c := settings(t, stream.Push)
	c.CheckEvery = 5 * time.Millisecond
	for range 3 {
		stop := newReceiver(t, tr, c, lease(t, redis, tr.URL), nil).run(t)
		looked := tr.Calls("GET /streams")
		eventually.True(t, "the stream to be looked at", func() bool {
			return tr.Calls("GET /streams") > looked+3
		})
		stop()
	}
	if n := tr.Calls("POST /streams") + tr.Calls("PATCH /streams"); n != 1 {
		t.Errorf("the stream was written %d times", n)
	}
}

// TestTheOnlyStreamOfAClientIsChanged: where a second one is a conflict, and the first is delivered
// otherwise.
func TestTheOnlyStreamOfAClientIsChanged(t *testing.T) {
	t.Parallel()
	tr := streamtest.New(t)
	tr.OneStream()
	redis := miniredis.RunT(t)
	stop := newReceiver(t, tr, settings(t, stream.Push), lease(t, redis, tr.URL), nil).run(t)
	eventually.True(t, "the stream to be made", oneStream(tr))
	stop()
	redis.FlushAll()
	newReceiver(t, tr, settings(t, stream.Poll), lease(t, redis, tr.URL), nil).run(t)
	eventually.True(t, "the stream to be polled", func() bool { return tr.Calls("POST /poll") > 0 })
	if s := tr.Streams()[0]; s.ID != "stream-1" || s.Method != "urn:ietf:rfc:8936" {
		t.Errorf("got %+v", s)
	}
}

// TestAMessageIsAcknowledgedOnlyOnceItIsCarriedOut: what cannot be carried out yet comes again, and
// what never can is refused with its code.
func TestAMessageIsAcknowledgedOnlyOnceItIsCarriedOut(t *testing.T) {
	t.Parallel()
	tr, r := start(t, stream.Poll)
	r.answers(func(id string) error {
		switch id {
		case "later":
			return errors.New("the log is away")
		case "never":
			return fmt.Errorf("wrapped: %w", ssf.Refuse(ssf.InvalidAudience, "not for us"))
		}
		return nil
	})
	for _, id := range []string{"good", "later", "never"} {
		tr.Send(id, "message "+id)
	}
	eventually.True(t, "the one to come again", func() bool { return r.times("later") > 1 })
	eventually.True(t, "two to be answered", func() bool { return tr.Left() == 1 })
	if acked, _ := tr.Acked("good"); !acked {
		t.Error("what was carried out is not acknowledged")
	}
	if acked, code := tr.Acked("never"); acked || code != "invalid_audience" {
		t.Errorf("what can not be carried out: acknowledged %v, code %q", acked, code)
	}
	if acked, code := tr.Acked("later"); acked || code != "" {
		t.Errorf("what was not carried out: acknowledged %v, code %q", acked, code)
	}
	r.answers(nil)
	eventually.True(t, "the last to be acknowledged", func() bool { return tr.Left() == 0 })
	if n := strings.Count(r.log.String(), "carry_out"); n < 1 || n > 4 {
		t.Errorf("expected it to be told once that it is so and once that it is over, got\n%s", r.log)
	}
}

// TestNoTransmitterDecidesHowOftenItIsAsked: not one that says that there is more and sends nothing,
// nor one that sends the same again and again.
func TestNoTransmitterDecidesHowOftenItIsAsked(t *testing.T) {
	for name, messages := range map[string]int{"nothing": 0, "the same": 3} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			tr := streamtest.New(t)
			tr.Restless()
			for i := range messages {
				tr.Send(fmt.Sprint(i), "message")
			}
			c := settings(t, stream.Poll)
			c.PollEvery = 100 * time.Millisecond
			newReceiver(t, tr, c, lease(t, miniredis.RunT(t), tr.URL), nil).run(t)
			eventually.True(t, "polls", func() bool { return tr.Calls("POST /poll") > 1 })
			before, began := tr.Calls("POST /poll"), time.Now()
			eventually.True(t, "more polls", func() bool { return tr.Calls("POST /poll") >= before+5 })
			// The first of them may have been due, and the last was not over its time.
			if took := time.Since(began); took < 3*c.PollEvery {
				t.Errorf("five polls came within %s", took)
			}
		})
	}
}

// TestAMessageWhoseAcknowledgementIsLostComesAgain: the poll that acknowledges it fails, and the
// next one says it again.
func TestAMessageWhoseAcknowledgementIsLostComesAgain(t *testing.T) {
	t.Parallel()
	tr, r := start(t, stream.Poll)
	eventually.True(t, "polls", func() bool { return tr.Calls("POST /poll") > 0 })
	r.answers(func(string) error { tr.Fail("POST /poll", 503); return nil })
	tr.Send("one", "message")
	eventually.True(t, "it to be carried out", func() bool { return r.times("one") > 0 })
	failing := tr.Calls("POST /poll")
	eventually.True(t, "polls to fail", func() bool { return tr.Calls("POST /poll") > failing+1 })
	r.answers(nil)
	tr.Fail("POST /poll", 0)
	eventually.True(t, "it to be acknowledged", func() bool { return tr.Left() == 0 })
	if r.times("one") != 1 {
		t.Errorf("it was handed over %d times", r.times("one"))
	}
}

// TestOneIssuerOfTwoPolls, and the other one takes over when it is gone: nothing is lost meanwhile.
func TestOneIssuerOfTwoPolls(t *testing.T) {
	t.Parallel()
	tr := streamtest.New(t)
	redis, c := miniredis.RunT(t), settings(t, stream.Poll)
	first := newReceiver(t, tr, c, lease(t, redis, tr.URL), nil)
	stop := first.run(t)
	eventually.True(t, "the first to poll", func() bool { return tr.Calls("POST /poll") > 0 })
	second := newReceiver(t, tr, c, lease(t, redis, tr.URL), nil)
	second.run(t)
	for n := range 20 {
		tr.Send(fmt.Sprint(n), "message")
	}
	eventually.True(t, "all to be acknowledged", func() bool { return tr.Left() == 0 })
	for n := range 20 {
		if id := fmt.Sprint(n); first.times(id) != 1 || second.times(id) != 0 {
			t.Errorf("message %s: handed %d and %d times", id, first.times(id), second.times(id))
		}
	}
	stop()
	tr.Send("after", "message")
	redis.FastForward(time.Minute) // the lease ends
	eventually.True(t, "the second to take over", func() bool { return tr.Left() == 0 })
	if second.times("after") != 1 || len(tr.Streams()) != 1 {
		t.Errorf("handed %d times; %d streams", second.times("after"), len(tr.Streams()))
	}
}

// TestTrouble is told once and counted, whatever fails; and over, when it is over.
func TestTroubleIsToldOnceAndCounted(t *testing.T) {
	t.Parallel()
	for _, call := range []string{
		"GET /.well-known/ssf-configuration", "GET /.well-known/openid-configuration", "POST /token",
		"GET /streams", "POST /streams", "GET /status", "POST /verify",
	} {
		t.Run(call, func(t *testing.T) {
			t.Parallel()
			tr := streamtest.New(t)
			tr.Fail(call, 500)
			registry := prometheus.NewRegistry()
			r := newReceiver(t, tr, settings(t, stream.Push), lease(t, miniredis.RunT(t), tr.URL),
				registry)
			r.run(t)
			eventually.True(t, "it to be tried again", func() bool { return tr.Calls(call) > 1 })
			tr.Fail(call, 0)
			eventually.True(t, "it to be whole", func() bool {
				return strings.Contains(r.log.String(), "is whole again")
			})
			if n := strings.Count(r.log.String(), "is in trouble"); n != 1 {
				t.Errorf("told %d times:\n%s", n, r.log)
			}
			if n, err := testutil.GatherAndCount(registry,
				"sallyport_issuer_stream_failures_total"); err != nil ||
				n != 4 {
				t.Errorf("%d series, %v", n, err)
			}
		})
	}
}

// TestATokenThatIsNoLongerTakenIsReplaced: its transmitter has been restarted.
func TestATokenThatIsNoLongerTakenIsReplaced(t *testing.T) {
	t.Parallel()
	tr, r := start(t, stream.Poll)
	eventually.True(t, "polls", func() bool { return tr.Calls("POST /poll") > 0 })
	tr.ForgetTokens()
	tr.Send("one", "message")
	eventually.True(t, "it to be acknowledged", func() bool { return tr.Left() == 0 })
	if strings.Contains(r.log.String(), "is in trouble") {
		t.Errorf("that is no trouble:\n%s", r.log)
	}
}

// TestAStreamShowsThatItWorks: the state that it was asked with is known to every issuer that has
// the secret, and no other state is taken.
func TestAStreamShowsThatItWorks(t *testing.T) {
	t.Parallel()
	tr := streamtest.New(t)
	redis, registry := miniredis.RunT(t), prometheus.NewRegistry()
	newReceiver(t, tr, settings(t, stream.Push), lease(t, redis, tr.URL), nil).run(t)
	eventually.True(t, "a verification to be asked for", func() bool { return len(tr.States()) > 0 })
	state := tr.States()[0]
	other := newReceiver(t, tr, settings(t, stream.Push), lease(t, redis, tr.URL), registry)
	of := ssf.Subject{Format: "opaque", ID: "stream-1"}
	told := func(of ssf.Subject, state string) error {
		return other.Told(t.Context(), ssf.Set{Subject: of, IssuedAt: time.Now()},
			ssf.Event{Type: ssf.Verification, State: state})
	}
	verified := func() float64 {
		return testutil.ToFloat64(collector(t, registry,
			"sallyport_issuer_stream_verified_timestamp_seconds"))
	}
	for name, err := range map[string]error{
		"another stream": told(ssf.Subject{Format: "opaque", ID: "stream-2"}, state),
		"another state":  told(of, state[:len(state)-1]+"g"),
		"no MAC":         told(of, strings.Split(state, ".")[0]+"."),
		"another time":   told(of, "1"+state),
		"a text":         told(of, "x"),
	} {
		var refused *ssf.Error
		if !errors.As(err, &refused) || refused.Code != ssf.InvalidState {
			t.Errorf("%s: expected invalid_state, got %v", name, err)
		}
	}
	if err := told(ssf.Subject{Format: "email", ID: "x"}, state); err == nil {
		t.Error("a subject that is no stream passes")
	}
	if n := testutil.CollectAndCount(registry, "sallyport_issuer_stream_verified_timestamp_seconds"); n != 0 {
		t.Error("it counts as verified")
	}
	for _, s := range []string{state, ""} {
		if err := told(of, s); err != nil {
			t.Errorf("%q: %v", s, err)
		}
	}
	if age := time.Since(time.Unix(int64(verified()), 0)); age.Abs() > time.Minute {
		t.Errorf("verified %v ago", age)
	}
	states := len(tr.States())
	eventually.True(t, "the next verification to be asked for", func() bool {
		return len(tr.States()) > states
	})
}

func collector(t *testing.T, registry *prometheus.Registry, name string) prometheus.Collector {
	t.Helper()
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() == name {
			g := prometheus.NewGauge(prometheus.GaugeOpts{Name: name})
			g.Set(f.GetMetric()[0].GetGauge().GetValue())
			return g
		}
	}
	t.Fatalf("no metric %s", name)
	return nil
}

// TestAChangedStreamIsLookedAtSoon: its sender says so, and is asked.
func TestAChangedStreamIsLookedAtSoon(t *testing.T) {
	t.Parallel()
	tr := streamtest.New(t)
	c := settings(t, stream.Push)
	c.CheckEvery = time.Hour
	r := newReceiver(t, tr, c, lease(t, miniredis.RunT(t), tr.URL), nil)
	r.run(t)
	eventually.True(t, "the stream to be made", func() bool { return len(tr.States()) > 0 })
	tr.Change(func(s *streamtest.Stream) { s.Status = "disabled" })
	of := ssf.Subject{Format: "opaque", ID: "stream-1"}
	if err := r.Told(t.Context(), ssf.Set{Subject: of}, ssf.Event{Type: ssf.StreamUpdated,
		Status: "disabled"}); err != nil {
		t.Fatal(err)
	}
	eventually.True(t, "the stream to be enabled", func() bool {
		return tr.Streams()[0].Status == "enabled"
	})
}

// TestPushedMessagesNeedTheirAuthorization, whole and letter by letter.
func TestPushedMessagesNeedTheirAuthorization(t *testing.T) {
	t.Parallel()
	tr := streamtest.New(t)
	l := lease(t, miniredis.RunT(t), tr.URL)
	r := newReceiver(t, tr, settings(t, stream.Push), l, nil)
	if !r.Authorized(authorization) {
		t.Error("its own is refused")
	}
	for _, bad := range []string{
		"", "Bearer", authorization + " ", " " + authorization, strings.ToUpper(authorization),
		authorization[:len(authorization)-1],
	} {
		if r.Authorized(bad) {
			t.Errorf("%q passes", bad)
		}
	}
	if newReceiver(t, tr, settings(t, stream.Poll), l, nil).Authorized("") {
		t.Error("a stream that is polled takes pushed messages")
	}
}

// TestAnAuthorizationThatIsRotatedRefusesNoMessage: the transmitter is told the next one only when
// every issuer knows it; what it sends until then is good at each, at one that has only just started
// too, and for ten minutes after.
func TestAnAuthorizationThatIsRotatedRefusesNoMessage(t *testing.T) {
	t.Parallel()
	const next, nobodys = "Bearer the-next-of-our-own", "Bearer of-nobody-at-all"
	tr, redis := streamtest.New(t), miniredis.RunT(t)
	var clock atomic.Int64
	clock.Store(time.Now().UnixMilli())
	issuer := func(content string) (r *stream.Stream, replace func(string)) {
		files, err := livefile.New(slog.New(slog.DiscardHandler), nil)
		if err != nil {
			t.Fatal(err)
		}
		c := settings(t, stream.Push)
		c.CheckEvery, c.AuthorizationFile = 5*time.Millisecond, file(t, content)
		r, err = stream.New(stream.Options{
			Sender: tr.URL, Config: c, Lease: lease(t, redis, tr.URL), Files: files,
			Handle: func(context.Context, string, string) error { return nil },
			Now:    func() time.Time { return time.UnixMilli(clock.Load()) },
		})
		if err != nil {
			t.Fatal(err)
		}
		(&receiver{Stream: r}).run(t)
		return r, func(content string) {
			if err := os.WriteFile(string(c.AuthorizationFile), []byte(content), 0o600); err != nil {
				t.Fatal(err)
			}
			if err := files.Reload(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
	}
	looked := func() {
		t.Helper()
		n := tr.Calls("GET /streams")
		clock.Add(10) // the next look is due by the clock
		eventually.True(t, "the stream to be looked at", func() bool {
			clock.Add(10)
			return tr.Calls("GET /streams") > n+3
		})
	}
	a, replace := issuer(authorization)
	eventually.True(t, "the stream to be made", oneStream(tr))
	b, _ := issuer(authorization)
	replace(next)
	looked()
	c, _ := issuer(next)
	all := map[string]*stream.Stream{
		"who keeps the stream": a, "who has the file of before": b, "who has started since": c,
	}
	accepted := func(when string, headers ...string) {
		t.Helper()
		for name, r := range all {
			for _, header := range headers {
				eventually.True(t, when+": "+name+" to accept "+header, func() bool {
					return r.Authorized(header)
				})
			}
			if r.Authorized(nobodys) || r.Authorized("") {
				t.Errorf("%s: %s accepts anything", when, name)
			}
		}
	}
	accepted("before the transmitter is told", authorization, next)
	looked()
	if got := tr.Streams()[0].Authorization; got != authorization {
		t.Errorf("the transmitter was told %q at once", got)
	}
	clock.Add(30_000)
	eventually.True(t, "the next one to be told", func() bool {
		clock.Add(10)
		return tr.Streams()[0].Authorization == next
	})
	accepted("once it is told", authorization, next)
	delete(all, "who has the file of before")
	accepted("long after", next)
	for name, r := range all {
		eventually.True(t, name+" to refuse what was replaced", func() bool {
			clock.Add(60_000)
			return !r.Authorized(authorization)
		})
	}
}

// TestAnotherIssuerTakesOverAtOnce when the one that kept the stream ends.
func TestAnotherIssuerTakesOverAtOnce(t *testing.T) {
	t.Parallel()
	tr, redis := streamtest.New(t), miniredis.RunT(t) // whose leases never run out by themselves
	c := settings(t, stream.Poll)
	stop := newReceiver(t, tr, c, lease(t, redis, tr.URL), nil).run(t)
	eventually.True(t, "the stream to be made", oneStream(tr))
	newReceiver(t, tr, c, lease(t, redis, tr.URL), nil).run(t)
	stop()
	before := tr.Calls("POST /poll")
	eventually.True(t, "the other one to poll", func() bool { return tr.Calls("POST /poll") > before })
}

// TestSecretsFitIntoAHeader or the issuer does not start; their files' texts are not told.
func TestSecretsFitIntoAHeader(t *testing.T) {
	t.Parallel()
	files, err := livefile.New(slog.New(slog.DiscardHandler), nil)
	if err != nil {
		t.Fatal(err)
	}
	for name, content := range map[string]string{
		"empty": "", "short": "Bearer 123",
		"two lines": "Bearer one-two-three\nBearer one-two-three\n",
		"blanks":    " Bearer one-two-three", "no ASCII": "Bearer one-two-thrée",
		"long": strings.Repeat("x", 4097),
	} {
		c := settings(t, stream.Push)
		c.AuthorizationFile = file(t, content)
		_, err := stream.New(stream.Options{Sender: "https://sso.example.com", Config: c,
			Files: files})
		if err == nil || content != "" && strings.Contains(err.Error(), content) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestNothingGoesWhereNobodySaidItMayGo: redirects are not followed, and what the documents name
// must be reached over TLS or on this machine, and be of this issuer.
func TestNothingGoesWhereNobodySaidItMayGo(t *testing.T) {
	t.Parallel()
	tr := streamtest.New(t)
	for name, c := range map[string]struct{ document, trouble string }{
		"http elsewhere": {`{"issuer":"%s","configuration_endpoint":"http://192.0.2.1/streams"}`,
			"configuration_endpoint: expected an https address"},
		"another scheme": {`{"issuer":"%s","configuration_endpoint":"ftp://127.0.0.1/streams"}`,
			"configuration_endpoint: expected an https address"},
		"with a user": {`{"issuer":"%s","configuration_endpoint":"https://me@127.0.0.1/streams"}`,
			"configuration_endpoint: expected an https address"},
		"another issuer": {`{"issuer":"%s/","configuration_endpoint":"https://127.0.0.1/streams"}`,
			"names another issuer"},
		"no JSON":  {`<%s>`, "expected an answer in JSON"},
		"too long": {`{"issuer":"%s","x":"` + strings.Repeat("x", 300<<10) + `"}`, "expected an answer of at most"},
		"status over ftp": {`{"issuer":"%s","configuration_endpoint":"https://127.0.0.1/s",` +
			`"status_endpoint":"ftp://127.0.0.1/"}`, "an endpoint of the transmitter: expected an https address"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cfg := settings(t, stream.Push)
			cfg.ConfigurationURL = serveText(t, fmt.Sprintf(c.document, tr.URL))
			r := newReceiver(t, tr, cfg, lease(t, miniredis.RunT(t), tr.URL), nil)
			r.run(t)
			eventually.True(t, "it to be told", func() bool {
				return strings.Contains(r.log.String(), c.trouble)
			})
		})
	}
	t.Run("a redirect", func(t *testing.T) {
		c := settings(t, stream.Push)
		c.TokenURL = redirectTo(t, tr.URL+"/token")
		r := newReceiver(t, tr, c, lease(t, miniredis.RunT(t), tr.URL), nil)
		r.run(t)
		eventually.True(t, "it to be told", func() bool {
			return strings.Contains(r.log.String(), "is in trouble")
		})
	})
	t.Cleanup(func() { // behind the parallel ones
		if tr.Calls("POST /token") != 0 {
			t.Error("a secret went where it was led to")
		}
	})
}

// TestAnAnswerOfAnotherIssuerIsNotTaken: neither a stream that is another issuer's nor the metadata
// that say where the secret goes.
func TestAnAnswerOfAnotherIssuerIsNotTaken(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		called, member, trouble, never string
	}{
		"the stream": {"POST /streams", "iss", "the stream is of another issuer", "POST /poll"},
		"the metadata": {"GET /.well-known/openid-configuration", "issuer",
			"the metadata names another issuer", "POST /token"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			tr := streamtest.New(t)
			tr.Alter(c.called, func(answer map[string]any) { answer[c.member] = tr.URL + "/" })
			r := newReceiver(t, tr, settings(t, stream.Poll), lease(t, miniredis.RunT(t), tr.URL), nil)
			r.run(t)
			eventually.True(t, "it to be told", func() bool {
				return strings.Contains(r.log.String(), c.trouble)
			})
			if n := tr.Calls(c.never); n != 0 {
				t.Errorf("%s was called %d times", c.never, n)
			}
		})
	}
}

// TestAnOldVerificationShowsThatTheStreamWorkedThen: whoever has one without a state may send it again
// and again, and a stream that is dead must not look alive for that.
func TestAnOldVerificationShowsThatTheStreamWorkedThen(t *testing.T) {
	t.Parallel()
	tr, redis := streamtest.New(t), miniredis.RunT(t)
	l := lease(t, redis, tr.URL)
	r := newReceiver(t, tr, settings(t, stream.Push), l, nil)
	now := time.Now().Truncate(time.Millisecond)
	for _, c := range []struct{ ago, want time.Duration }{
		{time.Hour, time.Hour}, {24 * time.Hour, time.Hour}, {time.Minute, time.Minute},
		{2 * time.Minute, time.Minute},
	} {
		m := ssf.Set{
			Subject: ssf.Subject{Format: "opaque", ID: "stream-1"}, IssuedAt: now.Add(-c.ago),
		}
		if err := r.Told(t.Context(), m, ssf.Event{Type: ssf.Verification}); err != nil {
			t.Fatal(err)
		}
		last, err := l.LastVerified(t.Context())
		if err != nil || !last.Equal(now.Add(-c.want)) {
			t.Errorf("one of %v ago: verified %v ago, %v", c.ago, now.Sub(last), err)
		}
	}
}

// TestAVerificationIsAskedForNoMoreOftenThanTheTransmitterAllows.
func TestAVerificationIsAskedForNoMoreOftenThanTheTransmitterAllows(t *testing.T) {
	t.Parallel()
	tr := streamtest.New(t)
	for _, called := range []string{"POST /streams", "GET /streams"} {
		tr.Alter(called, func(answer map[string]any) { answer["min_verification_interval"] = 3600 })
	}
	redis := miniredis.RunT(t)
	c := settings(t, stream.Push)
	c.CheckEvery, c.VerifyEvery = time.Millisecond, time.Millisecond
	r := newReceiver(t, tr, c, lease(t, redis, tr.URL), nil)
	r.run(t)
	eventually.True(t, "a verification to be asked for", func() bool { return len(tr.States()) > 0 })
	of := ssf.Subject{Format: "opaque", ID: "stream-1"}
	err := r.Told(t.Context(), ssf.Set{Subject: of}, ssf.Event{Type: ssf.Verification, State: tr.States()[0]})
	if err != nil {
		t.Fatal(err)
	}
	asked, looked := len(tr.States()), tr.Calls("GET /streams")
	eventually.True(t, "the stream to be looked at", func() bool {
		return tr.Calls("GET /streams") > looked+5
	})
	if n := len(tr.States()); n > asked+1 { // one may have been under way
		t.Errorf("%d verifications were asked for within an hour", n)
	}
}

// TestSettingsThatCannotWorkAreRefused, each with where it stands.
func TestSettingsThatCannotWorkAreRefused(t *testing.T) {
	t.Parallel()
	for path, spoil := range map[string]func(c *stream.Config){
		"delivery":      func(c *stream.Config) { c.Delivery = "carrier pigeon" },
		"endpoint_url":  func(c *stream.Config) { c.EndpointURL = "" },
		"endpoint_url ": func(c *stream.Config) { c.EndpointURL = "http://192.0.2.1/x" },
		"endpoint_url  ": func(c *stream.Config) {
			c.Delivery, c.AuthorizationFile = stream.Poll,
				""
		},
		"authorization_file": func(c *stream.Config) { c.Delivery, c.EndpointURL = stream.Poll, "" },
		"client_secret_file": func(c *stream.Config) {
			*c = stream.Config{Delivery: stream.Poll, CheckEvery: time.Minute,
				VerifyEvery: time.Minute, PollEvery: time.Second}
		},
		"client_id":         func(c *stream.Config) { c.ClientID = "" },
		"token_file":        func(c *stream.Config) { c.TokenFile = "x" },
		"configuration_url": func(c *stream.Config) { c.ConfigurationURL = "https://x/#y" },
		"token_url":         func(c *stream.Config) { c.TokenURL = "https://x/#y" },
		"subjects":          func(c *stream.Config) { c.Subjects = map[string]string{"email": "kid"} },
		"ignored_events":    func(c *stream.Config) { c.Ignored = []string{"verification"} },
		"check_every":       func(c *stream.Config) { c.CheckEvery = 0 },
		"verify_every":      func(c *stream.Config) { c.VerifyEvery = 25 * time.Hour },
		"poll_every":        func(c *stream.Config) { c.PollEvery = 0 },
	} {
		c := settings(t, stream.Push)
		spoil(&c)
		if err := c.Validate(); err == nil || !strings.Contains(err.Error(), strings.TrimSpace(path)) {
			t.Errorf("%s: %v", path, err)
		}
	}
	var none stream.Config
	if err := none.Validate(); err != nil {
		t.Errorf("a sender that sends none: %v", err)
	}
}

// TestWhomAMessageIsFor: the stream's client by its name, alone or before the stream's id, and no
// other client whose name begins like it.
func TestWhomAMessageIsFor(t *testing.T) {
	t.Parallel()
	c := stream.Config{ClientID: "sallyport"}
	for audience, want := range map[string]bool{
		"sallyport": true, "sallyport/c612f693": true, "sallyport/": false,
		"sallyport/evil/c612": false,
		"sallyport-poll/c612": false, "Sallyport": false, "": false, "/c612": false,
	} {
		if c.For(audience) != want {
			t.Errorf("%q: expected %v", audience, want)
		}
	}
	if (&stream.Config{}).For("") || (&stream.Config{}).For("/x") {
		t.Error("without a client everything is for us")
	}
}

// TestRulesAreAsTheSettingsSay.
func TestRulesAreAsTheSettingsSay(t *testing.T) {
	t.Parallel()
	c := stream.Config{
		Subjects: map[string]string{"email": "sub"}, Ignored: []string{"credential_change"},
	}
	rules, err := c.Rules("https://sender", "https://tokens")
	if err != nil || rules.Sender != "https://sender" || rules.Issuer != "https://tokens" ||
		len(rules.Subjects) != 1 || !slices.Equal(rules.Ignored, []ssf.Type{ssf.CredentialChange}) {
		t.Errorf("got %+v, %v", rules, err)
	}
	c.Subjects["email"] = "kid"
	if rules, err := c.Rules("https://sender", "https://tokens"); err == nil {
		t.Errorf("a mapping that cannot be: got %+v", rules)
	}
}

// TestAStreamIsLeftAloneUntilMessagesAreTaken: what is pushed before that may be sent once only.
func TestAStreamIsLeftAloneUntilMessagesAreTaken(t *testing.T) {
	t.Parallel()
	tr := streamtest.New(t)
	var asked, open atomic.Int64
	r, err := stream.New(stream.Options{
		Sender: tr.URL, Config: settings(t, stream.Push), Lease: lease(t, miniredis.RunT(t), tr.URL),
		Open: func() error {
			if asked.Add(1); open.Load() == 0 {
				return errors.New("not yet")
			}
			return nil
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	(&receiver{Stream: r}).run(t)
	eventually.True(t, "it to ask again", func() bool { return asked.Load() > 2 })
	if n := tr.Calls("GET /.well-known/ssf-configuration"); n != 0 {
		t.Errorf("its sender was asked %d times", n)
	}
	open.Store(1)
	eventually.True(t, "the stream to be verified", func() bool { return len(tr.States()) > 0 })
}
