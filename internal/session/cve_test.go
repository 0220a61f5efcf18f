package session_test

import (
	"testing"
	"time"

	"github.com/sallyport/sallyport/internal/session"
)

// TestAttacks are the attacks on sessions, by their numbers; e2e has them through Envoy.
func TestAttacks(t *testing.T) {
	for name, test := range map[string]func(*testing.T){
		"88_failover_loses_the_end_of_a_session": TestAnEndThatOnlyTheSessionsShardHasLostStaysInForce,
		"88_failover_loses_a_log_out_everywhere": TestALogOutEverywhereThatRedisHasLostStillCounts,
		"88_failover_loses_a_refresh":            TestACounterAboveTheStoredOneEndsTheSession,

		"92_storage_error": TestEachCallThatFailsIsNeverAnAnswer,
		"92_log_error":     TestALogThatFailsIsNeverAnAnswer,

		"94_cutoff_and_login_in_one_second": TestALoginInTheSameInstantAsALogOutEverywhereWorks,

		"94_cutoff_during_a_login": TestALoginThatWasUnderWayDuringALogOutEverywhereBeginsNoSession,

		"95_refresh_beside_refresh":                  TestRefreshBesideRefresh,
		"96_refresh_beside_revoke":                   TestRefreshBesideEnd,
		"98_entry_dropped_before_its_tokens_expiry":  TestTheClockIsReadBeforeAnythingElse,
		"98_selector_dropped_before_its_session_end": TestASelectorKeepsSessionsFromRefreshing,
		"100_a_disabled_user_refreshes":              TestABarredUserIsRefusedAndTheirSessionEnds,
	} {
		t.Run(name, test)
	}
}

// TestCVE holds published vulnerabilities of systems like this one against sessions.
func TestCVE(t *testing.T) {
	for id, test := range map[string]func(*testing.T){
		// a storage error answered as success
		"CVE-2020-15223": TestEachCallThatFailsIsNeverAnAnswer,
		// check and update were not atomic
		"CVE-2026-1035": TestRefreshBesideRefresh,
		// revoked, and still refreshed
		"CVE-2020-10594": TestASelectorKeepsSessionsFromRefreshing,
		// refresh not bound to the client
		"CVE-2026-55672": TestAnotherClientsTokenIsRefusedAndStillWorksForItsOwn,
		// truncated tokens still validated
		"CVE-2026-27840": TestSpellingsThatAreNotGenuineChangeNothing,
		// theft noticed, the thief's session lived on
		"CVE-2026-56750": thiefRotatesFirst,
		// compared with the present time
		"CVE-2020-26892": TestACutoffIsComparedWithTheSessionsBeginning,
	} {
		t.Run(id, test)
	}
}

func thiefRotatesFirst(t *testing.T) {
	eachRedis(t, func(t *testing.T, w *world) {
		stolen := w.login("alice")
		thief := w.mustRefresh(stolen.RefreshToken)
		w.log.Advance(time.Minute)
		w.refused(stolen.RefreshToken, session.ReasonReuse) // the victim
		w.refused(thief.RefreshToken, session.ReasonEnded)
		if w.log.InLog(stolen.Session.ID) != 1 {
			t.Error("the thief's access tokens live on")
		}
	})
}
