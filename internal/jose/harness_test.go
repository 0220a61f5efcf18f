package jose_test

import (
	"errors"
	"testing"
	"time"

	"github.com/sallyport/sallyport/internal/jose"
	"github.com/sallyport/sallyport/internal/jose/josetest"
	"github.com/sallyport/sallyport/internal/jose/signing"
	"github.com/sallyport/sallyport/internal/token"
)

const (
	trusted  = "https://issuer.example.com/realm"
	audience = "orders"
)

var errNoSuchKey = errors.New("no such key")

var now = time.Unix(1_800_000_000, 0)

// door judges tokens as a gate does, with the one issuer that it trusts.
type door struct {
	reader  *jose.Reader
	profile token.Profile
	keys    map[string]*jose.PublicKey
}

func newDoor(keys ...*josetest.Key) *door {
	d := &door{
		reader: &jose.Reader{}, profile: token.DefaultProfile(),
		keys: map[string]*jose.PublicKey{},
	}
	d.profile.Issuer, d.profile.Audiences, d.profile.Ours = trusted, []string{audience}, true
	for _, k := range keys {
		d.keys[k.ID] = k.Public()
		d.profile.Algorithms = []string{k.Algorithm}
	}
	return d
}

// newForeignDoor is newDoor where the issuer is another's.
func newForeignDoor(keys ...*josetest.Key) *door {
	d := newDoor(keys...)
	d.profile.Ours = false
	return d
}

// key returns the key that a header names, or, when it names none, the only one for its algorithm.
func (d *door) key(h jose.Header) (key *jose.PublicKey) {
	if h.KeyID != "" {
		return d.keys[h.KeyID]
	}
	for _, k := range d.keys {
		if k.Fits(h.Algorithm) {
			if key != nil {
				return nil
			}
			key = k
		}
	}
	return key
}

func (d *door) judge(compact string) (*token.Claims, error) {
	p, err := d.reader.Parse(compact)
	if err != nil {
		return nil, err
	}
	iss, err := p.Issuer()
	if err != nil {
		return nil, err
	}
	if iss != d.profile.Issuer {
		return nil, token.Refuse(token.ReasonUnknownIssuer, "")
	}
	if err := d.profile.CheckHeader(p.Header); err != nil {
		return nil, err
	}
	claims, err := p.Verify(&d.profile, d.key(p.Header))
	if err != nil {
		return nil, err
	}
	return claims, d.profile.CheckTime(claims, now)
}

// mustRefuse wants a refusal for that reason, and no claims that someone could go on with.
func (d *door) mustRefuse(t *testing.T, compact string, want token.Reason) {
	t.Helper()
	_, err := d.judge(compact)
	if err == nil {
		t.Fatalf("accepted; expected it to be refused as %s", want)
	}
	if got := token.ReasonOf(err); got != want {
		t.Fatalf("refused as %s (%v), expected %s", got, err, want)
	}
}

func (d *door) mustAccept(t *testing.T, compact string) *token.Claims {
	t.Helper()
	claims, err := d.judge(compact)
	if err != nil {
		t.Fatalf("refused a good token: %v", err)
	}
	return claims
}

func goodClaims() josetest.Object {
	return josetest.Object{
		{
			Name: "iss", Raw: josetest.Text(trusted),
		},
		{Name: "sub", Raw: `"alice"`},
		{Name: "aud", Raw: josetest.Text(audience)},
		{
			Name: "exp", Raw: josetest.Seconds(now.Add(30 * time.Minute)),
		},
		{Name: "iat", Raw: josetest.Seconds(now.Add(-time.Minute))},
		{Name: "jti", Raw: `"0123456789abcdef"`},
		{Name: "client_id", Raw: `"web"`},
		{
			Name: "sid",
			Raw:  `"tag~session"`,
		},
		{Name: "auth_time", Raw: josetest.Seconds(now.Add(-time.Minute))},
		{Name: "scope", Raw: `"read write"`},
		{Name: "roles", Raw: `["admin"]`},
	}
}

func setup(alg string) josetest.Setup {
	return josetest.Setup{Key: josetest.NewKey(alg, ""), Claims: goodClaims(), Now: now}
}

// honest is the key as an issuer has it.
func honest(t testing.TB, k *josetest.Key) *signing.PrivateKey {
	t.Helper()
	private, err := signing.NewPrivateKey(k.Algorithm, k.ID, k.Signer)
	if err != nil {
		t.Fatal(err)
	}
	return private
}
