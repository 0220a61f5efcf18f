package issuer

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/sallyport/sallyport/issuer/httpapi"
)

// documents are what anybody may read and keep: the key set and the metadata.
type documents struct {
	keys        Keys
	maxAge      time.Duration
	description []byte
}

func newDocuments(cfg Config, keys Keys, users bool) (*documents, error) {
	text, err := describe(cfg, users)
	if err != nil {
		return nil, err
	}
	return &documents{keys: keys, maxAge: cfg.KeySetMaxAge, description: text}, nil
}

// keySet answers GET /.well-known/jwks.json: the public keys (RFC 7517 section 5).
func (d *documents) keySet(r *httpapi.Request) (httpapi.Reply, error) {
	return d.cacheable(r, d.keys.KeySet(), "application/jwk-set+json"), nil
}

// metadata answers GET /.well-known/oauth-authorization-server.
func (d *documents) metadata(r *httpapi.Request) (httpapi.Reply, error) {
	return d.cacheable(r, d.description, "application/json"), nil
}

// cacheable is a document that readers may keep, with a tag by which they ask whether it has
// changed (RFC 9110 section 8.8.3).
func (d *documents) cacheable(r *httpapi.Request, document []byte,
	contentType string) httpapi.Reply {
	sum := sha256.Sum256(document)
	tag := `"` + base64.RawURLEncoding.EncodeToString(sum[:12]) + `"`
	header := http.Header{
		"Cache-Control": {fmt.Sprintf("public, max-age=%d", int(d.maxAge.Seconds()))},
		"Etag":          {tag},
	}
	if matches(r.Header.Values("If-None-Match"), tag) {
		return httpapi.Reply{Status: http.StatusNotModified, Header: header, Body: []byte{}}
	}
	header["Content-Type"] = []string{contentType}
	return httpapi.Reply{Status: http.StatusOK, Header: header, Body: document}
}

// matches compares weakly, as RFC 9110 section 13.1.2 has it.
func matches(lines []string, tag string) bool {
	for _, line := range lines {
		for candidate := range strings.SplitSeq(line, ",") {
			candidate = strings.TrimSpace(candidate)
			if candidate == "*" || strings.TrimPrefix(candidate, "W/") == tag {
				return true
			}
		}
	}
	return false
}

// welcome answers GET /, which people try first.
func welcome(*httpapi.Request) (httpapi.Reply, error) {
	return httpapi.Reply{Status: http.StatusOK, Body: struct {
		Message string `json:"message"`
	}{"This is an issuer of tokens, and it is up. It says at " + metadataPath + " what it offers."}}, nil
}

const metadataPath = "/.well-known/oauth-authorization-server"

// description is the issuer's description of itself (RFC 8414 section 2). It offers what there is
// and nothing else: no grant of OAuth, no way for a client to authenticate. The endpoints have
// names of their own, as the RFC permits.
type description struct {
	Issuer          string   `json:"issuer"`
	KeySet          string   `json:"jwks_uri"`
	ResponseTypes   []string `json:"response_types_supported"`
	GrantTypes      []string `json:"grant_types_supported"`
	LoginEndpoint   string   `json:"login_endpoint,omitempty"`
	RefreshEndpoint string   `json:"refresh_endpoint,omitempty"`
	LogoutEndpoint  string   `json:"logout_endpoint,omitempty"`
}

func describe(cfg Config, users bool) ([]byte, error) {
	d := description{
		Issuer:        cfg.Issuer,
		KeySet:        cfg.Issuer + "/.well-known/jwks.json",
		ResponseTypes: []string{},
		GrantTypes:    []string{},
	}
	if users {
		d.LoginEndpoint, d.RefreshEndpoint = cfg.Issuer+"/login", cfg.Issuer+"/refresh"
		d.LogoutEndpoint = cfg.Issuer + "/logout"
	}
	body, err := json.Marshal(d)
	if err != nil {
		return nil, fmt.Errorf("issuer: writing the metadata: %w", err)
	}
	return body, nil
}

// metadataPaths returns where the document lies: for an issuer with a path of its own also behind
// that path's well-known place (RFC 8414 section 3.1).
func metadataPaths(issuer string) []string {
	paths := []string{metadataPath}
	if u, err := url.Parse(issuer); err == nil && u.Path != "" {
		paths = append(paths, metadataPath+u.EscapedPath())
	}
	return paths
}
