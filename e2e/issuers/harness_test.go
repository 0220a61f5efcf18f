//go:build issuers

package issuers_test

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/sallyport/sallyport/internal/meshtest"
)

var chosen = flag.String("issuers", "",
	"the issuers to run, by name and separated by commas; empty: all")

var logs = flag.Bool("issuer-logs", false, "show the end of an issuer's log when its test fails")

// starters are the issuers, in the order of how long they take to start.
var starters = []starter{
	{"flask", startFlask},
	{"pyjwt", startPyJWT},
	{"oidc-provider", startOIDCProvider},
	{"hydra", startHydra},
	{"keycloak", startKeycloak},
	{"kubernetes", startKubernetes},
	{"spire", startSPIRE},
}

type starter struct {
	name  string
	start func(*testing.T) *issuer
}

// forEach runs f in a subtest for each of the chosen issuers, one after the other: some of them
// take a gigabyte. missing is told of those that did not start, whose subtests fail.
func forEach(t *testing.T, f func(*testing.T, *issuer), missing func(name string)) {
	names := strings.FieldsFunc(*chosen, func(r rune) bool { return r == ',' || r == ' ' })
	for _, name := range names {
		if !slices.ContainsFunc(starters, func(s starter) bool { return s.name == name }) {
			t.Fatalf("-issuers: there is no %q", name)
		}
	}
	for _, s := range starters {
		if len(names) == 0 || slices.Contains(names, s.name) {
			t.Run(s.name, func(t *testing.T) {
				var i *issuer
				defer func() {
					if i == nil {
						missing(s.name)
					}
				}()
				i = s.start(t)
				f(t, i)
			})
		}
	}
}

// issuer is a real issuer that is running, and what it offers. A function that it does not offer
// is nil.
type issuer struct {
	name, version string
	iss           string
	// entry is the gate's entry for it, in YAML, as examples/issuers has it. variants are others
	// under which its access tokens pass too, by what they show.
	entry    string
	variants map[string]string
	// sender is the entry, as examples/senders has it, by which its messages are believed.
	sender string

	// login begins a new session of a user, and returns what it hands out.
	login func(t *testing.T, user string) handed
	// machine is the access token of a client on its own behalf.
	machine func(t *testing.T) string
	// wrong are tokens that no gate may let pass, made at the time of asking.
	wrong []wrongToken
	// rotate has it sign with a new key from now on.
	rotate func(t *testing.T)
	// refresh returns a new access token of the session, "" when it gets none any more.
	refresh func(t *testing.T, h handed) string
	// channels are those over which it tells, and endings the ways to end a session there; absent
	// are those that it does not know, and why.
	channels []string
	endings  []ending
	absent   map[string]string
	// repeats says whether a logout token that was answered with 503 comes again.
	repeats bool
	// streams has its security events come over streams that are made by configuration alone.
	streams func(t *testing.T, p *probe)
	// lives asks how long its sessions live unless somebody changes that.
	lives func(t *testing.T)
	// revocable are the kinds of revocation that reach its access tokens.
	revocable []string

	// sessionLives is how long a session may go on refreshing there: a revoked one stays revoked
	// for so long.
	sessionLives time.Duration

	// tokens are more of its tokens, for the record.
	tokens func(t *testing.T) map[string]string
	// documents are what it publishes, by name, for the record.
	documents map[string]func(t *testing.T) []byte
	// messages is what it has sent.
	messages *receiver
}

// handed is what a login hands out, and what the access token is to say.
type handed struct {
	access, id, refresh string

	subject, session, client string
	tenant                   string
	roles                    []string

	browser *http.Client // with the cookies of this login, where it has any
}

// wrongToken is a token that is refused, for one of the reasons named.
type wrongToken struct {
	what    string
	make    func(t *testing.T) string
	reasons []string
}

// ending is a way to end a session, or what ought to end one, at the issuer.
type ending struct {
	event string // in the words of docs/issuers.md
	how   string // that it is made by, there
	end   func(t *testing.T, h handed)
	// tells are the channels over which the issuer sends word of it.
	tells []string
	// signal is what a shared signal of it says, by which it is told from others; "": the session.
	signal string
}

// The channels over which issuers tell, by the path at which the receiver takes them.
const (
	backChannel   = "logout" // OpenID Connect Back-Channel Logout 1.0
	sharedSignals = "events" // OpenID Shared Signals 1.0, push (RFC 8935)
)

var tellsByLogoutToken = []string{backChannel}

// installed returns the folder of an issuer's programs. Without it the test fails.
func installed(t *testing.T, setup string) string {
	t.Helper()
	dir := filepath.Join(meshtest.Root(t), ".tools", "issuers", setup)
	if _, err := os.Stat(dir); err != nil {
		t.Fatalf("%s is missing: run `make test-issuers ISSUERS=%s`, whose first step fetches it: %v",
			setup, setup, err)
	}
	return dir
}

