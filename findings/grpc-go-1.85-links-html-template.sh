#!/usr/bin/env bash
# google.golang.org/grpc 1.85.0, with golang.org/x/net as it asks for, Go 1.26: a program that makes a gRPC server links
# html/template, which it never uses itself. It comes with golang.org/x/net/trace, a debug page, off by default, that grpc imports
# unless it is built with the tag grpcnotrace. A template calls methods by name, so from then on Go's linker keeps every exported
# method of every type that may become an interface, of whatever else the program links.
#
# Seen (Go 1.26.8): the small server below has 10.5 MB with it, and 7.3 MB with the tag.
#
# Needs Go and a module proxy. Ends with a status other than 0 when that is no longer so.
set -euo pipefail

work=$(mktemp -d)
trap 'chmod -R u+w "$work"; rm -rf "$work"' EXIT
cd "$work"
cat >go.mod <<'MOD'
module example.com/linked

go 1.26

require google.golang.org/grpc v1.85.0
MOD
cat >main.go <<'GO'
package main

import (
	"net"

	"google.golang.org/grpc"
	"google.golang.org/grpc/health"
	"google.golang.org/grpc/health/grpc_health_v1"
)

func main() {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		panic(err)
	}
	s := grpc.NewServer()
	grpc_health_v1.RegisterHealthServer(s, health.NewServer())
	if err := s.Serve(l); err != nil {
		panic(err)
	}
}
GO
go mod tidy >/dev/null 2>&1

size() { # of the program built with these flags
    go build -trimpath -ldflags '-s -w' -o program "$@" . && stat -c %s program
}
linked() { # whether html/template is
    go list -deps "$@" . | grep -cx html/template || true
}
with=$(size) without=$(size -tags grpcnotrace)
echo "$(go version), grpc $(go list -m -f '{{.Version}}' google.golang.org/grpc)"
echo "as it is:         $with bytes, html/template linked: $(linked)"
echo "-tags grpcnotrace: $without bytes, html/template linked: $(linked -tags grpcnotrace)"
[ "$(linked)" = 1 ] && [ "$(linked -tags grpcnotrace)" = 0 ] && [ $((with * 10)) -gt $((without * 13)) ] || {
    echo "that is not what this file's head says" >&2
    exit 1
}
