package josetest

import (
	"bytes"
	"compress/flate"
	"sort"
	"strings"

	"github.com/sallyport/sallyport/internal/jose"
	"github.com/sallyport/sallyport/internal/token"
)

// HeaderAttacks put into the header what has no place there.
func (s Setup) HeaderAttacks() []Attack {
	h := s.header()
	thief := NewKey(s.Key.Algorithm, s.Key.ID)
	jwk := strings.TrimSuffix(strings.TrimPrefix(ParseObject(keySet(thief)).Get("keys"), "["), "]")
	forged := func(name, header string, r token.Reason) Attack {
		return Attack{name, thief.Token(header, s.Claims.JSON()), r}
	}
	all := []Attack{
		forged("jwk of the thief", h.And("jwk", jwk).JSON(), token.ReasonHeaderKey),
		forged("jku of the thief", h.And("jku", `"http://127.0.0.1:9/jwks.json"`).JSON(),
			token.ReasonHeaderKey),
		forged("x5u of the thief", h.And("x5u", `"http://127.0.0.1:9/cert.pem"`).JSON(),
			token.ReasonHeaderKey),
		forged("x5c of the thief", h.And("x5c", `["MIIB"]`).JSON(), token.ReasonHeaderKey),
		s.withHeader("jwk beside a good signature", h.And("jwk", jwk).JSON(), token.ReasonHeaderKey),
		s.withHeader("jku beside a good signature",
			h.And("jku", `"https://issuer.example.com/jwks.json"`).JSON(), token.ReasonHeaderKey),

		s.withHeader("crit unknown", h.And("crit", `["exp2"]`).And("exp2", `1`).JSON(),
			token.ReasonHeaderCrit),
		s.withHeader("crit empty", h.And("crit", `[]`).JSON(), token.ReasonHeaderCrit),
		s.withHeader("crit null", h.And("crit", `null`).JSON(), token.ReasonHeaderCrit),
		s.withHeader("crit with a standard name", h.And("crit", `["alg"]`).JSON(),
			token.ReasonHeaderCrit),
		s.withHeader("crit exp", h.And("crit", `["exp"]`).JSON(), token.ReasonHeaderCrit),
		s.withHeader("crit that says one thing twice", h.And("crit", `["b64","b64"]`).JSON(),
			token.ReasonHeaderCrit),
		s.withHeader("crit a string", h.And("crit", `"exp"`).JSON(), token.ReasonHeaderCrit),
		s.withHeader("crit twice", h.And("crit", `["exp"]`).And("crit", `["exp"]`).JSON(),
			token.ReasonHeaderDuplicate),
		s.withHeader("b64 false and critical", h.And("b64", `false`).And("crit", `["b64"]`).JSON(),
			token.ReasonHeaderCrit),
		s.withHeader("b64 false", h.And("b64", `false`).JSON(), token.ReasonHeaderCrit),
		s.withHeader("b64 true", h.And("b64", `true`).JSON(), token.ReasonHeaderCrit),

		s.withHeader("zip", h.And("zip", `"DEF"`).JSON(), token.ReasonHeaderEncrypted),
		s.withHeader("enc in three parts", h.And("enc", `"A256GCM"`).JSON(), token.ReasonHeaderEncrypted),
		s.withHeader("nested, cty JWT", h.And("cty", `"JWT"`).JSON(), token.ReasonHeaderEncrypted),
		s.withHeader("PBES2 with two thousand million rounds",
			h.With("alg", `"PBES2-HS256+A128KW"`).And("p2c", `2147483648`).And("p2s", `"AAAA"`).JSON(),
			token.ReasonHeaderEncrypted),

		s.withHeader("a name twice", h.And("alg", h.Get("alg")).JSON(), token.ReasonHeaderDuplicate),
		s.withHeader("alg none first, then good", h.Before("alg", `"none"`).JSON(),
			token.ReasonHeaderDuplicate),
		s.withHeader("alg good first, then none", h.And("alg", `"none"`).JSON(),
			token.ReasonHeaderDuplicate),
		s.withHeader("kid twice", h.And("kid", `"x"`).JSON(), token.ReasonHeaderDuplicate),
		s.withHeader("twin Alg", h.And("Alg", `"none"`).JSON(), token.ReasonHeaderUnknown),
		s.withHeader("twin ALG before", h.Before("ALG", `"none"`).JSON(), token.ReasonHeaderUnknown),
		s.withHeader("alg spelled with an escape",
			h.Without("alg").And(`\u0061lg`, Text(s.Key.Algorithm)).JSON(), token.ReasonHeader),
		s.withHeader("alg spelled twice, once with an escape", h.And(`\u0061lg`, `"none"`).JSON(),
			token.ReasonHeader),
		s.withHeader("alg with the Kelvin sign",
			h.Without("kid").And("\u212Aid", h.Get("kid")).JSON(), token.ReasonHeaderUnknown),
		s.withHeader("unknown name", h.And("foo", `1`).JSON(), token.ReasonHeaderUnknown),
		s.withHeader("claims in the header", h.And("iss", `"https://issuer.example.com"`).JSON(),
			token.ReasonHeaderUnknown),
		s.withHeader("empty name", h.And("", `1`).JSON(), token.ReasonHeaderUnknown),
		s.withHeader("prototype", h.And("__proto__", `{"alg":"none"}`).JSON(), token.ReasonHeaderUnknown),
		s.withHeader("x5t a number", h.And("x5t", `1`).JSON(), token.ReasonHeader),

		s.withHeader("typ missing", h.Without("typ").JSON(), token.ReasonTyp),
		s.withHeader("typ of an ID token", h.With("typ", `"JWT-ID"`).JSON(), token.ReasonTyp),
		s.withHeader("typ of a logout token", h.With("typ", `"logout+jwt"`).JSON(), token.ReasonTyp),
		s.withHeader("typ in other case", h.With("typ", swapCase(h.Get("typ"))).JSON(), token.ReasonTyp),
		s.withHeader("typ with its tree",
			h.With("typ", `"application/`+strings.Trim(h.Get("typ"), `"`)+`"`).JSON(), token.ReasonTyp),
		s.withHeader("typ empty", h.With("typ", `""`).JSON(), token.ReasonTyp),
		s.withHeader("typ a list", h.With("typ", `[`+h.Get("typ")+`]`).JSON(), token.ReasonTyp),
	}
	all = append(all, s.keyIDAttacks(forged)...)
	return append(all, s.headerTextAttacks()...)
}

