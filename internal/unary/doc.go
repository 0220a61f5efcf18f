// Package unary serves unary gRPC calls over HTTP/2, for answers that take microseconds.
//
// A server for every kind of call hands each one from goroutine to goroutine: from the one that reads
// to one that answers, and on to one that writes. For a check of some microseconds these hand-overs are
// most of its time. Here the goroutine that reads a connection answers what can be answered at once,
// and writes all its answers together before it waits for more. What takes longer is left to workers,
// and what has to wait gets a goroutine of its own ([Method]).
//
// Frames and header fields are read by golang.org/x/net/http2. This package has the rest of
// RFC 9113 for a server, and of gRPC's protocol over it what unary calls need: no compression, no
// metadata but the timeout, and no trailers.
//
// It promises:
//   - A call is answered once, or reset, whatever becomes of the connection's other calls.
//   - What a peer can cause is bounded: calls at a time, bytes of messages that are not whole or not
//     sent yet, header fields, how long a connection may be silent, and how long it may leave an answer
//     unread.
//   - A panic ends a call, or its connection, and never the process.
package unary
