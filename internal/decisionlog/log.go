package decisionlog

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math"
	"os"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/time/rate"

	"github.com/sallyport/sallyport/internal/audit"
	"github.com/sallyport/sallyport/internal/token"
)

// queued is how many records may wait to be written: with lines of 16 KiB, they take 16 MiB.
const queued = 1024

// Options of New. Now is needed.
type Options struct {
	Now      func() time.Time
	Logger   *slog.Logger          // told when lines get lost; nil for nobody
	Registry prometheus.Registerer // nil: metrics go nowhere
	Stdout   io.Writer             // needed where Config names no file
}

// Log writes records. It may be used by many goroutines.
type Log struct {
	config  Config
	options Options
	sample  uint64 // of what is allowed, that has a line whose ID's second half is less
	limits  map[string]*rate.Limiter

	lines   map[string]prometheus.Counter
	dropped map[string]prometheus.Counter
	missing atomic.Uint64 // dropped since the last line

	queue *audit.Queue[*Record]

	// of the goroutine that writes
	out     io.Writer
	file    *os.File // nil: standard output
	looked  time.Time
	torn    bool // the last line is not whole
	failing bool
}

// Why a decision has no line, as metrics have it.
const (
	byRate  = "rate"
	byQueue = "queue"
	byWrite = "write"
)

// New opens a log. Whoever has it closes it.
func New(c Config, o Options) (*Log, error) {
	if err := c.Validate(); err != nil {
		return nil, fmt.Errorf("decisionlog: %w", err)
	}
	if !c.Enabled || o.Now == nil || c.File == "" && o.Stdout == nil {
		return nil, errors.New("decisionlog: expected to be enabled, with a clock and somewhere to write")
	}
	l := &Log{
		config: c, options: o, sample: threshold(c.SampleAllowed), limits: map[string]*rate.Limiter{},
		lines: map[string]prometheus.Counter{}, dropped: map[string]prometheus.Counter{},
		out: o.Stdout,
	}
	l.options.Logger = cmp.Or(o.Logger, slog.New(slog.DiscardHandler))
	// Each reason has a limit of its own, so that a flood of one leaves the lines of the others alone.
	l.limits[Allowed] = rate.NewLimiter(rate.Limit(c.Rate), c.Burst)
	for _, d := range token.Reasons() {
		l.limits[string(d.Reason)] = rate.NewLimiter(rate.Limit(c.Rate), c.Burst)
	}
	l.measure(o.Registry)
	if c.File != "" {
		if err := l.open(); err != nil {
			return nil, err
		}
	}
	l.queue = audit.NewQueue(queued, l.write, l.panicked)
	return l, nil
}

// threshold turns a share into a bound on numbers of 64 bits at random.
func threshold(share float64) uint64 {
	if share >= 1 {
		return math.MaxUint64
	}
	return uint64(share * (1 << 63) * 2)
}

func (l *Log) measure(r prometheus.Registerer) {
	lines := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "sallyport_gate_decision_log_lines_total",
		Help: "Lines of the decision log that were written, by verdict.",
	}, []string{"verdict"})
	dropped := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "sallyport_gate_decision_log_dropped_total",
		Help: "Decisions that were to have a line in the decision log and have none: too many of their " +
			"reason at once (rate), too many that wait to be written (queue), or it failed (write).",
	}, []string{"why"})
	for _, verdict := range []string{Allowed, Refused} {
		l.lines[verdict] = lines.WithLabelValues(verdict)
	}
	for _, why := range []string{byRate, byQueue, byWrite} {
		l.dropped[why] = dropped.WithLabelValues(why)
	}
	if r != nil {
		r.MustRegister(lines, dropped)
	}
}

// Config returns what the log was made with: which claims and headers it has.
func (l *Log) Config() *Config { return &l.config }

// Samples reports whether what is allowed has a line, by a number at random.
func (l *Log) Samples(random uint64) bool {
	return random < l.sample || l.sample == math.MaxUint64
}

// Admits reports whether a decision may have its line now, by its reason, or Allowed. One that may
// not is counted.
func (l *Log) Admits(reason string) bool {
	// time.Now is monotonic, so that a clock that is set back silences nobody.
	if limit := l.limits[reason]; limit != nil && limit.AllowN(time.Now(), 1) {
		return true
	}
	l.drop(byRate)
	return false
}

