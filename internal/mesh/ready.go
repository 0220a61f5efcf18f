package mesh

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
)

// prober asks admin ports. It keeps no connection to a child that may exit.
var prober = &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}

// answersOK returns a check that succeeds once url answers 200.
func answersOK(url string) func(context.Context) error {
	return func(ctx context.Context) error {
		_, err := get(ctx, url)
		return err
	}
}

// get returns the body of a 200 answer.
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

// healthyGates returns a check that succeeds once Envoy takes all gates to be healthy; before that
// it may answer 503 itself.
func healthyGates(envoyAdmin string, gates int) func(context.Context) error {
	want := fmt.Sprintf("cluster.authz.membership_healthy: %d", gates)
	return func(ctx context.Context) error {
		got, err := get(ctx, envoyAdmin+"/stats?filter=^cluster\\.authz\\.membership_healthy$")
		if err == nil && got != want {
			err = fmt.Errorf("expected of Envoy %s, got %s", want, got)
		}
		return err
	}
}
