package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestAUsersPasswordIsSetAndTheRestOfTheFileStaysAsItWas(t *testing.T) {
	const hash = "$argon2id$v=19$m=19456,t=2,p=1$c2FsdA$aGFzaA"
	for name, row := range map[string]struct {
		before, user string
		roles        []string
		after        string // "HASH" stands for the quoted hash
	}{
		"a changed password": {
			before: "# who\nusers:\n- name: alice # the boss\n  roles: [admin]\n" +
				"  password_hash: \"$old\" # since May\n" +
				"- name: bob\n  password_hash: $b\n",
			user: "alice",
			after: "# who\nusers:\n- name: alice # the boss\n  roles: [admin]\n" +
				"  password_hash: HASH # since May\n" +
				"- name: bob\n  password_hash: $b\n",
		},
		"a value without quotes": {
			before: "users:\n  - {name: bob, password_hash: $b}\n",
			user:   "bob",
			after:  "users:\n  - {name: bob, password_hash: HASH}\n",
		},
		"a value that is also part of its key": {
			before: "users:\n  - password_hash: p\n    name: bob\n",
			user:   "bob",
			after:  "users:\n  - password_hash: HASH\n    name: bob\n",
		},
		"a name that is a number": {
			before: "users:\n- name: \"1234\"\n  password_hash: 'x'\n",
			user:   "1234",
			after:  "users:\n- name: \"1234\"\n  password_hash: HASH\n",
		},
		"letters of several bytes before it": {
			before: "users:\n- {name: \"é\", tenant: \"é→\", password_hash: 'x'}\n",
			user:   "é",
			after:  "users:\n- {name: \"é\", tenant: \"é→\", password_hash: HASH}\n",
		},
		"an added user": {
			before: "users:\n  - name: bob\n    password_hash: $b",
			user:   "carol", roles: []string{"admin", "ops"},
			after: "users:\n  - name: bob\n    password_hash: $b\n  - name: \"carol\"\n" +
				"    roles: [\"admin\", \"ops\"]\n    password_hash: HASH\n",
		},
		"the first user": {
			before: "# nobody yet\nusers: []\n",
			user:   "carol",
			after:  "# nobody yet\nusers:\n- name: \"carol\"\n  roles: []\n  password_hash: HASH\n",
		},
		"an empty file": {
			user:  "carol",
			after: "users:\n- name: \"carol\"\n  roles: []\n  password_hash: HASH\n",
		},
		"a name that needs quotes": {
			before: "users:\n- name: bob\n  password_hash: x\n",
			user:   `a: "b" #c`,
			after: "users:\n- name: bob\n  password_hash: x\n- name: \"a: \\\"b\\\" #c\"\n" +
				"  roles: []\n  password_hash: HASH\n",
		},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "users.yaml")
			if row.before != "" {
				write(t, path, row.before)
			}
			if _, err := setPassword(path, row.user, hash, row.roles); err != nil {
				t.Fatal(err)
			}
			if got, want := read(t, path), strings.ReplaceAll(row.after, "HASH", `"`+hash+`"`); got != want {
				t.Errorf("expected\n%s\ngot\n%s", want, got)
			}
		})
	}
}

func TestAUsersFileThatCannotBeChangedSafelyIsLeftAlone(t *testing.T) {
	for name, row := range map[string]struct{ before, want string }{
		"no YAML":            {"users: [", "users.yaml"},
		"no list of users":   {"people: []\n", "expected a list named users"},
		"users not a list":   {"users: {bob: x}\n", "expected users to be a list"},
		"a list in brackets": {"users: [{name: bob, password_hash: x}]\n", "got a list in [ ]"},
		"a nameless user": {
			"users:\n- password_hash: x\n", "users.yaml:2: expected a user with a name",
		},
		"no hash to replace": {"users:\n- name: alice\n", "no password_hash"},
		"a folded hash":      {"users:\n- name: alice\n  password_hash: >\n    x\n    y\n", "by hand"},
		"users not last":     {"users:\n- name: bob\n  password_hash: x\nother:\n  key: 1\n", "by hand"},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "users.yaml")
			write(t, path, row.before)
			if _, err := setPassword(path, "alice", "$hash", nil); err == nil ||
				!strings.Contains(err.Error(), row.want) {
				t.Errorf("expected %q, got: %v", row.want, err)
			}
			if got := read(t, path); got != row.before {
				t.Errorf("the file was changed:\n%s", got)
			}
		})
	}
}

func TestAChangedUsersFileKeepsItsModeAndItsLink(t *testing.T) {
	dir := t.TempDir()
	path, link := filepath.Join(dir, "real.yaml"), filepath.Join(dir, "users.yaml")
	write(t, path, "users:\n- name: alice\n  password_hash: x\n")
	if err := os.Chmod(path, 0o640); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("real.yaml", link); err != nil {
		t.Fatal(err)
	}
	if _, err := setPassword(link, "alice", "$hash", nil); err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if info.Mode().Perm() != 0o640 || !strings.Contains(read(t, path), "$hash") {
		t.Errorf("mode %v, content %s", info.Mode(), read(t, path))
	}
	if target, err := os.Readlink(link); err != nil || target != "real.yaml" {
		t.Errorf("the link became %q, %v", target, err)
	}
	if entries, err := os.ReadDir(dir); err != nil || len(entries) != 2 {
		t.Errorf("left behind: %v, %v", entries, err)
	}
}

func write(t *testing.T, path, content string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}

func read(t *testing.T, path string) string {
	t.Helper()
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(content)
}
