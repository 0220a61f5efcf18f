//go:build !seededbugs

package seeded

// On reports whether a bug is at work. It never is: this is a build as usual.
func On(Bug) bool { return false }

// OneOf reports whether one of several is at work.
func OneOf(...Bug) bool { return false }

// Script gives a Lua script as the bug that is on would have it: here, as it is.
func Script(source string) string { return source }
