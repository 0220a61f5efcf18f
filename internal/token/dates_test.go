package token_test

import (
	"fmt"
	"math/big"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/sallyport/sallyport/internal/token"
)

// dated returns an honest token's claims with these dates as they are written; "" leaves one out.
func dated(exp, iat, nbf, authTime string) []byte {
	claims := `{"iss":"https://issuer.example.com","sub":"alice","aud":"orders","jti":"a","client_id":"web"`
	for _, d := range [][2]string{{"exp", exp}, {"iat", iat}, {"nbf", nbf}, {"auth_time", authTime}} {
		if d[1] != "" {
			claims += fmt.Sprintf(`,%q:%s`, d[0], d[1])
		}
	}
	return []byte(claims + "}")
}

// noDates are how some issuers write an nbf that they do not set.
var noDates = map[string]bool{
	"0": true, "0.0": true, "0e99": true, "-0": true, "1e-1": true, "0.999999999999": true,
	"1e-99999999999999999999999999999":   true,
	"0.18e-" + strings.Repeat("9", 2000): true,
}

// TestDatesOfOthersAreAnyNumbersInRange: however a number is written it is the same date; of ours
// only whole ones, as digits.
func TestDatesOfOthersAreAnyNumbersInRange(t *testing.T) {
	zeros := strings.Repeat("0", 2000)
	for text, want := range map[string]int64{
		"1800003600":                           1800003600,
		"1800003600.0":                         1800003600,
		"1800003600.5":                         1800003600,
		"1800003600.999999999":                 1800003600,
		"1800003600.9999999999":                1800003601, // finer than any clock: rounded up
		"1.8000036e9":                          1800003600,
		"1.8000036E+9":                         1800003600,
		"18000036e2":                           1800003600,
		"1800003600e0":                         1800003600,
		"1800003600e-0":                        1800003600,
		"1800003600000e-3":                     1800003600,
		"1800003600" + zeros + "e-2000":        1800003600,
		"0." + zeros + "18000036e2010":         1800003600,
		"1800003600." + zeros:                  1800003600,
		"1":                                    1,
		"1.0":                                  1,
		"1e0":                                  1,
		"253402300799":                         253402300799,
		"0":                                    0,
		"-0":                                   0,
		"0.0":                                  0,
		"0e99":                                 0,
		"0.999999999999":                       0,
		"1e-1":                                 0,
		"-1":                                   0,
		"-1800003600":                          0,
		"253402300799.1":                       0,
		"253402300799.000000000000001":         0,
		"253402300800":                         0,
		"1e12":                                 0,
		"1e300":                                0,
		"1e99999999999999999999999999999":      0,
		"1e-99999999999999999999999999999":     0,
		"18e" + strings.Repeat("9", 2000):      0,
		"0.18e-" + strings.Repeat("9", 2000):   0,
		strings.Repeat("9", 2000):              0,
		"9223372036854775808":                  0,
		"18446744073709551616":                 0,
		"1800003600" + zeros:                   0,
		`"1800003600"`:                         0,
		`null`:                                 0,
		`true`:                                 0,
		`[1800003600]`:                         0,
		`{}`:                                   0,
		`"2027-01-15T09:00:00Z"`:               0,
		"1800003600e" + zeros + "0":            1800003600,
		"0.0000000000000000000000000000018e39": 1800000000,
	} {
		p := good()
		got, err := p.Read(dated(text, "1", "", ""))
		switch {
		case want == 0 && token.ReasonOf(err) != token.ReasonDate:
			t.Errorf("%.40s: expected %s, got %v", text, token.ReasonDate, err)
		case want != 0 && (err != nil || got.Expiry != want):
			t.Errorf("%.40s: expected %d, got %+v, %v", text, want, got, err)
		}
		for claim, claims := range map[string][]byte{
			"iat": dated("1800003600", text, "", ""), "nbf": dated("1800003600", "1", text, ""),
		} {
			refused := want == 0 && !(claim == "nbf" && noDates[text])
			if _, err := p.Read(claims); refused != (token.ReasonOf(err) == token.ReasonDate) {
				t.Errorf("%s %.40s: got %v", claim, text, err)
			}
		}
		p.Ours = true
		_, err = p.Read(dated(text, "1", "", ""))
		whole := want != 0 && !strings.ContainsAny(text, ".eE")
		if whole != (err == nil) {
			t.Errorf("of ours, %.40s: got %v", text, err)
		}
	}
}

