package httpapi

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"github.com/sallyport/sallyport/internal/adminapi"
	"github.com/sallyport/sallyport/internal/revocation"
)

// Gates know which of the live gates have applied an entry, and wait for the others as long as ctx
// allows; *redislog.Issuer does.
type Gates interface {
	Applied(ctx context.Context, r revocation.Receipt) (revocation.Applied, error)
}

// Waits answers requests that have revoked something, and lets a bounded number of them wait for
// the gates to have applied it.
type Waits struct {
	gates Gates
	most  time.Duration // the longest ?wait=
	slots chan struct{} // one for each request that waits
}

// NewWaits makes a Waits for that many requests at a time, none of which may wait longer than most.
func NewWaits(gates Gates, most time.Duration, atOnce int) *Waits {
	return &Waits{gates: gates, most: most, slots: make(chan struct{}, atOnce)}
}

// Asked reads ?wait=2s: how long to wait for gates, 0 when it was not asked for.
func (w *Waits) Asked(r *Request) (time.Duration, error) {
	query := r.URL.Query() // whole: one that cannot be read was refused before
	if !query.Has("wait") {
		return 0, nil
	}
	wait, err := time.ParseDuration(query.Get("wait"))
	if err != nil || wait <= 0 || wait > w.most {
		return 0, InvalidRequest("wait is not a time as 2s, above 0 and at most " + w.most.String())
	}
	return wait, nil
}

// Acknowledge returns the reply that the revocation is stored, and, if asked to wait, who has
// applied it: 200, or 202 while some gate has not.
func (w *Waits) Acknowledge(ctx context.Context, receipt revocation.Receipt, wait time.Duration,
	answer adminapi.Revoked) (Reply, error) {
	answer.Revoked, answer.Seq = true, receipt.Seq
	if wait == 0 {
		return Reply{Status: http.StatusOK, Body: answer}, nil
	}
	select {
	case w.slots <- struct{}{}:
		defer func() { <-w.slots }()
	default:
		wait = 0 // too many wait already: say how things stand, by one look that all of them share
	}
	ctx, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	applied, err := w.gates.Applied(ctx, receipt)
	if err != nil {
		return Reply{}, fmt.Errorf("issuer: asking who has applied a revocation: %w", err)
	}
	answer.Applied = fmt.Sprintf("%d/%d", applied.Applied, applied.Total)
	answer.Behind = applied.Behind
	if !applied.All() {
		return Reply{Status: http.StatusAccepted, Body: answer}, nil
	}
	return Reply{Status: http.StatusOK, Body: answer}, nil
}
