package policy

import (
	"net/url"
	"slices"
	"strings"

	"github.com/sallyport/sallyport/internal/config"
)

// The forms in which a client can be told that it is refused.
const (
	RefuseJSON      = "json"      // error and error_description, as RFC 6749 has them
	RefuseProblem   = "problem"   // RFC 9457
	RefuseHTML      = "html"      // a page for people
	RefuseText      = "text"      // a short text, which is what gRPC clients get for a message
	RefuseNegotiate = "negotiate" // one of these, by what the request says that it takes
	RefuseFlask     = "flask"     // as small Flask applications do
	RefuseFlaskJWT  = "flask-jwt-extended"
)

var refusalForms = []string{
	RefuseJSON, RefuseProblem, RefuseHTML, RefuseText, RefuseNegotiate, RefuseFlask, RefuseFlaskJWT,
}

// Refusals is how a client is told that it is refused.
type Refusals struct {
	As string `yaml:"as"` // json, unless it says otherwise
	// LoginPage is where a browser is sent that lacks a good token, in the place of a page that says so:
	// a URL, or a path of this host. {path} in it stands for the path and query that were asked for,
	// percent-encoded.
	LoginPage string `yaml:"login_page"`
}

// LoginPath is what stands in a LoginPage for what was asked for.
const LoginPath = "{path}"

// Validate checks the form and the page.
func (r Refusals) Validate() error {
	if r.As != "" && !slices.Contains(refusalForms, r.As) {
		return config.At("as", "expected one of %s, got %q", strings.Join(refusalForms, ", "), r.As)
	}
	if r.LoginPage == "" {
		return nil
	}
	if r.As != RefuseHTML && r.As != RefuseNegotiate {
		return config.At(
			"login_page",
			"is for browsers, which read pages: write `as: html` or `as: negotiate`",
		)
	}
	page := strings.Replace(r.LoginPage, LoginPath, "", 1)
	u, err := url.Parse(page)
	absolute := err == nil && (u.Scheme == "https" || u.Scheme == "http") && u.Host != "" &&
		u.User == nil
	local := err == nil && u.Scheme == "" && u.Host == "" && strings.HasPrefix(page, "/") &&
		!strings.HasPrefix(page, "//")
	query := strings.IndexByte(r.LoginPage, '?')
	switch {
	case !absolute && !local || !isFieldValue(page) || strings.ContainsAny(page, ` "\<>{}#`):
		return config.At(
			"login_page",
			"expected a URL as https://login.example.com/?next={path}, or a path, got %q",
			r.LoginPage,
		)
	case page != r.LoginPage && (query < 0 || strings.Index(r.LoginPage, LoginPath) < query):
		return config.At("login_page", "expected %s in the query alone, got %q", LoginPath, r.LoginPage)
	}
	return nil
}

func (r Refusals) isEmpty() bool { return r == Refusals{} }
