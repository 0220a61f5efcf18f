// Package authz is a gate's judgement: Engine.Decide takes a request and says whether it may pass,
// as whom, and if not, what the client is told. It knows no transport. What it needs to know of
// keys, revocations and time comes through small interfaces that look at snapshots; nothing here
// waits for anything.
//
// It promises:
//   - Deny is the zero value: a Decision that nobody filled in refuses, and a panic inside becomes
//     a refusal.
//   - A token is taken from exactly one place, and believed only after its signature has been
//     verified by a key of the issuer that it names, under that issuer's profile.
//   - The cache of verified tokens stores what the signature said, by the whole token, and nothing
//     else: time, revocation and policy are judged on every request, and whatever was verified
//     under keys that have changed is forgotten.
//   - A token known to be revoked is refused as revoked (401) however stale the gate's copy of the
//     revocations is; what the gate cannot know is refused with 503, never allowed, unless the
//     route says allow_stale by name.
//   - A request that passes by a token has to end with it, unless its route says otherwise;
//     transports are told so.
//   - The headers that tell the upstream who is calling are the gate's own: always overwritten,
//     removed when there is nothing to say, in every spelling that a server might fold into the
//     same name.
//
// The order is: route; public?; take the token; verify it; revoked?; its time; is the copy fresh?;
// what the route requires.
package authz
