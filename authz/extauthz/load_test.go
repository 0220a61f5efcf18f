package extauthz

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"testing"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// loader sends checks over and over on one HTTP/2 connection, at next to no cost of its own:
// frames are written out beforehand, and answers are only counted.
type loader struct {
	conn    net.Conn
	framer  *http2.Framer
	headers [2][]byte // of the first check, and of those after it
	data    [][]byte  // of the checks, one after the other
	window  int       // what may still be sent on the connection
	next    uint32
	read    uint32 // bytes of answers since the last window update
	first   []byte // the first answer
}

func newLoader(b *testing.B, address string, requests ...[]byte) *loader {
	b.Helper()
	conn, err := net.Dial("tcp", address)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = conn.Close() })
	l := &loader{
		conn: conn, framer: http2.NewFramer(conn, bufio.NewReaderSize(conn, 64<<10)),
		window: 65535, next: 1, headers: headerBlocks(b),
	}
	l.framer.SetReuseFrames()
	for _, request := range requests {
		data := binary.BigEndian.AppendUint32([]byte{0}, uint32(len(request)))
		l.data = append(l.data, append(data, request...))
	}
	_, err = io.WriteString(conn, http2.ClientPreface)
	if err = errors.Join(err, l.framer.WriteSettings(),
		l.framer.WriteWindowUpdate(0, 1<<30)); err != nil {
		b.Fatal(err)
	}
	return l
}

// headerBlocks are what Envoy sends: the first check's fields go into the dynamic table, so that
// those of each later one are a few bytes, and the same.
func headerBlocks(b *testing.B) (blocks [2][]byte) {
	b.Helper()
	var block bytes.Buffer
	e := hpack.NewEncoder(&block)
	for i := range blocks {
		for _, h := range [][2]string{
			{":method", "POST"}, {":scheme", "http"},
			{":path", "/" + serviceName + "/Check"}, {":authority", "authz"},
			{"te", "trailers"}, {"content-type", "application/grpc"}, {"grpc-timeout", "10S"},
			{"x-envoy-internal", "true"}, {"x-forwarded-for", "192.0.2.1"},
		} {
			if err := e.WriteField(hpack.HeaderField{Name: h[0], Value: h[1]}); err != nil {
				b.Fatal(err)
			}
		}
		blocks[i] = bytes.Clone(block.Bytes())
		block.Reset()
	}
	return blocks
}

// run sends n checks, as many at a time as the window allows and at most 64, and waits for their
// answers.
func (l *loader) run(n int) error {
	const atATime = 64
	var batch bytes.Buffer
	writer := http2.NewFramer(&batch, nil)
	for open := 0; n > 0 || open > 0; {
		batch.Reset()
		for ; n > 0 && open < atATime; n, open = n-1, open+1 {
			data := l.data[int(l.next/2)%len(l.data)]
			if l.window < len(data) {
				break
			}
			l.window -= len(data)
			block := l.headers[min(l.next-1, 1)]
			if err := errors.Join(writer.WriteHeaders(
				http2.HeadersFrameParam{StreamID: l.next, BlockFragment: block, EndHeaders: true}),
				writer.WriteData(l.next, true, data)); err != nil {
				return err
			}
			l.next += 2
		}
		if _, err := l.conn.Write(batch.Bytes()); err != nil {
			return err
		}
		ended, err := l.readFrame()
		if err != nil {
			return err
		}
		open -= ended
	}
	return nil
}

// readFrame reads one frame and says how many checks it ended.
func (l *loader) readFrame() (int, error) {
	frame, err := l.framer.ReadFrame()
	if err != nil {
		return 0, err
	}
	switch f := frame.(type) {
	case *http2.HeadersFrame:
		if f.StreamEnded() {
			return 1, nil
		}
	case *http2.DataFrame:
		if l.first == nil {
			l.first = bytes.Clone(f.Data())
		}
		if l.read += f.Length; l.read > 1<<20 {
			l.read = 0
			return 0, l.framer.WriteWindowUpdate(0, 1<<20)
		}
	case *http2.WindowUpdateFrame:
		if f.StreamID == 0 {
			l.window += int(f.Increment)
		}
	case *http2.SettingsFrame:
		if !f.IsAck() {
			return 0, l.framer.WriteSettingsAck()
		}
	case *http2.PingFrame:
		if !f.IsAck() {
			return 0, l.framer.WritePing(true, f.Data)
		}
	case *http2.GoAwayFrame, *http2.RSTStreamFrame:
		return 0, errors.New("the server ended it")
	}
	return 0, nil
}
