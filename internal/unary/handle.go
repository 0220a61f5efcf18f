package unary

import (
	"slices"

	"golang.org/x/net/http2"
)

// handle takes one frame. It returns a ConnectionError or a StreamError for what is wrong with it.
func (c *conn) handle(frame http2.Frame) error {
	switch f := frame.(type) {
	case *http2.HeadersFrame:
		c.fields.begin(f)
		return c.handleFields(f.HeaderBlockFragment(), f.HeadersEnded())
	case *http2.ContinuationFrame: // of the same stream, and right behind it: the framer sees to that
		return c.handleFields(f.HeaderBlockFragment(), f.HeadersEnded())
	case *http2.DataFrame:
		return c.handleData(f)
	case *http2.WindowUpdateFrame:
		return c.handleWindow(f)
	case *http2.SettingsFrame:
		if f.IsAck() {
			return nil
		}
		return c.settle(f)
	case *http2.PingFrame:
		if !f.IsAck() {
			return c.framer.WritePing(true, f.Data)
		}
		if c.draining == warned && f.Data == drainPing {
			c.refuse()
		}
		return nil
	case *http2.RSTStreamFrame:
		if c.idle(f.StreamID) {
			return protocolError
		}
		if k := c.calls[f.StreamID]; k != nil {
			c.drop(k)
		}
		if n := slices.Index(c.passed[:], f.StreamID); n >= 0 {
			c.passed[n] = 0 // now its peer has ended it, too
		}
		return nil
	case *http2.PriorityFrame:
		if f.StreamDep == f.StreamID {
			return streamError(f.StreamID, http2.ErrCodeProtocol)
		}
		return nil
	case *http2.GoAwayFrame:
		if c.draining != refusing {
			c.refuse() // it sends no more calls anyway
		}
		return nil
	case *http2.PushPromiseFrame:
		return protocolError
	}
	return nil // of a kind that is not known, which is to be passed over
}

const (
	protocolError    = http2.ConnectionError(http2.ErrCodeProtocol)
	flowControlError = http2.ConnectionError(http2.ErrCodeFlowControl)
	compressionError = http2.ConnectionError(http2.ErrCodeCompression)
)

func streamError(stream uint32, code http2.ErrCode) error {
	return http2.StreamError{StreamID: stream, Code: code}
}

// idle reports whether a stream has never been.
func (c *conn) idle(stream uint32) bool { return stream > c.last || stream%2 == 0 }

// settle takes the peer's settings over.
func (c *conn) settle(f *http2.SettingsFrame) error {
	if f.HasDuplicates() || f.NumSettings() > 100 {
		return protocolError
	}
	err := f.ForeachSetting(func(s http2.Setting) error {
		if err := s.Valid(); err != nil {
			return err
		}
		if s.ID != http2.SettingInitialWindowSize {
			return nil // frames are small and fields are encoded without a table, whatever a peer takes
		}
		// For all streams at once: what each has beyond it stays. A window may so become larger than
		// there are, which is its peer's own affair.
		c.initial = int64(s.Val)
		c.widened = true
		return nil
	})
	if err != nil {
		return err
	}
	return c.framer.WriteSettingsAck()
}

func (c *conn) handleWindow(f *http2.WindowUpdateFrame) error {
	more := int64(f.Increment)
	if f.StreamID == 0 {
		if c.sends += more; c.sends > maxWindow {
			return flowControlError
		}
		c.widened = true
		return nil
	}
	if c.idle(f.StreamID) {
		return protocolError
	}
	k := c.calls[f.StreamID]
	if k == nil {
		return nil // it has been answered meanwhile
	}
	if k.sends += more; c.initial+k.sends > maxWindow {
		return streamError(f.StreamID, http2.ErrCodeFlowControl)
	}
	c.widened = true
	return nil
}

func (c *conn) handleFields(fragment []byte, last bool) error {
	f := c.fields
	if err := f.read(fragment, last); err != nil || !last {
		return err
	}
	id := f.stream
	if !c.idle(id) {
		return c.handleTrailers(f)
	}
	if id%2 == 0 {
		return protocolError
	}
	c.last = id
	switch {
	case c.draining == refusing:
		c.passOver(id) // the peer has been told that it is not served
		return nil
	case f.itself, f.invalid, !f.tooLong && !f.complete():
		return streamError(id, http2.ErrCodeProtocol)
	case f.tooLong:
		return streamError(id, http2.ErrCodeEnhanceYourCalm)
	case len(c.calls) >= int(c.server.options.MaxStreams):
		return streamError(id, http2.ErrCodeRefusedStream)
	}
	return c.open(f)
}

// handleTrailers takes the end of a stream, of whose fields none is of interest.
func (c *conn) handleTrailers(f *fields) error {
	k := c.calls[f.stream]
	switch {
	case k == nil && !c.isPassedOver(f.stream):
		return protocolError
	case k != nil && k.whole:
		return streamError(f.stream, http2.ErrCodeStreamClosed)
	case !f.ended, f.invalid, f.pseudo != 0:
		return streamError(f.stream, http2.ErrCodeProtocol)
	case k == nil:
		return nil
	}
	return c.receive(k, nil, true)
}

// passOver has what its peer still sends of a stream passed over, for as long as it is among the last
// of these.
func (c *conn) passOver(stream uint32) {
	c.passed[c.nextPassed%uint32(len(c.passed))] = stream
	c.nextPassed++
}

// isPassedOver reports whether a stream was reset here lately, or not served, before its peer had
// ended it.
func (c *conn) isPassedOver(stream uint32) bool { return slices.Contains(c.passed[:], stream) }

func (c *conn) handleData(f *http2.DataFrame) error {
	id, size := f.StreamID, int64(f.Length)
	if c.receives -= size; c.receives < 0 {
		return flowControlError
	}
	// Given back at once, also for streams that are over: one that waits for the rest of its message
	// must not hold up the others.
	if c.returned += size; c.returned >= connWindow/2 {
		c.receives += c.returned
		if err := c.framer.WriteWindowUpdate(0, uint32(c.returned)); err != nil {
			return err
		}
		c.returned = 0
	}
	k := c.calls[id]
	switch {
	case k == nil && c.idle(id):
		return protocolError
	case k == nil && c.isPassedOver(id):
		return nil
	case k == nil, k.whole:
		return streamError(id, http2.ErrCodeStreamClosed)
	}
	if k.receives -= size; k.receives < 0 {
		return streamError(id, http2.ErrCodeFlowControl)
	}
	data := f.Data()
	if padding := size - int64(len(data)); padding > 0 && !f.StreamEnded() {
		k.receives += padding
		if err := c.framer.WriteWindowUpdate(id, uint32(padding)); err != nil {
			return err
		}
	}
	return c.receive(k, data, f.StreamEnded())
}
