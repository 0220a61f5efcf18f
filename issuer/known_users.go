package issuer

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/sallyport/sallyport/internal/credential"
)

// knownUser is what is remembered of a user in Redis: enough to tell whether something was lost
// since.
type knownUser struct {
	Credential string   `json:"c"`
	Tenant     string   `json:"t,omitempty"`
	Roles      []string `json:"r,omitempty"`
	Scopes     []string `json:"s,omitempty"`
	Disabled   bool     `json:"d,omitempty"`
}

func writeKnown(u credential.User) (string, error) {
	text, err := json.Marshal(knownUser{u.Credential, u.Tenant, u.Roles, u.Scopes, u.Disabled})
	if err != nil {
		return "", fmt.Errorf("issuer: writing what a user is: %w", err)
	}
	return string(text), nil
}

// readKnown returns what a user was. For a text that cannot be read that is the zero User, whose
// password differs from any: the sessions are then compared with what the user is now.
func readKnown(text string) credential.User {
	var was knownUser
	if json.Unmarshal([]byte(text), &was) != nil {
		return credential.User{}
	}
	return credential.User{
		Credential: was.Credential, Tenant: was.Tenant, Roles: was.Roles, Scopes: was.Scopes,
		Disabled: was.Disabled,
	}
}

// compareUsers is how often users are compared with what is known of them. Noticed is called for
// losses only: a role that is given has to be found here, since it may be taken away again while no
// issuer runs.
const compareUsers = 30 * time.Second

// mayBeBack is how long to wait, at the start, for users who are missing: the file may be half
// written.
const mayBeBack = 2 * time.Second

// compare compares the users with what is known of them. It marks those who have lost something as
// pending, and stores what the others have become. A user who is not known yet has lost nothing: at
// the very first start that is everybody.
func (c *ChangedUsers) compare(ctx context.Context) error {
	if c.directory == nil {
		return nil
	}
	if c.known == nil {
		users, err := c.sessions.KnownUsers(ctx)
		if err != nil {
			return err
		}
		if err := c.awaitMissing(ctx, users); err != nil {
			return err
		}
		c.known = users
	}
	all := c.directory.All()
	// What somebody has lost is stored by endPart, once the sessions have ended: stored here, it would
	// be forgotten if the issuer stopped in between.
	var lost []string
	changed := map[string]string{}
	for name, is := range all {
		now, err := writeKnown(is)
		if err != nil {
			return err
		}
		switch was, there := c.known[name]; {
		case was == now:
		case there && credential.Outdates(readKnown(was), is):
			lost = append(lost, name)
		default:
			changed[name] = now
		}
	}
	for name := range c.known {
		if _, there := all[name]; !there {
			lost = append(lost, name)
		}
	}
	c.pending.add(lost...)
	return c.remember(ctx, changed)
}

// awaitMissing waits a moment if known users are missing: a file that is being written is empty at
// first.
func (c *ChangedUsers) awaitMissing(ctx context.Context, users map[string]string) error {
	all := c.directory.All()
	for name := range users {
		if _, there := all[name]; there {
			continue
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(mayBeBack): // who is missing still has gone
			return nil
		}
	}
	return nil
}

// remember stores what users are, "" for those who are gone, a bounded number of them at a time.
func (c *ChangedUsers) remember(ctx context.Context, changed map[string]string) error {
	const most = 1000
	part := make(map[string]string, min(most, len(changed)))
	store := func() error {
		if len(part) == 0 {
			return nil
		}
		if err := c.sessions.SetKnownUsers(ctx, part); err != nil {
			return err
		}
		// Only after it is stored: otherwise the next comparison would not find the difference again.
		for name, is := range part {
			if is == "" {
				delete(c.known, name)
			} else {
				c.known[name] = is
			}
		}
		clear(part)
		return nil
	}
	for name, is := range changed {
		if part[name] = is; len(part) == most {
			if err := store(); err != nil {
				return err
			}
		}
	}
	return store()
}
