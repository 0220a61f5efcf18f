package keyring

import (
	"fmt"
	"maps"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// world is issuers over one folder and gates that read their JWKS, each at times of its own and by
// a clock of its own, as far off as is allowed.
type world struct {
	*rapid.T
	now     time.Time
	every   time.Duration
	folder  manifest
	serial  int
	issuers []*modelIssuer
	gates   []*modelGate
	tokens  []modelToken
}

type modelIssuer struct {
	off  time.Duration // of its clock
	view manifest      // as read last
	read time.Time
}

type modelGate struct {
	kids map[string]bool
	read time.Time
}

type modelToken struct {
	kid  string
	use  Use
	dies time.Time // nobody accepts it from here on
}

func newWorld(t *rapid.T) *world {
	w := &world{T: t, now: time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)}
	w.folder = manifest{Version: manifestVersion, Revision: 1, Lifetimes: Lifetimes{
		Publish: 15 * time.Minute,
		Token:   time.Hour,
		Session: 24 * time.Hour,
		Spread:  3 * time.Minute,
		Skew:    2 * time.Minute,
	}}
	w.every = rapid.SampledFrom([]time.Duration{0, 30 * time.Minute, 3 * time.Hour}).Draw(t, "every")
	for _, k := range []struct {
		use   Use
		state State
	}{{Signing, Active}, {Refresh, Active}, {SubjectTag, Active}} {
		e, _ := w.fresh(w.now)(k.use)
		e.State, e.Activated = k.state, w.now
		w.folder.Keys = append(w.folder.Keys, e)
	}
	skew := w.folder.Lifetimes.Skew
	for range rapid.IntRange(1, 3).Draw(t, "issuers") {
		i := &modelIssuer{off: rapid.SampledFrom([]time.Duration{-skew, 0, skew}).Draw(t, "off")}
		w.reload(i)
		w.issuers = append(w.issuers, i)
	}
	for range rapid.IntRange(1, 2).Draw(t, "gates") {
		g := &modelGate{}
		w.fetch(g, w.issuers[0])
		w.gates = append(w.gates, g)
	}
	return w
}

func (w *world) fresh(now time.Time) func(Use) (entry, error) {
	return func(u Use) (entry, error) {
		w.serial++
		id := fmt.Sprintf("%s-%d", u, w.serial)
		return entry{
			ID: id, Use: u, Algorithm: "ES256", State: Next, File: id + ".pem", Created: now,
		}, nil
	}
}

func (w *world) reload(i *modelIssuer) {
	i.view, i.read = w.folder, w.now
	i.view.Keys = slices.Clone(w.folder.Keys)
}

func (w *world) fetch(g *modelGate, i *modelIssuer) {
	g.kids, g.read = map[string]bool{}, w.now
	for _, e := range i.view.Keys {
		if e.Use == Signing && i.view.live(&e, w.now.Add(i.off)) {
			g.kids[e.ID] = true
		}
	}
}

// pass lets time go by; who must look in the meantime does so at the last moment.
func (w *world) pass(d time.Duration) {
	for end := w.now.Add(d); w.now.Before(end); {
		next := end
		for _, i := range w.issuers {
			next = earliest(next, i.read.Add(w.folder.Lifetimes.Spread))
		}
		for _, g := range w.gates {
			next = earliest(next, g.read.Add(w.folder.Lifetimes.Publish))
		}
		w.now = next
		// Gates first: they fetch from issuers that have not looked yet.
		for _, g := range w.gates {
			if !w.now.Before(g.read.Add(w.folder.Lifetimes.Publish)) {
				w.fetch(g, w.issuers[len(w.issuers)-1])
			}
		}
		for _, i := range w.issuers {
			if !w.now.Before(i.read.Add(w.folder.Lifetimes.Spread)) {
				w.reload(i)
			}
		}
		w.check()
	}
}

func earliest(a, b time.Time) time.Time {
	if b.Before(a) {
		return b
	}
	return a
}

// step changes the folder as an issuer or a command does: the whole step or nothing.
func (w *world) step(name string, do func(m *manifest) error) {
	m := w.folder
	m.Keys = slices.Clone(w.folder.Keys)
	if err := do(&m); err != nil {
		return
	}
	m.Revision++
	if err := m.check(); err != nil {
		w.Fatalf("%s breaks the ring: %v", name, err)
	}
	w.folder = m
}

// check: whatever was signed and still lives is verified everywhere.
func (w *world) check() {
	w.tokens = slices.DeleteFunc(w.tokens, func(t modelToken) bool { return !w.now.Before(t.dies) })
	for _, t := range w.tokens {
		if t.use == Signing {
			for _, g := range w.gates {
				if !g.kids[t.kid] {
					w.Fatalf("a gate refuses a valid token of key %s at %v; it knows %v", t.kid,
						w.now, slices.Sorted(maps.Keys(g.kids)))
				}
			}
			continue
		}
		for _, i := range w.issuers {
			if e, err := i.view.find(t.kid); err != nil || !i.view.live(e, w.now.Add(i.off)) {
				w.Fatalf("an issuer refuses a valid refresh token of key %s at %v", t.kid, w.now)
			}
		}
	}
}

