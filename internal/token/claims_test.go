package token_test

import (
	"encoding/json"
	"math/big"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/sallyport/sallyport/internal/token"
)

// base is what an honest issuer's claims look like, to be changed.
func base() map[string]any {
	return map[string]any{
		"iss":       "https://issuer.example.com",
		"sub":       "alice",
		"aud":       "orders",
		"exp":       issuedAt + 3600,
		"iat":       issuedAt,
		"jti":       "a",
		"client_id": "web",
	}
}

func text(t *testing.T, claims map[string]any) []byte {
	t.Helper()
	b, err := json.Marshal(claims)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// claimShape is one claim with a value, the reason for which it is refused, and how the accepted
// value shows.
type claimShape struct {
	claim string
	value any
	want  token.Reason
	show  func(*token.Claims) any
	as    any
}

// check reads base with that claim by a profile.
func (c claimShape) check(t *testing.T, p token.Profile, change map[string]any) {
	t.Helper()
	claims := base()
	for name, value := range change {
		claims[name] = value
	}
	claims[c.claim] = c.value
	got, err := p.Read(text(t, claims))
	if token.ReasonOf(err) != c.want {
		t.Errorf("%s %v: expected %q, got %v", c.claim, c.value, c.want, err)
		return
	}
	if err != nil && got != nil {
		t.Errorf("%s %v: claims came with an error", c.claim, c.value)
	}
	if err == nil && !reflect.DeepEqual(c.show(got), c.as) {
		t.Errorf("%s %v: expected %#v, got %#v", c.claim, c.value, c.as, c.show(got))
	}
}

// TestClaimsAreReadInTheirOneShape: what a claim may be in a token of ours, and by which reason
// anything else is refused.
func TestClaimsAreReadInTheirOneShape(t *testing.T) {
	p := good()
	p.Ours = true
	for _, c := range slices.Concat(usedShapes(), ourShapes()) {
		c.check(t, p, map[string]any{"auth_time": issuedAt})
	}
}

// TestClaimsThatAnEntryNamesAreJudged: in others' tokens, those that the entry names have the same
// shapes, and those that every token needs.
func TestClaimsThatAnEntryNamesAreJudged(t *testing.T) {
	p := good()
	p.Claims = token.ClaimNames{
		ClientID: "client_id", Session: "sid", Tenant: "tenant", Scope: "scope", Roles: []string{"roles"},
	}
	for _, c := range usedShapes() {
		c.check(t, p, nil)
	}
	for _, c := range []claimShape{
		{
			"roles", map[string]any{"admin": map[string]any{"233": "example.com"}, "no": false, "z": nil}, "",
			roles, []string{"admin"},
		},
		{"roles", map[string]any{"admin": true}, "", roles, []string{"admin"}},
		{"roles", map[string]any{}, "", roles, []string{}},
		{"roles", map[string]any{"admin": 0}, token.ReasonClaimShape, nil, nil},
		{"roles", map[string]any{"admin": "no"}, token.ReasonClaimShape, nil, nil},
		{"roles", map[string]any{"admin": []string{}}, token.ReasonClaimShape, nil, nil},
		{"roles", map[string]any{"ad\nmin": true}, token.ReasonClaimShape, nil, nil},
		{"roles", map[string]any{"": true}, token.ReasonClaimShape, nil, nil},
		// A group of a directory, as it stands alone: it must not grant what one of its words names.
		{"roles", "Domain Admins", "", roles, []string{"Domain Admins"}},
		{"roles", " ", "", roles, []string{" "}},
		{"roles", nil, "", roles, []string(nil)},
		{"sid", nil, "", func(c *token.Claims) any { return c.SessionID }, ""},
		{"client_id", nil, "", func(c *token.Claims) any { return c.ClientID }, ""},
		{"tenant", nil, "", func(c *token.Claims) any { return c.Tenant }, ""},
		{"nbf", 0, "", func(c *token.Claims) any { return c.NotBefore }, int64(0)},
		{"nbf", 0.5, "", func(c *token.Claims) any { return c.NotBefore }, int64(0)},
		{"nbf", -1, token.ReasonDate, nil, nil},
		{"scope", nil, "", func(c *token.Claims) any { return c.Scope }, []string(nil)},
	} {
		c.check(t, p, nil)
	}
}

// TestClaimsThatNothingUsesCostNobodyALogin: what stands in others' tokens under names that the
// entry does not give is read if it has the usual shape, and grants nothing if it has not.
func TestClaimsThatNothingUsesCostNobodyALogin(t *testing.T) {
	tenant := func(c *token.Claims) any { return c.Tenant }
	scope := func(c *token.Claims) any { return c.Scope }
	amr := func(c *token.Claims) any { return c.AMR }
	authTime := func(c *token.Claims) any { return c.AuthTime }
	nothing := []string(nil)
	for _, c := range []claimShape{
		{"tenant", []string{"a"}, "", tenant, ""},
		{"tenant", map[string]any{"id": "acme"}, "", tenant, ""},
		{"tenant", nil, "", tenant, ""},
		{"tenant", "", "", tenant, ""},
		{"tenant", "acme", "", tenant, "acme"},
		{"roles", "admin\tuser", "", roles, nothing},
		{"roles", []any{"admin", 1}, "", roles, nothing},
		{"roles", []any{map[string]any{"name": "admin"}}, "", roles, nothing},
		{"roles", []string{""}, "", roles, nothing},
		{"roles", map[string]any{"admin": map[string]any{}}, "", roles, []string{"admin"}},
		{"roles", map[string]any{"admin": 1}, "", roles, nothing},
		{"roles", true, "", roles, nothing},
		{"roles", nil, "", roles, nothing},
		{"roles", []string{"admin"}, "", roles, []string{"admin"}},
		{"scope", 7, "", scope, nothing},
		{"scope", nil, "", scope, nothing},
		{"scope", map[string]any{"read": true}, "", scope, nothing},
		{"scope", "a b", "", scope, []string{"a", "b"}},
		{"amr", []any{map[string]any{"method": "password", "timestamp": 1700000000}}, "", amr, nothing},
		{"amr", 7, "", amr, nothing},
		{"amr", []string{"pwd"}, "", amr, []string{"pwd"}},
		{"auth_time", "2026-11-30T00:00:00.000Z", "", authTime, int64(0)},
		{"auth_time", nil, "", authTime, int64(0)},
		{"auth_time", -1, "", authTime, int64(0)},
		{"auth_time", issuedAt + 0.75, "", authTime, int64(issuedAt)},
		{"auth_time", issuedAt, "", authTime, int64(issuedAt)},
	} {
		c.check(t, good(), nil)
	}
	p := good()
	p.Claims = token.ClaimNames{
		ClientID: "none", Session: "none", Tenant: "none", Scope: "none", Roles: []string{"none"},
	}
	for _, name := range []string{"client_id", "sid", "tenant", "scope", "roles"} {
		for _, value := range []any{1, "", nil, map[string]any{"x": 1}, []any{1}, "a\nb"} {
			claims := base()
			claims[name] = value
			got, err := p.Read(text(t, claims))
			if err != nil || got.ClientID+got.SessionID+got.Tenant != "" || got.Scope != nil ||
				got.Roles != nil {
				t.Errorf("%s %v, which the entry says is none: got %+v, %v", name, value, got, err)
			}
		}
	}
}

func roles(c *token.Claims) any { return c.Roles }

// usedShapes are those of claims that are used, in a token of anybody.
func usedShapes() []claimShape {
	long := strings.Repeat("x", 513)
	return []claimShape{
		{
			"aud", []string{"other", "orders"}, "", func(c *token.Claims) any { return c.Audience },
			[]string{"other", "orders"},
		},
		{"aud", "orders ", token.ReasonAudience, nil, nil},
		{"aud", "Orders", token.ReasonAudience, nil, nil},
		{"aud", []any{"orders", 1}, token.ReasonAudience, nil, nil},
		{"aud", []any{"orders", nil}, token.ReasonAudience, nil, nil},
		{"aud", []any{[]string{"orders"}}, token.ReasonAudience, nil, nil},
		{"aud", map[string]any{"orders": true}, token.ReasonAudience, nil, nil},
		{"sub", long, token.ReasonSubject, nil, nil},
		{"sub", long[:512], "", func(c *token.Claims) any { return c.Subject }, long[:512]},
		{"sub", "a b", "", func(c *token.Claims) any { return c.Subject }, "a b"},
		{"sub", "ä", "", func(c *token.Claims) any { return c.Subject }, "ä"},
		{"sub", "a\u00adb", token.ReasonSubject, nil, nil},
		{"sub", "a\u2029b", token.ReasonSubject, nil, nil},
		{"sub", "a\u2066b", token.ReasonSubject, nil, nil},
		{"sub", "a\ue000b", token.ReasonSubject, nil, nil},
		{"sid", "s", "", func(c *token.Claims) any { return c.SessionID }, "s"},
		{"sid", "", token.ReasonSessionID, nil, nil},
		{"sid", 1, token.ReasonSessionID, nil, nil},
		{"client_id", 1, token.ReasonClaimShape, nil, nil},
		{"client_id", "", token.ReasonClaimShape, nil, nil},
		{"tenant", []string{"a"}, token.ReasonClaimShape, nil, nil},
		{"tenant", "acme", "", func(c *token.Claims) any { return c.Tenant }, "acme"},
		{
			"roles", []string{"admin", "team one"}, "", func(c *token.Claims) any { return c.Roles },
			[]string{"admin", "team one"},
		},
		{"roles", "", "", func(c *token.Claims) any { return c.Roles }, []string(nil)},
		{"roles", []string{}, "", func(c *token.Claims) any { return c.Roles }, []string{}},
		{"roles", "admin\tuser", token.ReasonClaimShape, nil, nil},
		{"roles", []any{"admin", 1}, token.ReasonClaimShape, nil, nil},
		{"roles", []string{""}, token.ReasonClaimShape, nil, nil},
		{"roles", true, token.ReasonClaimShape, nil, nil},
		{"scope", "a b", "", func(c *token.Claims) any { return c.Scope }, []string{"a", "b"}},
		{
			"scope", []string{"a", "b"}, "", func(c *token.Claims) any { return c.Scope },
			[]string{"a", "b"},
		},
		{"scope", 7, token.ReasonClaimShape, nil, nil},
		{"amr", []string{"pwd"}, "", func(c *token.Claims) any { return c.AMR }, []string{"pwd"}},
		{"auth_time", issuedAt, "", func(c *token.Claims) any { return c.AuthTime }, int64(issuedAt)},
		{"nbf", issuedAt, "", func(c *token.Claims) any { return c.NotBefore }, int64(issuedAt)},
		{"exp", 253402300799, "", func(c *token.Claims) any { return c.Expiry }, int64(253402300799)},
		{"exp", 253402300800, token.ReasonDate, nil, nil},
		{"iss", "https://issuer.example.com/", token.ReasonUnknownIssuer, nil, nil},
		{"iss", []string{"https://issuer.example.com"}, token.ReasonIssuer, nil, nil},
	}
}

// ourShapes are refused in a token of ours alone.
func ourShapes() []claimShape {
	return []claimShape{
		{"roles", map[string]any{"admin": true}, token.ReasonClaimShape, nil, nil},
		{"roles", "admin  user ", "", roles, []string{"admin", "user"}},
		{"roles", nil, token.ReasonClaimShape, nil, nil},
		{"sid", nil, token.ReasonSessionID, nil, nil},
		{"client_id", nil, token.ReasonClaimShape, nil, nil},
		{"tenant", nil, token.ReasonClaimShape, nil, nil},
		{"nbf", 0, token.ReasonDate, nil, nil},
		{"scope", nil, token.ReasonClaimShape, nil, nil},
		{"amr", nil, token.ReasonClaimShape, nil, nil},
		{"amr", 7, token.ReasonClaimShape, nil, nil},
		{"auth_time", "x", token.ReasonDate, nil, nil},
		{"exp", 1.5e9 + 0.5, token.ReasonDate, nil, nil},
	}
}

func TestNamesOfClaimsAreTheProfiles(t *testing.T) {
	claims := base()
	claims["realm"] = map[string]any{"roles": []string{"a"}, "deep/er": map[string]any{"t~": "acme"}}
	claims["https://example.com/roles"] = "b c"
	claims["scope"] = "e f"
	claims["realm.roles"] = []string{"d"}
	claims["roles"] = []string{"not asked for"}
	claims["sid"] = "not asked for"
	p := good()
	p.Claims = token.ClaimNames{
		Roles: []string{
			"/realm/roles", "https://example.com/roles", "realm.roles", "/absent/roles", "scope",
		},
		Tenant:  "/realm/deep~1er/t~0",
		Session: "none",
	}
	got, err := p.Read(text(t, claims))
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(got.Roles, []string{"a", "b c", "d", "e", "f"}) || got.Tenant != "acme" ||
		got.SessionID != "" {
		t.Errorf("got %+v", got)
	}
	p.Claims.Roles = []string{}
	if got, err = p.Read(text(t, claims)); err != nil || got.Roles != nil {
		t.Errorf("expected no roles to be believed, got %+v, %v", got, err)
	}
}

func TestRequiredClaims(t *testing.T) {
	claims := base()
	claims["typ"] = "Bearer"
	claims["kinds"] = []string{"a", "b"}
	claims["n"] = map[string]any{"x": "1", "z": nil}
	claims["yes"], claims["no"], claims["null"], claims["text"] = true, false, nil, "true"
	claims["level"], claims["zero"], claims["empty"] = 3, 0, ""
	claims["mixed"] = []any{3, true, "b", []any{"x"}, map[string]any{"c": 1}}
	const refused = token.ReasonClaimRequired
	for entry, want := range map[string]token.Reason{
		"typ": "", "typ=Bearer": "", "kinds=b": "", "/n/x": "", "/n/x=1": "", "n": "",
		"absent": refused, "typ=ID": refused, "typ=bearer": refused, "kinds=c": refused,
		"/n/y": refused, "/n/z": refused, "n=1": refused,
		"yes": "", "yes=true": "", "yes=false": refused, "yes=1": refused, "yes=True": refused,
		"no": refused, "no=true": refused, "no=false": "", "null=null": refused, "/n/z=null": refused,
		"text=true": "", "text": "", "zero": "", "empty": "", "zero=0": "", "zero=-0": "", "zero=0e9": "",
		"level": "", "level=3": "", "level=3.0": "", "level=30e-1": "", "level=03": refused,
		"level=3.1": refused, "level= 3": refused, "level=-3": refused, "level=30": refused,
		`level="3"`: refused, "level=three": refused, "exp=1800003600": "", "exp=1800003601": refused,
		"mixed=3": "", "mixed=true": "", "mixed=b": "", "mixed=4": refused, "mixed=c": refused,
		"mixed=x": refused,
	} {
		p := good()
		p.RequiredClaims = []string{"sub", entry}
		if _, err := p.Read(text(t, claims)); token.ReasonOf(err) != want {
			t.Errorf("%s: expected %q, got %v", entry, want, err)
		}
	}
}

// TestOurTokensSayWhenTheirSessionBegan: revocations by subject, client and tenant go by it.
func TestOurTokensSayWhenTheirSessionBegan(t *testing.T) {
	p := good()
	p.Ours = true
	for want, change := range map[token.Reason]map[string]any{
		"":                        {"sid": "s", "auth_time": issuedAt},
		token.ReasonSessionID:     {"sid": "s"},
		token.ReasonClaimRequired: {"client_id": nil},
	} {
		claims := base()
		for name, value := range change {
			if claims[name] = value; value == nil {
				delete(claims, name)
			}
		}
		if _, err := p.Read(text(t, claims)); token.ReasonOf(err) != want {
			t.Errorf("%v: expected %q, got %v", change, want, err)
		}
	}
}

// TestAnyAudienceStillReadsTheAudience: what there is must be well formed. That there is none,
// others than our issuers also write as null or an empty list.
func TestAnyAudienceStillReadsTheAudience(t *testing.T) {
	p := good()
	p.Audiences, p.AnyAudience = nil, true
	for _, c := range []struct {
		value any
		want  token.Reason
	}{
		{"anyone", ""}, {[]string{"a", "b"}, ""}, {[]string{}, ""}, {nil, ""},
		{1, token.ReasonAudience}, {"", token.ReasonAudience}, {[]any{nil}, token.ReasonAudience},
		{map[string]any{}, token.ReasonAudience},
	} {
		claims := base()
		claims["aud"] = c.value
		if _, err := p.Read(text(t, claims)); token.ReasonOf(err) != c.want {
			t.Errorf("%v: expected %q, got %v", c.value, c.want, err)
		}
	}
	for _, nobody := range []any{[]string{}, nil} {
		claims := base()
		claims["aud"] = nobody
		ours, named := p, good()
		ours.Ours = true
		for name, p := range map[string]token.Profile{"ours": ours, "with audiences": named} {
			if _, err := p.Read(text(t, claims)); token.ReasonOf(err) != token.ReasonAudience {
				t.Errorf("%s, aud %v: got %v", name, nobody, err)
			}
		}
	}
	claims := base()
	delete(claims, "aud")
	if _, err := p.Read(text(t, claims)); err != nil {
		t.Errorf("without aud: %v", err)
	}
}

// TestTimeHasOneLeeway: to the second, on each side.
func TestTimeHasOneLeeway(t *testing.T) {
	p := good()
	at := func(seconds int64) time.Time { return time.Unix(issuedAt+seconds, 0) }
	c := &token.Claims{IssuedAt: issuedAt, NotBefore: issuedAt + 10, Expiry: issuedAt + 3600}
	for _, m := range []struct {
		now  time.Time
		want token.Reason
	}{
		{at(-21), token.ReasonNotYetValid}, {at(-20), ""}, {at(0), ""}, {at(3600), ""}, {at(3629), ""},
		{
			at(3630).Add(-time.Nanosecond), "",
		}, {at(3630), token.ReasonExpired}, {at(1 << 40), token.ReasonExpired},
		{time.Time{}, token.ReasonNotYetValid},
	} {
		if got := token.ReasonOf(p.CheckTime(c, m.now)); got != m.want {
			t.Errorf("at %d: expected %q, got %q", m.now.Unix()-issuedAt, m.want, got)
		}
	}
	c.NotBefore = 0
	if got := token.ReasonOf(p.CheckTime(c, at(-31))); got != token.ReasonIssuedInFuture {
		t.Errorf("iat in the future: got %q", got)
	}
	for expiry, want := range map[int64]token.Reason{
		issuedAt + 3600: "", issuedAt + 3602: token.ReasonLifetime, issuedAt: token.ReasonLifetime,
		issuedAt - 1: token.ReasonLifetime, 0: token.ReasonLifetime, 253402300799: token.ReasonLifetime,
	} {
		if got := token.ReasonOf(
			p.CheckTime(&token.Claims{IssuedAt: issuedAt, Expiry: expiry}, at(0))); got != want {
			t.Errorf("exp %d: expected %q, got %q", expiry, want, got)
		}
	}
	// One second more is forgiven, to others than our issuers.
	for ours, want := range map[bool]token.Reason{false: "", true: token.ReasonLifetime} {
		p.Ours = ours
		if got := token.ReasonOf(
			p.CheckTime(&token.Claims{IssuedAt: issuedAt, Expiry: issuedAt + 3601}, at(0))); got != want {
			t.Errorf("a second more, ours %v: expected %q, got %q", ours, want, got)
		}
	}
	p.ClockSkew = 0
	if got := token.ReasonOf(
		p.CheckTime(&token.Claims{
			IssuedAt: issuedAt, Expiry: issuedAt + 60,
		}, at(60))); got != token.ReasonExpired {
		t.Errorf("without leeway: got %q", got)
	}
}

// TestClaimsThatNoGateReadsAreNotWritten: the issuer learns it.
func TestClaimsThatNoGateReadsAreNotWritten(t *testing.T) {
	whole := token.Claims{
		Issuer:   "https://i",
		Subject:  "alice",
		Audience: []string{"a"},
		ID:       "j",
		ClientID: "c",
		IssuedAt: issuedAt,
		Expiry:   issuedAt + 60,
	}
	if _, err := whole.Marshal(); err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(c *token.Claims){
		"no issuer":             func(c *token.Claims) { c.Issuer = "" },
		"no subject":            func(c *token.Claims) { c.Subject = "" },
		"no id":                 func(c *token.Claims) { c.ID = "" },
		"no client":             func(c *token.Claims) { c.ClientID = "" },
		"no audience":           func(c *token.Claims) { c.Audience = nil },
		"an empty audience":     func(c *token.Claims) { c.Audience = []string{""} },
		"subject with NUL":      func(c *token.Claims) { c.Subject = "a\x00" },
		"subject not UTF-8":     func(c *token.Claims) { c.Subject = "a\xff" },
		"subject invisible":     func(c *token.Claims) { c.Subject = "a\u200b" },
		"role with a newline":   func(c *token.Claims) { c.Roles = []string{"a\n"} },
		"scope with a space":    func(c *token.Claims) { c.Scope = []string{"a b"} },
		"empty scope":           func(c *token.Claims) { c.Scope = []string{""} },
		"no expiry":             func(c *token.Claims) { c.Expiry = 0 },
		"no iat":                func(c *token.Claims) { c.IssuedAt = 0 },
		"exp before iat":        func(c *token.Claims) { c.Expiry = issuedAt - 1 },
		"nbf negative":          func(c *token.Claims) { c.NotBefore = -1 },
		"year 10000":            func(c *token.Claims) { c.Expiry = 253402300800 },
		"sid without auth_time": func(c *token.Claims) { c.SessionID = "s" },
		"tenant too long":       func(c *token.Claims) { c.Tenant = strings.Repeat("x", 513) },
	} {
		c := whole
		change(&c)
		if b, err := c.Marshal(); err == nil {
			t.Errorf("%s: wrote %s", name, b)
		}
	}
}

// TestClaimsHaveOneOrder: as RFC 9068 section 2.2 lists them, so that equal claims are equal bytes.
func TestClaimsHaveOneOrder(t *testing.T) {
	c := token.Claims{
		Issuer:    "https://i",
		Subject:   "al\"ice",
		Audience:  []string{"a", "b"},
		ID:        "j",
		ClientID:  "c",
		SessionID: "s",
		Tenant:    "t",
		Scope:     []string{"x", "y"},
		Roles:     []string{"r"},
		AMR:       []string{"pwd"},
		Expiry:    200,
		IssuedAt:  100,
		NotBefore: 90,
		AuthTime:  80,
	}
	want := `{"iss":"https://i","sub":"al\"ice","aud":["a","b"],"exp":200,"iat":100,"nbf":90,"jti":"j","client_id":"c","sid":"s","auth_time":80,"scope":"x y","roles":["r"],"tenant":"t","amr":["pwd"]}`
	if got, err := c.Marshal(); err != nil || string(got) != want {
		t.Errorf("expected %s\ngot %s, %v", want, got, err)
	}
}

// TestWhatIsWrittenIsRead: over claims of all kinds.
func TestWhatIsWrittenIsRead(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		word := rapid.StringMatching(`[^\pC\pZ]{1,20}`)
		words := rapid.SliceOfN(word, 1, 3)
		c := &token.Claims{
			Issuer:   "https://issuer.example.com",
			Subject:  word.Draw(t, "sub"),
			ID:       word.Draw(t, "jti"),
			ClientID: word.Draw(t, "client"),
			Audience: append(words.Draw(t, "aud"), "orders"),
			Roles:    words.Draw(t, "roles"),
			Scope:    words.Draw(t, "scope"),
			IssuedAt: rapid.Int64Range(1, 1<<37).
				Draw(t, "iat"),
			SessionID: word.Draw(t, "sid"),
			AuthTime:  rapid.Int64Range(1, 1<<37).Draw(t, "auth_time"),
		}
		c.Expiry = c.IssuedAt + rapid.Int64Range(1, 3600).Draw(t, "life")
		b, err := c.Marshal()
		if err != nil {
			if strings.Contains(err.Error(), "control or invisible") {
				t.Skip("drew a letter that is not printed")
			}
			t.Fatal(err)
		}
		p := good()
		p.Ours = true
		got, err := p.Read(b)
		if err != nil || !reflect.DeepEqual(got, c) {
			t.Fatalf("wrote %s\nread %+v, %v", b, got, err)
		}
	})
}

