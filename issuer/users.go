package issuer

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/sallyport/sallyport/internal/audit"
	"github.com/sallyport/sallyport/internal/credential"
	"github.com/sallyport/sallyport/internal/revocation"
	"github.com/sallyport/sallyport/internal/session"
)

// changes are the users whose sessions of before have to end.
type changes struct {
	mu    sync.Mutex
	names map[string]bool // true: it has been tried in vain
	some  chan struct{}   // takes one: there are some
}

func newChanges() *changes { return &changes{names: map[string]bool{}, some: make(chan struct{}, 1)} }

func (c *changes) add(names ...string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, name := range names {
		if _, noted := c.names[name]; !noted {
			c.names[name] = false
		}
	}
	c.signal()
}

// again notes a user for whom it was tried in vain.
func (c *changes) again(name string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.names[name] = true
	c.signal()
}

func (c *changes) signal() {
	select {
	case c.some <- struct{}{}:
	default:
	}
}

func (c *changes) take() map[string]bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	taken := c.names
	c.names = map[string]bool{}
	return taken
}

// UsersChanged takes note of users who have lost something: their sessions of before end as soon as EndChanged gets to it. It never
// blocks; it is made for credential.Options.OnChange.
func (s *Server) UsersChanged(names []string) { s.changes.add(names...) }

// retryChanges is how long to wait until what could not be stored is tried again.
const retryChanges = time.Second

// EndChanged ends what is outdated of users who have changed, until ctx ends, and tries again what could not be stored. Every issuer
// does so by itself: whoever comes second finds nothing left to end.
func (s *Server) EndChanged(ctx context.Context) error {
	retry := time.NewTicker(retryChanges)
	defer retry.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-s.changes.some:
		}
		failed := false
		for name, again := range s.changes.take() {
			if err := s.endChangesOf(ctx, name, again); err != nil {
				s.changes.again(name)
				failed = true
			}
		}
		if !failed {
			continue
		}
		select {
		case <-ctx.Done():
			return nil
		case <-retry.C:
		}
	}
}

// endChangesOf holds a user's sessions against what the user is now, not against what was noticed: it may have changed again. What
// fails again is counted, and not told again.
func (s *Server) endChangesOf(ctx context.Context, name string, again bool) error {
	event := audit.Event{
		Name: audit.Revoke, Issuer: s.cfg.Issuer, ClientID: s.cfg.ClientID,
		Kind: revocation.KindSub.String(), Value: name, Actor: "users",
	}
	user, err := s.users.Lookup(ctx, name)
	var done session.Everywhere
	switch {
	case errors.Is(err, credential.ErrNoUser):
		done, err = s.sessions.EndAll(ctx, name, "user_disabled", "users")
	case err == nil:
		done, err = s.sessions.EndOutdated(ctx,
			session.Facts{Subject: name, Credential: user.Credential, Rights: user.Rights}, "user_changed", "users")
	}
	if err == nil && done.Sessions == 0 {
		return nil
	}
	s.metrics.changed.WithLabelValues(outcomeOf(err)).Inc()
	switch {
	case err != nil && again:
		return err
	case err != nil:
		s.logger.Warn("the sessions of a user who has changed could not be ended yet", "user", name, "error", err)
	}
	event.Seq = done.Receipt.Seq
	s.record(event, failureOf(err))
	return err
}

func outcomeOf(err error) string {
	if err != nil {
		return "failed"
	}
	return "ended"
}