// moment is how long there is until the next change by i's clock, or until just before a token
// dies.
func (w *world) moment(i *modelIssuer) time.Duration {
	var moments []time.Duration
	for _, e := range w.folder.Keys {
		switch e.State {
		case Next:
			moments = append(moments, w.folder.ready(&e).Sub(w.now.Add(i.off)))
		case Retired:
			moments = append(moments, w.folder.until(&e).Sub(w.now.Add(i.off)))
		case Active:
			moments = append(moments, e.Activated.Add(w.folder.period(e.Use, w.every)).Sub(w.now.Add(i.off)))
		}
	}
	for _, t := range w.tokens {
		moments = append(moments, t.dies.Sub(w.now)-time.Second)
	}
	moments = slices.DeleteFunc(moments, func(d time.Duration) bool { return d <= 0 })
	if len(moments) == 0 {
		return 0
	}
	return slices.Min(moments)
}

func (w *world) issuer() *modelIssuer {
	return w.issuers[rapid.IntRange(0, len(w.issuers)-1).Draw(w.T, "issuer")]
}

func TestNoRotationMakesAnyoneRefuseAValidToken(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := newWorld(t)
		t.Repeat(map[string]func(*rapid.T){
			"": func(*rapid.T) { w.check() },
			"time passes": func(t *rapid.T) {
				w.pass(time.Duration(rapid.Int64Range(0, int64(40*time.Minute)).Draw(t, "for")))
			},
			"time passes to a moment that matters": func(t *rapid.T) {
				if d := w.moment(w.issuer()); d > 0 {
					w.pass(d)
				}
			},
			"an issuer signs": func(*rapid.T) {
				i, l := w.issuer(), w.folder.Lifetimes
				// A gate adds its leeway, and may be that much behind itself.
				w.tokens = append(
					w.tokens,
					modelToken{
						kid: i.view.in(Signing, Active).ID, use: Signing,
						dies: w.now.Add(l.Token + 2*l.Skew),
					},
				)
			},
			"a session begins": func(*rapid.T) {
				i, l := w.issuer(), w.folder.Lifetimes
				w.tokens = append(w.tokens,
					modelToken{kid: i.view.in(Refresh, Active).ID, use: Refresh, dies: w.now.Add(l.Session)})
			},
			"an issuer reads the folder": func(*rapid.T) { w.reload(w.issuer()) },
			"a gate fetches": func(t *rapid.T) {
				w.fetch(w.gates[rapid.IntRange(0, len(w.gates)-1).Draw(t, "gate")], w.issuer())
			},
			"an issuer maintains the ring": func(*rapid.T) {
				i := w.issuer()
				now := w.now.Add(i.off)
				if w.every == 0 || !w.folder.due(now, w.every) {
					return
				}
				w.step("maintain",
					func(m *manifest) error { _, err := m.maintain(now, w.every, w.fresh(now)); return err })
				if w.folder.due(now, w.every) {
					w.Fatal("something is still due")
				}
			},
			"an operator rotates": func(t *rapid.T) {
				use := rapid.SampledFrom([]Use{Signing, Refresh}).Draw(t, "use")
				w.step("rotate", func(m *manifest) error {
					m.purge(w.now)
					if next := m.in(use, Next); next != nil {
						if err := m.promote(next.ID, w.now, false); err != nil {
							return err
						}
					}
					return m.fill(use, w.fresh(w.now))
				})
			},
			"an operator retires": func(t *rapid.T) {
				use, state := rapid.SampledFrom([]Use{Signing, Refresh, SubjectTag}).
					Draw(t, "use"),
					rapid.SampledFrom([]State{Active, Next}).
						Draw(t, "state")
				if e := w.folder.in(use, state); e != nil {
					id := e.ID
					w.step("retire", func(m *manifest) error { return m.retire(id, w.now, false) })
				}
			},
		})
	})
}

// Removing a key breaks what it signed, but never the ring.
func TestNoStepBreaksTheRing(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := newWorld(t)
		t.Repeat(map[string]func(*rapid.T){
			"": func(*rapid.T) {
				if err := w.folder.check(); err != nil {
					w.Fatal(err)
				}
			},
			"time passes": func(t *rapid.T) {
				w.now = w.now.Add(
					time.Duration(rapid.Int64Range(-int64(time.Hour), int64(48*time.Hour)).Draw(t, "for")))
			},
			"anything is done to any key": func(t *rapid.T) {
				keys := w.folder.Keys
				id := keys[rapid.IntRange(0, len(keys)-1).Draw(t, "key")].ID
				force := rapid.Bool().Draw(t, "force")
				steps := map[string]func(m *manifest) error{
					"promote": func(m *manifest) error { return m.promote(id, w.now, force) },
					"retire":  func(m *manifest) error { return m.retire(id, w.now, force) },
					"remove":  func(m *manifest) error { return m.remove(id, w.now, w.fresh(w.now)) },
					"fill":    func(m *manifest) error { return m.fill(Signing, w.fresh(w.now)) },
					"maintain": func(m *manifest) error {
						_, err := m.maintain(w.now, time.Hour, w.fresh(w.now))
						return err
					},
					"purge": func(m *manifest) error { m.purge(w.now); return nil },
				}
				name := rapid.SampledFrom(slices.Sorted(maps.Keys(steps))).Draw(t, "step")
				w.step(name, steps[name])
			},
		})
	})
}
