// Package ssf reads security events, and says which revocations they ask for: the messages of
// OpenID Shared Signals Framework 1.0 (SSF), of its profiles CAEP 1.0 and RISC 1.0, and of
// RFC 8417 and RFC 9493, which they stand on.
//
// It promises:
//
//   - Pure: a message's claims and the time go in, requests come out. Who signed the message, and
//     whether for us, is for others to find out first.
//   - A message means one thing or is refused: a name that stands twice, a claim of another type,
//     an exp or sub, which an SSF message never has.
//   - A message ends no session of an issuer that its sender does not speak for.
//   - What a message asks for is done as asked or wider, never narrower, and never wider than all
//     of one user or tenant. What cannot be told from it is an outcome of its own, to be counted.
//   - What only narrows an event, as its time does, is left out of account when it makes no sense,
//     instead of the event.
package ssf

import "fmt"

// Code is the err of an answer that refuses a message, as the registry of RFC 8935 section 7.1.1
// and SSF section 10 have them.
type Code string

// The codes.
const (
	InvalidRequest       Code = "invalid_request"
	InvalidKey           Code = "invalid_key"
	InvalidIssuer        Code = "invalid_issuer"
	InvalidAudience      Code = "invalid_audience"
	AuthenticationFailed Code = "authentication_failed"
	AccessDenied         Code = "access_denied"
	InvalidState         Code = "invalid_state"
)

// Error is why a message is refused. Its description holds nothing out of the message.
type Error struct {
	Code        Code
	Description string
}

func (e *Error) Error() string { return "ssf: " + string(e.Code) + ": " + e.Description }

// Refuse returns an Error with a description.
func Refuse(code Code, format string, args ...any) error {
	return &Error{Code: code, Description: fmt.Sprintf(format, args...)}
}
