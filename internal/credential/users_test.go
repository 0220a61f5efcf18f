package credential

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/sallyport/sallyport/internal/config"
)

// uuHash is the bcrypt hash of "U*U", at a cost that tests can bear.
const uuHash = "$2a$05$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW"

func usersConfig(file string) Config {
	c := DefaultConfig()
	c.File = config.Path(file)
	c.Hashing.MemoryMiB = 64
	return c
}

// TestEachUsersFixtureIsRefusedInItsOwnWords loads each file of testdata/bad. The lines that begin
// it with "#= " are the whole error.
func TestEachUsersFixtureIsRefusedInItsOwnWords(t *testing.T) {
	files, err := filepath.Glob("testdata/bad/*.yaml")
	if err != nil || len(files) == 0 {
		t.Fatalf("no fixtures: %v", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".yaml"), func(t *testing.T) {
			b, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			var want []string
			for line := range strings.Lines(string(b)) {
				if text, ok := strings.CutPrefix(strings.TrimRight(line, "\n"), "#= "); ok {
					want = append(want, file+":"+text)
				}
			}
			s, err := Open(usersConfig(file), Options{})
			if err == nil {
				t.Fatal("loaded", s)
			}
			if got, all := err.Error(), "credential: users: "+strings.Join(want, "\n"); got != all {
				t.Errorf("refused with\n%s\nwant\n%s", got, all)
			}
			if strings.Contains(err.Error(), "canary") {
				t.Error("the error repeats a secret")
			}
		})
	}
}

func TestUsersAreWhatTheirFileSays(t *testing.T) {
	registry := prometheus.NewRegistry()
	s, err := Open(usersConfig("testdata/good/users.yaml"), Options{Registry: registry})
	if err != nil {
		t.Fatal(err)
	}
	got, err := s.Verify(context.Background(), "ALICE", "U*U", ip("192.0.2.1"))
	want := User{
		Name:       "alice",
		Roles:      []string{"admin", "team/a"},
		Scopes:     []string{"read", "write"},
		Tenant:     "north",
		Credential: got.Credential,
		Rights:     got.Rights, // TestWhoseSessionsMustEndIsTold is about these
	}
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, %v", got, err)
	}
	if got, err = s.Lookup(context.Background(), "alice"); err != nil ||
		!reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, %v", got, err)
	}
	if _, err := s.Lookup(context.Background(), "bob"); !errors.Is(err, ErrNoUser) {
		t.Errorf("got %v", err)
	}
	expected := `
		# HELP sallyport_users Users in force.
		# TYPE sallyport_users gauge
		sallyport_users 2
		# HELP sallyport_users_outdated_hashes Users whose password hash is of another kind or weaker than new ones.
		# TYPE sallyport_users_outdated_hashes gauge
		sallyport_users_outdated_hashes 2
	`
	if err := testutil.GatherAndCompare(registry, strings.NewReader(expected), "sallyport_users",
		"sallyport_users_outdated_hashes"); err != nil {
		t.Error(err)
	}
}

func TestAFileWithoutUsersLetsNobodyIn(t *testing.T) {
	for _, text := range []string{"", "users: []\n", "users: []"} {
		f := newUsersFile(t, text)
		if got := try(f.open(), "alice", "x", "192.0.2.1"); got != "invalid" {
			t.Errorf("%q: %s", text, got)
		}
	}
}

func TestSettingsOfUsersOutOfBoundsAreRefused(t *testing.T) {
	c := DefaultConfig()
	c.MaxPassword, c.Hashing = 10, Hashing{Concurrency: -1, MemoryMiB: 0, Queue: -1, Wait: 0}
	c.Argon2.Time = 99
	want := []string{
		"file: expected the path of the users file, got nothing",
		"argon2.time: expected 1 to 16, got 99",
		"hashing.concurrency: expected 0 to 1024, got -1",
		"hashing.memory_mib: expected 1 to 1048576, got 0",
		"hashing.queue: expected 0 to 100000, got -1",
		"hashing.wait: expected more than 0 and at most 1m, got 0s",
		"max_password: expected 64 to 4096 bytes, got 10",
		"hashing.memory_mib: expected at least the 19 MiB that one argon2 hash takes, got 0",
	}
	if err := c.Validate(); err == nil || err.Error() != strings.Join(want, "\n") {
		t.Errorf("got\n%v", err)
	}
	if err := usersConfig("x").Validate(); err != nil {
		t.Error(err)
	}
}

