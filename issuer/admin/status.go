package admin

import (
	"context"
	"net/http"
	"slices"
	"time"

	"github.com/sallyport/sallyport/internal/adminapi"
	"github.com/sallyport/sallyport/internal/revocation/redislog"
	"github.com/sallyport/sallyport/issuer/httpapi"
)

// status answers GET /admin/status: who follows the log, and how far.
func (a *API) status(r *httpapi.Request) (httpapi.Reply, error) {
	gates, issuers, err := a.lines(r.Context())
	if err != nil {
		return httpapi.Reply{}, err
	}
	answer := adminapi.Status{
		Well: true, Head: headOf(gates, issuers), MaxStaleness: a.cfg.MaxStaleness.Seconds(),
		Gates: []adminapi.Process{}, Issuers: []adminapi.Process{},
	}
	for _, l := range gates {
		answer.Gates = append(answer.Gates, a.showLine(l, answer.Head))
	}
	for _, l := range issuers {
		answer.Issuers = append(answer.Issuers, a.showLine(l, answer.Head))
	}
	for _, p := range slices.Concat(answer.Gates, answer.Issuers) {
		answer.Well = answer.Well && p.State.Well()
	}
	return httpapi.Reply{Status: http.StatusOK, Body: answer}, nil
}

func (a *API) lines(ctx context.Context) (gates, issuers []redislog.Line, err error) {
	if gates, err = a.cfg.Inventory.Gates(ctx); err == nil {
		issuers, err = a.cfg.Inventory.Issuers(ctx)
	}
	return gates, issuers, err
}

// headOf returns how far the log has got, as the processes on it know.
func headOf(lists ...[]redislog.Line) *adminapi.Head {
	var head *adminapi.Head
	for _, l := range slices.Concat(lists...) {
		if l.OnLog && (head == nil || l.Seq > head.Seq) {
			head = &adminapi.Head{Epoch: l.Epoch, Seq: l.Seq}
		}
	}
	return head
}

func (a *API) showLine(l redislog.Line, head *adminapi.Head) adminapi.Process {
	p := adminapi.Process{
		Name: l.Name, Version: l.Version, Ready: l.Ready, Epoch: l.Epoch, Seq: l.Seq, OnLog: l.OnLog,
		Age: l.Age.Seconds(), Live: l.Live, Shared: l.Shared,
	}
	if l.OnLog && head != nil {
		lag := head.Seq - l.Seq
		p.Lag = &lag
	}
	// What a process says of itself was true when it wrote its line, so the line's age is added. A
	// staleness of 0 from one that is not ready means that nothing was confirmed yet.
	if l.Ready || l.Staleness > 0 {
		p.Staleness = seconds(l.Staleness + l.Age)
	}
	if l.MaxStaleness > 0 {
		p.MaxStaleness = seconds(l.MaxStaleness)
	}
	if l.KeySetAge > 0 {
		p.KeySetAge = seconds(l.KeySetAge + l.Age)
	}
	p.State = a.stateOf(l, p.Lag)
	return p
}

// stateOf returns the gravest state that fits, in the order of the constants.
func (a *API) stateOf(l redislog.Line, lag *uint64) adminapi.State {
	switch {
	case l.Left:
		return adminapi.Left
	case !l.Live:
		return adminapi.Gone
	// The gate counts in the same way, and refuses everything from then on.
	case l.Staleness+l.Age > a.cfg.MaxStaleness:
		return adminapi.Stale
	case l.Shared:
		return adminapi.Shared
	case l.MaxStaleness > 0 && l.MaxStaleness != a.cfg.MaxStaleness:
		return adminapi.Unlike
	case !l.Ready:
		return adminapi.NotReady
	case lag == nil:
		return adminapi.OffLog
	case *lag > 0:
		return adminapi.Behind
	}
	return adminapi.OK
}

func seconds(d time.Duration) *float64 {
	s := d.Seconds()
	return &s
}
