// Package session keeps sessions and their refresh tokens in Redis.
//
// It promises:
//
//   - A refresh token works once. The same token again within the grace window, from when it was
//     first spent, gives the same successor, whether that is spent or not; a spent token after
//     that, or one of more than eight spent since, ends the session and revokes it (S5).
//   - Once the end of a session is acknowledged, no refresh token of it works, and its revocation
//     is stored in the log (S6). The record of a session alone never earns an acknowledgement: the
//     log does.
//   - Nothing is acknowledged that Redis did not store on as many replicas as configured (S7).
//   - Redis holds a counter and what the session keeps of its login, never a token: whoever steals
//     its memory can refresh nothing.
//   - Everything expires by itself: a session's record with the session, a user's record with the
//     last of the user's sessions.
//
// Every step is one script on a user's keys, which are all in one slot of a cluster: scripts.go
// says what they hold. [End] has the order in which a session ends, and why it is that one;
// session.go has what sessions are, store.go the [Store] that keeps them.
package session
