package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/sallyport/sallyport/authz/gate"
	"github.com/sallyport/sallyport/internal/adminapi"
	"github.com/sallyport/sallyport/internal/config"
	"github.com/sallyport/sallyport/internal/ownfile"
	"github.com/sallyport/sallyport/internal/policy"
)

// statusUsage is the exit status of explain and test for what was not asked rightly: 1 is an answer.
const statusUsage = 2

// explain is what the flags of `sallyport explain` say.
type explain struct {
	config, gate, adminTokenFile string
	tokenFile, tokenIn, at, peer string
	policy                       string
	headers                      []string
	fetch, json                  bool
}

func newExplain() *cobra.Command {
	e := &explain{}
	cmd := &cobra.Command{
		Use:   "explain METHOD URL",
		Short: "Show why a gate lets a request pass or refuses it, step by step",
		Long: `Shows every step that a gate takes to a decision: how the path is read, which routes are
considered and which of them decides, what the token says and how it is judged, each thing that
the route asks for, what failed, and what would make it pass. It is the gate's own engine that
decides. The token itself is never shown, nor claims that no step went by.

By default the gate's configuration file is read on this machine. Keys are then those in files
(jwks_file, secret_file), and with --fetch also those that issuers publish. Revocations are not
looked at: there is no revocation log. With --gate a running gate is asked, by its own keys,
revocations and clock; it must have admin.token_file. It counts and records nothing of it.

What stands between proxy and gate is not part of it: which headers Envoy passes on, and the mark
that ext_authz.strip asks for.

Exit status: 0 when the request may pass or is a preflight that the gate answers, 1 when it is
refused, 2 when that cannot be known.`,
		Example: `  sallyport explain GET https://shop.example.com/api/orders/7 --token-file token --fetch
  sallyport explain POST /api/orders --header x-team=blue --config deploy/authz.yaml
  sallyport explain GET https://shop.example.com/ --gate http://127.0.0.1:9102 --token-file token`,
		Args: usage(cobra.ExactArgs(2)),
		RunE: func(cmd *cobra.Command, args []string) error {
			ctx, stop := untilSignal(cmd.Context())
			defer stop()
			return asUsage(e.run(ctx, cmd, args[0], args[1]))
		},
	}
	cmd.SetFlagErrorFunc(flagUsage)
	f := cmd.Flags()
	f.StringVar(&e.config, "config", "authz.yaml", "the gate's configuration file")
	f.StringVar(&e.gate, "gate", "",
		"base URL of a running gate's admin port, as http://127.0.0.1:9102: ask it, and read no file")
	f.StringVar(&e.adminTokenFile, "admin-token-file", "",
		"file with that gate's admin token, its admin.token_file (default: $"+adminTokenVariable+")")
	f.StringVar(&e.tokenFile, "token-file", "",
		"file with the token that the request carries, - for standard input; none: it carries none")
	f.StringVar(&e.tokenIn, "token-in", "",
		"where it stands, as cookie=session, authorization=Bearer, header=, websocket= or query= "+
			"(default: the first place in which the policy looks; "+
			"with --gate, authorization=Bearer)")
	f.StringVar(&e.policy, "policy", "",
		"the policy that the proxy's route names (policies.NAME); none: that of all other routes")
	f.StringArrayVar(&e.headers, "header", nil, "a header of the request, name=value; may be repeated")
	f.StringVar(&e.peer, "peer", "",
		"whose certificate the connection has, as spiffe://example.com/checkout")
	f.StringVar(&e.at, "at", "", "decide as at that time, as 2030-01-02T03:04:05Z (default: now)")
	f.BoolVar(&e.fetch, "fetch", false, "ask issuers for their keys (jwks_url, discovery)")
	f.BoolVar(&e.json, "json", false, "print JSON")
	return cmd
}

// usage gives what is wrong with arguments its exit status.
func usage(check cobra.PositionalArgs) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if err := check(cmd, args); err != nil {
			return asUsage(fmt.Errorf("%w: %s", err, cmd.UseLine()))
		}
		return nil
	}
}

// flagUsage is the error of a flag that was not given rightly.
func flagUsage(cmd *cobra.Command, err error) error { return asUsage(flagError(cmd, err)) }

