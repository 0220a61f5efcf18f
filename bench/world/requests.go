package world

import (
	"fmt"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/sallyport/sallyport/bench/load"
)

const host = "shop.example.com"

// browser are the headers of a browser's request, besides what differs from one to the next.
var browser = []load.Header{
	{Name: "user-agent", Value: "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like " +
		"Gecko) Chrome/140.0.0.0 Safari/537.36"},
	{Name: "accept", Value: "application/json, text/plain, */*"},
	{Name: "accept-encoding", Value: "gzip, deflate, br, zstd"},
	{Name: "accept-language", Value: "en-GB,en;q=0.9,de;q=0.8"},
	{Name: "cache-control", Value: "no-cache"},
	{Name: "cookie", Value: "theme=dark; consent=1; visitor=0c5f7a5e-52f1-4a5e-9d6d-7c1ee2a3b9d1"},
	{Name: "dnt", Value: "1"},
	{Name: "origin", Value: "https://shop.example.com"},
	{Name: "pragma", Value: "no-cache"},
	{Name: "priority", Value: "u=1, i"},
	{Name: "referer", Value: "https://shop.example.com/basket"},
	{Name: "sec-ch-ua", Value: `"Chromium";v="140", "Not=A?Brand";v="24"`},
	{Name: "sec-ch-ua-mobile", Value: "?0"},
	{Name: "sec-ch-ua-platform", Value: `"Linux"`},
	{Name: "sec-fetch-dest", Value: "empty"},
	{Name: "sec-fetch-mode", Value: "cors"},
	{Name: "sec-fetch-site", Value: "same-origin"},
	{Name: "traceparent", Value: "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"},
}

func path(i int) string { return service(i) + "/v1/things/42?expand=all" }

// Check is the check that Envoy makes of the i-th request, with all headers of a browser.
func Check(want load.Verdict, i int, token string) (*load.Request, error) {
	headers := map[string]string{
		":authority": host, ":method": "GET", ":path": path(i), ":scheme": "https",
		"authorization": "Bearer " + token, "x-forwarded-proto": "https",
		"x-sallyport-stripped": "1", // as the shipped Envoy marks what it has cleaned
		"x-request-id":         fmt.Sprintf("0c5f7a5e-52f1-4a5e-9d6d-%012x", i),
	}
	for _, h := range browser {
		headers[h.Name] = h.Value
	}
	message, err := proto.Marshal(&authv3.CheckRequest{Attributes: &authv3.AttributeContext{
		Source:      &authv3.AttributeContext_Peer{Address: address("127.0.0.1", 40000)},
		Destination: &authv3.AttributeContext_Peer{Address: address("127.0.0.1", 10000)},
		Request: &authv3.AttributeContext_Request{
			Time: timestamppb.Now(),
			Http: &authv3.AttributeContext_HttpRequest{
				Id: "1234567890123456789", Method: "GET", Headers: headers, Path: path(i), Host: host,
				Scheme: "https", Protocol: "HTTP/1.1", Size: -1,
			},
		},
		MetadataContext:      new(corev3.Metadata),
		RouteMetadataContext: new(corev3.Metadata),
	}})
	if err != nil {
		return nil, fmt.Errorf("world: %w", err)
	}
	return load.Check(want, message), nil
}

func address(ip string, port uint32) *corev3.Address {
	return &corev3.Address{Address: &corev3.Address_SocketAddress{SocketAddress: &corev3.SocketAddress{
		Address: ip, PortSpecifier: &corev3.SocketAddress_PortValue{PortValue: port},
	}}}
}

// Get is the i-th request as a browser sends it over HTTP/1.1.
func Get(want load.Verdict, i int, token string) *load.Request {
	headers := append([]load.Header{{Name: "authorization", Value: "Bearer " + token}}, browser...)
	return load.GetHTTP1(want, host, path(i), headers...)
}

// GetHeaders are what a browser's requests over one HTTP/2 connection have in common.
func GetHeaders() []load.Header {
	return append([]load.Header{
		{Name: ":method", Value: "GET"}, {Name: ":scheme", Value: "http"},
		{Name: ":authority", Value: host}, {Name: ":path", Value: path(0)},
	}, browser...)
}

// HTTP2 makes a list of HTTP/2 requests with tokens that are good.
func (w *World) HTTP2(n int) ([]*load.Request, error) {
	return list(n, func(i int) (*load.Request, error) {
		token, err := w.Token(i)
		if err != nil {
			return nil, err
		}
		return load.Get(load.Allowed, load.Header{Name: "authorization", Value: "Bearer " + token})
	})
}

// Checks makes a list of checks with tokens that are good.
func (w *World) Checks(from, n int) ([]*load.Request, error) {
	return list(n, func(i int) (*load.Request, error) {
		token, err := w.Token(from + i)
		if err != nil {
			return nil, err
		}
		return Check(load.Allowed, i, token)
	})
}

// ForgedChecks makes two checks of a session of its own: of an honest token, and of the same with
// one bit of its signature changed. forged is what becomes of that one.
func (w *World) ForgedChecks(forged load.Verdict) ([]*load.Request, error) {
	return w.forged(forged, Check)
}

// ForgedHTTP1 is the same over HTTP/1.1.
func (w *World) ForgedHTTP1(forged load.Verdict) ([]*load.Request, error) {
	return w.forged(forged, func(want load.Verdict, i int, token string) (*load.Request, error) {
		return Get(want, i, token), nil
	})
}

func (w *World) forged(verdict load.Verdict,
	request func(load.Verdict, int, string) (*load.Request, error)) ([]*load.Request, error) {
	token, err := w.Token(ofForged)
	if err != nil {
		return nil, err
	}
	off, err := OneBitOff(token)
	if err != nil {
		return nil, err
	}
	return list(2, func(i int) (*load.Request, error) {
		if i == 0 {
			return request(load.Allowed, 0, token)
		}
		return request(verdict, 0, off)
	})
}

// ofForged is the number of a session that no other request is of.
const ofForged = 1 << 31

// GarbageChecks makes a list of checks with tokens that are not.
func (w *World) GarbageChecks(n int) ([]*load.Request, error) {
	return list(n, func(i int) (*load.Request, error) {
		token, err := w.Garbage(i)
		if err != nil {
			return nil, err
		}
		return Check(load.Refused, i, token)
	})
}

// HTTP1 makes a list of HTTP/1.1 requests with tokens that are good.
func (w *World) HTTP1(n int) ([]*load.Request, error) {
	return list(n, func(i int) (*load.Request, error) {
		token, err := w.Token(i)
		if err != nil {
			return nil, err
		}
		return Get(load.Allowed, i, token), nil
	})
}

func list(n int, request func(i int) (*load.Request, error)) ([]*load.Request, error) {
	all := make([]*load.Request, n)
	for i := range all {
		var err error
		if all[i], err = request(i); err != nil {
			return nil, err
		}
	}
	return all, nil
}
