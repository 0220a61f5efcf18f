// Package seeded holds the switches of seeded bugs: each breaks one rule of the revocation log or of sessions, so that it
// can be shown that a test notices when the rule is left out. `make bugs` turns them on one by one and prints what caught
// each.
//
// A program built as usual holds none of them: [On] is a constant there, and what stands behind it is not compiled in.
// Only the build tag seededbugs brings them to life, and then the environment variable SALLYPORT_SEEDED_BUG names the one
// that is on. Such a program is for tests, and says so.
package seeded
