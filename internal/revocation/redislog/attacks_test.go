package redislog_test

import "testing"

// TestAttacks are the attacks on the revocation log, by their numbers: against real Redis servers,
// with issuers and gates in this process. Each is held against the same promises; e2e has those of
// them that Envoy sees.
func TestAttacks(t *testing.T) {
	trim := func(m *mesh) { m.do("XTRIM", logKey, "MAXLEN", 1) }
	cut := func(m *mesh) { m.do("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes") }
	for name, test := range map[string]func(*testing.T){
		"85_gate_restarts_while_redis_is_down":       TestGateWithoutRedisAllowsNothing,
		"86_flushall":                                survives(func(m *mesh) { m.do("FLUSHALL") }),
		"87_trimmed_log":                             survives(trim),
		"88_failover_loses_acked_writes":             TestFailoverThatMissedWrites,
		"89_split_brain":                             TestDeposedPrimaryIsLeft,
		"90_dropped_connection_and_missed_entries":   survives(cut),
		"91_log_id_goes_back":                        TestOlderDisk,
		"92_storage_error":                           TestUnacknowledgedIsInForceHereAndComesLater,
		"93_clocks_300_s_apart":                      TestClocks,
		"93_clock_that_goes_back_300_s":              TestClockNeverRevivesAToken,
		"98_entry_dropped_before_its_tokens_expiry":  TestTrimmed,
		"98_end_of_a_session_dropped_with_its_entry": TestEndedSessionsAreRememberedBeyondTheirEntries,
	} {
		t.Run(name, test)
	}
}

// survives holds a fault of the log against what TestFaultsOfTheLog promises: two issuers, two
// gates.
func survives(fault func(m *mesh)) func(*testing.T) {
	return func(t *testing.T) {
		t.Parallel()
		m := healthy(t, 2, 2)
		m.neverAllows()
		fault(m)
		m.survived()
	}
}
