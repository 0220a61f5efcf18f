package world

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"math/big"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/sallyport/sallyport/internal/jose"
	"github.com/sallyport/sallyport/internal/jose/signing"
	"github.com/sallyport/sallyport/internal/token"
)

// keys are an issuer's, served as a key set.
type keys struct {
	url    string
	server *http.Server
	served chan error

	mu        sync.Mutex
	private   []*signing.PrivateKey // the last one signs
	raw       *ecdsa.PrivateKey     // that one
	published int                   // how many of them are in the key set
}

func serveKeys() (*keys, error) {
	k := &keys{served: make(chan error, 1)}
	if err := k.next(); err != nil {
		return nil, err
	}
	k.publish()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("world: %w", err)
	}
	k.url = "http://" + l.Addr().String() + "/jwks.json"
	k.server = &http.Server{Handler: k, ReadHeaderTimeout: 5 * time.Second}
	go func() { k.served <- k.server.Serve(l) }()
	return k, nil
}

// ServeHTTP answers with the key set.
func (k *keys) ServeHTTP(w http.ResponseWriter, _ *http.Request) {
	set, err := k.set()
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.Write(set) //nolint:errcheck // a gate that has gone needs no answer
}

func (k *keys) set() ([]byte, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	public := make([]*jose.PublicKey, k.published)
	for i, p := range k.private[:k.published] {
		public[i] = p.Public()
	}
	return jose.MarshalKeySet(public)
}

func (k *keys) writeFile(path string) error {
	set, err := k.set()
	if err != nil {
		return err
	}
	if err := os.WriteFile(path, set, 0o600); err != nil {
		return fmt.Errorf("world: %w", err)
	}
	return nil
}

// next makes another key, which signs from now on, and which nobody is told of yet.
func (k *keys) next() error {
	raw, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return fmt.Errorf("world: %w", err)
	}
	private, err := signing.NewPrivateKey("ES256", "", raw)
	if err != nil {
		return err
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.private, k.raw = append(k.private, private), raw
	return nil
}

// publish puts all keys into the key set.
func (k *keys) publish() {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.published = len(k.private)
}

func (k *keys) close() error {
	err := k.server.Close()
	if served := <-k.served; !errors.Is(served, http.ErrServerClosed) {
		err = errors.Join(err, served)
	}
	return err
}

// Rotate makes another key, which signs from now on, and is in the key set once Publish has been
// called; the earlier ones stay there.
func (w *World) Rotate() error { return w.keys.next() }

// Publish puts the key that signs into the key set.
func (w *World) Publish() { w.keys.publish() }

// Token returns the access token, as the issuer makes them, of the i-th session.
func (w *World) Token(i int) (string, error) {
	return w.keys.token(claims(i, time.Now().Add(50*time.Minute)))
}

// claims are those of a session's token.
func claims(i int, expires time.Time) token.Claims {
	began := expires.Add(-time.Hour).Unix()
	return token.Claims{
		Issuer: Issuer, Subject: fmt.Sprintf("user-%06d", i), Audience: []string{Audience},
		ID: fmt.Sprintf("%032x", i), ClientID: "sallyport", SessionID: Session(i),
		Scope: []string{"openid", "profile"}, Roles: []string{"member", "editor"},
		Expiry: expires.Unix(), IssuedAt: began, AuthTime: began,
	}
}

// Session is the name of the i-th session, as the issuer makes them. No revocation that the world
// is filled with names one of the first 2^32.
func Session(i int) string { return fmt.Sprintf("benchbenchbench~%032x", i) }

// token signs by the last key, with what signing costs and no more: many are needed.
func (k *keys) token(c token.Claims) (string, error) {
	text, err := c.Marshal()
	if err != nil {
		return "", err
	}
	k.mu.Lock()
	raw, kid := k.raw, k.private[len(k.private)-1].ID()
	k.mu.Unlock()
	encode := base64.RawURLEncoding.EncodeToString
	signed := encode(fmt.Appendf(nil, `{"alg":"ES256","kid":%q,"typ":"at+jwt"}`, kid)) + "." +
		encode(text)
	digest := sha256.Sum256([]byte(signed))
	r, s, err := ecdsa.Sign(rand.Reader, raw, digest[:])
	if err != nil {
		return "", fmt.Errorf("world: %w", err)
	}
	return signed + "." + encode(append(fill(r), fill(s)...)), nil
}

// OneBitOff returns a token in whose signature one bit is another.
func OneBitOff(honest string) (string, error) {
	signed := honest[:strings.LastIndexByte(honest, '.')+1]
	signature, err := base64.RawURLEncoding.DecodeString(honest[len(signed):])
	if err != nil {
		return "", fmt.Errorf("world: %w", err)
	}
	signature[len(signature)/2] ^= 1
	return signed + base64.RawURLEncoding.EncodeToString(signature), nil
}

func fill(n *big.Int) []byte { return n.FillBytes(make([]byte, 32)) }

// Garbage returns the i-th of requests' tokens that must be refused: in turn one whose signature is
// another's, one that has expired, one that is no token, and one cut off.
func (w *World) Garbage(i int) (string, error) {
	c := claims(i, time.Now().Add(50*time.Minute))
	switch i % 4 {
	case 0:
		c.Subject = "admin"
		forged, err := w.keys.token(c)
		if err != nil {
			return "", err
		}
		c.Subject = fmt.Sprintf("user-%06d", i)
		honest, err := w.keys.token(c)
		if err != nil {
			return "", err
		}
		return forged[:strings.LastIndexByte(forged, '.')] + honest[strings.LastIndexByte(honest, '.'):],
			nil
	case 1:
		return w.keys.token(claims(i, time.Now().Add(-10*time.Minute)))
	case 2:
		return rand.Text() + "." + rand.Text() + "." + rand.Text(), nil
	default:
		honest, err := w.keys.token(c)
		return honest[:len(honest)/2], err
	}
}
