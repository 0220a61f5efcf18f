package config

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/lexer"
	"github.com/goccy/go-yaml/parser"
	"github.com/goccy/go-yaml/token"
)

// kind is what a node of the document is.
type kind uint8

const (
	null kind = iota
	text
	integer
	decimal
	boolean
	mapping
	list
)

func (k kind) String() string {
	return [...]string{
		"nothing", "a string", "a whole number", "a number", "true or false", "a mapping", "a list",
	}[k]
}

// node is one value of the document.
type node struct {
	kind         kind
	text         string // of a scalar, as it is written, without quotes
	line, column int
	entries      []entry // of a mapping, in order, without duplicates
	items        []*node // of a list
}

type entry struct {
	key          string
	line, column int
	value        *node
}

// readDocument reads a file of at most limit bytes, unless its content is given. It returns no node
// if the file could not be read at all.
func readDocument(name string, content []byte, limit int64) (*node, []*Problem) {
	if content == nil {
		var problem *Problem
		if content, problem = readAll(name, limit); problem != nil {
			return nil, []*Problem{problem}
		}
	}
	if int64(len(content)) > limit {
		return nil, []*Problem{
			{File: name, Err: fmt.Errorf("expected at most %d bytes, got more", limit)},
		}
	}
	root, problems := parse(content)
	for _, p := range problems {
		p.File = name
	}
	return root, problems
}

// readAll reads a file, or as much of it as shows that it has more than limit bytes.
func readAll(name string, limit int64) ([]byte, *Problem) {
	f, err := os.Open(name)
	if err != nil {
		return nil, &Problem{Err: fmt.Errorf("config: cannot read the file: %w", err)}
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err != nil {
		return nil, &Problem{Err: fmt.Errorf("config: cannot read the file: %w", err)}
	}
	return b, nil
}

var errYAML = errors.New("expected YAML, got what its reader cannot make out")

// parse reads the subset of YAML that configuration needs. The problems it returns have no file.
func parse(b []byte) (root *node, problems []*Problem) {
	// The YAML library has had panics on odd input; one must not take down a daemon that reloads.
	defer func() {
		if recover() != nil {
			root, problems = nil, []*Problem{{Err: errYAML}}
		}
	}()
	b = bytes.TrimPrefix(b, []byte("\ufeff"))
	body, problem := parseBody(b)
	if problem != nil {
		return nil, []*Problem{problem}
	}
	if body == nil {
		return &node{line: 1, column: 1}, nil
	}
	var c converter
	root = c.convert(body, 0)
	return root, c.problems
}

// parseBody checks the text and has the library parse it; nil for an empty document.
func parseBody(b []byte) (ast.Node, *Problem) {
	// Each check bounds what the next one, and at last the library, has to do.
	if p := checkBytes(b); p != nil {
		return nil, p
	}
	if p := checkSize(b); p != nil {
		return nil, p
	}
	tokens := lexer.Tokenize(string(b))
	if p := checkTokens(tokens); p != nil {
		return nil, p
	}
	// Of duplicates the converter says more than the library: where the first one stands.
	file, err := parser.Parse(tokens, 0, parser.AllowDuplicateMapKey())
	switch {
	case err != nil:
		return nil, syntaxProblem(err)
	case len(file.Docs) == 0:
		return nil, nil
	case len(file.Docs) > 1:
		return nil, problemAt(file.Docs[1].Start, "expected one document, got another after ---")
	}
	return file.Docs[0].Body, nil
}

func problemAt(t *token.Token, message string) *Problem {
	p := &Problem{Err: errors.New(message)}
	if t != nil && t.Position != nil {
		p.Line, p.Column = t.Position.Line, t.Position.Column
	}
	return p
}

// syntaxProblem keeps of the library's error its position and its message, but not the piece of the
// file that it quotes: there may be a secret in it.
func syntaxProblem(err error) *Problem {
	var located yaml.Error
	if !errors.As(err, &located) {
		return &Problem{Err: errYAML}
	}
	message, _, _ := strings.Cut(located.GetMessage(), `"`)
	message = strings.ReplaceAll(strings.TrimRight(message, " :"), "\t", `\t`)
	// Between brackets, and not where they are never closed.
	if at := located.GetToken(); strings.HasSuffix(message, "must be specified") && at != nil &&
		at.Prev != nil && at.Prev.Position.Line == at.Position.Line {
		message += `: write a value that has {, }, [, ], "," or quotes in it in quotes, as "/orders/{id}"`
	}
	return problemAt(located.GetToken(), "expected YAML, got a mistake in it: "+message)
}

// converter turns the library's tree into ours. It notes what is wrong and goes on, so that all of
// it is reported.
type converter struct{ problems []*Problem }

func (c *converter) note(t *token.Token, message string) {
	c.problems = append(c.problems, problemAt(t, message))
}

func (c *converter) convert(n ast.Node, depth int) *node {
	t := n.GetToken()
	out := &node{}
	if t != nil && t.Position != nil {
		out.line, out.column = t.Position.Line, t.Position.Column
	}
	// Within brackets and blocks together it may be deeper than checkTokens, which counts them apart.
	if depth > maxDepth {
		c.note(t, errDepth.Error())
		return out
	}
	switch n := n.(type) {
	case *ast.MappingNode:
		c.mapping(out, n.Values, depth)
	case *ast.MappingValueNode:
		c.mapping(out, []*ast.MappingValueNode{n}, depth)
	case *ast.SequenceNode:
		out.kind = list
		for _, v := range n.Values {
			out.items = append(out.items, c.convert(v, depth+1))
		}
	default:
		c.scalar(out, n)
	}
	return out
}

func (c *converter) scalar(out *node, n ast.Node) {
	switch n := n.(type) {
	case *ast.NullNode:
		return
	case *ast.LiteralNode:
		out.kind, out.text = text, n.Value.Value
		return
	case *ast.StringNode:
		out.kind, out.text = text, n.Value
		return
	}
	out.text = n.GetToken().Value
	switch n.(type) {
	case *ast.IntegerNode:
		out.kind = integer
	case *ast.FloatNode, *ast.InfinityNode, *ast.NanNode:
		out.kind = decimal
	case *ast.BoolNode:
		out.kind = boolean
	default:
		c.note(n.GetToken(), "expected a mapping, a list or a plain value, got something else")
	}
}

func (c *converter) mapping(out *node, values []*ast.MappingValueNode, depth int) {
	out.kind = mapping
	seen := map[string]int{}
	for _, v := range values {
		t := v.Key.GetToken()
		if len(seen) == 0 { // the library has the first colon as the place of a mapping
			out.line, out.column = t.Position.Line, t.Position.Column
		}
		key, ok := v.Key.(*ast.StringNode)
		if !ok {
			c.note(t, "expected a name as the key, got something else: write it in quotes if it is meant")
			continue
		}
		if first, twice := seen[key.Value]; twice {
			c.note(t, fmt.Sprintf("key %s is given twice: first in line %d", quote(key.Value), first))
			continue
		}
		seen[key.Value] = t.Position.Line
		value := c.convert(v.Value, depth+1)
		out.entries = append(out.entries,
			entry{key: key.Value, line: t.Position.Line, column: t.Position.Column, value: value})
	}
}
