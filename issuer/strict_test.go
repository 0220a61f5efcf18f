package issuer

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/sallyport/sallyport/internal/session/sessiontest"

	"github.com/alicebob/miniredis/v2"
)

// onMiniredis is for what never gets as far as Redis.
func onMiniredis(t *testing.T, change func(*Config)) *house {
	t.Helper()
	return newHouse(t, sessiontest.Open(t, miniredis.RunT(t).Addr()), change)
}

func TestABodyIsReadStrictly(t *testing.T) {
	h := onMiniredis(t, nil)
	good := body("username", "alice", "password", password)
	for name, c := range map[string]struct {
		body   string
		status int
	}{
		"not JSON":              {"username=alice", 400},
		"cut":                   {good[:len(good)-1], 400},
		"an array":              {`["alice"]`, 400},
		"a string":              {`"alice"`, 400},
		"null":                  {`null`, 400},
		"no members":            {`{}`, 400},
		"no password":           {body("username", "alice"), 400},
		"no username":           {body("password", password), 400},
		"empty username":        {body("username", "", "password", password), 400},
		"empty password":        {body("username", "alice", "password", ""), 400},
		"unknown member":        {body("username", "alice", "password", password, "scope", "admin"), 400},
		"other case":            {body("Username", "alice", "password", password), 400},
		"member twice":          {`{"username":"bob","username":"alice","password":"x"}`, 400},
		"member twice, escaped": {`{"username":"bob","usern\u0061me":"alice","password":"x"}`, 400},
		"number":                {`{"username":"alice","password":1}`, 400},
		"null member":           {`{"username":"alice","password":null}`, 400},
		"object member":         {`{"username":"alice","password":{"a":"b"}}`, 400},
		"deep":                  {strings.Repeat("[", 30000) + strings.Repeat("]", 30000), 400},
		"deep member": {
			`{"username":` + strings.Repeat("[", 30000) + strings.Repeat("]", 30000) + `}`, 400,
		},
		"something after it":    {good + "{}", 400},
		"a comma after it":      {good + ",", 400},
		"a comma inside":        {`{"username":"alice","password":"x",}`, 400},
		"a comment":             {`{"username":"alice"/**/,"password":"x"}`, 400},
		"NUL":                   {`{"username":"alice\u0000","password":"x"}`, 400},
		"NUL in the password":   {`{"username":"alice","password":"x\u0000y"}`, 400},
		"a lone surrogate":      {`{"username":"alice","password":"\ud800"}`, 400},
		"invalid UTF-8":         {"{\"username\":\"alice\xff\",\"password\":\"x\"}", 400},
		"a byte order mark":     {"\xef\xbb\xbf" + good, 400},
		"white space around it": {" \r\n" + good + "\n", 200},
		"escapes":               {strings.Replace(good, "alice", `\u0061lice`, 1), 200},
	} {
		if got := h.post("/login", c.body); got.status != c.status ||
			(c.status == 400 && got.str("error") != "invalid_request") {
			t.Errorf("%s: expected %d, got %d %s", name, c.status, got.status, got.text)
		}
	}
}

func TestOnlyJSONIsTaken(t *testing.T) {
	h := onMiniredis(t, nil)
	good := body("username", "alice", "password", password)
	for name, c := range map[string]struct {
		types  []string
		extra  []option
		status int
	}{
		"none":        {nil, nil, 415},
		"form":        {[]string{"application/x-www-form-urlencoded"}, nil, 415},
		"text":        {[]string{"text/plain"}, nil, 415},
		"two":         {[]string{"application/json", "application/json"}, nil, 415},
		"a suffix":    {[]string{"application/jwt+json"}, nil, 415},
		"broken":      {[]string{"application/json; charset"}, nil, 415},
		"UTF-16":      {[]string{"application/json; charset=utf-16"}, nil, 415},
		"other param": {[]string{"application/json; boundary=x"}, nil, 415},
		"compressed": {
			[]string{"application/json"}, []option{withHeader("Content-Encoding", "gzip")}, 415,
		},
		"with a charset": {[]string{"Application/JSON; charset=UTF-8"}, nil, 200},
	} {
		options := append([]option{func(r *http.Request) { r.Header.Del("Content-Type") }}, c.extra...)
		for _, kind := range c.types {
			options = append(options, withHeader("Content-Type", kind))
		}
		got := h.post("/login", good, options...)
		if got.status != c.status || (c.status == 415 && got.str("error") != "unsupported_media_type") {
			t.Errorf("%s: expected %d, got %d %s", name, c.status, got.status, got.text)
		}
	}
}

