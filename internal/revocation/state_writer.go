//go:build model

package revocation

import (
	"encoding/binary"
	"maps"
	"slices"
	"strconv"
)

// Clone returns a copy of w that shares nothing with it that either can change, and fills set: a
// clone of w's own.
func (w *Writer) Clone(set Set) *Writer {
	c := *w
	c.Copy = w.Copy.Clone(set)
	c.seen, c.unseen = w.seen.clone(), w.unseen.clone()
	return &c
}

// AppendState appends a canonical form of all that w's answers to coming events depend on, as
// Copy.AppendState does.
func (w *Writer) AppendState(buf []byte) []byte {
	buf = w.Copy.AppendState(buf)
	buf = w.seen.appendState(buf)
	buf = w.unseen.appendState(buf)
	return appendInts(appendPosition(buf, w.newest), int64(w.acked))
}

func (h *held) clone() held {
	c := *h
	c.byName, c.crowds = maps.Clone(h.byName), maps.Clone(h.crowds)
	for k, members := range c.crowds {
		c.crowds[k] = maps.Clone(members)
	}
	c.chunks = make([]*heldChunk, len(h.chunks))
	for i, chunk := range h.chunks {
		if chunk != nil {
			c.chunks[i] = &heldChunk{slices.Clone(chunk.items), chunk.live}
		}
	}
	return c
}

func (h *held) appendState(buf []byte) []byte {
	buf = binary.AppendUvarint(buf, uint64(h.live))
	h.each(func(item *heldItem) bool {
		e := &item.entry
		for _, s := range []string{e.Issuer, e.Value, e.Reason, e.Actor} {
			buf = append(binary.AppendUvarint(buf, uint64(len(s))), s...)
		}
		buf = appendInts(buf, int64(e.Kind), e.IssuedBefore, e.Expires, e.At, int64(e.Seq),
			int64(item.inFlight))
		buf = strconv.AppendBool(buf, item.mending)
		buf = appendPosition(buf, Position{Epoch: item.epoch, Seq: item.seq})
		return true
	})
	return buf
}
