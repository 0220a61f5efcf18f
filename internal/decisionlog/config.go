package decisionlog

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/sallyport/sallyport/internal/config"
	"github.com/sallyport/sallyport/internal/ownfile"
	"github.com/sallyport/sallyport/internal/token"
)

// Config is the setting `decision_log` of a gate.
type Config struct {
	Enabled       bool        `yaml:"enabled" usage:"write a line for each refusal, and for a sample of what is allowed"`
	File          config.Path `yaml:"file" usage:"file that the lines are appended to; empty: standard output"`
	SampleAllowed float64     `yaml:"sample_allowed" usage:"share of the allowed requests that have a line: 0 for none, 1 for all"`
	Claims        []string    `yaml:"claims" usage:"claims of genuine tokens that stand in a line: names, or paths into nested claims as /realm_access/roles"`
	Headers       []string    `yaml:"headers" usage:"request headers that stand in a line, in small letters"`
	Rate          float64     `yaml:"rate" usage:"lines a second for refusals of one reason, and for what is allowed"`
	Burst         int         `yaml:"burst" usage:"and at once"`
}

// DefaultConfig has no log, and limits for one that is enabled.
func DefaultConfig() Config { return Config{Rate: 200, Burst: 1000} }

const maxNames = 32 // of claims, and of headers

// secretHeaders are never logged. A policy may have tokens in others: those are left out as well.
var secretHeaders = []string{
	"authorization", "proxy-authorization", "cookie", "x-access-token", "sec-websocket-protocol",
	"x-sallyport-stripped",
}

// Validate checks the bounds and the names.
func (c Config) Validate() error {
	var errs []error
	if !(c.SampleAllowed >= 0 && c.SampleAllowed <= 1) {
		errs = append(errs, config.At("sample_allowed", "expected a share from 0 to 1, got %v",
			c.SampleAllowed))
	}
	// A flood that a stranger makes has as many lines, of each reason that he can bring about.
	if !(c.Rate >= 0.1 && c.Rate <= 100_000) {
		errs = append(errs, config.At("rate", "expected 0.1 to 100000 lines a second, got %v", c.Rate))
	}
	if c.Burst < 1 || c.Burst > 1_000_000 {
		errs = append(errs, config.At("burst", "expected 1 to 1000000, got %d", c.Burst))
	}
	for name, list := range map[string][]string{"claims": c.Claims, "headers": c.Headers} {
		if len(list) > maxNames {
			errs = append(errs, config.At(name, "expected at most %d, got %d", maxNames, len(list)))
		}
	}
	for i, name := range c.Claims {
		at := fmt.Sprintf("claims[%d]", i)
		if err := token.CheckClaimName(name); err != nil {
			errs = append(errs, config.At(at, "%w", err))
		} else if slices.Contains(c.Claims[:i], name) {
			errs = append(errs, config.At(at, "%s is there twice", name))
		}
	}
	for i, name := range c.Headers {
		at := fmt.Sprintf("headers[%d]", i)
		switch {
		case name == "" || strings.Trim(name, "abcdefghijklmnopqrstuvwxyz0123456789-_.") != "":
			errs = append(errs, config.At(at,
				"expected a header's name in small letters, as x-team, got %q", name))
		case slices.Contains(secretHeaders, name):
			errs = append(errs, config.At(at, "%s carries secrets, and is never logged", name))
		case slices.Contains(c.Headers[:i], name):
			errs = append(errs, config.At(at, "%s is there twice", name))
		}
	}
	return errors.Join(errs...)
}

// Check returns what would keep the file from being written. It writes nothing.
func (c Config) Check() error {
	if !c.Enabled || c.File == "" {
		return nil
	}
	if err := checkFile(string(c.File)); err != nil {
		return fmt.Errorf("decision_log.file: %w", err)
	}
	if why := ownfile.Writable(string(c.File)); why != nil {
		return fmt.Errorf("decision_log.file: %w", why)
	}
	return nil
}
