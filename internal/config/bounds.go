package config

import (
	"bytes"
	"fmt"
	"unicode/utf8"

	"github.com/goccy/go-yaml/token"
)

// The YAML library spends memory on every token, recursion on every level and, for the keys of one
// mapping, time that grows with the square of their number. These bounds keep all three small; no
// settings come near them.
const (
	maxDepth  = 32        // levels of mappings and lists, in a file and in a settings struct
	maxMarks  = 512 << 10 // characters that can begin a token, and lines
	maxTokens = 400_000
	maxKeys   = 2048 // keys of one mapping
)

// checkSize refuses a file that would take the library long to parse.
func checkSize(b []byte) *Problem {
	marks := bytes.Count(b, []byte("\n"))
	for _, c := range []byte("[]{},:-?\"'#&*!|>") {
		marks += bytes.Count(b, []byte{c})
	}
	if marks > maxMarks {
		return &Problem{
			Err: fmt.Errorf("expected at most %d lines and YAML marks, got %d", maxMarks, marks),
		}
	}
	return nil
}

// checkBytes refuses what is not text: no editor shows it, so no reviewer sees it.
func checkBytes(b []byte) *Problem {
	line, start := 1, 0
	for i := 0; i < len(b); {
		r, n := utf8.DecodeRune(b[i:])
		if r == utf8.RuneError && n == 1 || control(r) ||
			r == '\r' && !bytes.HasPrefix(b[i+1:], []byte("\n")) {
			column := utf8.RuneCount(b[start:i]) + 1 // editors count characters, not bytes
			return &Problem{
				Line: line, Column: column,
				Err: fmt.Errorf("expected UTF-8 text, got the byte 0x%02x", b[i]),
			}
		}
		i += n
		if r == '\n' {
			line, start = line+1, i
		}
	}
	return nil
}

// control reports whether r is a control character that has no place in text.
func control(r rune) bool {
	return r < ' ' && r != '\n' && r != '\r' && r != '\t' || r >= 0x7f && r < 0xa0
}

// bounds checks tokens before the parser, which recurses, sees them.
type bounds struct {
	flow   int // open brackets
	dashes int // on this line
	line   int
	blocks []block // the block mappings we are in, outermost first
}

type block struct{ column, keys int }

// checkTokens refuses what configuration does not need and what would let a small file grow large
// or deep.
func checkTokens(tokens token.Tokens) *Problem {
	// The number first: what comes after it takes time for each of them.
	if len(tokens) > maxTokens {
		return problemAt(tokens[maxTokens],
			fmt.Sprintf("expected at most %d words and marks, got more", maxTokens))
	}
	var b bounds
	for _, t := range tokens {
		if message := unused(t.Type); message != "" {
			return problemAt(t, message)
		}
		if err := b.next(t); err != nil {
			return problemAt(t, err.Error())
		}
	}
	return nil
}

// unused returns what to write instead of a part of YAML that no settings need; "" for others.
func unused(t token.Type) string {
	switch t {
	case token.AnchorType, token.AliasType, token.MergeKeyType:
		return "anchors, aliases and merge keys are not used here: write the value again, and what" +
			" begins with * or & in quotes if it is meant"
	case token.TagType, token.DirectiveType:
		return "tags and directives are not used here: leave it out"
	case token.MappingKeyType:
		return "keys marked by ? are not used here: write key: value"
	}
	return ""
}

// next notes a token, and refuses it where it goes too deep or adds a key too many.
func (b *bounds) next(t *token.Token) error {
	// "- - - x" nests as deep as it has dashes, all of them in one line.
	if t.Position.Line != b.line {
		b.line, b.dashes = t.Position.Line, 0
	}
	switch t.Type {
	case token.SequenceStartType, token.MappingStartType:
		b.flow++
	case token.SequenceEndType, token.MappingEndType:
		b.flow--
	case token.SequenceEntryType:
		b.dashes++
		b.leave(t.Position.Column)
	case token.MappingValueType:
		if b.flow <= 0 && t.Prev != nil {
			b.key(t.Prev.Position.Column)
		}
	}
	if b.flow > maxDepth || b.dashes > maxDepth || len(b.blocks) > maxDepth {
		return errDepth
	}
	if n := len(b.blocks); n > 0 && b.blocks[n-1].keys > maxKeys {
		return fmt.Errorf("expected at most %d keys in a mapping, got more", maxKeys)
	}
	return nil
}

var errDepth = fmt.Errorf("expected at most %d levels of nesting, got more", maxDepth)

// leave ends the mappings that are indented deeper than column.
func (b *bounds) leave(column int) {
	for len(b.blocks) > 0 && b.blocks[len(b.blocks)-1].column > column {
		b.blocks = b.blocks[:len(b.blocks)-1]
	}
}

// key counts a key that begins at column.
func (b *bounds) key(column int) {
	b.leave(column)
	if n := len(b.blocks); n == 0 || b.blocks[n-1].column < column {
		b.blocks = append(b.blocks, block{column: column})
	}
	b.blocks[len(b.blocks)-1].keys++
}
