// Package strict reads JSON (RFC 8259) that comes from strangers.
//
// It promises that a document which it accepts has one meaning for every reader: no name stands
// twice in an object, at any depth and however it is escaped; strings are valid UTF-8 and escaped
// surrogates come in pairs; numbers keep their text, so that no rounding is possible; nothing but
// white space follows the value. Nesting is bounded, and work and memory grow in proportion to the
// document's length.
package strict
