package door

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/sallyport/sallyport/authz"
	"github.com/sallyport/sallyport/authz/check"
	"github.com/sallyport/sallyport/internal/config"
	"github.com/sallyport/sallyport/internal/listen"
)

// Config is the setting `ext_authz` of a gate: what Envoy may ask for, and how answers are made.
type Config struct {
	listen.Config  `yaml:",inline"`
	MaxMessage     int                `yaml:"max_message" usage:"greatest size of a check request in bytes"`
	MaxStreams     uint32             `yaml:"max_streams" usage:"most checks at a time on one connection"`
	MaxConnections int                `yaml:"max_connections" usage:"most connections at a time"`
	KeyWait        time.Duration      `yaml:"key_wait" usage:"how long a check may wait for a key that the gate does not have"`
	KeyWaiters     int                `yaml:"key_waiters" usage:"most checks that wait for keys at a time"`
	Strip          string             `yaml:"strip" usage:"who removes misspelt identity headers: envoy (and says so in each check), or the gate: all (those with _ and . whether seen or not) or seen (in the check)"`
	KeepOverrides  bool               `yaml:"keep_overrides" usage:"pass on X-HTTP-Method-Override, X-Original-URL and the like"`
	Streams        check.StreamConfig `yaml:"streams"`
}

// The values of Config.Strip.
const (
	StripEnvoy = "envoy"
	StripSeen  = "seen"
	StripAll   = "all"
)

// Notes returns what the author of the configuration may not have meant, a line each.
func (c Config) Notes() []string {
	const instead = "if Envoy removes them as in deploy/config/envoy.yaml, write " +
		"`ext_authz: {strip: envoy}`"
	switch c.Strip {
	case StripAll:
		return []string{"ext_authz.strip is all: no Envoy is said to remove misspelt identity headers, " +
			"so each answer names them all, and a check costs half as much again: " + instead}
	case StripSeen:
		return []string{
			"ext_authz.strip is seen: misspelt identity headers that Envoy does not show to " +
				"the gate are removed by nobody: " + instead,
		}
	}
	return nil
}

// HeaderNotes returns what Envoy has to be told of the headers that the policy makes of claims, and
// of those that it goes by.
func (c Config) HeaderNotes(claimHeaders, matched []string) (notes []string) {
	var patterns, names []string
	for _, name := range claimHeaders {
		if c.Strip == StripEnvoy && !strings.HasPrefix(name, authz.IdentityPrefix) {
			patterns = append(patterns, strings.ReplaceAll(name, "-", "[^a-z0-9]"))
			names = append(names, name)
		}
	}
	if len(names) > 0 {
		notes = append(
			notes,
			fmt.Sprintf("the policy makes headers of claims, and until Envoy says that it"+
				" removes what clients send under their names, every request is refused (not_stripped): in"+
				" early_header_mutation_extensions, add {remove_on_match: {key_matcher: {safe_regex: {regex:"+
				" \"%s\"}}}} before the mark, and make its value \"%s,%s\"", strings.Join(patterns, "|"),
				check.Stripped, strings.Join(names, ",")),
		)
	}
	// What deploy/config/envoy.yaml shows to the gate anyway.
	hidden := slices.DeleteFunc(slices.Clone(matched), func(name string) bool {
		return name == "user-agent" || name == "x-request-id" || name == "connection"
	})
	if len(hidden) > 0 {
		notes = append(
			notes,
			fmt.Sprintf("the policy goes by headers that Envoy has to show to the gate: have"+
				" %s in allowed_headers, or no request has them here", strings.Join(hidden, ", ")),
		)
	}
	return notes
}

// DefaultConfig returns what suits one Envoy or a few hundred.
func DefaultConfig() Config {
	return Config{
		Config:         listen.DefaultConfig(),
		MaxMessage:     256 << 10,
		MaxStreams:     2048,
		MaxConnections: 1024,
		KeyWait:        150 * time.Millisecond,
		KeyWaiters:     256,
		Strip:          StripAll,
		Streams:        check.DefaultStreamConfig(),
	}
}

// Validate checks the bounds.
func (c Config) Validate() error {
	var errs []error
	expect := func(ok bool, path, expected string, got any) {
		if !ok {
			errs = append(errs, config.At(path, "expected %s, got %v", expected, got))
		}
	}
	expect(c.MaxMessage >= 64<<10 && c.MaxMessage <= 16<<20, "max_message", "64 KiB to 16 MiB",
		c.MaxMessage)
	expect(c.MaxStreams >= 1 && c.MaxStreams <= 1<<20, "max_streams", "1 to 1048576", c.MaxStreams)
	expect(c.MaxConnections >= 1, "max_connections", "1 or more", c.MaxConnections)
	// Longer than any client waits would only keep places from others.
	expect(c.KeyWait >= 0 && c.KeyWait <= 10*time.Second, "key_wait", "0s to 10s", c.KeyWait)
	expect(c.KeyWaiters >= 0, "key_waiters", "0 or more", c.KeyWaiters)
	expect(c.Strip == StripEnvoy || c.Strip == StripSeen || c.Strip == StripAll, "strip",
		"envoy, seen or all", strconv.Quote(c.Strip))
	return errors.Join(append(errs, c.Config.Validate())...)
}
