package redislog

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/sallyport/sallyport/internal/revocation"
)

// errReply means that Redis' answer is not of the form the command has.
var errReply = errors.New("redislog: an answer of Redis has not the expected form")

// decoder reads RESP2 from a string. Entries are read without the maps a general client would make:
// a million of them are loaded within seconds.
type decoder struct{ rest string }

// line reads one line with its type byte.
func (d *decoder) line() (kind byte, text string, err error) {
	line, rest, ok := strings.Cut(d.rest, "\r\n")
	if !ok || line == "" {
		return 0, "", errReply
	}
	d.rest = rest
	if line[0] == '-' {
		return 0, "", replyError(line[1:])
	}
	return line[0], line[1:], nil
}

// replyError is an error reply inside a raw answer.
type replyError string

func (e replyError) Error() string { return "redislog: Redis answered " + oneLine(string(e)) }

// array reads an array's length; -1 for nil.
func (d *decoder) array() (int, error) {
	kind, text, err := d.line()
	if err != nil {
		return 0, err
	}
	n, err := strconv.Atoi(text)
	if kind != '*' || err != nil || n > len(d.rest) {
		return 0, errReply
	}
	return n, nil
}

func (d *decoder) bulk() (string, error) {
	kind, text, err := d.line()
	if err != nil {
		return "", err
	}
	n, err := strconv.Atoi(text)
	if kind != '$' || err != nil || n < 0 || len(d.rest) < n+2 {
		return "", errReply
	}
	s := d.rest[:n]
	d.rest = d.rest[n+2:]
	return s, nil
}

// entries reads what XRANGE answers.
func (d *decoder) entries() ([]revocation.Entry, error) {
	n, err := d.array()
	if err != nil || n <= 0 {
		return nil, err
	}
	out := make([]revocation.Entry, 0, n)
	for range n {
		e, err := d.entry()
		if err != nil {
			return nil, err
		}
		out = append(out, e)
	}
	return out, nil
}

// streams reads what XREAD of one stream answers.
func (d *decoder) streams() ([]revocation.Entry, error) {
	n, err := d.array()
	if err != nil || n <= 0 {
		return nil, err
	}
	if pair, err := d.array(); err != nil || pair != 2 || n != 1 {
		return nil, errors.Join(errReply, err)
	}
	if _, err := d.bulk(); err != nil {
		return nil, err
	}
	return d.entries()
}

func (d *decoder) entry() (revocation.Entry, error) {
	if n, err := d.array(); err != nil || n != 2 {
		return revocation.Entry{}, errors.Join(errReply, err)
	}
	id, err := d.bulk()
	if err != nil {
		return revocation.Entry{}, err
	}
	n, err := d.array()
	if err != nil {
		return revocation.Entry{}, err
	}
	return d.fields(id, n)
}

// fields reads an entry's fields. Any but the known two in their order make it an entry of no known
// kind.
func (d *decoder) fields(id string, n int) (revocation.Entry, error) {
	var names, values [2]string
	for i := range max(n, 0) / 2 {
		name, err := d.bulk()
		if err != nil {
			return revocation.Entry{}, err
		}
		value, err := d.bulk()
		if err != nil {
			return revocation.Entry{}, err
		}
		if i < len(names) {
			names[i], values[i] = name, value
		}
	}
	seq, canonical := parseID(id)
	if n != 4 || !canonical || names != [2]string{revocation.BodyField, revocation.ChainField} {
		return revocation.Entry{Seq: seq}, nil
	}
	return revocation.Decode(seq, values[0], values[1]), nil
}

// parseID reads a stream id, which for an entry of ours is <seq>-0.
func parseID(id string) (seq uint64, canonical bool) {
	major, minor, _ := strings.Cut(id, "-")
	seq, err := strconv.ParseUint(major, 10, 64)
	return seq, err == nil && minor == "0"
}

// list reads the strings of a script's answer.
func list(v any, err error, atLeast int) ([]string, error) {
	if err != nil {
		return nil, err
	}
	items, ok := v.([]any)
	if !ok || len(items) < atLeast {
		return nil, errReply
	}
	out := make([]string, len(items))
	for i, item := range items {
		switch x := item.(type) {
		case string:
			out[i] = x
		case int64:
			out[i] = strconv.FormatInt(x, 10)
		case nil:
		default:
			return nil, fmt.Errorf("%w: %T", errReply, item)
		}
	}
	return out, nil
}
