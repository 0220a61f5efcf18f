package main

import (
	"context"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/sallyport/sallyport/authz/gate"
	"github.com/sallyport/sallyport/internal/adminapi"
	"github.com/sallyport/sallyport/internal/config"
	"github.com/sallyport/sallyport/internal/keyset"
	"github.com/sallyport/sallyport/internal/policy"
	"github.com/sallyport/sallyport/internal/token"
)

// policyTest is a file of tests of a policy.
type policyTest struct {
	Config config.Path    `yaml:"config"` // a gate's configuration file
	Policy *policy.Config `yaml:"policy"` // or a policy alone, with an issuer that is made for it
	Now    string         `yaml:"now"`    // the time of all tests, RFC 3339; "": that of the run
	Tests  []policyCase   `yaml:"tests"`
}

// policyCase is a request and what is to become of it.
type policyCase struct {
	Request string            `yaml:"request"` // GET https://shop.example.com/orders/7
	Issuer  string            `yaml:"issuer"`  // whose token it carries; the first one's unless said
	Claims  config.Value      `yaml:"claims"`  // of the token; none, or null: there is no token
	TokenIn string            `yaml:"token_in"`
	Policy  string            `yaml:"policy"` // one of policies; "": that of all other routes
	Headers map[string]string `yaml:"headers"`
	Peer    string            `yaml:"peer"`
	Want    string            `yaml:"want"` // allowed, or the status and the reason of the refusal
}

// Validate checks that there is something to be tested.
func (p policyTest) Validate() error {
	switch {
	case (p.Config == "") == (p.Policy == nil):
		return config.At("", "expected config, the path of a gate's configuration, or policy, one of both")
	case len(p.Tests) == 0:
		return config.At("tests", "expected at least one test")
	case p.Now != "":
		if _, err := time.Parse(time.RFC3339, p.Now); err != nil {
			return config.At("now", "expected a time as \"2030-01-02T03:04:05Z\", got %q", p.Now)
		}
	}
	return nil
}

// Validate checks what a test says by itself.
func (c policyCase) Validate() error {
	method, address, ok := strings.Cut(c.Request, " ")
	if !ok || method == "" {
		return config.At("request", "expected a method and a URL, as GET https://shop.example.com/orders, "+
			"got %q", withoutSecrets(c.Request))
	}
	if _, _, err := target(address); err != nil {
		return config.At("request", "%w", err)
	}
	if !c.canBe() {
		return config.At("want", "expected allowed, a status and a reason as 403 insufficient_role, or "+
			"204 preflight, got %q", c.Want)
	}
	if !c.hasToken() && c.Issuer != "" {
		return config.At("issuer", "expected claims beside it: without them there is no token")
	}
	if c.TokenIn != "" {
		if !c.hasToken() {
			return config.At("token_in", "expected claims beside it: without them there is no token")
		}
		if _, err := parsePlace(c.TokenIn); err != nil {
			return config.At("token_in", "%w", err)
		}
	}
	return nil
}

func (c *policyCase) hasToken() bool { return len(c.Claims) > 0 && string(c.Claims) != "null" }

// canBe reports whether some answer is as wanted.
func (c *policyCase) canBe() bool {
	status, reason := c.want()
	switch status {
	case "allowed":
		return reason == ""
	case "204":
		return reason == preflight
	}
	code, err := strconv.Atoi(status)
	return err == nil && code >= 300 && code <= 599 && token.Reason(reason).Known()
}

// want returns the status, and behind it the reason.
func (c *policyCase) want() (status, reason string) {
	status, reason, _ = strings.Cut(c.Want, " ")
	if status == "200" {
		status = "allowed"
	}
	return status, reason
}

func newTest() *cobra.Command {
	var junit string
	cmd := &cobra.Command{
		Use:   "test FILE...",
		Short: "Test a policy: ask a gate's engine each request of a table, and compare the answers",
		Long: `Asks a gate's own engine each request of a file, and tells of those that are answered otherwise
than the file says, each with its line. Tokens are made for the run, by keys that nobody else
has: no issuer is asked, and nothing but the file and the configuration is read.

  config: authz.yaml                   # or policy: {...}, with an issuer that is made for it
  now: "2030-01-02T03:04:05Z"          # the time of all tests; that of the run unless said
  tests:
    - request: GET https://shop.example.com/api/orders/7
      claims: {roles: [clerk]}         # none: the request carries no token; {}: a good one
      want: allowed
    - request: POST /api/orders/7/refund
      claims: {roles: [clerk], auth_time: 11m ago, sub: null}   # null: the token has none
      issuer: https://id.example.com   # whose token: the configuration's first issuer's unless said
      headers: {x-team: blue}
      peer: spiffe://example.com/checkout
      want: 401 login_too_old
    - request: GET /exports/7
      claims: {}
      token_in: query=access_token     # or cookie=, header=, authorization=, websocket=: where it
                                       # stands; the first place of the policy unless said
      policy: partner                  # one of policies; the policy of all other routes unless said
      want: allowed                    # or a status and a reason, or 204 preflight

Exit status: 0 when all are as they say, 1 when one is not, 2 when that cannot be known.`,
		Args: usage(cobra.MinimumNArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			return asUsage(runTests(cmd.Context(), cmd.OutOrStdout(), args, junit))
		},
	}
	cmd.SetFlagErrorFunc(flagUsage)
	cmd.Flags().StringVar(&junit, "junit", "", "also write the results to this file, as JUnit's XML")
	return cmd
}

