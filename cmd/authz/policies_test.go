package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/sallyport/sallyport/internal/eventually"
)

// more appends settings to the configuration that was written last.
func (s *stage) more(settings string) {
	s.t.Helper()
	text, err := os.ReadFile(s.config())
	must(s.t, err)
	s.write("authz.yaml", string(text)+settings)
}

// by asks on a route of Envoy's that names a policy, and gives the reason; "" is allowed.
func (r *running) by(policy, path, tok string) string {
	r.t.Helper()
	a, err := r.check.Check(r.t.Context(), request(policy, path, tok))
	must(r.t, err)
	if a.GetStatus().GetCode() == 0 {
		return ""
	}
	return header(a.GetDeniedResponse().GetHeaders(), "x-sallyport-reason")
}

// shadows asks once, and reports whether that has counted as such an outcome of the shadow policy.
func (r *running) shadows(outcome, tok string) bool {
	r.t.Helper()
	count := func() (line string) {
		for l := range strings.Lines(r.get("/metrics", 200)) {
			if strings.HasPrefix(l, `sallyport_gate_shadow_decisions_total{outcome="`+outcome+`"}`) {
				line = l
			}
		}
		return line
	}
	before := count()
	r.ask("/protected", tok)
	return count() != before
}

// TestAConfigMapChangesAllPoliciesAtOnce: the one in force, those that routes of Envoy name, and the
// one that stands beside them. What is wrong with one of them keeps all of them as they were.
func TestAConfigMapChangesAllPoliciesAtOnce(t *testing.T) {
	s := newStage(t)
	s.configure("{match: {path: /protected}}")
	s.more(`shadow: next
policies:
  next: {routes: [{match: {path: /protected}, allow: nobody}]}
  side: {routes: [{match: {path: /side}, allow: public}]}
`)
	s.mount("..1")
	must(t, os.Symlink("..data/authz.yaml", filepath.Join(s.dir, "mounted.yaml")))
	r := s.serve("--config", filepath.Join(s.dir, "mounted.yaml")).ready()
	tok := s.token("s-1")
	wants := func(when string, want ...string) {
		t.Helper()
		got := []string{
			r.by("", "/protected", tok), r.by("next", "/protected", tok), r.by("side", "/side", ""),
		}
		if fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("%s: got %q, want %q", when, got, want)
		}
	}
	wants("at first", "", "denied", "")
	if !r.shadows("refuses", tok) {
		t.Error("the shadow does not refuse")
	}

	const second = `shadow: next
policies: {next: {routes: [{match: {path: /protected}, allow: public}]}}
`
	s.configure("{match: {path: /protected}, require: {roles: [nobody]}}")
	s.more(second)
	s.mount("..2")
	eventually.True(t, "the new policy is in force",
		func() bool { return r.by("", "/protected", tok) == "insufficient_role" })
	wants("changed", "insufficient_role", "", "no_route")
	if !r.shadows("allows", tok) {
		t.Error("the shadow is the old one")
	}

	for version, broken := range map[string]struct{ settings, told string }{
		"..3": {
			strings.Replace(second, "path: /", "path: ", 1), "policies.next.routes[0].match.path",
		},
		"..4": {strings.Replace(second, "shadow: next", "shadow: none", 1), "shadow: expected the name"},
		"..5": {
			second + `http_check: {listen: "127.0.0.1:1"}` + "\n", "trusted_proxies",
		},
		"..6": {
			strings.Replace(second, "allow: public", "require: {when: 'claims.a =='}", 1), "Syntax error",
		},
	} {
		s.configure("{match: {path: /protected}}")
		s.more(broken.settings)
		s.mount(version)
		eventually.True(t, "what is wrong is told: "+broken.told,
			func() bool { return strings.Contains(r.log.String(), broken.told) })
		wants(broken.told, "insufficient_role", "", "no_route")
		if !r.shadows("allows", tok) {
			t.Errorf("%s: the shadow is another", broken.told)
		}
	}
	s.configure("{match: {path: /protected}}")
	s.mount("..7")
	eventually.True(t, "a good one is in force again",
		func() bool { return r.by("", "/protected", tok) == "" })
	wants("without the others", "", "no_route", "no_route")
	if r.shadows("allows", tok) {
		t.Error("there is still a shadow")
	}
	r.stopped()
}

// TestAReloadUnderLoadDropsNothing: while a thousand routes with conditions are exchanged for others,
// each check is answered, by all of the one policy or all of the other. How old the copy of the log
// grows meanwhile, on a machine with too much to do, does not matter here.
func TestAReloadUnderLoadDropsNothing(t *testing.T) {
	s := newStage(t)
	versions := []string{"x-one", "x-two"}
	write := func(version int) {
		routes := []string{fmt.Sprintf(
			`{match: {path: /probe}, require: {when: 'claims.sub == "alice" && %d == %d'}, headers: {%s: sub}, allow_stale: true}`,
			version,
			version,
			versions[version],
		)}
		for i := range 1000 {
			routes = append(routes, fmt.Sprintf(
				`{match: {path: '/api/v%d/{id}'}, require: {when: 'claims.sub == path.id || claims.iat > %d'}}`,
				i,
				1000*version+i,
			))
		}
		s.configure(routes...)
	}
	write(0)
	r := s.serve().ready()
	tok := s.token("s-1")

	var seen [2]atomic.Int64
	ctx, stop := context.WithCancel(t.Context())
	var load sync.WaitGroup
	for range 4 {
		load.Go(func() {
			for ctx.Err() == nil {
				a, err := r.check.Check(t.Context(), request("", "/probe", tok))
				var told [2]bool
				for i, name := range versions {
					told[i] = header(a.GetOkResponse().GetHeaders(), name) == "alice"
				}
				switch {
				case err != nil || a.GetStatus().GetCode() != 0 || told[0] == told[1]:
					t.Errorf("a check is answered with %v, %v", a, err)
					return
				case told[0]:
					seen[0].Add(1)
				default:
					seen[1].Add(1)
				}
			}
		})
	}
	const reloads = 6
	for n := 1; n <= reloads; n++ {
		version := n % 2
		write(version)
		before := seen[version].Load()
		must(t, syscall.Kill(os.Getpid(), syscall.SIGHUP))
		eventually.True(t, "the other policy is in force", func() bool {
			return seen[version].Load() > before+10
		})
	}
	stop()
	load.Wait()
	t.Logf(
		"%d and %d checks by the two policies, %d reloads",
		seen[0].Load(),
		seen[1].Load(),
		reloads,
	)
	r.stopped()
}
