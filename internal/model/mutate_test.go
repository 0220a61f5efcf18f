//go:build model

package model

import (
	"github.com/sallyport/sallyport/internal/revocation"
)

func (m *model) mutateBeat(c *proc, hb *revocation.Heartbeat) {
	switch m.mutation {
	case LossInvisibleToWriter:
		hb.Stored = 0
	case MendingForever:
		hb.Mend, hb.Holds = true, true
	}
}

// mutateHead makes a gate without a confirmed copy take the end of the first page for the head.
func (m *model) mutateHead(c *proc, d *data) {
	if v := c.r.View(); m.mutation == ReadyBeforeLastPage && !v.Counted && len(d.entries) > pageSize {
		last := &d.entries[pageSize-1]
		c.beat.reply.Head.Seq, c.beat.reply.Head.Chain = last.Seq, last.Chain
	}
}

// mutateAnswer makes of an answer what a machine without the rule would make of it.
func (m *model) mutateAnswer(c *proc, b *beat) {
	head := &b.reply.Head
	pos := b.hb.Position
	switch m.mutation {
	case WaitNotCompared:
		b.reply.Replicas = m.limits.MinReplicas
	case HeartbeatByRead:
		if c.w == nil {
			b.reply.Replicas = m.limits.MinReplicas
		}
	case MendingIgnored:
		head.Mending = 0
	case SeqWithoutChain:
		if b.reply.HeadFound && c.r.Complete() && pos.Seq <= head.Seq {
			head.Epoch, b.reply.AtMine, b.reply.AtMineFound = pos.Epoch, pos.Chain, true
			if pos.Seq == head.Seq {
				head.Chain = pos.Chain
			}
		}
	case HeadNotApplied:
		if b.reply.HeadFound && b.reply.AtMineFound && head.Epoch == pos.Epoch {
			head.Seq, head.Chain = pos.Seq, b.reply.AtMine
		}
	case GapTakenAsNothing:
		if b.reply.HeadFound && c.r.Complete() && (head.Epoch != pos.Epoch || head.Seq < pos.Seq) {
			head.Epoch, head.Seq, head.Chain = pos.Epoch, pos.Seq, pos.Chain
			b.reply.AtMine, b.reply.AtMineFound = pos.Chain, true
		}
	}
}

// mutateHeld makes a gate drop what it holds when it loads the log again.
func (m *model) mutateHeld(c *proc, out *revocation.Outcome) {
	if m.mutation != HeldDroppedOnReload || c.w != nil {
		return
	}
	for s := range m.limits.Sessions {
		if out.Resync != "" &&
			c.set.Check(&revocation.Facts{Issuer: issuerOf(s), SessionID: sid(s)}).Revoked {
			c.dropped |= 1 << s
		}
		for i := range out.Applied {
			if out.Applied[i].Value == sid(s) {
				c.dropped &^= 1 << s
			}
		}
	}
}
