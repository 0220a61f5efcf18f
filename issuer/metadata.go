package issuer

import (
	"encoding/json"
	"fmt"
	"net/url"
)

const metadataPath = "/.well-known/oauth-authorization-server"

// document is the issuer's description of itself (RFC 8414 section 2). It offers what there is and
// nothing else: no grant of OAuth, no way for a client to authenticate. The endpoints have names of
// their own, as the RFC permits.
type document struct {
	Issuer          string   `json:"issuer"`
	KeySet          string   `json:"jwks_uri"`
	ResponseTypes   []string `json:"response_types_supported"`
	GrantTypes      []string `json:"grant_types_supported"`
	LoginEndpoint   string   `json:"login_endpoint"`
	RefreshEndpoint string   `json:"refresh_endpoint"`
	LogoutEndpoint  string   `json:"logout_endpoint"`
}

func makeMetadata(cfg Config) ([]byte, error) {
	body, err := json.Marshal(document{
		Issuer:          cfg.Issuer,
		KeySet:          cfg.Issuer + "/.well-known/jwks.json",
		ResponseTypes:   []string{},
		GrantTypes:      []string{},
		LoginEndpoint:   cfg.Issuer + "/login",
		RefreshEndpoint: cfg.Issuer + "/refresh",
		LogoutEndpoint:  cfg.Issuer + "/logout",
	})
	if err != nil {
		return nil, fmt.Errorf("issuer: writing the metadata: %w", err)
	}
	return body, nil
}

// metadataPaths gives where the document lies: for an issuer with a path of its own also behind
// that path's well-known place (RFC 8414 section 3.1).
func metadataPaths(issuer string) []string {
	paths := []string{metadataPath}
	if u, err := url.Parse(issuer); err == nil && u.Path != "" {
		paths = append(paths, metadataPath+u.EscapedPath())
	}
	return paths
}

// serveMetadata answers GET /.well-known/oauth-authorization-server.
func (s *Server) serveMetadata(r *request) (reply, error) {
	return s.cacheable(r, s.metadata, "application/json"), nil
}
