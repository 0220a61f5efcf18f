package jose_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/sallyport/sallyport/internal/jose"
	"github.com/sallyport/sallyport/internal/jose/josetest"
	claims "github.com/sallyport/sallyport/internal/token"
)

// TestCVE shows, for what others got wrong with the form of tokens and with keys, that we do not
// have it. Where the attack catalogue has the very attack, the case takes it from there by name.
func TestCVE(t *testing.T) {
	s := setup("ES256")
	d := newDoor(s.Key)
	catalogue := s.Attacks()
	// refused takes all attacks whose name begins so, of which there must be some.
	refused := func(t *testing.T, reason claims.Reason, prefixes ...string) {
		t.Helper()
		for _, prefix := range prefixes {
			found := false
			for _, a := range catalogue {
				if strings.HasPrefix(a.Name, prefix) {
					found = true
					d.mustRefuse(t, a.Token, reason)
				}
			}
			if !found {
				t.Errorf("there is no attack %q", prefix)
			}
		}
	}
	for id, check := range map[string]func(t *testing.T){
		"CVE-2015-9235": func(t *testing.T) {
			refused(t, claims.ReasonAlg, "HS256 keyed with PEM", "HS512 keyed with PEM")
		},
		"CVE-2026-48526": func(t *testing.T) {
			refused(
				t, claims.ReasonAlg, "HS256 keyed with JWK", "HS256 keyed with JWK Set",
				"HS256 keyed with JWK reordered", "HS256 keyed with JWK indented")
			mustNotLoadAsSecret(t, "JWK")
		},
		"CVE-2026-85394": func(t *testing.T) {
			refused(
				t, claims.ReasonAlg, "HS256 keyed with DER", "HS256 keyed with SSH",
				"HS256 keyed with PEM with CRLF", "HS256 keyed with PEM after a space")
			mustNotLoadAsSecret(t, "DER")
			mustNotLoadAsSecret(t, "SSH")
			mustNotLoadAsSecret(t, "PEM")
			mustNotLoadAsSecret(t, "PKCS #1")
		},
		"CVE-2022-23540": func(t *testing.T) {
			refused(
				t, claims.ReasonAlgNone, "alg none, no", "alg None, no", "alg NONE, no", "alg nOnE, no",
				"alg none, copied", "alg none, good")
			refused(t, claims.ReasonUnsigned, "signature stripped")
			keyless := newDoor()
			for _, a := range catalogue {
				if strings.HasPrefix(a.Name, "alg none") {
					keyless.mustRefuse(t, a.Token, a.Reason)
				}
			}
		},
		"CVE-2018-0114": func(t *testing.T) {
			refused(t, claims.ReasonHeaderKey, "jwk of the thief", "jwk beside")
		},
		"CVE-2026-32597": func(t *testing.T) {
			refused(
				t, claims.ReasonHeaderCrit, "crit unknown", "crit empty", "crit exp", "crit a string",
				"crit that says", "crit null", "crit with", "b64")
			refused(t, claims.ReasonHeaderDuplicate, "crit twice")
		},
		"CVE-2026-96760": func(t *testing.T) {
			refused(t, claims.ReasonSegments, "flattened JSON", "general JSON")
		},
		"CVE-2024-33531": func(t *testing.T) {
			refused(t, claims.ReasonHeaderEncrypted, "enc in three parts")
			refused(t, claims.ReasonSegments, "five parts")
		},
		"CVE-2023-49290": func(t *testing.T) {
			refused(t, claims.ReasonHeaderEncrypted, "PBES2")
			mustNotImport(t, "github.com/lestrrat-go/jwx/v2/jwe", "github.com/lestrrat-go/jwx/v2/jwt")
		},
		"CVE-2025-63811": func(t *testing.T) {
			for _, a := range catalogue {
				if strings.Contains(a.Name, "parts, compressed") {
					d.mustRefuse(t, a.Token, a.Reason)
					if got := allocated(t, d, a.Token); got > 64<<10 {
						t.Errorf("%s took %d bytes", a.Name, got)
					}
				}
			}
		},
		"CVE-2025-30204": func(t *testing.T) {
			refused(t, claims.ReasonTooLong, "a million dots")
			few, many := allocated(t, d, strings.Repeat(".", 10)), allocated(t, d, strings.Repeat(".", 1_000_000))
			if many > few+512 {
				t.Errorf("a million dots took %d bytes, ten took %d", many, few)
			}
		},
		"CVE-2022-21449": func(t *testing.T) {
			for _, alg := range []string{"ES256", "ES384", "ES512"} {
				s := setup(alg)
				d := newDoor(s.Key)
				for _, a := range s.SignatureAttacks() {
					d.mustRefuse(t, a.Token, a.Reason)
				}
			}
		},
		"CVE-2016-7036": macsAreComparedInConstantTime,
		"CVE-2026-107723": func(t *testing.T) {
			refused(
				t, claims.ReasonClaims, "claims a list", "claims an empty list", "claims a string",
				"claims a number", "claims null", "claims true")
		},
		"CVE-2024-51744": func(t *testing.T) {
			refused(t, claims.ReasonSignature, "expired and badly signed")
			for _, a := range catalogue {
				p, err := jose.Parse(a.Token)
				if err != nil {
					continue
				}
				if got, err := p.Verify(&d.profile, s.Key.Public()); err != nil && got != nil {
					t.Errorf("%s: claims came with the error %v", a.Name, err)
				}
			}
		},
		"CVE-2022-23539": TestEachAlgorithmTakesItsOwnKeysOnly,
		"CVE-2016-9121":  TestWeakKeysAreLeftOutByName,
		"CVE-2019-20933": TestSecretMustBeOne,
		"CVE-2026-90942": TestSecretsAreNeverPublished,
	} {
		t.Run(id, check)
	}
}

