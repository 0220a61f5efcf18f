package ssf_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sallyport/sallyport/internal/revocation"
	"github.com/sallyport/sallyport/internal/ssf"
	"github.com/sallyport/sallyport/internal/token"
)

const (
	iss  = "https://sso.example.com/realms/shop"
	caep = "https://schemas.openid.net/secevent/caep/event-type/"
	risc = "https://schemas.openid.net/secevent/risc/event-type/"
	ours = "https://schemas.openid.net/secevent/ssf/event-type/"
	// What every message here has beside its events and subject.
	usual = `"jti":"1","iss":"` + iss + `","iat":1796006000,"aud":"sallyport/stream",`
)

var (
	issued = time.Unix(1796006000, 0)
	now    = issued.Add(5 * time.Second)
)

// message has one event about a subject.
func message(event, inside, subject string) string {
	return "{" + usual + fmt.Sprintf(`"events":{%q:{%s}},"sub_id":%s}`, event, inside, subject)
}

const (
	alice = `{"format":"iss_sub","iss":"` + iss + `","sub":"alice"}`
	email = `{"format":"email","email":"alice@example.com"}`
)

// parse reads a message's claims from their text.
func parse(t *testing.T, claims string) (ssf.Set, error) {
	t.Helper()
	return parseBy(t, plain, claims)
}

func parseBy(t *testing.T, rules ssf.Rules, claims string) (ssf.Set, error) {
	t.Helper()
	body, err := token.ReadBody(claims)
	if err != nil {
		t.Fatalf("%v\n%s", err, claims)
	}
	return ssf.Read(body.Root(), rules)
}

func combined(members ...string) string {
	return `{"format":"complex",` + strings.Join(members, ",") + "}"
}

// asks is what a message asks for, in the words of the tables below.
func asks(t *testing.T, rules ssf.Rules, claims string) (string, []ssf.Outcome) {
	t.Helper()
	set, err := parseBy(t, rules, claims)
	if err != nil {
		t.Fatalf("%v\n%s", err, claims)
	}
	requests, outcomes, err := rules.Requests(set, now, 30*time.Second)
	if err != nil {
		t.Fatalf("%v\n%s", err, claims)
	}
	var words []string
	for _, q := range requests {
		if q.Issuer != rules.Issuer || q.Actor != rules.Sender || q.Reason == "" {
			t.Errorf("expected issuer %q, actor %q and a reason, got %+v", rules.Issuer, rules.Sender, q)
		}
		word := q.Kind.String() + " " + q.Value
		if q.Kind.Cutoff() {
			word += fmt.Sprintf(" %+d", q.IssuedBefore.Unix()-issued.Unix())
		}
		words = append(words, word)
	}
	return strings.Join(words, ", "), outcomes
}

var plain = ssf.Rules{Issuer: iss, Sender: iss}

