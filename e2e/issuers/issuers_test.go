//go:build issuers

package issuers_test

import (
	"flag"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strings"
	"testing"
	"time"
)

var tableFile = flag.String("table", "", "the file that takes what was judged, and how")

// TestIssuers: the tokens that a real issuer hands out pass, with subject, session and roles for
// the upstream; its other tokens do not; a new key is accepted and a revocation is in force; and
// who logs out at the issuer is refused here. Its table says what was judged, and how.
func TestIssuers(t *testing.T) {
	var all table
	t.Cleanup(func() {
		if *tableFile == "" {
			t.Log(all.String())
		} else if err := os.WriteFile(*tableFile, []byte(all.String()), 0o644); err != nil {
			t.Error(err)
		}
	})
	forEach(t, func(t *testing.T, i *issuer) {
		p := &probe{issuer: i, gated: gate(t, i.iss, i.entry), table: &all}
		p.othersOf(t)
		p.access(t)
		p.machines(t)
		p.wrongTokens(t)
		p.revocations(t, "jti", "sid")
		p.logouts(t)
		p.rotation(t)
		// These reach beyond a session: what comes after them would be refused too.
		p.revocations(t, "sub", "client", "tenant")
		if p.rotate == nil {
			p.revocations(t, "kid")
		}
	}, func(name string) {
		all = append(all, row{name, "starts", "yes", "it could not be had", false})
	})
}

// table is what TestIssuers prints.
type table []row

type row struct {
	issuer, what, expected, got string
	ok                          bool
}

func (rows *table) String() string {
	if len(*rows) == 0 {
		return ""
	}
	var b strings.Builder
	b.WriteString("\n| issuer | what | expected | got | |\n|---|---|---|---|---|\n")
	failed := 0
	for _, r := range *rows {
		mark := ""
		if !r.ok {
			mark = "**no**"
			failed++
		}
		fmt.Fprintf(&b, "| %s | %s | %s | %s | %s |\n", r.issuer, r.what, r.expected, r.got, mark)
	}
	fmt.Fprintf(&b, "\n%d of %d as expected\n", len(*rows)-failed, len(*rows))
	return b.String()
}

// probe is one issuer in front of a mesh.
type probe struct {
	*issuer
	*gated
	table *table
}

// row notes an outcome; one that is not as expected fails the test.
func (p *probe) row(t *testing.T, what, expected, got string, ok bool) {
	t.Helper()
	*p.table = append(*p.table, row{p.name, what, expected, got, ok})
	if !ok {
		t.Errorf("%s: expected %s, got %s", what, expected, got)
	}
}

func (p *probe) run(t *testing.T, what string, f func(t *testing.T)) {
	t.Run(strings.ReplaceAll(what, " ", "_"), f)
}

// othersOf: the issuer's tokens pass by other entries too.
func (p *probe) othersOf(t *testing.T) {
	for _, name := range slices.Sorted(maps.Keys(p.variants)) {
		what := "entry with " + name
		p.run(t, what, func(t *testing.T) {
			if err := loads(t, p.variants[name]); err != nil {
				first, _, _ := strings.Cut(err.Error(), "\n")
				p.row(t, what, "200", "does not load: "+strings.ReplaceAll(first, "|", "\\|"), false)
				return
			}
			v := gate(t, p.issuer.iss, p.variants[name]).judge(t, "/protected", p.login(t, "alice").access)
			p.row(t, what, "200", v.String(), v.status == http.StatusOK)
		})
	}
}

// access: a fresh access token passes, and the upstream is told who it is.
func (p *probe) access(t *testing.T) {
	for n, user := range []string{"alice", "bob"} {
		p.run(t, "access token of "+user, func(t *testing.T) {
			h := p.login(t, user)
			v := p.judge(t, "/protected", h.access)
			p.row(t, "access token of "+user, "200", v.String(), v.status == http.StatusOK)
			if v.status == http.StatusOK {
				p.headers(t, h, v)
			}
			if len(h.roles) == 0 {
				return
			}
			admin := []string{"200", "403 insufficient_role"}[n]
			v = p.judge(t, "/admin/x", h.access)
			p.row(t, user+" at /admin", admin, v.String(), v.String() == admin)
		})
	}
}

