// Command opa is Open Policy Agent's engine behind ext_authz: a prepared query in Rego that
// verifies the token, with the check as JSON for its input. It is no measurement of OPA's own
// plugin for Envoy.
package main

import (
	"context"
	_ "embed"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"strings"

	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"github.com/open-policy-agent/opa/v1/rego"
	"github.com/open-policy-agent/opa/v1/storage/inmem"
	"github.com/open-policy-agent/opa/v1/util"
	"google.golang.org/protobuf/encoding/protojson"

	"github.com/sallyport/sallyport/bench/servers"
)

//go:embed policy.rego
var policy string

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run() error {
	addresses := flag.String("listen", "", "host:port and unix:/path, with commas between them")
	keys := flag.String("jwks", "", "file with the issuer's keys")
	issuer := flag.String("issuer", "", "the tokens' iss")
	audience := flag.String("audience", "", "one of the tokens' aud")
	flag.Parse()
	set, err := os.ReadFile(*keys)
	if err != nil {
		return fmt.Errorf("opa: %w", err)
	}
	query, err := rego.New(
		rego.Query("data.envoy.authz.result"),
		rego.Module("policy.rego", policy),
		rego.Store(inmem.NewFromObject(map[string]any{
			"keys": string(set), "issuer": *issuer, "audience": *audience,
		})),
	).PrepareForEval(context.Background())
	if err != nil {
		return fmt.Errorf("opa: %w", err)
	}
	return servers.Serve(strings.Split(*addresses, ","), checks{query: query})
}

type checks struct {
	authv3.UnimplementedAuthorizationServer
	query rego.PreparedEvalQuery
}

func (c checks) Check(ctx context.Context, r *authv3.CheckRequest) (*authv3.CheckResponse, error) {
	text, err := protojson.Marshal(r)
	if err != nil {
		return nil, fmt.Errorf("opa: %w", err)
	}
	var input any
	if err := util.UnmarshalJSON(text, &input); err != nil {
		return nil, fmt.Errorf("opa: %w", err)
	}
	results, err := c.query.Eval(ctx, rego.EvalInput(input))
	if err != nil {
		return nil, fmt.Errorf("opa: %w", err)
	}
	return answer(results)
}

// answer reads what the policy says: {allowed, headers}.
func answer(results rego.ResultSet) (*authv3.CheckResponse, error) {
	if len(results) != 1 || len(results[0].Expressions) != 1 {
		return servers.Deny(), nil
	}
	text, err := json.Marshal(results[0].Expressions[0].Value)
	if err != nil {
		return nil, fmt.Errorf("opa: %w", err)
	}
	var said struct {
		Allowed bool
		Headers map[string]string
	}
	if err := json.Unmarshal(text, &said); err != nil {
		return nil, fmt.Errorf("opa: %w", err)
	}
	if !said.Allowed {
		return servers.Deny(), nil
	}
	var headers []string
	for name, value := range said.Headers {
		headers = append(headers, name, value)
	}
	return servers.Allow(headers...), nil
}
