package keyring

import (
	"bytes"
	"context"
	"crypto/hmac"
	"errors"
	"time"

	"github.com/fsnotify/fsnotify"
)

// quiet is how long after a first sign of change the folder is read: a change comes as several
// events.
const quiet = 100 * time.Millisecond

// Run keeps the ring as the folder has it and, when cfg.RotateEvery is set, rotates. The folder is
// read at each change that the system tells of, and every few seconds besides, since it does not
// tell of changes made on another machine. It returns nil when ctx ends.
func (r *Ring) Run(ctx context.Context) error {
	watcher, err := fsnotify.NewWatcher()
	if err != nil {
		r.log.Warn("key ring: no notice of changes, reading the folder from time to time",
			"every", r.poll(), "error", err)
		watcher = &fsnotify.Watcher{} // its channels are nil and never ready
	} else {
		defer watcher.Close()
	}
	tick := time.NewTicker(r.poll())
	defer tick.Stop()
	events, errs := watcher.Events, watcher.Errors
	var settled <-chan time.Time
	for r.watch(watcher); ; {
		select {
		case <-ctx.Done():
			return nil
		case _, open := <-events:
			if !open {
				events = nil
			} else if settled == nil {
				settled = time.After(quiet)
			}
			continue
		case err, open := <-errs:
			if !open {
				errs = nil
				continue
			}
			r.log.Warn("key ring: watching the folder", "error", err)
			continue
		case <-settled:
			settled = nil
		case <-tick.C:
			r.watch(watcher) // the folder may be another one by now
		}
		r.tend(ctx)
	}
}

// poll is how often the folder is read without notice: several times within the Spread that all
// issuers reckon with.
func (r *Ring) poll() time.Duration {
	return min(max(r.store.lifetimes.Spread/8, time.Second), 15*time.Second)
}

func (r *Ring) watch(w *fsnotify.Watcher) {
	if w.Events == nil {
		return
	}
	if err := w.Add(r.store.dir); err != nil {
		r.log.Warn("key ring: watching the folder", "error", err)
	}
}

// tend reads the folder and does what is due in it.
func (r *Ring) tend(ctx context.Context) {
	if r.Reload(ctx) != nil || r.every == 0 { // Reload has told of it
		return
	}
	if err := r.rotate(ctx); err != nil {
		r.metrics.rotationFailures.Inc()
		r.log.Error("key ring: rotation failed, will be tried again", "error", err)
	}
}

// Reload reads the folder now. On an error the ring stays as it was.
func (r *Ring) Reload(context.Context) error {
	r.reading.Lock()
	defer r.reading.Unlock()
	snap, err := r.read()
	if err != nil {
		r.metrics.failures.Inc()
		r.metrics.broken.Set(1)
		// Told once, not at each of the reads that follow every few seconds.
		if r.trouble != err.Error() {
			r.trouble = err.Error()
			r.log.Error("key ring: the folder is broken, going on with the ring read before",
				"revision", r.current.Load().Revision, "error", err)
		}
		return err
	}
	if r.trouble != "" {
		r.log.Info("key ring: the folder is whole again")
	}
	r.trouble = ""
	if !bytes.Equal(snap.raw, r.current.Load().raw) {
		r.log.Info("key ring: read anew", "revision", snap.Revision, "active", snap.signer.ID(),
			"algorithm", snap.signer.Algorithm())
	}
	r.take(snap)
	return nil
}

func (r *Ring) read() (*snapshot, error) {
	c, err := r.store.load()
	if err != nil {
		return nil, err
	}
	snap, err := newSnapshot(c, r.store.now())
	if err != nil {
		return nil, err
	}
	// With another tag key every session would have another name, and none could be ended.
	if held := r.current.Load(); held != nil && !hmac.Equal(held.tag, snap.tag) {
		return nil, errors.New(
			"keyring: the folder's subject tag key is not the one of the running ring: another ring? It " +
				"names all sessions; restart the issuer if this is meant")
	}
	return snap, nil
}

func (r *Ring) take(s *snapshot) {
	r.current.Store(s)
	r.metrics.show(s)
	r.tellLifetimes(s)
}

// tellLifetimes warns of a folder that says shorter lifetimes than this issuer has, unless the next
// rotation is this issuer's own and corrects it. An operator's command goes by what the folder
// says: it would let a next key sign before every reader knows it, and drop a retired one whose
// tokens live on.
func (r *Ring) tellLifetimes(s *snapshot) {
	short := s.outdated && r.every == 0
	if short && !r.short {
		r.log.Error(
			"key ring: the folder says shorter lifetimes than this issuer has, and a rotation would go "+
				"by them; run `sallyport keys lifetimes` on it first",
			"flags",
			r.store.lifetimes.flags(),
		)
	}
	r.short = short
	r.metrics.short(short)
}

var errNotDue = errors.New("nothing is due")

// rotate makes the step that is due, unless another issuer has just made it.
func (r *Ring) rotate(ctx context.Context) error {
	if !r.current.Load().due(r.store.now(), r.every) {
		return nil
	}
	var activated []entry
	m, err := r.store.change(ctx, func(e *edit) (err error) {
		// Asked again under the lock: another issuer may have rotated while this one waited for it.
		if !e.due(e.now, r.every) {
			return errNotDue
		}
		activated, err = e.maintain(e.now, r.every, e.fresh(r.algorithm))
		return err
	})
	if err != nil && !errors.Is(err, errNotDue) {
		return err
	}
	for _, k := range activated {
		r.metrics.activations.WithLabelValues(string(k.Use)).Inc()
		r.log.Info("key ring: rotated", "use", k.Use, "active", k.ID, "revision", m.Revision)
	}
	return r.Reload(ctx)
}
