// Package httpapi has what an issuer's two APIs, the public one and the operators', are served
// with. It promises that a request is read strictly before anything is looked up: its path, method,
// origin, parameters, type and size; that the requests of one address, and their bytes, are
// bounded; and that an answer is either a Reply or a Refusal of a fixed text, so that what went
// wrong underneath is told in the log alone.
package httpapi

import (
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/sallyport/sallyport/internal/daemon"
)

// Endpoint is one line of a router. What is not said here is refused before Handle runs.
type Endpoint struct {
	Method string
	Path   string
	Name   string   // in metrics and logs
	Query  []string // parameters it knows; any other is refused, since it might be a token
	Type   string   // of its body; "": application/json
	Handle func(*Request) (Reply, error)
	// Trusted are the origins, besides the API's own, whose pages may send requests and read answers.
	Trusted []string
}

// Admit decides who a request comes from and whether it may come in, before its body is read.
type Admit func(*http.Request) (Client, error)

// Handlers makes http.Handlers of Endpoints, which refuse, answer, count and log.
type Handlers struct {
	realm    string // of challenges: the issuer's URL
	logger   *slog.Logger
	failures failures
	origins  *http.CrossOriginProtection

	requests *prometheus.CounterVec
	seconds  *prometheus.HistogramVec
	panics   prometheus.Counter
}

// NewHandlers makes the Handlers of the issuer of that URL. now is for the limit on lines in the
// log. The labels of the metrics are out of fixed lists: no stranger can make a new series.
func NewHandlers(issuer string, logger *slog.Logger, registry prometheus.Registerer,
	now func() time.Time) *Handlers {
	h := &Handlers{
		realm:    issuer,
		logger:   logger,
		failures: failures{logger: logger, now: now},
		origins:  http.NewCrossOriginProtection(),
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "sallyport_issuer_requests_total", Help: "Requests by endpoint and HTTP status.",
		}, []string{"endpoint", "status"}),
		seconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "sallyport_issuer_request_seconds",
			Help:    "Time from a request's header to its answer, by endpoint.",
			Buckets: []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10},
		}, []string{"endpoint"}),
		panics: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "sallyport_issuer_panics_total",
			Help: "Requests that panicked and were answered with 500, or with 503 where that was in " +
				"what they had started: each is a bug.",
		}),
	}
	if registry != nil {
		registry.MustRegister(h.requests, h.seconds, h.panics)
	}
	return h
}

// Endpoint returns the handler of an endpoint. A request passes, in this order: its origin, who may
// come in, its parameters, its body, and a free slot in one of pools.
func (h *Handlers) Endpoint(e Endpoint, pools []chan struct{}, admit Admit) http.Handler {
	return h.answering(e.Name, func(w http.ResponseWriter, r *http.Request) (Reply, error) {
		if !e.readable(w, r) && h.origins.Check(r) != nil {
			return Reply{}, errForbidden
		}
		from, err := admit(r)
		if err != nil {
			return Reply{}, err
		}
		if err := checkQuery(r, e.Query); err != nil {
			return Reply{}, err
		}
		// The body before the slot: a client that is slow to send it holds a connection, but keeps
		// nobody else from being served.
		received, err := receive(w, r, from, e.Type)
		if err != nil {
			return Reply{}, err
		}
		slot := takeSlot(pools)
		if slot == nil {
			return Reply{}, ErrBusy
		}
		defer func() { <-slot }()
		return e.Handle(received)
	})
}

// WrongMethod returns the handler of what a path is not offered for; allow is the header's value.
func (h *Handlers) WrongMethod(name, allow string) http.Handler {
	return h.answering(name, func(w http.ResponseWriter, _ *http.Request) (Reply, error) {
		w.Header().Set("Allow", allow)
		return Reply{}, errMethod
	})
}

// NotFound returns the handler of paths that there are not. hint says where to look instead; "" for
// nowhere.
func (h *Handlers) NotFound(name, hint string) http.Handler {
	told := *errNotFound
	told.Description = strings.TrimSpace(told.Description + " " + hint)
	return h.answering(name, func(http.ResponseWriter, *http.Request) (Reply, error) {
		return Reply{}, &told
	})
}

// answering turns what handle returns into an answer: a reply, a refusal, or, for anything that
// went wrong underneath, 503 with the cause in the log alone.
func (h *Handlers) answering(name string,
	handle func(http.ResponseWriter, *http.Request) (Reply, error)) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		start := time.Now()
		sent := &recorded{ResponseWriter: w}
		defer func() {
			if p := recover(); p != nil {
				h.panics.Inc()
				// Its type and place, never its value: that may hold a password.
				h.failures.log(slog.LevelError, "a request panicked", name,
					slog.String("panic", fmt.Sprintf("%T", p)), slog.String("stack", string(debug.Stack())))
				if sent.status == 0 {
					errInternal.write(sent, h.realm)
				}
			}
			h.requests.WithLabelValues(name, strconv.Itoa(sent.status)).Inc()
			h.seconds.WithLabelValues(name).Observe(time.Since(start).Seconds())
		}()
		reply, err := handle(sent, r)
		if err == nil {
			reply.write(sent)
			return
		}
		refused := refusalOf(err)
		// Whoever returns ErrUnavailable has dealt with the cause. Anything else that becomes a 503 has
		// one that the operator must see.
		if refused == ErrUnavailable && !errors.Is(err, ErrUnavailable) {
			h.failures.log(slog.LevelWarn, "a request failed", name, slog.Any("error", err))
		}
		refused.write(sent, h.realm)
	})
}

// Guard runs what a goroutine of its own does for a request: its panic is an error, which is
// answered with 503 and has been logged.
func (h *Handlers) Guard(f func() error) error {
	err := daemon.Guard(f)
	if errors.Is(err, daemon.ErrPanic) {
		h.panics.Inc()
		h.logger.Error("what a request had started panicked", "error", err)
		return errPanicked
	}
	return err
}

var errPanicked = errors.New("issuer: what the request had started panicked; the log has the stack")

// takeSlot takes a slot in the first of pools that has a free one, and returns that pool; nil when
// there is none.
func takeSlot(pools []chan struct{}) chan struct{} {
	for _, pool := range pools {
		select {
		case pool <- struct{}{}:
			return pool
		default:
		}
	}
	return nil
}

// checkQuery refuses parameters that the endpoint does not know: a token in a URL ends up in logs.
func checkQuery(r *http.Request, known []string) error {
	if r.URL.RawQuery == "" {
		return nil
	}
	query, err := url.ParseQuery(r.URL.RawQuery) // url.URL.Query drops what it cannot read
	if err != nil {
		return InvalidRequest("the URL's query can not be read")
	}
	for name, values := range query {
		if !slices.Contains(known, name) || len(values) != 1 {
			return InvalidRequest("the URL has a parameter that is not known here, or one twice; " +
				"tokens never go into a URL")
		}
	}
	return nil
}

// recorded remembers the status that was sent.
type recorded struct {
	http.ResponseWriter
	status int
}

func (r *recorded) WriteHeader(status int) {
	if r.status == 0 {
		r.status = status
	}
	r.ResponseWriter.WriteHeader(status)
}

// Unwrap lets http.ResponseController find the connection.
func (r *recorded) Unwrap() http.ResponseWriter { return r.ResponseWriter }
