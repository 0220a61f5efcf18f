package main

import "strings"

// row is a seeded bug, in the words of the rule it breaks, and the tests that are to catch it, the
// cheapest first.
type row struct {
	bug      string // its number, and a letter where a rule is broken in several ways or places
	what     string
	edits    []edit
	catchers []catcher
}

// number is a bug's without its letter.
func number(bug string) string { return strings.TrimRight(bug, "abcdefghijklmnopqrstuvwxyz") }

// edit is a rule as it stands in a file, once, and what a bug has in its place.
type edit struct{ file, rule, bug string }

// catcher is a test by its package and name.
type catcher struct{ pkg, test string }

func machines(names ...string) []catcher { return in("internal/revocation", names) }
func log(names ...string) []catcher      { return in("internal/revocation/redislog", names) }
func sessions(names ...string) []catcher { return in("internal/session", names) }
func client(names ...string) []catcher   { return in("internal/redisconn", names) }
func relays(names ...string) []catcher   { return in("internal/revocation/relay", names) }

func in(pkg string, names []string) (found []catcher) {
	for _, n := range names {
		found = append(found, catcher{pkg, n})
	}
	return found
}

// table is every seeded bug in order.
var table = []row{
	{"1", "heartbeat counts without its head applied", []edit{
		{"internal/revocation/heartbeat.go", `		if len(c.waiting) < maxWaiting {
`, `		c.count(hb.At, now, &out)
		if len(c.waiting) < maxWaiting {
`},
	}, machines("TestDoesNotCount", "TestCountsOnceItsHeadIsApplied")},
	{"2", "freshness from reply time", []edit{
		{"internal/revocation/heartbeat.go", `	skewed := c.redis.skew() > c.cfg.ClockSkew
`, `	sent = now
	skewed := c.redis.skew() > c.cfg.ClockSkew
`},
	}, machines("TestFreshFromWhenItWasSent")},
	{"3a", "seq compared without chain: a copy's", []edit{
		{"internal/revocation/head.go", `	case p.Epoch != h.Epoch:
`, `	case p.Epoch == h.Epoch && p.Seq <= h.Seq:
		return ""
	case p.Epoch != h.Epoch:
`},
		{"internal/revocation/heartbeat.go", `		if h.Chain != c.pos.Chain {
`, `		if false {
`},
	}, machines("TestResyncs", "TestDoesNotCount")},
	{"3b", "seq compared without chain: a line's", []edit{
		{"internal/revocation/redislog/lua/log.lua", "return chain_at(seq) == chain or (seq == h.seq and chain == h.chain)", "return seq <= h.seq"},
	}, log("TestALineIsOnTheLogByItsChain")},
	{"4", "chain not seeded by epoch", []edit{
		{"internal/revocation/entry.go", "return sha1.Sum([]byte(e.String()))", "return sha1.Sum([]byte(Epoch{}.String()))"},
		{"internal/revocation/redislog/lua/log.lua", "chain_after(redis.sha1hex(random), 1, body)", "chain_after(redis.sha1hex(''), 1, body)"},
	}, append(machines("TestALoadBeginsInItsEpoch"), log("TestTheChainBeginsWithTheEpoch")...)},
	{"5", "settle not restarted on reconnect", []edit{
		{"internal/revocation/heartbeat.go", `	c.settle = settle{connection: c.settle.connection + 1}
	c.passed = nil
`, `	c.settle.connection++
`},
		{"internal/revocation/heartbeat.go", `	if hb.connection == c.settle.connection {
		c.restartSettling()
	}
`, ""},
	}, machines("TestSettlingTakesSettle", "TestDoesNotCount")},
	{"6", "nor on a new epoch", []edit{
		{"internal/revocation/heartbeat.go", " || s.epoch != epoch", ""},
	}, machines("TestSettlesAnewOnAnotherEpoch")},
	{"7", "heartbeat error ignored", []edit{
		{"internal/revocation/heartbeat.go", `	if hb.connection == c.settle.connection {
		c.restartSettling()
	}
`, ""},
		{"internal/revocation/redislog/beat.go", `	if err != nil {
		// READONLY, MOVED, LOADING or no answer`, `	if err != nil {
		return true
	}
	if err != nil {
		// READONLY, MOVED, LOADING or no answer`},
	}, machines("TestDoesNotCount")},
	{"8a", "WAIT on another connection: an append's", waitElsewhere,
		log("TestAnAppendHasNoReplicaThatHasNotTakenItIn")},
	{"8b", "WAIT on another connection: a gate's", waitElsewhere,
		log("TestAHeartbeatHasNoReplicaThatHasNotTakenItIn/gate")},
	{"8c", "WAIT on another connection: a session's", waitElsewhere,
		sessions("TestNothingIsAnsweredBeforeTheReplicaHasIt")},
	{"9a", "WAIT inside MULTI: an append's", []edit{
		{"internal/redisconn/write.go", "pipe := conn.Pipeline()", "pipe := conn.TxPipeline()"},
	}, log("TestAnAppendHasNoReplicaThatHasNotTakenItIn")},
	{"9b", "WAIT inside MULTI: a gate's", []edit{
		{"internal/redisconn/write.go", `	return pipe.Do(ctx, "EXEC")
`, `	pipe.Do(ctx, "WAIT", w.Replicas, max(w.Timeout.Milliseconds(), 1))
	return pipe.Do(ctx, "EXEC")
`},
		{"internal/redisconn/write.go", `	replicas, unread := waited.Int()
`, `	if all, ok := answers[0].Val().([]any); ok && writes[0].Script == nil {
		waited.SetVal(all[len(all)-1])
		answers[0].SetVal(all[:len(all)-1])
	}
	replicas, unread := waited.Int()
`},
	}, log("TestAHeartbeatHasNoReplicaThatHasNotTakenItIn/gate")},
	{"9c", "WAIT inside MULTI: a session's", []edit{
		{"internal/redisconn/write.go", "pipe := conn.Pipeline()", "pipe := conn.TxPipeline()"},
	}, sessions("TestNothingIsAnsweredBeforeTheReplicaHasIt")},
	{"10a", "WAIT's count not compared: an append's", []edit{
		{"internal/redisconn/write.go", "case replicas < w.Replicas:", "case replicas < 0:"},
	}, log("TestAnAppendThatTooFewReplicasHaveIsNotAcknowledged")},
	{"10b", "WAIT's count not compared: a heartbeat's", []edit{
		{"internal/revocation/heartbeat.go", "a.Replicas < c.cfg.MinReplicas || ", ""},
	}, machines("TestDoesNotCount")},
	{"10c", "WAIT's count not compared: a session's", []edit{
		{"internal/redisconn/write.go", "case replicas < w.Replicas:", "case replicas < 0:"},
	}, sessions("TestAWriteThatTooFewReplicasHaveIsNoAnswer", "TestAWriteCountsOnceItsReplicaHasIt")},
	{"11", "NOSCRIPT overlooked while WAIT succeeds", []edit{
		{"internal/redisconn/write.go", `	if err := answer.Err(); err != nil {
`, `	if err := answer.Err(); err != nil && !redis.HasErrorPrefix(err, "NOSCRIPT") {
`},
		// Nor does the append ask whether it wrote.
		{"internal/revocation/redislog/appender.go", `	s, err = parseAppendAnswer(done.Answer)
`, `	if done.Answer == nil {
		a.mu.Lock()
		p := a.copy.Position()
		a.mu.Unlock()
		done.Answer = []any{
			"OK", p.Epoch.String(), int64(p.Seq) + 1, int64(p.Seq) + int64(len(args)-11),
			p.Chain.String(), int64(0), int64(0),
		}
	}
	s, err = parseAppendAnswer(done.Answer)
`},
	}, log("TestAnAppendWhoseScriptRedisHasForgottenIsStored")},
	{"12a", "client retries the append on a new connection", []edit{
		{"internal/revocation/redislog/appender.go", `	done, err := redisconn.WriteAndWait(ctx, a.conn, w)
`, `	done, err := redisconn.WriteAndWait(ctx, a.conn, w)
	if err != nil {
		other, failed := a.client.Dedicated(ctx, a.keys.log)
		if failed != nil {
			return s, failed
		}
		defer other.Close()
		done, err = redisconn.WriteAndWait(ctx, other, w)
	}
`},
	}, log("TestAnAppendWhoseConnectionIsCutIsAnError")},
	{"12b", "and WAITs on a new connection", append(knownSources, edit{
		"internal/redisconn/write.go", `	err = ofAll(err, commands)
`, `	if err != nil && answers[0].Val() != nil {
		from, _ := sources.Load(conn)
		waited, err = from.(*redis.Client).Do(ctx, "WAIT", wanted, 1), nil
		answers[0].SetErr(nil)
	}
	err = ofAll(err, commands)
`}), append(log("TestAnAppendWhoseConnectionIsCutIsAnError"),
		client("TestAWriteWhoseConnectionIsCutIsAnError")...)},
	{"12c", "the pooled client retries", []edit{
		{"internal/redisconn/open.go", "return redis.NewClient(singleOptions(cfg, d))", `o := singleOptions(cfg, d)
	o.MaxRetries = 3
	return redis.NewClient(o)`},
	}, client("TestNoCommandIsSentTwice")},
	{"13", "own set filled only after the ack", []edit{
		{"internal/revocation/writer.go", `		w.add(&b.Entries[i])
`, ""},
	}, machines("TestOwnSetFirst")},
	{"14", "no re-append after FLUSHALL", []edit{
		{"internal/revocation/writer.go", `	if out.Resync != "" {
		w.pending`, `	if out.Resync == CauseEpoch {
		w.pending, w.inLog = held{}, held{}
	}
	if out.Resync != "" {
		w.pending`},
	}, append(machines("TestWhatIsMissing"), log("TestFaultsOfTheLog/flushed")...)},
	{"15a", "re-append of expired entries", []edit{
		{"internal/revocation/missing.go", "case item.entry.Expires <= expired:", "case false && item.entry.Expires <= expired:"},
	}, machines("TestWhatIsMissing")},
	{"15b", "or with a new expiry", []edit{
		{"internal/revocation/missing.go", `		item.appends, item.mending = item.appends+1, true
`, `		item.appends, item.mending = item.appends+1, true
		item.entry.Expires = now.Wall.Add(2 * w.Life()).UnixMilli()
		entries[i].Expires = item.entry.Expires
`},
	}, machines("TestWhatIsMissing")},
	{"16", "re-append without head check", []edit{
		{"internal/revocation/redislog/lua/append.lua", "if again and (h.epoch ~= ARGV[6]", "if false and (h.epoch ~= ARGV[6]"},
	}, log("TestAppendingAgainIsBoundToItsHead")},
	{"17a", "mending not renewed: by the issuer", []edit{
		{"internal/revocation/missing.go", "case item.appends > 0 && !item.mending:", "case item.appends > 0:"},
	}, machines("TestMendingIsMarkedUntilTheEntriesAreStored")},
	{"17b", "or never released", []edit{
		{"internal/revocation/writer.go", "hb.Mend = hb.Holds && (!w.complete || w.missingAny(now))", "hb.Mend = hb.Holds"},
	}, machines("TestMendingIsMarkedInTheHeartbeatThatShowsIt")},
	{"17c", "mending not renewed: by the script", []edit{
		{"internal/revocation/redislog/lua/heartbeat.lua", "h.mending = math.max(h.mending, t + settle)", "h.mending = h.mending > 0 and h.mending or t + settle"},
	}, log("TestMendingLastsFromTheLastHeartbeatThatAsksForIt")},
	{"17d", "what is loaded marked as mending", []edit{
		{"internal/revocation/writer.go", "w.inLog.live > 0 && w.complete", "w.inLog.live > 0"},
	}, machines("TestAStartingIssuerMarksNothing")},
	{"18", "head not created by an idle issuer", []edit{
		{"internal/revocation/redislog/lua/heartbeat.lua", "local h = ensure(ARGV[1], tonumber(ARGV[2]), skew, t, tonumber(ARGV[15]))", `local h = read_head()
if not h and ARGV[10] ~= '1' then return {int(t), '', '', '', '', '', '', '', ''} end
h = ensure(ARGV[1], tonumber(ARGV[2]), skew, t, tonumber(ARGV[15]))`},
	}, log("TestAnIdleIssuerCreatesTheHead", "TestMissingHeadWithGatesOnly")},
	{"19", "first not moved by a trim", []edit{
		{"internal/revocation/redislog/lua/heartbeat.lua", "redis.call('HSET', HEAD, 'first', int(h.first))", ""},
	}, log("TestATrimMovesFirst", "TestTrimmed")},
	{"20a", "log deleted, head kept, loader content", []edit{
		{"internal/revocation/reading.go", `		return c.giveUp(CauseVanished)
`, `		l.next, l.chain, done = l.target.Seq+1, l.target.Chain, true
`},
	}, machines("TestLoadingIsWhole")},
	{"20b", "log deleted, head kept, script content", []edit{
		{"internal/revocation/redislog/lua/log.lua", "return type(n) == 'number' and n > 0 and n == h.seq - h.first + 1 and chain_at(h.seq) == h.chain", "return true"},
	}, log("TestALogWithoutItsEntriesIsAnotherLog")},
	{"21", "held entries dropped on reload", []edit{
		{"internal/revocation/copy.go", `	c.complete, c.load, c.behind = false, load{}, behind{}
`, `	if s, ok := c.set.(interface {
		Sweep(int64, int) int
		Shards() int
	}); ok {
		s.Sweep(1<<63-1, s.Shards())
	}
	c.complete, c.load, c.behind = false, load{}, behind{}
`},
	}, append(machines("TestResyncs", "TestDoesNotCount"), log("TestFaultsOfTheLog/flushed")...)},
	{"22a", "gap after a trim taken as nothing new: read", []edit{
		{"internal/revocation/reading.go", `follows(e, c.pos.Seq+1, c.pos.Chain); cause != "" {`, `follows(e, c.pos.Seq+1, c.pos.Chain); cause != "" && cause != CauseGap {`},
	}, machines("TestBadReads")},
	{"22b", "gap after a trim taken as nothing new: judged", []edit{
		{"internal/revocation/head.go", "case !r.AtMineFound && p != h.Position():", "case false:"},
	}, machines("TestResyncs")},
	{"23", "ready before the last page", []edit{
		{"internal/revocation/reading.go", `	if done {
		c.pos`, `	l.next, l.chain, done = l.target.Seq+1, l.target.Chain, true
	if done {
		c.pos`},
	}, machines("TestNotReadyBeforeTheLastPage")},
	{"24", "logout on an ended session answers 200 without an append", []edit{
		{"internal/session/ending.go", `	case !inLog || before == Active:
`, `	case before == Ended:
		e.due = Answer
	case !inLog || before == Active:
`},
	}, sessions("TestNothingButTheLogEarnsAnAnswer", "TestEndingAgainIsAnsweredByTheLogAndNotByTheRecord")},
	{"25", "append before end", []edit{
		{"internal/session/end.go", `	for step := machine.Begin(); ; {
`, `	if receipt, err = s.log.Append(ctx, request); err != nil {
		return revocation.Receipt{}, err
	}
	for step := machine.Begin(); ; {
`},
	}, sessions("TestNoRefreshPassesOnceTheEntryIsOnItsWay")},
	{"26", "exp computed after the compare-and-set", []edit{
		{"internal/session/refresh.go", `	if answer[0] == "next" || answer[0] == "again" {
`, `	if now, _, err = s.now(); err != nil {
		return Grant{}, err
	}
	if answer[0] == "next" || answer[0] == "again" {
`},
	}, sessions("TestTheClockIsReadBeforeAnythingElse")},
	{"27", "sid entry compared with iat", []edit{
		{"internal/revocation/liveset/set.go", `		if v := s.named(revocation.KindSID, f.Issuer, f.SessionID); v.Revoked {
			return v
`, `		if v := s.named(revocation.KindSID, f.Issuer, f.SessionID); v.Revoked {
			return s.since(revocation.KindSID, f.Issuer, f.SessionID, f.IssuedAt, 0)
`},
		{"internal/revocation/writer.go", `	if q.Kind.Cutoff() {
`, `	if q.Kind.Cutoff() || q.Kind == KindSID {
`},
	}, machines("TestASessionsTokensAreRevokedWheneverTheyWereMade")},
	{"28", "refresh skips the issuer's own set", []edit{
		{"internal/session/refresh.go", `	if (own.Revoked && own.Kind == revocation.KindSID) || s.checkSubject(rec).Revoked {
`, `	own = revocation.Verdict{}
	if false {
`},
		{"internal/session/refresh.go", `	case found.Ended: //`, `	case false: //`},
	}, sessions("TestTheIssuersOwnCopyIsEnough")},
	{"29a", "session end not redone on re-append", []edit{
		{"internal/revocation/redislog/mend.go", "if len(refs) == 0 || i.o.OnReappend == nil {", "if true {"},
	}, log("TestReappendedSessionsAreEndedAgain")},
	{"29b", "nor its record", []edit{
		{"internal/session/end.go", "if ref.Issuer != s.cfg.Issuer || err != nil {", "if true || err != nil {"},
	}, sessions("TestASessionWhoseEntryIsAppendedAgainIsEndedAgain")},
	{"30a", "era ignored: by refresh", []edit{
		{"internal/session/lua/move.lua", "if s[4] ~= era then return {'era'} end", ""},
	}, sessions("TestASessionOfAnOlderEraMustLogInAgain")},
	{"30b", "era ignored: by a silence", []edit{
		{"internal/revocation/redislog/lua/log.lua", " and at - h.beat <= math.max(h.life, lifetime) + 2 * skew", ""},
	}, log("TestALongSilenceBeginsANewEra", "TestEra")},
	{"31", "n above the stored one accepted", []edit{
		{"internal/session/lua/move.lua", "if n > stored then return ending('ahead') end", ""},
	}, sessions("TestACounterAboveTheStoredOneEndsTheSession")},
	{"32", "stamp not checked at session creation", []edit{
		{"internal/session/lua/begin.lua", "if (redis.call('HGET', KEYS[1], 'gen') or '0') ~= stamp then return {'moved'} end", ""},
	}, sessions("TestALoginThatWasUnderWayDuringALogOutEverywhereBeginsNoSession")},
	{"33", "?wait by seq only", []edit{
		{"internal/revocation/lines.go", "return line.OnLog && line.Position.Epoch == at.Epoch && line.Position.Seq >= at.Seq", "return line.Position.Seq >= at.Seq"},
	}, machines("TestAppliedCount", "TestSecondHolder")},
	{"34a", "silent gate dropped from N too early", []edit{
		{"internal/revocation/redislog/peers.go", `	oldest := p.cfg.MaxStaleness + p.cfg.Settle
	var behind`, `	oldest := p.cfg.Settle
	var behind`},
	}, log("TestAppliedNamesTheGatesBehind")},
	{"34b", "vanished gate dropped from N too early", []edit{
		{"internal/revocation/lines.go", "!there && now.Mono-s.moved <= rememberGone {", "!there && false {"},
	}, machines("TestALineThatHasVanishedStillCounts")},
	{"35", "a gate's line counted as second holder", []edit{
		{"internal/revocation/redislog/peers.go", `		lines, onLog, err := p.issuerLines.lines(ctx, at)
`, `		lines, onLog, err := p.issuerLines.lines(ctx, at)
		gates, _, _ := p.gateLines.lines(ctx, at)
		lines = append(lines, gates...)
`},
	}, log("TestSecondHolderThatHangs")},
	{"36", "trim by the issuer's clock without skew", []edit{
		{"internal/revocation/redislog/issuer.go", `		hb.Times.Expired,
		hb.Times.Redis,
`, `		hb.Times.Expired, hb.Times.Redis, i.instant().Wall.UnixMilli(),
`},
		{"internal/revocation/redislog/lua/heartbeat.lua", "return expires_of(field(entry[2], 'e')) + skew <= over end", "return expires_of(field(entry[2], 'e')) <= tonumber(ARGV[16]) end"},
	}, log("TestNothingLeavesTheLogEarly")},
	{"37", "wall clock stepping back revives a token", []edit{
		{"internal/revocation/clock.go", `	now := at.lead()
	for {
`, `	now := at.lead()
	for {
		if now > 0 {
			return at.Wall
		}
`},
	}, append(machines("TestClock"), log("TestClockNeverRevivesAToken")...)},
	{"38", "suspend not counted as staleness", []edit{
		{"internal/revocation/clock.go", "return max(t.Mono-u.Mono, time.Duration(t.Wall.UnixNano()-u.Wall.UnixNano()))", "return t.Mono - u.Mono"},
	}, machines("TestASuspendedMachineIsStale", "TestDoesNotCount")},
	{"39a", "heartbeat by a read: a gate's", []edit{
		{"internal/revocation/redislog/gate.go", `		g.commandAt(hb.Position),
`, `		[]any{"GETRANGE", key, 0, 0},
`},
	}, log("TestAHeartbeatHasNoReplicaThatHasNotTakenItIn/gate")},
	{"39b", "heartbeat by a read: an issuer's", []edit{
		{"internal/revocation/redislog/lua/heartbeat.lua", "redis.call('HSET', HEAD, 'beat', int(t))", ""},
		{"internal/revocation/redislog/lua/heartbeat.lua", "redis.call('HSET', LINES, ARGV[4], ARGV[5])", ""},
	}, log("TestAHeartbeatHasNoReplicaThatHasNotTakenItIn/issuer")},
	{"39c", "what has only read counts as a write", []edit{
		{"internal/redisconn/write.go", "case w.Wrote == nil || !w.Wrote(done.Answer):", "case false:"},
	}, client("TestAnAnswerThatShowsNoWriteProvesNothing")},
	{"39d", "a write takes the answer to one beside it", []edit{
		{"internal/redisconn/write.go", "w.judge(answers[i], replicas)", "w.judge(answers[0], replicas)"},
	}, client("TestWritesThatShareAPipelineAreEachJudgedByTheirOwnAnswer")},
	{"39e", "a connection that was refused is an empty answer to a read", []edit{
		{"internal/redisconn/together.go", "	all := ofAll(err, commands)\n",
			"	_, _ = err, commands\n	var all error\n"},
	}, client("TestARefusedGreetingIsAnError")},
	{"40", "snapshot file grants freshness", []edit{
		{"internal/revocation/copy.go", `	return v
}

// Skew returns`, `	if c.complete && c.reading == 1 {
		v.Counted, v.MaxStaleness = true, 1<<63-1
	}
	return v
}

// Skew returns`},
	}, append(machines("TestASnapshotConfirmsNothing"), log("TestAGateStartsFromItsSnapshot")...)},
	{"41a", "only the last spent refresh token remembered", []edit{
		{"internal/session/lua/move.lua", "if of == s[6] then", "if false then"},
	}, sessions("TestEverySpentTokenWithinTheGraceWindowGivesItsOwnSuccessor", "TestARefreshFamilyIsWhatItsRuleSays")},
	{"41b", "spent refresh tokens judged by the last one's time", []edit{
		{"internal/session/lua/move.lua", "if not note(moved - tonumber(d)) then break end", "note(moved)"},
	}, sessions("TestASpentTokenIsHeldAgainstItsOwnTimeOfSpending", "TestARefreshFamilyIsWhatItsRuleSays")},
	{"42a", "a session elsewhere revoked for a token's life", []edit{
		{"internal/revocation/writer.go", "		life += w.sessions(e.Issuer)\n", "		life += 0\n"},
	}, append(machines("TestAnEntryForASessionElsewhereOutlivesTheSession"),
		log("TestASessionElsewhereStaysRevokedWhileItMayLive")...)},
	{"42b", "one that came too early made anew for a token's life", []edit{
		{"internal/revocation/writer.go", "e.Expires = max(e.Expires, w.expiryOf(&e))", "e.Expires = max(e.Expires, e.At+(w.Life()+w.extraLife()).Milliseconds())"},
	}, machines("TestARefusedEntryKeepsTheLifeOfItsSession")},
	{"42c", "clocks remembered for a token's life alone", []edit{
		{"internal/revocation/heartbeat.go", "c.lasting.note(agreed, now.Mono, max(life, c.longest))", "c.lasting.note(agreed, now.Mono, life)"},
	}, machines("TestNoClockEndsARevocationThatLivesLong")},
	{"42d", "a user's sessions elsewhere judged by iat alone", []edit{
		{"internal/revocation/liveset/set.go", "old := !f.Ours && f.AuthTime > 0 &&", "old := false &&"},
	}, in("internal/revocation/liveset", []string{"TestRules"})},
	{"42e", "a session elsewhere that began after its user was revoked ended", []edit{
		{"internal/revocation/liveset/set.go", "f.AuthTime <= issuedBefore(cutoff)/1000", "f.AuthTime <= (issuedBefore(cutoff)+leeway)/1000"},
	}, in("internal/revocation/liveset", []string{"TestRules"})},
	{"43a", "what lives on trimmed with what has expired", []edit{
		{"internal/revocation/redislog/lua/heartbeat.lua", `      h.seq = h.seq + 1
      h.chain = chain_after(h.chain, h.seq, body)
      write(h.seq, h.chain, body)
`, ""},
	}, log("TestALiveEntryIsCarriedOnOncePastItMoreIsDead")},
	{"43b", "one entry that lives long keeps all behind it in Redis", []edit{
		{"internal/revocation/redislog/lua/heartbeat.lua", "return at > 1 and at <= old and", "return false and"},
	}, log("TestALiveEntryIsCarriedOnOncePastItMoreIsDead")},
	{"43c", "entries taken from where somebody may stand", []edit{
		{"internal/revocation/redislog/lua/heartbeat.lua", "return at > 1 and at <= old and", "return at > 1 and"},
	}, log("TestNothingIsCarriedOn")},
	{"43d", "entries carried on by who does not know the log", []edit{
		{"internal/revocation/redislog/lua/heartbeat.lua", "local enough = live >= 0 and not lacks and", "local enough = live >= 0 and"},
	}, log("TestNothingIsCarriedOn")},
	{"43e", "carried on however little of the log is dead", []edit{
		{"internal/revocation/redislog/lua/heartbeat.lua", "and h.seq - at + 1 > enough and", "and"},
	}, log("TestNothingIsCarriedOn")},
	{"43f", "places age at once", []edit{
		{"internal/revocation/redislog/lua/heartbeat.lua", "passed < h.life + 2 * skew then return old end", "passed < 0 then return old end"},
	}, log("TestPlacesAgeByATokensLife")},
	{"44a", "a message acknowledged before its entry is", []edit{
		{"issuer/receiver.go", `	receipt, err = s.log.Append(ctx, requests)
	if err != nil {
`, `	receipt, err = s.log.Append(ctx, requests)
	if false {
`},
	}, in("issuer", []string{"TestAMessageIsAcknowledgedOnlyOnceItsEntryIs"})},
	{"44b", "a repeated message answered by memory alone", []edit{
		{"issuer/receiver.go", "s.live(ctx, requests); live {", "s.live(ctx, requests); live || true {"},
	}, in("issuer", []string{"TestAMessageThatComesAgainAddsNoEntry"})},
	{"44c", "a sender of one issuer ends sessions of another", []edit{
		{"internal/sender/verify.go", `	from := s.byIssuer[issuer]
`, `	from := s.byIssuer[issuer]
	for _, other := range s.byIssuer {
		if k, _ := s.sets.Key(other.Issuer, parsed.Header.KeyID, parsed.Header.Algorithm); from != nil && k != nil {
			c := *other
			c.SessionsOf, from = from.EndsSessionsOf(), &c
		}
	}
`},
	}, append(in("internal/sender", []string{"TestWhatNoSenderHasSignedIsRefusedBeforeAnythingItSays"}),
		in("issuer", []string{"TestASenderOfOneIssuerEndsNoSessionOfAnother"})...)},
	{"44d", "a message without exp is taken however old", []edit{
		{"internal/sender/verify.go", "	if !hasExpiry && k.MaxAge != nil {", "	if false {"},
	}, in("internal/sender", []string{"TestWhatASenderHasSignedAndIsWrongIsToldToIt", "TestTheLeewayOnTimesIsTheEntrys"})},
	{"44e", "what a message says is told to whoever made it up", []edit{
		{"issuer/backchannel.go", "	case errors.As(err, &refused) && refused.Authentic:", "	case errors.As(err, &refused):"},
		{"issuer/backchannel.go", `	case errors.As(err, &refused):
		return httpapi.Reply{}, errNotVerified
`, ""},
	}, in("issuer", []string{"TestAForgedLogoutTokenRevealsAndChangesNothing"})},
	{"45a", "a security event acknowledged before its entry is: pushed", []edit{
		{"issuer/signals.go", "s.carryOut(ctx, m, requests); err != nil {", "s.carryOut(ctx, m, requests); false {"},
	}, in("issuer", []string{"TestASecurityEventIsAcknowledgedOnlyOnceStored"})},
	{"45b", "a security event acknowledged before its entry is: polled", []edit{
		{"internal/ssf/stream/polling.go", `			default:
				undone++
`, `			default:
				todo.ack = append(todo.ack, id)
`},
	}, in("issuer", []string{"TestAPolledEventIsAcknowledgedOnlyOnceStored"})},
	{"45c", "a repeated security event answered by memory alone", []edit{
		{"issuer/receiver.go", "s.live(ctx, requests); live {", "s.live(ctx, requests); live || true {"},
	}, in("issuer", []string{"TestASecurityEventElsewhereIsInForceHere"})},
	{"45d", "a transmitter of one issuer ends sessions of another: whom it names", []edit{
		{"internal/ssf/requests.go", "return s.Issuer != r.Issuer && s.Issuer != r.Sender", "return false"},
		{"internal/ssf/requests.go", "		named[i].Issuer, named[i].Actor", `		if iss := s.Subject.Issuer; iss != "" {
			r.Issuer = iss
		}
		named[i].Issuer, named[i].Actor`},
	}, append(in("internal/ssf", []string{"TestASenderEndsNothingOfAnotherIssuer"}),
		in("issuer", []string{"TestARefusedSecurityEventHasItsCode"})...)},
	{"45e", "a transmitter of one issuer ends sessions of another: by another's message, pushed", []edit{
		{"issuer/signals.go", "		if err == nil && !slices.Contains(from, m.Sender.Issuer) {", "		if false {"},
	}, in("issuer", []string{"TestASecretIsForItsOwnSendersMessages"})},
	{"45f", "a transmitter of one issuer ends sessions of another: by another's message, polled", []edit{
		{"issuer/signals.go", "			case err == nil && m.Sender.Issuer != from:", "			case false:"},
	}, in("issuer", []string{"TestAStreamBringsMessagesOfItsOwnIssuerAlone"})},
	{"46a", "a stream verified by whoever says so", []edit{
		{"internal/ssf/stream/stream.go", "		!stateFits(", "		false && !stateFits("},
	}, append(in("internal/ssf/stream", []string{"TestAStreamShowsThatItWorks"}),
		in("issuer", []string{"TestAStreamIsVerified"})...)},
	{"46b", "all sessions of a user taken for one session", []edit{
		{"internal/ssf/requests.go", "session.ID == allSessions ||", ""},
	}, in("internal/ssf", []string{"TestWhatAnEventEnds"})},
	{"46c", "an event of a user narrowed to the session beside it", []edit{
		{"internal/ssf/requests.go", "(t == SessionRevoked || t == SessionsRevoked || !hasUser):", "true:"},
	}, in("internal/ssf", []string{"TestWhatAnEventEnds"})},
	{"46d", "an event's time believed that has yet to come", []edit{
		{"internal/ssf/requests.go", "		if !at.IsZero() && !at.After(now.Add(skew)) {", "		if !at.IsZero() {"},
	}, in("internal/ssf", []string{"TestTheCutoffIsWhenItHappened"})},
	{"46e", "a refused message forgotten, so that it comes for ever", []edit{
		{"internal/ssf/stream/polling.go", "				todo.errors[id] = problem{refused.Code, refused.Description}\n", ""},
	}, in("issuer", []string{"TestAPolledEventIsAcknowledgedOnlyOnceStored"})},
	{"47a", "a session that missed a change of its user stays", []edit{
		{"internal/session/lua/user.lua", "s[1] == 'active' and s[2] == before and stays(s[3], s[4])", "s[1] == 'active' and stays(s[3], s[4])"},
	}, sessions("TestASessionOfAnotherStampEndsThoughItGoesByTheSamePasswordAndRights")},
	{"47b", "what has ended is marked as ending again", []edit{
		{"internal/session/lua/user.lua", "s[1] == 'active' and 'ending' or s[1])", "'ending')"},
	}, sessions("TestWhatHasEndedIsNotMarkedAsEndingAgain")},
	{"47c", "a user's record lives shorter for a later session", []edit{
		{"internal/session/lua/user.lua", "  if redis.call('PTTL', key) < expires - now then redis.call('PEXPIREAT', key, ARGV[3]) end\n", "  redis.call('PEXPIREAT', key, ARGV[3])\n"},
	}, sessions("TestAUsersRecordLivesNoShorterForASessionThatBeginsOrEnds")},
	{"48", "another issuer's name for a subject taken for this issuer's", []edit{
		{"internal/ssf/requests.go", "if !r.foreign(one) {", "{"},
	}, in("internal/ssf", []string{"TestWhatAnEventEnds"})},
	{"49", "a kid unknown by an answer of long ago", []edit{
		{"internal/keyset/demand.go", "age < absentFor {", "(age < absentFor || true) {"},
	}, in("internal/keyset", []string{"TestAKidThatWasAskedForBeforeItWasPublishedIsUnknownForAMomentOnly"})},
	{"50", "a role of two words taken for two", []edit{
		{"internal/token/read.go", "v.Text() != \"\" && !ofScopes(name):", "false:"},
	}, in("internal/token", []string{"TestClaimsThatAnEntryNamesAreJudged"})},
	{"51", "a message refused by an answer of before it came", []edit{
		{"internal/keyset/demand.go", "	if anew {", "	if false {"},
	}, in("internal/sender", []string{"TestAKeyThatSomebodyNamedBeforeItWasPublishedIsLookedUpAnew"})},
	{"52a", "a gate's heartbeat answered by one that was sent before it came", []edit{
		{"internal/revocation/redislog/relay.go", "	asked, seqs, connection := r.take(conn)\n	reply, answers, err := r.exchange(ctx, conn, hb, seqs)\n",
			"	seqs := []uint64{1}\n	reply, answers, err := r.exchange(ctx, conn, hb, seqs)\n	asked, _, connection := r.take(conn)\n"},
	}, relays("TestAHeartbeatShowsWhatWasAcknowledgedBeforeItWasSent")},
	{"52b", "a gate's heartbeats answered over two connections to Redis", []edit{
		{"internal/revocation/relay/session.go", "s.connection != 0 && s.connection != beat.Connection", "false"},
	}, relays("TestAnswersOfTwoConnectionsToRedisAreNeverMixed")},
	{"52c", "a relay's next connection to Redis taken for the one before", []edit{
		{"internal/revocation/redislog/relay.go", "		r.connection++\n", "		r.connection = 1\n"},
	}, relays("TestAHeartbeatIsNotAnsweredOverAnotherConnectionToRedis")},
	{"52d", "a relay's line speaks for the relay alone", []edit{
		{"internal/revocation/redislog/relay.go", "applied == total {", "applied <= total {"},
	}, log("TestARelaysLineSaysHowFarAllBelowAre")},
	{"52e", "a relay that begins knows of no gates", []edit{
		{"internal/revocation/redislog/relay.go", " || now.Mono-r.stoodAt <= oldest", ""},
	}, append(log("TestARelaysLineSaysHowFarAllBelowAre"), relays("TestALogoutThatWaitsWaitsForGatesBelow")...)},
	{"52f", "a gate's place compared with a relay's without its chain", []edit{
		{"internal/revocation/redislog/history.go", "return p.Chain == h.entries[p.Seq-h.seq-1].chain", "return true"},
	}, log("TestARelaysLineSaysHowFarAllBelowAre")},
	{"53a", "a relay without a complete copy hands on what it had", []edit{
		{"internal/revocation/redislog/history.go", "		h.on, h.entries = false, nil\n", ""},
	}, log("TestARelayHandsOnWhatItHasApplied")},
	{"53b", "a relay answers whoever asks", []edit{
		{"internal/revocation/relay/session.go", "	case !s.known:\n		s.w.WriteString(\"-NOAUTH Authentication required.\\r\\n\")\n		return nil\n", ""},
	}, relays("TestNobodyIsAnsweredWithoutThePassword")},
	{"53c", "a gate is answered before its line is known", []edit{
		{"internal/revocation/relay/session.go", "	if !s.log.SetLine(line, commands[1][2], false) {\n		return errCommand\n	}\n", ""},
	}, relays("TestAHeartbeatWritesTheGatesLineFirst")},
	{"53d", "a gate that does not read is waited for", []edit{
		{"internal/revocation/relay/session.go", "writeWithin = 2 * time.Second", "writeWithin = 2 * time.Hour"},
	}, relays("TestAGateThatDoesNotReadIsCutOff")},
	{"54a", "a revocation leaves the answers that a worker of Envoy's remembers", []edit{
		{"internal/revocation/liveset/set_write.go", "	defer s.moved.Move(classOf(d))\n", ""},
	}, in("internal/revocation/liveset", []string{"TestAnEntryThatRevokesATokenMovesAClassOfItsNames"})},
	{"54b", "an answer goes by some of its token's names", []edit{
		{"internal/revocation/liveset/set.go", "{revocation.KindClient, f.ClientID}, {revocation.KindTenant, f.Tenant},\n		{revocation.KindIss", "{revocation.KindTenant, f.Tenant},\n		{revocation.KindIss"},
	}, in("internal/revocation/liveset", []string{"TestAnEntryThatRevokesATokenMovesAClassOfItsNames"})},
	{"54c", "an answer is kept that was revoked while it was made", []edit{
		{"authz/filter/remember.go", "lasts <= 0 || f.options.Revocations.Check(facts).Revoked {", "lasts <= 0 {"},
	}, in("authz/filter", []string{"TestWhatIsRevokedWhileItsAnswerIsMadeIsNotKept"})},
	{"54d", "an answer outlives its copy of the log", []edit{
		{"authz/filter/remember.go", ", f.options.MaxStaleness-fresh.Staleness)", ")"},
	}, in("authz/filter", []string{"TestAnAnswerHoldsNoLongerThanItsTokenAndTheCopy"})},
	{"54e", "streams of remembered answers go on", []edit{
		{"authz/filter/filter.go", "f.remembered.at(s.Worker, entry); by != nil", "f.remembered.at(s.Worker, entry); false"},
	}, in("authz/filter", []string{"TestStreamsOfRememberedAnswersEndToo"})},
	{"54f", "a log that cannot be read any more leaves remembered answers", []edit{
		{"internal/revocation/view.go", "v.Unreadable == older.Unreadable && v.Counted", "v.Counted"},
	}, in("internal/revocation", []string{"TestAViewThatJudgesAsAnOlderOneIsFreshForAsLong"})},
	{"55a", "answers wait for calls behind them that wait", []edit{
		{"internal/unary/call.go", "			c.server.run(func() { c.wait(w) })\n", "			c.wait(w)\n"},
	}, in("internal/unary", []string{"TestAnAnswerBehindOneThatWaitsIsSent"})},
	{"55b", "an answer is sent beyond its stream's window", []edit{
		{"internal/unary/call.go", "size <= min(maxFrame, c.initial+k.sends, c.sends)", "size <= min(maxFrame, c.sends)"},
	}, in("internal/unary", []string{"TestAnswersWaitForWindows", "TestEachCallIsAnsweredOnce"})},
	{"55c", "calls that were given up are worked on", []edit{
		{"internal/unary/call.go", "	if w.call.dropped.Load() {\n		return answer, true\n	}\n", ""},
	}, in("internal/unary", []string{"TestCallsThatAreDroppedCostLittle"})},
	{"55d", "strangers take the places of those who speak HTTP/2", []edit{
		{"internal/unary/conn.go", "	if err := c.server.places.Admit(c.place); err != nil {\n		return c.refused(err)\n	}\n", ""},
	}, in("internal/unary", []string{"TestStrangersAndConnectionsAreBounded"})},
	{"55e", "a panic of a worker answers its call twice", []edit{
		{"internal/unary/call.go", "		decided := true // it is answered when it panics, too\n", "		decided := false\n"},
	}, in("internal/unary", []string{"TestErrorsAreToldAndThoseThatAreNoStatusAreNot"})},
	{"55f", "a peer holds all that may be held", []edit{
		{"internal/unary/call.go", "c.held+int64(n) > c.server.share() || !c.server.hold(n)", "!c.server.hold(n)"},
	}, in("internal/unary", []string{"TestNoPeerHoldsAllThatMayBeHeld"})},
	{"55g", "a call that crossed the warning is not answered", []edit{
		{"internal/unary/conn.go", "	if c.framer != nil {\n		c.warn()\n", "	if c.framer != nil {\n		c.refuse()\n"},
	}, in("internal/unary", []string{"TestDrainLosesNoCall"})},

	{"56a", "tokens that are presented once take the place of those in use", []edit{
		{"authz/cache.go", "				c.used.Store(s.now)\n", ""},
	}, in("authz", []string{"TestTokensThatArePresentedOnceTakeNobodysPlace"})},
	{"56b", "answers wait for as long as calls keep coming", []edit{
		{"internal/unary/reader.go", "r.since >= sharedReads || ", ""},
	}, in("internal/unary", []string{"TestAnswersShareAWriteWhileCallsKeepComing"})},
	{"56c", "two calls that wait share their memory", []edit{
		{"internal/unary/call.go", "	c.spares = c.spares[:last]\n", ""},
	}, in("internal/unary", []string{"TestMemoryThatIsUsedAgainIsOneCalls"})},
}

// knownSources keep where connections come from, for bugs that make another one.
var knownSources = []edit{
	{"internal/redisconn/redisconn.go", `	return from.EphemeralConn(), nil
}
`, `	conn := from.EphemeralConn()
	sources.Store(conn, from.Client)
	return conn, nil
}

var sources sync.Map
`},
	{"internal/redisconn/together.go", `			conn := primary.Conn()
`, `			conn := primary.Conn()
			sources.Store(conn, primary)
`},
}

// waitElsewhere writes on one connection and waits on another.
var waitElsewhere = append(knownSources,
	edit{"internal/redisconn/write.go", `	pipe := conn.Pipeline()
`, `	from, _ := sources.Load(conn)
	other := from.(*redis.Client).Conn()
	defer func() { _ = other.Close() }()
	other.Ping(ctx)
	pipe := conn.Pipeline()
`},
	edit{"internal/redisconn/write.go", `	waited := pipe.Do(ctx, "WAIT", wanted, timeout.Milliseconds())
`, ""},
	edit{"internal/redisconn/write.go", `	replicas, unread := waited.Int()
`, `	waited := other.Do(ctx, "WAIT", wanted, 1)
	replicas, unread := waited.Int()
`},
)
