package main

import (
	"bytes"
	"encoding/json"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sallyport/sallyport/internal/keyring"
)

// sallyport runs a command in this process.
func sallyport(stdin string, args ...string) (stdout, stderr string, err error) {
	var out, errOut bytes.Buffer
	cmd := newCommand()
	cmd.SetArgs(args)
	cmd.SetIn(strings.NewReader(stdin))
	cmd.SetOut(&out)
	cmd.SetErr(&errOut)
	err = cmd.Execute()
	return out.String(), errOut.String(), err
}

// keys runs a command on a key ring and reads the keys it prints.
func keys(t *testing.T, args ...string) []keyring.Key {
	t.Helper()
	out, _, err := sallyport("", append(args, "--json")...)
	if err != nil {
		t.Fatal(err)
	}
	var all []keyring.Key
	if err := json.Unmarshal([]byte(out), &all); err != nil {
		t.Fatalf("%v in %s", err, out)
	}
	return all
}

// find returns the signing key in a state.
func find(t *testing.T, all []keyring.Key, state keyring.State) keyring.Key {
	t.Helper()
	for _, k := range all {
		if k.Use == keyring.Signing && k.State == state {
			return k
		}
	}
	t.Fatalf("no %s signing key in %+v", state, all)
	return keyring.Key{}
}

func TestKeygenMakesARingOnceAndTouchesItNoMore(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "keys")
	made := keys(t, "keygen", "--dir", dir, "--algorithm", "EdDSA")
	if k := find(t, made, keyring.Active); k.Algorithm != "EdDSA" {
		t.Errorf("made a key for %s", k.Algorithm)
	}
	if _, _, err := sallyport("", "keygen", "--dir", dir); err == nil ||
		!strings.Contains(err.Error(), "holds a key ring already") {
		t.Errorf("got: %v", err)
	}
	if got := keys(t, "keys", "list", "--dir", dir); len(got) != len(made) ||
		find(t, got, keyring.Active).ID != find(t, made, keyring.Active).ID {
		t.Errorf("the ring changed: %+v", got)
	}
}

func TestTheRingTurns(t *testing.T) {
	dir := t.TempDir()
	first := keys(t, "keygen", "--dir", dir)
	was, next := find(t, first, keyring.Active), find(t, first, keyring.Next)

	if _, _, err := sallyport("", "keys", "rotate", "--dir", dir); err == nil ||
		!strings.Contains(err.Error(), "--force") {
		t.Errorf("a rotation that comes too early must name the way to force it, got: %v", err)
	}
	rotated := keys(t, "keys", "rotate", "--dir", dir, "--force")
	if find(t, rotated, keyring.Active).ID != next.ID ||
		find(t, rotated, keyring.Retired).ID != was.ID {
		t.Errorf("after a rotation: %+v", rotated)
	}
	newest := find(t, rotated, keyring.Next)
	promoted := keys(t, "keys", "promote", newest.ID, "--dir", dir, "--force")
	if promoted[0].ID != newest.ID || promoted[0].State != keyring.Active {
		t.Errorf("after a promotion: %+v", promoted)
	}
	removed := keys(t, "keys", "remove", was.ID, "--dir", dir)
	for _, k := range keys(t, "keys", "list", "--dir", dir) {
		if k.ID == removed[0].ID {
			t.Error("a removed key is still in the ring")
		}
	}
	if _, _, err := sallyport("", "keys", "retire", "no-such-key", "--dir", dir); err == nil ||
		!strings.Contains(err.Error(), "no-such-key") {
		t.Errorf("got: %v", err)
	}
}

func TestTheRingIsPrintedForPeople(t *testing.T) {
	dir := t.TempDir()
	made := keys(t, "keygen", "--dir", dir)
	out, _, err := sallyport("", "keys", "list", "--dir", dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"STATE", "KEY ID", find(t, made, keyring.Active).ID, "may sign from",
	} {
		if !strings.Contains(out, want) {
			t.Errorf("expected %q in\n%s", want, out)
		}
	}
}

func TestARingIsSealedAndUnsealed(t *testing.T) {
	dir, secret := t.TempDir(), filepath.Join(t.TempDir(), "passphrase")
	write(t, secret, "correct horse battery staple\n")
	keys(t, "keygen", "--dir", dir)
	sealed := keys(t, "keys", "reseal", "--dir", dir, "--new-passphrase-file", secret)
	if !sealed[0].Encrypted {
		t.Errorf("not encrypted: %+v", sealed)
	}
	plain := keys(t, "keys", "reseal", "--dir", dir, "--passphrase-file", secret, "--plain")
	if plain[0].Encrypted {
		t.Errorf("still encrypted: %+v", plain)
	}
	if _, _, err := sallyport("", "keys", "reseal", "--dir", dir); err == nil ||
		!strings.Contains(err.Error(), "--plain") {
		t.Errorf("got: %v", err)
	}
}

