//go:build !race

package credential

// flood is how many names fail in the test of flooding.
const flood = 1_000_000
