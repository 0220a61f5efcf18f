package revocation

import "strings"

// held keeps entries in full, in the order they came, and finds them by what they name. Items are
// numbered, and no number is used twice. They lie in chunks, each of which is let go when all in it
// has been dropped: entries come and expire in about the same order.
type held struct {
	chunks []*heldChunk    // nil once nothing is left in it
	base   uint64          // number of the first item of chunks[0]
	next   uint64          // number of the next item
	byName map[name]uint64 // the newest item of each name; it leads to the older ones
	// indexes find the items of names that have many: who logs out everywhere again and again makes
	// many entries of one name, and each look-up among them would take as long as all before it.
	indexes map[name]map[Entry]uint64
	live    int
	cursor  uint64 // where forget goes on

	issuer, reason, actor string // of the newest item
}

const (
	chunkItems = 512
	maxSearch  = 16 // so many items of a name are looked through; more are indexed
)

type heldChunk struct {
	items []heldItem // up to chunkItems, of which it has the room from the start
	live  int
}

// name is what entries name: several of one name differ in their cutoff or time.
type name struct {
	kind          Kind
	issuer, value string
}

type heldItem struct {
	entry   Entry
	present bool
	// The items of one name are a list: older and newer are the numbers of an item's neighbours,
	// if it has them.
	hasOlder, hasNewer bool
	older, newer       uint64

	// Of a pending item alone.
	appends int   // appends under way
	mending bool  // they are of what the log was known to lack
	epoch   Epoch // where an append has stored it, with seq: 0 if none has
	seq     uint64
}

func nameOf(e *Entry) name { return name{e.Kind, e.Issuer, e.Value} }

// at returns item n, or nil once it has been dropped.
func (h *held) at(n uint64) *heldItem {
	if n < h.base || n >= h.next {
		return nil
	}
	c := h.chunks[(n-h.base)/chunkItems]
	if c == nil || !c.items[(n-h.base)%chunkItems].present {
		return nil
	}
	return &c.items[(n-h.base)%chunkItems]
}

// ofName calls f with the items of a name, newest first, until f returns false.
func (h *held) ofName(k name, f func(uint64, *heldItem) bool) {
	for n, ok := h.byName[k]; ok; {
		item := h.at(n)
		if item == nil || !f(n, item) {
			return
		}
		n, ok = item.older, item.hasOlder
	}
}

// find returns the item that is the same revocation as e. It looks at a bounded number of items,
// however many have e's name.
func (h *held) find(e *Entry) (number uint64, found *heldItem) {
	want, k, passed := e.bare(), nameOf(e), 0
	if index, indexed := h.indexes[k]; indexed {
		n, ok := index[want]
		if !ok {
			return 0, nil
		}
		return n, h.at(n)
	}
	h.ofName(k, func(n uint64, item *heldItem) bool {
		if item.entry.bare() == want {
			number, found = n, item
		}
		passed++
		return found == nil
	})
	// Once a search has been long, an index is worth its memory: it stays until the name's last item
	// is dropped.
	if passed > maxSearch {
		h.makeIndex(k)
	}
	return number, found
}

// makeIndex makes an index of the items of a name.
func (h *held) makeIndex(k name) {
	index := map[Entry]uint64{}
	h.ofName(k, func(n uint64, item *heldItem) bool {
		index[item.entry.bare()] = n
		return true
	})
	if h.indexes == nil {
		h.indexes = map[name]map[Entry]uint64{}
	}
	h.indexes[k] = index
}

func (h *held) get(e *Entry) *heldItem {
	_, item := h.find(e)
	return item
}

// add keeps a copy of e.
func (h *held) add(e *Entry) *heldItem {
	// A string that was cut out of what Redis sent would keep all of that in memory. What most
	// entries have in common is kept once.
	own := func(last *string, s string) string {
		if *last != s {
			*last = strings.Clone(s)
		}
		return *last
	}
	return h.put(heldItem{entry: Entry{
		Seq:          e.Seq,
		Kind:         e.Kind,
		Issuer:       own(&h.issuer, e.Issuer),
		Value:        strings.Clone(e.Value),
		IssuedBefore: e.IssuedBefore,
		Expires:      e.Expires,
		Reason:       own(&h.reason, e.Reason),
		Actor:        own(&h.actor, e.Actor),
		At:           e.At,
		Chain:        e.Chain,
	}})
}

