package httpapi

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

// failures logs requests that failed underneath, and no more lines than somebody can read: while
// Redis is away each request is one, and strangers choose how many there are. What has no line is
// in the next one's number; the metrics count all.
type failures struct {
	logger *slog.Logger
	now    func() time.Time

	mu    sync.Mutex
	lines map[string]*lines // by endpoint, of which there are few
}

// lines are those of one endpoint.
type lines struct {
	limit   *rate.Limiter
	leftOut int
}

// failureRate and failureBurst bound an endpoint's lines.
const (
	failureRate  = rate.Limit(1) // a second
	failureBurst = 10
)

func (f *failures) log(level slog.Level, message, endpoint string, details ...slog.Attr) {
	leftOut, ok := f.admit(endpoint)
	if !ok {
		return
	}
	attrs := append([]slog.Attr{slog.String("endpoint", endpoint)}, details...)
	if leftOut > 0 {
		attrs = append(attrs, slog.Int("suppressed", leftOut))
	}
	f.logger.LogAttrs(context.Background(), level, message, attrs...)
}

// admit reports whether an endpoint may have a line now, and how many it has not had since the last
// one.
func (f *failures) admit(endpoint string) (leftOut int, ok bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	l := f.lines[endpoint]
	if l == nil {
		l = &lines{limit: rate.NewLimiter(failureRate, failureBurst)}
		if f.lines == nil {
			f.lines = map[string]*lines{}
		}
		f.lines[endpoint] = l
	}
	if !l.limit.AllowN(f.now(), 1) {
		l.leftOut++
		return 0, false
	}
	leftOut, l.leftOut = l.leftOut, 0
	return leftOut, true
}
