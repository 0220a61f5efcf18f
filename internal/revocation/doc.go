// Package revocation is the core of instant revocation: what an entry of the revocation log is, the
// set of live entries a token is checked against, and the state machines of a gate's replica and an
// issuer's writer.
//
// It promises that a token once known to be revoked is denied until it has expired, whatever
// happens to the log; that a copy of the log counts as complete only when every entry from the
// first to the last has been seen, each chained to the one before; and that nobody is called fresh
// who could have missed an entry for longer than max_staleness.
//
// Everything here is pure: no Redis, no goroutine, no clock. Events and an [Instant] go in, what to
// do comes out, so that a model can drive the very code that runs. Package redislog is the driver.
package revocation
