package keyring

import (
	"errors"
	"fmt"
	"time"
)

// The steps of the ring. After an error the manifest is to be thrown away: nothing of it has been
// written.

// promote makes the next key id active and retires the active one.
func (m *manifest) promote(id string, now time.Time, force bool) error {
	e, err := m.find(id)
	if err != nil {
		return err
	}
	if e.State != Next {
		return fmt.Errorf("key %q is %s, expected a next one", id, e.State)
	}
	if at := m.ready(e); now.Before(at) && !force {
		return fmt.Errorf(
			"%w: key %q may sign from %s on; wait, or force it and have tokens refused meanwhile",
			ErrTooEarly, id, at.UTC().Format(time.RFC3339))
	}
	if old := m.in(e.Use, Active); old != nil {
		// A clock that is behind the one that activated the key must not shorten the key's afterlife.
		old.State, old.Retired = Retired, latest(now, old.Activated)
	}
	e.State, e.Activated = Active, latest(now, e.Created)
	return nil
}

// retire takes id out of signing; a next key, which has signed nothing, leaves the ring.
func (m *manifest) retire(id string, now time.Time, force bool) error {
	e, err := m.find(id)
	switch {
	case err != nil:
		return err
	case e.Use == SubjectTag:
		return errTagStays
	case e.State == Retired:
		return fmt.Errorf("key %q is retired already, since %s", id, e.Retired.UTC().Format(time.RFC3339))
	case e.State == Next:
		m.drop(id)
		return nil
	}
	next := m.in(e.Use, Next)
	if next == nil {
		return fmt.Errorf(
			"key %q is active and there is no next %s key to take over; rotate first, which makes one",
			id, e.Use)
	}
	return m.promote(next.ID, now, force)
}

var errTagStays = errors.New(
	"the subject tag key never rotates: every session's name is made with it")

// remove takes id out at once. An active key's place is taken by the next one however young, else
// by heir, which must then be given.
func (m *manifest) remove(id string, now time.Time, heir func(Use) (entry, error)) error {
	e, err := m.find(id)
	if err != nil {
		return err
	}
	if e.Use == SubjectTag {
		return errTagStays
	}
	if e.State != Active {
		m.drop(id)
		return nil
	}
	use := e.Use
	// The ring must never be without an active key, so the heir comes before the key goes.
	if m.in(use, Next) == nil {
		if err := m.fill(use, heir); err != nil {
			return err
		}
	}
	if err := m.promote(m.in(use, Next).ID, now, true); err != nil {
		return err
	}
	m.drop(id)
	return m.fill(use, heir)
}

// fill sees to it that there is a next key of use.
func (m *manifest) fill(use Use, fresh func(Use) (entry, error)) error {
	if m.in(use, Next) != nil {
		return nil
	}
	e, err := fresh(use)
	if err != nil {
		return err
	}
	m.Keys = append(m.Keys, e)
	return nil
}

// purge drops the retired keys that have nothing left to verify, and names them.
func (m *manifest) purge(now time.Time) (gone []string) {
	for _, e := range m.Keys {
		if !m.live(&e, now) {
			gone = append(gone, e.ID)
		}
	}
	for _, id := range gone {
		m.drop(id)
	}
	return gone
}

// period is how long a key of use stays active when signing keys do for every. Refresh keys live by
// sessions: rotating them faster would only pile up retired ones that each refresh must be checked
// against.
func (m *manifest) period(use Use, every time.Duration) time.Duration {
	if use == Refresh {
		return max(every, m.Lifetimes.Session)
	}
	return every
}

// due reports whether maintain would change anything at now.
func (m *manifest) due(now time.Time, every time.Duration) bool {
	if m.outdated {
		return true
	}
	for _, use := range []Use{Signing, Refresh} {
		next, active := m.in(use, Next), m.in(use, Active)
		if next == nil || m.turn(next, active, now, every) {
			return true
		}
	}
	for _, e := range m.Keys {
		if !m.live(&e, now) {
			return true
		}
	}
	return false
}

func (m *manifest) turn(next, active *entry, now time.Time, every time.Duration) bool {
	return !now.Before(m.ready(next)) && !now.Before(active.Activated.Add(m.period(next.Use, every)))
}

// maintain does what is due at now, and tells the keys that became active.
func (m *manifest) maintain(now time.Time, every time.Duration,
	fresh func(Use) (entry, error)) (activated []entry, err error) {
	for _, use := range []Use{Signing, Refresh} {
		if next := m.in(use, Next); next != nil && m.turn(next, m.in(use, Active), now, every) {
			if err := m.promote(next.ID, now, false); err != nil {
				return nil, err
			}
			activated = append(activated, *next)
		}
		if err := m.fill(use, fresh); err != nil {
			return nil, err
		}
	}
	m.purge(now)
	return activated, nil
}

func latest(a, b time.Time) time.Time {
	if a.Before(b) {
		return b
	}
	return a
}
