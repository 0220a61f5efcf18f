package extauthz

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"google.golang.org/grpc/codes"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/sallyport/sallyport/authz"
	"github.com/sallyport/sallyport/authz/authztest"
	"github.com/sallyport/sallyport/authz/check"
	"github.com/sallyport/sallyport/internal/eventually"
	"github.com/sallyport/sallyport/internal/jose/josetest"
	"github.com/sallyport/sallyport/internal/token"
)

func TestDecisionsThroughHeaders(t *testing.T) {
	authztest.Run(t,
		func(t *testing.T, w *authztest.World) authztest.Ask { return start(t, w).ask(t, false) })
}

func TestDecisionsThroughRawHeaders(t *testing.T) {
	authztest.Run(t,
		func(t *testing.T, w *authztest.World) authztest.Ask { return start(t, w).ask(t, true) })
}

func TestHostileTokensAreRefusedByCheck(t *testing.T) {
	authztest.RunAttacks(t,
		func(t *testing.T, w *authztest.World) authztest.Ask { return start(t, w, roomy).ask(t, false) })
}

func TestHostileTokensAreRefusedByCheckWithRawHeaders(t *testing.T) {
	authztest.RunAttacks(t,
		func(t *testing.T, w *authztest.World) authztest.Ask { return start(t, w, roomy).ask(t, true) })
}

func TestHostileTokensOfOthersAreRefusedByCheck(t *testing.T) {
	authztest.RunForeignAttacks(t,
		func(t *testing.T, w *authztest.World) authztest.Ask { return start(t, w, roomy).ask(t, true) })
}

// roomy has the million dots of one attack reach the engine.
func roomy(c *Config) { c.MaxMessage = 2 << 20 }

// TestTheAnswersCodeIsNeverZeroForARefusal: Envoy looks at nothing else.
func TestTheAnswersCodeIsNeverZeroForARefusal(t *testing.T) {
	engine := authztest.New().Engine(NewWire(DefaultConfig()))
	for _, d := range token.Reasons() {
		a, ok := engine.Refusal(d.Reason).Wire.(*answer)
		if !ok {
			t.Fatalf("%s has no answer", d.Reason)
		}
		var r authv3.CheckResponse
		unmarshal(t, a.append(nil), &r)
		want := map[int]codes.Code{
			400: codes.InvalidArgument, 401: codes.Unauthenticated, 403: codes.PermissionDenied,
			503: codes.Unavailable,
		}[d.Status]
		if codes.Code(r.GetStatus().GetCode()) != want || want == codes.OK ||
			int(r.GetDeniedResponse().GetStatus().GetCode()) != d.Status ||
			r.GetOkResponse() != nil {
			t.Errorf("%s: got %v", d.Reason, &r)
		}
	}
}

