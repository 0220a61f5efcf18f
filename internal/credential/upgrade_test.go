package credential

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/sallyport/sallyport/internal/eventually"
	"github.com/sallyport/sallyport/internal/ownfile"
)

// upgrading opens a users file whose hashes are to be replaced, and runs what does it until the
// test ends.
func upgrading(t *testing.T, text string, changed func([]string)) (*Store, string) {
	t.Helper()
	f := newUsersFile(t, text)
	cfg := usersConfig(f.path)
	cfg.UpgradeHashes, cfg.Argon2 = true, light
	s, err := Open(cfg, Options{OnChange: changed})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	return s, f.path
}

func (s *Store) upgradesCounted(result string) int {
	return int(testutil.ToFloat64(s.metrics.upgrades.WithLabelValues(result)))
}

func readText(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// TestAHashOfAnotherSystemIsReplacedWhenItsUserLogsIn, and nothing else in the file; the password
// is the same, so that what a session knows it by stays, and nobody is told that the user has
// another.
func TestAHashOfAnotherSystemIsReplacedWhenItsUserLogsIn(t *testing.T) {
	for name, written := range map[string]string{
		"double": `"{SSHA}G6PqGS/c5UfB6EctRVpRNeK8aj5by5mT"`,
		"single": `'{SSHA}G6PqGS/c5UfB6EctRVpRNeK8aj5by5mT'`,
		"bare":   `$2b$05$1CGl5OCfBXrLKTz.mz5PV.AUBg0A1RMTI8/ruTsr2EZL0B0PTIeOm`,
	} {
		t.Run(name, func(t *testing.T) {
			const before, after = "# who may log in\nusers:\n- name: old # since 2011\n" +
				"  password_hash: ", "  # imported\n  roles: [admin]\n" +
				"- {name: bob, password_hash: \"" + uuHash + "\"}\n"
			s, path := upgrading(t, before+written+after,
				func(names []string) { t.Errorf("told of %v", names) })
			first, err := s.Verify(t.Context(), "old", goldenPassword, ip("192.0.2.1"))
			if err != nil {
				t.Fatal(err)
			}
			eventually.True(t, "the hash to be replaced", func() bool { return s.upgradesCounted("ok") == 1 })
			text := readText(t, path)
			if !strings.HasPrefix(text, before) || !strings.HasSuffix(text, after) ||
				strings.Contains(text, "SSHA") ||
				!strings.Contains(text, "$argon2id$v=19$m=7168,t=5,p=1$") {
				t.Errorf("the file is now\n%s", text)
			}
			second, err := s.Verify(t.Context(), "old", goldenPassword, ip("192.0.2.1"))
			if err != nil || second.Credential != first.Credential || second.Rights != first.Rights {
				t.Errorf("%+v, then %+v, %v", first, second, err)
			}
			_, err = s.Verify(t.Context(), "old", goldenPassword+"x", ip("192.0.2.1"))
			if !errors.Is(err, ErrInvalid) {
				t.Errorf("got %v", err)
			}
			if got := s.upgradesCounted("ok") + s.upgradesCounted("failed"); got != 1 {
				t.Errorf("%d upgrades", got)
			}
		})
	}
}

// TestASetPasswordIsAnotherOneAlsoAfterAnUpgrade: the digest that a hash keeps goes with it.
func TestASetPasswordIsAnotherOneAlsoAfterAnUpgrade(t *testing.T) {
	s, path := upgrading(t,
		"users:\n- {name: old, password_hash: \"{SSHA}G6PqGS/c5UfB6EctRVpRNeK8aj5by5mT\"}\n", nil)
	first, err := s.Verify(t.Context(), "old", goldenPassword, ip("192.0.2.1"))
	if err != nil {
		t.Fatal(err)
	}
	eventually.True(t, "the hash to be replaced", func() bool { return s.upgradesCounted("ok") == 1 })
	anew, err := Hash([]byte(goldenPassword), light)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path,
		[]byte(fmt.Sprintf("users:\n- {name: old, password_hash: %q}\n", anew)),
		0o600); err != nil {
		t.Fatal(err)
	}
	second, err := s.Verify(t.Context(), "old", goldenPassword, ip("192.0.2.1"))
	if err != nil || second.Credential == first.Credential {
		t.Errorf("the sessions of before would go on: %v", err)
	}
}

