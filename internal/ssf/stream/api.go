package stream

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"time"

	"github.com/sallyport/sallyport/internal/ssf"
)

// endpoints are where a transmitter's API is (SSF section 7.1).
type endpoints struct {
	streams, status, verify *url.URL // status and verify may be nil
}

// discover reads the transmitter's configuration, which must name this issuer.
func (c *client) discover(ctx context.Context) (endpoints, error) {
	var doc struct {
		Issuer  string `json:"issuer"`
		Streams string `json:"configuration_endpoint"`
		Status  string `json:"status_endpoint"`
		Verify  string `json:"verification_endpoint"`
	}
	at := []string{c.cfg.ConfigurationURL}
	if c.cfg.ConfigurationURL == "" {
		// Keycloak has it below its path, as OpenID's discovery does.
		at = []string{
			wellKnown(c.issuer, "ssf-configuration"), below(c.issuer, "ssf-configuration"),
		}
	}
	if err := c.first(ctx, &doc, at...); err != nil {
		return endpoints{}, fmt.Errorf("reading the transmitter's configuration: %w", err)
	}
	if doc.Issuer != c.issuer {
		return endpoints{}, errors.New("the transmitter's configuration names another issuer")
	}
	var (
		e   endpoints
		err error
	)
	if e.streams, err = safeURL(doc.Streams); err != nil {
		return endpoints{}, fmt.Errorf("the transmitter's configuration_endpoint: %w", err)
	}
	for _, more := range []struct {
		to *(*url.URL)
		is string
	}{{&e.status, doc.Status}, {&e.verify, doc.Verify}} {
		if more.is == "" {
			continue
		}
		if *more.to, err = safeURL(more.is); err != nil {
			return endpoints{}, fmt.Errorf("an endpoint of the transmitter: %w", err)
		}
	}
	return e, nil
}

// remote is a stream as its transmitter has it (SSF section 8.1.1).
type remote struct {
	ID        string   `json:"stream_id"`
	Issuer    string   `json:"iss"`
	Audience  oneOrAll `json:"aud"`
	Requested []string `json:"events_requested"`
	Delivered []string `json:"events_delivered"`
	Delivery  delivery `json:"delivery"`
	// The least number of seconds between two requests for a verification.
	MinVerification int64 `json:"min_verification_interval"`
}

type delivery struct {
	Method        string `json:"method"`
	EndpointURL   string `json:"endpoint_url,omitempty"`
	Authorization string `json:"authorization_header,omitempty"`
}

// oneOrAll is a text or a list of texts.
type oneOrAll []string

func (o *oneOrAll) UnmarshalJSON(b []byte) error {
	var one string
	if json.Unmarshal(b, &one) == nil {
		*o = oneOrAll{one}
		return nil
	}
	return json.Unmarshal(b, (*[]string)(o))
}

// wanted is what a stream is made and updated with.
type wanted struct {
	ID          string   `json:"stream_id,omitempty"`
	Requested   []string `json:"events_requested"`
	Delivery    delivery `json:"delivery"`
	Description string   `json:"description,omitempty"`
}

func (c *client) wanted(authorization string) wanted {
	w := wanted{
		Delivery:    delivery{Method: methods[c.cfg.Delivery], Authorization: authorization},
		Description: "Sallyport",
	}
	if c.cfg.Delivery == Push {
		w.Delivery.EndpointURL = c.cfg.EndpointURL
	}
	ignored := c.cfg.types()
	for _, t := range ssf.Ending() {
		if !slices.Contains(ignored, t) {
			w.Requested = append(w.Requested, t.URI())
		}
	}
	return w
}

// ours reports whether a stream is the one that w makes. Its client has no other, but one may be
// left over from before the way of delivery was changed.
func (w *wanted) ours(r remote) bool {
	return r.Delivery.Method == w.Delivery.Method &&
		(w.Delivery.EndpointURL == "" || r.Delivery.EndpointURL == w.Delivery.EndpointURL)
}