func TestPasswdPrintsAHashAndNothingElse(t *testing.T) {
	for name, stdin := range map[string]string{
		"a line": "correct horse\n", "no newline": "correct horse", "a DOS line": "correct horse\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			out, errOut, err := sallyport(stdin, "passwd")
			if err != nil {
				t.Fatal(err)
			}
			if !strings.HasPrefix(out, "$argon2id$") || strings.Count(out, "\n") != 1 || errOut != "" {
				t.Errorf("printed %q and %q", out, errOut)
			}
		})
	}
}

func TestPasswdSetsAUsersPassword(t *testing.T) {
	path := filepath.Join(t.TempDir(), "users.yaml")
	_, said, err := sallyport("correct horse\n", "passwd", "--file", path, "--role", "admin", "carol")
	if err != nil || !strings.Contains(said, "added user carol") {
		t.Fatalf("%q, %v", said, err)
	}
	first := read(t, path)
	_, said, err = sallyport("battery staple\n", "passwd", "--file", path, "carol")
	if err != nil || !strings.Contains(said, "changed the password of carol") {
		t.Fatalf("%q, %v", said, err)
	}
	second := read(t, path)
	if first == second || strings.Count(second, "carol") != 1 ||
		strings.Count(second, "$argon2id$") != 1 {
		t.Errorf("first\n%s\nthen\n%s", first, second)
	}
	for _, text := range []string{first, second, said} {
		if strings.Contains(text, "horse") || strings.Contains(text, "staple") {
			t.Error("a password was written down")
		}
	}
}

func TestPasswdRefusesWhatItCannotDo(t *testing.T) {
	path := filepath.Join(t.TempDir(), "users.yaml")
	write(t, path, "users:\n- name: bob\n  password_hash: x\n")
	for name, row := range map[string]struct {
		stdin string
		args  []string
		want  string
	}{
		"an empty password":      {"\n", nil, "got nothing"},
		"nothing on stdin":       {"", nil, "got nothing"},
		"a password without end": {strings.Repeat("x", maxPasswordLine+1), nil, "more than 65536 bytes"},
		"a short password":       {"seven77\n", nil, "at least 8 characters"},
		"a name without a file":  {"x\n", []string{"alice"}, "a user's name and --file"},
		"a file without a name":  {"x\n", []string{"--file", path}, "a user's name and --file"},
		"a role without a user":  {"x\n", []string{"--role", "admin"}, "--role"},
		"roles of an old user": {
			"long enough\n", []string{"--file", path, "--role", "admin", "bob"},
			"change the roles in the file",
		},
	} {
		t.Run(name, func(t *testing.T) {
			out, _, err := sallyport(row.stdin, append([]string{"passwd"}, row.args...)...)
			if err == nil || !strings.Contains(err.Error(), row.want) || out != "" {
				t.Errorf("expected %q, got %q and: %v", row.want, out, err)
			}
		})
	}
}

func TestVersionAndCompletionArePrinted(t *testing.T) {
	if out, _, err := sallyport("", "version"); err != nil || !strings.HasPrefix(out, "sallyport ") {
		t.Errorf("%q, %v", out, err)
	}
	for _, shell := range []string{"bash", "zsh", "fish", "powershell"} {
		if out, _, err := sallyport("", "completion", shell); err != nil ||
			!strings.Contains(out, "sallyport") {
			t.Errorf("%s: %d bytes, %v", shell, len(out), err)
		}
	}
}

func TestTheRingsLifetimesAreShownAndOnlyEverLonger(t *testing.T) {
	dir := t.TempDir()
	keys(t, "keygen", "--dir", dir)
	for _, c := range []struct {
		args []string
		want string
	}{
		{nil, `"token": "1h0m0s"`},
		{[]string{"--max-lifetime", "8h"}, `"token": "8h0m0s"`},
		{[]string{"--max-lifetime", "2h", "--keys-spread", "5m"}, `"token": "8h0m0s"`},
		{nil, `"spread": "5m0s"`},
	} {
		out, _, err := sallyport("", append([]string{"keys", "lifetimes", "--dir", dir}, c.args...)...)
		if err != nil || !strings.Contains(out, c.want) {
			t.Errorf("%v: expected %s, got %s, %v", c.args, c.want, out, err)
		}
	}
}
