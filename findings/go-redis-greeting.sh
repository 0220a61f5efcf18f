#!/bin/sh
# go-redis v9.23.0: an error that a connection gives while a client introduces itself loses its outermost layer.
#
# A Dialer of one's own may return a connection whose Read says what is wrong in words, as fmt.Errorf("this port wants TLS: %w", err).
# When the client's greeting (HELLO, AUTH) meets that error, getConn hands its caller errors.Unwrap of it: the words are gone, and only the
# inner error is left. An error that wraps nothing arrives as it is.
#
# Seen:
#   greeting, wrapped: "EOF"
#   greeting, plain: "this port wants TLS"
#
# Needs Go and a module proxy. Ends with a status other than 0 when go-redis no longer does this.
set -eu
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
cat > go.mod <<'MOD'
module finding

go 1.24
MOD
cat > main.go <<'GO'
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"

	"github.com/redis/go-redis/v9"
)

type quiet struct{}

func (quiet) Printf(context.Context, string, ...any) {}

// conn takes whatever is written and fails at each read.
type conn struct {
	net.Conn
	err error
}

func (c conn) Read([]byte) (int, error) { return 0, c.err }

func ask(err error) string {
	ours, theirs := net.Pipe()
	go io.Copy(io.Discard, theirs)
	client := redis.NewClient(&redis.Options{
		Addr: "redis.example:6379", Password: "x", MaxRetries: -1,
		Dialer: func(context.Context, string, string) (net.Conn, error) { return conn{ours, err}, nil },
	})
	defer client.Close()
	return client.Ping(context.Background()).Err().Error()
}

func main() {
	redis.SetLogger(quiet{})
	wrapped := ask(fmt.Errorf("this port wants TLS: %w", io.EOF))
	plain := ask(errors.New("this port wants TLS"))
	fmt.Printf("greeting, wrapped: %q\ngreeting, plain: %q\n", wrapped, plain)
	if wrapped != "EOF" || plain != "this port wants TLS" {
		os.Exit(1)
	}
}
GO
GOFLAGS=-mod=mod go get github.com/redis/go-redis/v9@v9.23.0 >/dev/null 2>&1
GOFLAGS=-mod=mod go run .