func TestWhatIsNoRequestIsRefused(t *testing.T) {
	b := start(t, authztest.New())
	good := encoded(authztest.Get("/public"), false)
	http := func(more ...[]byte) []byte {
		all := appendBytes(appendBytes(appendBytes(nil, fieldMethod, "GET"), fieldPath, "/public"),
			fieldHost, authztest.Host)
		for _, m := range more {
			all = append(all, m...)
		}
		return enclosed(all)
	}
	if r := b.send(t, http()); r.GetStatus().GetCode() != 0 {
		t.Fatalf("the request that all others are made of is refused: %v", r)
	}
	for name, m := range map[string][]byte{
		"empty":          nil,
		"nil attributes": generated(t, &authv3.CheckRequest{}),
		"empty attributes": generated(t,
			&authv3.CheckRequest{Attributes: &authv3.AttributeContext{}}),
		"empty request": generated(t,
			&authv3.CheckRequest{Attributes: &authv3.AttributeContext{Request: &authv3.AttributeContext_Request{}}}),
		"garbage":                     []byte("\xff\xff\xff\xff garbage"),
		"text":                        []byte("GET /public HTTP/1.1"),
		"cut off":                     good[:len(good)-1],
		"and more":                    append(append([]byte(nil), good...), 0xff),
		"twice":                       append(append([]byte(nil), good...), good...),
		"a tag of zero":               append([]byte{0, 0}, good...),
		"a group":                     append([]byte{0x7b, 0x7c}, good...),
		"a length beyond the message": {0x0a, 0xff, 0xff, 0xff, 0xff, 0x0f},
		"a length that overflows": {
			0x0a, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01,
		},
		"two principals": appendBytes(nil, fieldAttributes, string(append(appendBytes(nil, fieldSource,
			string(appendBytes(appendBytes(nil, fieldPrincipal, "a"), fieldPrincipal, "b"))),
			content(good, fieldAttributes)...))),
		"two paths":   http(appendBytes(nil, fieldPath, "/public")),
		"two methods": http(appendBytes(nil, fieldMethod, "GET")),
		"two hosts":   http(appendBytes(nil, fieldHost, authztest.Host)),
		"another :path": http(appendBytes(nil, fieldHeaders, string(entry(":path",
			"/protected", fieldValue)))),
		"another :method": http(appendBytes(nil, fieldHeaders, string(entry(":method",
			"PUT", fieldValue)))),
		"another :authority": http(appendBytes(nil, fieldHeaders, string(entry(":authority",
			"evil", fieldValue)))),
		"two :path": http(appendBytes(nil, fieldHeaders, string(entry(":path",
			"/public", fieldValue))), appendBytes(nil, fieldHeaders, string(entry(":path", "/public",
			fieldValue)))),
		"an empty :path": http(appendBytes(nil, fieldHeaders, string(entry(":path", "",
			fieldValue)))),
		"two header maps": http(appendBytes(nil, fieldHeaderMap, ""), appendBytes(nil,
			fieldHeaderMap, "")),
		"a header with two values": http(appendBytes(nil, fieldHeaderMap, string(appendBytes(nil,
			fieldMapHeaders, string(append(entry("a", "b", fieldValue), appendBytes(nil, fieldRawValue,
				"c")...)))))),
		"a header with a value twice": http(appendBytes(nil, fieldHeaders, string(append(entry("a",
			"b", fieldValue), appendBytes(nil, fieldValue, "c")...)))),
		"a header with a name twice": http(appendBytes(nil, fieldHeaders, string(append(entry("a",
			"b", fieldValue), appendBytes(nil, fieldKey, "c")...)))),
		"a malformed header":     http(appendBytes(nil, fieldHeaders, "\xff")),
		"a malformed header map": http(appendBytes(nil, fieldHeaderMap, "\xff")),
		"more headers than there are": http([]byte(strings.Repeat(string(appendBytes(nil, fieldHeaders,
			string(entry("a", "b", fieldValue)))), check.MaxHeaders+1))),
		"a path of another type": enclosed([]byte{0x12, 0x03, 'G', 'E', 'T', 0x20, 0x01}),
		"two attributes, one of a kind": append(generated(t,
			&authv3.CheckRequest{Attributes: &authv3.AttributeContext{}}), good...),
	} {
		t.Run(name, func(t *testing.T) {
			got := answerOf(t, b.send(t, m))
			if got.Status != 400 {
				t.Errorf("got %d %v", got.Status, got.Headers)
			}
		})
	}
}