// mustNotLoadAsSecret takes the public spellings whose name begins so, of keys of every type.
func mustNotLoadAsSecret(t *testing.T, prefix string) {
	t.Helper()
	found := 0
	for _, alg := range []string{"ES256", "EdDSA", "RS256"} {
		for name, secret := range josetest.PublicSpellings(josetest.NewKey(alg, "")) {
			if strings.HasPrefix(name, prefix) {
				found++
				if _, err := jose.NewSecretKey("s", secret); jose.ProblemOf(err) != jose.ProblemNotSecret {
					t.Errorf("%s of a key for %s: got %v", name, alg, err)
				}
			}
		}
	}
	if found == 0 {
		t.Errorf("there is no spelling %q", prefix)
	}
}

// mustNotImport reads the packages that this one and its signing half are built from.
func mustNotImport(t *testing.T, barred ...string) {
	t.Helper()
	out, err := exec.Command("go", "list", "-deps", ".", "./signing").Output()
	if err != nil {
		t.Fatal(err)
	}
	deps := strings.Fields(string(out))
	if !slices.Contains(deps, "github.com/lestrrat-go/jwx/v2/jws") {
		t.Fatal("the list of packages is not whole")
	}
	for _, p := range barred {
		if slices.Contains(deps, p) {
			t.Errorf("%s is built in", p)
		}
	}
}

// macsAreComparedInConstantTime reads the package's source: no comparison of bytes but hmac.Equal
// and crypto/subtle.
func macsAreComparedInConstantTime(t *testing.T) {
	entries, err := os.ReadDir(".")
	if err != nil {
		t.Fatal(err)
	}
	constant := 0
	for _, e := range entries {
		if !strings.HasSuffix(e.Name(), ".go") || strings.HasSuffix(e.Name(), "_test.go") {
			continue
		}
		files := token.NewFileSet()
		file, err := parser.ParseFile(files, e.Name(), nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(file, func(n ast.Node) bool {
			call, ok := n.(*ast.CallExpr)
			if !ok {
				return true
			}
			switch name := calledName(call); name {
			case "hmac.Equal", "subtle.ConstantTimeCompare":
				constant++
			case "bytes.Equal",
				"bytes.Compare",
				"bytes.EqualFold",
				"slices.Equal",
				"slices.Compare",
				"reflect.DeepEqual",
				"strings.Compare":
				t.Errorf("%s: %s takes longer the more is right", files.Position(call.Pos()), name)
			}
			return true
		})
	}
	if constant < 2 {
		t.Errorf("expected MACs and secrets to be compared in constant time, found %d places", constant)
	}
}

func calledName(call *ast.CallExpr) string {
	sel, ok := call.Fun.(*ast.SelectorExpr)
	if !ok {
		return ""
	}
	pkg, ok := sel.X.(*ast.Ident)
	if !ok {
		return ""
	}
	return pkg.Name + "." + sel.Sel.Name
}