// asUsage gives an error that has no exit status of its own that of a mistake.
func asUsage(err error) error {
	var own exitError
	if err == nil || errors.As(err, &own) {
		return err
	}
	return exitError{err, statusUsage}
}

func (e *explain) run(ctx context.Context, cmd *cobra.Command, method, address string) error {
	question, err := e.question(method, address)
	if err != nil {
		return err
	}
	carry, err := e.carry(cmd.InOrStdin())
	if err != nil {
		return err
	}
	answer, err := e.ask(ctx, cmd.ErrOrStderr(), question, carry)
	if err != nil {
		return err
	}
	if e.json {
		err = printJSON(cmd.OutOrStdout(), answer)
	} else {
		err = e.print(cmd.OutOrStdout(), method+" "+withoutSecrets(address), answer)
	}
	if err != nil || answer.Allow || answer.Reason == preflight {
		return err
	}
	return exitError{fmt.Errorf("refused: %d %s", answer.Status, printable(answer.Reason)), 1}
}

func (e *explain) question(method, address string) (*adminapi.Question, error) {
	q := &adminapi.Question{Method: method, Peer: e.peer, Policy: e.policy}
	var err error
	if q.Host, q.Path, err = target(address); err != nil {
		return nil, err
	}
	for _, line := range e.headers {
		name, value, ok := strings.Cut(line, "=")
		if !ok || name == "" {
			return nil, errors.New("expected --header name=value, got one without a name or without =")
		}
		q.Headers = append(q.Headers, adminapi.Header{Name: name, Value: value})
	}
	return q, nil
}

// carrying returns a question with its token, by the places in which one is looked for.
type carrying func(*adminapi.Question, places) *adminapi.Question

// carry returns what puts the token, if there is one, into a question: where --token-in says, or
// else at the first of the places.
func (e *explain) carry(stdin io.Reader) (carrying, error) {
	var at place
	var err error
	if e.tokenIn != "" {
		if at, err = parsePlace(e.tokenIn); err != nil {
			return nil, fmt.Errorf("--token-in: %w", err)
		}
	}
	if e.tokenFile == "" {
		return func(q *adminapi.Question, _ places) *adminapi.Question { return q }, nil
	}
	token, err := readCredential(stdin, e.tokenFile)
	if err != nil {
		return nil, err
	}
	return func(q *adminapi.Question, looked places) *adminapi.Question {
		if e.tokenIn == "" {
			at = looked.first()
		}
		return at.put(q, token)
	}, nil
}

// target takes an address apart and leaves its path as it is written: how it is read is for the
// engine to say.
func target(address string) (host, path string, err error) {
	rest := address
	for _, scheme := range []string{"https://", "http://"} {
		rest = strings.TrimPrefix(rest, scheme)
	}
	if rest == address && !strings.HasPrefix(address, "/") {
		return "", "", fmt.Errorf("expected a URL as https://shop.example.com/orders, or its path, got %q",
			withoutSecrets(address))
	}
	at := strings.IndexAny(rest, "/?")
	switch {
	case rest == address: // a path alone
		return "localhost", rest, nil
	case at < 0:
		return rest, "/", nil
	case rest[at] == '?':
		return rest[:at], "/" + rest[at:], nil
	}
	return rest[:at], rest[at:], nil
}

// withoutSecrets returns an address without what may be a secret in it: its query and fragment, the
// user and the password.
func withoutSecrets(address string) string {
	if end := strings.IndexAny(address, "?#"); end >= 0 {
		address = address[:end]
	}
	start := 0
	if at := strings.Index(address, "://"); at >= 0 {
		start = at + len("://")
	}
	authority, _, _ := strings.Cut(address[start:], "/")
	return address[:start] + address[start+strings.LastIndex(authority, "@")+1:]
}

// maxCredential is more than a gate reads of a token: that it is too long is the gate's to say.
const maxCredential = 32 << 10

func readCredential(stdin io.Reader, path string) (string, error) {
	in := stdin
	if path != "-" {
		f, err := os.Open(path)
		if err != nil {
			return "", fmt.Errorf("the token: %w", err)
		}
		defer f.Close()
		in = f
	}
	content, err := io.ReadAll(io.LimitReader(in, maxCredential+1))
	switch {
	case err != nil:
		return "", fmt.Errorf("the token: %w", err)
	case len(content) > maxCredential:
		return "", fmt.Errorf("the token: expected at most %d bytes, got more", maxCredential)
	}
	return string(ownfile.Secret(content)), nil
}

