package daemon

import (
	"encoding/json"
	"errors"
	"net/http"
	"strings"
	"sync/atomic"
)

// phase is where in its life the process is.
type phase int32

const (
	starting phase = iota
	started
	stopping
)

// health knows whether the process is ready, and what it waits for.
type health struct {
	parts   []Part
	phase   atomic.Int32
	inForce func() map[string]string // digests; nil: none
}

func newHealth(parts []Part) *health { return &health{parts: parts} }

func (h *health) set(p phase) { h.phase.Store(int32(p)) }

// waiting returns what keeps the process from being ready, by part; empty when it is ready.
func (h *health) waiting() map[string]string {
	out := map[string]string{}
	switch phase(h.phase.Load()) {
	case starting:
		out["process"] = "starting"
	case stopping:
		out["process"] = "stopping"
	}
	for _, p := range h.parts {
		if why := p.notReady(); why != "" {
			out[p.Name] = why
		}
	}
	return out
}

// notReady returns why the part is not ready; "" when it is.
func (p Part) notReady() string {
	if p.Ready == nil {
		return ""
	}
	var err error
	if Guard(func() error { err = p.Ready(); return nil }) != nil {
		return "its check has panicked"
	}
	if err == nil {
		return ""
	}
	return reason(err)
}

// maxReason is how many bytes of a reason /readyz shows.
const maxReason = 512

func reason(err error) string {
	s := strings.ToValidUTF8(err.Error(), "?")
	if len(s) > maxReason {
		s = strings.ToValidUTF8(s[:maxReason], "") + "..."
	}
	if s == "" {
		return "not ready"
	}
	return s
}

type readiness struct {
	Ready   bool              `json:"ready"`
	Waiting map[string]string `json:"waiting,omitempty"`
	InForce map[string]string `json:"in_force,omitempty"`
}

// serveReady answers 200 {"ready":true}, or 503 with what the process waits for; both with the
// digests of what is in force.
func (h *health) serveReady(w http.ResponseWriter, _ *http.Request) {
	waiting := h.waiting()
	status := http.StatusOK
	if len(waiting) > 0 {
		status = http.StatusServiceUnavailable
	}
	var inForce map[string]string
	if h.inForce != nil {
		inForce = h.inForce()
	}
	writeJSON(w, status, readiness{Ready: len(waiting) == 0, Waiting: waiting, InForce: inForce})
}

// serveLive answers 200 for as long as the process can answer at all: whether it should be
// restarted is a question of its parts' failures, which end it anyway.
func serveLive(w http.ResponseWriter, _ *http.Request) {
	writeJSON(w, http.StatusOK, map[string]bool{"live": true})
}

var errEncoding = errors.New("daemon: the answer could not be encoded")

func writeJSON(w http.ResponseWriter, status int, v any) {
	b, err := json.Marshal(v)
	if err != nil {
		http.Error(w, errEncoding.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = w.Write(append(b, '\n')) // the client may be gone
}
