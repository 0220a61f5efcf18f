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

// TestNothingGoesPastAProxyWhoseAddressCannotBeRead, and nobody is told the address.
func TestNothingGoesPastAProxyWhoseAddressCannotBeRead(t *testing.T) {
	at := &url.URL{Scheme: "https", Host: "sso.example"}
	for _, bad := range []string{"http://user:hunter2@proxy example:3128", "http://:3128", "%zz"} {
		t.Run(bad, func(t *testing.T) {
			t.Setenv("HTTPS_PROXY", bad)
			by, err := outbound.Transport(nil).Proxy(&http.Request{URL: at})
			if err == nil || by != nil || !strings.Contains(err.Error(), "HTTPS_PROXY") ||
				strings.Contains(err.Error(), "hunter2") {
				t.Errorf("expected an error that names the variable alone, got %v, %v", by, err)
			}
		})
	}
	for _, good := range []string{"proxy.example", "proxy.example:3128", "socks5://10.0.0.1:1080"} {
		t.Setenv("HTTPS_PROXY", good)
		if by, err := outbound.Transport(nil).Proxy(&http.Request{URL: at}); err != nil || by == nil {
			t.Errorf("%s: got %v, %v", good, by, err)
		}
	}
}
