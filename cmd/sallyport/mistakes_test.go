package main

import (
	"net/http"
	"path/filepath"
	"strings"
	"testing"
)

func TestAMistakeIsAnErrorThatSaysWhatToWriteInstead(t *testing.T) {
	for line, want := range map[string]string{
		"statu":                     "did you mean status?",
		"nonsense":                  "see sallyport --help",
		"revocations lst":           "did you mean list?",
		"keys rotat":                "did you mean rotate?",
		"users disabel":             "did you mean disable?",
		"revoke --usr bob":          "see sallyport revoke --help",
		"revocations list --kind x": "see sallyport revocations list --help",
	} {
		_, _, err := sallyport("", strings.Fields(line)...)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("sallyport %s: expected an error with %q, got %v", line, want, err)
		}
	}
}

func TestCommandsThatOnlyHaveOthersShowThem(t *testing.T) {
	for line, want := range map[string]string{
		"": "revocations", "revocations": "watch", "keys": "rotate", "users": "disable",
	} {
		out, _, err := sallyport("", strings.Fields(line)...)
		if err != nil || !strings.Contains(out, want) {
			t.Errorf("sallyport %s: expected a help that has %q, got %v and %s", line, want, err, out)
		}
	}
}

func TestStatusExplainsEveryState(t *testing.T) {
	out, _, err := sallyport("", "status", "--help")
	if err != nil {
		t.Fatal(err)
	}
	for _, state := range []string{"ok", "behind", "off_log", "not_ready", "stale", "left", "gone"} {
		if !strings.Contains(out, "\n  "+state+" ") {
			t.Errorf("%s is not explained in %s", state, out)
		}
	}
}

func TestARefusedAdminTokenNamesTheFlag(t *testing.T) {
	admin, _, _ := adminStub(t, http.StatusOK, "")
	file := filepath.Join(t.TempDir(), "token")
	write(t, file, "another-token")
	status := func(admin string) error {
		_, _, err := sallyport("", "status", "--issuer-admin", admin, "--token-file", file)
		return err
	}
	if err := status(admin); err == nil || !strings.Contains(err.Error(), "--token-file") ||
		strings.Contains(err.Error(), "another-token") {
		t.Errorf("got: %v", err)
	}
	if err := status("http://127.0.0.1:1"); err == nil ||
		!strings.Contains(err.Error(), "--issuer-admin") {
		t.Errorf("nobody listens there, got: %v", err)
	}
}