// ask has the question answered, by a running gate or by the file.
func (e *explain) ask(ctx context.Context, warnings io.Writer, q *adminapi.Question,
	carry carrying) (*adminapi.Explanation, error) {
	if e.gate != "" {
		return e.askGate(ctx, carry(q, placesOf(&policy.Needs{})))
	}
	if e.adminTokenFile != "" {
		return nil, errors.New("expected --gate beside --admin-token-file: a file needs no token")
	}
	at := time.Now()
	if e.at != "" {
		var err error
		if at, err = time.Parse(time.RFC3339, e.at); err != nil {
			return nil, fmt.Errorf("expected --at as 2030-01-02T03:04:05Z, got %q", e.at)
		}
	}
	c, err := gate.Load(config.Options{File: e.config, WithoutSecrets: true})
	if err != nil {
		return nil, err
	}
	off, err := gate.NewOffline(ctx, c, gate.OfflineOptions{At: at, Fetch: e.fetch})
	if err != nil {
		return nil, err
	}
	if off.Unread != nil {
		hint := ""
		if !e.fetch {
			hint = "\n--fetch asks issuers, --gate a running gate"
		}
		fmt.Fprintf(warnings, "warning: %s%s\n", printable(off.Unread.Error()), hint)
	}
	needs, _ := off.Needs(q) // of a policy that there is not, the engine says so
	answer := off.Explain(ctx, carry(q, placesOf(&needs)))
	return &answer, nil
}

func (e *explain) askGate(ctx context.Context, q *adminapi.Question) (*adminapi.Explanation, error) {
	switch {
	case e.at != "":
		return nil, errors.New("expected no --at beside --gate: a running gate goes by its own clock")
	case e.fetch:
		return nil, errors.New("expected no --fetch beside --gate: a running gate fetches keys itself")
	}
	api, err := e.openGate()
	if err != nil {
		return nil, err
	}
	answer := &adminapi.Explanation{}
	err = api.call(ctx, http.MethodPost, adminapi.ExplainPath, q, answer)
	return answer, err
}

func (e *explain) openGate() (*adminClient, error) {
	if err := checkBase("--gate", e.gate, "http://127.0.0.1:9102"); err != nil {
		return nil, err
	}
	path := cmp.Or(e.adminTokenFile, os.Getenv(adminTokenVariable))
	if path == "" {
		return nil, fmt.Errorf("expected --admin-token-file (or $%s): a gate tells whoever has the token "+
			"of its admin.token_file", adminTokenVariable)
	}
	token, err := readToken(path)
	if err != nil {
		return nil, err
	}
	return newAdminClient(e.gate, token, adminOf{
		daemon: "gate", url: "--gate",
		tokenFile: "--admin-token-file (or $" + adminTokenVariable + ")",
	}), nil
}

func (e *explain) print(out io.Writer, asked string, a *adminapi.Explanation) error {
	by := "by " + e.config
	if e.gate != "" {
		by = "by the gate at " + e.gate
	}
	fmt.Fprintf(out, "%s, %s\n\n", printable(asked), printable(by))
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	for _, s := range a.Steps {
		outcome := s.Outcome
		if outcome == "failed" {
			outcome = "FAILED"
		}
		fmt.Fprintf(w, "  %s\t%s\t%s\n", printable(outcome), printable(s.Name), printable(s.Text))
		if s.Remedy != "" {
			fmt.Fprintf(w, "  \t\tWhat would help: %s\n", printable(s.Remedy))
		}
	}
	if err := w.Flush(); err != nil {
		return err
	}
	verdict := "ALLOWED"
	switch {
	case a.Reason == preflight:
		verdict = fmt.Sprintf("ANSWERED: %d %s", a.Status, preflight)
	case !a.Allow:
		verdict = fmt.Sprintf("REFUSED: %d %s", a.Status, printable(a.Reason))
	}
	if a.Route != "" {
		verdict += ", by " + printable(a.Route)
	}
	_, err := fmt.Fprintf(out, "\n%s\n", verdict)
	return err
}
