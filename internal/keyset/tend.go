package keyset

import (
	"context"
	"fmt"
	"slices"
	"time"
)

// tend refreshes the set when its time comes, and keeps what is new in it, until ctx ends.
func (i *issuer) tend(ctx context.Context) {
	for ctx.Err() == nil {
		i.save()
		timer := time.NewTimer(i.due())
		select {
		case <-ctx.Done():
		case <-i.woken:
		case <-timer.C:
			i.refresh(ctx)
		}
		timer.Stop()
	}
}

// due is how long there is until the next fetch.
func (i *issuer) due() time.Duration {
	i.mu.Lock()
	defer i.mu.Unlock()
	now := i.now()
	if i.notYet(now) {
		return i.next.Sub(now)
	}
	return 0
}

// notYet reports whether the next fetch is still to come. When the clock has gone back behind the
// last one, nobody knows how long ago that was, and the fetch is due. The caller holds i.mu.
func (i *issuer) notYet(now time.Time) bool { return now.Before(i.next) && !now.Before(i.last) }

// refresh makes the fetch that is due, unless one was made in the meantime. It serves the
// unknown kids that came too soon, too.
func (i *issuer) refresh(ctx context.Context) {
	i.mu.Lock()
	now := i.now()
	if i.notYet(now) {
		i.mu.Unlock()
		return
	}
	f := i.start(now)
	i.mu.Unlock()
	if f == nil {
		return // the gate stops
	}
	select {
	case <-f.done:
	case <-ctx.Done():
	}
}

// reload fetches now, whether the gate runs or not.
func (i *issuer) reload(ctx context.Context) error {
	i.mu.Lock()
	f, number := i.start(i.now()), uint64(0)
	if f == nil {
		number = i.number()
	}
	i.mu.Unlock()
	if f == nil {
		return i.fetch(ctx, number)
	}
	select {
	case <-f.done:
		return f.err
	case <-ctx.Done():
		return fmt.Errorf("keyset: keys of issuer %q: %w", i.profile.Issuer, context.Cause(ctx))
	}
}

// wake makes tend look at what there is to do.
func (i *issuer) wake() {
	select {
	case i.woken <- struct{}{}:
	default:
	}
}

func (i *issuer) status() Status {
	i.mu.Lock()
	defer i.mu.Unlock()
	held := i.current.Load()
	s := Status{
		Issuer: i.profile.Issuer, Source: i.source.String(), Keys: []string{},
		Fetched: held.confirmed, FromFile: held.fromFile, LastError: i.trouble,
	}
	for kid := range held.keys {
		s.Keys = append(s.Keys, kid)
	}
	slices.Sort(s.Keys)
	return s
}

// why names the issuer and what is wrong with its keys.
func (i *issuer) why() string {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.trouble == "" {
		return fmt.Sprintf("issuer %q (being fetched)", i.profile.Issuer)
	}
	return fmt.Sprintf("issuer %q (%s)", i.profile.Issuer, i.trouble)
}