// example returns the entry of a file in examples, with other hosts and files: old and new in turn.
// Each old one must be there, and no host of an example may be left.
func example(t *testing.T, kind, name string, replacements ...string) string {
	t.Helper()
	file := filepath.Join(meshtest.Root(t), "examples", kind, name+".yaml")
	content, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	_, list, ok := strings.Cut(string(content), "\n"+kind+":\n  ")
	if !ok {
		t.Fatalf("%s: expected a list of %s", file, kind)
	}
	for i := 0; i < len(replacements); i += 2 {
		if !strings.Contains(list, replacements[i]) {
			t.Fatalf("%s: expected %q in it", file, replacements[i])
		}
	}
	list = strings.NewReplacer(replacements...).Replace(strings.ReplaceAll(list, "\n  ", "\n"))
	if strings.Contains(list, "example.") {
		t.Fatalf("%s: expected all hosts to be other ones, got:\n%s", file, list)
	}
	return list
}

var keySetLine = regexp.MustCompile(`(?m)^  jwks_url: .*\n`)

// discovering returns an entry that finds the key set by the issuer's metadata.
func discovering(entry string) string {
	return keySetLine.ReplaceAllString(entry, "  discovery: true\n")
}

// secretFile returns a file that nobody else can read.
func secretFile(t *testing.T, content string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// freePort returns a port that nobody listens on.
func freePort(t *testing.T) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}

// follow gets a page and goes where it is sent, until a page answers otherwise or sends to stop,
// whose address it returns then.
func follow(t *testing.T, c *http.Client, at, stop string) (reply, *url.URL) {
	t.Helper()
	for range 10 {
		r := send(t, c, http.MethodGet, at, nil)
		if r.status/100 != 3 {
			return r, nil
		}
		to, err := url.Parse(r.header.Get("Location"))
		if err != nil {
			t.Fatal(err)
		}
		if base, err := url.Parse(at); err == nil {
			to = base.ResolveReference(to)
		}
		if strings.HasPrefix(to.String(), stop) {
			return r, to
		}
		at = to.String()
	}
	t.Fatalf("sent on and on, to %s at last", at)
	return reply{}, nil
}

// at is the document at an address.
func at(address string) func(*testing.T) []byte {
	return func(t *testing.T) []byte {
		t.Helper()
		return send(t, plain, http.MethodGet, address, nil).ok(t).body
	}
}

// basic is the header by which a client says who it is.
func basic(client, secret string) string {
	return "Authorization: Basic " + base64.StdEncoding.EncodeToString([]byte(client+":"+secret))
}

// server is a process that lasts until the test ends.
type server struct {
	t    *testing.T
	cmd  *exec.Cmd
	log  string
	gone chan struct{}
}

// serve starts a program.
func serve(t *testing.T, name string, env []string, program string, args ...string) *server {
	t.Helper()
	s := &server{t: t, log: filepath.Join(t.TempDir(), name+".log"), gone: make(chan struct{})}
	log, err := os.Create(s.log)
	if err != nil {
		t.Fatal(err)
	}
	s.cmd = exec.Command(program, args...)
	s.cmd.Dir = t.TempDir()
	s.cmd.Env = append(os.Environ(), env...)
	s.cmd.Stdout, s.cmd.Stderr = log, log
	// A group of its own, so that what a script starts ends with it.
	s.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := s.cmd.Start(); err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	go func() {
		_ = s.cmd.Wait() // how it ended is in its log
		log.Close()
		close(s.gone)
	}()
	t.Cleanup(func() {
		s.stop()
		if t.Failed() && *logs {
			t.Logf("the end of the log of %s:\n%s", name, s.tail())
		}
	})
	return s
}

// stop ends the process and those it has started.
func (s *server) stop() {
	for _, sig := range []syscall.Signal{syscall.SIGTERM, syscall.SIGKILL} {
		_ = syscall.Kill(-s.cmd.Process.Pid, sig) // it may be gone
		select {
		case <-s.gone:
			return
		case <-time.After(15 * time.Second):
		}
	}
}

func (s *server) tail() string {
	content, err := os.ReadFile(s.log)
	if err != nil {
		return err.Error()
	}
	return string(content[max(0, len(content)-4000):])
}

