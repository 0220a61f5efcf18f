package filter

import (
	"strings"
	"testing"

	"github.com/sallyport/sallyport/authz"
	"github.com/sallyport/sallyport/authz/authztest"
)

// TestOneAnswer inside Envoy.
func TestOneAnswer(t *testing.T) {
	w := authztest.DrawWorld()
	b := start(t, w)
	authztest.OneAnswer(t, w, map[string]authztest.Door{
		"filter": {Ask: b.ask(t), Put: b.engine.SetPolicies, Lines: &b.lines},
	})
}

// FuzzRequest: whatever Envoy shows, nothing panics; what passes, passes by the one method, path
// and host that are shown, as the engine has it, and nobody is known without a token.
func FuzzRequest(f *testing.F) {
	w := authztest.New()
	for _, v := range authztest.Vectors(w) {
		if v.Given == nil {
			var lines []string
			for _, h := range shown(v.Request) {
				lines = append(lines, h.Name+"="+h.Value)
			}
			f.Add(strings.Join(lines, "\n"), v.Request.Peer)
		}
	}
	f.Add(":method=GET\n:path=/public\n:path=/protected\n:authority=h", "")
	f.Add(
		":method=GET\n:path=\n:authority=h\n:scheme=x\n=\nx-sallyport-stripped=1\nUPGRADE=websocket",
		"\xff",
	)
	b := start(f, w)
	engine := w.Engine(nil)
	f.Fuzz(func(t *testing.T, lines, peer string) {
		var headers []authz.Header
		judged := authz.Request{Peer: peer}
		stated := map[string]int{}
		for line := range strings.SplitSeq(lines, "\n") {
			// A pseudo-header has a colon itself.
			name, value, _ := strings.Cut(line, "=")
			headers = append(headers, authz.Header{Name: name, Value: value})
			stated[name]++
			switch {
			case name == ":method":
				judged.Method = value
			case name == ":path":
				judged.Path = value
			case name == ":authority":
				judged.Host = value
			case !strings.HasPrefix(name, ":"):
				judged.Headers = append(judged.Headers, authz.Header{Name: name, Value: value})
			}
		}
		got := b.send(t, headers, peer)
		if verdict(got) == verdictRefuse {
			if strings.Contains(string(got), "sallyport_internal") {
				t.Fatalf("%q: our own failure", lines)
			}
			return
		}
		d := engine.Decide(&judged)
		if !d.Allow || stated[":method"] != 1 || stated[":path"] != 1 || stated[":authority"] > 1 {
			t.Fatalf("%q passes, and the engine says %s", lines, d.Reason())
		}
		if (verdict(got) == verdictWatch) != (d.Identity.Claims != nil) {
			t.Fatalf("%q: verdict %d, and the engine knows %v", lines, verdict(got), d.Identity.Claims)
		}
	})
}
