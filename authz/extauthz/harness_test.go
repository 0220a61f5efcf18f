package extauthz

import (
	"context"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/encoding"
	"google.golang.org/grpc/mem"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/sallyport/sallyport/authz"
	"github.com/sallyport/sallyport/authz/authztest"
	"github.com/sallyport/sallyport/authz/check"
	"github.com/sallyport/sallyport/authz/extauthz/door"
	"github.com/sallyport/sallyport/internal/listen"
	"github.com/sallyport/sallyport/internal/revocation"
)

// bench is a server on loopback with a connection to it.
type bench struct {
	world    *authztest.World
	engine   *authz.Engine
	server   *Server
	address  string
	conn     *grpc.ClientConn
	registry *prometheus.Registry
	lines    *authztest.Lines
	ready    error
}

// start runs a server in front of an engine on w, until the test ends.
func start(t testing.TB, w *authztest.World, change ...func(*Config)) *bench {
	t.Helper()
	c := DefaultConfig()
	c.Strip = door.StripSeen
	for _, f := range change {
		f(&c)
	}
	b := &bench{world: w, registry: prometheus.NewRegistry(), lines: &authztest.Lines{}}
	var err error
	b.engine = w.Engine(NewWire(c))
	b.server, err = New(b.engine, c, Options{
		Ready: func() error { return b.ready },
		Check: check.Options{
			Instant: clock(), Keys: w.Keys, Audit: b.lines, Registry: b.registry,
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	listener, err := listen.Open("127.0.0.1:0", c.Config)
	if err != nil {
		t.Fatal(err)
	}
	b.address = listener.Addr().String()
	run(t, b.server, listener)
	b.conn = dial(t, b.address)
	return b
}

// run runs a server until the test ends, and wants it to end well.
func run(t testing.TB, s *Server, l net.Listener) {
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx, l) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("the server ended with %v", err)
		}
	})
}

func clock() func() revocation.Instant {
	begin := time.Now()
	return func() revocation.Instant {
		now := time.Now()
		return revocation.Instant{Mono: now.Sub(begin), Wall: now.Round(0)}
	}
}

func dial(t testing.TB, target string) *grpc.ClientConn {
	t.Helper()
	conn, err := grpc.NewClient(target, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		// that is: closed already
		if err := conn.Close(); err != nil && status.Code(err) != codes.Canceled {
			t.Error(err)
		}
	})
	return conn
}

// message is a request as bytes.
type message []byte

// asIs sends bytes as they are, and reads answers by the generated types.
type asIs struct{ encoding.CodecV2 }

func (c asIs) Marshal(v any) (mem.BufferSlice, error) {
	if m, ok := v.(message); ok {
		return mem.BufferSlice{mem.SliceBuffer(m)}, nil
	}
	return c.CodecV2.Marshal(v)
}

// send sends a message to Check, and fails the test when the RPC does.
func (b *bench) send(t testing.TB, m []byte) *authv3.CheckResponse {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	response := &authv3.CheckResponse{}
	err := b.conn.Invoke(ctx, "/envoy.service.auth.v3.Authorization/Check", message(m), response,
		grpc.ForceCodecV2(asIs{encoding.GetCodecV2("proto")}))
	if err != nil {
		t.Fatalf("the RPC failed: %v", err)
	}
	return response
}

// ask sends a request, its headers raw or not.
func (b *bench) ask(t testing.TB, raw bool) authztest.Ask {
	return func(r authz.Request) authztest.Answer {
		t.Helper()
		return answerOf(t, b.send(t, encoded(r, raw)))
	}
}

// answerOf reads a CheckResponse as Envoy does: the code alone decides.
func answerOf(t testing.TB, r *authv3.CheckResponse) authztest.Answer {
	t.Helper()
	if err := r.ValidateAll(); err != nil {
		t.Errorf("the answer is not valid: %v", err)
	}
	if len(r.ProtoReflect().GetUnknown()) > 0 || r.GetErrorResponse() != nil {
		t.Errorf("the answer has more than it should: %v", r)
	}
	if r.GetStatus().GetCode() == 0 {
		ok := r.GetOkResponse()
		if ok == nil || len(ok.GetQueryParametersToSet()) > 0 {
			t.Fatalf("an answer that lets pass has %v", r)
		}
		set := slices.DeleteFunc(headersOf(t, ok.GetHeaders()),
			func(h authz.Header) bool { return h.Name == check.HeaderStreamDuration })
		// Envoy's own mark goes no further, whoever is known.
		remove, marked := ok.GetHeadersToRemove(), slices.Index(
			ok.GetHeadersToRemove(),
			check.HeaderStripped,
		)
		if marked < 0 {
			t.Fatalf("the answer leaves Envoy's mark: %v", r)
		}
		a := authztest.Answer{
			Status: 200,
			Set:    set,
			Remove: slices.Delete(remove, marked, marked+1),

			Client:    authztest.WithoutID(t, 200, headersOf(t, ok.GetResponseHeadersToAdd())),
			Parameter: strings.Join(ok.GetQueryParametersToRemove(), ","),
		}
		if told := r.GetDynamicMetadata().GetFields(); told != nil {
			a.Metadata = map[string]string{}
			for name, value := range told[metadataKey].GetStructValue().GetFields() {
				a.Metadata[name] = value.GetStringValue()
			}
		}
		return a
	}
	denied := r.GetDeniedResponse()
	if denied == nil {
		t.Fatalf("a refusal has no denied_response: %v", r)
	}
	status := int(denied.GetStatus().GetCode())
	return authztest.Answer{
		Status: status, Body: denied.GetBody(),
		Headers: authztest.WithoutID(t, status, headersOf(t, denied.GetHeaders())),
	}
}

func headersOf(t testing.TB, options []*corev3.HeaderValueOption) (headers []authz.Header) {
	t.Helper()
	for _, o := range options {
		action := corev3.HeaderValueOption_OVERWRITE_IF_EXISTS_OR_ADD
		if o.GetHeader().GetKey() == authz.HeaderVary {
			action = corev3.HeaderValueOption_APPEND_IF_EXISTS_OR_ADD
		}
		if o.GetAppendAction() != action ||
			appends(o) ||
			len(o.GetHeader().GetRawValue()) > 0 {
			t.Errorf("a header is not to be overwritten: %v", o)
		}
		headers = append(headers,
			authz.Header{Name: o.GetHeader().GetKey(), Value: o.GetHeader().GetValue()})
	}
	return headers
}

// appends says that the older field `append` is there, which wins over the action.
func appends(o *corev3.HeaderValueOption) bool {
	return o.ProtoReflect().Has(o.ProtoReflect().Descriptor().Fields().ByName("append"))
}

// generated writes a request by the generated types.
func generated(t testing.TB, r *authv3.CheckRequest) []byte {
	t.Helper()
	b, err := proto.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// check judges a request that has been read.
func (s *Server) check(ctx context.Context, r *checkRequest, to []byte) []byte {
	to, _ = s.answer(to, func() (authz.Decision, bool) { return s.checker.Check(ctx, &r.Request), true })
	return to
}
