package revocation_test

import (
	"strings"
	"testing"
	"time"

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

// TestEntryIsReadAsItWasStored: any entry that can be made is read back the same, from its fields.
func TestEntryIsReadAsItWasStored(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		e := revocation.Entry{
			Seq: rapid.Uint64Range(1, 1<<50).Draw(t, "seq"), Kind: rapid.SampledFrom(revocation.Kinds()).Draw(t, "kind"),
			Issuer: rapid.String().Draw(t, "issuer"), Value: rapid.String().Draw(t, "value"), Reason: rapid.String().Draw(t, "reason"),
			Actor: rapid.String().Draw(t, "actor"), IssuedBefore: rapid.Int64Range(0, 1<<41).Draw(t, "before"),
			Expires: rapid.Int64Range(0, 1<<41).Draw(t, "expires"), At: rapid.Int64Range(0, 1<<41).Draw(t, "at"),
		}
		e.Chain = e.After(revocation.Chain{1})
		f := e.Fields()
		if got := revocation.Decode(e.Seq, &f, e.Chain.String()); got != e {
			t.Fatalf("stored %+v, read %+v", e, got)
		}
	})
}

// TestUnreadableEntry: whatever differs from the one form is an entry of no kind, never a guess.
func TestUnreadableEntry(t *testing.T) {
	e := entry(revocation.KindClient, "x")
	e.Chain = e.After(revocation.Chain{})
	good, chain := e.Fields(), e.Chain.String()
	for name, change := range map[string]func(*revocation.Fields, *string){
		"version 2":            func(f *revocation.Fields, _ *string) { f[0] = "2" },
		"version 01":           func(f *revocation.Fields, _ *string) { f[0] = "01" },
		"no version":           func(f *revocation.Fields, _ *string) { f[0] = "" },
		"unknown kind":         func(f *revocation.Fields, _ *string) { f[1] = "moon" },
		"no kind":              func(f *revocation.Fields, _ *string) { f[1] = "" },
		"kind in capitals":     func(f *revocation.Fields, _ *string) { f[1] = "CLIENT" },
		"cutoff with a sign":   func(f *revocation.Fields, _ *string) { f[4] = "+1" },
		"cutoff with a zero":   func(f *revocation.Fields, _ *string) { f[4] = "01" },
		"negative cutoff":      func(f *revocation.Fields, _ *string) { f[4] = "-1" },
		"expiry out of range":  func(f *revocation.Fields, _ *string) { f[5] = "99999999999999" },
		"expiry overflows":     func(f *revocation.Fields, _ *string) { f[5] = "99999999999999999999" },
		"no expiry":            func(f *revocation.Fields, _ *string) { f[5] = "" },
		"time with a fraction": func(f *revocation.Fields, _ *string) { f[8] = "1.5" },
		"short chain":          func(_ *revocation.Fields, c *string) { *c = (*c)[1:] },
		"chain in capitals":    func(_ *revocation.Fields, c *string) { *c = strings.Repeat("A", 40) },
		"no chain":             func(_ *revocation.Fields, c *string) { *c = "" },
	} {
		f, c := good, chain
		change(&f, &c)
		if got := revocation.Decode(9, &f, c); got != (revocation.Entry{Seq: 9}) {
			t.Errorf("%s: read as %+v", name, got)
		}
	}
}

// TestChainKeepsFieldsApart: moving a byte from one field to the next, or an entry to another place, changes the chain.
func TestChainKeepsFieldsApart(t *testing.T) {
	seen := map[revocation.Chain]string{}
	for name, e := range map[string]revocation.Entry{
		"base":            {Seq: 2, Kind: revocation.KindSID, Issuer: "ab", Value: "cd", Reason: "ef"},
		"another place":   {Seq: 3, Kind: revocation.KindSID, Issuer: "ab", Value: "cd", Reason: "ef"},
		"moved to issuer": {Seq: 2, Kind: revocation.KindSID, Issuer: "abc", Value: "d", Reason: "ef"},
		"moved to value":  {Seq: 2, Kind: revocation.KindSID, Issuer: "ab", Value: "cde", Reason: "f"},
		"moved to actor":  {Seq: 2, Kind: revocation.KindSID, Issuer: "ab", Value: "cd", Reason: "e", Actor: "f"},
		"colon":           {Seq: 2, Kind: revocation.KindSID, Issuer: "ab", Value: "cd:0:", Reason: "ef"},
		"another kind":    {Seq: 2, Kind: revocation.KindJTI, Issuer: "ab", Value: "cd", Reason: "ef"},
	} {
		for previousName, previous := range map[string]revocation.Chain{"": {1}, " after another chain": {2}} {
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
	good := revocation.Request{Kind: revocation.KindSID, Issuer: iss, Value: "x", Reason: "logout", Actor: "admin"}
	if err := good.Validate(); err != nil {
		t.Fatalf("a good request: %v", err)
	}
	for name, change := range map[string]func(*revocation.Request){
		"no kind":                func(r *revocation.Request) { r.Kind = 0 },
		"kind epoch":             func(r *revocation.Request) { r.Kind = revocation.KindEpoch },
		"unknown kind":           func(r *revocation.Request) { r.Kind = 99 },
		"no issuer":              func(r *revocation.Request) { r.Issuer = "" },
		"no value":               func(r *revocation.Request) { r.Value = "" },
		"long value":             func(r *revocation.Request) { r.Value = strings.Repeat("x", revocation.MaxValue+1) },
		"value not UTF-8":        func(r *revocation.Request) { r.Value = "\xff" },
		"value with a line feed": func(r *revocation.Request) { r.Value = "a\nb" },
		"issuer with NUL":        func(r *revocation.Request) { r.Issuer = "a\x00" },
		"issuer kind with value": func(r *revocation.Request) { r.Kind = revocation.KindIss },
		"sid with a cutoff":      func(r *revocation.Request) { r.IssuedBefore = time.Unix(1, 0) },
		"kid with a cutoff":      func(r *revocation.Request) { r.Kind, r.IssuedBefore = revocation.KindKID, time.Unix(1, 0) },
		"reason in capitals":     func(r *revocation.Request) { r.Reason = "Logout" },
		"reason with a space":    func(r *revocation.Request) { r.Reason = "log out" },
		"long reason":            func(r *revocation.Request) { r.Reason = strings.Repeat("x", revocation.MaxReason+1) },
		"actor with an escape":   func(r *revocation.Request) { r.Actor = "\x1b[2J" },
	} {
		r := good
		change(&r)
		if err := r.Validate(); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}
