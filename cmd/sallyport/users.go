package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"

	"github.com/sallyport/sallyport/internal/credential"
	"github.com/sallyport/sallyport/internal/ownfile"
)

// usersFile is a users file as a list of lines: what is not touched stays as it was, byte for byte.
type usersFile struct {
	path  string
	lines []string
}

// setPassword sets a user's hash in a users file, or adds the user, and says which of the two. The
// file is replaced as a whole, so that an issuer never reads half of it.
func setPassword(path, name, hash string, roles []string) (done string, err error) {
	unlock, err := lockUsersFile(path)
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, unlock()) }()
	f, err := readUsersFile(path)
	// A file that is not there is made.
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return "", err
	}
	users, err := f.list()
	if err != nil {
		return "", err
	}
	entry, err := f.find(users, name)
	if err != nil {
		return "", err
	}
	if entry == nil {
		done, err = "added user "+name, f.add(users, name, hash, roles)
	} else {
		if len(roles) > 0 {
			return "", fmt.Errorf(
				"%s: %s is there already: change the roles in the file, by sallyport users roles",
				f.path, name)
		}
		done, err = "changed the password of "+name, f.set(entry, hash)
	}
	// The lines were changed as text: what a parser makes of them is to be what was meant, or the
	// file stays as it was.
	if err == nil {
		err = f.check(name, hash)
	}
	if err == nil {
		err = f.write()
	}
	return done + " in " + f.path, err
}

// lockUsersFile keeps other commands, and issuers that replace old hashes, from changing the file
// meanwhile.
func lockUsersFile(path string) (unlock func() error, err error) {
	if real, err := filepath.EvalSymlinks(path); err == nil {
		path = real
	}
	unlock, err = ownfile.Lock(path, true)
	if err != nil {
		return nil, fmt.Errorf("locking the folder of %s: %w", path, err)
	}
	return unlock, nil
}

// readUsersFile reads a file. One that is not there is an empty one, and an error.
func readUsersFile(path string) (*usersFile, error) {
	if real, err := filepath.EvalSymlinks(path); err == nil {
		path = real // the file is replaced, not the link to it
	}
	content, err := os.ReadFile(path)
	return &usersFile{path: path, lines: strings.SplitAfter(string(content), "\n")}, err
}

// list returns the file's list of users; nil when it has none.
func (f *usersFile) list() (*ast.SequenceNode, error) {
	text := strings.Join(f.lines, "")
	if strings.TrimSpace(text) == "" {
		return nil, nil
	}
	file, err := parser.ParseBytes([]byte(text), 0)
	if err != nil {
		return nil, fmt.Errorf("%s: %s", f.path, withoutSource(err))
	}
	if len(file.Docs) != 1 || file.Docs[0].Body == nil {
		return nil, nil
	}
	value, ok := valueOf(file.Docs[0].Body, "users")
	if !ok {
		return nil, fmt.Errorf("%s: expected a list named users", f.path)
	}
	switch users := value.(type) {
	case *ast.SequenceNode:
		if users.IsFlowStyle && len(users.Values) > 0 {
			return nil, fmt.Errorf(
				"%s:%d: expected one line for each \"- name: ...\", got a list in [ ]", f.path,
				users.Start.Position.Line)
		}
		return users, nil
	case *ast.NullNode:
		return nil, nil
	}
	return nil, fmt.Errorf("%s: expected users to be a list", f.path)
}

// find returns the entry of a user.
func (f *usersFile) find(users *ast.SequenceNode, name string) (ast.Node, error) {
	if users == nil {
		return nil, nil
	}
	for _, entry := range users.Values {
		value, ok := valueOf(entry, "name")
		if !ok {
			return nil, fmt.Errorf("%s:%d: expected a user with a name", f.path,
				entry.GetToken().Position.Line)
		}
		if s, ok := value.(ast.ScalarNode); ok && sameUser(fmt.Sprint(s.GetValue()), name) {
			return entry, nil
		}
	}
	return nil, nil
}

// sameUser reports whether two names are one user's to an issuer.
func sameUser(a, b string) bool {
	first, err := credential.Normalize(a)
	if err != nil {
		return a == b
	}
	second, err := credential.Normalize(b)
	return err == nil && first == second
}

