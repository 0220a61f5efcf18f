package check

import (
	"testing"

	"github.com/sallyport/sallyport/authz"
	"github.com/sallyport/sallyport/authz/authztest"
	"github.com/sallyport/sallyport/internal/policy"
)

// TestWhatIsRefusedBeforeThePolicyIsToldInItsForm: a malformed request, a proxy that does not
// strip, and one that cannot; of the latter two the route's own form, once the route is known.
func TestWhatIsRefusedBeforeThePolicyIsToldInItsForm(t *testing.T) {
	compile := func(how policy.Refusals) *policy.Policy {
		p, err := policy.Compile(policy.Config{Refusals: how, Routes: []policy.Route{
			{
				Match: policy.Match{Path: "/page"}, Allow: "public",
				Refusals: policy.Refusals{As: policy.RefuseHTML},
			},
			{Match: policy.Match{Path: "/**"}, Allow: "public"},
		}})
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	w := authztest.New()
	w.Policy = compile(policy.Refusals{As: policy.RefuseNegotiate, LoginPage: "/login"})
	checkers := map[string]*Checker{}
	for name, o := range map[string]Options{
		"": {Instant: instant}, "strips": {Instant: instant, ProxyStrips: true},
		"cannot": {Instant: instant, ProxyCannotStrip: true},
	} {
		checkers[name] = newChecker(t, w, o)
		checkers[name].engine.SetPolicies(w.Policy, map[string]*policy.Policy{
			"flask": compile(policy.Refusals{As: policy.RefuseFlask}),
		})
	}
	const json, html, problem, text = "application/json", "text/html; charset=utf-8",
		"application/problem+json", "text/plain; charset=utf-8"
	for name, row := range map[string]struct {
		checker, policy, path, malformed, mark string
		headers                                []string
		status                                 int
		form                                   string
	}{
		"malformed":              {malformed: "x", path: "/page", status: 400, form: json},
		"malformed, problem":     {malformed: "x", path: "/", headers: []string{"accept", "application/problem+json"}, status: 400, form: problem},
		"malformed, a browser":   {malformed: "x", path: "/", headers: []string{"accept", "text/html"}, status: 400, form: html},
		"malformed, gRPC":        {malformed: "x", path: "/", headers: []string{"content-type", "application/grpc"}, status: 400, form: text},
		"malformed, by a name":   {malformed: "x", path: "/", policy: "flask", headers: []string{"accept", "text/html"}, status: 400, form: json},
		"malformed, by nobody's": {malformed: "x", path: "/", policy: "other", headers: []string{"accept", "text/html"}, status: 400, form: html},
		"no mark":                {checker: "strips", path: "/page", headers: []string{"accept", "application/problem+json"}, status: 503, form: problem},
		"not stripped":           {checker: "strips", path: "/page", mark: "1", headers: []string{"x_auth_subject", "mallory"}, status: 503, form: html},
		"not stripped, of /":     {checker: "strips", path: "/", mark: "1", headers: []string{"x_auth_subject", "mallory"}, status: 503, form: json},
		"cannot strip":           {checker: "cannot", path: "/page", headers: []string{"x-auth-subject", "mallory"}, status: 400, form: html},
		"cannot strip, of /":     {checker: "cannot", path: "/", headers: []string{"x_auth_subject", "mallory", "accept", "application/problem+json"}, status: 400, form: problem},
	} {
		r := &Request{
			Request:   authztest.Get(row.path, row.headers...),
			Malformed: row.malformed,
			Mark:      row.mark,
		}
		r.Policy = row.policy
		d := checkers[row.checker].Check(t.Context(), r)
		refused := d.Refused()
		form := ""
		for _, h := range refused.Headers {
			if h.Name == "content-type" {
				form = h.Value
			}
		}
		if d.Allow || refused.Status != row.status || form != row.form || d.Detail() == "" {
			t.Errorf("%s: got %d as %q (%s), want %d as %q", name, refused.Status, form, d.Detail(),
				row.status, row.form)
		}
		if !authz.HasHeader(refused.Headers, authz.HeaderReason) {
			t.Errorf("%s: no reason", name)
		}
	}
}
