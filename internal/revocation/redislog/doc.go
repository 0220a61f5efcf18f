// Package redislog keeps the revocation log on Redis: it drives the state machines of package
// revocation with one connection for the heartbeat and one for reading, and, at an issuer, one for
// appending.
//
// A [Gate] reads; an [Issuer] is a gate that also appends. Both promise what package revocation
// promises, and an Issuer that [Issuer.Append] returns without an error only when the entries are
// stored as the settings ask: in the log, on min_replicas of its replicas, and at another issuer if
// one is alive.
package redislog