// TestALargeBodyIsRefusedBeforeItIsRead says how much is coming and never sends it.
const maxBody = 64 << 10 // the most bytes that a body may have

func TestALargeBodyIsRefusedBeforeItIsRead(t *testing.T) {
	h := onMiniredis(t, nil)
	for _, path := range []string{"/login", "/refresh", "/logout"} {
		conn := h.dial()
		fmt.Fprintf(conn,
			"POST %s HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n{",
			path, maxBody+1)
		a := readAnswer(t, conn)
		wantStatus(t, a, http.StatusRequestEntityTooLarge, "request_too_large")
	}
}

func TestALargeBodyThatDoesNotSayItsLengthIsCut(t *testing.T) {
	h := onMiniredis(t, nil)
	conn := h.dial()
	fmt.Fprintf(conn,
		"POST /login HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"+
			"Transfer-Encoding: chunked\r\n\r\n")
	fmt.Fprintf(conn, "%x\r\n%s\r\n", maxBody+1, strings.Repeat(" ", maxBody+1))
	wantStatus(t, readAnswer(t, conn), http.StatusRequestEntityTooLarge, "request_too_large")
	if _, err := io.Copy(io.Discard, conn); err != nil && !strings.Contains(err.Error(), "reset") {
		t.Errorf("the connection was kept: %v", err)
	}
	padded := strings.Repeat(" ", maxBody-len(`{"refresh_token":"x"}`)) + `{"refresh_token":"x"}`
	wantStatus(t, h.post("/refresh", padded), http.StatusUnauthorized, "invalid_grant")
}

func (h *house) dial() net.Conn {
	h.t.Helper()
	conn, err := net.Dial("tcp", strings.TrimPrefix(h.url, "http://"))
	if err != nil {
		h.t.Fatal(err)
	}
	h.t.Cleanup(func() { _ = conn.Close() })
	if err := conn.SetDeadline(time.Now().Add(20 * time.Second)); err != nil {
		h.t.Fatal(err)
	}
	return conn
}

func readAnswer(t *testing.T, conn net.Conn) answer {
	t.Helper()
	res, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	return read(t, res)
}

func TestEachEndpointNamesItsMethods(t *testing.T) {
	h := onMiniredis(t, nil)
	for path, allow := range map[string]string{
		"/login": "POST", "/refresh": "POST", "/logout": "POST",
		"/.well-known/jwks.json": "GET, HEAD", "/.well-known/oauth-authorization-server": "GET, HEAD",
	} {
		for _, method := range []string{
			"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "get", "BREW",
		} {
			if strings.Contains(allow, method) {
				continue
			}
			a := h.do(method, h.url+path, "")
			if a.status != http.StatusMethodNotAllowed || a.header.Get("Allow") != allow ||
				(method != "HEAD" && a.str("error") != "method_not_allowed") {
				t.Errorf("%s %s: got %d, Allow %q, %s", method, path, a.status, a.header.Get("Allow"), a.text)
			}
		}
	}
}

// TestAPathHasOneSpelling: no redirect, no second way to write an endpoint.
func TestAPathHasOneSpelling(t *testing.T) {
	h := onMiniredis(t, nil)
	for _, path := range []string{
		"/login/", "//login", "/./login", "/x/../login", "/%6cogin", "/login%00", "/LOGIN",
		"/login;x=1",
		"/metrics", "/readyz", "/livez",
		"/debug/pprof/", "/debug/pprof/cmdline", "/debug/vars", "/admin/revocations", "/admin/status",
		"//evil.example/login", "http://x/login", "/.well-known/jwks.json/",
	} {
		conn := h.dial()
		fmt.Fprintf(conn,
			"POST %s HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\nConnection: close\r\n\r\n", path)
		a := readAnswer(t, conn)
		if a.status != http.StatusNotFound || a.str("error") != "not_found" ||
			a.header.Get("Location") != "" {
			t.Errorf("%s: got %d %s", path, a.status, a.text)
		}
	}
}

