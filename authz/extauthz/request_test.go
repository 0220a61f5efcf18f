package extauthz

import (
	"slices"
	"testing"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/sallyport/sallyport/authz"
	"github.com/sallyport/sallyport/authz/authztest"
	"github.com/sallyport/sallyport/internal/token"
)

// full is a request with everything that Envoy may fill in.
func full() *authv3.CheckRequest {
	peer := &authv3.AttributeContext_Peer{
		Address: &corev3.Address{
			Address: &corev3.Address_SocketAddress{
				SocketAddress: &corev3.SocketAddress{
					Address:       "192.0.2.7",
					PortSpecifier: &corev3.SocketAddress_PortValue{PortValue: 4711},
				},
			},
		},
		Service:     "web",
		Labels:      map[string]string{"a": "b"},
		Principal:   "spiffe://x/y",
		Certificate: "pem",
	}
	return &authv3.CheckRequest{Attributes: &authv3.AttributeContext{
		Source:      peer,
		Destination: peer,
		Request: &authv3.AttributeContext_Request{
			Time: timestamppb.Now(),
			Http: &authv3.AttributeContext_HttpRequest{
				Id:       "17",
				Method:   "PUT",
				Path:     "/a/b?c",
				Host:     "h.example:80",
				Scheme:   "https",
				Query:    "c",
				Fragment: "f",
				Size:     12,
				Protocol: "HTTP/2",
				Body:     "body",
				RawBody:  []byte("raw"),
				Headers: map[string]string{
					":path":         "/a/b?c",
					":method":       "PUT",
					":authority":    "h.example:80",
					"authorization": "Bearer x",
					"empty":         "",
				},
				HeaderMap: &corev3.HeaderMap{
					Headers: []*corev3.HeaderValue{
						{Key: "k", RawValue: []byte("\xff")},
						{Key: "k", Value: "v"},
						{Key: "none"},
					},
				},
			},
		},
		ContextExtensions: map[string]string{
			"x": "y",
		},
		TlsSession:           &authv3.AttributeContext_TLSSession{Sni: "sni"},
		MetadataContext:      &corev3.Metadata{},
		RouteMetadataContext: &corev3.Metadata{},
	}}
}

func TestAWalkedRequestIsTheOneThatGeneratedTypesRead(t *testing.T) {
	for name, m := range map[string][]byte{
		"all that Envoy fills in": generated(t, full()),
		"as written by hand":      encoded(authztest.Get("/x", "a", "b", "c", ""), false),
		"by hand with raw values": encoded(authztest.Get("/x", "a", "b", "c", ""), true),
	} {
		t.Run(name, func(t *testing.T) {
			if !compare(t, m) {
				t.Error("the request was taken for malformed")
			}
		})
	}
}

// compare says whether the walker accepts a message, and fails the test when it then reads another
// request than the generated types do.
func compare(t *testing.T, m []byte) bool {
	t.Helper()
	var r checkRequest
	r.read(m)
	if r.Malformed != "" {
		return false
	}
	var g authv3.CheckRequest
	if err := proto.Unmarshal(m, &g); err != nil {
		// Envoy may send bytes that are not UTF-8, and inside of what is not judged the walker does
		// not look.
		return true
	}
	http := g.GetAttributes().GetRequest().GetHttp()
	if http == nil || r.Method != http.GetMethod() || r.Path != http.GetPath() ||
		r.Host != http.GetHost() ||
		r.ID != http.GetId() {
		t.Fatalf("read %q %q %q %q, generated types %v", r.Method, r.Path, r.Host, r.ID, http)
	}
	compareHeaders(t, &r, http)
	return true
}

