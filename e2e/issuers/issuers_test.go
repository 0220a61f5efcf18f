//go:build issuers

package issuers_test

import (
	"flag"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sallyport/sallyport/internal/eventually"
	"github.com/sallyport/sallyport/internal/meshtest"
)

var tableFile = flag.String("table", "", "the file that takes what was judged, and how")

// TestIssuers: the tokens that a real issuer hands out pass, with subject, session and roles for
// the upstream; its other tokens do not; a new key is accepted and a revocation is in force; and
// who logs out at the issuer is refused here. Its table says what was judged, and how; a second one
// what issuers tell of what, which is what docs/issuers.md says.
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
		p := &probe{issuer: i, table: &all}
		ready := make(chan struct{})
		if p.messages != nil {
			p.messages.handOn(func(message received) int {
				select {
				case <-ready:
					return p.deliver(message)
				case <-time.After(soon):
					return http.StatusServiceUnavailable
				}
			})
		}
		p.gated = gate(t, i.iss, i.entry, i.sender)
		close(ready)
		p.othersOf(t)
		p.beside(t)
		p.access(t)
		p.machines(t)
		p.wrongTokens(t)
		p.revocations(t, "jti", "sid")
		p.logouts(t)
		p.repeated(t)
		if p.streams != nil {
			p.run(t, "streams", func(t *testing.T) { p.streams(t, p) })
		}
		if p.lives != nil {
			p.run(t, "lives", p.lives)
		}
		p.rotation(t)
		// These reach beyond a session: what comes after them would be refused too.
		p.revocations(t, "sub", "client", "tenant")
		if p.rotate == nil {
			p.revocations(t, "kid")
		}
	}, func(name string) {
		all.rows = append(all.rows, row{name, "starts", "yes", "it could not be had", false})
	})
}

// table is what TestIssuers prints.
type table struct {
	rows []row
	told []string // lines of the table in docs/issuers.md
}

type row struct {
	issuer, what, expected, got string
	ok                          bool
}

func (all *table) String() string {
	var b strings.Builder
	b.WriteString("\n| issuer | what | expected | got | |\n|---|---|---|---|---|\n")
	failed := 0
	for _, r := range all.rows {
		mark := ""
		if !r.ok {
			mark = "**no**"
			failed++
		}
		fmt.Fprintf(&b, "| %s | %s | %s | %s | %s |\n", r.issuer, r.what, r.expected, r.got, mark)
	}
	fmt.Fprintf(&b, "\n%d of %d as expected\n", len(all.rows)-failed, len(all.rows))
	if len(all.told) > 0 {
		fmt.Fprintf(&b, "\nRun on %s:\n\n", time.Now().UTC().Format(time.DateOnly))
		b.WriteString("| issuer | event | logout token | shared signal " +
			"| the session then refreshes there |\n|---|---|---|---|---|\n" + strings.Join(all.told, ""))
	}
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
	p.table.rows = append(p.table.rows, row{p.name, what, expected, got, ok})
	if !ok {
		t.Errorf("%s: expected %s, got %s", what, expected, got)
	}
}

// run runs a part in a subtest. One that ends before it has judged anything is in the table too.
func (p *probe) run(t *testing.T, what string, f func(t *testing.T)) {
	before := len(p.table.rows)
	passed := t.Run(strings.ReplaceAll(what, " ", "_"), f)
	if !passed && !slices.ContainsFunc(p.table.rows[before:], func(r row) bool { return !r.ok }) {
		p.table.rows = append(p.table.rows, row{p.name, what, "an outcome", "it broke off", false})
	}
}

// othersOf: the issuer's tokens pass by other entries too.
func (p *probe) othersOf(t *testing.T) {
	for _, name := range slices.Sorted(maps.Keys(p.variants)) {
		what := "entry with " + name
		p.run(t, what, func(t *testing.T) {
			v := gate(t, p.issuer.iss, p.variants[name], "").
				judge(t, "/protected", p.login(t, "alice").access)
			p.row(t, what, "200", v.String(), v.status == http.StatusOK)
		})
	}
}

