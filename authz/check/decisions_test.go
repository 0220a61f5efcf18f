package check

import (
	"bytes"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sallyport/sallyport/authz/authztest"
	"github.com/sallyport/sallyport/internal/decisionlog"
	"github.com/sallyport/sallyport/internal/policy"
	"github.com/sallyport/sallyport/internal/token"
)

// logging is a checker with a decision log.
type logging struct {
	*Checker
	out   bytes.Buffer // whole once the log is closed
	lines *authztest.Lines
}

func newLogging(t *testing.T, w *authztest.World, change func(*decisionlog.Config)) *logging {
	t.Helper()
	l := &logging{lines: &authztest.Lines{}}
	c := decisionlog.DefaultConfig()
	c.Enabled, c.Rate, c.Burst, c.SampleAllowed = true, 100_000, 100_000, 1
	if change != nil {
		change(&c)
	}
	log, err := decisionlog.New(c, decisionlog.Options{Now: time.Now, Stdout: &l.out})
	if err != nil {
		t.Fatal(err)
	}
	l.Checker = newChecker(t, w, Options{Instant: instant, Decisions: log, Audit: l.lines})
	return l
}

// read closes the log and returns its text and its lines.
func (l *logging) read(t *testing.T) (text string, all []*decisionlog.Record) {
	t.Helper()
	if err := l.Decisions.Close(); err != nil {
		t.Fatal(err)
	}
	text = l.out.String()
	lines := decisionlog.NewReader(strings.NewReader(text))
	for {
		record, err := lines.Next()
		if err == io.EOF {
			return text, all
		}
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, record)
	}
}

// TestEachRefusalHasALineAndOfWhatIsAllowedASample, under the ID that the answer and the audit line
// have.
func TestEachRefusalHasALineAndOfWhatIsAllowedASample(t *testing.T) {
	for _, share := range []float64{0, 1} {
		w := authztest.New()
		l := newLogging(t, w, func(c *decisionlog.Config) { c.SampleAllowed = share })
		var want []string
		refused := 0
		for _, v := range authztest.Vectors(w) {
			if v.Given != nil {
				continue // of a world of its own
			}
			d := l.Check(t.Context(), &Request{Request: v.Request})
			if len(d.ID.String()) != 32 {
				t.Fatalf("%s: the decision has no ID", v.Name)
			}
			if !d.Allow {
				refused++
			}
			if !d.Allow || share == 1 {
				want = append(want, d.ID.String()+" "+d.Reason())
			}
		}
		_, all := l.read(t)
		for _, r := range all {
			if (r.Verdict == decisionlog.Allowed) != (r.Reason == "") {
				t.Errorf("got %+v", r)
			}
		}
		if len(all) != len(want) || refused < 50 || (len(want) == refused) != (share == 0) {
			t.Fatalf("a share of %v: %d lines, want %d, of which %d refusals", share, len(all), len(want), refused)
		}
		for i := range want {
			if id, reason, _ := strings.Cut(want[i], " "); all[i].ID != id ||
				reason != "allowed" && all[i].Reason != reason {
				t.Errorf("got %+v, want %s", all[i], want[i])
			}
		}
		audited := l.lines.All()
		if len(audited) != refused {
			t.Fatalf("%d audit lines of %d refusals", len(audited), refused)
		}
		for _, e := range audited {
			if !slices.ContainsFunc(all, func(r *decisionlog.Record) bool { return r.ID == e.DecisionID }) {
				t.Errorf("no line has the audit line's ID: %+v", e)
			}
		}
	}
}

// TestALineSaysWhatTheDecisionWentBy: request, trace, route, token, and of claims and headers what the
// configuration names.
func TestALineSaysWhatTheDecisionWentBy(t *testing.T) {
	w := authztest.New()
	l := newLogging(t, w, func(c *decisionlog.Config) {
		c.Claims, c.Headers = []string{"sub", "roles", "/deep/er"}, []string{"x-team", "x-none"}
	})
	r := &Request{Request: authztest.Get("/admin/x?secret=1", "authorization", "Bearer "+w.Token(),
		"x-request-id", "r-1", "X-Team", "blue", "x-team", "red", "traceparent",
		"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", "content-type", "application/grpc+proto")}
	r.Peer = "spiffe://example.com/checkout"
	l.Check(t.Context(), r)
	l.Check(t.Context(), &Request{Request: authztest.Get("/maybe"), ID: "r-2"})
	l.Check(t.Context(), &Request{Malformed: "broken"})
	forged := w.Token()
	l.Check(t.Context(), &Request{Request: authztest.Get("/protected", "x-access-token", forged[:len(forged)-8]+"AAAAAAAA")})
	l.Check(t.Context(), &Request{Request: authztest.Get("/public", "authorization", "Bearer x")})
	text, all := l.read(t)
	if len(all) != 5 {
		t.Fatalf("got %s", text)
	}
	got := all[0]
	if got.RequestID != "r-1" || got.TraceID != "0af7651916cd43dd8448eb211c80319c" || got.Method != "GET" ||
		got.Path != "/admin/x" || got.GRPC != "admin/x" || got.Host != authztest.Host ||
		got.Peer != r.Peer || got.Route == "" || got.Token != "verified" || got.TokenFrom != "authorization" ||
		got.Issuer != authztest.Issuer || got.KeyID != authztest.KeyID || got.Status != 200 ||
		got.Headers["x-team"] != "blue,red" || !slices.Equal(got.NoHeaders, []string{"x-none"}) ||
		string(got.Claims["sub"]) != `"alice"` || string(got.Claims["roles"]) != `["admin","staff"]` ||
		!slices.Equal(got.NoClaims, []string{"/deep/er"}) || len(got.Claims) != 2 || len(got.Cut) != 0 {
		t.Errorf("got %s", text)
	}
	for i, want := range []struct{ token, from, request string }{
		{"none", "", "r-2"}, {"unasked", "", ""}, {"refused", "x-access-token", ""}, {"unread", "", ""},
	} {
		if r := all[i+1]; r.Token != want.token || r.TokenFrom != want.from || r.RequestID != want.request ||
			r.Claims != nil || r.NoClaims != nil || r.Issuer != "" {
			t.Errorf("got %+v, want %+v", r, want)
		}
	}
}

