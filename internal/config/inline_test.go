package config_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sallyport/sallyport/internal/config"
)

// Rules stands inline in trust, which judges it and says more than it does by itself.
type Rules struct {
	Audience string `yaml:"audience"`
}

func (r Rules) Validate() error {
	if r.Audience == "" {
		return errors.New("something is wrong with the audience")
	}
	return nil
}

// trust is a Validator: it answers for what stands inline in it.
type trust struct {
	Rules `yaml:",inline"`
	Keys  string `yaml:"keys"`
}

func (t trust) Validate() error {
	if t.Rules.Validate() != nil {
		return config.At("audience", "expected a name, got nothing")
	}
	return nil
}

// plain has no say of its own about what stands inline in it.
type plain struct {
	Rules Rules  `yaml:",inline"`
	Keys  string `yaml:"keys"`
}

// promoted is a Validator only by what stands inline in it.
type promoted struct {
	Rules `yaml:",inline"`
	Keys  string `yaml:"keys"`
}

// TestEachProblemIsToldOnce: a struct that stands inline is asked by the one that it stands in,
// when that one can.
func TestEachProblemIsToldOnce(t *testing.T) {
	file := filepath.Join(t.TempDir(), "gate.yaml")
	for name, row := range map[string]struct {
		yaml string
		into any
		want string
	}{
		"an outer struct that answers for it": {"issuers:\n- keys: x\n", &struct {
			Issuers []trust `yaml:"issuers"`
		}{}, "2:3: issuers[0].audience: expected a name, got nothing"},
		"an outer struct without a say": {"issuers:\n- keys: x\n", &struct {
			Issuers []plain `yaml:"issuers"`
		}{}, "2:3: issuers[0]: something is wrong with the audience"},
		"an outer struct that has its say": {"issuers:\n- keys: x\n", &struct {
			Issuers []promoted `yaml:"issuers"`
		}{}, "2:3: issuers[0]: something is wrong with the audience"},
		"at the top, answered for": {
			"keys: x\n", &trust{}, "1:1: audience: expected a name, got nothing",
		},
		"at the top, without a say of its own": {
			"keys: x\n", &plain{}, "1:1: something is wrong with the audience",
		},
	} {
		t.Run(name, func(t *testing.T) {
			if err := os.WriteFile(file, []byte(row.yaml), 0o600); err != nil {
				t.Fatal(err)
			}
			problems := config.Problems(config.Load(row.into, config.Options{File: file}))
			if len(problems) != 1 || !strings.HasSuffix(problems[0].Error(), row.want) {
				t.Errorf("expected once %q, got %v", row.want, problems)
			}
		})
	}
}
