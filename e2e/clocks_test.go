package e2e_test

import (
	"net/http"
	"path/filepath"
	"testing"
	"time"

	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"

	"github.com/sallyport/sallyport/internal/eventually"
	"github.com/sallyport/sallyport/internal/mesh"
	"github.com/sallyport/sallyport/internal/meshtest"
)

// apart is a mesh of two issuers and two gates, each with a clock of its own, and Redis with one.
type apart struct {
	*meshtest.Stack
	t      *testing.T
	clocks map[string]*meshtest.Clock
	gates  []authv3.AuthorizationClient
	issuer []*caller
	admin  map[string]*caller
	good   string   // a valid token
	ended  []string // tokens of sessions whose end was acknowledged
}

func newApart(t *testing.T) *apart {
	binaries, dir := meshtest.MovableBinaries(t), t.TempDir()
	m := &apart{t: t, clocks: map[string]*meshtest.Clock{}, admin: map[string]*caller{}}
	for _, name := range []string{"redis", "issuer-1", "issuer-2", "gate-1", "gate-2"} {
		var err error
		if m.clocks[name], err = meshtest.NewClock(filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	m.Stack = meshtest.Start(t, meshtest.Options{Gates: 2, Issuers: 2, Mesh: func(o *mesh.Options) {
		o.Binaries = binaries
		o.Env = func(child string) []string {
			clock, ok := m.clocks[child]
			switch {
			case !ok:
				return nil
			case child == "redis":
				return append(clock.Env(), meshtest.PreloadedClock(binaries))
			}
			return clock.Env()
		}
	}})
	m.gates = dialGates(t, m)
	for _, i := range m.Endpoints().Issuers {
		m.issuer = append(m.issuer, newCaller(t, i.URL))
		m.admin[i.Name] = newCaller(t, i.Admin)
	}
	for _, g := range m.Endpoints().Gates {
		m.admin[g.Name] = newCaller(t, g.Admin)
	}
	m.good = m.issuer[0].login(t, user(t, m, "alice")).Access
	return m
}

// move sets how far a process' clock is ahead of the machine's.
func (m *apart) move(name string, by time.Duration) {
	m.t.Helper()
	if err := m.clocks[name].Move(by, 0); err != nil {
		m.t.Fatal(err)
	}
}

// ready reports whether a process says that it is.
func (m *apart) ready(name string) bool {
	return m.admin[name].get(m.t, "/readyz").status == http.StatusOK
}

// allReady waits until all are.
func (m *apart) allReady() {
	m.t.Helper()
	for name := range m.clocks {
		if name != "redis" {
			eventually.True(m.t, name+" to be ready", func() bool { return m.ready(name) })
		}
	}
}

// end ends a session at an issuer, and waits until every gate refuses its token.
func (m *apart) end(token string, issuer int) {
	m.t.Helper()
	eventually.True(m.t, "a logout to be acknowledged", func() bool {
		return m.issuer[issuer].send(m.t, "POST", "/logout", nil, bearer(token)).status == http.StatusOK
	})
	untilRefusedEverywhere(m.t, m.gates, token, time.Now())
	m.ended = append(m.ended, token)
}

// nothingRevived holds every gate to what was ended.
func (m *apart) nothingRevived() {
	m.t.Helper()
	for i, gate := range m.gates {
		for _, token := range m.ended {
			if status := check(m.t, gate, token); status != http.StatusUnauthorized {
				m.t.Errorf("gate-%d answers %d for a revoked token (S3)", i+1, status)
			}
		}
	}
}

// allows asserts that gates allow a valid token.
func (m *apart) allows(token string, gates ...int) {
	m.t.Helper()
	for _, i := range gates {
		if status := check(m.t, m.gates[i], token); status != http.StatusOK {
			m.t.Errorf("gate-%d answers %d for a valid token (S8)", i+1, status)
		}
	}
}

// TestClocksThreeHundredSecondsApart (S3, S4, S8): a process whose clock is too far from Redis' is
// not ready and mints nothing. Whose ever clock is moved, no revoked token lives again, revoking
// goes on, others deny nothing that is valid, and all is well once the clock is right.
func TestClocksThreeHundredSecondsApart(t *testing.T) {
	m := newApart(t)
	bob := user(t, m, "bob")
	for _, by := range []time.Duration{300 * time.Second, -300 * time.Second} {
		t.Run(by.String(), func(t *testing.T) {
			m := *m
			m.t, m.Stack = t, m.For(t)
			first, second, third := m.issuer[0].login(t, bob).Access, m.issuer[0].login(t,
				bob).Access, m.issuer[1].login(
				t,
				bob,
			).Access
			m.end(first, 0)

			m.move("gate-2", by)
			eventually.True(t, "gate-2 not to be ready", func() bool { return !m.ready("gate-2") })
			m.allows(m.good, 0)
			m.end(second, 1)
			m.nothingRevived()
			m.move("gate-2", 0)
			m.wellAgain(bob)

			m.move("issuer-2", by)
			eventually.True(t, "issuer-2 not to be ready", func() bool { return !m.ready("issuer-2") })
			m.mintsNothing(1, bob)
			m.allows(m.good, 0, 1)
			m.end(third, 1)
			m.move("issuer-2", 0)
			m.wellAgain(bob)

			last := m.issuer[0].login(t, bob).Access
			m.move("redis", by)
			eventually.True(t, "nobody to be ready", func() bool {
				return !m.ready("issuer-1") && !m.ready("issuer-2") && !m.ready("gate-1") && !m.ready("gate-2")
			})
			m.mintsNothing(0, bob)
			m.mintsNothing(1, bob)
			m.end(last, 0)
			m.nothingRevived()
			m.move("redis", 0)
			m.wellAgain(bob)
		})
	}
}

// mintsNothing asserts that an issuer refuses to log in.
func (m *apart) mintsNothing(issuer int, u mesh.User) {
	m.t.Helper()
	a := m.issuer[issuer].post(m.t, "/login",
		map[string]string{"username": u.Name, "password": u.Password})
	if a.status != http.StatusServiceUnavailable {
		m.t.Errorf("issuer-%d answers %d to a login by a clock that is not Redis'", issuer+1, a.status)
	}
}

// wellAgain waits until all are ready, and asserts that they work: also gate-2 started anew, which
// knows the log alone (S4).
func (m *apart) wellAgain(u mesh.User) {
	m.t.Helper()
	m.allReady()
	m.nothingRevived()
	m.allows(m.good, 0, 1)
	for _, issuer := range m.issuer {
		m.allows(issuer.login(m.t, u).Access, 0, 1)
	}
	gate := m.Child("gate-2")
	if err := gate.Kill(); err != nil {
		m.t.Fatal(err)
	}
	if err := gate.Restart(m.t.Context()); err != nil {
		m.t.Fatal(err)
	}
	eventually.True(m.t, "gate-2 to answer", func() bool { return m.ready("gate-2") })
	m.nothingRevived()
}
