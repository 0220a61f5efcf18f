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
	c.inLog, c.pending = w.inLog.clone(), w.pending.clone()
	return &c
}

// AppendState appends a canonical form of all that w's answers to coming events depend on, as
// Copy.AppendState does.
func (w *Writer) AppendState(buf []byte) []byte {
	buf = w.Copy.AppendState(buf)
	buf = w.inLog.appendState(buf)
	buf = w.pending.appendState(buf)
	return appendInts(appendPosition(buf, w.lastStored), int64(w.acked))
}

func (h *held) clone() held {
	c := *h
	c.byName, c.indexes = maps.Clone(h.byName), maps.Clone(h.indexes)
	for k, members := range c.indexes {
		c.indexes[k] = maps.Clone(members)
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
			int64(item.appends))
		buf = strconv.AppendBool(buf, item.mending)
		buf = appendPosition(buf, Position{Epoch: item.epoch, Seq: item.seq})
		return true
	})
	return buf
}
