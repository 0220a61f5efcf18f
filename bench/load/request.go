// Package load sends requests whose answers are known beforehand over HTTP/2 or HTTP/1.1, at a
// fixed rate or as fast as they are answered, and checks every answer: a run in which one answer
// was not the expected one has no figures, only an error.
//
// Frames and texts are made beforehand, so that the generator costs a fraction of what it measures.
package load

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"strconv"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
	"golang.org/x/net/http2/hpack"
)

// Verdict is what an answer says to a request.
type Verdict uint8

// An answer that is neither, such as an error of the server, is Broken.
const (
	Broken Verdict = iota
	Allowed
	Refused
)

func (v Verdict) String() string { return [...]string{"broken", "allowed", "refused"}[v] }

// Header is one header field.
type Header struct{ Name, Value string }

// Request is one request, ready to be sent. Make it with Check, Get or GetHTTP1.
type Request struct {
	Want Verdict

	own   []byte // over HTTP/2: what its header block has besides the connection's common fields
	data  []byte // over HTTP/2: the body, nil for none
	check bool   // a gRPC check, judged by its message and grpc-status; else by the status
	text  []byte // over HTTP/1.1: all of it
}

// Check is a gRPC call of ext_authz with a CheckRequest as its message.
func Check(want Verdict, message []byte) *Request {
	data := binary.BigEndian.AppendUint32([]byte{0}, uint32(len(message)))
	return &Request{Want: want, data: append(data, message...), check: true}
}

// CheckHeaders are what all gRPC calls on a connection have in common, as Envoy sends them.
func CheckHeaders() []Header {
	return []Header{
		{":method", "POST"},
		{":scheme", "http"},
		{":path", "/envoy.service.auth.v3.Authorization/Check"},
		{":authority", "authz"},
		{"te", "trailers"},
		{"grpc-timeout", "10000m"},
		{"content-type", "application/grpc"},
		{"x-envoy-internal", "true"},
		{"x-forwarded-for", "127.0.0.1"},
	}
}

// Get is a GET over HTTP/2, whose fields besides headers are the connection's common ones.
func Get(want Verdict, headers ...Header) (*Request, error) {
	var block bytes.Buffer
	e := hpack.NewEncoder(&block)
	for _, h := range headers {
		// Never indexed, so that the block means the same on every connection.
		field := hpack.HeaderField{Name: h.Name, Value: h.Value, Sensitive: true}
		if err := e.WriteField(field); err != nil {
			return nil, fmt.Errorf("load: header %s: %w", h.Name, err)
		}
	}
	return &Request{Want: want, own: block.Bytes()}, nil
}

// GetHTTP1 is a GET over HTTP/1.1.
func GetHTTP1(want Verdict, host, path string, headers ...Header) *Request {
	text := fmt.Appendf(nil, "GET %s HTTP/1.1\r\nhost: %s\r\n", path, host)
	for _, h := range headers {
		text = fmt.Appendf(text, "%s: %s\r\n", h.Name, h.Value)
	}
	return &Request{Want: want, text: append(text, "\r\n"...)}
}

// Plan is what a run sends. Count or For ends it, whichever comes first.
type Plan struct {
	Requests []*Request // in turn, again and again
	First    int        // where in them to begin
	Count    int        // how many to send at most; 0 means no limit but For
	For      time.Duration
	// Rate is how many are sent a second, whatever becomes of the answers; a request's latency then
	// counts from the moment at which it was due. With 0, InFlight are kept on their way.
	Rate     float64
	InFlight int // most requests on their way at a time
}

func (p *Plan) validate() error {
	switch {
	case len(p.Requests) == 0:
		return fmt.Errorf("load: expected requests to send, got none")
	case p.Count <= 0 && p.For <= 0:
		return fmt.Errorf("load: expected a bound on the run, got none")
	case p.InFlight < 1 || p.InFlight > maxInFlight:
		return fmt.Errorf("load: expected 1 to %d requests in flight, got %d", maxInFlight, p.InFlight)
	case p.Rate < 0:
		return fmt.Errorf("load: expected a rate of 0 or more, got %v", p.Rate)
	}
	return nil
}

func (p *Plan) request(i int) *Request { return p.Requests[(p.First+i)%len(p.Requests)] }

// over reports whether the i-th request is no longer to be sent. The first one always is: on a busy
// machine a short time may be over before it.
func (p *Plan) over(i int, since time.Duration) bool {
	return (p.Count > 0 && i >= p.Count) || (p.For > 0 && i > 0 && since >= p.For)
}

// Result is what a run in which every answer was the expected one has shown.
type Result struct {
	Sent    int
	Elapsed time.Duration // from the first request to the last answer
	// Latency is that of answers by their verdict, in nanoseconds.
	Latency map[Verdict]*hdrhistogram.Histogram
	// Late is how long after its time a request of a fixed rate was sent, in nanoseconds.
	Late *hdrhistogram.Histogram
}

// PerSecond returns the rate of the answers.
func (r *Result) PerSecond() float64 { return float64(r.Sent) / r.Elapsed.Seconds() }

// At returns the latency within which the given percentage of the answers with a verdict came.
func (r *Result) At(v Verdict, percent float64) time.Duration {
	return time.Duration(r.Latency[v].ValueAtPercentile(percent))
}

// Latencies are told apart from a microsecond to a minute, to three digits.
func newHistogram() *hdrhistogram.Histogram {
	return hdrhistogram.New(1_000, int64(time.Minute), 3)
}

func newResult() Result {
	return Result{
		Latency: map[Verdict]*hdrhistogram.Histogram{
			Allowed: newHistogram(), Refused: newHistogram(),
		},
		Late: newHistogram(),
	}
}

// record files an answer, or returns the error that ends the run.
func (r *Result) record(want, got Verdict, why string, took time.Duration) error {
	if got != want {
		return fmt.Errorf("load: answer %d: expected %v, got %v (%s)", r.Sent, want, got, why)
	}
	r.Sent++
	return r.Latency[got].RecordValue(min(max(int64(took), 1_000), int64(time.Minute)))
}

// merge adds what another connection has measured.
func (r *Result) merge(other *Result) {
	r.Sent += other.Sent
	r.Elapsed = max(r.Elapsed, other.Elapsed)
	for v, h := range other.Latency {
		r.Latency[v].Merge(h)
	}
	r.Late.Merge(other.Late)
}

// judgeStatus is the verdict of an HTTP answer.
func judgeStatus(status int) (Verdict, string) {
	why := "status " + strconv.Itoa(status)
	switch status {
	case 200:
		return Allowed, why
	case 401, 403:
		return Refused, why
	}
	return Broken, why
}
