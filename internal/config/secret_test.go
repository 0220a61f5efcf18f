package config_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/spf13/pflag"

	"github.com/sallyport/sallyport/internal/config"
)

const canary = "canary-hunter2"

func TestASecretIsNeverPrinted(t *testing.T) {
	s := config.NewSecret(canary)
	inside := struct {
		Value config.Secret
		Many  []config.Secret
		Named map[string]*config.Secret
	}{s, []config.Secret{s}, map[string]*config.Secret{"a": &s}}
	var out bytes.Buffer
	for _, verb := range []string{
		"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "%o", "%T", "%10.3s", "%c", "%U",
	} {
		fmt.Fprintf(&out, verb+" "+verb+"\n", s, inside)
	}
	for _, v := range []any{s, &s, inside} {
		b, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		out.Write(b)
	}
	slog.New(slog.NewJSONHandler(&out, nil)).Info("x", "secret", s, "inside", inside)
	slog.New(slog.NewTextHandler(&out, nil)).Info("x", "secret", s, "inside", inside)
	for _, form := range []string{
		canary, fmt.Sprintf("%x", canary), fmt.Sprintf("%X", canary), fmt.Sprint([]byte(canary)),
	} {
		if strings.Contains(out.String(), form) {
			t.Errorf("the secret is in the output as %s:\n%s", form, out.String())
		}
	}
	if s.Reveal() != canary || s.IsZero() || !(config.Secret{}).IsZero() {
		t.Error("the secret is not what it was made of")
	}
}

func TestASecretComesFromAFileLessOneLineBreak(t *testing.T) {
	for content, want := range map[string]string{
		"a\n": "a", "a": "a", "a\n\n": "a\n", "a\r\n": "a", " a \n": " a ", "\na": "\na",
	} {
		file := filepath.Join(t.TempDir(), "secret")
		if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		fromFile, err := load(t, "redis: {password_file: "+file+"}", nil)
		if err != nil {
			t.Fatal(err)
		}
		fromEnv, err := load(t, "redis: {password: other}",
			map[string]string{"SALLYPORT_REDIS_PASSWORD_FILE": file})
		if err != nil {
			t.Fatal(err)
		}
		if fromFile.Redis.Password.Reveal() != want || fromEnv.Redis.Password.Reveal() != want {
			t.Errorf("%q gave %q and %q", content, fromFile.Redis.Password.Reveal(),
				fromEnv.Redis.Password.Reveal())
		}
	}
}

func TestASecretGivenInTwoWaysIsRefused(t *testing.T) {
	_, err := load(t, "",
		map[string]string{"SALLYPORT_REDIS_PASSWORD": canary, "SALLYPORT_REDIS_PASSWORD_FILE": "/none"})
	want := "SALLYPORT_REDIS_PASSWORD_FILE: expected SALLYPORT_REDIS_PASSWORD or " +
		"SALLYPORT_REDIS_PASSWORD_FILE, got both"
	if err == nil || err.Error() != want {
		t.Errorf("got %v", err)
	}
}

func TestASecretFileThatIsEmptyOrTooLargeIsRefused(t *testing.T) {
	dir := t.TempDir()
	for name, content := range map[string]string{
		"empty": "\n", "large": strings.Repeat(canary, 5000),
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for name, want := range map[string]string{
		"empty": "SALLYPORT_REDIS_PASSWORD_FILE: expected a secret in " + dir +
			"/empty, got an empty file",
		"large": "SALLYPORT_REDIS_PASSWORD_FILE: expected a secret of at most 65536 bytes in " + dir +
			"/large, got more",
		"none": "SALLYPORT_REDIS_PASSWORD_FILE: cannot read the secret: open " + dir +
			"/none: no such file or directory",
	} {
		_, err := load(t, "",
			map[string]string{"SALLYPORT_REDIS_PASSWORD_FILE": filepath.Join(dir, name)})
		if err == nil || err.Error() != want {
			t.Errorf("%s: got %v, want %s", name, err, want)
		}
	}
}

// TestNoErrorHoldsASecret breaks files in many ways around a secret.
func TestNoErrorHoldsASecret(t *testing.T) {
	for _, text := range []string{
		"redis: {password: " + canary,
		"redis:\n  password: \"" + canary,
		"redis:\n  password: '" + canary,
		"redis:\n  password: |" + canary + "\n",
		"redis:\n  password: >" + canary + "\n",
		"redis:\n  password: " + canary + "\n bad\n",
		"redis:\n  password: [" + canary + "]\n",
		"redis:\n  password: {" + canary + ": 1}\n",
		"redis:\n  password:\n    - " + canary + "\n",
		"redis: " + canary + "\n",
		"redis:\n  password: \"" + canary + "\\q\"\n",
		"redis:\n  password: " + canary + ": x\n",
		"redis:\n  password: `" + canary + "\n",
		"redis:\n  password: @" + canary + "\n",
		"issuers: " + canary + "\n",
		canary,
		"- " + canary,
	} {
		_, err := load(t, text, nil)
		if err == nil {
			t.Errorf("%q loaded", text)
		} else if strings.Contains(err.Error(), canary) {
			t.Errorf("%q: the error holds the secret: %v", text, err)
		}
	}
}

func TestNoSecretIsAFlag(t *testing.T) {
	fs := pflag.NewFlagSet("test", pflag.ContinueOnError)
	s := defaults()
	s.Redis.Password = config.NewSecret(canary)
	config.BindFlags(fs, s)
	var names []string
	fs.VisitAll(func(f *pflag.Flag) { names = append(names, f.Name) })
	want := "audience bind enabled log-level mode name optional ratio redis-address redis-timeout " +
		"redis-tls-ca-file small trusted workers"
	if got := strings.Join(names, " "); got != want {
		t.Errorf("flags %s\nwant  %s", got, want)
	}
	if strings.Contains(fs.FlagUsages(), canary) {
		t.Error("the help holds the secret")
	}
}

func TestFlagsShowDefaultsAndHelpAndAreCheckedWhenParsed(t *testing.T) {
	fs := pflag.NewFlagSet("test", pflag.ContinueOnError)
	config.BindFlags(fs, defaults())
	usage := fs.FlagUsages()
	for _, want := range []string{
		"--name string", `the gate's name (default "gate")`, "--redis-address string",
		`host:port (default "127.0.0.1:6379")`,
		"--redis-timeout duration", "(default 1s)", "--audience strings", "--enabled", "--mode string",
		`(default "enforce")`, "--redis-tls-ca-file path",
	} {
		if !strings.Contains(usage, want) {
			t.Errorf("the help lacks %q:\n%s", want, usage)
		}
	}
	err := fs.Parse([]string{"--redis-timeout", "10"})
	want := `invalid argument "10" for "--redis-timeout" flag: expected a duration such as "10s", got "10"`
	if err == nil || err.Error() != want {
		t.Errorf("got %v", err)
	}
}

func TestAStructMayKeepAllItsSettingsFromBeingFlags(t *testing.T) {
	dst := &struct {
		Limits struct {
			Burst int `yaml:"burst"`
			Inner struct {
				Every string `yaml:"every"`
			} `yaml:"inner"`
		} `yaml:"limits" flag:"-"`
		Beside logging `yaml:",inline" flag:"-"`
		Name   string  `yaml:"name"`
	}{}
	fs := pflag.NewFlagSet("test", pflag.ContinueOnError)
	config.BindFlags(fs, dst)
	var names []string
	fs.VisitAll(func(f *pflag.Flag) { names = append(names, f.Name) })
	if strings.Join(names, " ") != "name" {
		t.Errorf("flags %v", names)
	}
}
