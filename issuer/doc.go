// Package issuer is door one: it checks who you are and hands out tokens, over HTTP.
//
// It promises:
//
//   - Nothing is handed out or acknowledged unless it is stored: whatever goes wrong with storage
//     is a 503 (S7).
//   - An unknown name, a disabled user and a wrong password get the same bytes after the same work.
//   - A request is read strictly before anything is looked up: its method, its type, its size, one
//     JSON object of known members. No endpoint takes or gives a token in a URL.
//   - What a stranger can make it do is bounded: connections, requests at a time, bytes, time,
//     memory of the throttle.
//   - No answer, log line or metric holds a password or token; errors are out of a fixed catalogue.
//
// One file holds one endpoint. Handlers give a reply or an error; answer.go turns either into
// bytes.
package issuer