// put appends an item and links it into the list of its name.
func (h *held) put(item heldItem) *heldItem {
	if h.byName == nil {
		h.byName = map[name]uint64{}
	}
	n := h.next
	if (n-h.base)%chunkItems == 0 {
		h.chunks = append(h.chunks, &heldChunk{items: make([]heldItem, 0, chunkItems)})
		h.release(len(h.chunks) - 2)
	}
	h.next++
	c := h.chunks[len(h.chunks)-1]
	k := nameOf(&item.entry)
	item.older, item.hasOlder = h.byName[k]
	item.newer, item.hasNewer = 0, false
	item.present = true
	if item.hasOlder {
		before := h.at(item.older)
		before.newer, before.hasNewer = n, true
	}
	h.byName[k] = n
	if index, indexed := h.indexes[k]; indexed {
		index[item.entry.bare()] = n
	}
	c.items = append(c.items, item)
	c.live++
	h.live++
	return &c.items[len(c.items)-1]
}

func (h *held) drop(e *Entry) {
	if n, item := h.find(e); item != nil {
		h.remove(n, item)
	}
}

func (h *held) remove(n uint64, item *heldItem) {
	h.unlink(n, item)
	i := int((n - h.base) / chunkItems)
	*item = heldItem{}
	h.live--
	h.chunks[i].live--
	h.release(i)
}

// release lets go of chunk i if nothing is left in it, and of those before it that are gone. The
// last one stays: it is being filled.
func (h *held) release(i int) {
	if i < 0 || i == len(h.chunks)-1 || h.chunks[i] == nil || h.chunks[i].live > 0 {
		return
	}
	h.chunks[i] = nil
	// at finds chunks by their distance from base, so only the first ones can be cut off.
	for h.chunks[0] == nil {
		h.chunks, h.base = h.chunks[1:], h.base+chunkItems
	}
}

// unlink takes item n out of the list of its name.
func (h *held) unlink(n uint64, item *heldItem) {
	k := nameOf(&item.entry)
	if item.hasOlder {
		older := h.at(item.older)
		older.newer, older.hasNewer = item.newer, item.hasNewer
	}
	switch {
	case item.hasNewer:
		newer := h.at(item.newer)
		newer.older, newer.hasOlder = item.older, item.hasOlder
	case item.hasOlder:
		h.byName[k] = item.older
	default:
		delete(h.byName, k)
		delete(h.indexes, k)
	}
	if index, indexed := h.indexes[k]; indexed {
		delete(index, item.entry.bare())
	}
}

// each calls f with every item, in order, until it returns false.
func (h *held) each(f func(*heldItem) bool) {
	for _, c := range h.chunks {
		if c == nil || c.live == 0 {
			continue
		}
		for i := range c.items {
			if c.items[i].present && !f(&c.items[i]) {
				return
			}
		}
	}
}

// forget drops what has expired at now among the next n items in turn: a few at a time, since
// whoever asks holds a lock.
func (h *held) forget(now int64, n int) {
	for range n {
		if h.cursor < h.base || h.cursor >= h.next {
			h.cursor = h.base
		}
		item := h.at(h.cursor)
		// One that is being appended is left: the outcome of the append is told by it.
		if item != nil && item.appends == 0 && item.entry.Expires <= now {
			h.remove(h.cursor, item)
		}
		h.cursor++
	}
}

// merged returns all that a and b hold. Both are used up.
func merged(a, b held) held {
	// The smaller goes into the larger: a log of a million entries may be given up while one of them
	// is pending.
	if a.live < b.live {
		a, b = b, a
	}
	b.each(func(item *heldItem) bool {
		if a.get(&item.entry) == nil {
			a.put(*item)
		}
		return true
	})
	return a
}
