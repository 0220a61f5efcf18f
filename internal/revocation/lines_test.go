package revocation_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/sallyport/sallyport/internal/revocation"
)

func moment(d time.Duration) revocation.Instant {
	return revocation.Instant{Mono: d, Wall: time.Unix(at, 0).Add(d)}
}

func lineAt(name string, counter uint64, seq uint64, onLog bool) revocation.Line {
	return revocation.Line{
		Name:     name,
		Instance: "i",
		Counter:  counter,
		OnLog:    onLog,
		Position: revocation.Position{Epoch: revocation.Epoch{1}, Seq: seq},
	}
}

// TestSecondHolder: who else must have applied an entry before it is acknowledged.
func TestSecondHolder(t *testing.T) {
	place := revocation.Position{Epoch: revocation.Epoch{1}, Seq: 5}
	elsewhere := lineAt("b", 2, 9, true)
	elsewhere.Position.Epoch = revocation.Epoch{2}
	for name, c := range map[string]struct {
		line revocation.Line
		age  time.Duration
		want revocation.Holder
	}{
		"has applied it":      {lineAt("b", 2, 5, true), 0, revocation.HolderFound},
		"is past it":          {lineAt("b", 2, 9, true), 0, revocation.HolderFound},
		"is before it":        {lineAt("b", 2, 4, true), 0, revocation.HolderWaited},
		"is on another log":   {lineAt("b", 2, 9, false), 0, revocation.HolderWaited},
		"is in another epoch": {elsewhere, 0, revocation.HolderWaited},
		"is before it, and silent": {
			lineAt("b", 1, 4, true), 1100 * time.Millisecond, revocation.HolderNone,
		},
		"is before it, not yet silent": {
			lineAt("b", 1, 4, true), 900 * time.Millisecond, revocation.HolderWaited,
		},
		"is this issuer itself": {
			lineAt("a", 2, 9, true), 1100 * time.Millisecond, revocation.HolderNone,
		},
		"has vanished, not yet silent": {
			lineAt("a", 2, 9, true), 900 * time.Millisecond, revocation.HolderWaited,
		},
	} {
		var l revocation.Lines
		l.Observe([]revocation.Line{lineAt("b", 1, 1, true)}, moment(0))
		now := moment(c.age)
		l.Observe([]revocation.Line{c.line}, now)
		if got := l.SecondHolder([]revocation.Line{c.line}, "a", place, time.Second, now); got != c.want {
			t.Errorf("%s: %v, want %v", name, got, c.want)
		}
	}
}

// TestALineThatHasVanishedStillCounts: what empties Redis does not end the gates whose lines were
// in it.
func TestALineThatHasVanishedStillCounts(t *testing.T) {
	const oldest = 11 * time.Second
	place := revocation.Position{Epoch: revocation.Epoch{1}, Seq: 5}
	var l revocation.Lines
	l.Observe([]revocation.Line{lineAt("gate", 1, 5, true)}, moment(0))
	l.Observe(nil, moment(time.Second))
	if applied, total, behind := l.Applied(nil, place, true, oldest,
		moment(time.Second)); applied != 0 || total != 1 ||
		len(behind) != 1 {
		t.Errorf("just vanished: %d/%d, behind %v, expected 0/1", applied, total, behind)
	}
	if old := l.Older(500*time.Millisecond, moment(time.Second)); len(old) != 0 {
		t.Errorf("%v are to be removed and are not there", old)
	}
	l.Observe(nil, moment(12*time.Second))
	if _, total, _ := l.Applied(nil, place, true, oldest, moment(12*time.Second)); total != 0 {
		t.Errorf("silent for longer than counts: total %d, expected 0", total)
	}
	back := []revocation.Line{lineAt("gate", 2, 5, true)}
	l.Observe(back, moment(13*time.Second))
	if applied, total, _ := l.Applied(back, place, true, oldest,
		moment(13*time.Second)); applied != 1 ||
		total != 1 {
		t.Errorf("back again: %d/%d, expected 1/1", applied, total)
	}
}

