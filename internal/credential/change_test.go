package credential

import (
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// of the empty password
const otherHash = "$2a$05$CCCCCCCCCCCCCCCCCCCCC.7uG0VCzI2bS7j6ymqJi9CdcdxiRTWNy"

// TestWhoseSessionsMustEndIsTold: who is gone or disabled, has another password or tenant, or has
// lost a role or scope; nobody else.
func TestWhoseSessionsMustEndIsTold(t *testing.T) {
	const all = "    roles: [a, b]\n    scopes: [read, write]\n    tenant: north\n"
	for name, c := range map[string]struct {
		alice string
		told  bool
	}{
		"nothing": {user("alice", all), false},
		"another order": {
			user("alice", "    roles: [b, a]\n    scopes: [write, read]\n    tenant: north\n"), false,
		},
		"a role more":          {user("alice", strings.Replace(all, "a, b", "a, b, c", 1)), false},
		"a scope more":         {user("alice", strings.Replace(all, "read,", "read, list,", 1)), false},
		"a role less":          {user("alice", strings.Replace(all, "a, b", "a", 1)), true},
		"another role":         {user("alice", strings.Replace(all, "a, b", "a, c", 1)), true},
		"a scope less":         {user("alice", strings.Replace(all, "read, write", "read", 1)), true},
		"another tenant":       {user("alice", strings.Replace(all, "north", "south", 1)), true},
		"another password":     {strings.Replace(user("alice", all), uuHash, otherHash, 1), true},
		"disabled":             {user("alice", all+"    disabled: true\n"), true},
		"gone":                 {"", true},
		"under another name":   {user("alicia", all), true},
		"a file that is wrong": {user("alice", "    roles: 7\n"), false},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newUsersFile(t, "users:\n"+user("alice", all)+user("bob", all))
				var told hearsay
				s, err := Open(usersConfig(f.path), Options{Now: f.clock.Now, OnChange: told.hear})
				if err != nil {
					t.Fatal(err)
				}
				if heard := told.heard(); len(heard) > 0 {
					t.Fatalf("told of %q when the file was first read", heard)
				}
				f.write("users:\n" + c.alice + user("bob", all))
				for range 2 {
					if err := s.Reload(t.Context()); (err != nil) != (name == "a file that is wrong") {
						t.Fatal(err)
					}
				}
				gone := len(told.heard()) == 0
				time.Sleep(2 * racy)
				if synctest.Wait(); c.told && gone != (name == "gone" || name == "under another name") {
					t.Errorf("told of who is gone at once, or of who is not too late")
				}
				want := []string{"alice"}
				if !c.told {
					want = nil
				}
				if heard := told.heard(); !slices.Equal(heard, want) {
					t.Errorf("told of %q, expected %q", heard, want)
				}
			})
		})
	}
}

// hearsay is what OnChange was told, from whichever goroutine.
type hearsay struct {
	mu    sync.Mutex
	names []string
}

func (h *hearsay) hear(names []string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.names = append(h.names, names...)
}

func (h *hearsay) heard() []string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Clone(h.names)
}

// TestAFileThatIsBeingWrittenEndsNothing: emptied first, or cut off behind a user, it loads all
// the same. Whoever is told looks at the users as they are then, so nobody is told of those who
// come back as they were; of those who come back with less they are. A refresh meanwhile may be
// tried again.
func TestAFileThatIsBeingWrittenEndsNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		whole := "users:\n" + user("alice", "") + user("bob", "    roles: [a, b]\n") + user(
			"carol", "    roles: [a]\n")
		f := newUsersFile(t, whole)
		var told hearsay
		s, err := Open(usersConfig(f.path), Options{Now: f.clock.Now, OnChange: told.hear})
		if err != nil {
			t.Fatal(err)
		}
		// bob loses one, carol gets one
		whole = strings.NewReplacer("roles: [a, b]", "roles: [a]", "roles: [a]", "roles: [a, b]").
			Replace(whole)
		for _, text := range []string{"", "users:\n" + user("alice", ""), whole} {
			f.write(text)
			if err := s.Reload(t.Context()); err != nil {
				t.Fatal(err)
			}
			time.Sleep(racy / 4)
			synctest.Wait()
			for name, there := range map[string]bool{"alice": text != "", "bob": text == whole} {
				if _, err := s.Lookup(t.Context(),
					name); there != (err == nil) || errors.Is(err, ErrNoUser) ||
					!there && !errors.Is(err, ErrUnavailable) {
					t.Errorf("%q: looking %s up gave %v", text, name, err)
				}
			}
		}
		if heard := told.heard(); len(heard) > 0 {
			t.Errorf("told of %q while the file was being written", heard)
		}
		time.Sleep(2 * racy)
		synctest.Wait()
		if heard := slices.Compact(told.heard()); !slices.Equal(heard, []string{"bob"}) {
			t.Errorf("told of %q, expected bob alone, who has lost a role", heard)
		}
	})
}

// TestWhoIsGoneIsGoneForGoodAfterTwoSeconds: who is missing from the file, and was never there,
// has no such respite.
func TestWhoIsGoneIsGoneForGoodAfterTwoSeconds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newUsersFile(t, "users:\n"+user("alice", "")+user("bob", ""))
		s, err := Open(usersConfig(f.path), Options{Now: f.clock.Now})
		if err != nil {
			t.Fatal(err)
		}
		f.write("users:\n" + user("bob", ""))
		if err := s.Reload(t.Context()); err != nil {
			t.Fatal(err)
		}
		if _, err := s.Lookup(t.Context(), "carol"); !errors.Is(err, ErrNoUser) {
			t.Errorf("one who never was there: %v", err)
		}
		if _, err := s.Lookup(t.Context(), "alice"); !errors.Is(err, ErrUnavailable) {
			t.Errorf("at once: %v", err)
		}
		time.Sleep(racy)
		synctest.Wait()
		if _, err := s.Lookup(t.Context(), "alice"); !errors.Is(err, ErrNoUser) {
			t.Errorf("two seconds later: %v", err)
		}
	})
}

// TestCredentialAndRightsNameWhatTheyAreOf: equal for equal users, another one for every change,
// and no hash is in them.
func TestCredentialAndRightsNameWhatTheyAreOf(t *testing.T) {
	of := func(text string) User {
		u, err := newUsersFile(t, "users:\n"+text).open().Lookup(t.Context(), "alice")
		if err != nil || len(u.Credential) != 16 || len(u.Rights) != 16 {
			t.Fatalf("got %+v, %v", u, err)
		}
		return u
	}
	plain := of(user("alice", ""))
	if again := of(user("alice", "    roles: []\n")); again.Credential != plain.Credential ||
		again.Rights != plain.Rights {
		t.Errorf("the same user is named in two ways: %+v, %+v", plain, again)
	}
	seen := map[string]string{plain.Rights: "no rights"}
	for _, more := range []string{
		"    roles: [a]\n", "    scopes: [a]\n", "    tenant: a\n", "    roles: [a, b]\n",
		"    roles: [a]\n    scopes: [b]\n", "    roles: [ab]\n",
	} {
		u := of(user("alice", more))
		if first, twice := seen[u.Rights]; twice || u.Credential != plain.Credential {
			t.Errorf("%q is named like %q", more, first)
		}
		seen[u.Rights] = more
	}
	if u := of(
		strings.Replace(user("alice", ""), uuHash, otherHash, 1)); u.Credential == plain.Credential ||
		u.Rights != plain.Rights {
		t.Error("another password has the same name")
	}
}
