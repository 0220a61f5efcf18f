package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/spf13/cobra"

	"github.com/sallyport/sallyport/internal/adminapi"
)

// usersChange is what the flags of `sallyport users` say.
type usersChange struct {
	file  string
	now   bool
	wait  time.Duration
	admin adminFlags
	order order
}

func newUsers() *cobra.Command {
	c := &usersChange{}
	cmd := &cobra.Command{
		Use:   "users",
		Short: "Disable and enable users, and set their roles, in a users file",
		Long: `Changes one user in a users file; the rest of the file, comments included, stays as it is.
Issuers that read the file end by themselves, within about a second, the sessions and access
tokens of a user who is disabled or loses a role.

With --now this command has an issuer end them and waits for the gates: exit status 0 when
every live gate refuses them, 2 when that is stored and some gate has not applied it yet, 1
on an error; then give the same command again.`,
		Args: cobra.ArbitraryArgs,
		RunE: group,
	}
	f := cmd.PersistentFlags()
	f.StringVar(&c.file, "file", "", "users file to change (required)")
	f.BoolVar(&c.now, "now", false, "have an issuer end the user's sessions, and wait for the gates")
	f.DurationVar(&c.wait, "wait", 2*time.Second,
		"with --now: how long to wait for the gates to have applied it; 0: not at all")
	c.admin.bind(f)
	c.order.bind(f, "user_changed")
	oneUser := argument("the name of a user", 1)
	cmd.AddCommand(
		c.command("disable NAME", "Keep a user out, and end every session of theirs", oneUser,
			func([]string) userFields { return userFields{Disabled: true}.with("disabled") }),
		c.command("enable NAME", "Let a user in again", oneUser,
			func([]string) userFields { return userFields{}.with("disabled") }),
		c.roles(),
	)
	return cmd
}

// roles is a command that expects a role, or to be told that none is meant: who gives a name alone
// mostly wants to see the roles.
func (c *usersChange) roles() *cobra.Command {
	none := false
	cmd := c.command("roles NAME ROLE...", "Set a user's roles to those named",
		argument("the name of a user", 0),
		func(args []string) userFields { return userFields{Roles: args[1:]}.with("roles") })
	cmd.Flags().BoolVar(&none, "none", false, "take every role away")
	cmd.Args = func(cmd *cobra.Command, args []string) error {
		switch {
		case len(args) == 0:
			return argument("the name of a user", 0)(cmd, args)
		case len(args) == 1 && !none:
			return errors.New(
				"expected the roles that the user is to have, or --none to take every role away")
		case len(args) > 1 && none:
			return errors.New("expected either roles or --none")
		}
		return nil
	}
	return cmd
}

func (c *usersChange) command(use, short string, args cobra.PositionalArgs,
	fields func(args []string) userFields) *cobra.Command {
	return &cobra.Command{
		Use: use, Short: short, Args: args,
		RunE: func(cmd *cobra.Command, args []string) error {
			ctx, stop := untilSignal(cmd.Context())
			defer stop()
			return c.run(ctx, cmd.OutOrStdout(), args[0], fields(args))
		},
	}
}

func (c *usersChange) run(ctx context.Context, out io.Writer, name string,
	fields userFields) error {
	if c.file == "" || c.wait < 0 {
		return errors.New("expected --file, and --wait as a time of 0 or more")
	}
	var api *adminClient
	if c.now { // a token that is not there must not be found out after the change
		var err error
		if api, err = c.admin.open(); err != nil {
			return err
		}
		if err := c.order.check(); err != nil {
			return err
		}
	}
	path, err := changeUser(c.file, name, fields)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(out, "%s is now %s in %s\n", printable(name), fields, path)
	if err != nil || api == nil {
		return err
	}
	return endNow(ctx, out, api, name, c.wait, &c.order)
}

// endNow logs a user out everywhere by an issuer's admin API.
func endNow(ctx context.Context, out io.Writer, api *adminClient, name string, wait time.Duration,
	o *order) error {
	var got adminapi.Revoked
	err := api.call(ctx, http.MethodPost, waiting(adminapi.LogoutOf(name), wait),
		adminapi.Order{Reason: o.reason, Actor: o.by()}, &got)
	if err != nil {
		return fmt.Errorf("the file is changed, but the end of the user's sessions is not "+
			"acknowledged, so give the same command again: %w", err)
	}
	_, err = fmt.Fprintf(out, "ended the sessions of %s: %s\n", printable(name), acknowledged(got))
	if err != nil {
		return err
	}
	return everywhere(got)
}

// userFields is one field of a user's entry, by its key.
type userFields struct {
	Name     string   `yaml:"name"`
	Disabled bool     `yaml:"disabled"`
	Roles    []string `yaml:"roles"`

	key string
}

func (u userFields) with(key string) userFields { u.key = key; return u }