// usersFileOnDisk is a users file that a test writes again and again.
type usersFileOnDisk struct {
	t     *testing.T
	path  string
	log   bytes.Buffer
	clock *clock
	store *Store
}

func newUsersFile(t *testing.T, text string) *usersFileOnDisk {
	f := &usersFileOnDisk{
		t: t, path: filepath.Join(t.TempDir(), "users.yaml"),
		clock: &clock{now: time.Unix(1_800_000_000, 0)},
	}
	f.write(text)
	return f
}

func (f *usersFileOnDisk) write(text string) {
	f.t.Helper()
	if err := os.WriteFile(f.path, []byte(text), 0o600); err != nil {
		f.t.Fatal(err)
	}
}

func (f *usersFileOnDisk) open() *Store {
	f.t.Helper()
	s, err := Open(usersConfig(f.path),
		Options{Now: f.clock.Now, Logger: slog.New(slog.NewTextHandler(&f.log, nil))})
	if err != nil {
		f.t.Fatal(err)
	}
	f.store = s
	return s
}

func (f *usersFileOnDisk) lookup(name string) string {
	f.t.Helper()
	u, err := f.store.Lookup(context.Background(), name)
	switch {
	case errors.Is(err, ErrNoUser):
		return "none"
	case errors.Is(err, ErrUnavailable):
		return "just gone"
	case err != nil:
		f.t.Fatal(err)
	}
	return "roles " + strings.Join(u.Roles, ",")
}

func user(name, more string) string {
	return "  - name: " + name + "\n    password_hash: \"" + uuHash + "\"\n" + more
}

