package main

import "github.com/sallyport/sallyport/internal/seeded"

// row is a seeded bug, in the words of the rule it breaks, and the tests that are to catch it, the cheapest first.
type row struct {
	bug      seeded.Bug
	what     string
	catchers []catcher
}

// catcher is a test by its package and name.
type catcher struct{ pkg, test string }

func machines(names ...string) []catcher { return in("internal/revocation", names) }
func log(names ...string) []catcher      { return in("internal/revocation/redislog", names) }
func sessions(names ...string) []catcher { return in("internal/session", names) }
func client(names ...string) []catcher   { return in("internal/redisconn", names) }

func in(pkg string, names []string) (found []catcher) {
	for _, n := range names {
		found = append(found, catcher{pkg, n})
	}
	return found
}

// table is every seeded bug in order.
var table = []row{
	{seeded.CountsUnapplied, "heartbeat counts without its head applied", machines("TestDoesNotCount", "TestCountsOnceItsHeadIsApplied")},
	{seeded.FreshFromReply, "freshness from reply time", machines("TestFreshFromWhenItWasSent")},
	{seeded.SeqWithoutChain, "seq compared without chain: a replica's", machines("TestResyncs", "TestDoesNotCount")},
	{seeded.LineWithoutChain, "seq compared without chain: a line's", log("TestALineIsOnTheLogByItsChain")},
	{seeded.ChainWithoutEpoch, "chain not seeded by epoch", append(machines("TestALoadBeginsInItsEpoch"), log("TestTheChainBeginsWithTheEpoch")...)},
	{seeded.SettledAcrossReconnect, "settle not restarted on reconnect", machines("TestSettlingTakesSettle", "TestDoesNotCount")},
	{seeded.SettledAcrossEpochs, "nor on a new epoch", machines("TestSettlesAnewOnAnotherEpoch")},
	{seeded.HeartbeatErrorIgnored, "heartbeat error ignored", machines("TestDoesNotCount")},
	{seeded.WaitElsewhere, "WAIT on another connection: an append's", log("TestAnAppendHasNoReplicaThatHasNotTakenItIn")},
	{seeded.GateWaitsElsewhere, "WAIT on another connection: a gate's", log("TestAHeartbeatHasNoReplicaThatHasNotTakenItIn/gate")},
	{seeded.SessionWaitsElsewhere, "WAIT on another connection: a session's", sessions("TestNothingIsAnsweredBeforeTheReplicaHasIt")},
	{seeded.WaitInMulti, "WAIT inside MULTI: an append's", log("TestAnAppendHasNoReplicaThatHasNotTakenItIn")},
	{seeded.GateWaitsInMulti, "WAIT inside MULTI: a gate's", log("TestAHeartbeatHasNoReplicaThatHasNotTakenItIn/gate")},
	{seeded.SessionWaitsInMulti, "WAIT inside MULTI: a session's", sessions("TestNothingIsAnsweredBeforeTheReplicaHasIt")},
	{seeded.WaitNotCompared, "WAIT's count not compared: an append's", log("TestAnAppendThatTooFewReplicasHaveIsNotAcknowledged")},
	{seeded.BeatWaitNotCompared, "WAIT's count not compared: a heartbeat's", machines("TestDoesNotCount")},
	{seeded.SessionWaitNotCompared, "WAIT's count not compared: a session's", sessions("TestAWriteThatTooFewReplicasHaveIsNoAnswer", "TestAWriteCountsOnceItsReplicaHasIt")},
	{seeded.NoScriptOverlooked, "NOSCRIPT overlooked while WAIT succeeds", log("TestAnAppendWhoseScriptRedisHasForgottenIsStored")},
	{seeded.AppendRetried, "client retries the append on a new connection", log("TestAnAppendWhoseConnectionIsCutIsAnError")},
	{seeded.WaitRetried, "and WAITs on a new connection", log("TestAnAppendWhoseConnectionIsCutIsAnError")},
	{seeded.CommandRetried, "the pooled client retries", client("TestNoCommandIsSentTwice")},
	{seeded.OwnSetLast, "own set filled only after the ack", machines("TestOwnSetFirst")},
	{seeded.FlushForgotten, "no re-append after FLUSHALL", append(machines("TestWhatIsMissing"), log("TestFaultsOfTheLog/flushed")...)},
	{seeded.ExpiredAppendedAgain, "re-append of expired entries", machines("TestWhatIsMissing")},
	{seeded.AppendedWithNewExpiry, "or with a new expiry", machines("TestWhatIsMissing")},
	{seeded.HeadNotChecked, "re-append without head check", log("TestAppendingAgainIsBoundToItsHead")},
	{seeded.MendingNotRenewed, "mending not renewed: by the issuer", machines("TestMendingIsMarkedUntilTheEntriesAreStored")},
	{seeded.MendingNotReleased, "or never released", machines("TestMendingIsMarkedInTheHeartbeatThatShowsIt")},
	{seeded.MendingNotRenewedByTime, "mending not renewed: by the script", log("TestMendingLastsFromTheLastHeartbeatThatAsksForIt")},
	{seeded.LoadingIsMending, "what is loaded marked as mending", machines("TestAStartingIssuerMarksNothing")},
	{seeded.IdleMakesNoHead, "head not created by an idle issuer", log("TestAnIdleIssuerCreatesTheHead", "TestMissingHeadWithGatesOnly")},
	{seeded.FirstNotMoved, "first not moved by a trim", log("TestATrimMovesFirst", "TestTrimmed")},
	{seeded.ContentWithNothing, "log deleted, head kept, loader content", machines("TestLoadingIsWhole")},
	{seeded.LogNotMissed, "log deleted, head kept, script content", log("TestALogWithoutItsEntriesIsAnotherLog")},
	{seeded.DroppedOnReload, "held entries dropped on reload", append(machines("TestResyncs", "TestDoesNotCount"), log("TestFaultsOfTheLog/flushed")...)},
	{seeded.GapAccepted, "gap after a trim taken as nothing new: read", machines("TestBadReads")},
	{seeded.TrimmedIsOnTheLog, "gap after a trim taken as nothing new: judged", machines("TestResyncs")},
	{seeded.ReadyBeforeLastPage, "ready before the last page", machines("TestNotReadyBeforeTheLastPage")},
	{seeded.EndedEarnsAnswer, "logout on an ended session answers 200 without an append", sessions("TestNothingButTheLogEarnsAnAnswer", "TestEndingAgainIsAnsweredByTheLogAndNotByTheRecord")},
	{seeded.AppendBeforeEnd, "append before end", sessions("TestNoRefreshPassesOnceTheEntryIsOnItsWay")},
	{seeded.ExpAfterMove, "exp computed after the compare-and-set", sessions("TestTheClockIsReadBeforeAnythingElse")},
	{seeded.SidByIssuedAt, "sid entry compared with iat", machines("TestASessionsTokensAreRevokedWheneverTheyWereMade")},
	{seeded.OwnSetSkipped, "refresh skips the issuer's own set", sessions("TestTheIssuersOwnCopyIsEnough")},
	{seeded.NotEndedAgain, "session end not redone on re-append", log("TestReappendedSessionsAreEndedAgain")},
	{seeded.RecordNotEndedAgain, "nor its record", sessions("TestASessionWhoseEntryIsAppendedAgainIsEndedAgain")},
	{seeded.EraIgnored, "era ignored: by refresh", sessions("TestASessionOfAnOlderEraMustLogInAgain")},
	{seeded.SilenceKeepsEra, "era ignored: by a silence", log("TestALongSilenceBeginsANewEra", "TestEra")},
	{seeded.CounterAhead, "n above the stored one accepted", sessions("TestACounterAboveTheStoredOneEndsTheSession")},
	{seeded.GenerationNotChecked, "generation not checked at session creation", sessions("TestALoginThatWasUnderWayDuringALogOutEverywhereBeginsNoSession")},
	{seeded.WaitBySeq, "?wait by seq only", machines("TestAppliedCount", "TestSecondHolder")},
	{seeded.SilentGateDropped, "silent gate dropped from N too early", log("TestAppliedNamesTheGatesBehind")},
	{seeded.VanishedGateDropped, "vanished gate dropped from N too early", machines("TestALineThatHasVanishedStillCounts")},
	{seeded.GateIsSecondHolder, "a gate's line counted as second holder", log("TestSecondHolderThatHangs")},
	{seeded.TrimByOwnClock, "trim by the issuer's clock without skew", log("TestNothingLeavesTheLogEarly")},
	{seeded.ClockRevives, "wall clock stepping back revives a token", append(machines("TestClock"), log("TestClockNeverRevivesAToken")...)},
	{seeded.SuspendNotCounted, "suspend not counted as staleness", machines("TestASuspendedMachineIsStale", "TestDoesNotCount")},
	{seeded.BeatByRead, "heartbeat by a read: a gate's", log("TestAHeartbeatHasNoReplicaThatHasNotTakenItIn/gate")},
	{seeded.IssuerBeatByRead, "heartbeat by a read: an issuer's", log("TestAHeartbeatHasNoReplicaThatHasNotTakenItIn/issuer")},
	{seeded.SnapshotGrants, "snapshot file grants freshness", append(machines("TestASnapshotConfirmsNothing"), log("TestAGateStartsFromItsSnapshot")...)},
	{seeded.SpentForgotten, "only the last spent refresh token remembered", sessions("TestEverySpentTokenWithinTheGraceWindowGivesItsOwnSuccessor", "TestARefreshFamilyIsWhatItsRuleSays")},
	{seeded.SpentByTheLast, "spent refresh tokens judged by the last one's time", sessions("TestASpentTokenIsHeldAgainstItsOwnTimeOfSpending", "TestARefreshFamilyIsWhatItsRuleSays")},
}