// compareHeaders: the generated map has the last of several equal names, the walker has them all.
func compareHeaders(t *testing.T, r *checkRequest, http *authv3.AttributeContext_HttpRequest) {
	t.Helper()
	walked := map[string][]string{}
	for _, h := range r.Headers {
		walked[h.Name] = append(walked[h.Name], h.Value)
	}
	for name, value := range http.GetHeaders() {
		if name != "" && name[0] != ':' && !slices.Contains(walked[name], value) {
			t.Fatalf("header %q: read %q, generated types %q", name, walked[name], value)
		}
	}
	for _, h := range http.GetHeaderMap().GetHeaders() {
		value := h.GetValue()
		if value == "" {
			value = string(h.GetRawValue())
		}
		if name := h.GetKey(); name != "" && name[0] != ':' && !slices.Contains(walked[name], value) {
			t.Fatalf("header %q: read %q, generated types %q", name, walked[name], value)
		}
	}
	for name, values := range walked {
		for _, value := range values {
			if !known(http, name, value) {
				t.Fatalf("header %q: read %q, which generated types do not", name, value)
			}
		}
	}
}

func known(http *authv3.AttributeContext_HttpRequest, name, value string) bool {
	if _, ok := http.GetHeaders()[name]; ok {
		return true // the value may be that of an earlier entry by the same name
	}
	return slices.ContainsFunc(http.GetHeaderMap().GetHeaders(), func(h *corev3.HeaderValue) bool {
		return h.GetKey() == name && (h.GetValue() == value || string(h.GetRawValue()) == value)
	})
}

// FuzzCheckRequest: whatever comes, nothing breaks, what is read is what generated types read, and
// a request that is no request never passes.
func FuzzCheckRequest(f *testing.F) {
	m, err := proto.Marshal(full())
	if err != nil {
		f.Fatal(err)
	}
	f.Add(m)
	f.Add([]byte{})
	f.Add([]byte{0x0a, 0x00})
	f.Add(encoded(authztest.Get("/public", "authorization", "Bearer x"), false))
	f.Add(encoded(authztest.Get("/public", "authorization", "Bearer x"), true))
	f.Add(
		append(encoded(authztest.Get("/public"), false), encoded(authztest.Get("/protected"), true)...))
	b := start(f, authztest.New())
	f.Fuzz(func(t *testing.T, m []byte) {
		accepted := compare(t, m)
		r := new(checkRequest)
		r.read(m)
		d := b.server.checker.Check(t.Context(), &r.Request)
		if d.Reason() == string(token.ReasonInternal) {
			t.Fatal("our own failure")
		}
		if d.Allow && (!accepted || r.Path == "") {
			t.Fatal("what is no request may pass")
		}
		if d.Allow && d.Identity.Claims != nil {
			t.Fatal("an identity out of nothing")
		}
	})
}

func TestTheAddressIsThatOfTheSource(t *testing.T) {
	var r checkRequest
	r.read(generated(t, full()))
	if got := address(r.source); got != "192.0.2.7" {
		t.Errorf("got %q", got)
	}
	for _, odd := range [][]byte{
		nil, {0xff}, {0x0a}, {0x0a, 0x01, 0xff},
		appendBytes(nil, fieldPeerAddress, string(appendBytes(nil, 2, "/a/pipe"))),
	} {
		if got := address(odd); got != "" {
			t.Errorf("%x: got %q", odd, got)
		}
	}
}

func TestReadingARequestAllocatesNothing(t *testing.T) {
	m := generated(t, full())
	r := new(checkRequest)
	r.read(m)
	if n := testing.AllocsPerRun(100, func() {
		r.reset()
		r.read(m)
	}); n != 0 {
		t.Errorf("reading allocates %v times", n)
	}
}

func TestAResetRequestHoldsNothing(t *testing.T) {
	r := new(checkRequest)
	r.read(generated(t, full()))
	r.reset()
	if len(r.Headers) != 0 || r.Path != "" || r.source != nil || r.ID != "" || r.has != 0 ||
		r.path != "" {
		t.Errorf("got %+v", r)
	}
	if all := r.Headers[:cap(r.Headers)]; slices.ContainsFunc(all,
		func(h authz.Header) bool { return h != authz.Header{} }) {
		t.Error("headers are still held")
	}
	r.read(nil)
	if r.Malformed == "" {
		t.Error("an empty message is not malformed after another one")
	}
}
