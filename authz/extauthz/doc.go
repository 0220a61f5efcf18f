// Package extauthz is Envoy's ext_authz (envoy.service.auth.v3.Authorization) over gRPC in front of
// an authz.Engine.
//
// It promises:
//   - The RPC itself succeeds for every message that fits the limits, and
//     CheckResponse.status.code is non-zero for every refusal: Envoy looks at nothing else, and an
//     empty CheckResponse would let a request through. An answer that nobody filled in marshals to
//     a refusal.
//   - Nil, empty, contradictory and malformed requests are refused.
//   - What a stranger can send is bounded: message size, streams of a connection, connections,
//     waiting for keys, audit lines, and the labels of metrics.
//   - The health service answers SERVING only while the gate is ready, asked anew each time.
//
// A CheckRequest is not unmarshalled: its bytes are walked once, taking views of what a decision
// needs. An answer that is the same for a token or a reason is marshalled once.
package extauthz
