package redislog

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"sync/atomic"

	"github.com/redis/go-redis/v9"
)

// places finds a gate the key for its line: one of max_gates, which are all there are, so that
// whoever has a gate's Redis user can neither fill Redis with more nor hide one from the issuers,
// who read them all. A user that may write fewer keys than these, down to a single one, has its
// gate take one of them.
type places struct {
	*follower
	taken atomic.Int32 // the number of this gate's line; 0: none yet
	// heartbeats in a row that found another gate's line there; of the goroutine that sends them
	others int
	full   atomic.Bool // it was said that there is no free place
}

// lineCommand returns the command that writes this gate's line, nil while it has no place.
func (p *places) lineCommand(line string) []any {
	n := p.taken.Load()
	if n == 0 {
		return nil
	}
	return []any{"SET", p.keys.gate(int(n)), line, "PX", lineLife.Milliseconds()}
}

// checkRival looks at the line that a heartbeat found in place of its own. At the first heartbeat
// it may be that of this gate's earlier run. Any other line of somebody else means that two gates
// write one line, so that whoever counts gates by their lines counts one too few: for a while our
// line says so. The gate goes on answering all the same, since whoever has a gate's Redis user can
// write any line. A rival of another name took this place while Redis had lost our line, or there
// are more gates than places: one of the two must look for another.
func (p *places) checkRival(last string) {
	l := parseLine("", last, false)
	first, same := !p.wrote.Swap(true), l.details.Name == p.o.Name
	if l.Instance == "" || l.Instance == p.id || l.details.Left || first && same {
		p.others = 0
		return
	}
	now := p.instant()
	before := p.rival.Swap(&now)
	if !same {
		p.others++
	} else if before == nil {
		p.log.Error("another process writes this one's line: give each a name of its own", "name",
			p.o.Name)
	}
}

// patience is how many heartbeats in a row find another gate's line before a gate looks for
// another place.
const patience = 3

// find returns the number of this gate's place. It looks for one when there is none yet, or another
// gate has written there for some time.
func (p *places) find(ctx context.Context, conn *redis.Conn) (int, error) {
	now := int(p.taken.Load())
	if now != 0 && p.others < patience {
		return now, nil
	}
	p.others = 0
	all, err := p.look(ctx, conn)
	if err != nil {
		return 0, err
	}
	n, err := p.choose(ctx, conn, all, now)
	if err != nil {
		return 0, err
	}
	p.taken.Store(int32(n))
	return n, nil
}

// spot is a place that this gate's user may write.
type spot struct {
	n    int
	line line
	free bool
}

// look reads all places, and no more of each than a line. Those that this gate's user may not
// read are left out.
func (p *places) look(ctx context.Context, conn *redis.Conn) ([]spot, error) {
	pipe := conn.Pipeline()
	reads := make([]*redis.Cmd, p.cfg.MaxGates)
	for k := range reads {
		reads[k] = pipe.Do(ctx, "GETRANGE", p.keys.gate(k+1), 0, maxLine-1)
	}
	_, failed := pipe.Exec(ctx)
	var all []spot
	for k, read := range reads {
		// Each command tells for itself, unless none was sent: go-redis puts what Redis says to its
		// greeting into none of them.
		if read.Err() == nil && read.Val() == nil && failed != nil {
			return nil, failed
		}
		text, err := read.Text()
		switch {
		case err == nil:
			all = append(all, spot{k + 1, parseGateLine(k+1, text, false), text == ""})
		case isWrongType(err):
			all = append(all, spot{n: k + 1})
		case !isNoPermission(err):
			return nil, err
		}
	}
	if len(all) == 0 {
		return nil, fmt.Errorf(
			"this gate's Redis user may read and write none of %s1 to %s%d: allow it one at least: %w",
			p.keys.gates, p.keys.gates, p.cfg.MaxGates, reads[0].Err())
	}
	return all, nil
}

// choose takes the place where this gate's name stands already, else one that is free, else that
// of a gate that has left; avoid is the place it has and would give up. If there is none, the gate
// shares one with another, and logouts that wait for all gates find one of the two behind.
func (p *places) choose(ctx context.Context, conn *redis.Conn, all []spot, avoid int) (int, error) {
	for _, s := range all {
		if s.n != avoid && s.line.details.Name == p.o.Name {
			return s.n, nil
		}
	}
	for _, s := range all {
		if !s.free {
			continue
		}
		// NX, since a gate that starts at the same moment finds the same places free.
		err := conn.Do(ctx, "SET", p.keys.gate(s.n), p.line(p.position()), "NX",
			"PX", lineLife.Milliseconds()).Err()
		if err == nil {
			return s.n, nil
		}
		if !errors.Is(err, redis.Nil) {
			return 0, err
		}
	}
	for _, s := range all {
		if s.n != avoid && s.line.details.Left {
			return s.n, nil
		}
	}
	if avoid != 0 {
		return avoid, nil
	}
	if len(all) > 1 && !p.full.Swap(true) {
		p.log.Error(
			"all places for gates' lines are taken: this gate shares one with another, and logouts "+
				"that wait for all gates are answered 202: raise revocation.max_gates everywhere, "+
				"and the keys a gate's Redis user may write",
			"max_gates", p.cfg.MaxGates)
	}
	// By its name, so that it is the same place after a restart.
	h := fnv.New32a()
	_, _ = h.Write([]byte(p.o.Name)) // never fails
	return all[int(h.Sum32()%uint32(len(all)))].n, nil
}

func isWrongType(err error) bool { return redis.HasErrorPrefix(err, "WRONGTYPE") }

func isNoPermission(err error) bool { return redis.HasErrorPrefix(err, "NOPERM") }
