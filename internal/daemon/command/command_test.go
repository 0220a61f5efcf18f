package command_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sallyport/sallyport/internal/daemon"
	"github.com/sallyport/sallyport/internal/daemon/command"
)

// settings are those of the daemon under test.
type settings struct {
	Word  string           `yaml:"word" usage:"a word"`
	Admin daemon.Config    `yaml:"admin"`
	Log   daemon.LogConfig `yaml:"log"`
}

func (settings) FormerNames() map[string]string { return map[string]string{"old.word": "word"} }

// program returns a daemon that says its word.
func program() command.Program[settings] {
	return command.Program[settings]{
		Name: "thing", Noun: "thing", Version: "1.2.3", Required: "thing.yaml",
		Defaults: func() settings {
			return settings{Word: "default", Admin: daemon.Config{Listen: "127.0.0.1:1"},
				Log: daemon.LogConfig{Level: "info", Format: "text"}}
		},
		Admin: func(c *settings) daemon.Config { return c.Admin },
		Log:   func(c *settings) daemon.LogConfig { return c.Log },
		Serve: func(_ context.Context, c command.Loaded[settings], out io.Writer, l *slog.Logger) error {
			l.Info("serving")
			again, err := c.Read([]byte("word: again\n"))
			if err != nil {
				return err
			}
			_, err = fmt.Fprint(out, c.Config.Word, " ", again.Word)
			return err
		},
		Check: func(_ context.Context, c command.Loaded[settings], out io.Writer) error {
			if c.Config.Word == "bad" {
				return errors.New("a bad word")
			}
			_, err := fmt.Fprintln(out, "ok:", c.Config.Word)
			return err
		},
	}
}

func execute(t *testing.T, args ...string) (out, log string, err error) {
	t.Helper()
	var o, l bytes.Buffer
	cmd := program().Command()
	cmd.SetOut(&o)
	cmd.SetErr(&l)
	cmd.SetArgs(args)
	err = cmd.ExecuteContext(t.Context())
	return o.String(), l.String(), err
}

func file(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "thing.yaml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestEveryCommandReadsTheConfigurationAlike(t *testing.T) {
	path := file(t, "word: file\n")
	if out, log, err := execute(t, "serve", "--config", path); err != nil || out != "file again" ||
		!strings.Contains(log, "msg=serving") {
		t.Errorf("serve: got %q, %q, %v", out, log, err)
	}
	if out, _, err := execute(t, "check", "--config", path, "--word", "flag"); err != nil ||
		out != "ok: flag\n" {
		t.Errorf("check with a flag: got %q, %v", out, err)
	}
	t.Setenv("SALLYPORT_WORD", "bad")
	if _, _, err := execute(t, "check", "--config", path); err == nil || err.Error() != "a bad word" {
		t.Errorf("check with a variable: got %v", err)
	}
	for _, name := range []string{"serve", "check", "healthcheck"} {
		if _, _, err := execute(t, name); err == nil ||
			!strings.Contains(err.Error(), "write --config thing.yaml") {
			t.Errorf("%s without a file: got %v", name, err)
		}
		if _, _, err := execute(t, name, "--config", file(t, "wort: x\n")); err == nil ||
			!strings.Contains(err.Error(), "thing.yaml:1:1: wort: unknown key: did you mean word?") {
			t.Errorf("%s with a slip: got %v", name, err)
		}
		if _, _, err := execute(t, name, "--config", path, "please"); err == nil {
			t.Errorf("%s takes an argument", name)
		}
	}
	if _, _, err := execute(t, "please"); err == nil {
		t.Error("an unknown command is accepted")
	}
	if _, _, err := execute(t, "healthcheck", "--config", path); err == nil ||
		!strings.Contains(err.Error(), "healthcheck: ") {
		t.Errorf("nobody listens: got %v", err)
	}
	if out, _, err := execute(t, "version"); err != nil || out != "thing 1.2.3\n" {
		t.Errorf("version: got %q, %v", out, err)
	}
}

// TestAFormerNameIsWarnedOf where somebody reads it: in the log, and in the answer of check.
func TestAFormerNameIsWarnedOf(t *testing.T) {
	path := file(t, "old: {word: file}\n")
	want := path + ":1:7: old.word: this is a former name, which is still accepted: write word"
	out, log, err := execute(t, "serve", "--config", path)
	if err != nil || out != "file again" || strings.Count(log, want) != 1 ||
		!strings.Contains(log, "level=WARN") {
		t.Errorf("serve: got %q, %q, %v", out, log, err)
	}
	out, log, err = execute(t, "check", "--config", path)
	if err != nil || out != "warning: "+want+"\nok: file\n" || log != "" {
		t.Errorf("check: got %q, %q, %v", out, log, err)
	}
}
