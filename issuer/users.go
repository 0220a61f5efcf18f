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

// UsersChanged takes note of users who have lost something: their sessions of before end as soon as
// EndChanged gets to it. It never blocks; it is made for credential.Options.OnChange.
func (s *Server) UsersChanged(names []string) { s.changes.add(names...) }

// retryChanges is how long to wait until what could not be stored is tried again.
const retryChanges = time.Second

const (
	// users whose sessions are ended at a time: their entries share calls of the log's script
	changesAtOnce = 16
	changesInPart = 256 // users after whom is remembered what was done
)

// EndChanged ends what is outdated of users who have changed, until ctx ends, and tries again what
// could not be stored. Every issuer does so by itself: whoever comes second finds nothing left to
// end. What was lost while none ran, or was left undone by one that stopped, is found by comparing
// the users with what is known of them in Redis.
func (s *Server) EndChanged(ctx context.Context) error {
	retry, compare := time.NewTicker(retryChanges), time.NewTicker(compareUsers)
	defer retry.Stop()
	defer compare.Stop()
	told := false
	for due := true; ; {
		failed := false
		if due {
			if s.open() != nil { // not ready yet
				failed = true
			} else if err := s.compare(ctx); err != nil {
				if failed = true; !told && ctx.Err() == nil {
					s.logger.Warn("the users could not be compared with what is known of them yet", "error", err)
				}
				told = true
			} else {
				due, told = false, false
			}
		}
		if !due {
			failed = !s.endChanges(ctx, s.changes.take())
		}
		if failed {
			select {
			case <-ctx.Done():
				return nil
			case <-retry.C:
			}
			continue
		}
		select {
		case <-ctx.Done():
			return nil
		case <-s.changes.some:
		case <-compare.C:
			due = true
		}
	}
}

// endChanges ends what is outdated of some users, a bounded number of them at a time, and reports
// whether all of it is stored. Who is left when ctx ends is not remembered as done.
func (s *Server) endChanges(ctx context.Context, names map[string]bool) (all bool) {
	all = true
	part := make(map[string]bool, changesInPart)
	for name, again := range names {
		if part[name] = again; len(part) == changesInPart {
			all = s.endPart(ctx, part) && all
			clear(part)
		}
	}
	return s.endPart(ctx, part) && all
}

func (s *Server) endPart(ctx context.Context, names map[string]bool) bool {
	if len(names) == 0 {
		return true
	}
	users := map[string]credential.User{}
	if s.directory != nil {
		users = s.directory.All() // before any of them is looked up: what comes later is another change
	}
	var (
		wait  sync.WaitGroup
		mu    sync.Mutex
		done  = map[string]string{}
		slots = make(chan struct{}, changesAtOnce)
	)
	for name, again := range names {
		if ctx.Err() != nil {
			break
		}
		slots <- struct{}{}
		wait.Go(func() {
			defer func() { <-slots }()
			err := s.guarded(func() error { return s.endChangesOf(ctx, name, again) })
			mu.Lock()
			defer mu.Unlock()
			if err == nil {
				done[name] = ""
			} else {
				s.changes.again(name)
			}
		})
	}
	wait.Wait()
	ended := len(done) == len(names)
	for name := range done {
		if is, there := users[name]; there {
			text, err := writeKnown(is)
			if err != nil {
				return false
			}
			done[name] = text
		}
	}
	if s.directory == nil || ctx.Err() != nil && len(done) == 0 {
		return ended
	}
	if err := s.remember(context.WithoutCancel(ctx), done); err != nil {
		s.logger.Warn(
			"what was ended of users who have changed could not be remembered: it is looked at again",
			"error", err)
		for name := range done {
			s.changes.again(name)
		}
		return false
	}
	return ended
}

// endChangesOf holds a user's sessions against what the user is now, not against what was noticed:
// it may have changed again. What fails again is counted, and not told again.
func (s *Server) endChangesOf(ctx context.Context, name string, again bool) error {
	event := audit.Event{
		Name: audit.Revoke, Issuer: s.cfg.Issuer, ClientID: s.cfg.ClientID,
		Kind: revocation.KindSub.String(), Value: name, Actor: "users",
	}
	user, err := s.users.Lookup(ctx, name)
	var done session.Everywhere
	switch {
	case errors.Is(err, credential.ErrNoUser):
		event.RevocationReason = "user_disabled"
		done, err = s.sessions.EndAll(ctx, name, event.RevocationReason, event.Actor)
	case err == nil:
		event.RevocationReason = "user_changed"
		done, err = s.sessions.EndOutdated(
			ctx,
			session.Login{
				Subject: name, Credential: user.Credential, Rights: user.Rights,
			},
			event.RevocationReason,
			event.Actor,
		)
	}
	if err == nil && done.Sessions == 0 {
		return nil
	}
	s.metrics.changed.WithLabelValues(outcomeOf(err)).Inc()
	switch {
	case err != nil && again:
		return err
	case err != nil:
		s.logger.Warn("the sessions of a user who has changed could not be ended yet", "user",
			name, "error", err)
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
