package daemon

import (
	"context"
	"log/slog"
	"maps"
	"os"
	"os/signal"
	"slices"
	"syscall"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// reloader calls Options.Reload for each SIGHUP, one at a time.
type reloader struct {
	reload  func(context.Context) error
	inForce func() map[string]string
	log     *slog.Logger
	total   *prometheus.CounterVec
	success prometheus.Gauge
}

func newReloader(o Options) *reloader {
	r := &reloader{
		reload:  o.Reload,
		inForce: o.InForce,
		log:     o.Logger,
		total: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "sallyport_reloads_total", Help: "Reloads on SIGHUP, by result (ok, failed).",
		}, []string{"result"}),
		success: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "sallyport_reload_last_ok",
			Help: "1 if the last reload on SIGHUP worked, or there was none; 0 if it failed and the " +
				"old settings are in force.",
		}),
	}
	// A series that begins at 0 shows its first increase.
	r.total.WithLabelValues("ok")
	r.total.WithLabelValues("failed")
	r.success.Set(1)
	return r
}

// part returns the part that listens for SIGHUP.
func (r *reloader) part() Part {
	// Also when there is nothing to reload: by default, SIGHUP ends the process. And from now on, not
	// from when the part runs.
	hup := make(chan os.Signal, 1)
	signal.Notify(hup, syscall.SIGHUP)
	return Part{Name: "reload", Run: func(ctx context.Context) error {
		defer signal.Stop(hup)
		for {
			select {
			case <-hup:
				r.once(ctx)
			case <-ctx.Done():
				return nil
			}
		}
	}}
}

func (r *reloader) once(ctx context.Context) {
	if r.reload == nil {
		r.log.Info("SIGHUP: there is nothing to reload")
		return
	}
	begun, before := time.Now(), r.inForce()
	if err := Guard(func() error { return r.reload(ctx) }); err != nil {
		r.total.WithLabelValues("failed").Inc()
		r.success.Set(0)
		r.log.Error("reload failed: the old settings stay in force", "error", err)
		return
	}
	r.total.WithLabelValues("ok").Inc()
	r.success.Set(1)
	after := r.inForce()
	message, changed := "reloaded", changes(before, after)
	if len(changed) == 0 && len(after) > 0 {
		// Whoever has edited a file and reads this looks at another file than this process does.
		message = "reloaded: nothing has changed"
	}
	r.log.Info(message, "changed", changed, "in_force", after, "took", time.Since(begun).String())
}

// changes returns what has another digest than before, as "policy: 0123456789ab -> ba9876543210".
func changes(before, after map[string]string) []string {
	changed := []string{}
	for _, what := range slices.Sorted(maps.Keys(after)) {
		if after[what] != before[what] {
			changed = append(changed, what+": "+before[what]+" -> "+after[what])
		}
	}
	return changed
}

var inForceDesc = prometheus.NewDesc("sallyport_in_force_info",
	"Always 1; digest is the beginning of the SHA-256 of the file that what is in force was "+
		"read from.",
	[]string{"what", "digest"}, nil)

// inForceMetrics shows the digests.
type inForceMetrics struct{ digests func() map[string]string }

// Describe names the metric.
func (m inForceMetrics) Describe(c chan<- *prometheus.Desc) { c <- inForceDesc }

// Collect asks for the digests.
func (m inForceMetrics) Collect(c chan<- prometheus.Metric) {
	for what, digest := range m.digests() {
		c <- gauge(inForceDesc, true, what, digest)
	}
}
