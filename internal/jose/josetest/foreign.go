package josetest

import (
	"maps"
	"slices"

	"github.com/sallyport/sallyport/internal/token"
)

// harmless are what only our own issuers may not write: the RFCs allow it, and it says what the
// good token says. A token without a kid is among them where its issuer has one key.
var harmless = []string{
	"jwk beside a good signature", "jku beside a good signature", "alg spelled with an escape",
	"twin Alg", "twin ALG before", "alg with the Kelvin sign", "unknown name", "claims in the header",
	"empty name", "prototype", "x5t a number", "typ in other case", "typ with its tree", "kid missing",
	"header after a blank", "header and a newline", "header with blanks", "header with a tab",
	"header with CR LF", "nbf 1E9", "nbf 1e9", "nbf 1700000000.5", "nbf 1700000000.0",
	"nbf 0", "nbf -0",
}

// elsewhere are the reasons that are others where another issuer's tokens are read: what brings a
// key is not looked at, so that the thief's signature is what is wrong with it; and dates that are
// read are found to be long ago.
var elsewhere = map[string]token.Reason{
	"jwk of the thief":                       token.ReasonSignature,
	"jku of the thief":                       token.ReasonSignature,
	"x5u of the thief":                       token.ReasonSignature,
	"x5c of the thief":                       token.ReasonSignature,
	"alg spelled twice, once with an escape": token.ReasonHeaderDuplicate,
	"kid with NUL escaped":                   token.ReasonKeyID,
	"exp 1E9":                                token.ReasonLifetime,
	"exp 1e9":                                token.ReasonLifetime,
	"exp 1700000000.5":                       token.ReasonLifetime,
	"exp 1700000000.0":                       token.ReasonLifetime,
	"iat 1E9":                                token.ReasonLifetime,
	"iat 1e9":                                token.ReasonLifetime,
	"iat 1700000000.5":                       token.ReasonLifetime,
	"iat 1700000000.0":                       token.ReasonLifetime,
}

// toForeign tells attacks apart by what they are to an entry for another's issuer.
func toForeign(attacks []Attack) (hostile, accepted []Attack) {
	missing := map[string]bool{}
	for _, name := range slices.Concat(harmless, slices.Collect(maps.Keys(elsewhere))) {
		missing[name] = true
	}
	for _, a := range attacks {
		delete(missing, a.Name)
		if slices.Contains(harmless, a.Name) {
			a.Reason = ""
			accepted = append(accepted, a)
			continue
		}
		if reason, ok := elsewhere[a.Name]; ok {
			a.Reason = reason
		}
		hostile = append(hostile, a)
	}
	if len(missing) > 0 {
		panic("josetest: expected these attacks in the catalogue: " +
			slices.Sorted(maps.Keys(missing))[0])
	}
	return hostile, accepted
}
