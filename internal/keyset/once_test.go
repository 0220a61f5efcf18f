package keyset_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sallyport/sallyport/internal/config"
	"github.com/sallyport/sallyport/internal/keyset"
)

// TestAProblemOfAnEntryIsToldOnce: by file and line, and with what to write instead.
func TestAProblemOfAnEntryIsToldOnce(t *testing.T) {
	file := filepath.Join(t.TempDir(), "authz.yaml")
	if err := os.WriteFile(
		file,
		[]byte(
			"issuers:\n  - issuer: https://a.example\n    jwks_url: https://a.example/keys\n    "+
				"algorithms: [none]\n"),
		0o600,
	); err != nil {
		t.Fatal(err)
	}
	var gate struct {
		Issuers []keyset.Config `yaml:"issuers"`
	}
	problems := config.Problems(config.Load(&gate, config.Options{File: file}))
	if len(problems) != 2 {
		t.Fatalf("expected two problems, got %d: %v", len(problems), problems)
	}
	for i, want := range []string{
		":2:5: issuers[0].audiences: expected at least one: add the line `audiences: [NAME]`",
		":4:18: issuers[0].algorithms[0]: ",
	} {
		if !strings.Contains(problems[i].Error(), want) {
			t.Errorf("expected %q, got %q", want, problems[i])
		}
	}
}
