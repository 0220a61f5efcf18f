package token_test

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sallyport/sallyport/internal/config"
	"github.com/sallyport/sallyport/internal/token"
)

// good is a profile without faults.
func good() token.Profile {
	p := token.DefaultProfile()
	p.Issuer, p.Audiences = "https://issuer.example.com", []string{"orders"}
	return p
}

func TestProfilesThatCannotBeAreRefusedByPath(t *testing.T) {
	for name, c := range map[string]struct {
		change func(p *token.Profile)
		path   string
	}{
		"no issuer": {func(p *token.Profile) { p.Issuer = "" }, "issuer"},
		"an issuer with a blank": {
			func(p *token.Profile) { p.Issuer = "https://issuer.example.com " }, "issuer",
		},
		"an issuer with a newline": {
			func(p *token.Profile) { p.Issuer = "https://issuer.example.com\n" }, "issuer",
		},
		"no audiences":    {func(p *token.Profile) { p.Audiences = nil }, "audiences"},
		"empty audiences": {func(p *token.Profile) { p.Audiences = []string{} }, "audiences"},
		"an empty audience": {
			func(p *token.Profile) { p.Audiences = []string{"orders", ""} }, "audiences[1]",
		},
		"an audience twice": {
			func(p *token.Profile) { p.Audiences = []string{"orders", "orders"} }, "audiences[1]",
		},
		"audiences and any": {func(p *token.Profile) { p.AnyAudience = true }, "any_audience"},
		"empty algorithms":  {func(p *token.Profile) { p.Algorithms = []string{} }, "algorithms"},
		"algorithm none": {
			func(p *token.Profile) { p.Algorithms = []string{"none"} }, "algorithms[0]",
		},
		"algorithm in other case": {
			func(p *token.Profile) { p.Algorithms = []string{"es256"} }, "algorithms[0]",
		},
		"algorithm ES256K": {
			func(p *token.Profile) { p.Algorithms = []string{"ES256", "ES256K"} }, "algorithms[1]",
		},
		"an algorithm twice": {
			func(p *token.Profile) { p.Algorithms = []string{"ES256", "ES256"} }, "algorithms[1]",
		},
		"a secret beside keys": {
			func(p *token.Profile) { p.Algorithms = []string{"ES256", "HS256"} }, "algorithms[1]",
		},
		"keys beside a secret": {
			func(p *token.Profile) { p.Algorithms = []string{"HS256", "RS256"} }, "algorithms[1]",
		},
		"typ with a blank": {func(p *token.Profile) { p.Type = "at jwt" }, "typ"},
		"a negative lifetime": {
			func(p *token.Profile) { p.MaxLifetime = -time.Second }, "max_lifetime",
		},
		"a lifetime below a second": {
			func(p *token.Profile) { p.MaxLifetime = time.Millisecond }, "max_lifetime",
		},
		"a negative leeway":   {func(p *token.Profile) { p.ClockSkew = -1 }, "clock_skew"},
		"a leeway of an hour": {func(p *token.Profile) { p.ClockSkew = time.Hour }, "clock_skew"},
		"subject none": {
			func(p *token.Profile) { p.Claims.Subject = "none" }, "claims.subject",
		},
		"audience none": {
			func(p *token.Profile) { p.Claims.Audience = "none" }, "claims.audience",
		},
		"roles from iss": {
			func(p *token.Profile) { p.Claims.Roles = []string{"roles", "iss"} }, "claims.roles[1]",
		},
		"roles from sub": {
			func(p *token.Profile) { p.Claims.Roles = []string{"sub"} }, "claims.roles[0]",
		},
		"roles without a name": {
			func(p *token.Profile) { p.Claims.Roles = []string{""} }, "claims.roles[0]",
		},
		"scope from aud": {func(p *token.Profile) { p.Claims.Scope = "aud" }, "claims.scope"},
		"a path with an empty step": {
			func(p *token.Profile) { p.Claims.Roles = []string{"/realm_access//roles"} }, "claims.roles[0]",
		},
		"a path of a slash": {func(p *token.Profile) { p.Claims.Tenant = "/" }, "claims.tenant"},
		"a path with a lone tilde": {
			func(p *token.Profile) { p.Claims.Session = "/a~2b" }, "claims.session",
		},
		"a name with NUL": {
			func(p *token.Profile) { p.Claims.ClientID = "a\x00" }, "claims.client_id",
		},
		"token_id with NUL": {func(p *token.Profile) { p.TokenID = "a\x00" }, "token_id"},
		"required without a name": {
			func(p *token.Profile) { p.RequiredClaims = []string{"a", ""} }, "required_claims[1]",
		},
		"required with an empty value": {
			func(p *token.Profile) { p.RequiredClaims = []string{"a="} }, "required_claims[0]",
		},
		"required with spaces": {
			func(p *token.Profile) { p.RequiredClaims = []string{"level = 3"} }, "required_claims[0]",
		},
		"required with a broken path": {
			func(p *token.Profile) { p.RequiredClaims = []string{"/a//b=c"} }, "required_claims[0]",
		},
		"bound tokens neither way": {func(p *token.Profile) { p.BoundTokens = "yes" }, "bound_tokens"},
		"ours with Ed25519": {
			func(p *token.Profile) { p.Ours, p.Algorithms = true, []string{"EdDSA", "Ed25519"} },
			"algorithms[1]",
		},
		"a secret beside Ed25519": {
			func(p *token.Profile) { p.Algorithms = []string{"HS256", "Ed25519"} }, "algorithms[1]",
		},
		"ours with another typ": {func(p *token.Profile) { p.Ours, p.Type = true, "JWT" }, "typ"},
		"ours with another token_id": {
			func(p *token.Profile) { p.Ours, p.TokenID = true, "none" }, "token_id",
		},
		"ours with other names": {
			func(p *token.Profile) { p.Ours, p.Claims.Roles = true, []string{"groups"} }, "claims",
		},
	} {
		t.Run(name, func(t *testing.T) {
			p := good()
			c.change(&p)
			problems := p.Problems()
			if len(problems) != 1 || problems[0].Path != c.path ||
				!strings.Contains(problems[0].Problem, " ") {
				t.Fatalf("expected one problem at %s, got %v", c.path, p.Validate())
			}
			if err := p.Validate(); err == nil || !strings.HasPrefix(err.Error(), "token: "+c.path+": ") {
				t.Errorf("Validate said %v", err)
			}
		})
	}
	p := good()
	if err := p.Validate(); err != nil {
		t.Errorf("refused a profile without faults: %v", err)
	}
}

