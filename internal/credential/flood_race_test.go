//go:build race

package credential

// flood is smaller under the race detector, which is some 20 times slower and sees nothing new in
// more.
const flood = 100_000
