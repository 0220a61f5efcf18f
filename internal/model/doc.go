// Package model explores what a copy of the log, a writer and the ending of a session do, in every
// order of events, within limits.
//
// It is nothing but tests. All of it, this comment excepted, is built with the tag model, as are
// the files state*.go of the packages that it drives:
//
//	go test -tags model ./internal/model    one fault on one and two nodes, random schedules, and
//	                                        the rules left out one by one, in seconds
//	make model                              two faults on one to three nodes: half an hour, and
//	                                        several GB of memory
//
// state_test.go and events_test.go are the places to begin: what a state consists of, and the
// events that change it.
//
// It drives the very code that ships: [revocation.Copy], [revocation.Writer], [revocation.Lines]
// and [session.End] are pure state machines, and what package redislog does around them, step by
// step, is mirrored here (events_test.go, step_test.go, requests_test.go and their neighbours).
// Redis is a small model of its own: servers that hold a log, a head, lines and session records,
// and take the same steps as the scripts. A test runs those steps side by side with the real
// scripts on a real Redis, so that the two cannot drift apart.
//
// # What is explored
//
// Breadth first, every state that is reached by any order of: heartbeats, reads, appends and their
// confirmation, mending, a request to end a session at any moment, replicas that join, and up to
// the limit's number of faults at any moment. The faults: a process dies and starts again; is
// stopped (also with its heartbeat under way) and goes on; its connection is cut, before or after
// Redis took the step; Redis stands still, so that connections are stuck; restarts with what it
// had, with what an older disk has, or empty; FLUSHALL; the oldest entries trimmed, up to all of
// them; the head deleted; a replica is cut off; a replica that misses the last writes takes the
// primary's place, which dies or answers on, and, of three servers, may keep the third as its
// replica.
//
// Each state is held to S2, S3, S4 (as far as it speaks of so many faults), S1 and S6 (a gate that
// allows has been confirmed since no acknowledgement), and S7 (nothing is acknowledged that is not
// stored on enough servers); from each n-th, a fair schedule without faults must lead to where all
// is well (L1). The first violation in breadth is the shortest.
//
// With Limits.Ages a token's life passes at once, at any moment at which nobody waits for an
// answer, and somebody has logged out meanwhile: entries of tokens have expired then and are
// trimmed, past the entry of a session of another issuer, which lives on, and is carried on. Walks
// have it, too.
//
// # What makes it end
//
// Time moves in heartbeats, and now stands still while memories get older, none beyond what makes a
// difference. Random bits of epochs are numbers. Every process has one heartbeat in each tick, in
// one order in all ticks; of the two orders that three processes can have in a circle,
// Limits.Backwards is the other one. A script and its WAIT are one step, unless a fault comes
// between (Limits.Split takes them apart). What commutes is done in one order only:
//
//   - That a process dies, stops or goes on makes no difference to others before its own next step
//     would have come. So it dies or stops only when that is due, or when all others have done
//     theirs before time passes, and starts or goes on only as a tick begins. The same holds for
//     servers that stand still or join.
//   - A connection is found broken as it is used.
//   - A replica's lag matters only if it takes the primary's place: so it begins to lag as it is
//     chosen to, and does so within the tick. Other lag is WAIT's taking longer.
//   - A gate writes nothing that others judge by, so one gate stands for all.
//   - Of equal replicas, one is chosen; the first request is the first issuer's.
//
// # What is not covered
//
// More than two issuers; two requests at once together with two faults; of three nodes, two faults
// when the third stays with a deposed primary (Limits.Together; one fault is explored); settle and
// max_staleness longer than two and three heartbeats; heartbeats whose order changes from tick to
// tick; entries that expire while a request is under way, or a second time; an append that a stuck
// connection delivers after the issuer has given it up; clocks that run apart; refresh tokens;
// Redis Cluster's moving slots. How old a line is that is there, an issuer is taken to know exactly.
// Session records are marked as their scripts mark them, but no test compares these with the
// scripts.
//
// Walk takes random schedules of the same machines, with longer times and more requests. The fault
// harness (e2e/faults) covers the programs themselves.
package model