func swapCase(s string) string {
	if up := strings.ToUpper(s); up != s {
		return up
	}
	return strings.ToLower(s)
}

func keySet(k *Key) string {
	set, err := jose.MarshalKeySet([]*jose.PublicKey{k.Public()})
	must(err)
	return string(set)
}

// keyIDAttacks name a key that the issuer does not have.
func (s Setup) keyIDAttacks(forged func(name, header string, r token.Reason) Attack) []Attack {
	h := s.header()
	all := []Attack{
		s.withHeader("kid missing", h.Without("kid").JSON(), token.ReasonKeyIDMissing),
		s.withHeader("kid empty", h.With("kid", `""`).JSON(), token.ReasonKeyID),
		s.withHeader("kid a number", h.With("kid", `7`).JSON(), token.ReasonKeyID),
		s.withHeader("kid null", h.With("kid", `null`).JSON(), token.ReasonKeyID),
		s.withHeader("kid a list", h.With("kid", `[`+h.Get("kid")+`]`).JSON(), token.ReasonKeyID),
		s.withHeader("kid very long", h.With("kid", Text(strings.Repeat("k", 257))).JSON(),
			token.ReasonKeyID),
		s.withHeader("kid of four thousand bytes",
			h.With("kid", Text(strings.Repeat("k", 4000))).JSON(), token.ReasonKeyID),
		s.withHeader("kid with NUL escaped", h.With("kid", `"k\u0000"`).JSON(), token.ReasonHeader),
		s.withHeader("kid with NUL", h.With("kid", "\"k\x00\"").JSON(), token.ReasonHeader),
		s.withHeader("kid with DEL", h.With("kid", "\"k\x7f\"").JSON(), token.ReasonKeyID),
		s.withHeader("kid with CR LF", h.With("kid", "\"k\r\nx: y\"").JSON(), token.ReasonHeader),
		s.withHeader("kid in other script", h.With("kid", `"ключ"`).JSON(), token.ReasonKeyID),
		s.withHeader("kid of another key", h.With("kid", `"another"`).JSON(), token.ReasonUnknownKey),
		s.withHeader("kid in other case", h.With("kid", swapCase(h.Get("kid"))).JSON(),
			token.ReasonUnknownKey),
		s.withHeader("kid with a blank", h.With("kid", `" `+s.Key.ID+`"`).JSON(), token.ReasonUnknownKey),
	}
	for _, kid := range []string{
		"../../../../dev/null", "/dev/null", "..", "' OR '1'='1", "x' UNION SELECT 'secret' --",
		"http://127.0.0.1:9/key", "file:///etc/passwd", "$(id)", "|id", "%00", "*", "__proto__",
		"constructor",
	} {
		all = append(all, forged("kid "+kid, h.With("kid", Text(kid)).JSON(), token.ReasonUnknownKey))
	}
	return all
}