func TestAWrongPasswordAndADisabledUserReplaceNoHash(t *testing.T) {
	const text = "users:\n- {name: old, password_hash: \"{SSHA}G6PqGS/c5UfB6EctRVpRNeK8aj5by5mT\"," +
		" disabled: true}\n- {name: bob, password_hash: \"" + uuHash + "\"}\n"
	s, path := upgrading(t, text, nil)
	for _, c := range [][2]string{{"old", goldenPassword}, {"bob", "wrong"}, {"nobody", "wrong"}} {
		if _, err := s.Verify(t.Context(), c[0], c[1], ip("192.0.2.1")); !errors.Is(err, ErrInvalid) {
			t.Errorf("got %v", err)
		}
	}
	if len(s.upgrades.queue) > 0 || readText(t, path) != text {
		t.Error("a hash is to be replaced")
	}
}

// TestAFileThatCannotBeWrittenStaysAndIsCounted: the login works, and works again.
func TestAFileThatCannotBeWrittenStaysAndIsCounted(t *testing.T) {
	const text = "users:\n- {name: old, password_hash: \"{SSHA}G6PqGS/c5UfB6EctRVpRNeK8aj5by5mT\"}" +
		"\n# not {SSHA}G6PqGS/c5UfB6EctRVpRNeK8aj5by5mT\n"
	s, path := upgrading(t, text, nil)
	for i := range 2 {
		if got := try(s, "old", goldenPassword, "192.0.2.1"); got != "ok" {
			t.Fatalf("got %s", got)
		}
		eventually.True(t, "the failure to be counted",
			func() bool { return s.upgradesCounted("failed") == i+1 })
	}
	if readText(t, path) != text {
		t.Error("the file has changed")
	}
	entries, err := os.ReadDir(filepath.Dir(path))
	if err != nil || len(entries) != 1 {
		t.Errorf("left behind: %v, %v", entries, err)
	}
}

// TestAnUpgradeUndoesNobodysChange: an operator disables users, one after another, while others
// log in and their hashes are replaced.
func TestAnUpgradeUndoesNobodysChange(t *testing.T) {
	const users = 12
	var text strings.Builder
	text.WriteString("users:\n")
	for i := range users {
		fmt.Fprintf(&text, "- {name: user%d, password_hash: \"%s\", disabled: false}\n", i, uuHash)
	}
	// The same hash in all entries would not be found once: each has a spelling of its own.
	content := text.String()
	for i := range users {
		own, err := Hash([]byte("U*U-U*U*"), Params{Time: 5, MemoryKiB: 7 << 10, Threads: 1 + i%2})
		if err != nil {
			t.Fatal(err)
		}
		content = strings.Replace(content, uuHash, own, 1)
	}
	f := newUsersFile(t, content)
	cfg := usersConfig(f.path)
	cfg.UpgradeHashes, cfg.Argon2 = true, Params{Time: 6, MemoryKiB: 7 << 10, Threads: 1}
	s, err := Open(cfg, Options{Limits: wide()})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() { _ = s.Run(ctx) })
	running.Go(func() {
		for i := range users / 2 {
			_ = try(s, fmt.Sprint("user", i), "U*U-U*U*", "192.0.2.1")
		}
	})
	for i := users / 2; i < users; i++ {
		unlock, err := ownfile.Lock(f.path, true)
		if err != nil {
			t.Fatal(err)
		}
		now := readText(t, f.path)
		lines := strings.SplitAfter(now, "\n")
		for j, line := range lines {
			if strings.Contains(line, fmt.Sprintf("name: user%d,", i)) {
				lines[j] = strings.Replace(line, "disabled: false", "disabled: true", 1)
			}
		}
		if err := errors.Join(ownfile.Write(f.path, ".edit-*", []byte(strings.Join(lines, ""))),
			unlock()); err != nil {
			t.Fatal(err)
		}
	}
	eventually.True(t, "hashes to be replaced",
		func() bool { return s.upgradesCounted("ok")+s.upgradesCounted("failed") > 0 })
	stop()
	running.Wait()
	final := readText(t, f.path)
	for i := range users {
		if want := fmt.Sprint("disabled: ", i >= users/2); !strings.Contains(
			strings.Split(final, "\n")[i+1], want) {
			t.Errorf("user%d is not %s:\n%s", i, want, final)
		}
	}
}

func TestADamagedDigestOfAHashIsRefused(t *testing.T) {
	for _, kept := range []string{
		"", "short", strings.Repeat("a", 15), strings.Repeat("a", 17), strings.Repeat("+", 16),
		strings.Repeat("a", 16) + keeps + strings.Repeat("a", 16),
	} {
		f := newUsersFile(t, "users:\n- {name: old, password_hash: \""+uuHash+keeps+kept+"\"}\n")
		if _, err := Open(usersConfig(f.path), Options{}); err == nil ||
			!strings.Contains(err.Error(), ":2:") {
			t.Errorf("%q: %v", kept, err)
		}
	}
}
