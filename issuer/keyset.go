package issuer

import (
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"net/http"
	"strings"
)

// keySet answers GET /.well-known/jwks.json: the public keys (RFC 7517 section 5).
func (s *Server) keySet(r *request) (reply, error) {
	return s.cacheable(r, s.keys.KeySet(), "application/jwk-set+json"), nil
}

// cacheable is a document that readers may keep, with a tag by which they ask whether it has
// changed (RFC 9110 section 8.8.3).
func (s *Server) cacheable(r *request, document []byte, contentType string) reply {
	sum := sha256.Sum256(document)
	tag := `"` + base64.RawURLEncoding.EncodeToString(sum[:12]) + `"`
	header := http.Header{
		"Cache-Control": {fmt.Sprintf("public, max-age=%d", int(s.cfg.KeySetMaxAge.Seconds()))},
		"Etag":          {tag},
	}
	if matches(r.Header.Values("If-None-Match"), tag) {
		return reply{status: http.StatusNotModified, header: header, body: []byte{}}
	}
	header["Content-Type"] = []string{contentType}
	return reply{status: http.StatusOK, header: header, body: document}
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