// valueOf returns the value of a key in a mapping.
func valueOf(node ast.Node, key string) (ast.Node, bool) {
	var pairs []*ast.MappingValueNode
	switch n := node.(type) {
	case *ast.MappingNode:
		pairs = n.Values
	case *ast.MappingValueNode:
		pairs = []*ast.MappingValueNode{n}
	}
	i := slices.IndexFunc(pairs,
		func(p *ast.MappingValueNode) bool { return p.Key.GetToken().Value == key })
	if i < 0 {
		return nil, false
	}
	return pairs[i].Value, true
}

// set replaces the hash of an entry.
func (f *usersFile) set(entry ast.Node, hash string) error {
	value, ok := valueOf(entry, "password_hash")
	if !ok {
		return fmt.Errorf("%s:%d: the user has no password_hash to replace", f.path,
			entry.GetToken().Position.Line)
	}
	// Replaced in the line, so that blanks and comments around it stay as they are. A value that the
	// parser has in another form than the line (folded, or with an anchor) is left alone.
	at := value.GetToken()
	line, old := f.lines[at.Position.Line-1], strings.TrimSpace(at.Origin)
	column := byteOffset(line, at.Position.Column)
	if old == "" || !strings.HasPrefix(line[column:], old) {
		return fmt.Errorf("%s:%d: expected password_hash and its value on one line", f.path,
			at.Position.Line)
	}
	f.lines[at.Position.Line-1] = line[:column] + strconv.Quote(hash) + line[column+len(old):]
	return nil
}

// byteOffset returns where a column begins, counted in characters from 1.
func byteOffset(line string, column int) int {
	for i := range line {
		if column--; column == 0 {
			return i
		}
	}
	return len(line)
}

// add appends a user to the list.
func (f *usersFile) add(users *ast.SequenceNode, name, hash string, roles []string) error {
	if last := len(f.lines) - 1; f.lines[last] != "" {
		f.lines[last] += "\n"
	}
	indent := ""
	switch {
	// no users yet, written as "users:", "users: []" or not at all: begin a block list
	case users == nil || len(users.Values) == 0:
		f.lines = slices.DeleteFunc(f.lines,
			func(line string) bool { return strings.HasPrefix(line, "users:") })
		f.lines = append(f.lines, "users:\n")
	default:
		indent = strings.Repeat(" ", users.Start.Position.Column-1)
	}
	quoted := make([]string, len(roles))
	for i, role := range roles {
		quoted[i] = strconv.Quote(role)
	}
	f.lines = append(f.lines,
		indent+"- name: "+strconv.Quote(name)+"\n",
		indent+"  roles: ["+strings.Join(quoted, ", ")+"]\n",
		indent+"  password_hash: "+strconv.Quote(hash)+"\n")
	return nil
}

// check reads the changed file and looks for what should be in it now.
func (f *usersFile) check(name, hash string) error {
	var file struct {
		Users []struct {
			Name         string `yaml:"name"`
			PasswordHash string `yaml:"password_hash"`
		} `yaml:"users"`
	}
	if err := yaml.Unmarshal([]byte(strings.Join(f.lines, "")), &file); err != nil {
		return fmt.Errorf("%s: cannot be changed by this command, change it by hand: %s", f.path,
			withoutSource(err))
	}
	for _, u := range file.Users {
		if sameUser(u.Name, name) && u.PasswordHash == hash {
			return nil
		}
	}
	return fmt.Errorf(
		"%s: cannot be changed by this command; change it by hand: password_hash: %q", f.path,
		hash)
}

// withoutSource leaves out the lines of the file that an error shows: there are hashes in them.
func withoutSource(err error) string { return yaml.FormatError(err, false, false) }

// write replaces the file.
func (f *usersFile) write() error {
	return ownfile.Replace(f.path, ".users-*", func(temporary *os.File) error {
		// The issuer that reads it is seldom who runs this command.
		kept := ownfile.KeepOwner(f.path, temporary)
		if errors.Is(kept, os.ErrNotExist) {
			kept = nil // a new one
		}
		_, err := temporary.WriteString(strings.Join(f.lines, ""))
		return errors.Join(err, kept)
	})
}
