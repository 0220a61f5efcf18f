package httpapi

import (
	"bytes"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

// TestFailedRequestsDoNotFillTheLog: Redis is away, and a stranger asks and asks.
func TestFailedRequestsDoNotFillTheLog(t *testing.T) {
	var out bytes.Buffer
	h := NewHandlers("https://i", slog.New(slog.NewTextHandler(&out, nil)), nil, time.Now)
	fails := h.Endpoint(
		Endpoint{
			Name:   "login",
			Handle: func(*Request) (Reply, error) { return Reply{}, errors.New("directory away") },
		},
		[]chan struct{}{make(chan struct{}, 1)},
		func(r *http.Request) (Client, error) { return PeerOf(r), nil })
	const asked = 200
	for range asked {
		w := httptest.NewRecorder()
		fails.ServeHTTP(w, httptest.NewRequest(http.MethodPost, "/login", nil))
		if w.Code != http.StatusServiceUnavailable {
			t.Fatalf("expected 503, got %d", w.Code)
		}
	}
	if said := strings.Count(out.String(), "a request failed"); said < failureBurst ||
		said > asked/2 {
		t.Errorf("%d requests failed, and the log says so %d times", asked, said)
	}
}

func TestTheLogSaysHowManyFailuresHadNoLine(t *testing.T) {
	var out bytes.Buffer
	now := time.Unix(1_800_000_000, 0)
	f := &failures{
		logger: slog.New(slog.NewTextHandler(&out, nil)), now: func() time.Time { return now },
	}
	for range failureBurst + 5 {
		f.log(slog.LevelWarn, "a request failed", "login", slog.String("error", "away"))
	}
	// has lines of its own
	f.log(slog.LevelWarn, "a request failed", "logout", slog.String("error", "away"))
	if got := strings.Count(out.String(), "endpoint=login"); got != failureBurst {
		t.Errorf("%d lines at once", got)
	}
	if got := strings.Count(out.String(), "endpoint=logout"); got != 1 ||
		strings.Contains(out.String(), "suppressed") {
		t.Errorf("another endpoint's: %d\n%s", got, out.String())
	}
	now = now.Add(time.Second)
	f.log(slog.LevelWarn, "a request failed", "login", slog.String("error", "away"))
	if !strings.Contains(out.String(), "endpoint=login error=away suppressed=5\n") {
		t.Errorf("got %s", out.String())
	}
}