// TestWhatAnEventEnds goes through events and subjects: which entries each leads to, and with a
// cutoff of how many seconds after the message was made.
func TestWhatAnEventEnds(t *testing.T) {
	mapped := plain
	mapped.Subjects = map[string]revocation.Kind{
		"email": revocation.KindSub, "account": revocation.KindSub, "opaque": revocation.KindSID,
		"phone_number": revocation.KindSub, "did": revocation.KindSub, "uri": revocation.KindClient,
	}
	sessionOf := func(id string) string {
		return combined(`"user":`+alice, `"session":{"format":"opaque","id":"`+id+`"}`)
	}
	for _, c := range []struct {
		name, claims string
		rules        ssf.Rules
		want         string
		outcome      ssf.Outcome
	}{
		{
			"Keycloak: a user logs out",
			message(caep+"session-revoked", `"event_timestamp":1796005998`, sessionOf("N03")),
			plain, "sid N03", ssf.Revokes,
		},
		{
			"Keycloak: an admin logs a user out",
			message(caep+"session-revoked", `"event_timestamp":1796005998`, sessionOf("ALL")),
			plain, "sub alice -2", ssf.Revokes,
		},
		{
			"Keycloak: a password is changed",
			message(caep+"credential-change",
				`"event_timestamp":1796005999,"change_type":"update"`, alice),
			plain, "sub alice -1", ssf.Revokes,
		},
		{
			"all sessions, and nobody says whose",
			message(caep+"session-revoked", "", combined(`"session":{"format":"opaque","id":"ALL"}`)),
			plain, "", ssf.Unmapped,
		},
		{
			"a user's sessions", message(caep+"session-revoked", "", alice), plain,
			"sub alice +0", ssf.Revokes,
		},
		{
			"a session alone",
			message(caep+"session-revoked", "", combined(`"session":{"format":"opaque","id":"s1"}`)),
			plain, "sid s1", ssf.Revokes,
		},
		{
			"a session in the words of its issuer",
			message(caep+"session-revoked", "",
				combined(`"session":{"format":"iss_sub","iss":"`+iss+`","sub":"s1"}`)),
			plain, "sid s1", ssf.Revokes,
		},
		{
			"a session of a format that is not known: all of the user's",
			message(caep+"session-revoked", "",
				combined(`"user":`+alice, `"session":{"format":"cookie","value":"x"}`)),
			plain, "sub alice +0", ssf.Revokes,
		},
		{
			"a user on a device: all of the user's",
			message(caep+"session-revoked", "",
				combined(`"user":`+alice, `"device":{"format":"opaque","id":"phone"}`)),
			plain, "sub alice +0", ssf.Revokes,
		},
		{
			"a user of a tenant: the user, never the tenant",
			message(caep+"session-revoked", "",
				combined(`"user":`+email, `"tenant":{"format":"opaque","id":"acme"}`)),
			plain, "", ssf.Unmapped,
		},
		{
			"a tenant on a device: not all of the tenant",
			message(caep+"session-revoked", "", combined(
				`"device":{"format":"opaque","id":"phone"}`, `"tenant":{"format":"opaque","id":"acme"}`)),
			plain, "", ssf.Unmapped,
		},
		{
			"a tenant",
			message(caep+"session-revoked", "", combined(`"tenant":{"format":"opaque","id":"acme"}`)),
			plain, "tenant acme +0", ssf.Revokes,
		},
		{
			"a device alone",
			message(caep+"session-revoked", "", combined(`"device":{"format":"opaque","id":"phone"}`)),
			plain, "", ssf.Unmapped,
		},
		{
			"a password is changed in a session: all of the user's",
			message(caep+"credential-change", "", sessionOf("N03")), plain, "sub alice +0", ssf.Revokes,
		},
		{
			"claims change in a session: the tokens that have the old ones",
			message(caep+"token-claims-change", `"claims":{"role":"x"}`, sessionOf("N03")),
			plain, "sub alice +0", ssf.Revokes,
		},
		{
			"claims of one token change",
			message(caep+"token-claims-change", "", `{"format":"jwt_id","iss":"`+iss+`","jti":"t1"}`),
			plain, "jti t1", ssf.Revokes,
		},
		{"an account is disabled", message(risc+"account-disabled", `"reason":"hijacking"`, alice),
			plain, "sub alice +0", ssf.Revokes},
		{
			"an account is purged", message(risc+"account-purged", "", alice), plain,
			"sub alice +0", ssf.Revokes,
		},
		{"a credential is to be changed", message(risc+"account-credential-change-required", "",
			alice),
			plain, "sub alice +0", ssf.Revokes},
		{
			"RISC's sessions-revoked", message(risc+"sessions-revoked", "", alice), plain,
			"sub alice +0", ssf.Revokes,
		},
		{
			"an email without a mapping", message(risc+"account-disabled", "", email), plain,
			"", ssf.Unmapped,
		},
		{"an email with a mapping", message(risc+"account-disabled", "", email), mapped,
			"sub alice@example.com +0", ssf.Revokes},
		{"an account", message(risc+"account-disabled", "",
			`{"format":"account","uri":"acct:alice@example.com"}`), mapped,
			"sub alice@example.com +0", ssf.Revokes},
		{"a phone number", message(risc+"account-disabled", "",
			`{"format":"phone_number","phone_number":"+12065550100"}`), mapped,
			"sub +12065550100 +0", ssf.Revokes},
		{"a DID", message(risc+"account-disabled", "",
			`{"format":"did","url":"did:example:123456"}`), mapped, "sub did:example:123456 +0",
			ssf.Revokes},
		{"an opaque id with a mapping", message(caep+"session-revoked", "",
			`{"format":"opaque","id":"s1"}`), mapped, "sid s1", ssf.Revokes},
		{"a client by its URI", message(caep+"session-revoked", "",
			`{"format":"uri","uri":"https://app.example.com"}`), mapped,
			"client https://app.example.com +0", ssf.Revokes},
		{"aliases, one of them known", message(risc+"account-disabled", "",
			`{"format":"aliases","identifiers":[`+email+`,{"format":"new","x":1},`+alice+`]}`), plain,
			"sub alice +0", ssf.Revokes},
		{"aliases, one of them another issuer's", message(risc+"account-disabled", "",
			`{"format":"aliases","identifiers":[{"format":"iss_sub","iss":"https://other.example.com",`+
				`"sub":"al"},`+alice+`]}`), plain, "sub alice +0", ssf.Revokes},
		{"a password is changed in a session of a user who is not known here",
			message(caep+"credential-change", "",
				combined(`"user":`+email, `"session":{"format":"opaque","id":"s1"}`)),
			plain, "sid s1", ssf.Revokes},
		{"claims change in a session alone: it ends, for no entry ends its older tokens only",
			message(caep+"token-claims-change", "", combined(`"session":{"format":"opaque","id":"s1"}`)),
			plain, "sid s1", ssf.Revokes},
		{"an event that is not known, about nobody",
			strings.Replace(message("urn:example:x", "", alice), `,"sub_id":`+alice, "", 1), plain, "",
			ssf.Ignored},
		{"an event that is not known, about somebody in words that are not",
			message("urn:example:x", "", `"alice"`), plain, "", ssf.Ignored},
		{"an event that is to end nothing, about somebody in words that are not known",
			message(caep+"credential-change", "", `{"iss":"x"}`),
			ssf.Rules{Issuer: iss, Sender: iss, Ignored: []ssf.Type{ssf.CredentialChange}}, "",
			ssf.Ignored},
		{"a user on a device that is null",
			message(caep+"session-revoked", "", combined(`"user":`+alice, `"device":null`)), plain,
			"sub alice +0", ssf.Revokes},
		{"a tenant on a device that is a text: not all of the tenant",
			message(caep+"session-revoked", "",
				combined(`"device":"phone"`, `"tenant":{"format":"opaque","id":"acme"}`)), plain, "",
			ssf.Unmapped},
		{"a tenant of a format that is not known",
			message(caep+"session-revoked", "", combined(`"tenant":{"format":"email","email":"a@b.c"}`)),
			plain, "", ssf.Unmapped},
		{"an event that is to end nothing, about another issuer's user",
			message(caep+"credential-change", "",
				`{"format":"iss_sub","iss":"https://other.example.com","sub":"alice"}`),
			ssf.Rules{Issuer: iss, Sender: iss, Ignored: []ssf.Type{ssf.CredentialChange}}, "",
			ssf.Ignored},
		{"aliases as a user", message(risc+"account-disabled", "",
			combined(`"user":{"format":"aliases","identifiers":[`+email+`]}`)), mapped,
			"sub alice@example.com +0", ssf.Revokes},
		{"a format that is not known", message(risc+"account-disabled", "",
			`{"format":"new","x":1}`), mapped, "", ssf.Unmapped},
		{"an event that is not known", message(caep+"device-compliance-change", "", alice), plain, "",
			ssf.Ignored},
		{"an event of nobody's", message("urn:example:x", "", alice), plain, "", ssf.Ignored},
		{"an event that is to end nothing", message(caep+"credential-change", "", alice),
			ssf.Rules{Issuer: iss, Sender: iss, Ignored: []ssf.Type{ssf.CredentialChange}}, "",
			ssf.Ignored},
		{"a verification", message(ours+"verification", `"state":"x"`,
			`{"format":"opaque","id":"stream"}`),
			mapped, "", ssf.Stream},
		{"a stream is paused", message(ours+"stream-updated", `"status":"paused"`,
			`{"format":"opaque","id":"stream"}`), mapped, "", ssf.Stream},
		{
			"a sender that speaks for another issuer, in its own words", message(risc+"account-disabled",
				"", alice), ssf.Rules{Issuer: "https://tokens.example.com", Sender: iss},
			"sub alice +0", ssf.Revokes,
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, outcomes := asks(t, c.rules, c.claims)
			if got != c.want || len(outcomes) != 1 || outcomes[0] != c.outcome {
				t.Errorf("expected %q, %s, got %q, %v", c.want, c.outcome, got, outcomes)
			}
		})
	}
}

