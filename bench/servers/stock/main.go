// Command stock is an ext_authz server as one writes it with grpc-go and the generated types. It
// lets everything pass; with -jwks it verifies the token each time, with jwx, and asks Redis each
// time whether its session has been revoked.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"strings"

	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"github.com/lestrrat-go/jwx/v2/jwk"
	"github.com/lestrrat-go/jwx/v2/jwt"
	"github.com/redis/go-redis/v9"

	"github.com/sallyport/sallyport/bench/servers"
)

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run() error {
	addresses := flag.String("listen", "", "host:port and unix:/path, with commas between them")
	keys := flag.String("jwks", "", "file with the issuer's keys; without one everything passes")
	issuer := flag.String("issuer", "", "the tokens' iss")
	audience := flag.String("audience", "", "one of the tokens' aud")
	at := flag.String("redis", "", "host:port of Redis")
	flag.Parse()
	var checks authv3.AuthorizationServer = always{}
	if *keys != "" {
		set, err := jwk.ReadFile(*keys)
		if err != nil {
			return fmt.Errorf("stock: %w", err)
		}
		client := redis.NewClient(&redis.Options{Addr: *at})
		defer client.Close()
		checks = verifying{keys: set, issuer: *issuer, audience: *audience, redis: client}
	}
	return servers.Serve(strings.Split(*addresses, ","), checks)
}

type always struct {
	authv3.UnimplementedAuthorizationServer
}

func (always) Check(context.Context, *authv3.CheckRequest) (*authv3.CheckResponse, error) {
	return servers.Allow(), nil
}

type verifying struct {
	authv3.UnimplementedAuthorizationServer
	keys             jwk.Set
	issuer, audience string
	redis            *redis.Client
}

func (v verifying) Check(ctx context.Context,
	r *authv3.CheckRequest) (*authv3.CheckResponse, error) {
	token, err := jwt.ParseString(servers.Bearer(r), jwt.WithKeySet(v.keys),
		jwt.WithIssuer(v.issuer), jwt.WithAudience(v.audience))
	if err != nil {
		return servers.Deny(), nil // of a token's faults the client is told nothing
	}
	session, ok := token.PrivateClaims()["sid"].(string)
	if !ok {
		return servers.Deny(), nil
	}
	switch n, err := v.redis.Exists(ctx, "revoked:"+session).Result(); {
	case err != nil:
		return nil, errors.Join(errors.New("stock: Redis"), err)
	case n > 0:
		return servers.Deny(), nil
	}
	return servers.Allow("x-auth-subject", token.Subject()), nil
}
