package josetest

import (
	"sort"
	"strings"
	"time"

	"github.com/sallyport/sallyport/internal/token"
)

const hour = time.Hour

// ClaimFormAttacks are well signed, and their claims are not one JSON object in one meaning.
func (s Setup) ClaimFormAttacks() []Attack {
	good := s.Claims.JSON()
	inside := good[1 : len(good)-1]
	var all []Attack
	for name, text := range map[string]string{
		"claims a list":                 "[" + good + "]",
		"claims an empty list":          "[]",
		"claims a string":               Text(good),
		"claims a number":               "1",
		"claims null":                   "null",
		"claims true":                   "true",
		"claims cut off":                good[:len(good)-1],
		"claims twice":                  good + good,
		"claims and more":               good + "x",
		"claims and a NUL":              good + "\x00",
		"claims with a trailing comma":  "{" + inside + ",}",
		"claims with a comment":         "{" + inside + "/**/}",
		"claims with a byte order mark": "\xef\xbb\xbf" + good,
		"claims in UTF-16":              utf16(good),
		"claims not UTF-8":              "{" + inside + ",\"x\":\"\xff\"}",
		"claims with an overlong slash": "{" + inside + ",\"x\":\"\xc0\xaf\"}",
		"claims with a raw surrogate":   "{" + inside + ",\"x\":\"\xed\xa0\x80\"}",
		"claims with half a surrogate":  "{" + inside + `,"x":"\ud800"}`,
		"claims with a raw newline":     "{" + inside + ",\"x\":\"\n\"}",
		"claims nested deeply":          "{" + inside + `,"x":` + strings.Repeat("[", 2000) + strings.Repeat("]", 2000) + "}",
		"claims nested one too deeply":  "{" + inside + `,"x":` + strings.Repeat("[", 16) + strings.Repeat("]", 16) + "}",
		"claims with a leading zero":    "{" + inside + `,"x":01}`,
		"claims with plus":              "{" + inside + `,"x":+1}`,
		"claims with hexadecimal":       "{" + inside + `,"x":0x1}`,
		"claims with Infinity":          "{" + inside + `,"x":Infinity}`,
	} {
		all = append(all, s.withClaims(name, text, token.ReasonClaims))
	}
	sort.Slice(all, func(i, j int) bool { return all[i].Name < all[j].Name })
	for _, name := range []string{"iss", "sub", "aud", "exp", "iat", "jti"} {
		escaped := `\u00` + hex(name[0]) + name[1:]
		all = append(
			all,
			s.withClaims(name+" twice", s.Claims.And(name, s.Claims.Get(name)).JSON(),
				token.ReasonClaimDuplicate),
			s.withClaims(name+" twice, another first", s.Claims.Before(name, `"x"`).JSON(),
				token.ReasonClaimDuplicate),
			s.withClaims(name+" twice, once with an escape", s.Claims.And(escaped, `9999999999`).JSON(),
				token.ReasonClaimDuplicate),
		)
	}
	return append(
		all,
		s.withClaims("a name twice further down", s.Claims.And("x", `{"y":[{"z":1,"z":2}]}`).JSON(),
			token.ReasonClaimDuplicate),
	)
}

func hex(c byte) string {
	const digits = "0123456789abcdef"
	return string([]byte{digits[c>>4], digits[c&15]})
}

// ClaimAttacks are well signed and well formed, and what they claim is not acceptable.
func (s Setup) ClaimAttacks() []Attack {
	with := func(name, raw string, r token.Reason) Attack {
		return s.withClaims(name+" "+brief(raw), s.Claims.With(name, raw).JSON(), r)
	}
	without := func(name string, r token.Reason) Attack {
		return s.withClaims(name+" absent", s.Claims.Without(name).JSON(), r)
	}
	all := []Attack{
		without("exp", token.ReasonExpiryMissing),
		without("iat", token.ReasonIssuedAtMissing),
		without("iss", token.ReasonIssuer),
		without("sub", token.ReasonSubject),
		without("jti", token.ReasonTokenID),
		without("aud", token.ReasonAudienceMissing),
		s.withClaims("no claims at all", "{}", token.ReasonIssuer),
		s.withClaims("exp in other case",
			s.Claims.Without("exp").And("EXP", s.Claims.Get("exp")).JSON(),
			token.ReasonExpiryMissing),
	}
	for _, date := range []string{"exp", "iat", "nbf"} {
		for _, raw := range badDates {
			all = append(all, with(date, raw, token.ReasonDate))
		}
		all = append(all, with(date, `"`+Seconds(s.Now)+`"`, token.ReasonDate))
	}
	for _, raw := range notStrings {
		all = append(all, with("iss", raw, token.ReasonIssuer),
			with("sub", raw, token.ReasonSubject), with("jti", raw, token.ReasonTokenID))
	}
	for _, raw := range append([]string{`1`, `null`, `true`, `{}`}, badAudiences...) {
		all = append(all, with("aud", raw, token.ReasonAudience))
	}
	all = append(all, s.strangeIssuers()...)
	return append(all, s.outOfTime()...)
}

