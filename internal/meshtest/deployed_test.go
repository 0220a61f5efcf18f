package meshtest

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// TestTheUsersOfServersAreThoseThatAreDocumented: what an operator copies is what the tests run
// with.
func TestTheUsersOfServersAreThoseThatAreDocumented(t *testing.T) {
	text, err := os.ReadFile(filepath.Join(Root(t), "docs", "operations.md"))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(ServerUsers("PASSWORD")) {
		if !strings.Contains(string(text), "\n    "+line) {
			t.Errorf("docs/operations.md lacks %q", line)
		}
	}
}

// TestServersOfTestsHaveTheSettingsThatAreDeployed: only where they are differs, and nothing that
// is replaced may be missing.
func TestServersOfTestsHaveTheSettingsThatAreDeployed(t *testing.T) {
	d, err := Deployed(Root(t))
	if err != nil {
		t.Fatal(err)
	}
	lines, err := d.Settings(Place{Dir: "/d", Port: "1", Users: "/u"})
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"appendonly yes", "appendfsync always", `save ""`, "maxmemory 256mb",
		"maxmemory-policy noeviction", "port 1", "dir /d", "aclfile /u", "bind 127.0.0.1",
	} {
		if !slices.Contains(lines, want) {
			t.Errorf("the settings lack %q", want)
		}
	}
	d.settings = strings.Replace(d.settings, "\ndir ", "\n# dir ", 1)
	if _, err := d.Settings(Place{}); err == nil || !strings.Contains(err.Error(), "dir") {
		t.Errorf("settings without dir: %v, expected an error that names it", err)
	}
}
