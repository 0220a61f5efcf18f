package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/sallyport/sallyport/internal/config"
	"github.com/sallyport/sallyport/internal/keyring"
)

// keyRevocation is the emergency: a key has been stolen.
type keyRevocation struct {
	ring      *ringFlags
	admin     string
	tokenFile string
	wait      time.Duration
	removed   bool
}

func (r *ringFlags) revoke() *cobra.Command {
	k := &keyRevocation{ring: r}
	cmd := &cobra.Command{
		Use:   "revoke KID",
		Short: "For a stolen key: take it out of the ring and revoke everything that it signed, in one step",
		Long: `Takes a key out of the ring, as "remove" does, and has an issuer write the key into the revocation log, so that every gate
refuses what it signed at once and forgets the key. Its users refresh or log in again. Nothing is changed unless the issuer's admin API
answers and the ring has the key. Should the revocation then not be stored, the error says how to try it again.`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return k.run(cmd.Context(), cmd.OutOrStdout(), args[0])
		},
	}
	f := cmd.Flags()
	f.StringVar(&k.admin, "admin", "http://127.0.0.1:9101", "base URL of an issuer's admin port")
	f.StringVar(&k.tokenFile, "admin-token-file", "", "file with the token of the admin API, the issuer's admin.token")
	f.DurationVar(&k.wait, "wait", 5*time.Second, "how long to wait for the gates to have applied it")
	f.BoolVar(&k.removed, "removed", false, "the key is out of the ring already: revoke it only")
	return cmd
}

func (k *keyRevocation) run(ctx context.Context, out io.Writer, kid string) error {
	api, err := newAdminAPI(k.admin, k.tokenFile)
	if err != nil {
		return err
	}
	if err := api.call(ctx, http.MethodGet, "/admin/status", nil, nil); err != nil {
		return fmt.Errorf("nothing was changed: %w", err)
	}
	if !k.removed {
		key, err := k.ring.folder().Remove(ctx, kid)
		if err != nil {
			return fmt.Errorf("nothing was changed: %w (--removed revokes a key that is in the ring no more)", err)
		}
		fmt.Fprintf(out, "removed the %s %s key %s from %s\n", key.State, key.Use, kid, k.ring.dir)
		if key.Use == keyring.Refresh { // it has signed no token, and no refresh token that it made is known any more
			return nil
		}
	}
	return k.revoke(ctx, out, api, kid)
}

// revocationAnswer is what the admin API says of a revocation that is stored.
type revocationAnswer struct {
	Seq     uint64   `json:"seq"`
	Applied string   `json:"applied"`
	Behind  []string `json:"behind"`
}

// revoke has the key written into the log; the issuer answers only once that is stored. A failed attempt is repeated: a second
// entry of one key does no harm.
func (k *keyRevocation) revoke(ctx context.Context, out io.Writer, api *adminAPI, kid string) error {
	path := "/admin/revocations"
	if k.wait > 0 {
		path += "?wait=" + url.QueryEscape(k.wait.String())
	}
	var got revocationAnswer
	err := errors.New("not tried")
	for attempt := 0; attempt < 3 && err != nil && ctx.Err() == nil; attempt++ {
		got = revocationAnswer{}
		err = api.call(ctx, http.MethodPost, path, map[string]string{"kind": "kid", "value": kid, "reason": "key_revoked"}, &got)
	}
	if err != nil {
		return fmt.Errorf("key %s is out of the ring, but its revocation is not acknowledged, and gates may still accept what it signed; run the same command with --removed: %w", kid, err)
	}
	fmt.Fprintf(out, "revoked everything that it signed: entry %d of the revocation log", got.Seq)
	if got.Applied != "" {
		fmt.Fprintf(out, ", applied by %s gates", got.Applied)
	}
	if len(got.Behind) > 0 {
		fmt.Fprintf(out, "; not yet by %s, each of which refuses everything unless it catches up within max_staleness", strings.Join(got.Behind, ", "))
	}
	_, err = fmt.Fprintln(out)
	return err
}

// adminAPI is an issuer's admin API.
type adminAPI struct {
	base  string
	token config.Secret
	http  *http.Client
}

func newAdminAPI(base, tokenFile string) (*adminAPI, error) {
	at, err := url.Parse(base)
	if err != nil || at.Scheme != "http" && at.Scheme != "https" || at.Host == "" {
		return nil, fmt.Errorf("expected --admin as http://127.0.0.1:9101, got %q", base)
	}
	if tokenFile == "" {
		return nil, errors.New("expected --admin-token-file: the issuer's admin API needs its admin.token")
	}
	content, err := os.ReadFile(tokenFile)
	if err != nil {
		return nil, err
	}
	return &adminAPI{
		base:  strings.TrimSuffix(base, "/"),
		token: config.NewSecret(strings.TrimSuffix(strings.TrimSuffix(string(content), "\n"), "\r")),
		http: &http.Client{
			Timeout:       30 * time.Second,
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
	}, nil
}

const maxAdminAnswer = 1 << 20

// call sends body as JSON, unless it is nil, and reads the answer into dst, unless that is nil. Any status but 200 and 202 is an error.
func (a *adminAPI) call(ctx context.Context, method, path string, body, dst any) error {
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
		return fmt.Errorf("the issuer's admin API: %w", err)
	}
	defer response.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(response.Body, maxAdminAnswer))
	if err != nil {
		return fmt.Errorf("the issuer's admin API: %w", err)
	}
	if response.StatusCode != http.StatusOK && response.StatusCode != http.StatusAccepted {
		return fmt.Errorf("the issuer's admin API answered %d: %s", response.StatusCode, adminProblem(response.StatusCode, answer))
	}
	if dst == nil {
		return nil
	}
	if err := json.Unmarshal(answer, dst); err != nil {
		return fmt.Errorf("the issuer's admin API: %w", err)
	}
	return nil
}

func adminProblem(status int, answer []byte) string {
	var said struct {
		Description string `json:"error_description"`
	}
	switch {
	case status == http.StatusNotFound:
		return "there is none unless admin.token is configured"
	case json.Unmarshal(answer, &said) == nil && said.Description != "":
		return said.Description
	}
	return http.StatusText(status)
}
