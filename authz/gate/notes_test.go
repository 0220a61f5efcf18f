package gate_test

import (
	"io"
	"strings"
	"testing"

	"github.com/sallyport/sallyport/authz/extauthz"
	"github.com/sallyport/sallyport/authz/gate"
)

// TestCheckNotesWhatLetsMoreThrough than its author may have meant.
func TestCheckNotesWhatLetsMoreThrough(t *testing.T) {
	c, _, err := load(t, `issuers: [{issuer: "https://a.example", jwks_file: jwks.json, any_audience: true}]
policy:
  routes:
    - {match: {path: /admin/login}, allow: public}
    - {match: {path: /admin/**}, require: {when: "1 > 2"}}
`, nil, "--listen", freeAddress(t))
	if err != nil {
		t.Fatal(err)
	}
	o := gate.Options{Audit: io.Discard, Transport: extauthz.GRPC}
	notes, _ := gate.Check(t.Context(), c, o) // there is no jwks.json
	all := strings.Join(notes, "\n")
	for _, want := range []string{
		"warning: issuers[0] (https://a.example) has any_audience",
		"note: routes[0] (/admin/login) needs no token, and lies within routes[1] (/admin/**)",
		"warning: routes[1] (/admin/**) has a condition that never holds",
	} {
		if !strings.Contains(all, want) {
			t.Errorf("no %q in\n%s", want, all)
		}
	}
}
