package main

import (
	"path/filepath"
	"strings"
	"testing"
)

func TestAUsersFieldIsSetAndTheRestOfTheFileStaysAsItWas(t *testing.T) {
	disabled, enabled := userFields{Disabled: true}.with("disabled"), userFields{}.with("disabled")
	roles := func(names ...string) userFields { return userFields{Roles: names}.with("roles") }
	for name, row := range map[string]struct {
		before string
		change userFields
		after  string
	}{
		"disabled, not there yet": {
			"# who\nusers:\n- name: alice # the boss\n  password_hash: x\n- name: bob\n", disabled,
			"# who\nusers:\n- name: alice # the boss\n  disabled: true\n  password_hash: x\n- name: bob\n",
		},
		"disabled, not there yet, in braces": {
			"users:\n  - {name: alice, password_hash: x } # c\n", disabled,
			"users:\n  - {name: alice, password_hash: x, disabled: true} # c\n",
		},
		"disabled again": {
			"users:\n- name: alice\n  disabled: true # left\n", disabled,
			"users:\n- name: alice\n  disabled: true # left\n",
		},
		"enabled": {
			"users:\n- disabled: true # left\n  name: alice\n", enabled,
			"users:\n- disabled: false # left\n  name: alice\n",
		},
		"an entry of one line without a \\n": {
			"users:\n- name: alice", disabled, "users:\n- name: alice\n  disabled: true\n",
		},
		"roles in brackets": {
			"users:\n- name: \"alice\"\n  roles: [admin, \"a, b\"] # c\n  password_hash: x\n", roles(
				"dev", "ops",
			),
			"users:\n- name: \"alice\"\n  roles: [\"dev\", \"ops\"] # c\n  password_hash: x\n",
		},
		"another spelling of the name": {
			"users:\n- name: Alice\n", disabled, "users:\n- name: Alice\n  disabled: true\n",
		},
		"no roles any more": {
			"users:\n- {name: alice, roles: [admin]}\n", roles(), "users:\n- {name: alice, roles: []}\n",
		},
		"the first roles": {
			"users:\n- name: alice\n  password_hash: x\n", roles("dev"),
			"users:\n- name: alice\n  roles: [\"dev\"]\n  password_hash: x\n",
		},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "users.yaml")
			write(t, path, row.before)
			if _, err := changeUser(path, "alice", row.change); err != nil {
				t.Fatal(err)
			}
			if got := read(t, path); got != row.after {
				t.Errorf("expected\n%s\ngot\n%s", row.after, got)
			}
		})
	}
}

func TestAUsersFieldThatCannotBeSetSafelyIsLeftAlone(t *testing.T) {
	for name, row := range map[string]struct{ before, want string }{
		"no such user":          {"users:\n- name: bob\n  roles: [a]\n", `expected a user "alice"`},
		"no file's worth":       {"users: []\n", `expected a user "alice"`},
		"roles on lines":        {"users:\n- name: alice\n  roles:\n  - admin\n", "by hand"},
		"roles over two lines":  {"users:\n- name: alice\n  roles: [admin,\n    ops]\n", "by hand"},
		"braces over two lines": {"users:\n- {name: alice,\n   tenant: x}\n", "by hand"},
		"roles by an alias": {
			"users:\n- name: bob\n  roles: &r [a]\n- name: alice\n  roles: *r\n", "by hand",
		},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "users.yaml")
			write(t, path, row.before)
			_, err := changeUser(path, "alice", userFields{Roles: []string{"dev"}}.with("roles"))
			if err == nil || !strings.Contains(err.Error(), row.want) {
				t.Errorf("expected %q, got: %v", row.want, err)
			}
			if got := read(t, path); got != row.before {
				t.Errorf("the file was changed:\n%s", got)
			}
		})
	}
	missing := filepath.Join(t.TempDir(), "users.yaml")
	if _, err := changeUser(missing, "alice", userFields{}.with("disabled")); err == nil {
		t.Error("a file that is not there was changed")
	}
}

// TestRolesAreTakenAwayOnlyWhenThatIsSaid: a name without a role is no order to take every role
// away.
func TestRolesAreTakenAwayOnlyWhenThatIsSaid(t *testing.T) {
	path := filepath.Join(t.TempDir(), "users.yaml")
	const before = "users:\n- {name: ben, roles: [admin]}\n"
	const after = "users:\n- {name: ben, roles: []}\n"
	for _, row := range []struct {
		args []string
		want string // of the error
	}{
		{[]string{"ben"}, "--none"},
		{[]string{"ben", "dev", "--none"}, "either roles or --none"},
		{[]string{"--none"}, "the name of a user"},
		{[]string{"ben", "--none"}, ""},
	} {
		write(t, path, before)
		_, _, err := sallyport("", append([]string{"users", "roles", "--file", path}, row.args...)...)
		want := before
		if row.want == "" {
			want = after
		}
		if (row.want == "") != (err == nil) || err != nil && !strings.Contains(err.Error(), row.want) ||
			read(t, path) != want {
			t.Errorf("%v: error %v, expected %q; the file:\n%s", row.args, err, row.want, read(t, path))
		}
	}
}
