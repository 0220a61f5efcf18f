package outbound_test

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/sallyport/sallyport/internal/outbound"
)

// TestNoErrorTellsTheAddress, whatever went wrong with it.
func TestNoErrorTellsTheAddress(t *testing.T) {
	server := httptest.NewServer(http.NotFoundHandler())
	server.Close()
	client := &http.Client{Transport: outbound.Transport(nil)}
	_, err := client.Get(server.URL + "/secret?token=secret")
	if err == nil || !strings.Contains(err.Error(), "secret") {
		t.Fatalf("expected an error that tells the address, got %v", err)
	}
	if err := outbound.WithoutURL(err); strings.Contains(err.Error(), "secret") {
		t.Errorf("got %v", err)
	}
}

// TestItGoesByTheProxyOfTheEnvironment, but never to this machine.
func TestItGoesByTheProxyOfTheEnvironment(t *testing.T) {
	t.Setenv("HTTPS_PROXY", "http://proxy.example:3128")
	t.Setenv("NO_PROXY", "inside.example")
	tr := outbound.Transport(nil)
	for address, want := range map[string]bool{
		"https://sso.example/x": true, "https://inside.example/x": false, "https://127.0.0.1/x": false,
		"https://localhost:8443/x": false,
	} {
		at, err := url.Parse(address)
		if err != nil {
			t.Fatal(err)
		}
		if by, err := tr.Proxy(&http.Request{URL: at}); err != nil || (by != nil) != want {
			t.Errorf("%s: by %v, %v", address, by, err)
		}
	}
}
