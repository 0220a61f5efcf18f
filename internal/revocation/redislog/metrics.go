package redislog

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/sallyport/sallyport/internal/redisconn"
	"github.com/sallyport/sallyport/internal/revocation"
)

// metrics are what an operator sees of the log. No label has a value that a caller chooses.
type metrics struct {
	f          *follower
	resyncs    *prometheus.CounterVec
	heartbeats *prometheus.CounterVec
	readErrors prometheus.Counter
	setBacks   prometheus.Counter
	appends    *prometheus.CounterVec
	alone      prometheus.Counter
	mended     prometheus.Counter
	dropped    prometheus.Counter
	// failedChecks is how many checks of Redis failed at the start.
	failedChecks prometheus.Gauge
	// redisUsed and redisLimit are the memory of the server that is nearest to its limit.
	redisUsed, redisLimit prometheus.Gauge

	said outage
}

const namespace, subsystem = "sallyport", "revocation"

func newMetrics(f *follower, r *prometheus.Registry) (*metrics, error) {
	counter := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(
			prometheus.CounterOpts{Namespace: namespace, Subsystem: subsystem, Name: name, Help: help})
	}
	vec := func(name, help, label string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(
			prometheus.CounterOpts{Namespace: namespace, Subsystem: subsystem, Name: name, Help: help},
			[]string{label})
	}
	m := &metrics{
		f:       f,
		resyncs: vec("resyncs_total", "Times the log was loaded again, by cause.", "cause"),
		heartbeats: vec("heartbeats_total",
			"Heartbeats by outcome; only counted ones keep the copy fresh.", "outcome"),
		readErrors: counter("read_errors_total", "Errors of the connection that reads the log."),
		setBacks:   counter("clock_set_back_total", "Times this machine's wall clock had gone back."),
		appends: vec("appends_total",
			"Appends by outcome; only acknowledged ones were answered with success.", "outcome"),
		alone: counter("appended_alone_total",
			"Appends acknowledged while no other issuer was alive."),
		mended: counter("mended_entries_total",
			"Entries appended again because the log had lost them."),
		dropped: counter("dropped_lines_total",
			"Gates' lines dropped unread: somebody else has written there."),
		failedChecks: prometheus.NewGauge(prometheus.GaugeOpts{
			Namespace: namespace, Subsystem: subsystem, Name: "failed_redis_checks",
			Help: "Ways in which Redis is not what the promises need, as found at the start.",
		}),
	}
	gauge := func(name, help string) prometheus.Gauge {
		return prometheus.NewGauge(
			prometheus.GaugeOpts{Namespace: namespace, Subsystem: subsystem, Name: name, Help: help})
	}
	m.redisUsed = gauge("redis_used_bytes",
		"Memory in use of the Redis server that is nearest to its limit.")
	m.redisLimit = gauge("redis_limit_bytes",
		"Most memory that this server may use (maxmemory); 0: without a limit.")
	for _, c := range revocation.Causes() {
		m.resyncs.WithLabelValues(string(c))
	}
	collectors := []prometheus.Collector{m.resyncs, m.heartbeats, m.readErrors, m.setBacks, m}
	if f.writer != nil {
		collectors = append(collectors, m.appends, m.alone, m.mended, m.dropped, m.failedChecks,
			m.redisUsed, m.redisLimit)
	}
	var errs []error
	for _, c := range collectors {
		errs = append(errs, r.Register(c))
	}
	return m, errors.Join(errs...)
}

// snapshotMetrics are those of a gate that keeps a snapshot.
func snapshotMetrics(r *prometheus.Registry) (loads, writes *prometheus.CounterVec, err error) {
	vec := func(name, help string, outcomes ...string) *prometheus.CounterVec {
		v := prometheus.NewCounterVec(
			prometheus.CounterOpts{Namespace: namespace, Subsystem: subsystem, Name: name, Help: help},
			[]string{"outcome"})
		for _, o := range outcomes {
			v.WithLabelValues(o)
		}
		return v
	}
	loads = vec("snapshot_loads_total",
		"Snapshots read at the start, by outcome; but for used the log is loaded whole.", "used",
		"absent", "broken", "version", "foreign", "old", "future", "unreadable")
	writes = vec("snapshot_writes_total", "Snapshots written, by outcome.", "written", "failed")
	if r == nil {
		return loads, writes, nil
	}
	return loads, writes, errors.Join(r.Register(loads), r.Register(writes))
}