// TestBothKindsOfHeadersAreJudged: a token in each of them is one too many.
func TestBothKindsOfHeadersAreJudged(t *testing.T) {
	b := start(t, authztest.New())
	tok := "Bearer " + b.world.Token()
	plain := appendBytes(nil, fieldHeaders, string(entry("authorization", tok, fieldValue)))
	raw := appendBytes(nil, fieldHeaderMap,
		string(appendBytes(nil, fieldMapHeaders, string(entry("authorization", tok, fieldRawValue)))))
	text := appendBytes(nil, fieldHeaderMap,
		string(appendBytes(nil, fieldMapHeaders, string(entry("authorization", tok, fieldValue)))))
	http := appendBytes(appendBytes(appendBytes(nil, fieldMethod, "GET"), fieldPath, "/protected"),
		fieldHost, authztest.Host)
	join := func(parts ...[]byte) []byte {
		all := append([]byte(nil), http...)
		for _, p := range parts {
			all = append(all, p...)
		}
		return enclosed(all)
	}
	for name, row := range map[string]struct {
		m    []byte
		want authztest.Want
	}{
		"plain": {join(plain), authztest.Alice}, "raw": {join(raw), authztest.Alice},
		"text in the map": {join(text), authztest.Alice},
		"both": {
			join(plain, raw), authztest.Invalid(token.ReasonManyTokens),
		}, "plain twice": {join(plain, plain), authztest.Invalid(token.ReasonManyTokens)},
	} {
		t.Run(name, func(t *testing.T) { authztest.Compare(t, row.want, answerOf(t, b.send(t, row.m))) })
	}
}

func TestHealthIsServingExactlyWhileReady(t *testing.T) {
	b := start(t, authztest.New())
	client := healthpb.NewHealthClient(b.conn)
	ask := func(service string) (healthpb.HealthCheckResponse_ServingStatus, error) {
		r, err := client.Check(t.Context(), &healthpb.HealthCheckRequest{Service: service})
		return r.GetStatus(), err
	}
	for _, ready := range []error{nil, errors.New("no keys"), nil} {
		b.ready = ready
		want := healthpb.HealthCheckResponse_SERVING
		if ready != nil {
			want = healthpb.HealthCheckResponse_NOT_SERVING
		}
		for _, service := range []string{"", serviceName} {
			if got, err := ask(service); err != nil || got != want {
				t.Errorf("%q: got %v, %v; want %v", service, got, err, want)
			}
		}
		list, err := client.List(t.Context(), &healthpb.HealthListRequest{})
		if err != nil || len(list.GetStatuses()) != 2 || list.GetStatuses()[""].GetStatus() != want {
			t.Errorf("list: got %v, %v; want %v", list, err, want)
		}
	}
	if _, err := ask("another"); status.Code(err) != codes.NotFound {
		t.Errorf("an unknown service: got %v", err)
	}
}

func TestANewKeyIsFetchedOnceAndTheRequestDecidedAgain(t *testing.T) {
	b := start(t, authztest.New())
	next := josetest.NewKey("ES256", "key-2")
	b.world.Keys.Publish(authztest.Issuer, next.Public())
	tok := next.Token(next.Header("at+jwt").JSON(), b.world.Setup().Claims.JSON())
	for range 3 {
		authztest.Compare(t, authztest.Alice,
			b.ask(t, false)(authztest.Get("/protected", "authorization", "Bearer "+tok)))
	}
	if n := b.world.Keys.Awaited(); n != 1 {
		t.Errorf("keys were awaited %d times", n)
	}
}

func TestAKeyThatDoesNotComeRefusesWithinTheBudget(t *testing.T) {
	b := start(t, authztest.New(), func(c *Config) { c.KeyWait = 20 * time.Millisecond })
	never := josetest.NewKey("ES256", "key-3")
	tok := never.Token(never.Header("at+jwt").JSON(), b.world.Setup().Claims.JSON())
	want := authztest.Invalid(token.ReasonUnknownKey)
	ask := b.ask(t, false)
	request := authztest.Get("/protected", "authorization", "Bearer "+tok)
	authztest.Compare(t, want, ask(request))
	// Nor is it said to be unknown while nobody knows.
	b.world.Keys.Doubt(authztest.Issuer)
	authztest.Compare(t, authztest.Unavailable(token.ReasonKeyPending), ask(request))
	b.world.Keys.Settle(authztest.Issuer)
	authztest.Compare(t, want, ask(request))
}