func TestATokenInAURLIsRefusedAndNotLogged(t *testing.T) {
	h := onMiniredis(t, nil)
	a := h.login("alice")
	for _, c := range []struct{ method, path string }{
		{"POST", "/login?password="},
		{"POST", "/refresh?refresh_token="},
		{"POST", "/logout?access_token="},
		{"POST", "/logout?wait=2s&token="},
		{"GET", "/.well-known/jwks.json?token="},
		{"GET", "/.well-known/oauth-authorization-server?x="},
		{"POST", "/refresh?%zz="},
	} {
		wantStatus(t, h.do(c.method, h.url+c.path+a.str("refresh_token"), ""),
			http.StatusBadRequest, "invalid_request")
	}
	if logs := h.logged.String() + h.audited.String(); strings.Contains(logs, a.str("refresh_token")) {
		t.Error("a token from a URL was logged")
	}
}

func TestPagesOfOtherOriginsAreNotServed(t *testing.T) {
	h := onMiniredis(t, nil)
	good := body("username", "alice", "password", password)
	for name, o := range map[string]option{
		"origin":    withHeader("Origin", "https://evil.example"),
		"site":      withHeader("Sec-Fetch-Site", "cross-site"),
		"same-site": withHeader("Sec-Fetch-Site", "same-site"),
		"null":      withHeader("Origin", "null"),
	} {
		for _, path := range []string{"/login", "/refresh", "/logout"} {
			got := h.post(path, good, o)
			if got.status != http.StatusForbidden || got.header.Get("Access-Control-Allow-Origin") != "" {
				t.Errorf("%s, %s: got %d %s", name, path, got.status, got.text)
			}
		}
	}
	wantStatus(t, h.post("/login", good, withHeader("Sec-Fetch-Site", "same-origin")),
		http.StatusOK, "")
}

