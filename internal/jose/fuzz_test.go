package jose_test

import (
	"crypto"
	"encoding/json"
	"strings"
	"testing"

	"github.com/lestrrat-go/jwx/v2/jwk"

	"github.com/sallyport/sallyport/internal/jose"
	"github.com/sallyport/sallyport/internal/jose/josetest"
	"github.com/sallyport/sallyport/internal/token"
)

// FuzzParse: what is accepted, encodes again to the very same bytes, and the header of a token of
// ours has one spelling but for the order of names; another's is read as encoding/json reads it.
func FuzzParse(f *testing.F) {
	s := josetest.Setup{Key: fuzzKey(), Claims: goodClaims(), Now: now}
	f.Add(s.Good())
	for i, a := range s.Attacks() {
		if len(a.Token) < 2000 && i%7 == 0 {
			f.Add(a.Token)
		}
	}
	f.Fuzz(func(t *testing.T, compact string) {
		p, err := jose.Parse(compact)
		if err != nil {
			if !token.ReasonOf(err).Known() || token.ReasonOf(err) == token.ReasonInternal {
				t.Fatalf("refused without a reason: %v", err)
			}
			return
		}
		header, _, _ := strings.Cut(compact, ".")
		text := josetest.Decode(header)
		if again := josetest.Encode(text) + "." + josetest.Encode(
			p.Payload) + "." + josetest.Encode(
			string(p.Signature),
		); again != compact {
			t.Fatalf("accepted %q, which encodes again to %q", compact, again)
		}
		readHeaderAnew(t, text, p.Header)
		if again := respell(t, text, p.Header); p.Header.Foreign == nil && again != text {
			t.Fatalf("accepted the header %q, which encodes again to %q", text, again)
		}
		if p.SigningInput+"."+josetest.Encode(string(p.Signature)) != compact {
			t.Fatalf("signed was %q of %q", p.SigningInput, compact)
		}
	})
}

// readHeaderAnew reads a header with another reader, as any issuer may write it; it fails when that
// reader reads something else, or a header that no issuer may write.
func readHeaderAnew(t *testing.T, text string, h jose.Header) {
	t.Helper()
	var got map[string]any
	if err := json.Unmarshal([]byte(text), &got); err != nil {
		t.Fatalf("accepted a header that is no JSON object: %q", text)
	}
	if h.Fault != nil {
		if h.Foreign == nil {
			t.Fatalf("accepted %q, which is refused to everyone: %v", text, h.Fault)
		}
		return // to be refused once it is known whose it is
	}
	textOf := func(name string) string { s, _ := got[name].(string); return s }
	if textOf("alg") != h.Algorithm || textOf("kid") != h.KeyID || textOf("typ") != h.Type ||
		h.Algorithm == "" || strings.EqualFold(h.Algorithm, "none") {
		t.Fatalf("read %q as %+v", text, h)
	}
	for _, name := range []string{"crit", "b64", "zip", "enc", "epk", "p2c"} {
		if _, ok := got[name]; ok {
			t.Fatalf("accepted %q, with %s", text, name)
		}
	}
	if len(got) != len(josetest.ParseObject(text)) {
		t.Fatalf("accepted a header with a name twice: %q", text)
	}
}

// respell reads a header of ours with another reader and writes it anew, in the same order; it fails
// when that reader reads something else.
func respell(t *testing.T, text string, h jose.Header) string {
	t.Helper()
	if h.Foreign != nil {
		return ""
	}
	got := map[string]string{}
	var parts []string
	for _, m := range josetest.ParseObject(text) {
		var value string
		if err := json.Unmarshal([]byte(m.Raw), &value); err != nil {
			t.Fatalf("accepted a header with a value that is no string: %q", text)
		}
		if _, twice := got[m.Name]; twice {
			t.Fatalf("accepted a header with a name twice: %q", text)
		}
		got[m.Name] = value
		parts = append(parts, `"`+m.Name+`":"`+value+`"`)
	}
	if got["alg"] != h.Algorithm || got["kid"] != h.KeyID || got["typ"] != h.Type ||
		strings.EqualFold(h.Algorithm, "none") {
		t.Fatalf("read %q as %+v", text, h)
	}
	return "{" + strings.Join(parts, ",") + "}"
}

// FuzzKeySet: what is accepted, jwx reads too, as the same keys; and it comes back through our own
// writer.
func FuzzKeySet(f *testing.F) {
	for _, alg := range []string{"ES256", "ES384", "ES512", "EdDSA", "RS256"} {
		doc, err := jose.MarshalKeySet([]*jose.PublicKey{josetest.NewKey(alg, "k").Public()})
		if err != nil {
			f.Fatal(err)
		}
		f.Add(doc)
	}
	f.Add(
		[]byte(`{"keys":[{"kty":"oct","kid":"s","k":"AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8"}]}`))
	f.Add([]byte(`{"keys":[{"kty":"EC","crv":"P-256","kid":"a","use":"enc","x":"","y":""},{}]}`))
	f.Fuzz(func(t *testing.T, doc []byte) {
		keys, _, err := jose.ParseKeySet(doc)
		if err != nil {
			if keys != nil {
				t.Fatal("keys came with an error")
			}
			return
		}
		for _, k := range keys {
			want, err := k.Thumbprint()
			if err != nil {
				t.Fatal(err)
			}
			if got := oracleThumbprint(t, doc, k.ID()); got != want {
				t.Fatalf("jwx reads another key by the kid %q\n%s", k.ID(), doc)
			}
		}
		again, err := jose.MarshalKeySet(keys)
		if err != nil {
			t.Fatal(err)
		}
		read, skipped, err := jose.ParseKeySet(again)
		if err != nil || len(skipped) > 0 || len(read) != len(keys) {
			t.Fatalf("what we wrote came back as %d keys, %v, %v", len(read), skipped, err)
		}
		for i := range keys {
			if !keys[i].Equal(read[i]) {
				t.Fatalf("key %d came back as another\n%s", i, doc)
			}
		}
	})
}

// oracleThumbprint returns the thumbprint of the one signature key by that kid, as jwx reads it.
func oracleThumbprint(t *testing.T, doc []byte, kid string) string {
	t.Helper()
	var root map[string]json.RawMessage
	var entries []map[string]json.RawMessage
	if json.Unmarshal(doc, &root) != nil || json.Unmarshal(root["keys"], &entries) != nil {
		t.Fatalf("accepted what encoding/json refuses\n%s", doc)
	}
	for _, entry := range entries {
		var id, use string
		if json.Unmarshal(entry["kid"], &id) != nil || id != kid {
			continue
		}
		if raw, ok := entry["use"]; ok && (json.Unmarshal(raw, &use) != nil || use != "sig") {
			continue
		}
		text, err := json.Marshal(entry)
		if err != nil {
			t.Fatal(err)
		}
		key, err := jwk.ParseKey(text)
		if err != nil {
			t.Fatalf("accepted what jwx refuses: %v\n%s", err, text)
		}
		sum, err := key.Thumbprint(crypto.SHA256)
		if err != nil {
			t.Fatal(err)
		}
		return josetest.Encode(string(sum))
	}
	t.Fatalf("jwx finds no key by the kid %q\n%s", kid, doc)
	return ""
}
