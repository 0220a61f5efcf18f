package daemon_test

import (
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/sallyport/sallyport/internal/daemon"
)

// as asks the admin port in another host's name.
func (p *process) as(host string) (status int, body string) {
	p.t.Helper()
	r, err := http.NewRequest(http.MethodGet, p.url+"/readyz", nil)
	if err != nil {
		p.t.Fatal(err)
	}
	r.Host = host
	res, err := http.DefaultClient.Do(r)
	if err != nil {
		p.t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		p.t.Fatal(err)
	}
	return res.StatusCode, string(text)
}

// TestTheAdminPortAnswersToItsOwnNamesOnly is the attack of DNS rebinding: a page whose name now
// leads to the admin port would read it with the operator's browser. The browser still says the
// page's name.
func TestTheAdminPortAnswersToItsOwnNamesOnly(t *testing.T) {
	p := serving(t, daemon.Options{
		Admin: daemon.Config{
			Listen: "admin.internal:9101",
			Hosts:  []string{"issuer", "Gate.Example.", ".sallyport.svc"},
		},
	})
	for host, want := range map[string]int{
		"localhost": 200, "localhost:9101": 200, "LOCALHOST:1": 200, "localhost.": 200, "127.0.0.1": 200,
		"127.0.0.1:9101": 200, "[::1]:9101": 200,
		"10.2.3.4:9101": 200, "[fd00::1]": 200, // nobody is asked what an address means
		"issuer": 200, "ISSUER:9101": 200, "gate.example": 200, "gate.example.:80": 200,
		"one.sallyport.svc:9101": 200, "a.b.sallyport.svc": 200,
		"admin.internal": 200, "admin.internal:80": 200,
		"evil.example": 421, "evil.example:9101": 421, "localhost.evil.example": 421,
		"127.0.0.1.evil.example": 421, "xissuer": 421,
		"issuer.evil.example": 421, "sallyport.svc": 421, "xsallyport.svc": 421, "0x7f000001": 421,
		"2130706433": 421, "127.1": 421,
	} {
		if status, body := p.as(host); status != want {
			t.Errorf("%s: %d, want %d", host, status, want)
		} else if want == 421 && (!strings.Contains(body, "admin.hosts") ||
			strings.Contains(body, "evil")) {
			t.Errorf("%s: got %s", host, body)
		}
	}
	if n := strings.Count(p.log.String(), "admin.hosts"); n != 1 {
		t.Errorf("said %d times in the log:\n%s", n, p.log)
	}
}

func TestNamesOfTheAdminPortAreChecked(t *testing.T) {
	for host, good := range map[string]bool{
		"issuer": true, "a.b-c.example": true, ".svc": true, "": false, ".": false, "*": false,
		"*.example": false, "issuer:9101": false,
		"http://issuer": false, "a b": false, "[::1]": false, "a..b": false,
		strings.Repeat("a", 254): false,
	} {
		c := daemon.Config{Listen: "127.0.0.1:9101", Hosts: []string{host}}
		if err := c.Validate(); (err == nil) != good {
			t.Errorf("%q: %v", host, err)
		}
	}
}
