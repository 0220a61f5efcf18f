// Package faults brings faults about in a whole installation, and judges what it did by the
// promises S1 to S8, L1 and L2. All of it is test files: make faults runs it.
//
// A schedule is made from a seed: real redis-servers (one, a primary with replicas and sentinels,
// or a cluster), one or two issuers and three gates as processes, and clients that log in, refresh,
// log out, revoke and call all the time. Faults happen at the times the seed says, no more at once
// than there are issuers. Everything that a client did and was told goes into a history with
// monotonic times, and a pure function judges the history.
package faults
