// Package revocation is the core of instant revocation: what an entry of the revocation log is, and
// the state machines of a gate's copy of the log ([Copy]) and an issuer's ([Writer]). The set of
// live entries that tokens are checked against is package liveset.
//
// It promises that a token once known to be revoked is denied until it has expired, whatever
// happens to the log; that a copy of the log counts as complete only when every entry from the
// first to the last has been read, each chained to the one before; and that nobody is called fresh
// who could have missed an entry for longer than max_staleness.
//
// Everything here is pure: no Redis, no goroutine, no clock. Events and an [Instant] go in, what to
// do comes out, so that a model can drive the very code that runs (package internal/model; the
// files state*.go, built with the tag model, are for it). Package redislog is the driver.
package revocation
