package daemon

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strings"

	"github.com/sallyport/sallyport/internal/audit"
	"github.com/sallyport/sallyport/internal/config"
)

// NewLogger logs to w: a JSON object a line, unless cfg says otherwise. Whoever logs, what has the
// shape of a token or of a password hash, and every value whose key names a secret, is written as
// "[redacted]".
func NewLogger(w io.Writer, cfg LogConfig) *slog.Logger {
	var level slog.Level
	if err := level.UnmarshalText([]byte(cfg.Level)); err != nil {
		level = slog.LevelInfo // Validate refuses it; a caller that skipped that still gets a log
	}
	o := &slog.HandlerOptions{Level: level, ReplaceAttr: redact}
	if cfg.Format == "text" {
		return slog.New(slog.NewTextHandler(w, o))
	}
	return slog.New(slog.NewJSONHandler(w, o))
}

// secretKeys are the names whose values are never logged.
var secretKeys = map[string]bool{
	"password":            true,
	"passphrase":          true,
	"secret":              true,
	"token":               true,
	"access_token":        true,
	"refresh_token":       true,
	"id_token":            true,
	"client_secret":       true,
	"password_hash":       true,
	"private_key":         true,
	"authorization":       true,
	"proxy-authorization": true,
	"x-access-token":      true,
	"cookie":              true,
	"set-cookie":          true,
}

const redacted = "[redacted]"

func redact(_ []string, a slog.Attr) slog.Attr {
	if secretKeys[strings.ToLower(a.Key)] {
		return slog.String(a.Key, redacted)
	}
	switch a.Value.Kind() {
	case slog.KindString:
		return slog.String(a.Key, audit.Redact(a.Value.String()))
	case slog.KindTime:
		return slog.Time(a.Key, a.Value.Time().UTC())
	case slog.KindAny:
		return redactAny(a)
	}
	return a
}

// redactAny logs errors and the like as the text they are, and what holds requests not at all;
// anything else as its handler does, unless there is a credential in it.
func redactAny(a slog.Attr) slog.Attr {
	// What a request, a header or a context holds nobody here can tell; it may be a credential.
	switch v := a.Value.Any().(type) {
	case *slog.Source, slog.Level, config.Secret:
		return a
	case error:
		return slog.String(a.Key, audit.Redact(v.Error()))
	case context.Context, *http.Request, *http.Response, http.Header:
		return slog.String(a.Key, redacted)
	case fmt.Stringer:
		return slog.String(a.Key, audit.Redact(v.String()))
	case []byte:
		return slog.String(a.Key, audit.Redact(string(v)))
	}
	text, err := json.Marshal(a.Value.Any())
	if err != nil {
		return slog.String(a.Key, fmt.Sprintf("[%T]", a.Value.Any()))
	}
	if clean := audit.Redact(string(text)); clean != string(text) { // else as the handler would
		return slog.String(a.Key, clean)
	}
	return a
}
