package config_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/sallyport/sallyport/internal/config"
)

// TestAValueIsWhatStandsInTheFile, as JSON, beside the line in which each setting is given.
func TestAValueIsWhatStandsInTheFile(t *testing.T) {
	file := filepath.Join(t.TempDir(), "x.yaml")
	text := "all:\n- value: {a: [1, 2.50, -0, true, null, \"7\", x\"y], b: {\"c d\": {}}, e: 0x1f}\n" +
		"- value: []\n"
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	var dst struct {
		All []struct {
			Value config.Value `yaml:"value"`
		} `yaml:"all"`
	}
	lines := map[string]int{}
	if err := config.Load(&dst, config.Options{File: file, Lines: lines}); err != nil {
		t.Fatal(err)
	}
	want := `{"a":[1,2.50,-0,true,null,"7","x\"y"],"b":{"c d":{}},"e":"0x1f"}`
	if got := string(dst.All[0].Value); got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	if got := string(dst.All[1].Value); got != "[]" {
		t.Errorf("got %s", got)
	}
	if lines["all[0]"] != 2 || lines["all[1]"] != 3 {
		t.Errorf("got %v", lines)
	}
}

// TestASecretsFileIsNotReadWhereNobodyNeedsIt, and a secret is there all the same.
func TestASecretsFileIsNotReadWhereNobodyNeedsIt(t *testing.T) {
	file := filepath.Join(t.TempDir(), "x.yaml")
	if err := os.WriteFile(file, []byte("password_file: /nowhere/at/all\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	var dst struct {
		Password config.Secret `yaml:"password"`
	}
	if err := config.Load(&dst, config.Options{File: file}); err == nil {
		t.Error("a file that is not there was read")
	}
	err := config.Load(&dst, config.Options{File: file, WithoutSecrets: true})
	if err != nil || dst.Password.IsZero() || dst.Password.File() != "/nowhere/at/all" {
		t.Errorf("got %v, %v", dst.Password.File(), err)
	}
}
