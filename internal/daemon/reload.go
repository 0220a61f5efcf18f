package daemon

import (
	"context"
	"log/slog"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// reloader calls Options.Reload for each SIGHUP, one at a time.
type reloader struct {
	reload  func(context.Context) error
	log     *slog.Logger
	total   *prometheus.CounterVec
	success prometheus.Gauge
}

func newReloader(o Options) *reloader {
	r := &reloader{
		reload: o.Reload,
		log:    o.Logger,
		total: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "sallyport_reloads_total", Help: "Reloads on SIGHUP, by result (ok, failed).",
		}, []string{"result"}),
		success: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "sallyport_reload_last_ok", Help: "1 if the last reload on SIGHUP worked, or there was none; 0 if it failed and the old settings are in force.",
		}),
	}
	r.total.WithLabelValues("ok")
	r.total.WithLabelValues("failed")
	r.success.Set(1)
	return r
}

// part listens for SIGHUP, also when there is nothing to reload: its default is to end the process.
func (r *reloader) part() Part {
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
	begun := time.Now()
	if err := Guard(func() error { return r.reload(ctx) }); err != nil {
		r.total.WithLabelValues("failed").Inc()
		r.success.Set(0)
		r.log.Error("reload failed: the old settings stay in force", "error", err)
		return
	}
	r.total.WithLabelValues("ok").Inc()
	r.success.Set(1)
	r.log.Info("reloaded", "took", time.Since(begun).String())
}
