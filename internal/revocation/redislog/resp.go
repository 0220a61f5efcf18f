package redislog

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/sallyport/sallyport/internal/revocation"
)

// errReply means that Redis' answer is not of the form the command has.
var errReply = errors.New("redislog: an answer of Redis has not the expected form")

// list returns the elements of an answer as strings.
func list(v any, atLeast int) ([]string, error) {
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

// headFields are the head's fields in the order parseHead takes them.
var headFields = []any{"epoch", "seq", "chain", "first", "mending", "max_token_lifetime", "era"}

// parseHead reads the head's fields; found is false when any that every head has is missing.
func parseHead(f []string) (h revocation.Head, found bool, err error) {
	if f[0] == "" || f[1] == "" || f[2] == "" || f[3] == "" {
		return h, false, nil
	}
	p, err := parsePosition(f[0], f[1], f[2])
	if err != nil {
		return h, false, err
	}
	h = revocation.Head{Epoch: p.Epoch, Seq: p.Seq, Chain: p.Chain, Era: f[6]}
	if h.First, err = parseSeq(f[3]); err != nil {
		return h, false, err
	}
	if h.Mending, err = millis(f[4]); err != nil {
		return h, false, err
	}
	lifetime, err := millis(f[5])
	h.MaxTokenLifetime = time.Duration(lifetime) * time.Millisecond
	return h, err == nil, err
}

func parsePosition(epoch, seq, chain string) (p revocation.Position, err error) {
	if p.Epoch, err = revocation.ParseEpoch(epoch); err != nil {
		return p, err
	}
	if p.Chain, err = revocation.ParseChain(chain); err != nil {
		return p, err
	}
	p.Seq, err = parseSeq(seq)
	return p, err
}

func parseSeq(s string) (uint64, error) {
	n, err := strconv.ParseUint(s, 10, 53)
	if err != nil || n == 0 {
		return 0, fmt.Errorf("%w: expected a place in the log, got %q", errReply, s)
	}
	return n, nil
}

// millis reads a number of milliseconds; an absent one is 0.
func millis(s string) (int64, error) {
	if s == "" {
		return 0, nil
	}
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil || n < 0 || n > 1<<52 {
		return 0, fmt.Errorf("%w: expected milliseconds, got %q", errReply, s)
	}
	return n, nil
}

// redisTime reads what TIME answers, in unix milliseconds.
func redisTime(v any) (int64, error) {
	parts, err := list(v, 2)
	if err != nil {
		return 0, err
	}
	sec, err := millis(parts[0])
	if err != nil {
		return 0, err
	}
	micro, err := millis(parts[1])
	return sec*1000 + micro/1000, err
}

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
	// No array has more elements than bytes: a length that is made up reserves no memory.
	if kind != '*' || err != nil || n > len(d.rest) {
		return 0, errReply
	}
	return n, nil
}

// bulk reads a string.
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

// entry reads one entry: its id and its fields.
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