// TestTheCutoffIsWhenItHappened: a time that cannot be is left out of account, and one that is ahead
// by less than the skew is not: tokens are dated by the same clock.
func TestTheCutoffIsWhenItHappened(t *testing.T) {
	for name, c := range map[string]struct{ inside, beside, want string }{
		"event_timestamp before toe and iat": {`"event_timestamp":1796005990`, `"toe":1796005995,`,
			"-10"},
		"toe before iat":                       {"", `"toe":1796005995,`, "-5"},
		"iat":                                  {"", "", "+0"},
		"with a fraction":                      {`"event_timestamp":1796005989.0001`, "", "-11"},
		"ahead by less than the skew":          {`"event_timestamp":1796006020`, "", "+20"},
		"ahead by more than the skew: iat":     {`"event_timestamp":1796006100`, "", "+0"},
		"in milliseconds: iat":                 {`"event_timestamp":1796005990000`, "", "+0"},
		"as a text: iat":                       {`"event_timestamp":"1796005990"`, "", "+0"},
		"null: iat":                            {`"event_timestamp":null`, "", "+0"},
		"beyond any number: iat":               {`"event_timestamp":1e999`, "", "+0"},
		"before there was time: iat":           {`"event_timestamp":-1`, "", "+0"},
		"toe as a text, and event_timestamp 0": {`"event_timestamp":0`, `"toe":"x",`, "+0"},
	} {
		t.Run(name, func(t *testing.T) {
			claims := strings.Replace(message(caep+"session-revoked", c.inside, alice), "{",
				"{"+c.beside, 1)
			if got, _ := asks(t, plain, claims); got != "sub alice "+c.want {
				t.Errorf("expected a cutoff of %s, got %s", c.want, got)
			}
		})
	}
}

