package relay

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"strconv"

	"github.com/sallyport/sallyport/internal/revocation/redislog"
)

// The bounds of a command: the longest that a gate sends is its line in a SET.
const (
	maxWords = 16
	maxWord  = 2048
)

// errCommand means that what came is no command of RESP2 within the bounds. It quotes nothing of
// it: what came may be a password.
var errCommand = errors.New("relay: expected a command as an array of strings")

// readCommand reads a command: an array of strings, each number in its one spelling.
func readCommand(r *bufio.Reader) ([]string, error) {
	n, err := readCount(r, '*', maxWords)
	if err != nil {
		return nil, err
	}
	if n == 0 {
		return nil, errCommand
	}
	words := make([]string, n)
	for k := range words {
		size, err := readCount(r, '$', maxWord)
		if err != nil {
			return nil, err
		}
		b := make([]byte, size+2)
		if _, err := io.ReadFull(r, b); err != nil {
			return nil, err
		}
		if string(b[size:]) != "\r\n" {
			return nil, errCommand
		}
		words[k] = string(b[:size])
	}
	return words, nil
}

// readCount reads a line of a kind and a number from 0 to most.
func readCount(r *bufio.Reader, kind byte, most int) (int, error) {
	// No line is longer than this one, and whoever sends no end of it is not waited for.
	var line [8]byte
	for k := range line {
		b, err := r.ReadByte()
		if err != nil {
			return 0, err
		}
		switch line[k] = b; {
		case line[0] != kind:
			return 0, errCommand
		case b != '\n':
			continue
		case k < 3 || line[k-1] != '\r':
			return 0, errCommand
		}
		n, err := number(string(line[1:k-1]), uint64(most))
		return int(n), err
	}
	return 0, errCommand
}

// number reads a number up to most in its one spelling.
func number(s string, most uint64) (uint64, error) {
	n, err := strconv.ParseUint(s, 10, 64)
	if err != nil || n > most || strconv.FormatUint(n, 10) != s {
		return 0, errCommand
	}
	return n, nil
}

// appendValue appends what go-redis has read, as RESP2.
func appendValue(b []byte, v any) ([]byte, error) {
	switch x := v.(type) {
	case nil:
		return append(b, "$-1\r\n"...), nil
	case string:
		return redislog.AppendBulk(b, x), nil
	case int64:
		return append(strconv.AppendInt(append(b, ':'), x, 10), "\r\n"...), nil
	case []any:
		b = redislog.AppendCount(b, '*', len(x))
		for _, item := range x {
			var err error
			if b, err = appendValue(b, item); err != nil {
				return b, err
			}
		}
		return b, nil
	}
	return b, fmt.Errorf("relay: expected an answer of strings and numbers, got %T", v)
}
