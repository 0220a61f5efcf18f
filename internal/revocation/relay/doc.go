// Package relay serves the revocation log to gates, over the protocol that they speak to Redis, so
// that one Redis carries as many gates as there are relays times gates at each. To a gate a relay
// is a Redis: its settings say the relay's address, and nothing else in it differs.
//
// It promises:
//   - Of RESP2 it reads the commands that a gate sends, in the form that a gate gives them, and
//     nothing else: whoever sends anything else is told so, and cut off.
//   - Nobody is answered before he has said the password, if there is one.
//   - Who has not said it holds no place of those who know it, however many they are.
//   - Whatever a client does is bounded: the length of a command, the connections, and what is
//     buffered for it, which is the answer to one command. One that does not read is cut off.
//   - A gate's heartbeat is answered with what Redis has answered to a heartbeat sent after it had
//     come, or not at all; and over one connection of a gate's, with what came over one connection
//     to Redis. What keeps a gate fresh is therefore Redis' word, and never the relay's
//     ([redislog.Relay]).
package relay