// beside: in front of a gate that has an issuer of its own too, each opens with its own tokens,
// and the roles of the one are not those of the other.
func (p *probe) beside(t *testing.T) {
	const what = "beside an issuer of ours"
	p.run(t, what, func(t *testing.T) {
		g := besideOurs(t, p.issuer.iss, p.entry)
		h := p.login(t, "alice")
		v := g.judge(t, "/protected", h.access)
		p.row(t, what, "200", v.String(), v.status == http.StatusOK)
		for _, role := range h.roles {
			if got := rolesIn(v); !slices.Contains(got, theirs+role) {
				p.row(t, "x-auth-roles, "+what, theirs+role, strings.Join(got, ","), false)
			}
		}
		v = g.judge(t, "/admin/x", h.access)
		p.row(t, "alice at /admin, "+what, "403 insufficient_role", v.String(),
			v.String() == "403 insufficient_role")
		s := g.For(t)
		own := s.Login(s.Endpoints().Users[0].Name)
		v = g.judge(t, "/protected", own.AccessToken)
		p.row(t, "our own token, "+what, "200", v.String(), v.status == http.StatusOK)
	})
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
	roles := rolesIn(v)
	for _, role := range h.roles {
		// Issuers add roles of their own, as Keycloak's offline_access.
		if !slices.Contains(roles, role) {
			p.row(t, "x-auth-roles", strings.Join(h.roles, ","), got("roles"), false)
		}
	}
}

// rolesIn are the roles that the upstream was told.
func rolesIn(v verdict) []string {
	return strings.FieldsFunc(v.seen.Headers["x-auth-roles"], func(r rune) bool { return r == ',' })
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
				// An entry outlives what it ends by as much as the last token may live.
				p.row(t, "a revoked session stays so", "for "+p.sessionLives.String()+" and a token's life",
					"for "+lasts.Round(time.Minute).String(),
					lasts > p.sessionLives-time.Minute && lasts < p.sessionLives+2*time.Hour)
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
	told := make([]telling, len(p.endings))
	for _, channel := range p.channels {
		p.messages.handOn(func(message received) int {
			// The other channel would end the session first.
			if !message.over(channel) && !message.says("/verification") {
				return http.StatusAccepted
			}
			return p.deliver(message)
		})
		for n, e := range p.endings {
			p.run(t, e.event+", "+channel, func(t *testing.T) {
				// Some end all that a user has begun, up to now and a little beyond.
				p.ended(t, e, channel, fmt.Sprint("user-", channel, "-", n), &told[n])
			})
		}
	}
	p.documented(t, told)
}

// telling is what an issuer was seen to tell of an ending, by channel.
type telling struct {
	by        map[string]string
	refreshes bool
}

// ended ends a session at the issuer, and sees what comes of it over a channel.
func (p *probe) ended(t *testing.T, e ending, channel, user string, told *telling) {
	t.Helper()
	what := e.event + ", " + channel
	h, other := p.login(t, user), p.login(t, "bob")
	before := p.judge(t, "/protected", h.access)
	p.messages.take()
	e.end(t, h)
	ended := time.Now()
	tells := slices.Contains(e.tells, channel)
	limit := quiet
	if tells {
		limit = soon
	}
	messages := p.messages.about(limit, channel, e, h)
	tale := "nothing"
	switch {
	case !tells:
		v := p.judge(t, "/protected", h.access)
		p.row(t, what, "nothing is sent, and 200", fmt.Sprintf("%d messages, and %v", len(messages), v),
			len(messages) == 0 && v.status == http.StatusOK)
	case len(messages) == 0:
		p.row(t, what, "a message", "the issuer sent nothing", false)
	default:
		var err error
		if tale, err = messages[0].tale(); err != nil {
			t.Fatal(err)
		}
		p.told(t, what, messages[0], h, before)
		v := p.judge(t, "/protected", other.access)
		p.row(t, "another's token, "+what, "200", v.String(), v.status == http.StatusOK)
		// Its keys may be those of access tokens: it opens nothing.
		p.refused(t, "the message as a token, "+what, messages[0].jwt(),
			[]string{"typ", "claim_required", "audience", "expiry_missing"})
	}
	if told.by == nil {
		told.by = map[string]string{}
	}
	told.by[channel] = tale
	fresh := p.refresh(t, h)
	told.refreshes = fresh != ""
	if !told.refreshes || len(messages) == 0 {
		return
	}
	// Whoever goes on there, as at Hydra, gets tokens of a session that is over here. Where a user
	// was named, what is issued at once is refused anyway: only later tokens show it.
	what = "what the session gets then, " + what
	if channel == sharedSignals {
		what += ", after the leeway"
		eventually.Within(t, time.Minute, "the leeway of revocations to be over", func() bool {
			return time.Since(ended) > leeway
		})
		fresh = p.refresh(t, h)
	}
	v := p.judge(t, "/protected", fresh)
	p.row(t, what, "401 revoked", v.String(), v.reason == "revoked")
}

