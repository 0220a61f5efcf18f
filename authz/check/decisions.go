package check

import (
	"net/http"
	"strings"
	"time"

	"github.com/sallyport/sallyport/authz"
	"github.com/sallyport/sallyport/internal/decisionlog"
)

// log has a line of the decision log written: for each refusal, and for a sample of what is allowed.
func (c *Checker) log(r *Request, d *authz.Decision, took time.Duration, shadow string) {
	// The ID is at random already.
	if d.Allow && !c.Decisions.Samples(d.ID[1]) || !c.Decisions.Admits(d.Reason()) {
		return
	}
	record := &decisionlog.Record{
		ID: d.ID.String(), Verdict: decisionlog.Allowed, Status: http.StatusOK, Shadow: shadow,
		Detail: d.Detail(), Route: d.Route(), Token: d.Token.String(), Micros: took.Microseconds(),
	}
	if !d.Allow {
		record.Verdict = decisionlog.Refused
		record.Status, record.Reason = d.Refused().Status, d.Reason()
	}
	c.describe(record, r)
	record.TokenFrom = c.engine.TokenPlace(&r.Request, d)
	c.believed(record, d.Identity)
	c.Decisions.Put(record)
}

// describe adds what the policy went by in the request. Nothing in it may be a view of the request,
// which is gone before the line is written.
func (c *Checker) describe(to *decisionlog.Record, r *Request) {
	to.RequestID = to.Text("request_id", r.requestID())
	to.TraceID = r.traceID()
	to.Method, to.Host = to.Text("method", r.Method), to.Text("host", r.Host)
	to.Policy, to.Peer = to.Text("policy", r.Policy), to.Text("peer", r.Peer)
	to.SetPath(r.Path)
	// gRPC over HTTP/2 has service and method in the path.
	if strings.HasPrefix(r.header("content-type"), "application/grpc") {
		to.GRPC = strings.TrimPrefix(to.Path, "/")
	}
	names := c.Decisions.Config().Headers
	if len(names) == 0 {
		return
	}
	shown := map[string]string{}
	for name, value := range c.engine.Shown(&r.Request) {
		name = strings.ToLower(name)
		if before, twice := shown[name]; twice {
			value = before + "," + value
		}
		shown[name] = value
	}
	for _, name := range names {
		value, ok := shown[name]
		to.AddHeader(name, value, ok)
	}
}

// believed adds what a genuine token says, as far as the log may have it. The claims of any other are
// what anybody may write.
func (c *Checker) believed(to *decisionlog.Record, id *authz.Identity) {
	if id == nil || id.Claims == nil {
		return
	}
	to.Issuer, to.KeyID = to.Text("issuer", id.Claims.Issuer), to.Text("key_id", id.Facts.KeyID)
	for _, name := range c.Decisions.Config().Claims {
		value, ok := id.Claim(name)
		to.AddClaim(name, value, ok)
	}
}

// traceID returns the trace that the request says to be part of; "" when it says so twice.
func (r *Request) traceID() string {
	found := ""
	for i := range r.Headers {
		if !strings.EqualFold(r.Headers[i].Name, "traceparent") {
			continue
		}
		if found != "" {
			return ""
		}
		found = r.Headers[i].Value
	}
	return decisionlog.TraceID(found)
}
