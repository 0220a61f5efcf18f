package seeded

// Bug is a seeded bug: its number, and a letter where a rule lives in several places and can be broken in each.
type Bug string

// The bugs, each by what it does wrong.
const (
	CountsUnapplied         Bug = "1"   // a heartbeat counts without its head applied
	FreshFromReply          Bug = "2"   // freshness runs from the reply's time
	SeqWithoutChain         Bug = "3a"  // a replica compares its seq without its chain
	LineWithoutChain        Bug = "3b"  // the scripts compare a line's seq without its chain
	ChainWithoutEpoch       Bug = "4"   // the chain is not seeded by the epoch
	SettledAcrossReconnect  Bug = "5"   // settling does not restart on a reconnect
	SettledAcrossEpochs     Bug = "6"   // nor on a new epoch
	HeartbeatErrorIgnored   Bug = "7"   // a heartbeat's error is ignored
	WaitElsewhere           Bug = "8a"  // an append's WAIT goes over another connection
	GateWaitsElsewhere      Bug = "8b"  // so does a gate's heartbeat's
	SessionWaitsElsewhere   Bug = "8c"  // so does that of a session's script
	WaitInMulti             Bug = "9a"  // an append's WAIT is inside MULTI
	GateWaitsInMulti        Bug = "9b"  // so is a gate's heartbeat's
	SessionWaitsInMulti     Bug = "9c"  // so is that of a session's script
	WaitNotCompared         Bug = "10a" // the count an append's WAIT gives is not compared
	BeatWaitNotCompared     Bug = "10b" // nor a heartbeat's
	SessionWaitNotCompared  Bug = "10c" // nor that of a session's script
	NoScriptOverlooked      Bug = "11"  // NOSCRIPT is overlooked while WAIT succeeds
	AppendRetried           Bug = "12a" // the client repeats an append on a new connection
	WaitRetried             Bug = "12b" // the append's WAIT is repeated on a new connection
	CommandRetried          Bug = "12c" // the pooled client repeats commands
	OwnSetLast              Bug = "13"  // the own set is filled only after the acknowledgement
	FlushForgotten          Bug = "14"  // nothing is appended again after FLUSHALL
	ExpiredAppendedAgain    Bug = "15a" // what has expired is appended again
	AppendedWithNewExpiry   Bug = "15b" // or with a new expiry
	HeadNotChecked          Bug = "16"  // appending again does not check the head
	MendingNotRenewed       Bug = "17a" // mending is not renewed
	MendingNotReleased      Bug = "17b" // or never released
	MendingNotRenewedByTime Bug = "17c" // a mark of mending that is there is not moved on
	LoadingIsMending        Bug = "17d" // what a starting issuer has read so far is marked as being mended
	IdleMakesNoHead         Bug = "18"  // an idle issuer creates no head
	FirstNotMoved           Bug = "19"  // a trim does not move first
	ContentWithNothing      Bug = "20a" // the log deleted, its head kept: a loader is content with nothing
	LogNotMissed            Bug = "20b" // so are the scripts
	DroppedOnReload         Bug = "21"  // held entries are dropped on a reload
	GapAccepted             Bug = "22a" // a gap after a trim is taken as nothing new by a reader
	TrimmedIsOnTheLog       Bug = "22b" // and a trimmed place for one on the log
	ReadyBeforeLastPage     Bug = "23"  // ready before the last page
	EndedEarnsAnswer        Bug = "24"  // logout on an ended session answers 200 without an append
	AppendBeforeEnd         Bug = "25"  // the append comes before the end
	ExpAfterMove            Bug = "26"  // exp is computed after the compare-and-set
	SidByIssuedAt           Bug = "27"  // a sid entry is compared with iat
	OwnSetSkipped           Bug = "28"  // refresh skips the issuer's own set
	NotEndedAgain           Bug = "29a" // a session's end is not redone when its entry is appended again
	RecordNotEndedAgain     Bug = "29b" // nor is its record
	EraIgnored              Bug = "30a" // the era of a session is ignored
	SilenceKeepsEra         Bug = "30b" // a long silence begins no new era
	CounterAhead            Bug = "31"  // n above the stored one is accepted
	GenerationNotChecked    Bug = "32"  // the generation is not checked at a session's creation
	WaitBySeq               Bug = "33"  // ?wait goes by seq only
	SilentGateDropped       Bug = "34a" // a silent gate leaves the count too early
	VanishedGateDropped     Bug = "34b" // so does one whose line has vanished
	GateIsSecondHolder      Bug = "35"  // a gate's line counts as the second holder
	TrimByOwnClock          Bug = "36"  // a trim goes by the issuer's clock and without skew
	ClockRevives            Bug = "37"  // a wall clock that steps back revives a token
	SuspendNotCounted       Bug = "38"  // a suspension is not counted as staleness
	BeatByRead              Bug = "39a" // a gate's heartbeat is a read
	IssuerBeatByRead        Bug = "39b" // so is an issuer's
	SnapshotGrants          Bug = "40"  // the snapshot file grants freshness
	SpentForgotten          Bug = "41a" // only the last spent refresh token gives its successor again
	SpentByTheLast          Bug = "41b" // all spent ones are held against the time of the last
)