// FuzzClaims: what is accepted, encoding/json reads as the same; and what we write of it, we read
// again as the same.
func FuzzClaims(f *testing.F) {
	f.Add(
		`{"iss":"https://issuer.example.com","sub":"alice","aud":"orders","exp":1800003600,"iat":1800000000,"jti":"a","client_id":"web","sid":"s","auth_time":1800000000,"roles":["a"],"scope":"x y"}`,
	)
	f.Add(`{"iss":"https://issuer.example.com","sub":"\u0061lice","aud":["orders"],"exp":1,"iat":1e3}`)
	f.Add(`{"iss":"https://issuer.example.com","sub":"a","sub":"b"}`)
	f.Add(`[]`)
	f.Fuzz(func(t *testing.T, claims string) {
		p := good()
		got, err := p.Read([]byte(claims))
		ours := good()
		ours.Ours = true
		if strictly, refused := ours.Read([]byte(claims)); refused == nil &&
			(err != nil || !reflect.DeepEqual(strictly, got)) {
			t.Fatalf("read %q as %+v of ours, and as %+v, %v of others", claims, strictly, got, err)
		}
		if err != nil {
			if r := token.ReasonOf(err); !r.Known() || r == token.ReasonInternal || got != nil {
				t.Fatalf("refused without a reason: %v", err)
			}
			return
		}
		var exact map[string]any
		d := json.NewDecoder(strings.NewReader(claims))
		d.UseNumber()
		if err := d.Decode(&exact); err != nil || !json.Valid([]byte(claims)) {
			t.Fatalf("accepted %q, encoding/json does not: %v", claims, err)
		}
		if got.Subject != exact["sub"] || got.ID != exact["jti"] || got.Issuer != exact["iss"] ||
			!sameDate(got.ExpiresAt(), exact["exp"], 1) ||
			!sameDate(got.IssuedTime(), exact["iat"], 0) {
			t.Fatalf("read %q as %+v", claims, got)
		}
		if p.CheckTime(got, time.Unix(issuedAt, 0)) == nil {
			for _, claim := range []string{"exp", "iat", "nbf"} {
				mustBeInTime(t, claim, exact[claim])
			}
		}
		if got.ExpiresAt().Nanosecond() != 0 || got.IssuedTime().Nanosecond() != 0 {
			return // ours would not be written so
		}
		if got.ClientID == "" || got.Expiry <= got.IssuedAt || got.SessionID != "" && got.AuthTime == 0 ||
			slices.ContainsFunc(got.Scope, func(s string) bool { return strings.Contains(s, " ") }) {
			return // a foreign token: ours would not be written so
		}
		b, err := got.Marshal()
		if err != nil {
			t.Fatalf("accepted %q, which we would not write: %v", claims, err)
		}
		again, err := p.Read(b)
		if err != nil || !same(again, got) {
			t.Fatalf("read %+v, wrote %s, read %+v, %v", got, b, again, err)
		}
	})
}

