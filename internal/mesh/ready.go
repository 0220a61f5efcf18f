package mesh

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"
)

// readyWithin is how long a child may take until it is ready.
const readyWithin = 60 * time.Second

// probeEvery is how often a child is asked whether it is ready, probeWithin how long it may think
// about the answer.
const (
	probeEvery  = 25 * time.Millisecond
	probeWithin = 2 * time.Second
)

// awaitReady returns nil once the child is ready; an error when it has ended, is not ready in time,
// or ctx has ended.
func (c *Child) awaitReady(ctx context.Context) error {
	c.mu.Lock()
	l := c.now
	c.mu.Unlock()
	late := time.NewTimer(readyWithin)
	defer late.Stop()
	for {
		err := probe(ctx, c.ready)
		if err == nil {
			return nil
		}
		select {
		case <-l.gone:
			return c.obituary(l)
		case <-late.C:
			return fmt.Errorf("mesh: %s is not ready after %v: %w%s", c.name, readyWithin, err, c.tail(l))
		case <-ctx.Done():
			return fmt.Errorf("mesh: waiting for %s to be ready: %w (it says: %v)", c.name,
				context.Cause(ctx), err)
		case <-time.After(probeEvery):
		}
	}
}

func probe(ctx context.Context, ready func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, probeWithin)
	defer cancel()
	return ready(ctx)
}

// prober asks admin ports. It keeps no connection, so that a child's end leaves nothing behind
// here.
var prober = &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}

// answersOK is ready once url answers 200.
func answersOK(url string) func(context.Context) error {
	return func(ctx context.Context) error {
		_, err := get(ctx, url)
		return err
	}
}

// get gives the body of a 200 answer.
func get(ctx context.Context, url string) (string, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return "", err
	}
	response, err := prober.Do(request)
	if err != nil {
		return "", err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(io.LimitReader(response.Body, 64<<10))
	if err != nil {
		return "", err
	}
	text := strings.TrimSpace(string(body))
	if response.StatusCode != http.StatusOK {
		return "", fmt.Errorf("%s answered %s: %s", url, response.Status, text)
	}
	return text, nil
}

// healthyGates is ready once Envoy holds all gates to be healthy; before, it might answer 503 in
// place of one of them.
func healthyGates(envoyAdmin string, gates int) func(context.Context) error {
	want := fmt.Sprintf("cluster.authz.membership_healthy: %d", gates)
	return func(ctx context.Context) error {
		got, err := get(ctx, envoyAdmin+"/stats?filter=^cluster\\.authz\\.membership_healthy$")
		if err == nil && got != want {
			err = errors.New("Envoy says " + got + ", expected " + want)
		}
		return err
	}
}