// TestOnlySoManyChecksWaitForKeys fills all places for waiting, and wants the next check refused at
// once, and its key fetched all the same.
func TestOnlySoManyChecksWaitForKeys(t *testing.T) {
	const places = 3
	b := start(t, authztest.New(),
		func(c *Config) { c.KeyWait, c.KeyWaiters = 10*time.Second, places })
	never := josetest.NewKey("ES256", "key-3")
	tok := never.Token(never.Header("at+jwt").JSON(), b.world.Setup().Claims.JSON())
	request := encoded(authztest.Get("/protected", "authorization", "Bearer "+tok), false)
	ctx, cancel := context.WithCancel(context.Background())
	var waiting sync.WaitGroup
	for range places {
		waiting.Go(func() {
			r := new(checkRequest)
			r.read(request)
			b.server.check(ctx, r, nil)
		})
	}
	eventually.True(t, "all places are taken", func() bool { return b.world.Keys.Awaited() == places })
	authztest.Compare(t, authztest.Invalid(token.ReasonUnknownKey), answerOf(t, b.send(t, request)))
	if n := b.world.Keys.Awaited(); n != places+1 {
		t.Errorf("keys were asked for %d times, want %d", n, places+1)
	}
	next := josetest.NewKey("ES256", "key-2")
	b.world.Keys.Publish(authztest.Issuer, next.Public())
	tok = next.Token(next.Header("at+jwt").JSON(), b.world.Setup().Claims.JSON())
	authztest.Compare(t, authztest.Alice,
		b.ask(t, false)(authztest.Get("/protected", "authorization", "Bearer "+tok)))
	cancel()
	waiting.Wait()
	if n := authztest.Value(t, b.registry, "sallyport_gate_keys_not_awaited_total", ""); n != 2 {
		t.Errorf("counted %v checks that could not wait", n)
	}
}

// broken has no keys and panics when asked.
type broken struct{ authz.Keys }

func TestAPanicIsARefusalAndNotAFailedRPC(t *testing.T) {
	w := authztest.New()
	c := DefaultConfig()
	o := w.Options(NewWire(c))
	o.Keys = broken{}
	engine, err := authz.New(w.Policy, o)
	if err != nil {
		t.Fatal(err)
	}
	s, err := New(engine, c, Options{
		Ready: func() error { return nil }, Check: check.Options{Instant: clock()},
	})
	if err != nil {
		t.Fatal(err)
	}
	r := new(checkRequest)
	r.read(encoded(authztest.Get("/protected", "authorization", "Bearer "+w.Token()), false))
	var response authv3.CheckResponse
	unmarshal(t, s.check(t.Context(), r, nil), &response)
	if got := answerOf(t, &response); got.Status != 503 {
		t.Errorf("got %d", got.Status)
	}
	s.checker.Instant = nil // the transport's own panic
	unmarshal(t, s.check(t.Context(), r, nil), &response)
	if got := answerOf(t, &response); got.Status != 503 {
		t.Errorf("got %d", got.Status)
	}
}

// TestAnAnswerThatNobodyFilledInIsNotSent: an empty CheckResponse would let the request through.
func TestAnAnswerThatNobodyFilledInIsNotSent(t *testing.T) {
	b := start(t, authztest.New())
	for _, wire := range []any{nil, (*answer)(nil), &answer{}, newAnswer(nil), "text"} {
		if b.server.made(wire) != b.server.broken {
			t.Errorf("%v was taken for an answer", wire)
		}
	}
}

func TestAServerNeedsItsEnginesWire(t *testing.T) {
	w := authztest.New()
	o := Options{
		Ready: func() error { return nil }, Check: check.Options{Instant: clock()},
	}
	if _, err := New(w.Engine(nil), DefaultConfig(), o); err == nil ||
		!strings.Contains(err.Error(), "NewWire") {
		t.Errorf("got %v", err)
	}
	if _, err := New(nil, DefaultConfig(), o); err == nil {
		t.Error("no engine: accepted")
	}
	if _, err := New(w.Engine(NewWire(DefaultConfig())), Config{}, o); err == nil {
		t.Error("a configuration of zeros: accepted")
	}
}

func unmarshal(t testing.TB, answer []byte, to *authv3.CheckResponse) {
	t.Helper()
	if err := proto.Unmarshal(answer, to); err != nil {
		t.Fatal(err)
	}
}