// machines: a client's own access token passes; it has no session.
func (p *probe) machines(t *testing.T) {
	if p.machine == nil {
		return
	}
	p.run(t, "access token of a client", func(t *testing.T) {
		v := p.judge(t, "/protected", p.machine(t))
		p.row(t, "access token of a client", "200", v.String(), v.status == http.StatusOK)
		if session := v.seen.Headers["x-auth-session"]; session != "" {
			p.row(t, "x-auth-session of a client", "none", session, false)
		}
	})
}

// headers: what the upstream is told is what the issuer said.
func (p *probe) headers(t *testing.T, h handed, v verdict) {
	got := func(name string) string { return v.seen.Headers["x-auth-"+name] }
	for name, expected := range map[string]string{
		"issuer": p.issuer.iss, "subject": h.subject, "session": h.session,
	} {
		if unescaped(got(name)) != expected {
			p.row(t, "x-auth-"+name, expected, got(name), false)
		}
	}
	roles := strings.FieldsFunc(got("roles"), func(r rune) bool { return r == ',' })
	for _, role := range h.roles {
		// Issuers add roles of their own, as Keycloak's offline_access.
		if !slices.Contains(roles, role) {
			p.row(t, "x-auth-roles", strings.Join(h.roles, ","), got("roles"), false)
		}
	}
}

// wrongTokens: what the same keys sign besides does not pass, for a reason that says so.
func (p *probe) wrongTokens(t *testing.T) {
	for _, w := range p.wrong {
		p.run(t, w.what, func(t *testing.T) {
			p.refused(t, w.what, w.make(t), w.reasons)
		})
	}
}

func (p *probe) refused(t *testing.T, what, token string, reasons []string) {
	t.Helper()
	v := p.judge(t, "/protected", token)
	p.row(t, what, "401 "+strings.Join(reasons, " or "), v.String(),
		v.status == http.StatusUnauthorized && slices.Contains(reasons, v.reason))
}

// revocations: by each of the kinds that the issuer's tokens can be revoked by. Somebody else's
// token passes before and after, where the kind leaves it alone.
func (p *probe) revocations(t *testing.T, kinds ...string) {
	for _, kind := range kinds {
		if !slices.Contains(p.revocable, kind) {
			continue
		}
		p.run(t, "revoked by "+kind, func(t *testing.T) {
			h, other := p.login(t, "alice"), p.login(t, "bob")
			switch kind { // by what came before, alice is gone, then carol, then bob with his tenant
			case "sub":
				h = p.login(t, "carol")
			case "client", "tenant":
				h = other
			case "kid":
				h = p.login(t, "dave")
			}
			value := map[string]string{
				"jti": p.tokenID(t, h.access), "sid": h.session, "sub": h.subject, "client": h.client,
				"kid": keyID(t, h.access), "tenant": h.tenant,
			}[kind]
			if value == "" {
				p.row(t, "revoked by "+kind, "401 revoked", "the token has no "+kind, false)
				return
			}
			before := p.judge(t, "/protected", h.access)
			p.revoke(t, kind, value)
			after := p.judge(t, "/protected", h.access)
			p.row(t, "revoked by "+kind, "200, then 401 revoked", before.String()+", then "+after.String(),
				before.status == http.StatusOK && after.reason == "revoked")
			if kind == "sid" && p.sessionLives > 0 {
				lasts := p.lasts(t, kind, value)
				p.row(t, "a revoked session stays so", "for "+p.sessionLives.String(),
					"for "+lasts.Round(time.Minute).String(), lasts > p.sessionLives-time.Minute)
			}
			if kind == "jti" || kind == "sid" || kind == "sub" {
				v := p.judge(t, "/protected", other.access)
				p.row(t, "another's token, revoked by "+kind, "200", v.String(),
					v.status == http.StatusOK)
			}
		})
	}
}

