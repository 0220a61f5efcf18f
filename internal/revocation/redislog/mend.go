package redislog

import (
	"context"
	"time"

	"github.com/sallyport/sallyport/internal/revocation"
)

// mends appends again what the log has lost, whenever a heartbeat has shown what the log holds,
// until ctx ends.
func (i *Issuer) mends(ctx context.Context) {
	var owed []revocation.SessionRef // sessions still to be ended again
	for {
		select {
		case <-i.mend:
		case <-ctx.Done():
			return
		}
		owed = i.endAgain(ctx, owed)
		// One batch after the other, for as long as something is missing: each is bound to the head
		// that the one before it has left.
		for ctx.Err() == nil {
			i.mu.Lock()
			b, found := i.writer.Mend(i.instant(), maxBatch)
			i.mu.Unlock()
			if !found {
				break
			}
			// The sessions first: until its record says that it has ended, another issuer, which
			// lacks the entry, would refresh it. Once their store has proved slow, though, no
			// further batch waits for it.
			if refs := sessionsOf(b); len(owed) == 0 {
				owed = i.endAgain(ctx, refs)
			} else {
				owed = append(owed, refs...)
			}
			if !i.mendOne(ctx, b) {
				break
			}
		}
	}
}

// mendOne appends a batch again and waits until it has been read back, so that the next is computed
// against the head it left. It reports whether to go on at once.
func (i *Issuer) mendOne(ctx context.Context, b revocation.Batch) bool {
	ctx, cancel := context.WithTimeout(ctx, i.cfg.AppendTimeout)
	defer cancel()
	// Ending sessions again took its time, in which the log may have moved on.
	i.mu.Lock()
	again, found := i.writer.Rebase(b)
	if !found {
		i.writer.Failed(b)
	}
	i.mu.Unlock()
	if b = again; !found {
		return false
	}
	at, err := i.submit(ctx, &job{batch: b})
	if err != nil {
		i.log.Warn("revocations the log has lost could not be appended again yet", "entries",
			len(b.Entries), "error", err)
		return false
	}
	i.metrics.mended.Add(float64(len(b.Entries)))
	i.log.Warn("appended again revocations that the log had lost", "entries", len(b.Entries),
		"seq", at.Seq)
	for {
		changed := i.applied.next()
		p := i.position()
		if p.Epoch != at.Epoch || p.Seq >= at.Seq {
			return p.Epoch == at.Epoch
		}
		if !sleep(ctx, i.cfg.Heartbeat, changed) {
			return false
		}
	}
}

// sessionsOf returns the sessions that a batch revokes.
func sessionsOf(b revocation.Batch) []revocation.SessionRef {
	var refs []revocation.SessionRef
	for _, e := range b.Entries {
		if e.Kind == revocation.KindSID {
			refs = append(refs, revocation.SessionRef{Issuer: e.Issuer, SessionID: e.Value})
		}
	}
	return refs
}

// endAtOnce is how many sessions are ended again in one call: it is done, or to be repeated, as a
// whole.
const endAtOnce = 50

// endAgain ends sessions again, as many as there is time for, and returns those still to be. The
// entries are appended whatever comes of it: they must not wait for the sessions' store.
func (i *Issuer) endAgain(ctx context.Context,
	refs []revocation.SessionRef) []revocation.SessionRef {
	if len(refs) == 0 || i.o.OnReappend == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	for len(refs) > 0 {
		n := min(len(refs), endAtOnce)
		if err := i.o.OnReappend(ctx, refs[:n]); err != nil {
			i.log.Error(
				"sessions whose revocations the log had lost could not be ended again yet",
				"sessions", len(refs), "error", err)
			return refs
		}
		refs = refs[n:]
	}
	return nil
}
