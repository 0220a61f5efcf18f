package load

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"sync"
	"time"
)

// HTTP1 is a number of HTTP/1.1 connections that are kept open, each with one request at a time.
type HTTP1 struct{ conns []*http1Conn }

type http1Conn struct {
	net.Conn
	in *bufio.Reader
}

// DialHTTP1 opens n connections to host:port or unix:/path.
func DialHTTP1(ctx context.Context, address string, n int) (*HTTP1, error) {
	h := new(HTTP1)
	for range n {
		conn, err := dial(ctx, address)
		if err != nil {
			return nil, errors.Join(err, h.Close())
		}
		h.conns = append(h.conns, &http1Conn{conn, bufio.NewReaderSize(conn, 8<<10)})
	}
	return h, nil
}

// Close ends the connections.
func (h *HTTP1) Close() error {
	errs := make([]error, len(h.conns))
	for i, c := range h.conns {
		errs[i] = c.Conn.Close()
	}
	return errors.Join(errs...)
}

// Run sends what plan says, as fast as it is answered, one request at a time on each connection,
// and returns when all is answered. Connections take turns in the plan's requests.
func (h *HTTP1) Run(ctx context.Context, plan Plan) (Result, error) {
	total := newResult()
	plan.InFlight = len(h.conns)
	if err := plan.validate(); err != nil {
		return total, err
	}
	if plan.Rate > 0 {
		return total, errors.New("load: a fixed rate is for HTTP/2")
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	defer context.AfterFunc(ctx, func() { _ = h.Close() })() // reads and writes then fail
	var wg sync.WaitGroup
	results := make([]Result, len(h.conns))
	began := time.Now()
	for n, c := range h.conns {
		results[n] = newResult()
		wg.Go(func() {
			if err := c.run(&plan, &results[n], began, n, len(h.conns)); err != nil {
				cancel(err) // the first one counts: those that follow from it say less
			}
			results[n].Elapsed = time.Since(began)
		})
	}
	wg.Wait()
	if err := context.Cause(ctx); err != nil {
		return total, err
	}
	for n := range results {
		total.merge(&results[n])
	}
	if total.Sent == 0 {
		return total, errors.New("load: nothing was sent")
	}
	return total, nil
}

func (c *http1Conn) run(plan *Plan, r *Result, began time.Time, from, step int) error {
	for i := from; ; i += step {
		sent := time.Now()
		if plan.over(i, sent.Sub(began)) {
			return nil
		}
		request := plan.request(i)
		if _, err := c.Write(request.text); err != nil {
			return fmt.Errorf("load: %w", err)
		}
		status, err := c.answer()
		if err != nil {
			return err
		}
		verdict, why := judgeStatus(status)
		if err := r.record(request.Want, verdict, why, time.Since(sent)); err != nil {
			return err
		}
	}
}

// answer reads one answer whole and returns its status.
func (c *http1Conn) answer() (int, error) {
	status, length, err := ReadHead(c.in)
	if err != nil {
		return 0, err
	}
	if _, err := c.in.Discard(length); err != nil {
		return 0, fmt.Errorf("load: an answer's body: %w", err)
	}
	return status, nil
}

// ReadHead reads an HTTP/1.1 answer up to its body, of which it must say how long it is.
func ReadHead(in *bufio.Reader) (status, length int, err error) {
	line, err := readLine(in)
	if err != nil {
		return 0, 0, err
	}
	if len(line) < 12 || !bytes.HasPrefix(line, []byte("HTTP/1.1 ")) {
		return 0, 0, fmt.Errorf("load: expected an HTTP/1.1 answer, got %q", line)
	}
	if status, err = strconv.Atoi(string(line[9:12])); err != nil {
		return 0, 0, fmt.Errorf("load: an answer's status: %w", err)
	}
	length = -1
	for {
		if line, err = readLine(in); err != nil {
			return 0, 0, err
		}
		if len(line) == 0 {
			break
		}
		name, value, _ := bytes.Cut(line, []byte(":"))
		if bytes.EqualFold(name, []byte("content-length")) {
			if length, err = strconv.Atoi(string(bytes.TrimSpace(value))); err != nil {
				return 0, 0, fmt.Errorf("load: an answer's length: %w", err)
			}
		}
	}
	if length < 0 {
		return 0, 0, errors.New("load: an answer does not say how long it is")
	}
	return status, length, nil
}

func readLine(in *bufio.Reader) ([]byte, error) {
	line, err := in.ReadSlice('\n')
	if errors.Is(err, io.EOF) {
		return nil, errors.New("load: the server has closed the connection")
	} else if err != nil {
		return nil, fmt.Errorf("load: %w", err)
	}
	return bytes.TrimRight(line, "\r\n"), nil
}