// TestAMessageThatMeansTwoThingsOrNothingIsRefused: each with the code that its sender gets.
func TestAMessageThatMeansTwoThingsOrNothingIsRefused(t *testing.T) {
	good := message(caep+"session-revoked", "", alice)
	if _, err := parse(t, good); err != nil {
		t.Fatal(err)
	}
	events := func(list ...string) string {
		return "{" + usual + `"events":{` + strings.Join(list, ",") + `},"sub_id":` + alice + "}"
	}
	subject := func(s string) string { return message(caep+"session-revoked", "", s) }
	var many, aliases []string
	for i := range 17 {
		many = append(many, fmt.Sprintf(`"urn:%d":{}`, i))
		aliases = append(aliases, email)
	}
	for name, claims := range map[string]string{
		"exp":              strings.Replace(good, "{", `{"exp":1796006900,`, 1),
		"exp that is null": strings.Replace(good, "{", `{"exp":null,`, 1),
		"sub":              strings.Replace(good, "{", `{"sub":"alice",`, 1),
		"no iat":           strings.Replace(good, `"iat":1796006000,`, "", 1),
		"iat as a text":    strings.Replace(good, "1796006000", `"1796006000"`, 1),
		"iat out of range": strings.Replace(good, "1796006000", "1796006000000", 1),
		"no events":        events(),
		"events as a list": "{" + usual + `"events":["x"],"sub_id":` + alice + "}",
		"too many events":  events(many...),
		"an event that ends, beside one that is not known, and no sub_id": "{" + usual +
			`"events":{"urn:x":{},"` + caep + `session-revoked":{}}}`,
		"an event that is a text": events(`"` + caep + `session-revoked":"x"`),
		"no sub_id":               strings.Replace(good, `,"sub_id":`+alice, "", 1),
		"sub_id as a text":        subject(`"alice"`),
		"no format":               subject(`{"iss":"x","sub":"y"}`),
		"iss_sub without sub":     subject(`{"format":"iss_sub","iss":"` + iss + `"}`),
		"email that is a list":    subject(`{"format":"email","email":["a"]}`),
		"complex without members": subject(`{"format":"complex"}`),
		"complex in complex":      subject(combined(`"user":` + combined(`"user":`+alice))),
		"a member that is a text": subject(combined(`"user":"alice"`)),
		"aliases of none":         subject(`{"format":"aliases","identifiers":[]}`),
		"too many aliases": subject(`{"format":"aliases","identifiers":[` +
			strings.Join(aliases, ",") + `]}`),
		"aliases in aliases": subject(`{"format":"aliases","identifiers":[{"format":"aliases","identifiers":[` +
			email + `]}]}`),
		"complex in aliases": subject(`{"format":"aliases","identifiers":[` +
			combined(`"user":`+alice) + `]}`),
	} {
		t.Run(name, func(t *testing.T) {
			set, err := parse(t, claims)
			var refused *ssf.Error
			if !errors.As(err, &refused) || refused.Code != ssf.InvalidRequest {
				t.Errorf("expected invalid_request, got %v and %+v", err, set)
			}
		})
	}
}

