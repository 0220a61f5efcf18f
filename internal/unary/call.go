package unary

import (
	"context"
	"encoding/binary"
	"errors"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/net/http2"
)

// call is a stream, from its first frame until its answer has been written in full or it is dropped.
type call struct {
	id      uint32
	method  Method
	timeout time.Duration // 0: none
	message []byte        // what has come of it, with its prefix, unless it came at once
	held    int           // what of it is counted as held
	whole   bool          // the peer sends no more of it
	dropped atomic.Bool   // nobody waits for an answer
	cancel  context.CancelFunc

	receives int64 // what the peer may still send
	sends    int64 // what may be sent
	answer   []byte
}

// open takes a call, or refuses it.
func (c *conn) open(id uint32, f *fields, ended bool) error {
	k := &call{id: id, sends: c.initial, receives: int64(c.server.window())}
	c.calls[k.id] = k
	if f.method != "POST" {
		c.close(k, notPost, ended)
		return nil
	}
	if !isGRPC(f.contentType) {
		c.close(k, notGRPC, ended)
		return nil
	}
	var ok bool
	if k.timeout, ok = parseTimeout(f.timeout); !ok {
		c.close(k, refusal(errTimeout), ended)
		return nil
	}
	if k.method = c.method(f.path); k.method == nil {
		c.close(k, refusal(errUnknown), ended)
		return nil
	}
	if ended {
		return c.receive(k, nil, true)
	}
	return nil
}

// method returns this connection's Method for a path; nil if there is none.
func (c *conn) method(path string) Method {
	if m := c.methods[path]; m != nil {
		return m
	}
	made := c.server.methods[path]
	if made == nil {
		return nil
	}
	m := made()
	c.methods[strings.Clone(path)] = m
	return m
}

// isGRPC reports whether a content type is gRPC's, with any encoding of messages.
func isGRPC(kind string) bool {
	rest, ok := strings.CutPrefix(strings.ToLower(kind), "application/grpc")
	return ok && (rest == "" || rest[0] == '+' || rest[0] == ';')
}

// parseTimeout reads the header grpc-timeout; 0 is none.
func parseTimeout(s string) (timeout time.Duration, ok bool) {
	if s == "" {
		return 0, true
	}
	unit := map[byte]time.Duration{
		'H': time.Hour, 'M': time.Minute, 'S': time.Second, 'm': time.Millisecond,
		'u': time.Microsecond, 'n': time.Nanosecond,
	}[s[len(s)-1]]
	digits := s[:len(s)-1]
	n, err := strconv.ParseUint(digits, 10, 32)
	if unit == 0 || err != nil || len(digits) > 8 || digits[0] == '+' {
		return 0, false
	}
	if time.Duration(n) > (1<<63-1)/unit {
		return forever, true
	}
	return max(time.Duration(n)*unit, 1), true
}

const forever = 1<<63 - 1 // for a timeout

// receive takes a part of a call's message, and the call, once it is whole.
func (c *conn) receive(k *call, data []byte, last bool) error {
	message := data
	if len(k.message) > 0 || !last {
		if len(data) > 0 && !c.hold(k, len(data)) {
			c.close(k, refusal(errTooMuch), last)
			return nil
		}
		k.message = append(k.message, data...)
		message = k.message
	}
	if e := c.judge(message, last); e != nil {
		c.close(k, refusal(e), last)
		return nil
	}
	if !last {
		return nil
	}
	k.whole = true
	return c.ask(k, message[prefixSize:])
}

// judge looks at what has come of a message, with its prefix.
func (c *conn) judge(message []byte, last bool) *Error {
	if len(message) < prefixSize {
		if last {
			return errOneMessage
		}
		return nil
	}
	size := int64(binary.BigEndian.Uint32(message[1:]))
	switch have := int64(len(message) - prefixSize); {
	case message[0] == 1:
		return errCompressed
	case size > int64(c.server.options.MaxMessage):
		return errTooLong
	case message[0] != 0, have > size, last && have < size:
		return errOneMessage
	}
	return nil
}

// ask has a call answered, at once or later.
func (c *conn) ask(k *call, message []byte) error {
	answer, ok := k.method.Quick(message, c.scratch[:0])
	if ok {
		c.scratch = answer
		c.reply(k, answer)
		return nil
	}
	// As many as calls, and not fewer because some have been dropped and not ended yet.
	if c.running >= c.server.options.MaxStreams {
		return streamError(k.id, http2.ErrCodeRefusedStream)
	}
	if len(k.message) == 0 { // the framer's own, which is good until the next frame
		if !c.hold(k, len(message)) {
			c.close(k, refusal(errTooMuch), true)
			return nil
		}
		message = slices.Clone(message)
	}
	c.running++
	c.later = append(c.later, work{k, message, k.held})
	k.held = 0 // until it has been answered, also when the call is dropped
	return nil
}

// work is a call that the reader does not answer itself, and how much it holds.
type work struct {
	call    *call
	message []byte
	held    int
}

// chunk is how many calls one worker answers one after another, at most, and writes their answers
// together: a system call that wakes the peer costs a tenth of a signature's verification.
const chunk = 8