func TestAnUpgradeLeadsNowhere(t *testing.T) {
	h := onMiniredis(t, nil)
	conn := h.dial()
	fmt.Fprintf(conn,
		"GET /.well-known/jwks.json HTTP/1.1\r\nHost: x\r\nConnection: Upgrade, HTTP2-Settings\r\n"+
			"Upgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAoAAAAAIAAAAA\r\n\r\n")
	if a := readAnswer(t, conn); a.status != http.StatusOK {
		t.Errorf("got %d", a.status)
	}
	conn = h.dial()
	fmt.Fprintf(conn, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
	if a, err := io.ReadAll(conn); err != nil || !strings.HasPrefix(string(a), "HTTP/1.1 4") {
		t.Errorf("got %q, %v", a, err)
	}
}

func TestASlowClientIsCutOff(t *testing.T) {
	h := onMiniredis(t, func(c *Config) { c.HTTP.ReadTimeout = 200 * time.Millisecond })
	for name, begin := range map[string]string{
		"nothing":       "",
		"half a header": "POST /login HTTP/1.1\r\nHost: x\r\n",
		"half a body": "POST /login HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n" +
			"Content-Length: 100\r\n\r\n{",
	} {
		conn := h.dial()
		if _, err := io.WriteString(conn, begin); err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(conn) // ends only when the server closes
		if err != nil {
			t.Errorf("%s: the connection is still open: %v", name, err)
		}
		if name == "half a body" && !strings.HasPrefix(string(text), "HTTP/1.1 400") {
			t.Errorf("%s: got %q", name, text)
		}
	}
}

// TestASlowBodyHoldsNoSlot: clients that do not finish their bodies keep nobody else out.
func TestASlowBodyHoldsNoSlot(t *testing.T) {
	h := onMiniredis(t, func(c *Config) { c.HTTP.MaxConcurrent = 1 })
	for range 5 {
		conn := h.dial()
		fmt.Fprintf(conn,
			"POST /login HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"+
				"Content-Length: 100\r\n\r\n{")
	}
	h.login("alice")
}

func TestRequestsAtATimeAreBounded(t *testing.T) {
	h := onMiniredis(t, func(c *Config) { c.HTTP.MaxConcurrent = 1 })
	entered, leave := make(chan struct{}), make(chan struct{})
	h.users.onVerify = func() { close(entered); <-leave }
	first := make(chan answer)
	go func() { first <- h.post("/login", body("username", "alice", "password", password)) }()
	<-entered
	busy := h.refresh("x")
	wantStatus(t, busy, http.StatusServiceUnavailable, "temporarily_unavailable")
	if busy.header.Get("Retry-After") == "" {
		t.Error("a 503 that does not say when to try again")
	}
	close(leave)
	wantStatus(t, <-first, http.StatusOK, "")
	wantStatus(t, h.refresh("x"), http.StatusUnauthorized, "invalid_grant")
}

// TestLogoutsHavePlacesOfTheirOwn: strangers who log in keep nobody from logging out. What is
// theirs is bounded too.
func TestLogoutsHavePlacesOfTheirOwn(t *testing.T) {
	h := onMiniredis(t, func(c *Config) { c.HTTP.MaxConcurrent = 1 })
	held := h.login("alice").str("access_token")
	entered, leave := make(chan struct{}), make(chan struct{})
	h.users.onVerify = func() { close(entered); <-leave }
	first := make(chan answer)
	go func() { first <- h.post("/login", body("username", "alice", "password", password)) }()
	<-entered
	busy, logout := h.refresh("x"), h.post("/logout", "", bearer(held))
	close(leave)
	wantStatus(t, <-first, http.StatusOK, "")
	// all other places were taken
	wantStatus(t, busy, http.StatusServiceUnavailable, "temporarily_unavailable")
	wantStatus(t, logout, http.StatusOK, "")
}

func TestConnectionsAreBounded(t *testing.T) {
	c := sessiontest.Open(t, miniredis.RunT(t).Addr())
	h := newHouse(t, c, func(cfg *Config) { cfg.HTTP.MaxConnections = 2 })
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- h.server.Serve(t.Context(), l) }()
	h.url = "http://" + l.Addr().String()
	held := []net.Conn{h.dial(), h.dial()}
	for _, conn := range held {
		fmt.Fprintf(conn, "GET /.well-known/jwks.json HTTP/1.1\r\nHost: x\r\n\r\n")
		if a := readAnswer(t, conn); a.status != http.StatusOK {
			t.Fatalf("got %d", a.status)
		}
	}
	third := h.dial()
	fmt.Fprintf(third, "GET /.well-known/jwks.json HTTP/1.1\r\nHost: x\r\n\r\n")
	if err := third.SetReadDeadline(time.Now().Add(100 * time.Millisecond)); err != nil {
		t.Fatal(err)
	}
	if n, err := third.Read(make([]byte, 1)); err == nil {
		t.Errorf("a third connection was served %d bytes", n)
	}
	if err := held[0].Close(); err != nil {
		t.Fatal(err)
	}
	if err := third.SetReadDeadline(time.Now().Add(10 * time.Second)); err != nil {
		t.Fatal(err)
	}
	if a := readAnswer(t, third); a.status != http.StatusOK {
		t.Errorf("got %d", a.status)
	}
	h.server.Drain(t.Context())
}

func TestAPanicIsAnAnswerAndNotTheEnd(t *testing.T) {
	h := onMiniredis(t, nil)
	h.users.onVerify = func() { panic("secret: " + password) }
	a := h.post("/login", body("username", "alice", "password", password))
	wantStatus(t, a, http.StatusInternalServerError, "server_error")
	if strings.Contains(h.logged.String(), password) {
		t.Error("the log holds what was in the panic")
	}
	if !strings.Contains(h.logged.String(), "a request panicked") {
		t.Error("the log does not tell")
	}
	wantStatus(t, h.refresh("x"), http.StatusUnauthorized, "invalid_grant")
}