func (l *Log) drop(why string) {
	l.missing.Add(1)
	l.dropped[why].Inc()
}

// Put has a record written, and never waits for that. The record is the log's from then on.
func (l *Log) Put(r *Record) {
	r.Event, r.Time = Event, l.options.Now().UTC().Truncate(time.Microsecond)
	if !l.queue.Put(r) {
		l.drop(byQueue)
	}
}

// write writes one line. It logs when writing begins to fail and when it works again.
func (l *Log) write(r *Record) {
	r.Dropped = l.missing.Load()
	line, err := r.line()
	if err == nil {
		err = l.follow()
	}
	if err == nil {
		err = l.writeLine(line)
	}
	switch {
	case err != nil:
		l.drop(byWrite)
		// Once for each time that it begins or ends: a full disk must not fill the log as well.
		if !l.failing {
			l.options.Logger.Error("decision log: lines are being lost: they cannot be written",
				"error", err)
		}
	default:
		l.missing.Add(-r.Dropped) // the line has told of them
		l.lines[r.Verdict].Inc()
		if l.failing {
			l.options.Logger.Warn("decision log: lines are being written again")
		}
	}
	l.failing = err != nil
}

// panicked counts a line that was lost that way. Of the panic only its type is said: a value may be a
// secret.
func (l *Log) panicked(value any) {
	l.drop(byWrite)
	l.options.Logger.Error("decision log: a line is lost: writing it panicked", "panic",
		fmt.Sprintf("%T", value))
}

// writeLine writes a line, which begins on one of its own even when the last could not be written
// whole.
func (l *Log) writeLine(line []byte) error {
	if l.torn {
		line = append([]byte{'\n'}, line...)
	}
	n, err := l.out.Write(line)
	if n > 0 {
		l.torn = n < len(line) && line[n-1] != '\n'
	}
	return err
}

// lookEvery is how often the file's name is looked at: until then a file that was renamed gets the
// lines.
const lookEvery = time.Second

// follow opens the file by its name again when somebody has renamed or removed it, as rotation does.
func (l *Log) follow() error {
	if l.config.File == "" || time.Since(l.looked) < lookEvery && l.file != nil {
		return nil
	}
	l.looked = time.Now()
	if l.file != nil {
		named, err := os.Stat(string(l.config.File))
		opened, err2 := l.file.Stat()
		if errors.Join(err, err2) == nil && os.SameFile(named, opened) {
			return nil
		}
		err = l.file.Close()
		l.file = nil
		if err != nil {
			return err
		}
	}
	return l.open()
}

func (l *Log) open() error {
	f, err := openFile(string(l.config.File))
	if err != nil {
		return fmt.Errorf("decision log: %w", err)
	}
	l.file, l.out, l.torn, l.looked = f, f, endsTorn(f), time.Now()
	return nil
}

// endsTorn reports whether a file ends within a line, as after a crash.
func endsTorn(f *os.File) bool {
	info, err := f.Stat()
	if err != nil || info.Size() == 0 {
		return false
	}
	var last [1]byte
	_, err = f.ReadAt(last[:], info.Size()-1)
	return err != nil || last[0] != '\n'
}

// openFile opens a file to append to. Others than its owner do not read it: it has what users do.
func openFile(path string) (*os.File, error) {
	if err := checkFile(path); err != nil {
		return nil, err
	}
	return os.OpenFile(path, os.O_APPEND|os.O_CREATE|os.O_RDWR, 0o600)
}

// checkFile refuses what is there and is no file: a pipe would be waited for.
func checkFile(path string) error {
	info, err := os.Stat(path)
	switch {
	case errors.Is(err, os.ErrNotExist):
		return nil
	case err != nil:
		return err
	case !info.Mode().IsRegular():
		return fmt.Errorf("%s: expected a file, or none yet; standard output is where lines go without one",
			path)
	}
	return nil
}

// Close writes what is queued, and returns when that is done. What is put afterwards is dropped.
func (l *Log) Close() error {
	if !l.queue.Close() || l.file == nil {
		return nil
	}
	return l.file.Close()
}
