package main

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/user"
	"strings"
	"time"

	"github.com/spf13/pflag"

	"github.com/sallyport/sallyport/internal/adminapi"
	"github.com/sallyport/sallyport/internal/config"
	"github.com/sallyport/sallyport/internal/ownfile"
	"github.com/sallyport/sallyport/internal/revocation"
)

// The environment variables that say where an issuer's admin API is and which file has its token.
// The issuer itself reads the second one as its setting admin.token_file.
const (
	adminURLVariable   = "SALLYPORT_ADMIN_URL"
	adminTokenVariable = "SALLYPORT_ADMIN_TOKEN_FILE"
)

const defaultAdminURL = "http://127.0.0.1:9101"

// adminFlags are the flags that say where an issuer's admin API is and which file has its token.
type adminFlags struct {
	url       string
	tokenFile string
}

func (a *adminFlags) bind(f *pflag.FlagSet) {
	f.StringVar(&a.url, "issuer-admin", "",
		"base URL of any issuer's admin port (default: $"+adminURLVariable+", then "+defaultAdminURL+")")
	f.StringVar(&a.tokenFile, "token-file", "",
		"file with the token of the admin API, the issuer's admin.token_file (default: $"+
			adminTokenVariable+")")
}

// open returns a client for the API; it sends nothing yet.
func (a *adminFlags) open() (*adminClient, error) {
	base := cmp.Or(a.url, os.Getenv(adminURLVariable), defaultAdminURL)
	if err := checkBase("--issuer-admin (or $"+adminURLVariable+")", base, defaultAdminURL); err != nil {
		return nil, err
	}
	path := cmp.Or(a.tokenFile, os.Getenv(adminTokenVariable))
	if path == "" {
		return nil, fmt.Errorf(
			"expected --token-file (or $%s): the admin API of an issuer wants the token of its "+
				"admin.token_file", adminTokenVariable)
	}
	token, err := readToken(path)
	if err != nil {
		return nil, err
	}
	return newAdminClient(base, token, adminOf{
		daemon: "issuer", url: "--issuer-admin (or $" + adminURLVariable + ")",
		tokenFile: "--token-file (or $" + adminTokenVariable + ")",
	}), nil
}

// adminOf is whose admin API is asked, and how the user says where it is, for errors.
type adminOf struct{ daemon, url, tokenFile string }

func newAdminClient(base string, token config.Secret, of adminOf) *adminClient {
	return &adminClient{
		base: strings.TrimSuffix(base, "/"), token: token, of: of,
		http: &http.Client{
			Timeout: 30 * time.Second,
			// A redirect must not send the token to another server.
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
	}
}

// checkBase checks the base URL of an admin port; setting says where it comes from.
func checkBase(setting, base, example string) error {
	at, err := url.Parse(base)
	if err != nil || at.Scheme != "http" && at.Scheme != "https" || at.Host == "" || at.User != nil ||
		at.RawQuery != "" {
		return fmt.Errorf("expected %s as %s, got %q", setting, example, base)
	}
	return nil
}

// maxToken bounds what is read as a token: a header must hold it.
const maxToken = 4096

func readToken(path string) (config.Secret, error) {
	f, err := os.Open(path)
	if err != nil {
		return config.Secret{}, fmt.Errorf("the admin token: %w", err)
	}
	defer f.Close()
	content, err := io.ReadAll(io.LimitReader(f, maxToken+1))
	if err != nil {
		return config.Secret{}, fmt.Errorf("the admin token: %w", err)
	}
	// Anything that no header can hold means that the file is not a
	// token's, and then its content must not be sent anywhere.
	token := string(ownfile.Secret(content))
	if token == "" || len(content) > maxToken ||
		strings.ContainsFunc(token, func(r rune) bool { return r <= ' ' || r >= 0x7f }) {
		return config.Secret{}, fmt.Errorf(
			"the admin token: expected one line of printable ASCII without blanks in %s", path)
	}
	return config.NewSecret(token), nil
}

// adminClient asks an admin API.
type adminClient struct {
	base  string
	token config.Secret
	of    adminOf
	http  *http.Client
}

// maxAdminAnswer bounds an answer: a thousand entries, each as long as an entry can be, with every
// character escaped.
const maxAdminAnswer = 16 << 20

// call sends body as JSON, unless it is nil, and reads the answer into dst, unless that is nil. Any
// status but 200 and 202 is an error.
func (a *adminClient) call(ctx context.Context, method, path string, body, dst any) error {
	var content io.Reader
	if body != nil {
		text, err := json.Marshal(body)
		if err != nil {
			return err
		}
		content = bytes.NewReader(text)
	}
	request, err := http.NewRequestWithContext(ctx, method, a.base+path, content)
	if err != nil {
		return err
	}
	request.Header.Set("Authorization", "Bearer "+a.token.Reveal())
	if body != nil {
		request.Header.Set("Content-Type", "application/json")
	}
	response, err := a.http.Do(request)
	if err != nil {
		return fmt.Errorf("the %s's admin API: %w; %s says where it is", a.of.daemon, err, a.of.url)
	}
	defer response.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(response.Body, maxAdminAnswer+1))
	if err != nil {
		return fmt.Errorf("the %s's admin API: %w", a.of.daemon, err)
	}
	// The status before the size: of a refusal that is too long, the status still helps.
	if response.StatusCode != http.StatusOK && response.StatusCode != http.StatusAccepted {
		text := a.of.problem(response.StatusCode, answer)
		if response.StatusCode == http.StatusServiceUnavailable {
			text += " " + a.base + "/readyz says what the " + a.of.daemon + " lacks: most often, Redis " +
				"cannot be reached."
		}
		return &adminError{a.of.daemon, response.StatusCode, text}
	}
	if len(answer) > maxAdminAnswer {
		return fmt.Errorf("the %s's admin API: expected an answer of at most %d bytes, got more",
			a.of.daemon, maxAdminAnswer)
	}
	if dst == nil {
		return nil
	}
	if err := json.Unmarshal(answer, dst); err != nil {
		return fmt.Errorf("the %s's admin API: %w", a.of.daemon, err)
	}
	return nil
}

