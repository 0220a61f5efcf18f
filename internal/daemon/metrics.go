package daemon

import (
	"errors"
	"fmt"
	"runtime"
	"runtime/debug"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
)

// register adds the metrics that every process has. What the caller has registered already stays as
// it is.
func register(o Options, h *health, r *reloader) error {
	all := []prometheus.Collector{
		collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
		buildInfo(o),
		readyMetrics{h},
		inForceMetrics{o.InForce},
		r.total,
		r.success,
	}
	for _, c := range all {
		err := o.Registry.Register(c)
		// Whoever has given the registry may have the collectors of Go and of the process in it.
		var known prometheus.AlreadyRegisteredError
		if err != nil && !errors.As(err, &known) {
			return fmt.Errorf("daemon: metrics: %w", err)
		}
	}
	return nil
}

func buildInfo(o Options) prometheus.Collector {
	g := prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "sallyport_build_info",
		Help: "Always 1; the labels say which program, version, commit and Go release this is.",
		ConstLabels: prometheus.Labels{
			"name": o.Name, "version": o.Version, "revision": revision(), "go": runtime.Version(),
		},
	})
	g.Set(1)
	return g
}

func revision() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return ""
	}
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" {
			return s.Value
		}
	}
	return ""
}

var (
	readyDesc = prometheus.NewDesc("sallyport_ready",
		"1 while the process is ready, as /readyz says.", nil, nil)
	partDesc = prometheus.NewDesc("sallyport_part_ready", "1 while the part is ready.",
		[]string{"part"}, nil)
)

// readyMetrics shows what /readyz does.
type readyMetrics struct{ health *health }

// Describe names the metrics.
func (m readyMetrics) Describe(ch chan<- *prometheus.Desc) {
	ch <- readyDesc
	ch <- partDesc
}

// Collect asks the parts.
func (m readyMetrics) Collect(ch chan<- prometheus.Metric) {
	waiting := m.health.waiting()
	ch <- gauge(readyDesc, len(waiting) == 0)
	for _, p := range m.health.parts {
		if p.Ready != nil {
			_, not := waiting[p.Name]
			ch <- gauge(partDesc, !not, p.Name)
		}
	}
}

func gauge(d *prometheus.Desc, is bool, labels ...string) prometheus.Metric {
	value := 0.0
	if is {
		value = 1
	}
	return prometheus.MustNewConstMetric(d, prometheus.GaugeValue, value, labels...)
}