// headerTextAttacks write the header as something else than one JSON object in its one spelling.
func (s Setup) headerTextAttacks() []Attack {
	good := s.header().JSON()
	inside := good[1 : len(good)-1]
	all := []Attack{}
	for name, text := range map[string]string{
		"header empty object's inside":  inside,
		"header a list":                 "[" + good + "]",
		"header a string":               Text(good),
		"header null":                   "null",
		"header a number":               "1",
		"header cut off":                good[:len(good)-1],
		"header twice":                  good + good,
		"header and a NUL":              good + "\x00",
		"header and a newline":          good + "\n",
		"header after a blank":          " " + good,
		"header with blanks":            strings.ReplaceAll(good, ",", ", "),
		"header with a tab":             "{\t" + inside + "}",
		"header with CR LF":             "{" + inside + ",\r\n" + `"x5t":"a"}`,
		"header with a trailing comma":  "{" + inside + ",}",
		"header with a comment":         "{" + inside + "/**/}",
		"header with single quotes":     strings.ReplaceAll(good, `"`, `'`),
		"header with a byte order mark": "\xef\xbb\xbf" + good,
		"header in UTF-16":              utf16(good),
		"header not UTF-8":              "{" + inside + ",\"x5t\":\"\xff\"}",
		"header with an overlong slash": "{" + inside + ",\"x5t\":\"\xc0\xaf\"}",
		"header with a surrogate":       "{" + inside + ",\"x5t\":\"\xed\xa0\x80\"}",
		"header nested deeply":          "{" + inside + `,"x5t":` + strings.Repeat("[", 2000) + strings.Repeat("]", 2000) + "}",
		"header nested one too deeply":  "{" + inside + `,"x5t":` + strings.Repeat("[", 16) + strings.Repeat("]", 16) + "}",
		"header with NaN":               "{" + inside + `,"x5t":NaN}`,
	} {
		all = append(all, s.withHeader(name, text, token.ReasonHeader))
	}
	sort.Slice(all, func(i, j int) bool { return all[i].Name < all[j].Name })
	return all
}

func utf16(s string) string {
	var b strings.Builder
	for i := range len(s) {
		b.WriteByte(s[i])
		b.WriteByte(0)
	}
	return b.String()
}

// Deflated is n bytes of nothing, compressed: a few bytes that grow when they are inflated.
func Deflated(n int) string {
	var b bytes.Buffer
	w, err := flate.NewWriter(&b, flate.BestCompression)
	must(err)
	_, err = w.Write(make([]byte, n))
	must(err)
	must(w.Close())
	return b.String()
}

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
