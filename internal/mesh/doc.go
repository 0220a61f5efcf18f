// Package mesh runs a whole mesh on this machine: Redis, issuers, gates, Envoy and a small
// upstream, configured to work together. `sallyport demo` shows it to people, package meshtest
// gives it to tests.
//
// It promises:
//   - A mesh that has started is ready: every gate has keys and a complete copy of the revocation
//     log, Envoy knows every gate to be healthy, and endpoints.json, which says where everything
//     is, was moved into place last.
//   - It stands or falls as one: when a child dies that nobody meant to end, everything is
//     stopped, and Wait says which child it was, with the end of its log.
//   - It leaves no strays: each child is the leader of a process group of its own, which is ended
//     as a whole; on Linux a child dies with this process, even when this process is killed with
//     SIGKILL.
//   - The files it writes (issuer.yaml, authz.yaml, envoy.yaml, users.yaml) are the ones its
//     children run from, and a starting point for an installation of one's own.
package mesh
