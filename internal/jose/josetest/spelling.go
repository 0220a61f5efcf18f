package josetest

import (
	"sort"
	"strings"

	"github.com/sallyport/sallyport/internal/token"
)

// SpellingAttacks write a good token otherwise, or as another kind of document.
func (s Setup) SpellingAttacks() []Attack {
	h, c, sig := s.parts()
	good := h + "." + c + "." + sig
	all := []Attack{
		{"no token", "", token.ReasonSegments},
		{"one word", "token", token.ReasonSegments},
		{"one part", h, token.ReasonSegments},
		{"two parts", h + "." + c, token.ReasonSegments},
		{"four parts", good + "." + sig, token.ReasonSegments},
		{"five parts", h + ".AAAA.AAAA.AAAA.AAAA", token.ReasonSegments},
		{
			"five parts, compressed",
			Encode(
				`{"alg":"dir","enc":"A128GCM","zip":"DEF"}`,
			) + "..AAAA." + Encode(Deflated(1<<20)) + ".AAAA",
			token.ReasonSegments,
		},
		{
			"three parts, compressed",
			Encode(`{"alg":"dir","enc":"A128GCM","zip":"DEF"}`) + "." + Encode(Deflated(1<<20)) + ".AAAA",
			token.ReasonHeaderEncrypted,
		},
		{"two dots", "..", token.ReasonSegments},
		{"no header", "." + c + "." + sig, token.ReasonSegments},
		{"no claims", h + ".." + sig, token.ReasonSegments},
		{"a dot at the end", good + ".", token.ReasonSegments},
		{"a dot before", "." + good, token.ReasonSegments},
		{"a million dots", strings.Repeat(".", 1_000_000), token.ReasonTooLong},
		{"eight thousand dots", strings.Repeat(".", 8000), token.ReasonSegments},
		{
			"over 8 KiB",
			s.Key.Token(s.header().JSON(), s.Claims.And("pad", Text(strings.Repeat("x", 7000))).JSON()),
			token.ReasonTooLong,
		},
		{
			"flattened JSON",
			`{"protected":"` + h + `","payload":"` + c + `","signature":"` + sig + `"}`,
			token.ReasonSegments,
		},
		{
			"general JSON",
			`{"payload":"` + c + `","signatures":[{"protected":"` + h + `","signature":"` + sig + `"}]}`,
			token.ReasonSegments,
		},
		{"general JSON, none good", `{"payload":"` + c + `","signatures":[]}`, token.ReasonSegments},
		{"a refresh token", "c2lk~MDEyMzQ1Njc4OWFiY2RlZg.7.bWFj", token.ReasonBase64},
		{"an opaque token", "ory_at_Wnk3bTFIR0pTQ0pYT0Q", token.ReasonSegments},
	}
	return append(append(all, s.base64Attacks(h, c, sig)...), s.blankAttacks(h, c, sig)...)
}

// base64Attacks respell one part.
func (s Setup) base64Attacks(h, c, sig string) []Attack {
	var all []Attack
	respell := func(name string, part func(string) string) {
		for i, which := range []string{"header", "claims", "signature"} {
			parts := []string{h, c, sig}
			if parts[i] = part(parts[i]); parts[i] != []string{h, c, sig}[i] {
				all = append(all,
					Attack{name + " in the " + which, strings.Join(parts, "."), token.ReasonBase64})
			}
		}
	}
	respell("padding", func(p string) string { return p + "=" })
	respell("padding as standard has it",
		func(p string) string { return p + strings.Repeat("=", (4-len(p)%4)%4) })
	respell("stray trailing bits", strayBits)
	respell("the standard alphabet",
		func(p string) string {
			return p[:len(p)-4] + strings.NewReplacer("-", "+", "_", "/").Replace("_-_-")
		})
	respell("a percent escape", func(p string) string { return p[:len(p)-1] + "%41" })
	respell("a NUL", func(p string) string { return p + "\x00" })
	respell("a letter that is not ASCII", func(p string) string { return p[:len(p)-1] + "é" })
	respell("one letter of four", func(p string) string { return p[:len(p)-len(p)%4] + "A" })
	respell("bytes that are not UTF-8", func(p string) string { return p + "\xff\xfe" })
	return all
}

