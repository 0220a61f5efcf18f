package session

import (
	"strconv"
	"strings"
	"testing"

	"github.com/sallyport/sallyport/internal/session/sessiontest"
)

const testIssuer = "https://login.example"

func TestARefreshTokenHasOneSpelling(t *testing.T) {
	ring := sessiontest.NewRing()
	id := newID(ring.SubjectTag(testIssuer, "alice"))
	good := makeRefreshToken(ring, testIssuer, id, 12)
	parsed, err := parseRefreshToken(good)
	if err != nil {
		t.Fatal(err)
	}
	if parsed.id != id || parsed.n != 12 ||
		!ring.CheckRefreshMAC(parsed.message(testIssuer), parsed.mac[:]) {
		t.Fatalf("the token does not read back as it was made: %+v", parsed)
	}
	sid, rest, _ := strings.Cut(good, ".")
	n, mac, _ := strings.Cut(rest, ".")
	tag, unique, _ := strings.Cut(sid, "~")
	for name, spelling := range map[string]string{
		"empty":               "",
		"no dots":             sid + n + mac,
		"one dot":             sid + "." + n,
		"four parts":          good + ".",
		"another part":        good + "." + mac,
		"counter plus":        sid + ".+12." + mac,
		"counter zero":        sid + ".0." + mac,
		"counter leading 0":   sid + ".012." + mac,
		"counter negative":    sid + ".-12." + mac,
		"counter hex":         sid + ".0xc." + mac,
		"counter exponent":    sid + ".1e1." + mac,
		"counter empty":       sid + ".." + mac,
		"counter huge":        sid + "." + strings.Repeat("9", 16) + "." + mac,
		"counter overflow":    sid + "." + strings.Repeat("9", 60) + "." + mac,
		"counter other digit": sid + ".１２." + mac,
		"counter blank":       sid + ". 12." + mac,
		"mac cut":             good[:len(good)-1],
		"mac longer":          good + "A",
		"mac padded":          good + "=",
		"mac other alphabet":  sid + "." + n + "." + strings.Repeat("+", 43),
		"mac line break":      sid + "." + n + "." + mac[:20] + "\n" + mac[21:],
		"mac line end":        sid + "." + n + "." + strings.Repeat("A", 42) + "\n",
		"unique line end":     tag + "~" + strings.Repeat("A", 21) + "\r." + n + "." + mac,
		"mac trailing bits":   sid + "." + n + "." + strings.Repeat("A", 42) + "B",
		"blank before":        " " + good,
		"blank after":         good + " ",
		"no tag":              "~" + unique + "." + n + "." + mac,
		"tag brace":           "a}b~" + unique + "." + n + "." + mac,
		"tag colon":           "a:b~" + unique + "." + n + "." + mac,
		"tag long":            strings.Repeat("a", maxTagLength+1) + "~" + unique + "." + n + "." + mac,
		"no tilde":            tag + unique + "." + n + "." + mac,
		"two tildes":          tag + "~~" + unique + "." + n + "." + mac,
		"unique cut":          tag + "~" + unique[1:] + "." + n + "." + mac,
		"unique longer":       tag + "~A" + unique + "." + n + "." + mac,
		"unique bits":         tag + "~" + strings.Repeat("A", 21) + "B." + n + "." + mac,
		"nul":                 good + "\x00",
		"very long":           strings.Repeat("A", 1<<20),
		"only dots":           strings.Repeat(".", 1<<20),
	} {
		if _, err := parseRefreshToken(spelling); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

func TestAFlippedOrCutRefreshTokenIsNotGenuine(t *testing.T) {
	ring := sessiontest.NewRing()
	s := &Store{cfg: Config{Issuer: testIssuer}, ring: ring}
	good := makeRefreshToken(ring, testIssuer, newID(ring.SubjectTag(testIssuer, "alice")), 7)
	if _, err := s.genuine(good); err != nil {
		t.Fatal(err)
	}
	for i := range len(good) {
		for bit := range 8 {
			flipped := []byte(good)
			flipped[i] ^= 1 << bit
			if _, err := s.genuine(string(flipped)); err == nil {
				t.Errorf("bit %d of byte %d flipped: accepted", bit, i)
			}
		}
		if _, err := s.genuine(good[:i]); err == nil {
			t.Errorf("cut to %d bytes: accepted", i)
		}
	}
}

func TestARefreshTokenIsOfOneIssuerAndOneRing(t *testing.T) {
	ring := sessiontest.NewRing()
	token := makeRefreshToken(ring, testIssuer, newID("tag"), 1)
	for name, s := range map[string]*Store{
		"another issuer": {cfg: Config{Issuer: testIssuer + "/"}, ring: ring},
		"another ring":   {cfg: Config{Issuer: testIssuer}, ring: sessiontest.NewRing()},
	} {
		if _, err := s.genuine(token); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

func FuzzARefreshTokenThatIsAcceptedSpellsItself(f *testing.F) {
	ring := sessiontest.NewRing()
	f.Add(makeRefreshToken(ring, testIssuer, newID("tag"), 1))
	f.Add(makeRefreshToken(ring, testIssuer, newID("t-_9"), 999999999999999))
	f.Add("~..")
	f.Fuzz(func(t *testing.T, s string) {
		p, err := parseRefreshToken(s)
		if err != nil {
			return
		}
		if again := p.id.String() + "." + strconv.FormatInt(p.n,
			10) + "." + encoding.EncodeToString(
			p.mac[:],
		); again != s {
			t.Errorf("accepted %q, which spells itself %q", s, again)
		}
	})
}