// TestAllProblemsAreToldAtOnce: whoever writes the file need not start ten times.
func TestAllProblemsAreToldAtOnce(t *testing.T) {
	p := token.Profile{Algorithms: []string{"none"}, ClockSkew: -1}
	var paths []string
	for _, problem := range p.Problems() {
		paths = append(paths, problem.Path)
	}
	if want := []string{
		"issuer",
		"audiences",
		"algorithms[0]",
		"clock_skew",
	}; !slices.Equal(paths, want) {
		t.Errorf("expected problems at %v, got %v", want, paths)
	}
	var setting *token.SettingError
	if !errors.As(p.Validate(), &setting) {
		t.Error("the error names no setting")
	}
}

// TestAZeroProfileAllowsNothing: deny is the zero value.
func TestAZeroProfileAllowsNothing(t *testing.T) {
	claims := []byte(
		`{"iss":"https://issuer.example.com","sub":"alice","aud":"orders","exp":1800003600,"iat":1800000000,"jti":"a"}`,
	)
	p := token.Profile{}
	if _, err := p.Read(claims); token.ReasonOf(err) != token.ReasonUnknownIssuer {
		t.Errorf("got %v", err)
	}
	p.Issuer = "https://issuer.example.com"
	if _, err := p.Read(claims); token.ReasonOf(err) != token.ReasonAudience {
		t.Errorf("without audiences: got %v", err)
	}
	for _, alg := range []string{"", "none", "HS256", "RS256"} {
		err := p.CheckHeader(token.Header{Algorithm: alg, Type: "at+jwt"})
		if token.ReasonOf(err) != token.ReasonAlg {
			t.Errorf("%q: got %v", alg, err)
		}
	}
	p.Algorithms = []string{"none", ""}
	for _, alg := range p.Algorithms {
		err := p.CheckHeader(token.Header{Algorithm: alg, Type: "at+jwt"})
		if token.ReasonOf(err) != token.ReasonAlg {
			t.Errorf("%q, though the profile lists it: got %v", alg, err)
		}
	}
}

