package httpcheck

import (
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/sallyport/sallyport/authz"
	"github.com/sallyport/sallyport/authz/authztest"
	"github.com/sallyport/sallyport/internal/token"
)

// FuzzADoorAllowsWhatTheEngineAllows: whatever a proxy sends, nothing panics; 200 is the answer
// only where the engine allows what stands in the stated places, and tells who calls as it does.
func FuzzADoorAllowsWhatTheEngineAllows(f *testing.F) {
	w := authztest.New()
	good := "Bearer " + w.Token()
	for _, v := range authztest.Vectors(w) {
		if v.Given == nil {
			var lines []string
			for _, h := range v.Request.Headers {
				lines = append(lines, h.Name+":"+h.Value)
			}
			f.Add(uint8(len(lines)), v.Request.Method, v.Request.Host, v.Request.Path,
				strings.Join(lines, "\n"))
		}
	}
	f.Add(uint8(1), "GET", "h", "/protected", "authorization:"+good+"\nX-Original-Uri:/public")
	benches := map[string]*bench{}
	for _, name := range proxyNames() {
		benches[name] = start(f, w, configFor(f, name))
	}
	engine := w.Engine(nil)
	f.Fuzz(func(t *testing.T, which uint8, method, host, path, lines string) {
		b := benches[proxyNames()[int(which)%len(benches)]]
		p := b.server.proxy
		r := &http.Request{
			Method: "GET", Host: "gate", RequestURI: "/", URL: &url.URL{}, Header: http.Header{},
			RemoteAddr: peer, Body: http.NoBody,
		}
		judged := authz.Request{Method: method, Host: host, Path: path, At: instant()}
		for line := range strings.SplitSeq(lines, "\n") {
			name, value, _ := strings.Cut(line, ":")
			r.Header.Add(name, value)
			judged.Headers = append(judged.Headers, authz.Header{Name: name, Value: value})
		}
		if p.own {
			r.Method, r.Host, r.RequestURI = method, host, path
		} else {
			r.Header.Add(p.method, method)
			r.Header.Add(p.host, host)
			r.Header.Add(p.path, path)
		}
		got := b.send(r)
		if got.StatusCode != http.StatusOK {
			if got.Header.Get(authz.HeaderReason) == string(token.ReasonInternal) {
				t.Fatalf("%q: our own failure", lines)
			}
			return
		}
		d := engine.Decide(&judged)
		if strings.HasPrefix(d.Reason(), "condition") {
			return // it may speak of the service that a header of ours names
		}
		if !d.Allow {
			t.Fatalf("%s: allowed %q %q %q %q, which the engine refuses as %s", b.server.config.Proxy,
				method, host, path, lines, d.Reason())
		}
		for _, name := range authz.IdentityHeaders() {
			told := ""
			for _, h := range d.Identity.Set {
				if h.Name == name {
					told = h.Value
				}
			}
			if got := got.Header.Get(name); got != told {
				t.Errorf("%s: told %s: %q, which the engine has as %q", b.server.config.Proxy, name, got, told)
			}
		}
	})
}