// TestASenderEndsNothingOfAnotherIssuer: wherever in the subject the other issuer stands.
func TestASenderEndsNothingOfAnotherIssuer(t *testing.T) {
	theirs := `{"format":"iss_sub","iss":"https://other.example.com","sub":"alice"}`
	for name, subject := range map[string]string{
		"a user":          theirs,
		"a user, complex": combined(`"user":`+theirs, `"session":{"format":"opaque","id":"s1"}`),
		"a session":       combined(`"session":` + theirs),
		"a device":        combined(`"user":`+alice, `"device":`+theirs),
		"all aliases":     `{"format":"aliases","identifiers":[` + theirs + "," + theirs + `]}`,
		"a token":         `{"format":"jwt_id","iss":"https://other.example.com","jti":"t1"}`,
	} {
		t.Run(name, func(t *testing.T) {
			set, err := parse(t, message(caep+"session-revoked", "", subject))
			if err != nil {
				t.Fatal(err)
			}
			requests, _, err := plain.Requests(set, now, time.Second)
			var refused *ssf.Error
			if !errors.As(err, &refused) || refused.Code != ssf.AccessDenied || requests != nil {
				t.Errorf("expected access_denied, got %v and %v", err, requests)
			}
		})
	}
}

// TestOtherNamesOfOneEventAreOneRequest (SSF section 4.1.7).
func TestOtherNamesOfOneEventAreOneRequest(t *testing.T) {
	claims := "{" + usual + fmt.Sprintf(`"events":{%q:{},%q:{},"urn:x":{}},"sub_id":%s}`,
		caep+"session-revoked", risc+"sessions-revoked", alice)
	got, outcomes := asks(t, plain, claims)
	if got != "sub alice +0" ||
		!slices.Equal(outcomes, []ssf.Outcome{ssf.Revokes, ssf.Revokes, ssf.Ignored}) {
		t.Errorf("got %q, %v", got, outcomes)
	}
}