// answers waits until url answers 200. It fails the test when the server ends before.
func (s *server) answers(url string) {
	s.t.Helper()
	var last error
	for deadline := time.Now().Add(8 * time.Minute); time.Now().Before(deadline); {
		select {
		case <-s.gone:
			s.t.Fatalf("%s has ended before it answered:\n%s", s.cmd.Path, s.tail())
		case <-time.After(100 * time.Millisecond):
		}
		response, err := http.Get(url)
		if err == nil {
			response.Body.Close()
			if response.StatusCode == http.StatusOK {
				return
			}
			err = fmt.Errorf("status %d", response.StatusCode)
		}
		last = err
	}
	s.t.Fatalf("%s does not answer: %v\n%s", url, last, s.tail())
}

// reply is an HTTP answer, read whole.
type reply struct {
	status int
	header http.Header
	body   []byte
}

// browser keeps cookies, and follows no redirect.
func browser(t *testing.T) *http.Client {
	t.Helper()
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	return &http.Client{
		Jar: jar, Timeout: 30 * time.Second,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// A large server that has just started is slow on a busy machine.
var plain = &http.Client{Timeout: 2 * time.Minute}

// send sends a request and reads the answer. A body is a form (url.Values), JSON (any other
// value), or none (nil). Headers are "Name: value".
func send(t *testing.T, c *http.Client, method, to string, body any, headers ...string) reply {
	t.Helper()
	r, err := trySend(c, method, to, body, headers...)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func trySend(c *http.Client, method, to string, body any, headers ...string) (reply, error) {
	var content io.Reader
	var kind string
	switch body := body.(type) {
	case nil:
	case url.Values:
		content, kind = strings.NewReader(body.Encode()), "application/x-www-form-urlencoded"
	default:
		text, err := json.Marshal(body)
		if err != nil {
			return reply{}, err
		}
		content, kind = bytes.NewReader(text), "application/json"
	}
	request, err := http.NewRequest(method, to, content)
	if err != nil {
		return reply{}, err
	}
	if kind != "" {
		request.Header.Set("Content-Type", kind)
	}
	for _, h := range headers {
		name, value, _ := strings.Cut(h, ": ")
		request.Header.Set(name, value)
	}
	response, err := c.Do(request)
	if err != nil {
		return reply{}, err
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	return reply{response.StatusCode, response.Header, text}, err
}

// ok fails the test unless the status is one of 2xx.
func (r reply) ok(t *testing.T) reply {
	t.Helper()
	if r.status/100 != 2 {
		t.Fatalf("expected 2xx, got %d: %s", r.status, r.body)
	}
	return r
}

// json reads the body into a value.
func (r reply) json(t *testing.T, into any) {
	t.Helper()
	if err := json.Unmarshal(r.body, into); err != nil {
		t.Fatalf("expected JSON, got %d %q: %v", r.status, r.body, err)
	}
}

// text returns a member of the body that is a text.
func (r reply) text(t *testing.T, name string) string {
	t.Helper()
	var object map[string]any
	r.ok(t).json(t, &object)
	text, ok := object[name].(string)
	if !ok {
		t.Fatalf("expected a text %s, got %q", name, r.body)
	}
	return text
}

// tokenAnswer is what a token endpoint answers.
type tokenAnswer struct {
	Access  string `json:"access_token"`
	ID      string `json:"id_token"`
	Refresh string `json:"refresh_token"`
}

// refresh returns what a token endpoint gives for a refresh token: an access token, or "".
func refresh(t *testing.T, endpoint, token, client string) string {
	t.Helper()
	r := send(t, plain, http.MethodPost, endpoint,
		url.Values{"grant_type": {"refresh_token"}, "refresh_token": {token}}, client)
	if r.status/100 == 4 {
		return ""
	}
	return r.text(t, "access_token")
}

// parts returns header and claims of a JWT as the issuer has spelt them.
func parts(token string) (header, claims []byte, err error) {
	segments := strings.Split(token, ".")
	if len(segments) != 3 {
		return nil, nil, errors.New("no JWT")
	}
	header, err = base64.RawURLEncoding.DecodeString(segments[0])
	if err != nil {
		return nil, nil, err
	}
	claims, err = base64.RawURLEncoding.DecodeString(segments[1])
	return header, claims, err
}

// claim returns a claim of a JWT that is a text, by its name or its path (/a/b); "" when it has
// none.
func claim(t *testing.T, token, name string) string {
	t.Helper()
	_, claims, err := parts(token)
	if err != nil {
		t.Fatalf("%v: %.40q", err, token)
	}
	return member(t, claims, name)
}

// keyID returns the kid of a JWT, "" when it has none.
func keyID(t *testing.T, token string) string {
	t.Helper()
	header, _, err := parts(token)
	if err != nil {
		t.Fatalf("%v: %.40q", err, token)
	}
	return member(t, header, "kid")
}

func member(t *testing.T, object []byte, name string) string {
	t.Helper()
	var value any
	if err := json.Unmarshal(object, &value); err != nil {
		t.Fatalf("%v: %q", err, object)
	}
	for name := range strings.SplitSeq(strings.TrimPrefix(name, "/"), "/") {
		at, _ := value.(map[string]any)
		value = at[name]
	}
	text, _ := value.(string)
	return text
}

// received is a request that the receiver has got.
type received struct {
	path          string
	contentType   string
	authorization string
	body          []byte
	answer        int // what it was answered
}

// jwt returns the token in it: a logout token or a security event token.
func (r received) jwt() string {
	if !strings.HasPrefix(r.contentType, "application/x-www-form-urlencoded") {
		return string(r.body)
	}
	form, err := url.ParseQuery(string(r.body))
	if err != nil {
		return ""
	}
	return form.Get("logout_token")
}

// over reports whether the message has come over a channel.
func (r received) over(channel string) bool { return strings.HasPrefix(r.path, "/"+channel) }

// says reports whether the claims of the token in it have a text.
func (r received) says(text string) bool {
	_, claims, err := parts(r.jwt())
	return err == nil && bytes.Contains(claims, []byte(text))
}

// tale is what the token in it tells, in the words of docs/issuers.md.
func (r received) tale() (string, error) {
	_, content, err := parts(r.jwt())
	if err != nil {
		return "", err
	}
	var claims struct {
		Subject string                     `json:"sub"`
		Session string                     `json:"sid"`
		Events  map[string]json.RawMessage `json:"events"`
		About   struct {
			Session *struct {
				ID string `json:"id"`
			} `json:"session"`
		} `json:"sub_id"`
	}
	if err := json.Unmarshal(content, &claims); err != nil {
		return "", err
	}
	var of []string
	if r.over(backChannel) {
		for name, value := range map[string]string{"sid": claims.Session, "sub": claims.Subject} {
			if value != "" {
				of = append(of, "`"+name+"`")
			}
		}
		slices.Sort(of)
		return strings.Join(of, ", "), nil
	}
	for name := range claims.Events {
		of = append(of, "`"+path.Base(name)+"`")
	}
	switch session := claims.About.Session; {
	case session == nil:
		return strings.Join(append(of, "the user"), ", "), nil
	case session.ID == "ALL":
		return strings.Join(append(of, "session `ALL`"), ", "), nil
	}
	return strings.Join(append(of, "the session"), ", "), nil
}

// receiver is where issuers send what they have to tell. It keeps what came, and hands it on to
// whoever is to hear it, whose answer is its own.
type receiver struct {
	url string

	mu   sync.Mutex
	got  []received
	next func(received) int // the status that is answered
}

// receive starts a receiver, which lasts until the test ends.
func receive(t *testing.T) *receiver {
	t.Helper()
	r := &receiver{}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	r.url = "http://" + l.Addr().String()
	server := &http.Server{Handler: r, ReadHeaderTimeout: 10 * time.Second}
	go func() { _ = server.Serve(l) }() // until the test closes it
	t.Cleanup(func() { _ = server.Close() })
	return r
}

func (r *receiver) ServeHTTP(w http.ResponseWriter, request *http.Request) {
	body, err := io.ReadAll(io.LimitReader(request.Body, 1<<20))
	if err != nil {
		http.Error(w, "cut off", http.StatusBadRequest)
		return
	}
	got := received{
		path: request.URL.Path, contentType: request.Header.Get("Content-Type"),
		authorization: request.Header.Get("Authorization"), body: body, answer: http.StatusOK,
	}
	if got.over(sharedSignals) {
		got.answer = http.StatusAccepted // RFC 8935 section 2.2
	}
	r.mu.Lock()
	next := r.next
	r.mu.Unlock()
	if next != nil {
		got.answer = next(got)
	}
	r.mu.Lock()
	r.got = append(r.got, got)
	r.mu.Unlock()
	w.WriteHeader(got.answer)
}

// handOn has what comes from now on answered by next.
func (r *receiver) handOn(next func(received) int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.next = next
}

// take returns what has come so far, and forgets it.
func (r *receiver) take() []received {
	r.mu.Lock()
	defer r.mu.Unlock()
	got := r.got
	r.got = nil
	return got
}

// about returns what has come over a channel about an ending of a session, once there is one
// message or the time has passed. Others may come late, of sessions that ended before.
func (r *receiver) about(limit time.Duration, channel string, e ending, h handed) []received {
	mark := h.session
	if channel == sharedSignals && e.signal != "" {
		mark = e.signal
	}
	var got []received
	for deadline := time.Now().Add(limit); ; time.Sleep(10 * time.Millisecond) {
		for _, message := range r.take() {
			if message.over(channel) && message.says(mark) {
				got = append(got, message)
			}
		}
		if len(got) > 0 || time.Now().After(deadline) {
			return got
		}
	}
}
