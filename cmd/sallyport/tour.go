package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/sallyport/sallyport/internal/mesh"
)

// tour walks through a token's whole life.
type tour struct {
	*screen
	mesh   mesh.Endpoints
	client *http.Client
	vars   map[string]string // the shell's variables, as the lines printed so far would have set them
	taken  int
	wrong  []string
}

func newTour(e mesh.Endpoints, s *screen) *tour {
	return &tour{
		screen: s,
		mesh:   e,
		vars:   map[string]string{},
		client: &http.Client{
			Timeout: 10 * time.Second, Transport: &http.Transport{MaxIdleConnsPerHost: 1},
		},
	}
}

// step is one request, as the shell has it: $NAME in it stands for a variable that an earlier step
// has set.
type step struct {
	title  string
	method string // GET when empty
	path   string
	header string // one line, when not empty
	body   string // JSON, when not empty
	before string // a shell line that prepares it
	set    map[string]string
	want   int
}

// answer is what came back.
type answer struct {
	status int
	took   time.Duration
	body   []byte
}

// run takes the tour. The error says which steps did not go as expected.
func (t *tour) run(ctx context.Context) error {
	defer t.client.CloseIdleConnections()
	t.print("\n%s", t.bold("The tour. Each step is a line for your shell; this one first, it takes "+
		"a field out of an answer:"))
	t.print("    %s", t.dim(fieldFunction))
	for _, part := range []func(context.Context) error{
		t.withoutToken, t.login, t.roles, t.forged, t.refresh, t.logout,
	} {
		if err := part(ctx); err != nil {
			return err
		}
	}
	if len(t.wrong) > 0 {
		return fmt.Errorf("not as expected: %s", strings.Join(t.wrong, "; "))
	}
	return nil
}

// fieldFunction takes one string out of a JSON object, without tools that may be missing.
const fieldFunction = `field() { printf %s "$2" | sed 's/.*"'"$1"'": *"\([^"]*\)".*/\1/'; }`

const (
	withAlice = "Authorization: Bearer $ALICE"
	withBob   = "Authorization: Bearer $BOB"
)

func (t *tour) withoutToken(ctx context.Context) error {
	return t.walk(ctx,
		step{title: "/public is open to everyone", path: "/public", want: 200},
		step{title: "/protected needs a token", path: "/protected", want: 401},
	)
}

func (t *tour) login(ctx context.Context) error {
	both := map[string]string{"ALICE": "access_token", "REFRESH": "refresh_token"}
	if err := t.walk(ctx, t.loginStep("alice", both)); err != nil {
		return err
	}
	a, err := t.take(ctx, step{
		title: "with her token, /protected lets alice in", path: "/protected", header: withAlice,
		want: 200,
	})
	if err != nil {
		return err
	}
	return t.showIdentity(a)
}

func (t *tour) roles(ctx context.Context) error {
	return t.walk(ctx,
		t.loginStep("bob", map[string]string{"BOB": "access_token"}),
		step{
			title: "/admin needs role admin, which bob lacks", path: "/admin", header: withBob,
			want: 403,
		},
		step{title: "alice has it", path: "/admin", header: withAlice, want: 200},
	)
}

func (t *tour) forged(ctx context.Context) error {
	t.vars["BENT"] = bend(t.vars["ALICE"])
	return t.walk(ctx, step{
		title:  "her token with one bit changed opens nothing",
		before: `BENT="${ALICE%?}$(printf %s "$ALICE" | tail -c1 | tr AQgw QAwg)"`,
		path:   "/protected", header: "Authorization: Bearer $BENT", want: 401,
	})
}

// bend changes one bit of a token's signature: the last character of 64 bytes in base64url carries
// two bits.
func bend(token string) string {
	const from, to = "AQgw", "QAwg"
	if token == "" {
		return ""
	}
	last := strings.IndexByte(from, token[len(token)-1])
	if last < 0 {
		return token
	}
	return token[:len(token)-1] + to[last:last+1]
}

func (t *tour) refresh(ctx context.Context) error {
	return t.walk(ctx, step{
		title:  "a refresh token gets a new pair, once",
		method: "POST",
		path:   "/refresh",
		body:   `{"refresh_token":"$REFRESH"}`,
		set:    map[string]string{"ALICE": "access_token", "REFRESH": "refresh_token"},
		want:   200,
	})
}

// logout ends alice's session and measures how long after that every gate refuses her token.
func (t *tour) logout(ctx context.Context) error {
	leave := step{
		title: "alice logs out", method: "POST", path: "/logout", header: withAlice, want: 200,
	}
	if err := t.walk(ctx, leave); err != nil {
		return err
	}
	answered := time.Now()
	after := step{title: "the same token is refused", path: "/protected", header: withAlice, want: 401}
	t.progress("asking until every gate refuses")
	a, inForce, err := t.untilRefused(ctx, after, answered)
	if err != nil {
		return err
	}
	t.report(after, a)
	if a.status == after.want {
		t.print("    in force %s after the logout's answer, at %s", t.bold(milliseconds(inForce)),
			everyGate(len(t.mesh.Gates)))
	}
	return nil
}

// maxStaleness is when a logout is in force at the latest, whatever happens.
const maxStaleness = 10 * time.Second

// untilRefused asks until every gate must have refused: Envoy asks them in turn. It returns the
// first refusal that only refusals followed, and how long after since it came.
func (t *tour) untilRefused(ctx context.Context, s step,
	since time.Time) (first answer, after time.Duration, err error) {
	refused := 0 // in a row
	// Twice the number of gates, since it is not known with which one Envoy begins.
	for refused < 2*len(t.mesh.Gates) {
		a, err := t.send(ctx, s)
		if err != nil {
			return a, 0, err
		}
		switch {
		case a.status == s.want && refused == 0:
			first, after, refused = a, time.Since(since), 1
		case a.status == s.want:
			refused++
		case time.Since(since) > maxStaleness:
			return a, 0, nil
		default:
			refused = 0
		}
	}
	return first, after, nil
}