// sameDate compares a date with a JSON number, exactly but for what is finer than a nanosecond:
// that is rounded up by so many.
func sameDate(got time.Time, number any, up int64) bool {
	r, ok := new(big.Rat).SetString(number.(json.Number).String())
	if !ok {
		return false
	}
	r.Mul(r, big.NewRat(1e9, 1))
	nanos, finer := new(big.Int).QuoRem(r.Num(), r.Denom(), new(big.Int))
	if finer.Sign() != 0 {
		nanos.Add(nanos, big.NewInt(up))
	}
	have := new(big.Int).Mul(big.NewInt(got.Unix()), big.NewInt(1e9))
	return have.Add(have, big.NewInt(int64(got.Nanosecond()))).Cmp(nanos) == 0
}

// mustBeInTime: what was found to be in time at issuedAt, is so by exact reckoning.
func mustBeInTime(t *testing.T, claim string, number any) {
	t.Helper()
	n, ok := number.(json.Number)
	if !ok {
		return
	}
	r, ok := new(big.Rat).SetString(n.String())
	if !ok {
		t.Fatalf("%s %s is no number", claim, n)
	}
	from, to := big.NewRat(issuedAt-30, 1), big.NewRat(issuedAt+30, 1)
	if claim == "exp" && r.Cmp(from) <= 0 || claim != "exp" && r.Cmp(to) > 0 {
		t.Fatalf("accepted %s %s at %d", claim, n, issuedAt)
	}
}

// same holds when claims differ in nothing but whether an empty list is there.
func same(a, b *token.Claims) bool {
	x, y := *a, *b
	for _, c := range []*token.Claims{&x, &y} {
		for _, l := range []*[]string{&c.Roles, &c.Scope, &c.AMR} {
			if len(*l) == 0 {
				*l = nil
			}
		}
	}
	return reflect.DeepEqual(x, y)
}
