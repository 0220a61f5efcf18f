package revocation

import (
	"cmp"
	"slices"
	"time"
)

// Line is what another process says of itself, as one reading of Redis has it.
type Line struct {
	Name     string
	Instance string // differs between two lives of one process
	Counter  uint64
	Position Position
	OnLog    bool // Position lies on the log as it was when the line was read
	Left     bool // its last word: it answers nobody any more
	Shared   bool // it says that another process writes this line, too
}

// Lines watches other processes' lines. A line's age is the time since this observer last saw
// its counter move, by the observer's own monotonic clock: no other clock matters.
type Lines struct{ known map[string]observation }

type observation struct {
	instance string
	counter  uint64
	moved    time.Duration // when the counter was last seen to move
	gone     bool          // not in the newest reading
	former   string        // the instance before this one
	back     bool          // an instance has come back after another: two are at work
	backAt   time.Duration // when that last happened
	left     bool          // the instance has said that it answers nobody any more
}

// rememberGone is how long a line is remembered that readings do not show any more: longer than
// anybody asks for. maxGone is how many are, those that moved last: whoever may write a line can
// give it another name before each reading.
const (
	rememberGone = 2 * time.Hour
	maxGone      = 2048
)

// Observe takes a reading of all lines. A line seen for the first time counts as moved: it may be
// alive. One that is not there any more is remembered and grows old: what empties Redis does not
// end the processes whose lines were in it.
func (l *Lines) Observe(lines []Line, now Instant) {
	seen := make(map[string]observation, len(lines))
	for _, line := range lines {
		s, ok := l.known[line.Name]
		if !ok || s.instance != line.Instance || s.counter != line.Counter {
			// A last word counts only from the instance that was seen at work under this name: of
			// another one, nobody knows whether it is the last that works under it.
			left := line.Left && ok && s.instance == line.Instance
			s = s.next(&line, now)
			s.left = left
		}
		s.gone = false
		seen[line.Name] = s
	}
	// A process that runs on without its line must still hold up a logout that waits for it (S1).
	var gone []string
	for name, s := range l.known {
		if _, there := seen[name]; !there && now.Mono-s.moved <= rememberGone {
			s.gone = true
			seen[name] = s
			gone = append(gone, name)
		}
	}
	if len(gone) > maxGone {
		slices.SortFunc(gone,
			func(a, b string) int { return cmp.Compare(seen[b].moved, seen[a].moved) })
		for _, name := range gone[maxGone:] {
			delete(seen, name)
		}
	}
	l.known = seen
}

// next returns the observation of a line that has moved.
func (s observation) next(line *Line, now Instant) observation {
	n := observation{
		instance: line.Instance, counter: line.Counter, moved: now.Mono, former: s.former,
		back: s.back, backAt: s.backAt,
	}
	if line.Instance == s.instance {
		return n
	}
	// A restart brings an instance that was never there. One that comes back after another was
	// there all the time: two processes write the line in turn.
	if n.former = s.instance; line.Instance == s.former && s.former != "" {
		n.back, n.backAt = true, now.Mono
	}
	return n
}

// Shared reports whether more than one process writes a line: its writer says so, or two lives of
// it have taken turns within the time given.
func (l *Lines) Shared(line *Line, within time.Duration, now Instant) bool {
	s := l.known[line.Name]
	return line.Shared || s.back && now.Mono-s.backAt <= within
}

// absent returns the lines that the newest reading did not show, and that have moved within age.
func (l *Lines) absent(age time.Duration, now Instant) []string {
	var names []string
	for name, s := range l.known {
		if s.gone && !s.left && now.Mono-s.moved <= age {
			names = append(names, name)
		}
	}
	return names
}

// Age returns how long ago a line was last seen to move, and whether the line is known.
func (l *Lines) Age(name string, now Instant) (time.Duration, bool) {
	s, ok := l.known[name]
	return now.Mono - s.moved, ok
}

// Holder is whether another issuer holds an entry.
type Holder int

// The answers to "is there a second holder?".
const (
	HolderWaited Holder = iota // an issuer is alive and has not applied it yet
	HolderFound                // an issuer has applied it
	HolderNone                 // no other issuer's line has moved within settle: go alone
)

// SecondHolder judges a reading of the issuers' lines: whether an issuer other than self has
// applied the log up to at, which the same reading found on the log.
func (l *Lines) SecondHolder(lines []Line, self string, at Position, settle time.Duration,
	now Instant) Holder {
	answer := HolderNone
	for _, line := range lines {
		if line.Name == self {
			continue
		}
		// However old its line is: an issuer that has applied the entry keeps it while it lives, and
		// appends it again if the log loses it.
		if line.Covers(at) {
			return HolderFound
		}
		if age, ok := l.Age(line.Name, now); ok && age <= settle {
			answer = HolderWaited
		}
	}
	// An issuer whose line Redis has lost is alive all the same. To go alone then would make its
	// acknowledgement hang on one process.
	for _, name := range l.absent(settle, now) {
		if name != self {
			answer = HolderWaited
		}
	}
	return answer
}

// Covers reports whether the line's process has applied the log up to at, a position that lies on
// the log as it was when the line was read: places alone say nothing once a log has gone back and
// grown again.
func (line *Line) Covers(at Position) bool {
	return line.OnLog && line.Position.Epoch == at.Epoch && line.Position.Seq >= at.Seq
}

// HasLeft reports whether the process behind a line has said that it answers nobody any more.
func (l *Lines) HasLeft(name string) bool { return l.known[name].left }

// Applied counts the live lines that cover at, and names the others: a line leaves the count only
// when it is older than oldest, or its process has left. onLog is whether the same reading had at
// on the log; if not, nobody has applied it.
func (l *Lines) Applied(lines []Line, at Position, onLog bool, oldest time.Duration,
	now Instant) (applied, total int, behind []string) {
	for _, line := range lines {
		if age, ok := l.Age(line.Name, now); !ok || age > oldest || l.HasLeft(line.Name) {
			continue
		}
		total++
		// What one of the processes that share a line has applied, another need not have.
		if onLog && line.Covers(at) && !l.Shared(&line, oldest, now) {
			applied++
		} else {
			behind = append(behind, line.Name)
		}
	}
	// A line that the reading did not show is behind: its process may still answer.
	absent := l.absent(oldest, now)
	behind = append(behind, absent...)
	slices.Sort(behind)
	return applied, total + len(absent), behind
}

// Older returns the lines that are there and older than age, sorted.
func (l *Lines) Older(age time.Duration, now Instant) []string {
	var names []string
	for name, s := range l.known {
		if !s.gone && now.Mono-s.moved > age {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}
