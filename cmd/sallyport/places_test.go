package main

import (
	"encoding/json"
	"errors"
	"path/filepath"
	"strings"
	"testing"
)

// TestATokenIsLookedForWhereTheNewPolicyDoes, not where it puts tokens by itself: what stood in no
// place of its is no token, and where it looks in more places than were looked in, nobody knows.
func TestATokenIsLookedForWhereTheNewPolicyDoes(t *testing.T) {
	const (
		verified = `"verdict":"allowed","status":200,"token":"verified",` +
			`"issuer":"https://issuer.example.com","token_from":`
		refused = `"verdict":"refused","status":401,"token":"refused","reason":`
		none    = `"verdict":"refused","status":401,"token":"none","reason":"no_token"`
		cookie  = "tokens: [{cookie: session}]"
	)
	for name, row := range map[string]struct {
		line, before, now string // the settings of the policies; "-": before is not known
		path              string // "/any" unless said
		want              string // "same", or what it is now, or a part of why it is unknown
	}{
		"a cookie alone":        {verified + `"authorization"`, "-", cookie, "", "no_token"},
		"no cookie any more":    {verified + `"cookie"`, "-", "", "", "no_token"},
		"a forged one":          {refused + `"signature","token_from":"cookie"`, "-", "", "", "no_token"},
		"an expired one":        {strings.Replace(verified, `"allowed"`, `"refused","reason":"expired"`, 1) + `"cookie"`, "-", "", "", "no_token"},
		"a header of its own":   {verified + `"x-token"`, "-", "tokens: [{header: x-token}]", "", "same"},
		"a header that is gone": {verified + `"x-token"`, "-", "tokens: [{header: x-other}]", "", "no_token"},
		"which cookie":          {verified + `"cookie"`, "-", cookie, "", "--before"},
		"that cookie":           {verified + `"cookie"`, cookie, cookie, "", "same"},
		"another cookie":        {verified + `"cookie"`, "tokens: [{cookie: sid}]", cookie, "", "no_token"},
		"which of two cookies":  {verified + `"cookie"`, "tokens: [{cookie: sid}, {cookie: session}]", cookie, "", "where in cookie"},
		"either of two cookies": {verified + `"cookie"`, "tokens: [{cookie: sid}, {cookie: session}]", "tokens: [{cookie: session}, {cookie: sid}]", "", "same"},
		"another scheme":        {verified + `"authorization"`, "-", "tokens: [{authorization: Token}]", "", "scheme"},
		"that scheme":           {verified + `"authorization"`, "tokens: [{authorization: token}]", "tokens: [{authorization: Token}]", "", "same"},
		"a subprotocol":         {verified + `"sec-websocket-protocol"`, "tokens: [{websocket: t.}]", "tokens: [{websocket: t.}]", "", "same"},
		"another subprotocol":   {verified + `"sec-websocket-protocol"`, "tokens: [{websocket: t.}]", "tokens: [{websocket: u.}]", "", "no_token"},
		"no place is told":      {verified + `""`, "-", "", "", "where the token stood"},
		"no query any more":     {verified + `"query"`, "-", "", "", "no_token"},
		"which parameter":       {verified + `"query"`, "-", "", "/query", "--before"},
		"that parameter":        {verified + `"query"`, "", "", "/query", "same"},
		"no place was added":    {none, "-", "", "", "same"},
		"a place is gone":       {none, "-", "tokens: [{authorization: bearer}]", "", "same"},
		"a place was added":     {none, "-", "tokens: [{authorization: Bearer}, {cookie: session}]", "", "--before"},
		"the same places":       {none, cookie, "tokens: [{cookie: session, remove: true}]", "", "same"},
		"one is new":            {none, "", cookie, "", "looked for where it was not"},
		"a parameter was added": {none, "-", "", "/query", "--before"},
		"none is needed":        {none, "-", cookie, "/open", "allowed"},
		"anybody may pass":      {none, "-", cookie, "/optional", "--before"},
		"public now":            {verified + `""`, "-", cookie, "/open", "same"},
		"two tokens":            {refused + `"many_tokens"`, "-", "", "", "same"},
		"one of two, maybe":     {refused + `"many_tokens"`, "-", cookie, "", "in each place"},
		"Basic":                 {refused + `"scheme","token_from":"authorization"`, "-", "", "", "same"},
		"Basic, or a cookie":    {refused + `"scheme","token_from":"authorization"`, "-", cookie, "", "in each place"},
	} {
		t.Run(name, func(t *testing.T) {
			if row.path == "" {
				row.path = "/any"
			}
			dir := t.TempDir()
			args := []string{"replay", "-", "--json", "--config", filepath.Join(dir, "now.yaml")}
			if row.before != "-" {
				args = append(args, "--before", filepath.Join(dir, "before.yaml"))
			}
			for file, settings := range map[string]string{"now.yaml": row.now, "before.yaml": row.before} {
				write(t, filepath.Join(dir, file), `issuers:
- {issuer: "https://issuer.example.com", audiences: [things], jwks_url: "https://issuer.example.com/keys", ours: true}
policy:
  `+strings.TrimPrefix(settings, "-")+`
  routes:
  - {match: {path: /open}, allow: public}
  - {match: {path: /optional}, allow: optional}
  - {match: {path: /query}, query_token: access_token}
  - {match: {path: /any}}
`)
			}
			out, _, err := sallyport(`{"event":"decision","time":"2030-01-02T03:04:05Z","id":"1",`+row.line+
				`,"method":"GET","host":"shop.example.com","path":"`+row.path+`","duration_us":1}`+"\n", args...)
			var own exitError
			if err != nil && !errors.As(err, &own) {
				t.Fatal(err)
			}
			var result replayed
			if err := json.Unmarshal([]byte(out), &result); err != nil {
				t.Fatalf("%v in %s", err, out)
			}
			got := "same"
			if len(result.Changes) == 1 {
				got = result.Changes[0].Now + result.Changes[0].Why
			}
			if result.Decisions != 1 || !strings.Contains(got, row.want) {
				t.Errorf("expected %s, got %s: %s", row.want, got, out)
			}
		})
	}
}
