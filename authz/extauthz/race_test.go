//go:build race

package extauthz

// What the race detector keeps beside each object is counted as heap.
const heapFactor = 2
