package config_test

import (
	"strings"
	"testing"

	"github.com/spf13/pflag"

	"github.com/sallyport/sallyport/internal/config"
)

// The rows of advisories that concern configuration.
func TestCVE(t *testing.T) {
	t.Run("CVE-2026-40173", func(t *testing.T) { // a secret given as a flag showed in the command line
		fs := pflag.NewFlagSet("test", pflag.ContinueOnError)
		config.BindFlags(fs, defaults())
		for _, name := range []string{"redis-password", "redis-key", "redis-password-file"} {
			if fs.Lookup(name) != nil {
				t.Errorf("--%s is a flag", name)
			}
		}
	})
	t.Run("CVE-2022-29266", func(t *testing.T) { // a library's error carried a secret
		for _, text := range []string{"redis: {password: \"" + canary, "redis:\n  password: |" + canary} {
			if _, err := load(t, text, nil); err == nil || strings.Contains(err.Error(), canary) {
				t.Errorf("got %v", err)
			}
		}
	})
}
