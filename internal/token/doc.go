// Package token knows what a token says and the rules on it, and nothing of keys, networks or the
// time of day.
//
// It promises that a token's claims have one meaning: they are read strictly (no duplicate names,
// no number where a string belongs, no string where a date belongs), under the Profile of the one
// issuer that they name, and that whatever the profile does not allow is refused with a Reason of
// its own. A Profile that says nothing allows nothing: without an audience no token is read. What
// depends on the time is apart (Profile.CheckTime), so that what does not may be cached.
//
// The claims of our own tokens are those of RFC 9068; Claims.Marshal writes them in one fixed
// order.
package token