// TestFractionsAreJudgedExactly: at the nanosecond on either side of each limit, and nothing lives
// longer for the way in which it is written.
func TestFractionsAreJudgedExactly(t *testing.T) {
	p := good()
	at := func(seconds, nanos int64) time.Time { return time.Unix(issuedAt+seconds, nanos) }
	for _, c := range []struct {
		exp, iat, nbf string
		now           time.Time
		want          token.Reason
	}{
		{"1800000060.25", "1800000000", "", at(90, 249_999_999), ""},
		{"1800000060.25", "1800000000", "", at(90, 250_000_000), token.ReasonExpired},
		{"1800000060.2500000001", "1800000000", "", at(90, 250_000_000), ""},
		{"1800000060.2500000001", "1800000000", "", at(90, 250_000_001), token.ReasonExpired},
		{"1800000060.9999999999", "1800000000", "", at(91, 0), token.ReasonExpired},
		{"1.80000006e9", "1.8e9", "", at(89, 999_999_999), ""},
		{"1.80000006e9", "1.8e9", "", at(90, 0), token.ReasonExpired},
		{"1800000060", "1800000000.5", "", at(-30, 500_000_000), ""},
		{"1800000060", "1800000000.5", "", at(-30, 499_999_999), token.ReasonIssuedInFuture},
		{"1800000060", "1799999000", "1800000000.75", at(-30, 750_000_000), ""},
		{"1800000060", "1799999000", "1800000000.75", at(-30, 749_999_999), token.ReasonNotYetValid},
		{"1800000060", "1799999000", "1800000000.0000000001", at(-30, 0), token.ReasonNotYetValid},
		{"1800003601.0", "1800000000", "", at(0, 0), ""},
		{"1800003601.5", "1800000000.5", "", at(1, 0), ""},
		{"1800003601.5", "1800000000.4", "", at(1, 0), token.ReasonLifetime},
		{"1800003601.000000001", "1800000000", "", at(0, 0), token.ReasonLifetime},
		{"1800003601.0000000001", "1800000000", "", at(0, 0), token.ReasonLifetime},
		{"1800003600.9999999999", "1799999999.9999999999", "", at(0, 0), token.ReasonLifetime},
		{"1800000000.5", "1800000000.5", "", at(0, 0), token.ReasonLifetime},
		{"1800000000.4", "1800000000.5", "", at(0, 0), token.ReasonLifetime},
		{"1800000000.6", "1800000000.5", "", at(0, 0), ""},
		{"1000000000", "10227000000", "", at(0, 0), token.ReasonLifetime}, // more than a Duration holds
		{"10227000000", "1000000000", "", at(0, 0), token.ReasonLifetime},
	} {
		claims, err := p.Read(dated(c.exp, c.iat, c.nbf, ""))
		if err != nil {
			t.Errorf("%+v: %v", c, err)
			continue
		}
		if got := token.ReasonOf(p.CheckTime(claims, c.now)); got != c.want {
			t.Errorf("%+v: got %q", c, got)
		}
	}
}

// TestARevocationReachesFractions: a cutoff compares the second in which a token was made, and a
// fraction never makes that a later one.
func TestARevocationReachesFractions(t *testing.T) {
	p := good()
	for text, want := range map[string]int64{
		"1800000000.999999999": issuedAt, "1800000000.9999999999999": issuedAt,
		"1.8000000000001e9":     issuedAt,
		"1799999999.9999999999": issuedAt - 1,
	} {
		claims, err := p.Read(dated("1800003600", text, "", text))
		if err != nil || claims.IssuedAt != want || claims.AuthTime != want {
			t.Errorf("iat %s: expected %d, got %+v, %v", text, want, claims, err)
		}
	}
}

// TestDatesAreReadAsTheNumbersThatTheyAre: over numbers of every form, beside exact arithmetic.
func TestDatesAreReadAsTheNumbersThatTheyAre(t *testing.T) {
	p := good()
	rapid.Check(t, func(t *rapid.T) {
		text := rapid.StringMatching(
			`(0|[1-9][0-9]{0,14})(\.[0-9]{1,14})?([eE][+-]?[0-9]{1,2})?`).Draw(t, "exp")
		r, ok := new(big.Rat).SetString(text)
		if !ok {
			t.Fatalf("%s is no number", text)
		}
		inRange := r.Cmp(big.NewRat(1, 1)) >= 0 && r.Cmp(big.NewRat(253402300799, 1)) <= 0
		claims, err := p.Read(dated(text, "1", "", ""))
		if inRange != (err == nil) {
			t.Fatalf("%s: %v", text, err)
		}
		if err != nil {
			return
		}
		nanos, finer := new(big.Int).QuoRem(
			new(big.Int).Mul(r.Num(), big.NewInt(1e9)), r.Denom(), new(big.Int))
		if finer.Sign() != 0 {
			nanos.Add(nanos, big.NewInt(1))
		}
		got := new(big.Int).Add(new(big.Int).Mul(big.NewInt(claims.Expiry), big.NewInt(1e9)),
			big.NewInt(int64(claims.ExpiresAt().Nanosecond())))
		if got.Cmp(nanos) != 0 {
			t.Fatalf("%s: expected %s ns, got %s", text, nanos, got)
		}
	})
}

// TestNumbersCostInProportionToTheirText, whatever they say.
func TestNumbersCostInProportionToTheirText(t *testing.T) {
	p := good()
	p.RequiredClaims = []string{"level=3"}
	for _, text := range []string{
		"1e999999999", "1e-999999999", strings.Repeat("9", 4000), "1e" + strings.Repeat("9", 4000),
		"0." + strings.Repeat("0", 4000) + "1",
		"1" + strings.Repeat("0", 2000) + "e-" + strings.Repeat("9", 2000),
	} {
		claims := dated("1800003600", "1800000000", "", text)
		claims = append(claims[:len(claims)-1], (`,"level":` + text + `}`)...)
		if _, err := p.Read(claims); token.ReasonOf(err) != token.ReasonClaimRequired {
			t.Errorf("%.20s: got %v", text, err)
		}
		plain := dated("1800003600", "1800000000", "", `"`+strings.Repeat("x", len(text))+`"`)
		plain = append(plain[:len(plain)-1], `,"level":4}`...)
		read := func(claims []byte) float64 {
			return testing.AllocsPerRun(20, func() {
				if _, err := p.Read(claims); err == nil {
					t.Error("accepted")
				}
			})
		}
		if got, want := read(claims), read(plain); got > want+4 {
			t.Errorf("%.20s: %v allocations, %v for a text of the same length", text, got, want)
		}
	}
}