// TestLinesThatChangeTheirNamesAreRememberedWithinBounds: whoever has a gate's Redis user can give
// all lines other names before each reading.
func TestLinesThatChangeTheirNamesAreRememberedWithinBounds(t *testing.T) {
	const readings, places, most = 100, 99, 2048
	place := revocation.Position{Epoch: revocation.Epoch{1}, Seq: 5}
	var l revocation.Lines
	var lines []revocation.Line
	for n := range readings {
		lines = lines[:0]
		for k := range places {
			lines = append(lines, lineAt(fmt.Sprintf("gate-%d#%d", n, k), 1, 5, true))
		}
		l.Observe(lines, moment(time.Duration(n)*time.Millisecond))
	}
	now := moment(readings * time.Millisecond)
	_, total, behind := l.Applied(lines, place, true, time.Hour, now)
	if total > most+places || len(behind) > most {
		t.Errorf(
			"%d lines count and %d are behind after %d readings of %d new names, expected at most %d",
			total, len(behind), readings, places, most)
	}
	if last := fmt.Sprintf("gate-%d#0", readings-2); !slices.Contains(behind, last) {
		t.Errorf("%s, which vanished last, is not among those behind", last)
	}
}

// TestAppliedCount: which gates count, and which are behind.
func TestAppliedCount(t *testing.T) {
	var l revocation.Lines
	place := revocation.Position{Epoch: revocation.Epoch{1}, Seq: 5}
	first := []revocation.Line{lineAt("dead", 1, 9, true), lineAt("restarted", 7, 9, true)}
	l.Observe(first, moment(0))
	restarted := lineAt("restarted", 7, 5, true)
	restarted.Instance = "j"
	now := []revocation.Line{
		lineAt("dead", 1, 9, true),
		restarted,
		lineAt("z-behind", 2, 4, true),
		lineAt("forked", 2, 9, false),
		lineAt("there", 2, 5, true),
	}
	l.Observe(now, moment(12*time.Second))
	applied, total, behind := l.Applied(now, place, true, 11*time.Second, moment(12*time.Second))
	if applied != 2 || total != 4 || fmt.Sprint(behind) != "[forked z-behind]" {
		t.Errorf("%d/%d, behind %v", applied, total, behind)
	}
	applied, total, _ = l.Applied(now, place, false, 11*time.Second, moment(12*time.Second))
	if applied != 0 || total != 4 {
		t.Errorf("of a place that is not on the log: %d/%d", applied, total)
	}
	if gone := l.Older(11*time.Second, moment(12*time.Second)); fmt.Sprint(gone) != "[dead]" {
		t.Errorf("gone: %v", gone)
	}
}

// TestALastWord: a gate that has stopped to answer leaves the count at once, and nobody else does
// by its word: not a gate that was never seen at work, not another life under the same name, not
// one that appears again.
func TestALastWord(t *testing.T) {
	place := revocation.Position{Epoch: revocation.Epoch{1}, Seq: 5}
	at := func(instance string, counter uint64, left bool) []revocation.Line {
		line := lineAt("gate", counter, 4, true)
		line.Instance, line.Left = instance, left
		return []revocation.Line{line}
	}
	for name, c := range map[string]struct {
		readings [][]revocation.Line
		total    int
	}{
		"of the life that was seen": {
			[][]revocation.Line{at("i", 1, false), at("i", 2, true)}, 0,
		},
		"seen twice": {
			[][]revocation.Line{at("i", 1, false), at("i", 2, true), at("i", 2, true)}, 0,
		},
		"and then its line vanishes": {
			[][]revocation.Line{at("i", 1, false), at("i", 2, true), nil}, 0,
		},
		"of one that was never seen": {[][]revocation.Line{at("i", 2, true)}, 1},
		"of one that was never seen, twice": {
			[][]revocation.Line{at("i", 2, true), at("i", 2, true)}, 1,
		},
		"of an earlier life while another is at work": {
			[][]revocation.Line{at("i", 1, false), at("j", 1, false), at("i", 2, true)}, 1,
		},
		"and it goes on": {
			[][]revocation.Line{at("i", 1, false), at("i", 2, true), at("i", 3, false)}, 1,
		},
		"and another life begins": {
			[][]revocation.Line{at("i", 1, false), at("i", 2, true), at("j", 1, false)}, 1,
		},
		"and another life begins and vanishes": {
			[][]revocation.Line{at("i", 1, false), at("i", 2, true), at("j", 1, false), nil}, 1,
		},
	} {
		var l revocation.Lines
		now := moment(0)
		for n, reading := range c.readings {
			now = moment(time.Duration(n) * 250 * time.Millisecond)
			l.Observe(reading, now)
		}
		last := c.readings[len(c.readings)-1]
		applied, total, behind := l.Applied(last, place, true, 11*time.Second, now)
		if applied != 0 || total != c.total || len(behind) != c.total {
			t.Errorf("%s: %d/%d, behind %v, want 0/%d", name, applied, total, behind, c.total)
		}
	}
}
