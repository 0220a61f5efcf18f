//go:build model

package model

import (
	"hash/maphash"

	"github.com/sallyport/sallyport/internal/revocation"
	"github.com/sallyport/sallyport/internal/session"
)

type (
	procID int32
	dataID int32
	posID  int32
)

// state is one state of the whole: everything that what may happen next depends on, and what the
// checks remember.
type state struct {
	procs   [maxProcs]process // the gate first, then the issuers
	nodes   [maxNodes]node
	primary int8 // the one new connections lead to
	// the replica that is about to take its place, and gets nothing from it any more; none: nobody
	due    int8
	disk   dataID // what the primary's old disk holds
	reqs   [maxRequests]request
	faults int8 // still to come
	epochs uint8

	// ticks since its end was acknowledged, plus 1; 0: it was not; oldest once the gate denies it
	acked [maxSessions]uint8
	// sessions whose entry was once on a server that takes writes and min_replicas replicas
	stored uint8
	denied uint8 // sessions the gate has denied since it runs
	broken bool  // a heartbeat of the gate counted that must not
	loaded bool  // the gate has had a complete copy since it runs
	late   bool  // a token's life has passed
}

type status uint8

const (
	running status = iota
	stopped        // SIGSTOP
	down           // dead, to be started again
)

// The purposes of a process's connections.
const (
	heartbeats = iota
	reading
	appends
	purposes
)

var purposeNames = [purposes]string{"heartbeat", "reading", "append"}

// process is what of a process is not in its memory, or changes without it.
type process struct {
	id     procID
	status status
	beaten bool // it has had its heartbeat in this tick
	poked  bool // an issuer is to look whether there is something to append again
	conns  [purposes]int8
	have   [purposes]uint8 // nodes with the write of the call under way

	// Of an issuer: how long ago it last saw the other issuer's line move, and how old the newest
	// heartbeat is.
	peerAge uint8
	recent  uint8 // noLines: there was none
}

const noLines = 3

// node is one Redis server.
type node struct {
	data   dataID
	of     int8 // whose replica it is; none: it takes writes; gone: it is dead
	lag    lag
	paused bool
}

const (
	none = int8(-1)
	gone = int8(-2)
)

type lag uint8

const (
	inStep lag = iota
	doomed     // it gets nothing any more, and is about to take its primary's place
	cutOff     // from its primary, for as long as it likes
)

type request struct {
	phase   phase
	issuer  int8
	session int8
	end     session.End
	at      posID
	rests   bool // until the next tick
	before  bool // the issuer has had no heartbeat since the entry was made
}

type phase uint8

const (
	idle         phase = iota
	marking            // the record is to be marked
	appendDue          // the entry is to be made and appended
	queued             // in the issuer's set; the append is to be sent
	underWay           // the append is sent
	uncertain          // the append failed: it may be found in the log and confirmed
	confirming         // the confirmation is sent
	stored             // the second holder is looked for
	finishing          // the record is to be marked as ended
	acknowledged       // answered with 200
	failed             // answered with 503, or never
)

var hashSeeds = [2]maphash.Seed{maphash.MakeSeed(), maphash.MakeSeed()}

type digest [2]uint64

func digestOf[T comparable](v T) digest {
	return digest{maphash.Comparable(hashSeeds[0], v), maphash.Comparable(hashSeeds[1], v)}
}

func digestBytes(b []byte) digest {
	return digest{maphash.Bytes(hashSeeds[0], b), maphash.Bytes(hashSeeds[1], b)}
}

// model drives the machines. What is equal is kept once and known by its number, and what an event
// makes of it is worked out once.
type model struct {
	limits   Limits
	mutation Mutation
	batches  [2][maxRequests][maxSessions]revocation.Batch // of the requests, early and late

	procs   []*proc
	procIDs map[digest]procID
	datas   []*data
	dataIDs map[digest]dataID
	poss    []revocation.Position
	posIDs  map[revocation.Position]posID

	events map[event]result
	buf    []byte
}

// event is something that happens to one process.
type event struct {
	kind   eventKind
	proc   procID
	data   dataID
	number int32
}

type eventKind uint8

const (
	evPass eventKind = iota
	evConnected
	evBeat
	evBeatFailed
	evAnswered
	evRead
	evBegin
	evAppend
	evMend
	evConfirm
	evLanded
	evAppendFailed
	evLive
	evLocate
	evOlder
	evPlain
	evTell
	evForgetLines
	evLater
)

// result is what an event makes of a process and of the server it spoke to.
type result struct {
	proc    procID
	data    dataID
	at      posID
	ok      bool
	epochs  uint8
	changed bool
	outcome outcomes
}

type outcomes uint8

const (
	resynced outcomes = 1 << iota
	completed
	counted
	stalled
	unfounded // a heartbeat counted that Redis had not answered as it must
)

func newModel(l Limits, mutation Mutation) *model {
	return &model{
		limits: l, mutation: mutation, procIDs: map[digest]procID{}, dataIDs: map[digest]dataID{},
		posIDs: map[revocation.Position]posID{}, events: map[event]result{},
	}
}

func (m *model) proc(p *proc) procID {
	if p.beat == nil {
		p.r.Beat(p.now()) // never sent: forgets what only an answer under way would ask for
	}
	m.buf = p.key(m.buf[:0])
	k := digestBytes(m.buf)
	id, ok := m.procIDs[k]
	if !ok {
		id = procID(len(m.procs))
		m.procs, m.procIDs[k] = append(m.procs, p), id
	}
	return id
}

func (m *model) data(d *data) dataID {
	d.has = 0
	for i := range d.entries {
		for s := range m.limits.Sessions {
			if e := &d.entries[i]; e.Kind == revocation.KindSID && e.Value == sid(s) &&
				e.Expires > d.now() {
				d.has |= 1 << s
			}
		}
	}
	m.buf = d.key(m.buf[:0])
	k := digestBytes(m.buf)
	id, ok := m.dataIDs[k]
	if !ok {
		id = dataID(len(m.datas))
		m.datas, m.dataIDs[k] = append(m.datas, d), id
	}
	return id
}

func (m *model) pos(p revocation.Position) posID {
	id, ok := m.posIDs[p]
	if !ok {
		id = posID(len(m.poss))
		m.poss, m.posIDs[p] = append(m.poss, p), id
	}
	return id
}

// once works an event out unless it has been already.
func (m *model) once(e event, f func() result) result {
	r, ok := m.events[e]
	if !ok {
		r = f()
		m.events[e] = r
	}
	return r
}
