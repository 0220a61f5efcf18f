//go:build !race

package extauthz

const heapFactor = 1