// adminError is a refusal of the admin API.
type adminError struct {
	daemon string
	status int
	text   string
}

func (e *adminError) Error() string {
	return fmt.Sprintf("the %s's admin API answered %d: %s", e.daemon, e.status, e.text)
}

// problem returns what a refusal means, for people.
func (of adminOf) problem(status int, answer []byte) string {
	var said adminapi.Problem
	switch {
	case status == http.StatusUnauthorized:
		return fmt.Sprintf("expected the %s's own admin token: what %s names is not the %s's "+
			"admin.token_file", of.daemon, of.tokenFile, of.daemon)
	// A 404 without a reason of its own comes from a port that has no admin API.
	case json.Unmarshal(answer, &said) == nil && said.Description != "" &&
		!strings.HasPrefix(said.Description, adminapi.NothingHere):
		return printable(said.Description)
	case status == http.StatusNotFound:
		return "this is not the admin port of a running " + of.daemon +
			", or its admin.token_file is not set"
	}
	return http.StatusText(status)
}

// refused reports whether err is the API's refusal with this status.
func refused(err error, status int) bool {
	var e *adminError
	return errors.As(err, &e) && e.status == status
}

// waiting adds to a path how long to wait for the gates.
func waiting(path string, wait time.Duration) string {
	if wait <= 0 {
		return path
	}
	return path + "?wait=" + url.QueryEscape(wait.String())
}

// order is who orders a revocation and why, for the log and the audit lines.
type order struct{ reason, actor string }

func (o *order) bind(f *pflag.FlagSet, reason string) {
	f.StringVar(&o.reason, "reason", reason, "why: a-z, 0-9 and _; for the log and the audit lines")
	f.StringVar(&o.actor, "actor", "",
		"who, for the log and the audit lines; nobody checks it (default: your name on this machine)")
}

// check returns what is wrong with an order, before anything is changed.
func (o *order) check() error {
	r := revocation.Request{
		Kind: revocation.KindIss, Issuer: "any", Reason: o.reason, Actor: o.by(),
	}
	if err := r.Validate(); err != nil {
		return fmt.Errorf("--reason, --actor: %w", err)
	}
	return nil
}

// by returns who orders it.
func (o *order) by() string { return cmp.Or(o.actor, whoami()) }

// whoami is the user's name on this machine, as far as it can be known.
func whoami() string {
	if u, err := user.Current(); err == nil && u.Username != "" {
		return u.Username
	}
	return "operator"
}

// acknowledged describes a revocation that is stored, and who has applied it.
func acknowledged(a adminapi.Revoked) string {
	text := fmt.Sprintf("entry %d of the revocation log", a.Seq)
	if a.Applied != "" {
		text += ", applied by " + printable(a.Applied) + " gates"
	}
	if len(a.Behind) > 0 {
		text += "; not yet by " + printable(strings.Join(a.Behind, ", ")) +
			", each of which refuses everything unless it catches up within max_staleness"
	}
	return text
}

// everywhere is nil when every live gate has applied a revocation that was waited for, and an error
// with a status of its own when it is stored and some gate has not.
func everywhere(a adminapi.Revoked) error {
	if len(a.Behind) == 0 {
		return nil
	}
	return exitError{errors.New("stored, but not applied by every live gate yet"), statusNotEverywhere}
}