// tested is a case that was asked.
type tested struct {
	name, place string
	problem     string // "" when it is as it says
}

func runTests(ctx context.Context, out io.Writer, files []string, junit string) error {
	var report junitReport
	total, wrong := 0, 0
	for _, file := range files {
		all, err := runFile(ctx, file)
		if err != nil {
			return err
		}
		suite := junitSuite{Name: file, Tests: len(all)}
		for _, one := range all {
			total++
			c := junitCase{Name: one.name, Class: file}
			if one.problem != "" {
				wrong++
				suite.Failures++
				c.Failure = &junitFailure{Message: one.place + ": " + one.problem}
				fmt.Fprintf(out, "%s: %s: %s\n", one.place, printable(one.name), printable(one.problem))
			}
			suite.Cases = append(suite.Cases, c)
		}
		report.Suites = append(report.Suites, suite)
	}
	if junit != "" {
		if err := report.write(junit); err != nil {
			return err
		}
	}
	if wrong > 0 {
		return exitError{fmt.Errorf("%d of %d requests are answered otherwise", wrong, total), 1}
	}
	_, err := fmt.Fprintf(out, "ok: %d requests\n", total)
	return err
}

// runFile asks each request of a file.
func runFile(ctx context.Context, file string) ([]tested, error) {
	var tests policyTest
	lines := map[string]int{}
	if err := config.Load(&tests, config.Options{File: file, Lines: lines}); err != nil {
		return nil, err
	}
	c, err := tests.configuration()
	if err != nil {
		return nil, err
	}
	now := time.Now()
	if tests.Now != "" {
		if now, err = time.Parse(time.RFC3339, tests.Now); err != nil {
			return nil, err
		}
	}
	issuers, err := newTrial(c, now)
	if err != nil {
		return nil, err
	}
	off, err := gate.NewTrial(c, issuers, now)
	if err != nil {
		return nil, err
	}
	var all []tested
	for i := range tests.Tests {
		one := &tests.Tests[i]
		place := fmt.Sprintf("%s:%d", file, lines[fmt.Sprintf("tests[%d]", i)])
		question, err := one.question(off, issuers)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", place, err)
		}
		answer := off.Explain(ctx, question)
		all = append(all, tested{withoutSecrets(one.Request), place, one.compare(&answer)})
	}
	return all, nil
}

// configuration is the one that is named, or one with the policy that stands in the file.
func (p *policyTest) configuration() (*gate.Config, error) {
	if p.Config != "" {
		return gate.Load(config.Options{File: string(p.Config), WithoutSecrets: true})
	}
	c := gate.DefaultConfig()
	c.Policy = *p.Policy
	profile := token.DefaultProfile()
	profile.Issuer, profile.Audiences = "https://issuer.example.com", []string{"things"}
	c.Issuers = []keyset.Config{{Profile: profile}}
	return &c, nil
}

func (c *policyCase) question(off *gate.Offline, issuers *trial) (*adminapi.Question, error) {
	method, address, _ := strings.Cut(c.Request, " ")
	q := &adminapi.Question{Method: method, Peer: c.Peer, Policy: c.Policy}
	var err error
	if q.Host, q.Path, err = target(address); err != nil {
		return nil, err
	}
	for name, value := range c.Headers {
		q.Headers = append(q.Headers, adminapi.Header{Name: name, Value: value})
	}
	needs, ok := off.Needs(q)
	if !ok {
		return nil, fmt.Errorf("expected one of the configuration's policies, got %q", c.Policy)
	}
	if !c.hasToken() {
		return q, nil
	}
	var claims map[string]json.RawMessage
	if err := json.Unmarshal(c.Claims, &claims); err != nil {
		return nil, errors.New("expected claims as {name: value}")
	}
	made, err := issuers.token(c.Issuer, claims)
	if err != nil {
		return nil, err
	}
	at := placesOf(&needs).first()
	if c.TokenIn != "" {
		if at, err = parsePlace(c.TokenIn); err != nil {
			return nil, err
		}
	}
	return at.put(q, made), nil
}

// compare returns in what the answer is not as wanted, and why it is as it is; "" when it is.
func (c *policyCase) compare(a *adminapi.Explanation) string {
	got := "allowed"
	if !a.Allow {
		got = fmt.Sprintf("%d %s", a.Status, a.Reason)
	}
	status, reason := c.want()
	if wanted := strings.TrimSpace(status + " " + reason); wanted != got {
		text := fmt.Sprintf("expected %s, got %s", wanted, got)
		if a.Route != "" {
			text += " by " + a.Route
		}
		for _, s := range a.Steps {
			if s.Outcome == "failed" {
				text += "; " + s.Text
			}
		}
		return text
	}
	return ""
}

// junitReport is what CI systems read.
type junitReport struct {
	XMLName xml.Name     `xml:"testsuites"`
	Suites  []junitSuite `xml:"testsuite"`
}

type junitSuite struct {
	Name     string      `xml:"name,attr"`
	Tests    int         `xml:"tests,attr"`
	Failures int         `xml:"failures,attr"`
	Cases    []junitCase `xml:"testcase"`
}

type junitCase struct {
	Name    string        `xml:"name,attr"`
	Class   string        `xml:"classname,attr"`
	Failure *junitFailure `xml:"failure"`
}

type junitFailure struct {
	Message string `xml:"message,attr"`
}

func (r *junitReport) write(file string) error {
	text, err := xml.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(file, append([]byte(xml.Header), append(text, '\n')...), 0o644)
}