var badDates = []string{
	`0`,
	`-1`,
	`-0`,
	`-9223372036854775808`,
	`253402300800`,
	`9223372036854775807`,
	`9223372036854775808`,
	`18446744073709551616`,
	`1e300`,
	`1E9`,
	`1e9`,
	`1700000000.5`,
	`1700000000.0`,
	`"2099-01-01T00:00:00Z"`,
	`"never"`,
	`""`,
	`null`,
	`true`,
	`[]`,
	`[1700000000]`,
	`{}`,
}

var notStrings = []string{
	`""`,
	`1`,
	`null`,
	`true`,
	`[]`,
	`["alice"]`,
	`{}`,
	`"a\u0000"`,
	`"\u0000"`,
	`"a\nb"`,
	`"a\u007f"`,
	`"a\u0085b"`,
	"\"a\u200bb\"",
	"\"a\u202eb\"",
	"\"\ufeffa\"",
	`"a\u2028b"`,
	"\"a\ufffdb\"",
}

var badAudiences = []string{
	`""`,
	`"another-service"`,
	`[]`,
	`[""]`,
	`["another-service"]`,
	`["another-service","third"]`,
	`[["another-service"]]`,
	`["another-service",1]`,
	`[null]`,
	`{"another-service":true}`,
}

// strangeIssuers are almost the trusted one.
func (s Setup) strangeIssuers() []Attack {
	iss := strings.Trim(s.Claims.Get("iss"), `"`)
	var all []Attack
	for name, other := range map[string]string{
		"iss with a slash more": iss + "/", "iss with a letter less": iss[:len(iss)-1],
		"iss in other case": swapCase(iss), "iss with something behind": iss + ".evil.example",
		"iss inside another": "https://evil.example/" + iss, "iss with a blank": iss + " ",
		"iss that is another": "https://evil.example",
	} {
		all = append(all,
			s.withClaims(name, s.Claims.With("iss", Text(other)).JSON(), token.ReasonUnknownIssuer))
	}
	sort.Slice(all, func(i, j int) bool { return all[i].Name < all[j].Name })
	return append(
		all,
		s.withClaims("iss a list with the trusted one",
			s.Claims.With("iss", "["+s.Claims.Get("iss")+"]").JSON(), token.ReasonIssuer),
		s.withClaims("iss a list that begins with the trusted one",
			s.Claims.With("iss", "["+s.Claims.Get("iss")+`,"https://evil.example"]`).JSON(),
			token.ReasonIssuer),
	)
}

// outOfTime are too old, too young, too long.
func (s Setup) outOfTime() []Attack {
	at := func(d time.Duration) string { return Seconds(s.Now.Add(d)) }
	return []Attack{
		s.withClaims("expired a minute ago",
			s.Claims.With("iat", at(-30*time.Minute)).With("exp", at(-time.Minute)).JSON(),
			token.ReasonExpired),
		s.withClaims("expired long ago",
			s.Claims.With("iat", `1000000000`).With("exp", `1000000060`).JSON(), token.ReasonExpired),
		s.withClaims("nbf in the future", s.Claims.With("nbf", at(5*time.Minute)).JSON(),
			token.ReasonNotYetValid),
		s.withClaims("iat in the future",
			s.Claims.With("iat", at(5*time.Minute)).With("exp", at(10*time.Minute)).JSON(),
			token.ReasonIssuedInFuture),
		s.withClaims("a lifetime of ten years", s.Claims.With("exp", at(10*365*24*hour)).JSON(),
			token.ReasonLifetime),
		s.withClaims("exp in the year 9999", s.Claims.With("exp", `253402300799`).JSON(),
			token.ReasonLifetime),
		s.withClaims("exp before iat",
			s.Claims.With("iat", at(time.Second)).With("exp", at(0)).JSON(),
			token.ReasonLifetime),
	}
}

func brief(raw string) string {
	if len(raw) > 40 {
		return raw[:40]
	}
	return raw
}