// dispatch hands out what the reader does not answer itself, to as many workers as there are
// processors: each is busy until it has answered.
func (c *conn) dispatch() {
	if len(c.later) == 0 {
		return
	}
	size := min(chunk, (len(c.later)-1)/runtime.GOMAXPROCS(0)+1)
	for part := range slices.Chunk(c.later, size) {
		all := slices.Clone(part)
		c.server.run(func() { c.work(all) })
	}
	clear(c.later)
	c.later = c.later[:0]
}

// work answers calls one after another, and gives those that have to wait a worker each.
func (c *conn) work(all []work) {
	for i := range all {
		w, decided := &all[i], true // it is answered when it panics, too
		c.server.guard(func() { decided = c.try(w) })
		if !decided {
			c.server.run(func() { c.wait(w) })
		}
	}
	c.send()
}

// try answers a call if that takes no waiting, also when that panics.
func (c *conn) try(w *work) (decided bool) {
	answer, err := []byte(nil), error(errInternal)
	decided = true
	defer func() {
		if decided {
			c.finish(w, answer, err)
		}
	}()
	if w.call.dropped.Load() {
		return true
	}
	if answer, decided = w.call.method.Work(w.message, nil); decided {
		err = nil
	}
	return decided
}

// wait answers a call that may have to wait.
func (c *conn) wait(w *work) {
	timeout := w.call.timeout
	if timeout == 0 {
		timeout = forever
	}
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	answer, err := []byte(nil), error(errInternal)
	defer func() {
		c.finish(w, answer, err)
		c.send()
	}()
	c.mu.Lock()
	w.call.cancel = cancel
	c.mu.Unlock()
	if w.call.dropped.Load() {
		return
	}
	answer, err = w.call.method.Wait(ctx, w.message, nil)
}

// finish writes the answer to a call that the reader has handed out.
func (c *conn) finish(w *work, answer []byte, err error) {
	c.server.held.Add(-int64(w.held))
	c.mu.Lock()
	defer c.mu.Unlock()
	c.running--
	k := w.call
	if c.calls[k.id] != k {
		return // nobody waits for it any more
	}
	var known *Error
	switch {
	case err == nil:
		c.reply(k, answer)
	case errors.As(err, &known):
		c.close(k, refusal(known), true)
	case errors.Is(err, context.DeadlineExceeded):
		c.close(k, refusal(errLate), true)
	default:
		c.close(k, refusal(errInternal), true)
	}
}

// send sends what workers have written.
func (c *conn) send() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.flush(); c.over() && !c.departs {
		// The reader waits for frames, of which none may come.
		_ = c.net.SetReadDeadline(time.Now())
	}
}

// reply writes an answer, as much of it as the peer takes now.
func (c *conn) reply(k *call, answer []byte) {
	c.out = appendHeaders(c.out, k.id, answerHeaders, false)
	size := int64(prefixSize + len(answer))
	if size <= maxFrame && size <= k.sends && size <= c.sends && len(c.blocked) == 0 {
		c.sends -= size
		c.out = appendFrame(c.out, http2.FrameData, 0, k.id, int(size))
		c.out = append(appendPrefix(c.out, len(answer)), answer...)
		c.settleCall(k)
		return
	}
	if !c.hold(k, int(size)) {
		c.reset(k.id, http2.ErrCodeEnhanceYourCalm)
		return
	}
	k.answer = append(appendPrefix(make([]byte, 0, size), len(answer)), answer...)
	c.blocked = append(c.blocked, k)
	c.unblock()
}

// settleCall writes the end of an answer.
func (c *conn) settleCall(k *call) {
	c.out = appendHeaders(c.out, k.id, answerTrailers, true)
	c.drop(k)
	if len(c.out) >= fullBuffer {
		c.flush()
	}
}

// unblock writes what it can of the answers that wait for the peer.
func (c *conn) unblock() {
	c.blocked = slices.DeleteFunc(c.blocked, func(k *call) bool {
		for len(k.answer) > 0 {
			size := min(int64(len(k.answer)), maxFrame, k.sends, c.sends)
			if size <= 0 {
				return false
			}
			k.sends -= size
			c.sends -= size
			c.out = appendFrame(c.out, http2.FrameData, 0, k.id, int(size))
			c.out = append(c.out, k.answer[:size]...)
			k.answer = k.answer[size:]
		}
		if c.calls[k.id] == k {
			c.settleCall(k)
		}
		return true
	})
}

// close answers a call by header fields alone. If the peer is still sending, it need not.
func (c *conn) close(k *call, fields []byte, ended bool) {
	c.out = appendHeaders(c.out, k.id, fields, true)
	if ended {
		c.drop(k)
		return
	}
	c.reset(k.id, http2.ErrCodeNo)
}

// reset ends a stream, whatever it was about.
func (c *conn) reset(stream uint32, code http2.ErrCode) {
	_ = c.framer.WriteRSTStream(stream, code)
	c.passOver(stream)
	if k := c.calls[stream]; k != nil {
		c.drop(k)
	}
}

// drop forgets a call. If it is still being answered, that is told to end.
func (c *conn) drop(k *call) {
	delete(c.calls, k.id)
	k.dropped.Store(true)
	if k.cancel != nil {
		k.cancel()
	}
	c.server.held.Add(-int64(k.held))
	k.held, k.message, k.answer = 0, nil, nil
}

// hold counts n more bytes as held for a call, and reports whether there may be so many.
func (c *conn) hold(k *call, n int) bool {
	if !c.server.hold(n) {
		return false
	}
	k.held += n
	return true
}