func everyGate(n int) string {
	if n == 1 {
		return "the gate"
	}
	return fmt.Sprintf("all %d gates", n)
}

func (t *tour) loginStep(name string, set map[string]string) step {
	i := slices.IndexFunc(t.mesh.Users, func(u mesh.User) bool { return u.Name == name })
	return step{
		title: name + " logs in", method: "POST", path: "/login", set: set, want: 200,
		body: fmt.Sprintf(`{"username":"%s","password":"%s"}`, name, t.mesh.Users[i].Password),
	}
}

// showIdentity prints what the gate has told the upstream about the caller.
func (t *tour) showIdentity(a answer) error {
	if a.status != http.StatusOK {
		return nil // reported already
	}
	var received mesh.Received
	if err := json.Unmarshal(a.body, &received); err != nil {
		return fmt.Errorf("the upstream's answer: %w", err)
	}
	t.print("    the upstream received")
	for _, name := range []string{
		"x-auth-subject", "x-auth-issuer", "x-auth-roles", "x-auth-scope", "x-auth-session",
		"x-auth-token-id",
	} {
		if value, ok := received.Headers[name]; ok {
			t.print("      %-16s %s", name, value)
		}
	}
	if received.Headers["x-auth-subject"] != "alice" {
		t.wrong = append(t.wrong, "the upstream was not told that alice calls")
	}
	return nil
}

// walk takes steps one after the other.
func (t *tour) walk(ctx context.Context, steps ...step) error {
	for _, s := range steps {
		if _, err := t.take(ctx, s); err != nil {
			return err
		}
	}
	return nil
}

// take takes one step and reports it.
func (t *tour) take(ctx context.Context, s step) (answer, error) {
	t.progress(s.title)
	a, err := t.send(ctx, s)
	if err != nil {
		return a, err
	}
	t.report(s, a)
	if a.status != s.want || len(s.set) == 0 {
		return a, nil
	}
	var fields map[string]any
	if err := json.Unmarshal(a.body, &fields); err != nil {
		return a, fmt.Errorf("%s: expected JSON: %w", s.path, err)
	}
	for name, field := range s.set {
		value, _ := fields[field].(string)
		if value == "" {
			return a, fmt.Errorf("%s: expected %s in the answer, got none", s.path, field)
		}
		t.vars[name] = value
	}
	return a, nil
}

// send sends a step's request.
func (t *tour) send(ctx context.Context, s step) (answer, error) {
	request, err := http.NewRequestWithContext(ctx, s.method, t.mesh.Gateway+s.path,
		strings.NewReader(t.expand(s.body)))
	if err != nil {
		return answer{}, err
	}
	if name, value, ok := strings.Cut(s.header, ": "); ok {
		request.Header.Set(name, t.expand(value))
	}
	if s.body != "" {
		request.Header.Set("Content-Type", "application/json")
	}
	start := time.Now()
	response, err := t.client.Do(request)
	if err != nil {
		return answer{}, err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		return answer{}, err
	}
	return answer{status: response.StatusCode, took: time.Since(start), body: body}, nil
}

func (t *tour) expand(text string) string {
	return os.Expand(text, func(name string) string { return t.vars[name] })
}

// report prints a step and what came of it.
func (t *tour) report(s step, a answer) {
	t.taken++
	status := t.green(fmt.Sprint(a.status))
	if a.status != s.want {
		status = t.red(fmt.Sprintf("%d, expected %d", a.status, s.want))
		t.wrong = append(t.wrong,
			fmt.Sprintf("step %d (%s) gave %d, expected %d", t.taken, s.title, a.status, s.want))
	}
	t.print("\n%3d %s %9s   %s", t.taken, t.bold(fmt.Sprintf("%-58s", s.title)),
		milliseconds(a.took), status)
	for _, line := range s.shell(t.mesh.Gateway) {
		t.print("    %s", t.dim(line))
	}
	if a.status != s.want {
		t.print("    %s", strings.TrimSpace(string(a.body)))
	}
}

// shell returns the lines that do the same in a shell.
func (s step) shell(gateway string) (lines []string) {
	if s.before != "" {
		lines = append(lines, s.before)
	}
	curl := "curl -si"
	if len(s.set) > 0 {
		curl = "curl -s"
	}
	curl += " " + gateway + s.path
	if s.method == http.MethodPost && s.body == "" {
		curl += " -X POST"
	}
	if s.header != "" {
		curl += ` -H "` + s.header + `"`
	}
	if s.body != "" {
		curl += " -H 'Content-Type: application/json' -d " + quote(s.body)
	}
	if len(s.set) == 0 {
		return append(lines, curl)
	}
	lines = append(lines, "R=$("+curl+")")
	var take []string
	for name, field := range s.set {
		take = append(take, fmt.Sprintf(`%s=$(field %s "$R")`, name, field))
	}
	slices.Sort(take)
	return append(lines, strings.Join(take, "; "))
}

// quote writes a JSON body for a shell: in double quotes when it has a variable in it.
func quote(body string) string {
	if !strings.Contains(body, "$") {
		return "'" + body + "'"
	}
	return `"` + strings.ReplaceAll(body, `"`, `\"`) + `"`
}

func milliseconds(d time.Duration) string {
	return fmt.Sprintf("%.1f ms", float64(d)/float64(time.Millisecond))
}