// TestTheNextLoginOrRefreshSeesAChangeOfTheFile also holds for changes that leave size and time as
// they were, for a while after the file was first read and later, and for a file that is replaced.
func TestTheNextLoginOrRefreshSeesAChangeOfTheFile(t *testing.T) {
	f := newUsersFile(t, "users:\n"+user("alice", "    roles: [one]\n"))
	f.open()
	check := func(name, want string) {
		t.Helper()
		if got := f.lookup(name); got != want {
			t.Errorf("%s: %s, want %s", name, got, want)
		}
	}
	check("alice", "roles one")
	f.write("users:\n" + user("alice", "    roles: [two]\n"))
	check("alice", "roles two")
	info, err := os.Stat(f.path)
	if err != nil {
		t.Fatal(err)
	}
	f.write("users:\n" + user("alice", "    roles: [six]\n"))
	if err := os.Chtimes(f.path, time.Time{}, info.ModTime()); err != nil {
		t.Fatal(err)
	}
	check("alice", "roles six") // same size, same time
	f.clock.pass(time.Hour)
	check("alice", "roles six")
	f.write("users:\n" + user("alice", "    disabled: true\n") + user("bob", ""))
	check("alice", "none")
	check("bob", "roles ")
	if got := try(f.store, "alice", "U*U", "192.0.2.1"); got != "invalid" {
		t.Errorf("a disabled user: %s", got)
	}
	f.clock.pass(time.Hour)
	other := filepath.Join(filepath.Dir(f.path), "new.yaml")
	if err := os.WriteFile(other, []byte("users:\n"+user("carol", "")), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(other, f.path); err != nil {
		t.Fatal(err)
	}
	check("bob", "just gone")
	check("carol", "roles ")
}

// TestAChangeBehindASymbolicLinkIsSeen is how Kubernetes changes a mounted file.
func TestAChangeBehindASymbolicLinkIsSeen(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{
		"1": "users:\n" + user("alice", ""), "2": "users:\n" + user("carol", ""),
	} {
		if err := os.Mkdir(filepath.Join(dir, name), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name, "users.yaml"), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	link := filepath.Join(dir, "data")
	if err := os.Symlink("1", link); err != nil {
		t.Fatal(err)
	}
	f := &usersFileOnDisk{
		t: t, path: filepath.Join(link, "users.yaml"),
		clock: &clock{now: time.Unix(1_800_000_000, 0)},
	}
	f.open()
	f.clock.pass(time.Hour)
	if f.lookup("alice") == "none" {
		t.Fatal("no alice")
	}
	if err := os.Symlink("2", link+"2"); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(link+"2", link); err != nil {
		t.Fatal(err)
	}
	if f.lookup("alice") != "just gone" || f.lookup("carol") != "roles " {
		t.Error("the users are the old ones")
	}
}

func TestABrokenUsersFileKeepsTheUsersAndSaysSoOnce(t *testing.T) {
	f := newUsersFile(t, "users:\n"+user("alice", ""))
	f.open()
	m := f.store.metrics
	for name, breakIt := range map[string]func(){
		"broken":     func() { f.write("users:\n" + user("alice", "    rolez: [a]\n")) },
		"empty hash": func() { f.write("users: [{name: alice}]") },
		"missing":    func() { _ = os.Remove(f.path) },
		"a folder":   func() { _ = os.Remove(f.path); _ = os.Mkdir(f.path, 0o700) },
	} {
		f.log.Reset()
		failed := testutil.ToFloat64(m.loads.WithLabelValues("failed"))
		breakIt()
		for range 3 {
			if f.lookup("alice") != "roles " {
				t.Errorf("%s: alice is gone", name)
			}
		}
		f.clock.pass(time.Hour)
		if got := try(f.store, "alice", "U*U", "192.0.2.1"); got != "ok" {
			t.Errorf("%s: %s", name, got)
		}
		if n := strings.Count(f.log.String(), "level=ERROR"); n != 1 ||
			!strings.Contains(f.log.String(), "the users stay as they were") {
			t.Errorf("%s: %d errors logged:\n%s", name, n, f.log.String())
		}
		if got := testutil.ToFloat64(m.loads.WithLabelValues("failed")) - failed; got != 1 {
			t.Errorf("%s: counted %v times", name, got)
		}
		if testutil.ToFloat64(m.broken) != 1 {
			t.Errorf("%s: the metric does not say so", name)
		}
		if err := f.store.Reload(context.Background()); err == nil ||
			!strings.HasPrefix(err.Error(), "credential: users: ") {
			t.Errorf("%s: Reload returned %v", name, err)
		}
		_ = os.Remove(f.path)
		f.write("users:\n" + user("alice", "") + user("carol", ""))
		if f.lookup("carol") != "roles " || testutil.ToFloat64(m.broken) != 0 {
			t.Errorf("%s: mended, but not seen", name)
		}
		f.write("users:\n" + user("alice", ""))
		if f.lookup("carol") != "just gone" {
			t.Errorf("%s: carol is still there", name)
		}
	}
}

func TestAUsersFileThatIsTooLargeIsRefused(t *testing.T) {
	f := newUsersFile(t, "users: []\n")
	f.open()
	if err := os.Truncate(f.path, maxUsersFile+1); err != nil {
		t.Fatal(err)
	}
	if err := f.store.Reload(context.Background()); !errors.Is(err, errTooLarge) {
		t.Errorf("got %v", err)
	}
}

func TestRunTellsOfABrokenFileBeforeSomeoneLogsIn(t *testing.T) {
	f := newUsersFile(t, "users:\n"+user("alice", ""))
	f.open()
	f.write("users: broken\n")
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- f.store.Run(ctx) }()
		time.Sleep(poll)
		synctest.Wait()
		if testutil.ToFloat64(f.store.metrics.broken) != 1 {
			t.Error("not seen")
		}
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

func FuzzUsersFile(f *testing.F) {
	for _, pattern := range []string{"testdata/good/*.yaml", "testdata/bad/*.yaml"} {
		files, err := filepath.Glob(pattern)
		if err != nil {
			f.Fatal(err)
		}
		for _, file := range files {
			b, err := os.ReadFile(file)
			if err != nil {
				f.Fatal(err)
			}
			f.Add(string(b))
		}
	}
	f.Fuzz(func(t *testing.T, text string) {
		if len(text) > 64<<10 {
			return
		}
		u, err := readUsers("users.yaml", []byte(text), DefaultParams(), 64<<20)
		if err != nil {
			if len(config.Problems(err)) == 0 {
				t.Fatalf("an error without a problem: %v", err)
			}
			return
		}
		for name, a := range u.accounts {
			normal, err := Normalize(name)
			if err != nil || normal != name || a.User.Name != name || a.hash == nil ||
				a.hash.cost().memory > 64<<20 {
				t.Fatalf("%q is %+v, %v", name, a.User, err)
			}
		}
		if u.costs.decoy("nobody") == nil {
			t.Fatal("no decoy")
		}
	})
}
