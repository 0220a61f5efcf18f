// Package meshtest runs for tests a whole stack of real processes: redis-server, issuers, gates and
// Envoy, built from this working tree.
//
// It promises: a stack that Start returns is ready; it is gone when the test ends; a program that
// is missing fails the test with a line that says what to install, never skips it; when a test
// fails, the ends of all the children's logs are in its output.
package meshtest
