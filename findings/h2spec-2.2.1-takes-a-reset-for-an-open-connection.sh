#!/usr/bin/env bash
# h2spec 2.2.1 (github.com/summerwind/h2spec v2.2.1+incompatible), case http2/3.5/2, "Sends invalid connection preface": the server
# must terminate the TCP connection. One that closes its socket while bytes of the client's lie unread there, as whoever gives up at
# the first wrong byte does, has the kernel send RST in place of FIN. h2spec then reads "connection reset by peer", which it does not
# count as closed, so that the verdict depends on how much the server had read before it closed.
#
# Seen (Linux, Go 1.26.8): the server below closes either way; it passes when it has read all that was sent, and fails, with
# "Expected: Connection closed, Actual: Error: read tcp ...: connection reset by peer", when it has read one byte.
#
# Needs Go and a module proxy. Ends with a status other than 0 when that is no longer so.
set -euo pipefail

work=$(mktemp -d)
server=
trap '[ -z "$server" ] || kill "$server" 2>/dev/null || true; chmod -R u+w "$work"; rm -rf "$work"' EXIT
cd "$work"
GOBIN=$work go install github.com/summerwind/h2spec/cmd/h2spec@v2.2.1+incompatible 2>/dev/null
cat >main.go <<'GO'
// It says where it listens, then closes each connection after so many bytes as its argument says, or a read of all that is there.
package main

import (
	"fmt"
	"net"
	"os"
	"strconv"
)

func main() {
	n, err := strconv.Atoi(os.Args[1])
	if err != nil {
		panic(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		panic(err)
	}
	fmt.Println(l.Addr().(*net.TCPAddr).Port)
	for {
		c, err := l.Accept()
		if err != nil {
			panic(err)
		}
		if _, err := c.Read(make([]byte, n)); err != nil {
			panic(err)
		}
		if err := c.Close(); err != nil {
			panic(err)
		}
	}
}
GO
go build -o closes main.go

verdict() { # of a server that reads so many bytes
    ./closes "$1" >port & server=$!
    for _ in $(seq 100); do [ -s port ] && break; sleep 0.1; done
    ./h2spec http2/3.5/2 -h 127.0.0.1 -p "$(cat port)" >"said-$1" 2>&1 && echo passed || echo failed
    kill "$server"; wait "$server" 2>/dev/null || true; server=
}
all=$(verdict 65536) one=$(verdict 1)
echo "$(go version), h2spec v2.2.1+incompatible"
echo "all bytes read: $all; one byte read: $one"
grep -m1 "connection reset by peer" said-1 || true
[ "$all" = passed ] && [ "$one" = failed ] && grep -q "connection reset by peer" said-1 || {
    echo "that is not what this file's head says" >&2
    exit 1
}
