package issuer

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/sallyport/sallyport/internal/audit"
	"github.com/sallyport/sallyport/internal/credential"
	"github.com/sallyport/sallyport/internal/revocation"
	"github.com/sallyport/sallyport/internal/session"
	"github.com/sallyport/sallyport/issuer/httpapi"
)

// ChangedUsers ends the sessions of users who have lost something: a password, a role, a scope,
// their tenant, the account. Every issuer does so by itself: whoever comes second finds nothing
// left to end.
type ChangedUsers struct {
	shared
	users     Users
	directory Directory // nil: what is lost while no issuer runs goes unnoticed
	sessions  *session.Store
	logger    *slog.Logger
	open      func() error

	pending *pending
	// known is what users were when their sessions were last compared with them, as text by name; nil:
	// not read yet. It is kept in Redis, so that a loss is found at the next start that happened while
	// no issuer ran, or that an issuer noticed and stopped before it was done. Only Run touches it.
	known map[string]string
}

func newChangedUsers(o Options, shared shared) *ChangedUsers {
	return &ChangedUsers{
		shared: shared, users: o.Users, directory: o.Directory, sessions: o.Sessions,
		logger: o.Logger, open: o.Open, pending: newPending(),
	}
}

// Noticed takes note of users who have lost something: Run ends the sessions that they began
// before. It never blocks; it is made for credential.Options.OnChange.
func (c *ChangedUsers) Noticed(names []string) { c.pending.add(names...) }

// retryChanges is how long to wait until what could not be stored is tried again.
const retryChanges = time.Second

// Run ends what is outdated of users who have changed, until ctx ends, and tries again what could
// not be stored. What was lost while no issuer ran, or was left undone by one that stopped, is
// found by comparing the users with what is known of them in Redis.
func (c *ChangedUsers) Run(ctx context.Context) error {
	retry, compare := time.NewTicker(retryChanges), time.NewTicker(compareUsers)
	defer retry.Stop()
	defer compare.Stop()
	told := false // that comparing fails is logged once, not every second
	for due := true; ; {
		failed := false
		if due {
			if c.open() != nil { // not ready yet
				failed = true
			} else if err := c.compare(ctx); err != nil {
				if failed = true; !told && ctx.Err() == nil {
					c.logger.Warn("the users could not be compared with what is known of them yet", "error", err)
				}
				told = true
			} else {
				due, told = false, false
			}
		}
		// Not before a comparison that is due has succeeded: end updates what is known in Redis, so that
		// must have been read.
		if !due {
			failed = !c.end(ctx, c.pending.take())
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
		case <-c.pending.some:
		case <-compare.C:
			due = true
		}
	}
}

const (
	// changesAtOnce is how many users' sessions are ended at a time: their entries share calls of
	// the log's script.
	changesAtOnce = 16
	// changesInPart is how many users are done before that is stored in Redis.
	changesInPart = 256
)

// end ends the outdated sessions of some users, a bounded number of users at a time, and reports
// whether all of that is stored. Users who are left when ctx ends stay to be done.
func (c *ChangedUsers) end(ctx context.Context, names map[string]bool) (all bool) {
	all = true
	var users map[string]credential.User
	if c.directory != nil {
		users = c.directory.All() // before any of them is looked up: what comes later is another change
	}
	part := make(map[string]bool, changesInPart)
	for name, again := range names {
		if part[name] = again; len(part) == changesInPart {
			all = c.endPart(ctx, part, users) && all
			clear(part)
		}
	}
	return c.endPart(ctx, part, users) && all
}

func (c *ChangedUsers) endPart(ctx context.Context, names map[string]bool,
	users map[string]credential.User) bool {
	if len(names) == 0 {
		return true
	}
	var (
		wait  sync.WaitGroup
		mu    sync.Mutex
		done  = map[string]string{} // what to remember of whom; "": the user is gone
		slots = make(chan struct{}, changesAtOnce)
	)
	for name, again := range names {
		if ctx.Err() != nil {
			break
		}
		slots <- struct{}{}
		wait.Go(func() {
			defer func() { <-slots }()
			err := c.handlers.Guard(func() error { return c.endOne(ctx, name, again) })
			mu.Lock()
			defer mu.Unlock()
			if err == nil {
				done[name] = ""
			} else {
				c.pending.addFailed(name)
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
	if c.directory == nil || ctx.Err() != nil && len(done) == 0 {
		return ended
	}
	// Stored even if the issuer is stopping: else the next start does the same work again.
	if err := c.remember(context.WithoutCancel(ctx), done); err != nil {
		c.logger.Warn("what was ended of users who have changed could not be remembered: it is looked "+
			"at again", "error", err)
		for name := range done {
			c.pending.addFailed(name)
		}
		return false
	}
	return ended
}

// endOne ends the sessions of one user that what the user is now makes outdated; not what was
// noticed, since that may have changed again. again says that it has failed before: then another
// failure is counted, and neither logged nor recorded.
func (c *ChangedUsers) endOne(ctx context.Context, name string, again bool) error {
	event := audit.Event{
		Name: audit.Revoke, Issuer: c.trail.Issuer, ClientID: c.trail.ClientID,
		Kind: revocation.KindSub.String(), Value: name, Actor: "users",
	}
	// Any error but "no such user" ends nothing: users that cannot be read must not log everybody out.
	user, err := c.users.Lookup(ctx, name)
	var done session.Everywhere
	switch {
	case errors.Is(err, credential.ErrNoUser):
		event.RevocationReason = "user_disabled"
		done, err = c.sessions.EndAll(ctx, name, event.RevocationReason, event.Actor)
	case err == nil:
		event.RevocationReason = "user_changed"
		now := session.Login{Subject: name, Credential: user.Credential, Rights: user.Rights}
		done, err = c.sessions.EndOutdated(ctx, now, event.RevocationReason, event.Actor)
	}
	if err == nil && done.Sessions == 0 {
		return nil
	}
	outcome := "ended"
	if err != nil {
		outcome = "failed"
	}
	c.metrics.changed.WithLabelValues(outcome).Inc()
	switch {
	case err != nil && again:
		return err
	case err != nil:
		c.logger.Warn("the sessions of a user who has changed could not be ended yet",
			"user", name, "error", err)
	}
	event.Seq = done.Receipt.Seq
	c.trail.Record(event, httpapi.FailureOf(err))
	return err
}

// pending are the users whose outdated sessions have to end.
type pending struct {
	mu    sync.Mutex
	names map[string]bool // true: it has been tried in vain
	some  chan struct{}   // takes one: there are some
}

func newPending() *pending {
	return &pending{names: map[string]bool{}, some: make(chan struct{}, 1)}
}

func (p *pending) add(names ...string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, name := range names {
		if _, noted := p.names[name]; !noted {
			p.names[name] = false
		}
	}
	p.signal()
}

// addFailed notes a user whose sessions could not be ended.
func (p *pending) addFailed(name string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.names[name] = true
	p.signal()
}

func (p *pending) signal() {
	select {
	case p.some <- struct{}{}:
	default:
	}
}

func (p *pending) take() map[string]bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	taken := p.names
	p.names = map[string]bool{}
	return taken
}