// String returns what a user with the field is.
func (u userFields) String() string {
	switch {
	case u.key == "roles":
		return "of the roles " + u.value()
	case u.Disabled:
		return "disabled"
	}
	return "enabled"
}

// value is the field as YAML, on one line.
func (u userFields) value() string {
	if u.key == "disabled" {
		return strconv.FormatBool(u.Disabled)
	}
	quoted := make([]string, len(u.Roles))
	for i, role := range u.Roles {
		quoted[i] = strconv.Quote(role)
	}
	return "[" + strings.Join(quoted, ", ") + "]"
}

// changeUser sets one field of a user in a users file, and returns the file's real path. The file
// is replaced as a whole.
func changeUser(path, name string, fields userFields) (changed string, err error) {
	unlock, err := lockUsersFile(path)
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, unlock()) }()
	f, err := readUsersFile(path)
	if err != nil {
		return "", err
	}
	users, err := f.list()
	if err != nil {
		return "", err
	}
	entry, err := f.find(users, name)
	switch {
	case err != nil:
		return "", err
	case entry == nil:
		return "", fmt.Errorf("%s: expected a user %q, got none of that name", f.path, name)
	}
	if err := f.setField(entry, fields.key, fields.value()); err != nil {
		return "", err
	}
	// As in setPassword: a parser is to find what was meant, or the file stays as it was.
	if err := f.holds(name, fields); err != nil {
		return "", err
	}
	return f.path, f.write()
}

// setField replaces a field's value where it stands on one line, or adds the field.
func (f *usersFile) setField(entry ast.Node, key, text string) error {
	value, ok := valueOf(entry, key)
	if !ok {
		return f.addField(entry, key, text)
	}
	// A value over several lines may have comments in between: that is for a person to change.
	first, last := value.GetToken(), value.GetToken()
	if list, ok := value.(*ast.SequenceNode); ok && list.IsFlowStyle {
		first, last = list.Start, list.End
	} else if _, scalar := value.(ast.ScalarNode); !scalar {
		return f.byHand(first.Position.Line, key, text)
	}
	if first == nil || last == nil || first.Position.Line != last.Position.Line {
		return f.byHand(value.GetToken().Position.Line, key, text)
	}
	at := first.Position.Line - 1
	line := f.lines[at]
	from, end := byteOffset(line, first.Position.Column), byteOffset(line, last.Position.Column)
	written := strings.TrimSpace(last.Origin)
	if written == "" || !strings.HasPrefix(line[end:], written) {
		return f.byHand(at+1, key, text)
	}
	f.lines[at] = line[:from] + text + line[end+len(written):]
	return nil
}

// addField adds a field behind the user's name.
func (f *usersFile) addField(entry ast.Node, key, text string) error {
	name, ok := valueOf(entry, "name")
	at := name.GetToken().Position.Line - 1
	if m, flow := entry.(*ast.MappingNode); ok && flow && m.IsFlowStyle { // {name: alice, ...}
		if m.End == nil || m.End.Position.Line-1 != at {
			return f.byHand(at+1, key, text)
		}
		close := byteOffset(f.lines[at], m.End.Position.Column)
		f.lines[at] = strings.TrimRight(f.lines[at][:close],
			" ") + ", " + key + ": " + text + f.lines[at][close:]
		return nil
	}
	if !strings.HasSuffix(f.lines[at], "\n") {
		f.lines[at] += "\n"
	}
	indent := strings.Repeat(" ", keyColumn(entry)-1)
	f.lines = slices.Insert(f.lines, at+1, indent+key+": "+text+"\n")
	return nil
}

// keyColumn is where the keys of an entry begin, counted from 1.
func keyColumn(entry ast.Node) int {
	if m, ok := entry.(*ast.MappingNode); ok {
		return m.Values[0].Key.GetToken().Position.Column
	}
	return entry.(*ast.MappingValueNode).Key.GetToken().Position.Column
}

func (f *usersFile) byHand(line int, key, text string) error {
	return fmt.Errorf("%s:%d: cannot be changed by this command, change it by hand: %s: %s",
		f.path, line, key, text)
}

// holds reads the changed file and looks for what should be in it now.
func (f *usersFile) holds(name string, want userFields) error {
	var file struct {
		Users []userFields `yaml:"users"`
	}
	if err := yaml.Unmarshal([]byte(strings.Join(f.lines, "")), &file); err != nil {
		return fmt.Errorf("%s: cannot be changed by this command, change it by hand: %s", f.path,
			withoutSource(err))
	}
	for _, u := range file.Users {
		done := want.key == "disabled" && u.Disabled == want.Disabled ||
			want.key == "roles" && slices.Equal(u.Roles, want.Roles)
		if done && sameUser(u.Name, name) {
			return nil
		}
	}
	return fmt.Errorf("%s: cannot be changed by this command, change it by hand: %s: %s", f.path,
		want.key, want.value())
}