func describe(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc(prometheus.BuildFQName(namespace, subsystem, name), help, labels, nil)
}

var (
	descStaleness = describe("staleness_seconds",
		"Age of the last confirmation of the copy; absent while there is none.")
	descFresh   = describe("fresh", "1 while the copy may be relied on.")
	descApplied = describe("applied_seq", "Place of the newest entry applied.")
	descLag     = describe("lag_entries",
		"Entries between the newest applied and the log's head as last seen.")
	descLive   = describe("live_entries", "Entries in force, by kind.", "kind")
	descLength = describe("log_length",
		"Entries in the log as last seen, expired ones not yet trimmed included.")
	descSkew = describe("clock_skew_seconds",
		"How far this machine's clock is from Redis' at least.")
	descMissing = describe("missing_entries", "Entries held here and not known to be in the log.")
)

// Describe implements prometheus.Collector.
func (m *metrics) Describe(c chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{
		descStaleness, descFresh, descApplied, descLag, descLive, descLength, descSkew, descMissing,
	} {
		c <- d
	}
}

// Collect implements prometheus.Collector.
func (m *metrics) Collect(c chan<- prometheus.Metric) {
	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		c <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	fresh := m.f.Freshness(m.f.instant())
	if fresh.Why != revocation.WhyNoCopy && fresh.Why != revocation.WhyUnknown &&
		fresh.Why != revocation.WhyClock {
		gauge(descStaleness, fresh.Staleness.Seconds())
	}
	gauge(descFresh, map[bool]float64{true: 1}[fresh.Fresh])
	m.f.mu.Lock()
	p, skew := m.f.copy.Position(), m.f.copy.Skew()
	h, known := m.f.copy.Head()
	missing, issuer := 0, m.f.writer != nil
	if issuer {
		missing = m.f.writer.Missing()
	}
	m.f.mu.Unlock()
	gauge(descApplied, float64(p.Seq))
	gauge(descSkew, skew.Seconds())
	length := 0.0
	if known {
		gauge(descLag, lag(p, h))
		length = float64(h.Seq - h.First + 1)
	}
	gauge(descLength, length)
	for _, k := range revocation.Kinds() {
		gauge(descLive, float64(m.f.set.Live(k)), k.String())
	}
	if issuer {
		gauge(descMissing, float64(missing))
	}
}

func lag(p revocation.Position, h revocation.Head) float64 {
	if p.Epoch != h.Epoch {
		return float64(h.Seq)
	}
	return max(float64(h.Seq)-float64(p.Seq), 0)
}

func (m *metrics) heartbeat(outcome string, err error) {
	m.heartbeats.WithLabelValues(outcome).Inc()
	m.logError("no heartbeat", err)
}

func (m *metrics) readFailed(err error) {
	m.readErrors.Inc()
	m.logError("the log cannot be read", err)
}

// logError logs an error of Redis, as often as outage lets it.
func (m *metrics) logError(what string, err error) {
	if err == nil {
		return
	}
	err = m.f.client.Explain(err)
	level := slog.LevelWarn
	var setting *redisconn.SettingError
	if errors.As(err, &setting) {
		// Whatever was to be done, nothing can be.
		level, what = slog.LevelError, "Redis cannot be used as it is set"
	}
	if text := oneLine(err.Error()); m.said.say(m.f.instant().Mono, level, text) {
		m.f.log.Log(context.Background(), level, what, "error", text)
	}
}

// outage decides which errors of Redis are logged: one a second of each level, because an outage
// must not fill the disk. An error that lasts until somebody changes a setting is said again once a
// minute while it is the same. Warnings never keep it from being said: a heartbeat that was given up
// in time is a warning, and the cause that another connection found is what somebody has to read.
type outage struct {
	mu   sync.Mutex
	last map[slog.Level]time.Duration // when it was said, by the monotonic clock
	text string                       // of the last error
}

func (o *outage) say(now time.Duration, level slog.Level, text string) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	least := time.Second
	if level == slog.LevelError && text == o.text {
		least = time.Minute
	}
	if last, said := o.last[level]; said && now-last < least {
		return false
	}
	if o.last == nil {
		o.last = map[slog.Level]time.Duration{}
	}
	o.last[level] = now
	if level == slog.LevelError {
		o.text = text
	}
	return true
}
