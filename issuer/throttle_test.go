package issuer

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/sallyport/sallyport/internal/credential"
	"github.com/sallyport/sallyport/issuer/httpapi"
)

func TestEachEndpointThatTakesASecretIsThrottled(t *testing.T) {
	h := onMiniredis(t,
		func(c *Config) { c.HTTP.Requests = credential.Rate{Burst: 2, Every: time.Hour} })
	secret := map[string]bool{"/login": true, "/refresh": true, "/logout": true}
	for _, e := range h.server.endpoints() {
		if (e.Method == http.MethodPost) != e.secret || e.secret != secret[e.Path] {
			t.Errorf("%s %s: does it take a secret or not?", e.Method, e.Path)
		}
	}
	for _, e := range h.server.endpoints() {
		h.server.throttle = httpapi.NewThrottle(h.cfg.HTTP.Requests, time.Now())
		last := answer{}
		for range 3 {
			last = h.do(e.Method, h.url+e.Path, "")
		}
		if throttled := last.status == http.StatusTooManyRequests; throttled != e.secret {
			t.Errorf("%s: got %d", e.Path, last.status)
		}
		if e.secret &&
			(last.header.Get("Retry-After") == "" || last.str("error") != "too_many_requests") {
			t.Errorf("%s: got %s, Retry-After %q", e.Path, last.text, last.header.Get("Retry-After"))
		}
	}
}

func TestAClientCanNotChooseItsAddress(t *testing.T) {
	h := onMiniredis(t,
		func(c *Config) { c.HTTP.Requests = credential.Rate{Burst: 5, Every: time.Hour} })
	statuses := map[int]int{}
	for i := range 10 {
		ip := fmt.Sprintf("198.51.100.%d", i)
		a := h.post("/refresh", body("refresh_token", "x"), withHeader("X-Forwarded-For", ip),
			withHeader("X-Real-Ip", ip), withHeader("Forwarded", "for="+ip),
			withHeader("True-Client-Ip", ip), withHeader("Cf-Connecting-Ip", ip),
			withHeader("X-Client-Ip", ip))
		statuses[a.status]++
	}
	if statuses[401] != 5 || statuses[429] != 5 {
		t.Errorf("expected 5 and then no more, got %v", statuses)
	}
}

func TestBrokenForwardingHeadersChangeNoAnswer(t *testing.T) {
	h := onMiniredis(t, trusting(t, "127.0.0.0/8"))
	for _, value := range []string{
		"a", "", ",", " ", "1.2.3.4.5", "fe80::1%eth0", "[::1]:80", "192.0.2.1:99",
		fmt.Sprintf("%0100000d", 1),
	} {
		if len(value) > 30000 {
			value = value[:30000]
		}
		a := h.post("/login", body("username", "alice", "password", "wrong"),
			withHeader("X-Forwarded-For", value))
		wantStatus(t, a, http.StatusUnauthorized, "invalid_credentials")
	}
	written := map[string]bool{"127.0.0.1": true, "::1": true, "192.0.2.1": true, "fe80::1": true}
	for line := range strings.Lines(h.audited.String()) {
		var event struct{ Address string }
		if err := json.Unmarshal([]byte(line), &event); err != nil || !written[event.Address] {
			t.Errorf("an event has the address %q, %v", event.Address, err)
		}
	}
}
