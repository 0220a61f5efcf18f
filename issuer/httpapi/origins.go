package httpapi

import (
	"net/http"
	"slices"
)

// readable lets a page of a trusted origin read the answer (Fetch standard, section 3.2), and
// reports whether the request is of one. Cookies play no part: no credentials are allowed.
func (e *Endpoint) readable(w http.ResponseWriter, r *http.Request) bool {
	if len(e.Trusted) == 0 {
		return false
	}
	w.Header().Add("Vary", "Origin") // whoever asks
	origin := r.Header.Values("Origin")
	if len(origin) != 1 || !slices.Contains(e.Trusted, origin[0]) {
		return false
	}
	w.Header().Set("Access-Control-Allow-Origin", origin[0])
	w.Header().Set("Access-Control-Expose-Headers", "WWW-Authenticate, Retry-After")
	return true
}

// Preflight returns the handler of what a browser asks before it sends a page's request to an
// endpoint; what is no such question is otherwise's.
func (h *Handlers) Preflight(e Endpoint, otherwise http.Handler) http.Handler {
	answer := h.answering(e.Name, func(w http.ResponseWriter, r *http.Request) (Reply, error) {
		w.Header().Set("Access-Control-Allow-Methods", e.Method)
		w.Header().Set("Access-Control-Allow-Headers", "authorization, content-type")
		w.Header().Set("Access-Control-Max-Age", "600")
		return Reply{Status: http.StatusNoContent, Body: []byte{}}, nil
	})
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked := r.Header.Get("Access-Control-Request-Method")
		if e.readable(w, r) && r.Method == http.MethodOptions && asked == e.Method {
			answer.ServeHTTP(w, r)
			return
		}
		otherwise.ServeHTTP(w, r)
	})
}