// TestAShadowsVerdictStandsInTheLine.
func TestAShadowsVerdictStandsInTheLine(t *testing.T) {
	w := authztest.New()
	l := newLogging(t, w, nil)
	shadow, err := policy.Compile(policy.Config{Routes: []policy.Route{
		{Match: policy.Match{Path: "/protected"}, Require: policy.Require{Roles: []string{"nobody-has"}}},
	}})
	if err != nil {
		t.Fatal(err)
	}
	l.engine.SetShadow(shadow)
	l.Check(t.Context(), &Request{Request: authztest.Get("/protected", "authorization", "Bearer "+w.Token())})
	if text, all := l.read(t); len(all) != 1 || all[0].Verdict != decisionlog.Allowed ||
		all[0].Shadow != string(token.ReasonInsufficientRole) {
		t.Errorf("got %s", text)
	}
}

// FuzzNoCredentialStandsInALine, wherever a request has it and whatever stands around it.
func FuzzNoCredentialStandsInALine(f *testing.F) {
	const secret = "s3cr3t-cr3d3nt14l"
	w := authztest.New()
	p, err := policy.Compile(policy.Config{
		Tokens: []policy.TokenSource{
			{Authorization: "Bearer"}, {Header: "x-key"}, {Cookie: "sid"}, {WebSocket: "auth."},
		},
		Routes: []policy.Route{
			{Match: policy.Match{Path: "/public"}, Allow: "public"},
			{Match: policy.Match{Path: "/maybe"}, Allow: "optional"},
			{Match: policy.Match{Path: "/query"}, QueryToken: "token"},
			{Match: policy.Match{Path: "/**"}, Require: policy.Require{When: `claims.sub == "bob"`}},
		},
	})
	if err != nil {
		f.Fatal(err)
	}
	w.Policy = p
	paths := []string{"/public", "/maybe", "/query", "/x", "//bad"}
	for place := range 12 {
		f.Add(uint8(place), uint8(place), "", "")
		f.Add(uint8(place), uint8(place+2), "Bearer ", "; sid=")
	}
	f.Fuzz(func(t *testing.T, place, path uint8, before, after string) {
		if strings.Contains(before+after, "s3cr3t") || strings.ContainsAny(before+after, "\x00") {
			t.Skip()
		}
		l := newLogging(t, w, func(c *decisionlog.Config) {
			c.Headers, c.Claims = []string{"x-team", "x-key", "x-request-id", "traceparent"}, []string{"sub"}
		})
		hidden := before + secret + after
		target := paths[int(path)%len(paths)]
		var headers []string
		switch place % 12 {
		case 0:
			headers = []string{"authorization", hidden}
		case 1:
			headers = []string{"Authorization", "Bearer " + hidden, "authorization", hidden}
		case 2:
			headers = []string{"cookie", hidden}
		case 3:
			headers = []string{"cookie", "a=b; sid=" + hidden}
		case 4:
			headers = []string{"x-access-token", hidden}
		case 5:
			headers = []string{"X-Key", hidden}
		case 6:
			headers = []string{"sec-websocket-protocol", "auth." + hidden}
		case 7:
			target += "?token=" + secret + after
		case 8:
			target += "?" + secret
		case 9:
			headers = []string{"traceparent", hidden}
		case 10:
			headers = []string{"authorization", "Basic " + hidden, "proxy-authorization", hidden}
		case 11:
			headers = []string{"x-team", "Bearer " + secret}
		}
		for range 2 {
			l.Check(t.Context(), &Request{Request: authztest.Get(target, headers...)})
		}
		text, all := l.read(t)
		if len(all) != 2 {
			t.Fatalf("%d lines", len(all))
		}
		// Of traceparent, 32 hexadecimal digits may be kept by the operator's leave; it is named there.
		if strings.Contains(text, secret) && place%12 != 9 {
			t.Errorf("a line has the credential: %s", text)
		}
	})
}
