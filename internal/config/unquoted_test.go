package config_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sallyport/sallyport/internal/config"
)

// door has words of which only some may stand there.
type door struct {
	Slash string `yaml:"slash"`
	Name  string `yaml:"name"`
	Badge string `yaml:"badge"`
}

func (d door) Validate() error {
	switch {
	case d.Slash != "" && d.Slash != "allow":
		return config.At("slash", "expected allow, got %q", d.Slash)
	case d.Name == "":
		return config.At("name", "expected a name")
	}
	return nil
}

// TestNothingIsAdvisedThatWouldBeRefused: what is no string is to be written as one only where that
// string may stand.
func TestNothingIsAdvisedThatWouldBeRefused(t *testing.T) {
	file := filepath.Join(t.TempDir(), "x.yaml")
	for text, want := range map[string]string{
		"slash: true\nname: a\n":           `1:8: slash: expected allow, got "true"`,
		"slash: 1\nname: a\n":              `1:8: slash: expected allow, got "1"`,
		"slash: 1.5\nname: a\n":            `1:8: slash: expected allow, got "1.5"`,
		"slash: allow\nname:\n":            "2:1: name: expected a name",
		"name: true\n":                     `1:7: name: expected a string, got true or false: write "true"`,
		"name: 7\n":                        `1:7: name: expected a string, got a whole number: write "7"`,
		"name: a\nslash:\n":                `2:1: slash: expected a string, got nothing: write ""`,
		"name: a\nslash: {}\n":             "2:1: slash: expected a string, got a mapping",
		"name: a\nbadge: 7\nslash: keep\n": "2:8: badge: expected a string",
	} {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		problems := config.Problems(config.Load(&door{}, config.Options{File: file}))
		if len(problems) == 0 || !strings.Contains(problems[0].Error(), want) ||
			len(problems) != 1+strings.Count(text, "keep") {
			t.Errorf("%q: got %v, want %s", text, problems, want)
		}
	}
}

// TestWhatNeedsQuotesWithinBracketsIsToldSo: the path of a route has braces more often than not.
func TestWhatNeedsQuotesWithinBracketsIsToldSo(t *testing.T) {
	file := filepath.Join(t.TempDir(), "x.yaml")
	for _, text := range []string{
		"- {match: {path: /a/{secret}}}\n", "- match: {path: /{secret}/**, methods: [GET]}\n",
		"- match: {\n    path: /a/{secret},\n    methods: [GET]}\n", "- [/a/{secret}, /b]\n",
		"- {as: login, login_page: https://a/?secret={path}}\n", "- {when: claims.secret in [\"x\"]}\n",
		"- {when: \"secret\" in roles}\n",
	} {
		if err := os.WriteFile(file, []byte("routes:\n"+text), 0o600); err != nil {
			t.Fatal(err)
		}
		err := config.Load(&door{}, config.Options{File: file})
		if err == nil || !strings.Contains(err.Error(), `in quotes, as "/orders/{id}"`) ||
			strings.Contains(err.Error(), "secret") {
			t.Errorf("%q: got %v", text, err)
		}
	}
	text := "routes: [{hosts: [*.example.com]}]\n"
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	err := config.Load(&door{}, config.Options{File: file})
	if err == nil || !strings.Contains(err.Error(), "in quotes if it is meant") {
		t.Errorf("%q: got %v", text, err)
	}
}