// strayBits sets bits of the last letter that decode to nothing: lenient readers give the same
// bytes.
func strayBits(p string) string {
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
	if len(p)%4 == 0 {
		return p
	}
	return p[:len(p)-1] + string(alphabet[strings.IndexByte(alphabet, p[len(p)-1])|1])
}

// blankAttacks put white space where it would be skipped.
func (s Setup) blankAttacks(h, c, sig string) []Attack {
	good := h + "." + c + "." + sig
	var all []Attack
	for name, blank := range map[string]string{
		"a space": " ", "a tab": "\t", "a newline": "\n", "CR LF": "\r\n", "a no-break space": "\u00a0",
		"a zero-width space": "\u200b",
	} {
		for where, text := range map[string]string{
			"before":               blank + good,
			"behind":               good + blank,
			"in the header":        h[:5] + blank + h[5:] + "." + c + "." + sig,
			"in the claims":        h + "." + c[:5] + blank + c[5:] + "." + sig,
			"in the signature":     h + "." + c + "." + sig[:5] + blank + sig[5:],
			"before the first dot": h + blank + "." + c + "." + sig,
			"behind the first dot": h + "." + blank + c + "." + sig,
			"behind the last dot":  h + "." + c + "." + blank + sig,
		} {
			all = append(all, Attack{name + " " + where, text, token.ReasonBase64})
		}
	}
	sort.Slice(all, func(i, j int) bool { return all[i].Name < all[j].Name })
	return all
}

// SignatureAttacks take the signature away, or bring another.
func (s Setup) SignatureAttacks() []Attack {
	h, c, sig := s.parts()
	thief := NewKey(s.Key.Algorithm, s.Key.ID)
	raw := Decode(sig)
	other := strings.Split(s.Key.Token(s.header().JSON(), s.Claims.And("other", `1`).JSON()), ".")
	all := []Attack{
		{"signature stripped", h + "." + c + ".", token.ReasonUnsigned},
		{"signature cut in half", h + "." + c + "." + Encode(raw[:len(raw)/2]), token.ReasonSignature},
		{"signature of one byte", h + "." + c + "." + Encode("\x00"), token.ReasonSignature},
		{
			"signature of zeros",
			h + "." + c + "." + Encode(strings.Repeat("\x00", len(raw))),
			token.ReasonSignature,
		},
		{
			"signature of ones",
			h + "." + c + "." + Encode(strings.Repeat("\xff", len(raw))),
			token.ReasonSignature,
		},
		{"signature one byte longer", h + "." + c + "." + Encode(raw+"\x00"), token.ReasonSignature},
		{"signature twice", h + "." + c + "." + Encode(raw+raw), token.ReasonSignature},
		{"signature of another token", h + "." + c + "." + other[2], token.ReasonSignature},
		{"claims of another token", h + "." + other[1] + "." + sig, token.ReasonSignature},
		{
			"signature by another's key",
			thief.Token(s.header().JSON(), s.Claims.JSON()),
			token.ReasonSignature,
		},
		{
			"role added",
			h + "." + Encode(s.Claims.With("roles", `["admin","root"]`).JSON()) + "." + sig,
			token.ReasonSignature,
		},
		{
			"expired and badly signed",
			thief.Token(s.header().JSON(),
				s.Claims.With("iat", Seconds(s.Now.Add(-2*hour))).With("exp", Seconds(s.Now.Add(-hour))).JSON()),
			token.ReasonSignature,
		},
	}
	for _, at := range []int{0, len(raw) / 2, len(raw) - 1} {
		flipped := []byte(raw)
		flipped[at] ^= 1
		all = append(
			all,
			Attack{
				"signature with one bit flipped",
				h + "." + c + "." + Encode(string(flipped)),
				token.ReasonSignature,
			},
		)
	}
	if !isEC(s.Key) {
		return all
	}
	var forged []Attack
	for name, text := range ecSignatures(s.Key, s.Good()) {
		forged = append(forged, Attack{"signature " + name, text, token.ReasonSignature})
	}
	sort.Slice(forged, func(i, j int) bool { return forged[i].Name < forged[j].Name })
	return append(all, forged...)
}