// TestHeaderIsHeldAgainstTheProfile: the last column is the reason for a token of ours, where that
// differs; "never" where no profile of ours has such settings.
func TestHeaderIsHeldAgainstTheProfile(t *testing.T) {
	const never = "never"
	for _, c := range []struct {
		algorithms []string
		wantType   string
		alg, typ   string
		want, ours token.Reason
	}{
		{nil, "", "ES256", "at+jwt", "", ""},
		{nil, "", "EdDSA", "at+jwt", token.ReasonAlg, token.ReasonAlg},
		{[]string{"EdDSA", "RS256"}, "", "RS256", "at+jwt", "", ""},
		{[]string{"EdDSA", "RS256"}, "", "ES256", "at+jwt", token.ReasonAlg, token.ReasonAlg},
		{[]string{"EdDSA"}, "", "Ed25519", "at+jwt", "", token.ReasonAlg},
		{[]string{"Ed25519"}, "", "Ed25519", "at+jwt", "", never},
		{[]string{"Ed25519"}, "", "EdDSA", "at+jwt", "", never},
		{[]string{"EdDSA"}, "", "Ed448", "at+jwt", token.ReasonAlg, token.ReasonAlg},
		{[]string{"EdDSA"}, "", "ED25519", "at+jwt", token.ReasonAlg, token.ReasonAlg},
		{[]string{"ES256"}, "", "Ed25519", "at+jwt", token.ReasonAlg, token.ReasonAlg},
		{nil, "", "ES256", "", token.ReasonTyp, token.ReasonTyp},
		{nil, "", "ES256", "AT+JWT", "", token.ReasonTyp},
		{nil, "", "ES256", "application/at+jwt", "", token.ReasonTyp},
		{nil, "", "ES256", "Application/At+Jwt", "", token.ReasonTyp},
		{nil, "application/at+jwt", "ES256", "at+jwt", "", never},
		{nil, "", "ES256", "text/at+jwt", token.ReasonTyp, token.ReasonTyp},
		{nil, "", "ES256", "application/", token.ReasonTyp, token.ReasonTyp},
		{nil, "", "ES256", "application/application/at+jwt", token.ReasonTyp, token.ReasonTyp},
		{nil, "", "ES256", "at+jwt ", token.ReasonTyp, token.ReasonTyp},
		{nil, "", "ES256", "at+jwt;charset=utf-8", token.ReasonTyp, token.ReasonTyp},
		{nil, "", "ES256", "at+jwt;", token.ReasonTyp, token.ReasonTyp},
		{nil, "at+jwt;v=1", "ES256", "AT+JWT;v=1", "", never},
		{nil, "at+jwt;v=1", "ES256", "at+jwt;V=1", token.ReasonTyp, never},
		{nil, "at+jwt;v=1", "ES256", "at+jwt", token.ReasonTyp, never},
		{nil, "", "ES256", "at+jw\u1e6d", token.ReasonTyp, token.ReasonTyp},
		{nil, "secevent+jwt", "ES256", "\u017fecevent+jwt", token.ReasonTyp, never},
		{nil, "", "ES256", "JWT", token.ReasonTyp, token.ReasonTyp},
		{nil, "JWT", "ES256", "JWT", "", never},
		{nil, "JWT", "ES256", "jwt", "", never},
		{nil, "JWT", "ES256", "at+jwt", token.ReasonTyp, never},
		{nil, "none", "ES256", "", "", never},
		{nil, "none", "ES256", "none", token.ReasonTyp, never},
		{nil, "none", "ES256", "JWT", token.ReasonTyp, never},
	} {
		for ours, want := range map[bool]token.Reason{false: c.want, true: c.ours} {
			p := good()
			p.Algorithms, p.Type, p.Ours = c.algorithms, c.wantType, ours
			if want == never {
				if p.Validate() == nil {
					t.Errorf("%v %q: expected a profile of ours not to be so", c.algorithms, c.wantType)
				}
				continue
			}
			got := token.ReasonOf(p.CheckHeader(token.Header{Algorithm: c.alg, Type: c.typ}))
			if got != want {
				t.Errorf("%v %q, ours %v, token says %q %q: expected %q, got %q", c.algorithms,
					c.wantType, ours, c.alg, c.typ, want, got)
			}
		}
	}
}

// TestWhatTheReaderNotedOfAHeaderIsJudged: what no issuer may write is refused by every profile,
// what none of ours writes by ours alone, and by its own reason first.
func TestWhatTheReaderNotedOfAHeaderIsJudged(t *testing.T) {
	fault := token.Refuse(token.ReasonHeaderCrit, "x")
	foreign := token.Refuse(token.ReasonHeaderKey, "x")
	for _, c := range []struct {
		header     token.Header
		want, ours token.Reason
	}{
		{token.Header{}, "", ""},
		{token.Header{Foreign: foreign}, "", token.ReasonHeaderKey},
		{token.Header{Fault: fault}, token.ReasonHeaderCrit, token.ReasonHeaderCrit},
		{token.Header{Fault: fault, Foreign: foreign}, token.ReasonHeaderCrit, token.ReasonHeaderKey},
	} {
		c.header.Algorithm, c.header.Type = "ES256", "at+jwt"
		for ours, want := range map[bool]token.Reason{false: c.want, true: c.ours} {
			p := good()
			p.Ours = ours
			if got := token.ReasonOf(p.CheckHeader(c.header)); got != want {
				t.Errorf("%+v, ours %v: expected %q, got %q", c.header, ours, want, got)
			}
		}
	}
}

// TestEmptyAlgorithmsInAFileAreRefused: a list that someone emptied does not become the default.
func TestEmptyAlgorithmsInAFileAreRefused(t *testing.T) {
	file := filepath.Join(t.TempDir(), "authz.yaml")
	if err := os.WriteFile(
		file,
		[]byte(
			"issuer: https://issuer.example.com\njwks_url: https://issuer.example.com/keys\naudiences: "+
				"[orders]\nalgorithms: []\n"),
		0o600,
	); err != nil {
		t.Fatal(err)
	}
	var e entry
	e.SetDefaults()
	err := config.Load(&e, config.Options{File: file})
	if err == nil {
		err = e.Profile.Validate()
	}
	if err == nil || !strings.Contains(err.Error(), "algorithms") {
		t.Errorf("expected algorithms to be refused, got %v", err)
	}
}
