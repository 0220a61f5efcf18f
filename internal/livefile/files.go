// Package livefile has in force what files hold now: certificates, keys, passwords, tokens and
// rules that somebody renews while the process runs, by writing into a file, by putting another one
// in its place, or, as Kubernetes does for a Secret or a ConfigMap, by moving the symbolic link
// that it is reached through.
//
// It promises:
//   - Whoever asks for a value gets what the files hold at that moment. Besides, a process looks
//     at all of them every [Interval], so that what is wrong is told before it is needed.
//   - Files that are missing, empty, half written or not what they should be change nothing: what
//     they held before stays in force. The log says so once, with the setting, the file and what
//     is wrong, and a metric for as long as it is so.
//   - Nothing of a file's content is in a log line, an error or a metric.
//
// What belongs together, as a certificate and its key, is one value: between the replacing of the
// one and of the other, the old two are in force.
package livefile

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Interval is the time between two looks at files that nobody asks for.
const Interval = time.Second

// Files are all files of a process whose values are kept up to date.
type Files struct {
	log *slog.Logger

	mu  sync.Mutex
	all []watched
}

type watched interface {
	setting() string
	look(tick bool)
	isBroken() bool
	Reload() error
}

// New makes a set without files. logger nil: silent; registry nil: metrics go nowhere.
func New(logger *slog.Logger, registry prometheus.Registerer) (*Files, error) {
	if logger == nil {
		logger = slog.New(slog.DiscardHandler)
	}
	f := &Files{log: logger}
	if registry == nil {
		return f, nil
	}
	return f, registry.Register(f)
}

func (f *Files) logger() *slog.Logger {
	if f == nil {
		return slog.New(slog.DiscardHandler)
	}
	return f.log
}

func (f *Files) add(w watched) {
	if f == nil {
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.all = append(f.all, w)
}

func (f *Files) list() []watched {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.all)
}

// Run looks at the files until ctx ends, and returns nil then.
func (f *Files) Run(ctx context.Context) error {
	tick := time.NewTicker(Interval)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
			for _, w := range f.list() {
				w.look(true)
			}
		}
	}
}

// Reload reads all files now and returns what is wrong with them; those that are whole are in force
// all the same.
func (f *Files) Reload(context.Context) error {
	var errs []error
	for _, w := range f.list() {
		errs = append(errs, w.Reload())
	}
	return errors.Join(errs...)
}

var brokenDesc = prometheus.NewDesc("sallyport_file_broken",
	"1 while a file cannot be used and what it held before stays in force, by the setting that "+
		"names it.",
	[]string{"setting"}, nil)

// Describe implements prometheus.Collector.
func (f *Files) Describe(c chan<- *prometheus.Desc) { c <- brokenDesc }

// Collect implements prometheus.Collector.
func (f *Files) Collect(c chan<- prometheus.Metric) {
	broken := map[string]float64{}
	for _, w := range f.list() {
		broken[w.setting()] += 0
		if w.isBroken() {
			broken[w.setting()] = 1
		}
	}
	for setting, is := range broken {
		c <- prometheus.MustNewConstMetric(brokenDesc, prometheus.GaugeValue, is, setting)
	}
}
