package config

import (
	"fmt"
	"net/url"
	"strings"
)

// CheckOrigin returns what is wrong with an origin, as browsers write it (RFC 6454 section 6.1).
func CheckOrigin(origin string) error {
	u, err := url.Parse(origin)
	switch {
	case origin == "*" || origin == "null":
		return fmt.Errorf("expected an origin as https://app.example.com, got %s: name each page that is"+
			" trusted", origin)
	case err != nil || (u.Scheme != "https" && u.Scheme != "http") || u.Host == "" ||
		u.Scheme+"://"+u.Host != origin || origin != strings.ToLower(origin) ||
		strings.ContainsAny(u.Host, "*@"):
		return fmt.Errorf("expected an origin as https://app.example.com, in small letters and without a path,"+
			" got %q", origin)
	case u.Scheme == "https" && u.Port() == "443", u.Scheme == "http" && u.Port() == "80":
		return fmt.Errorf("browsers leave the usual port out: write %q", u.Scheme+"://"+u.Hostname())
	}
	return nil
}
