package redislog

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/sallyport/sallyport/internal/revocation"
)

// Line is what one process has written of itself on the log, for `sallyport status`.
type Line struct {
	Name    string        `json:"name"`
	Version string        `json:"version"`
	Epoch   string        `json:"epoch"`
	Seq     uint64        `json:"seq"`
	OnLog   bool          `json:"on_log"` // its position lies on the log as it is now
	Age     time.Duration `json:"age"`    // since this issuer last saw it move
	// age is at most max_staleness + settle, and it has not left
	Live      bool          `json:"live"`
	Left      bool          `json:"left"`        // it was stopped, and has said so
	Staleness time.Duration `json:"staleness"`   // as the process itself gave it
	KeySetAge time.Duration `json:"key_set_age"` // as the process itself gave it; 0 when unknown
	Ready     bool          `json:"ready"`
	// MaxStaleness is the process's setting, as it gave it itself; 0 when unknown. All on one log
	// must agree on it.
	MaxStaleness time.Duration `json:"max_staleness"`
	// another process of this name, or for which there was no other place, is at work
	Shared bool `json:"shared"`
}

// line is what a process writes of itself: epoch, seq, chain, counter, instance, then details as
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
	Left        bool   `json:"left,omitempty"`             // it has stopped: its last line
	Name        string `json:"name,omitempty"`             // a gate's
	// a gate's: another process has written this line as its own
	Shared bool `json:"shared,omitempty"`
}

// maxLine bounds a line, in bytes: a gate writes its own, and a gate may be in the wrong hands.
const maxLine = 2048

// lineLife is how long a gate's line stays in Redis after its last heartbeat.
const lineLife = goneAfter

// parseGateLine reads the gates' line of a number. The name in it is the process's own word: the
// number keeps apart lines that have the same.
func parseGateLine(n int, text string, onLog bool) line {
	l := parseLine("", text, onLog)
	name := l.details.Name
	if checkName(name) != nil {
		name = fmt.Sprintf("line %d", n)
	}
	l.Name, l.Shared = fmt.Sprintf("%s#%d", name, n), l.details.Shared
	return l
}

// formatLine writes a line; parseLine reads it.
func formatLine(p revocation.Position, counter uint64, instance string, d details) string {
	tail, err := json.Marshal(d)
	if err != nil {
		tail = []byte("{}")
	}
	epoch, chain := p.Epoch.String(), p.Chain.String()
	if p.Seq == 0 { // no place on any log
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
	// A position that can be read counts, whatever a process of another version adds to it.
	if err := json.Unmarshal([]byte(words[5]), &l.details); err != nil {
		l.details = details{}
	}
	l.Left = l.details.Left
	if p, err := parsePosition(words[0], words[1], words[2]); err == nil {
		l.Position, l.OnLog = p, onLog
	}
	return l
}
