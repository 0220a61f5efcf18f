package extauthz

import (
	"errors"
	"slices"
	"sync/atomic"
	"time"

	"google.golang.org/grpc/encoding"
	_ "google.golang.org/grpc/encoding/proto" // registers the codec that other messages go through
	"google.golang.org/grpc/mem"

	"github.com/sallyport/sallyport/authz"
)

// codec reads check requests without unmarshalling them, and sends answers that are marshalled
// already. All else, which is the health service, goes through gRPC's own codec.
type codec struct {
	plain encoding.CodecV2
	pool  mem.BufferPool
}

func newCodec() codec {
	return codec{plain: encoding.GetCodecV2("proto"), pool: mem.DefaultBufferPool()}
}

// Name is that of gRPC's own codec: it is part of the content type.
func (codec) Name() string { return "proto" }

// Unmarshal never fails for a check request, so that every one of them is answered by a
// CheckResponse.
func (c codec) Unmarshal(data mem.BufferSlice, v any) error {
	if r, ok := v.(*checkRequest); ok {
		r.receive(data.MaterializeToBuffer(c.pool))
		return nil
	}
	return c.plain.Unmarshal(data, v)
}

// Marshal refuses to send an empty answer, which Envoy would take for an allowed request.
func (c codec) Marshal(v any) (mem.BufferSlice, error) {
	a, ok := v.(*answer)
	if !ok {
		return c.plain.Marshal(v)
	}
	if a == nil || a.buffers.Len() == 0 {
		return nil, errors.New("extauthz: expected an answer, got one that nobody filled in")
	}
	return a.buffers, nil
}

// answer is a marshalled CheckResponse. It may be sent any number of times: its buffer is never
// freed nor written to.
type answer struct {
	buffers mem.BufferSlice
	lasting atomic.Pointer[lasting] // the last that was made of it; nil: none
}

// lasting is an answer that says for how long what it allows may last.
type lasting struct {
	answer
	lifetime time.Duration
}

func newAnswer(message []byte) *answer {
	return &answer{buffers: mem.BufferSlice{mem.SliceBuffer(message)}}
}

// and returns the message of an answer that goes on behind a, which stays as it is.
func (a *answer) and(more []byte) mem.BufferSlice {
	all := slices.Clone(a.buffers)
	all[0] = mem.SliceBuffer(slices.Concat(a.buffers[0].ReadOnlyData(), more))
	return all
}

// within returns the answer a for a request that may last so long: made once, until another
// lifetime is asked for.
func (a *answer) within(lifetime time.Duration) *answer {
	if l := a.lasting.Load(); l != nil && l.lifetime == lifetime {
		return &l.answer
	}
	l := &lasting{answer: answer{buffers: a.and(besides(&authz.Decision{}, lifetime))}, lifetime: lifetime}
	a.lasting.Store(l)
	return &l.answer
}

// identified returns the answer a with a decision's ID for the client, behind all else; a itself when
// there is no ID. It is one allocation.
func identified(a *answer, id authz.ID, header *idHeader) *answer {
	if id == (authz.ID{}) {
		return a
	}
	n := &struct {
		answer
		all     [4]mem.Buffer
		message mem.SliceBuffer
		bytes   [idSize]byte
	}{}
	n.message = append(append(n.bytes[:0], header.before...), header.after...)
	id.Append(n.message[:len(header.before)-idDigits])
	n.buffers = append(append(n.all[:0], a.buffers...), &n.message)
	return &n.answer
}

// receive takes a message over, until free. A second message for one request is a fault: none is
// then believed.
func (r *checkRequest) receive(message mem.Buffer) {
	if r.buffer != nil {
		message.Free()
		r.fault(badTwice)
		return
	}
	r.buffer = message
	r.read(message.ReadOnlyData())
}

// free returns the message to its pool. Nothing that is a view of it may be used any more.
func (r *checkRequest) free() {
	if r.buffer != nil {
		r.buffer.Free()
	}
	r.reset()
}
