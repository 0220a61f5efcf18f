package daemon

import (
	"encoding"
	"fmt"
	"io"
	"log/slog"
	"strings"

	"github.com/sallyport/sallyport/internal/audit"
)

// NewLogger logs to w: a JSON object a line, unless cfg says otherwise. Whoever logs, what has the shape of a token or
// of a password hash, and every value whose key names a secret, is written as "[redacted]".
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
	"password": true, "passphrase": true, "secret": true, "token": true, "access_token": true, "refresh_token": true,
	"id_token": true, "client_secret": true, "authorization": true, "cookie": true, "password_hash": true,
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

// redactAny logs errors and the like as the text they are; anything else as its handler does.
func redactAny(a slog.Attr) slog.Attr {
	switch v := a.Value.Any().(type) {
	case error:
		return slog.String(a.Key, audit.Redact(v.Error()))
	case encoding.TextMarshaler, *slog.Source, slog.Level:
		return a
	case fmt.Stringer:
		return slog.String(a.Key, audit.Redact(v.String()))
	case []byte:
		return slog.String(a.Key, audit.Redact(string(v)))
	case []string:
		out := make([]string, len(v))
		for i, s := range v {
			out[i] = audit.Redact(s)
		}
		return slog.Any(a.Key, out)
	}
	return a
}