// TestOfTwoEventsTheLaterOneCountsToo: an older cutoff does not stand for a newer one.
func TestOfTwoEventsTheLaterOneCountsToo(t *testing.T) {
	claims := "{" + usual + fmt.Sprintf(
		`"events":{%q:{"event_timestamp":1796005000},%q:{"event_timestamp":1796005900}},"sub_id":%s}`,
		caep+"session-revoked", caep+"credential-change", alice)
	if got, _ := asks(t, plain, claims); got != "sub alice -1000, sub alice -100" {
		t.Errorf("got %q", got)
	}
}

// TestMappingsLeadOnlyToWhatEventsSpeakOf: no event removes a key or ends a whole issuer.
func TestMappingsLeadOnlyToWhatEventsSpeakOf(t *testing.T) {
	good := map[string]string{"email": "sub", "opaque": "sid", "uri": "client", "did": "tenant"}
	kinds, err := ssf.CheckSubjects(good)
	if err != nil || len(kinds) != len(good) || kinds["opaque"] != revocation.KindSID {
		t.Errorf("got %v, %v", kinds, err)
	}
	for _, bad := range []map[string]string{
		{"email": "kid"}, {"email": "iss"}, {"email": "epoch"}, {"email": ""}, {"mail": "sub"},
		{"iss_sub": "sub"}, {"complex": "sub"},
	} {
		if kinds, err := ssf.CheckSubjects(bad); err == nil {
			t.Errorf("%v passes: %v", bad, kinds)
		}
	}
}

// TestTypesAreFoundByTheirNames: each that ends something, and no other.
func TestTypesAreFoundByTheirNames(t *testing.T) {
	if n := len(ssf.Ending()); n != 7 {
		t.Errorf("expected 7 types that end something, got %d", n)
	}
	for _, want := range ssf.Ending() {
		if got, ok := ssf.ParseType(want.String()); !ok || got != want || want.URI() == "" {
			t.Errorf("%s: got %s, %v", want, got, ok)
		}
	}
	for _, name := range []string{"", "other", "verification", "stream_updated", "session-revoked"} {
		if got, ok := ssf.ParseType(name); ok {
			t.Errorf("%q is %s", name, got)
		}
	}
}

// FuzzRead: whatever comes is refused with a code, or asks for nothing but what the log takes, of
// the sender's issuer.
func FuzzRead(f *testing.F) {
	f.Add(message(caep+"session-revoked", `"event_timestamp":1`, combined(`"user":`+alice)))
	f.Add(message(risc+"account-disabled", "", email))
	f.Add("{}")
	f.Fuzz(func(t *testing.T, claims string) {
		body, err := token.ReadBody(claims)
		if err != nil {
			return
		}
		set, err := ssf.Read(body.Root(), plain)
		var refused *ssf.Error
		if err != nil {
			if !errors.As(err, &refused) {
				t.Fatal(err)
			}
			return
		}
		rules := plain
		rules.Subjects = map[string]revocation.Kind{"email": revocation.KindSub}
		requests, outcomes, err := rules.Requests(set, now, time.Minute)
		if err != nil {
			if !errors.As(err, &refused) {
				t.Fatal(err)
			}
			return
		}
		if len(outcomes) != len(set.Events) {
			t.Errorf("%d events, %d outcomes", len(set.Events), len(outcomes))
		}
		for _, q := range requests {
			if err := q.Validate(); err != nil || q.Issuer != iss || q.IssuedBefore.After(now) {
				t.Errorf("%v: %+v", err, q)
			}
		}
	})
}
