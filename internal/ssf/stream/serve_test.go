package stream_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"testing"
)

// serveText serves a document at the address that it returns.
func serveText(t *testing.T, text string) string {
	t.Helper()
	return serve(t, func(w http.ResponseWriter, _ *http.Request) {
		if _, err := io.WriteString(w, text); err != nil && len(text) < 256<<10 {
			t.Error(err)
		}
	})
}

// redirectTo returns an address that leads elsewhere.
func redirectTo(t *testing.T, to string) string {
	t.Helper()
	return serve(t, func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, to, http.StatusTemporaryRedirect)
	})
}

func serve(t *testing.T, handle http.HandlerFunc) string {
	t.Helper()
	server := httptest.NewServer(handle)
	t.Cleanup(server.Close)
	return server.URL + "/"
}
