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
	old     bool          // it was not whole, or its answer not taken, when watch looked
	dropped atomic.Bool   // nobody waits for an answer
	cancel  context.CancelFunc

	expects, got int64 // bytes of the body, as content-length has it, or -1; and as they came
	receives     int64 // what the peer may still send
	sends        int64 // what may be sent, beyond what may be on any stream
	answer       []byte
}

// open takes a call, or refuses it.
func (c *conn) open(f *fields) error {
	k := &call{id: f.stream, expects: f.length, receives: int64(c.server.window())}
	c.calls[k.id] = k
	if refused := c.choose(k, f); refused != nil {
		c.close(k, refused, f.ended)
		return nil
	}
	if f.ended {
		return c.receive(k, nil, true)
	}
	return nil
}

// choose finds the method that a call is of; or else it returns the header fields that refuse it.
func (c *conn) choose(k *call, f *fields) (refused []byte) {
	var ok bool
	if f.method != "POST" {
		return notPost
	}
	if !isGRPC(f.contentType) {
		return notGRPC
	}
	if k.timeout, ok = parseTimeout(f.timeout); !ok {
		return refusal(errTimeout)
	}
	if k.method = c.method(f.path); k.method == nil {
		return refusal(errUnknown)
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

// units are those of grpc-timeout.
var units = map[byte]time.Duration{
	'H': time.Hour, 'M': time.Minute, 'S': time.Second, 'm': time.Millisecond,
	'u': time.Microsecond, 'n': time.Nanosecond,
}

// parseTimeout reads the header grpc-timeout; 0 is none.
func parseTimeout(s string) (timeout time.Duration, ok bool) {
	if s == "" {
		return 0, true
	}
	unit := units[s[len(s)-1]]
	digits := s[:len(s)-1]
	n, err := strconv.ParseUint(digits, 10, 32)
	if unit == 0 || err != nil || len(digits) > 8 {
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
	k.got += int64(len(data))
	if k.expects >= 0 && (k.got > k.expects || last && k.got < k.expects) {
		return streamError(k.id, http2.ErrCodeProtocol)
	}
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
	k.whole, k.old = true, false
	c.ask(k, message[prefixSize:])
	return nil
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
func (c *conn) ask(k *call, message []byte) {
	answer, ok := k.method.Quick(message, c.scratch[:0])
	switch {
	case ok:
		c.scratch = answer
		c.reply(k, answer)
	case c.keep(k, &message):
		c.running++
		c.later = append(c.later, work{k, message, k.held})
		k.held = 0 // until it has been answered, also when the call is dropped
	// So that one who makes others' calls wait cannot have them refused.
	default:
		c.press(k, message)
	}
}

// keep keeps a message for later, and reports whether there is room. There are as many calls at a
// time besides as there may be calls, though some have been dropped and not ended yet.
func (c *conn) keep(k *call, message *[]byte) bool {
	if c.running >= c.server.options.MaxStreams {
		return false
	}
	if len(k.message) > 0 { // it is kept already
		return true
	}
	if !c.hold(k, len(*message)) {
		return false
	}
	*message = append(c.spare(), *message...) // it is the framer's, and good until the next frame
	return true
}

// What a connection keeps of the memory of messages that have been answered.
const (
	spares    = 32
	spareSize = 4 << 10
)

// spare returns memory for a message.
func (c *conn) spare() []byte {
	last := len(c.spares) - 1
	if last < 0 {
		return nil
	}
	b := c.spares[last]
	c.spares = c.spares[:last]
	return b
}

// recycle keeps the memory of a message that nobody looks at any more.
func (c *conn) recycle(message []byte) {
	if len(c.spares) < spares && cap(message) <= spareSize {
		c.spares = append(c.spares, message[:0])
	}
}

// press answers a call for which there is no room, unless it has to wait: then it is refused.
func (c *conn) press(k *call, message []byte) {
	answer, ok := k.method.Work(message, c.scratch[:0])
	if !ok {
		c.close(k, refusal(errTooMuch), true)
		return
	}
	c.scratch = answer
	c.reply(k, answer)
}

// work is a call that the reader does not answer itself, and how much it holds.
type work struct {
	call    *call
	message []byte
	held    int
}

// chunk is how many calls of a connection a worker answers one after another, at most, before it turns
// to others. It writes their answers together: a system call that wakes the peer costs a tenth of a
// signature's verification.
const chunk = 8

// dispatch hands out what the reader does not answer itself.
func (c *conn) dispatch() {
	if len(c.later) > 0 && !c.enqueued {
		c.enqueued = true
		c.server.enqueue(c)
	}
}

// work answers some calls, and gives those that have to wait a goroutine each. It makes answers in
// scratch, and returns that, or one with more room.
func (c *conn) work(scratch []byte) []byte {
	all := c.portion()
	for i := range all {
		w := &all[i]
		decided := true // it is answered when it panics, too
		c.server.guard(func() { scratch, decided = c.try(w, scratch) })
		if !decided {
			c.server.run(func() { c.wait(w) })
		}
	}
	c.send()
	return scratch
}

// portion takes the calls that a worker is to answer, and leaves the others to the next one.
func (c *conn) portion() []work {
	c.mu.Lock()
	defer c.mu.Unlock()
	n := min(chunk, len(c.later)/runtime.GOMAXPROCS(0)+1, len(c.later))
	all := slices.Clone(c.later[:n])
	c.later = slices.Delete(c.later, 0, n)
	if c.enqueued = len(c.later) > 0; c.enqueued {
		c.server.enqueue(c)
	}
	return all
}

// try answers a call if that takes no waiting, also when that panics. It makes the answer in scratch,
// and returns that.
func (c *conn) try(w *work, scratch []byte) (answer []byte, decided bool) {
	answer, decided = scratch[:0], true
	err := error(errInternal)
	defer func() {
		if decided {
			c.finish(w, answer, err)
		}
	}()
	if w.call.dropped.Load() {
		return answer, true
	}
	if answer, decided = w.call.method.Work(w.message, answer); decided {
		err = nil
	}
	return answer, decided
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
	c.mu.Lock()
	defer c.mu.Unlock()
	c.release(w.held)
	c.recycle(w.message)
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
	c.wake()
}

// reply writes an answer, as much of it as the peer takes now.
func (c *conn) reply(k *call, answer []byte) {
	c.out = appendHeaders(c.out, k.id, answerHeaders, false)
	size := int64(prefixSize + len(answer))
	if size <= min(maxFrame, c.initial+k.sends, c.sends) && len(c.blocked) == 0 {
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
	c.widened = true
}

// settleCall writes the end of an answer.
func (c *conn) settleCall(k *call) {
	c.out = appendHeaders(c.out, k.id, answerTrailers, true)
	c.drop(k)
}

// unblock writes what it can of the answers that wait for the peer. It is called before anything is
// written and not for each window that becomes wider: whoever has many answers wait could have all of
// them looked at for every few bytes.
func (c *conn) unblock() {
	c.widened = false
	c.blocked = slices.DeleteFunc(c.blocked, func(k *call) bool {
		for len(k.answer) > 0 {
			size := min(int64(len(k.answer)), maxFrame, c.initial+k.sends, c.sends)
			if size <= 0 {
				return false
			}
			k.sends -= size
			c.sends -= size
			c.out = appendFrame(c.out, http2.FrameData, 0, k.id, int(size))
			c.out = append(c.out, k.answer[:size]...)
			k.answer = k.answer[size:]
			c.relieve()
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
	c.release(k.held)
	k.held, k.message, k.answer = 0, nil, nil
}

// hold counts n more bytes as held for a call, and reports whether there may be so many.
func (c *conn) hold(k *call, n int) bool {
	if c.held+int64(n) > c.server.share() || !c.server.hold(n) {
		return false
	}
	c.held += int64(n)
	k.held += n
	return true
}

// release gives back what was held.
func (c *conn) release(n int) {
	c.held -= int64(n)
	c.server.held.Add(-int64(n))
}