// lacks reports whether a stream was asked for less than w asks for.
func (w *wanted) lacks(r remote) bool {
	return slices.ContainsFunc(w.Requested, func(uri string) bool {
		return !slices.Contains(r.Requested, uri)
	})
}

func (c *client) ask(ctx context.Context, method string, at *url.URL, in, out any) error {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	return c.call(ctx, method, at, in, out, maxAnswer)
}

func (c *client) streams(ctx context.Context, e endpoints) (list []remote, err error) {
	err = c.ask(ctx, http.MethodGet, e.streams, nil, &list)
	if err != nil {
		return nil, fmt.Errorf("listing streams: %w", err)
	}
	return list, nil
}

// write makes a stream (POST) or updates one (PATCH), and returns it as it is then.
func (c *client) write(ctx context.Context, method string, e endpoints, w wanted) (remote, error) {
	var made remote
	if err := c.ask(ctx, method, e.streams, w, &made); err != nil {
		return remote{}, fmt.Errorf("writing the stream: %w", err)
	}
	return made, nil
}

// check refuses a stream that cannot be the one that was asked for.
func (r *remote) check(issuer string) error {
	switch {
	case r.ID == "" || len(r.ID) > 512:
		return errors.New("expected a stream with an id of up to 512 bytes")
	case r.Issuer != issuer:
		return errors.New("the stream is of another issuer")
	case r.Delivery.Method == methods[Poll]:
		if _, err := safeURL(r.Delivery.EndpointURL); err != nil {
			return fmt.Errorf("the stream's endpoint_url: %w", err)
		}
	}
	return nil
}

// enable makes sure that the stream is enabled, and reports whether it was not.
func (c *client) enable(ctx context.Context, e endpoints, id string) (was string, err error) {
	if e.status == nil {
		return "", nil
	}
	at := *e.status
	query := at.Query()
	query.Set("stream_id", id)
	at.RawQuery = query.Encode()
	var found struct {
		Status string `json:"status"`
	}
	if err := c.ask(ctx, http.MethodGet, &at, nil, &found); err != nil {
		return "", fmt.Errorf("asking for the stream's status: %w", err)
	}
	if found.Status == "enabled" {
		return "", nil
	}
	order := map[string]string{
		"stream_id": id, "status": "enabled", "reason": "wanted by its receiver",
	}
	if err := c.ask(ctx, http.MethodPost, e.status, order, nil); err != nil {
		return "", fmt.Errorf("enabling the stream: %w", err)
	}
	if !slices.Contains([]string{"paused", "disabled"}, found.Status) {
		return "not known", nil
	}
	return found.Status, nil
}

func (c *client) verify(ctx context.Context, e endpoints, id, state string) error {
	order := map[string]string{"stream_id": id, "state": state}
	if err := c.ask(ctx, http.MethodPost, e.verify, order, nil); err != nil {
		return fmt.Errorf("asking for a verification: %w", err)
	}
	return nil
}

const (
	maxPolled     = 100     // messages asked for at a time
	maxPollAnswer = 2 << 20 // their bytes
	pollTimeout   = 65 * time.Second
)

// poll is a poll's request (RFC 8936 section 2.2).
type poll struct {
	Ack         []string           `json:"ack,omitempty"`
	Errors      map[string]problem `json:"setErrs,omitempty"`
	Max         int                `json:"maxEvents"`
	Immediately bool               `json:"returnImmediately"`
}

type problem struct {
	Code        ssf.Code `json:"err"`
	Description string   `json:"description"`
}

type polled struct {
	Sets map[string]string `json:"sets"`
	More bool              `json:"moreAvailable"`
}

func (c *client) poll(ctx context.Context, at *url.URL, p poll) (polled, error) {
	ctx, cancel := context.WithTimeout(ctx, pollTimeout)
	defer cancel()
	var answer polled
	if err := c.call(ctx, http.MethodPost, at, p, &answer, maxPollAnswer); err != nil {
		return polled{}, fmt.Errorf("polling: %w", err)
	}
	if len(answer.Sets) > 10*maxPolled {
		return polled{}, fmt.Errorf("polling: expected at most %d messages, got more", 10*maxPolled)
	}
	return answer, nil
}
