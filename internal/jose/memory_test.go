package jose_test

import (
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/sallyport/sallyport/internal/jose"
	"github.com/sallyport/sallyport/internal/jose/josetest"
	"github.com/sallyport/sallyport/internal/jose/signing"
	"github.com/sallyport/sallyport/internal/token"
)

// TestOnlyVerifiedHeadersAreRemembered: strangers cannot fill the memory of headers.
func TestOnlyVerifiedHeadersAreRemembered(t *testing.T) {
	s := setup("ES256")
	d := newDoor(s.Key)
	for _, a := range append(s.HeaderAttacks(), s.SignatureAttacks()...) {
		d.mustRefuse(t, a.Token, a.Reason)
		if d.reader.IsRemembered(a.Token) {
			t.Fatalf("%s: its header is remembered", a.Name)
		}
	}
	good := s.Good()
	d.mustAccept(t, good)
	if !d.reader.IsRemembered(good) {
		t.Error("the header of a verified token is not remembered")
	}
	d.mustRefuse(t, good+"=", token.ReasonBase64)
	d.mustAccept(t, good)
}

// TestMemoryOfHeadersIsBounded: also when an issuer rotates without end, at many goroutines.
func TestMemoryOfHeadersIsBounded(t *testing.T) {
	k := josetest.NewKey("EdDSA", "")
	var reader jose.Reader
	var wg sync.WaitGroup
	for g := range 4 {
		wg.Go(func() {
			for i := range jose.MaxHeaders {
				k := &josetest.Key{Algorithm: k.Algorithm, ID: fmt.Sprintf("key-%d-%d", g, i), Signer: k.Signer}
				d := newDoor(k)
				d.reader = &reader
				compact := josetest.Setup{Key: k, Claims: goodClaims(), Now: now}.Good()
				for range 2 {
					if claims, err := d.judge(compact); err != nil || claims.Subject != "alice" {
						t.Errorf("refused a good token: %v", err)
						return
					}
				}
				if n := reader.RememberedHeaders(); n > jose.MaxHeaders {
					t.Errorf("%d headers are remembered", n)
					return
				}
			}
		})
	}
	wg.Wait()
}

// TestAnIssuerWithManyHeadersCostsOthersNothing: each has room of its own.
func TestAnIssuerWithManyHeadersCostsOthersNothing(t *testing.T) {
	quiet := setup("ES256")
	d := newDoor(quiet.Key)
	d.mustAccept(t, quiet.Good())
	const other = "https://other.example.com"
	k := josetest.NewKey("EdDSA", "")
	for i := range 3 * jose.MaxHeaders {
		k := &josetest.Key{Algorithm: k.Algorithm, ID: fmt.Sprint("key-", i), Signer: k.Signer}
		loud := newDoor(k)
		loud.reader, loud.profile.Issuer = d.reader, other
		loud.mustAccept(t,
			josetest.Setup{Key: k, Claims: goodClaims().With("iss", josetest.Text(other)), Now: now}.Good())
		if !d.reader.IsRemembered(quiet.Good()) {
			t.Fatalf("after %d headers of another issuer, the only one of this one is forgotten", i+1)
		}
	}
	if n := d.reader.RememberedHeaders(); n > jose.MaxHeaders+1 {
		t.Errorf("%d headers are remembered", n)
	}
}

// TestReadersShareNothing: what one has read, another has not.
func TestReadersShareNothing(t *testing.T) {
	s := setup("ES256")
	a, b := newDoor(s.Key), newDoor(s.Key)
	a.mustAccept(t, s.Good())
	if b.reader.IsRemembered(s.Good()) {
		t.Error("the header of a token that another reader has verified is remembered")
	}
}

// TestRememberedHeaderIsJudgedAnew: what is remembered is what the header says, not that it was
// right: another profile refuses it.
func TestRememberedHeaderIsJudgedAnew(t *testing.T) {
	s := setup("ES256")
	d := newDoor(s.Key)
	good := s.Good()
	d.mustAccept(t, good)
	other := newDoor(s.Key)
	other.reader = d.reader
	other.profile.Algorithms = []string{"EdDSA"}
	other.mustRefuse(t, good, token.ReasonAlg)
	other = newDoor(s.Key)
	other.reader = d.reader
	other.profile.Type = "JWT"
	other.mustRefuse(t, good, token.ReasonTyp)
	other = newDoor()
	other.reader = d.reader
	other.mustRefuse(t, good, token.ReasonUnknownKey)
}

// TestParsedHoldsTheTokensBytes: what comes back is the token's own, piece by piece.
func TestParsedHoldsTheTokensBytes(t *testing.T) {
	s := setup("ES256")
	good := s.Good()
	p, err := jose.Parse(good)
	if err != nil {
		t.Fatal(err)
	}
	if p.Header != (jose.Header{Algorithm: "ES256", KeyID: s.Key.ID, Type: "at+jwt"}) {
		t.Errorf("header: %+v", p.Header)
	}
	if p.Payload != s.Claims.JSON() ||
		p.SigningInput+"."+josetest.Encode(string(p.Signature)) != good {
		t.Error("the token's parts are not its own")
	}
}

// TestTokenTooLongToReadIsNotSigned: the issuer learns it, not the gate.
func TestTokenTooLongToReadIsNotSigned(t *testing.T) {
	k, err := signing.GenerateKey("ES256")
	if err != nil {
		t.Fatal(err)
	}
	for _, claims := range []string{string(make([]byte, jose.MaxToken)), ""} {
		if compact, err := k.Sign("at+jwt", []byte(claims)); err == nil {
			t.Errorf("signed a token of %d bytes that no gate reads", len(compact))
		}
	}
}

// TestAHeaderIsRememberedForWhatItIs: the spelling of another's issuer saves its tokens the
// reading, and stays refused of a token of ours; a header that may be another in each token takes
// no room.
func TestAHeaderIsRememberedForWhatItIs(t *testing.T) {
	s := setup("ES256")
	theirs, ours := newForeignDoor(s.Key), newDoor(s.Key)
	ours.reader = theirs.reader
	header := s.Key.Header("at+jwt")
	for name, c := range map[string]struct {
		header     string
		remembered bool
		ours       token.Reason
	}{
		"with blanks":        {strings.ReplaceAll(header.JSON(), ":", " : "), true, token.ReasonHeader},
		"without a kid":      {header.Without("kid").JSON(), true, token.ReasonKeyIDMissing},
		"with a thumbprint":  {header.And("x5t", "7").JSON(), true, token.ReasonHeader},
		"with other names":   {header.And("nonce", `"x"`).JSON(), false, token.ReasonHeaderUnknown},
		"with a certificate": {header.And("x5c", `["MIIB"]`).JSON(), false, token.ReasonHeaderKey},
	} {
		compact := s.Key.Token(c.header, s.Claims.JSON())
		for range 2 {
			ours.mustRefuse(t, compact, c.ours)
			theirs.mustAccept(t, compact)
			if got := theirs.reader.IsRemembered(compact); got != c.remembered {
				t.Errorf("%s: remembered %v", name, got)
			}
		}
		ours.mustRefuse(t, compact, c.ours)
	}
}
