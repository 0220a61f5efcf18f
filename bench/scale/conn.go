package main

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"time"

	"github.com/sallyport/sallyport/internal/revocation/redislog"
)

// conn is a connection that speaks RESP2 with as little work as possible: what is measured shares
// the machine with the simulation.
type conn struct {
	ctx    context.Context
	socket net.Conn
	r      *bufio.Reader
}

// command returns a command's bytes.
func command(words ...string) []byte {
	b := redislog.AppendCount(nil, '*', len(words))
	for _, w := range words {
		b = redislog.AppendBulk(b, w)
	}
	return b
}

// send sends commands, and bounds how long their answers may take.
func (c *conn) send(within time.Duration, b []byte) error {
	if err := c.socket.SetDeadline(time.Now().Add(within)); err != nil {
		return err
	}
	_, err := c.socket.Write(b)
	return err
}

// header reads the first line of a value of a kind, and returns its number; -1 for nil.
func (c *conn) header(kind byte) (int, error) {
	line, err := c.line()
	if err != nil {
		return 0, err
	}
	if line[0] != kind {
		return 0, fmt.Errorf("%w: %q", errAnswer, line)
	}
	return strconv.Atoi(string(line[1:]))
}

func (c *conn) line() ([]byte, error) {
	line, err := c.r.ReadSlice('\n')
	if err != nil {
		return nil, err
	}
	if line = bytes.TrimRight(line, "\r\n"); len(line) == 0 {
		return nil, errAnswer
	}
	return line, nil
}

func (c *conn) bulk() (string, error) {
	n, err := c.header('$')
	if err != nil || n < 0 {
		return "", err
	}
	b := make([]byte, n+2)
	if _, err := io.ReadFull(c.r, b); err != nil {
		return "", err
	}
	return string(b[:n]), nil
}

// skip reads a value that is no error.
func (c *conn) skip() error {
	line, err := c.line()
	if err != nil {
		return err
	}
	kind := line[0]
	if kind == '+' || kind == ':' {
		return nil
	}
	n, err := strconv.Atoi(string(line[1:]))
	if kind == '-' || err != nil {
		return fmt.Errorf("%w: %q", errAnswer, line)
	}
	if kind == '$' {
		if n >= 0 {
			_, err = c.r.Discard(n + 2)
		}
		return err
	}
	for range n {
		if err := c.skip(); err != nil {
			return err
		}
	}
	return nil
}

// beaten reads what a heartbeat is answered, and returns the head's epoch and place.
func (c *conn) beaten() (epoch string, seq uint64, err error) {
	for range 6 { // MULTI, and five that are queued
		if err := c.skip(); err != nil {
			return "", 0, err
		}
	}
	if n, err := c.header('*'); err != nil || n != 5 {
		return "", 0, fmt.Errorf("%w: EXEC: %w", errAnswer, err)
	}
	for range 2 { // the line before, and OK
		if err := c.skip(); err != nil {
			return "", 0, err
		}
	}
	if _, err := c.header('*'); err != nil {
		return "", 0, err
	}
	if epoch, err = c.bulk(); err != nil {
		return "", 0, err
	}
	text, err := c.bulk()
	if err != nil {
		return "", 0, err
	}
	for range 5 + 2 { // the rest of the head, the time, the entry
		if err := c.skip(); err != nil {
			return "", 0, err
		}
	}
	if err := c.skip(); err != nil { // WAIT
		return "", 0, err
	}
	seq, err = strconv.ParseUint(text, 10, 64)
	return epoch, seq, err
}

// streams reads what XREAD is answered.
func (c *conn) streams(each func(id, chain string) error) error {
	n, err := c.header('*')
	if err != nil || n < 0 {
		return err
	}
	if _, err := c.header('*'); err != nil {
		return err
	}
	if err := c.skip(); err != nil {
		return err
	}
	_, err = c.entries(each)
	return err
}

// entries reads a list of entries and returns how many there were.
func (c *conn) entries(each func(id, chain string) error) (int, error) {
	n, err := c.header('*')
	if err != nil {
		return 0, err
	}
	for range n {
		if _, err := c.header('*'); err != nil {
			return 0, err
		}
		id, err := c.bulk()
		if err != nil {
			return 0, err
		}
		if fields, err := c.header('*'); err != nil || fields != 4 {
			return 0, fmt.Errorf("%w: %d fields: %w", errAnswer, fields, err)
		}
		for range 3 {
			if err := c.skip(); err != nil {
				return 0, err
			}
		}
		chain, err := c.bulk()
		if err != nil {
			return 0, err
		}
		if err := each(id, chain); err != nil {
			return 0, err
		}
	}
	return n, nil
}

func seqOf(id string) (uint64, error) {
	text, _, _ := strings.Cut(id, "-")
	return strconv.ParseUint(text, 10, 64)
}