// tokenID returns what the issuer's entry calls the token's own id: jti everywhere here.
func (p *probe) tokenID(t *testing.T, token string) string { return claim(t, token, "jti") }

// soon is how long a new key, or a message, may take to have an effect. The promise is far shorter
// and is measured elsewhere, on its own.
const soon = 12 * time.Second

// rotation: what the new key signs passes, and the old key can be revoked without it.
func (p *probe) rotation(t *testing.T) {
	if p.rotate == nil {
		return
	}
	p.run(t, "key rotated", func(t *testing.T) {
		before := p.login(t, "alice")
		p.rotate(t)
		after := p.login(t, "alice")
		if keyID(t, before.access) != "" && keyID(t, before.access) == keyID(t, after.access) {
			t.Fatal("the issuer still signs with its old key")
		}
		v := p.eventually(t, after.access, soon,
			func(v verdict) bool { return v.status == http.StatusOK })
		p.row(t, "key rotated", "200", v.String(), v.status == http.StatusOK)
		old := keyID(t, before.access)
		if !slices.Contains(p.revocable, "kid") {
			return
		}
		was := p.judge(t, "/protected", before.access)
		p.revoke(t, "kid", old)
		is := p.judge(t, "/protected", before.access)
		p.row(t, "revoked by kid", "200, then 401 revoked", was.String()+", then "+is.String(),
			was.status == http.StatusOK && is.reason == "revoked")
		v = p.judge(t, "/protected", after.access)
		p.row(t, "the new key's token, revoked by kid", "200", v.String(), v.status == http.StatusOK)
	})
}

// logouts: who logs out at the issuer is refused here, where the issuer tells; and it tells what
// the docs say that it does.
func (p *probe) logouts(t *testing.T) {
	for _, channel := range p.channels {
		p.messages.handOn(func(message received) int {
			if !message.over(channel) { // the other channel would end the session first
				return http.StatusOK
			}
			return p.deliver(message, channel)
		})
		for n, e := range p.endings {
			what := e.what + ", " + channel
			p.run(t, what, func(t *testing.T) {
				effect, tells := e.tells[channel]
				// Some end all that a user has begun, up to now and a little beyond.
				user := fmt.Sprint("user-", channel, "-", n)
				h, other := p.login(t, user), p.login(t, "bob")
				before := p.judge(t, "/protected", h.access)
				p.messages.take()
				e.end(t, h)
				if !tells {
					messages := p.messages.about(quiet, channel, e, h)
					p.row(t, what, "nothing is sent", fmt.Sprintf("%d messages", len(messages)),
						len(messages) == 0)
					return
				}
				messages := p.messages.about(soon, channel, e, h)
				if len(messages) == 0 {
					p.row(t, what, "a message", "the issuer sent nothing", false)
					return
				}
				p.told(t, what, messages[0], effect, h, before)
				v := p.judge(t, "/protected", other.access)
				p.row(t, "another's token, "+what, "200", v.String(), v.status == http.StatusOK)
				// Its keys may be those of access tokens: it opens nothing.
				p.refused(t, "the message as a token, "+what, messages[0].jwt(),
					[]string{"typ", "claim_required", "audience", "expiry_missing"})
			})
		}
	}
}

// told: a message has come, and what it tells is in force.
func (p *probe) told(t *testing.T, what string, message received, effect bool, h handed,
	before verdict) {
	t.Helper()
	if !effect {
		p.row(t, what, "answered 2xx", fmt.Sprint("answered ", message.answer), message.answer/100 == 2)
		return
	}
	after := p.eventually(t, h.access, time.Second,
		func(v verdict) bool { return v.reason == "revoked" })
	p.row(t, what, "200, then answered 2xx and 401 revoked",
		fmt.Sprintf("%v, then answered %d and %v", before, message.answer, after),
		before.status == http.StatusOK && message.answer/100 == 2 && after.reason == "revoked")
}

// quiet is how long nothing has to come to say that nothing is sent: longer than what is sent has
// taken to come.
const quiet = 4 * time.Second

func unescaped(header string) string {
	if s, err := url.PathUnescape(header); err == nil {
		return s
	}
	return header
}
