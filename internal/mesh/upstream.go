package mesh

import (
	"encoding/json"
	"io"
	"net/http"
	"strings"
)

// Received is what an upstream behind Envoy gets to see of a request.
type Received struct {
	Method string `json:"method"`
	Path   string `json:"path"` // as it arrived, with the query
	// Headers are by lower-case name; several lines of one name are joined with ",".
	Headers map[string]string `json:"headers"`
}

// Receive returns what r says, for an upstream to answer with.
func Receive(r *http.Request) Received {
	received := Received{
		Method: r.Method, Path: r.RequestURI,
		Headers: map[string]string{"host": r.Host},
	}
	for name, values := range r.Header {
		received.Headers[strings.ToLower(name)] = strings.Join(values, ",")
	}
	return received
}

// UpstreamProtocols are what an upstream of Envoy's speaks without TLS: HTTP/1.1, and HTTP/2 for
// gRPC.
func UpstreamProtocols() *http.Protocols {
	p := new(http.Protocols)
	p.SetHTTP1(true)
	p.SetUnencryptedHTTP2(true)
	return p
}

// maxEchoBody is how much of a request's body Echo reads before it answers.
const maxEchoBody = 1 << 20

// Echo answers every request with what it has received, as JSON.
var Echo http.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
	body, err := json.MarshalIndent(Receive(r), "", "  ")
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	if _, err := io.CopyN(io.Discard, r.Body, maxEchoBody); err != nil && err != io.EOF {
		return // the client has gone
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	_, _ = w.Write(append(body, '\n')) // a client that has gone needs no answer
})
