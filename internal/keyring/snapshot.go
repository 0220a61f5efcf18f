package keyring

import (
	"fmt"
	"time"

	"github.com/sallyport/sallyport/internal/jose"
	"github.com/sallyport/sallyport/internal/jose/signing"
)

// snapshot is a ring as it is in force: what the request path reads.
type snapshot struct {
	*contents
	signer   *signing.PrivateKey
	next     *signing.PrivateKey // nil: there is none
	public   map[string]*jose.PublicKey
	document []byte
	refresh  [][]byte // the active key first
	tag      []byte
}

// newSnapshot takes the keys of c that are live at now.
func newSnapshot(c *contents, now time.Time) (*snapshot, error) {
	s := &snapshot{contents: c, public: map[string]*jose.PublicKey{}}
	var published []*jose.PublicKey
	// Active keys first: refresh[0] is the one that refresh tokens are made with.
	for _, state := range []State{Active, Next, Retired} {
		for i := range c.Keys {
			e := &c.Keys[i]
			if e.State != state || !c.live(e, now) {
				continue
			}
			switch m := c.keys[e.ID]; e.Use {
			case Signing:
				s.public[e.ID] = m.signer.Public()
				if !symmetric(e.Algorithm) {
					published = append(published, m.signer.Public())
				}
			case Refresh:
				s.refresh = append(s.refresh, m.secret)
			case SubjectTag:
				s.tag = m.secret
			}
		}
	}
	s.signer = c.keys[c.in(Signing, Active).ID].signer
	if e := c.in(Signing, Next); e != nil {
		s.next = c.keys[e.ID].signer
	}
	var err error
	if s.document, err = jose.MarshalKeySet(published); err != nil {
		return nil, fmt.Errorf("keyring: the JWKS: %w", err)
	}
	return s, nil
}
