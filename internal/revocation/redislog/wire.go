package redislog

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/sallyport/sallyport/internal/revocation"
)

// line is what a process says of itself: epoch, seq, chain, counter, instance, then details as
// JSON. The scripts read its first three words. An issuer's is a field of its own in a hash; a
// gate's is the value of a key with a number.
type line struct {
	revocation.Line
	details details
}

type details struct {
	Version     string `json:"version"`
	StalenessMS int64  `json:"staleness_ms"`
	KeySetAgeMS int64  `json:"key_set_age_ms,omitempty"`
	Ready       bool   `json:"ready"`
	MaxMS       int64  `json:"max_staleness_ms,omitempty"` // the setting
	Left        bool   `json:"left,omitempty"`             // its last word
	Name        string `json:"name,omitempty"`             // a gate's
	// a gate's: another process has written this line as its own
	Shared bool `json:"shared,omitempty"`
}

// maxLine bounds a line, in bytes: a gate writes its own, and a gate may be in the wrong hands.
const maxLine = 2048

// lineLife is how long a gate's line stays in Redis after its last heartbeat.
const lineLife = goneAfter

// parseGateLine reads the gates' line of a number. Which process it is of it says itself: the
// number keeps apart those that say the same.
func parseGateLine(n int, text string, onLog bool) line {
	l := parseLine("", text, onLog)
	name := l.details.Name
	if checkName(name) != nil {
		name = fmt.Sprintf("line %d", n)
	}
	l.Name, l.Shared = fmt.Sprintf("%s#%d", name, n), l.details.Shared
	return l
}

func formatLine(p revocation.Position, counter uint64, instance string, d details) string {
	tail, err := json.Marshal(d)
	if err != nil {
		tail = []byte("{}")
	}
	epoch, chain := p.Epoch.String(), p.Chain.String()
	if p.Seq == 0 {
		epoch, chain = "0", "0"
	}
	return fmt.Sprintf("%s %d %s %d %s %s", epoch, p.Seq, chain, counter, instance, tail)
}

// parseLine reads a line; whatever does not have its form is the line of a process that has applied
// nothing.
func parseLine(name, text string, onLog bool) line {
	l := line{Line: revocation.Line{Name: name}}
	words := strings.SplitN(text, " ", 6)
	if len(text) > maxLine || len(words) != 6 {
		return l
	}
	counter, err := strconv.ParseUint(words[3], 10, 64)
	if err != nil {
		return l
	}
	l.Counter, l.Instance = counter, words[4]
	if err := json.Unmarshal([]byte(words[5]), &l.details); err != nil {
		l.details = details{}
	}
	l.Left = l.details.Left
	if p, err := parsePosition(words[0], words[1], words[2]); err == nil {
		l.Position, l.OnLog = p, onLog
	}
	return l
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
	parts, err := list(v, nil, 2)
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