// told: a message has come, and what it tells is in force.
func (p *probe) told(t *testing.T, what string, message received, h handed, before verdict) {
	t.Helper()
	after := p.eventually(t, h.access, time.Second,
		func(v verdict) bool { return v.reason == "revoked" })
	p.row(t, what, "200, then answered 2xx and 401 revoked",
		fmt.Sprintf("%v, then answered %d and %v", before, message.answer, after),
		before.status == http.StatusOK && message.answer/100 == 2 && after.reason == "revoked")
}

// events are those of the table in docs/issuers.md; an issuer may know others besides.
var events = []string{
	"user logs out", "admin logs out", "session deleted", "user disabled", "password changed",
	"refresh token revoked",
}

// documented: the table in docs/issuers.md has what was seen, and says of every event what becomes
// of it.
func (p *probe) documented(t *testing.T, told []telling) {
	if len(p.channels) == 0 {
		return
	}
	content, err := os.ReadFile(filepath.Join(meshtest.Root(t), "docs", "issuers.md"))
	if err != nil {
		t.Fatal(err)
	}
	lines := map[string]string{}
	for n, e := range p.endings {
		cell := func(channel string) string {
			if !slices.Contains(p.channels, channel) {
				return "-"
			}
			return told[n].by[channel]
		}
		refreshes := map[bool]string{true: "yes", false: "no"}[told[n].refreshes]
		lines[e.event] = fmt.Sprintf("| %s | %s: %s | %s | %s | %s |\n", p.version, e.event, e.how,
			cell(backChannel), cell(sharedSignals), refreshes)
	}
	for event, why := range p.absent {
		lines[event] = fmt.Sprintf("| %s | %s: %s | - | - | - |\n", p.version, event, why)
	}
	order := slices.Clone(events)
	for _, e := range p.endings {
		if !slices.Contains(order, e.event) {
			order = append(order, e.event)
		}
	}
	for _, event := range order {
		line, ok := lines[event]
		if !ok {
			t.Fatalf("expected an ending for %q, or why there is none", event)
		}
		p.table.told = append(p.table.told, line)
		// The page's lines go on with what to do.
		ok = strings.Contains(string(content), "\n"+strings.TrimSuffix(line, "\n"))
		p.row(t, "docs/issuers.md has the line of: "+event, "yes", map[bool]string{
			true: "yes", false: "no"}[ok], ok)
	}
}

// repeated: whether a logout token that could not be taken comes again is what the docs say.
func (p *probe) repeated(t *testing.T) {
	if !slices.Contains(p.channels, backChannel) {
		return
	}
	const what = "a logout token answered with 503 comes again"
	p.run(t, what, func(t *testing.T) {
		h := p.login(t, "user-repeated")
		p.messages.handOn(func(message received) int {
			if message.over(backChannel) {
				return http.StatusServiceUnavailable
			}
			return http.StatusAccepted
		})
		p.messages.take()
		p.endings[0].end(t, h)
		first := p.messages.about(soon, backChannel, p.endings[0], h)
		if len(first) == 0 {
			t.Fatal("the issuer sent nothing")
		}
		again := len(first) + len(p.messages.about(soon, backChannel, p.endings[0], h))
		p.row(t, what, fmt.Sprint(p.repeats), fmt.Sprint(again > 1), p.repeats == (again > 1))
	})
}

// leeway is longer than what a revocation of a user reaches beyond its time (clock_skew).
const leeway = 32 * time.Second

// quiet is how long nothing has to come to say that nothing is sent: longer than what is sent has
// taken to come.
const quiet = 4 * time.Second

func unescaped(header string) string {
	if s, err := url.PathUnescape(header); err == nil {
		return s
	}
	return header
}
