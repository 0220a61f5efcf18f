// Package mesh runs a whole mesh on this machine: Redis, issuers, gates, Envoy and a small
// upstream, configured to work together: for `sallyport demo` and, through package meshtest, for
// tests.
//
// It promises:
//   - A mesh that has started is ready: every gate has keys and a complete copy of the revocation
//     log, Envoy knows every gate to be healthy, and endpoints.json, which says where everything
//     is, was moved into place last.
//   - It runs as a whole or not at all: when a child exits that nobody stopped, everything is
//     stopped, and Wait says which child it was, with the end of its log.
//   - It leaves no process behind: each child is the leader of a process group of its own, which is
//     stopped as a whole; on Linux a child is killed when this process ends, even by SIGKILL.
//   - The files it writes (issuer.yaml, authz.yaml, envoy.yaml, users.yaml) are the ones its
//     children run from, and a starting point for an installation of one's own.
package mesh
