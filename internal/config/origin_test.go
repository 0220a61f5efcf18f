package config_test

import (
	"strings"
	"testing"

	"github.com/sallyport/sallyport/internal/config"
)

func TestAnOriginIsExact(t *testing.T) {
	for _, origin := range []string{
		"https://app.example.com", "http://localhost:3000", "https://[::1]:8443",
	} {
		if err := config.CheckOrigin(origin); err != nil {
			t.Errorf("%s: %v", origin, err)
		}
	}
	for _, origin := range []string{
		"", "*", "null", "https://*.example.com", "https://a.example.com/", "https://a.example.com/x",
		"https://a.example.com?x", "https://a.example.com#", "https://u@a.example.com", "a.example.com",
		"file:///x", "HTTPS://a.example.com", "https://A.example.com", "https://a.example.com:443",
		"http://a.example.com:80", "https://", "https:a.example.com", " https://a.example.com",
		"https://a.example.com https://b.example.com",
	} {
		if err := config.CheckOrigin(origin); err == nil || !strings.Contains(err.Error(), "https://") &&
			!strings.Contains(err.Error(), "http://") {
			t.Errorf("%q: %v", origin, err)
		}
	}
}
