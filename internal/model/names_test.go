//go:build model

package model

import "fmt"

// The kinds of steps.
const (
	stTick stepKind = iota
	stBeat
	stAnswer
	stRead
	stMend
	stMended
	stReadOnly
	stDrop
	stRequest
	stMark
	stBegin
	stAppend
	stLand
	stConfirm
	stHolder
	stFinish
	stDoomed
	stCatchUp
	stJoin
	stContinue
	stResume
	stStart
	stCrash
	stStop
	stCut
	stFlush
	stTrim
	stHeadDeleted
	stPause
	stRestart
	stRestartEmpty
	stRestartOld
	stFailover
	stDeposed
	stSplit
	stCutOff
	stCutBefore
	stAges
)

func name(n int8) string {
	if n == 0 {
		return "the gate"
	}
	return fmt.Sprintf("issuer %d", n)
}

func ok(b int8) string {
	if b != 0 {
		return "stored"
	}
	return "refused"
}

func outcomesText(b int8) string {
	out := ""
	for i, s := range [...]string{": resync", ": copy complete", ": counts", ": stalled"} {
		if b>>i&1 == 1 {
			out += s
		}
	}
	return out
}

func (t step) String() string {
	switch t.kind {
	case stTick:
		return "-- a heartbeat's time passes --"
	case stAges:
		return "-- a token's life passes --"
	case stBeat:
		return fmt.Sprintf("%s: heartbeat to node %d", name(t.n), t.x)
	case stAnswer:
		return fmt.Sprintf("%s: heartbeat answered by node %d%s", name(t.n), t.x, outcomesText(t.y))
	case stRead:
		return fmt.Sprintf("%s: reads from node %d%s", name(t.n), t.x, outcomesText(t.y))
	case stMend:
		return fmt.Sprintf("%s: appends again what is missing, to node %d", name(t.n), t.x)
	case stMended:
		return fmt.Sprintf("%s: appending again answered by node %d: %s", name(t.n), t.x, ok(t.y))
	case stReadOnly:
		return fmt.Sprintf("%s: READONLY on its %s connection to node %d", name(t.n),
			purposeNames[t.x], t.y)
	case stDrop:
		return fmt.Sprintf("%s: its %s connection to node %d breaks at last", name(t.n),
			purposeNames[t.x], t.y)
	case stRequest:
		return fmt.Sprintf("request %d: end session %d, at %s", t.x, t.y, name(t.n))
	case stMark, stBegin, stHolder, stFinish:
		what := map[stepKind]string{
			stMark: "marks the session as ending", stBegin: "puts the entry into its own set",
			stHolder: "looks for a second holder", stFinish: "marks the session as ended",
		}[t.kind]
		return fmt.Sprintf("request %d: %s %s", t.x, name(t.n), what)
	case stAppend, stConfirm:
		what := map[stepKind]string{stAppend: "appends", stConfirm: "confirms"}[t.kind]
		return fmt.Sprintf("request %d: %s %s the entry, on node %d", t.x, name(t.n), what, t.y)
	case stLand:
		return fmt.Sprintf("request %d: %s gets the answer: %s", t.x, name(t.n), ok(t.y))
	}
	return t.event()
}

func (t step) event() string {
	switch t.kind {
	case stDoomed:
		return fmt.Sprintf(
			"FAULT: node %d gets nothing from its primary any more, and is about to take its place",
			t.n)
	case stCatchUp:
		return fmt.Sprintf("node %d catches up", t.n)
	case stJoin:
		return fmt.Sprintf("node %d becomes a replica of the primary", t.n)
	case stContinue:
		return fmt.Sprintf("node %d goes on", t.n)
	case stResume:
		return fmt.Sprintf("%s goes on", name(t.n))
	case stStart:
		return fmt.Sprintf("%s starts", name(t.n))
	case stCrash:
		return fmt.Sprintf("FAULT: %s dies", name(t.n))
	case stCutBefore:
		return fmt.Sprintf(
			"FAULT: %s: its %s connection to node %d is cut before what it sent arrived",
			name(t.n), purposeNames[t.x], t.y)
	case stStop:
		if t.x == 1 {
			return fmt.Sprintf("FAULT: %s is stopped while its heartbeat is under way", name(t.n))
		}
		return fmt.Sprintf("FAULT: %s is stopped", name(t.n))
	case stCut:
		return fmt.Sprintf("FAULT: %s: its %s connection to node %d is cut", name(t.n),
			purposeNames[t.x], t.y)
	case stFlush:
		return "FAULT: FLUSHALL"
	case stTrim:
		return fmt.Sprintf("FAULT: the %d oldest entries are trimmed", t.x)
	case stHeadDeleted:
		return "FAULT: the head is deleted"
	case stPause:
		return fmt.Sprintf("FAULT: node %d is stopped", t.n)
	case stRestart:
		return fmt.Sprintf("FAULT: node %d restarts", t.n)
	case stRestartEmpty:
		return fmt.Sprintf("FAULT: node %d restarts empty", t.n)
	case stRestartOld:
		return fmt.Sprintf("FAULT: node %d restarts with an old disk", t.n)
	case stFailover:
		return fmt.Sprintf("the primary dies, node %d takes its place", t.n)
	case stDeposed:
		return fmt.Sprintf("node %d takes the primary's place, which answers on", t.n)
	case stSplit:
		return fmt.Sprintf(
			"node %d takes the primary's place, which answers on and keeps its other replica",
			t.n)
	case stCutOff:
		return fmt.Sprintf("FAULT: node %d is cut off from its primary", t.n)
	}
	return fmt.Sprintf("step %d", t.kind)
}
