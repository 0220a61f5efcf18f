package revocation_test

import (
	"strings"
	"testing"
	"time"
	"unicode"

	"pgregory.net/rapid"

	"github.com/sallyport/sallyport/internal/revocation"
)

func epochOf(t interface{ Fatal(...any) }, digit string) revocation.Epoch {
	e, err := revocation.ParseEpoch(strings.Repeat(digit, 32))
	if err != nil {
		t.Fatal(err)
	}
	return e
}

// TestEntryIsReadAsItWasStored: any entry that can be made is read back the same.
func TestEntryIsReadAsItWasStored(t *testing.T) {
	text := rapid.StringOf(rapid.RuneFrom(nil, unicode.L, unicode.P, unicode.Zs, unicode.S))
	rapid.Check(t, func(t *rapid.T) {
		e := revocation.Entry{
			Seq: rapid.Uint64Range(1, 1<<50).
				Draw(t, "seq"),
			Kind:         rapid.SampledFrom(revocation.Kinds()).Draw(t, "kind"),
			Issuer:       text.Draw(t, "issuer"),
			Value:        text.Draw(t, "value"),
			Reason:       text.Draw(t, "reason"),
			Actor:        text.Draw(t, "actor"),
			IssuedBefore: rapid.Int64Range(0, 1<<42-1).Draw(t, "before"),
			Expires: rapid.Int64Range(0, 1<<42-1).
				Draw(t, "expires"),
			At: rapid.Int64Range(0, 1<<42-1).Draw(t, "at"),
		}
		e.Chain = e.After(revocation.Chain{1})
		if got := revocation.Decode(e.Seq, e.Body(), e.Chain.String()); got != e {
			t.Fatalf("stored %+v, read %+v", e, got)
		}
	})
}

// TestUnreadableEntry: whatever differs from the one form is an entry of no kind, never a guess.
func TestUnreadableEntry(t *testing.T) {
	e := entry(revocation.KindClient, "x")
	e.Chain = e.After(revocation.Chain{})
	field := func(n int, v string) func(string, string) (string, string) {
		return func(body, chain string) (string, string) {
			f := strings.Split(body, "\t")
			f[n] = v
			return strings.Join(f, "\t"), chain
		}
	}
	for name, change := range map[string]func(body, chain string) (string, string){
		"version 2":            field(0, "2"),
		"version 01":           field(0, "01"),
		"no version":           field(0, ""),
		"unknown kind":         field(1, "moon"),
		"no kind":              field(1, ""),
		"kind in capitals":     field(1, "CLIENT"),
		"cutoff with a sign":   field(4, "+1"),
		"cutoff with a zero":   field(4, "01"),
		"negative cutoff":      field(4, "-1"),
		"expiry out of range":  field(5, "9999999999999"),
		"expiry overflows":     field(5, "99999999999999999999"),
		"no expiry":            field(5, ""),
		"time with a fraction": field(8, "1.5"),
		"a field more":         field(8, "1\t"),
		"a field less": func(b, c string) (string, string) {
			return b[:strings.LastIndex(b, "\t")], c
		},
		"empty":             func(_, c string) (string, string) { return "", c },
		"short chain":       func(b, c string) (string, string) { return b, c[1:] },
		"chain in capitals": func(b, _ string) (string, string) { return b, strings.Repeat("A", 40) },
		"no chain":          func(b, _ string) (string, string) { return b, "" },
	} {
		body, chain := change(e.Body(), e.Chain.String())
		if got := revocation.Decode(9, body, chain); got != (revocation.Entry{Seq: 9}) {
			t.Errorf("%s: read as %+v", name, got)
		}
	}
}

// TestChainKeepsFieldsApart: moving a byte from one field to the next, or an entry to another
// place, changes the chain.
func TestChainKeepsFieldsApart(t *testing.T) {
	seen := map[revocation.Chain]string{}
	for name, e := range map[string]revocation.Entry{
		"base":            {Seq: 2, Kind: revocation.KindSID, Issuer: "ab", Value: "cd", Reason: "ef"},
		"another place":   {Seq: 3, Kind: revocation.KindSID, Issuer: "ab", Value: "cd", Reason: "ef"},
		"moved to issuer": {Seq: 2, Kind: revocation.KindSID, Issuer: "abc", Value: "d", Reason: "ef"},
		"moved to value":  {Seq: 2, Kind: revocation.KindSID, Issuer: "ab", Value: "cde", Reason: "f"},
		"moved to actor": {
			Seq: 2, Kind: revocation.KindSID, Issuer: "ab", Value: "cd", Reason: "e", Actor: "f",
		},
		"colon":        {Seq: 2, Kind: revocation.KindSID, Issuer: "ab", Value: "cd:", Reason: "ef"},
		"another kind": {Seq: 2, Kind: revocation.KindJTI, Issuer: "ab", Value: "cd", Reason: "ef"},
	} {
		for previousName, previous := range map[string]revocation.Chain{
			"": {1}, " after another chain": {2},
		} {
			c := e.After(previous)
			if other, twice := seen[c]; twice {
				t.Errorf("%s%s has the chain of %s", name, previousName, other)
			}
			seen[c] = name + previousName
		}
	}
	if revocation.Seed(epochOf(t, "a")) == revocation.Seed(epochOf(t, "b")) {
		t.Error("two epochs begin with one chain")
	}
}

// TestRefusedRequests: each row is one way a request can be wrong.
func TestRefusedRequests(t *testing.T) {
	good := revocation.Request{
		Kind: revocation.KindSID, Issuer: iss, Value: "x", Reason: "logout", Actor: "admin",
	}
	if err := good.Validate(); err != nil {
		t.Fatalf("a good request: %v", err)
	}
	for name, change := range map[string]func(*revocation.Request){
		"no kind":      func(r *revocation.Request) { r.Kind = 0 },
		"kind epoch":   func(r *revocation.Request) { r.Kind = revocation.KindEpoch },
		"unknown kind": func(r *revocation.Request) { r.Kind = 99 },
		"a tenant's place in the issuer": func(r *revocation.Request) {
			r.Issuer = "https://t.example/{tenantid}/v2.0"
		},
		"no issuer": func(r *revocation.Request) { r.Issuer = "" },
		"no value":  func(r *revocation.Request) { r.Value = "" },
		"long value": func(r *revocation.Request) {
			r.Value = strings.Repeat("x", revocation.MaxValue+1)
		},
		"value not UTF-8":        func(r *revocation.Request) { r.Value = "\xff" },
		"value with a line feed": func(r *revocation.Request) { r.Value = "a\nb" },
		"issuer with NUL":        func(r *revocation.Request) { r.Issuer = "a\x00" },
		"issuer kind with value": func(r *revocation.Request) { r.Kind = revocation.KindIss },
		"sid with a cutoff":      func(r *revocation.Request) { r.IssuedBefore = time.Unix(1, 0) },
		"kid with a cutoff": func(r *revocation.Request) {
			r.Kind, r.IssuedBefore = revocation.KindKID, time.Unix(1, 0)
		},
		"reason in capitals":  func(r *revocation.Request) { r.Reason = "Logout" },
		"reason with a space": func(r *revocation.Request) { r.Reason = "log out" },
		"long reason": func(r *revocation.Request) {
			r.Reason = strings.Repeat("x", revocation.MaxReason+1)
		},
		"actor with an escape": func(r *revocation.Request) { r.Actor = "\x1b[2J" },
	} {
		r := good
		change(&r)
		if err := r.Validate(); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}
