// Package josetest makes hostile tokens, for the tests of whoever judges tokens: parsers,
// verifiers, the gate, the real proxy before it.
//
// Everything is written by hand, byte by byte, so that nothing on the way corrects it. Each Attack
// names the reason by which it has to be refused. It panics when it cannot do what a test asks.
package josetest
