package revocation

import "strings"

// held keeps entries in full, in the order they came, found by what they name. It is cut into
// chunks that are let go one by one as all in them is dropped: entries come and expire in about the
// same order.
type held struct {
	chunks []*heldChunk    // nil once nothing is left in it
	base   uint64          // number of the first item of chunks[0]
	next   uint64          // number of the next item
	byName map[name]uint64 // the newest item of each name
	// crowds has the items of names that have many: a stranger who logs out everywhere again and
	// again makes entries of one name.
	crowds map[name]map[Entry]uint64
	live   int
	cursor uint64 // where forget goes on

	issuer, reason, actor string // of the newest item
}

const (
	chunkItems = 512
	crowd      = 16 // so many items of a name are looked through; more are indexed
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
	// older is the number of the next older item of the same name; numbers are never used twice
	chained  bool
	followed bool // newer is that of the next newer one
	older    uint64
	newer    uint64
	inFlight int   // appends under way
	mending  bool  // they are of what the log was known to lack
	epoch    Epoch // where an append has stored it
	seq      uint64
}

func nameOf(e *Entry) name { return name{e.Kind, e.Issuer, e.Value} }

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
		n, ok = item.older, item.chained
	}
}

// find returns the item that is the same revocation as e. It looks at a bounded number of items,
// however many have e's name.
func (h *held) find(e *Entry) (number uint64, found *heldItem) {
	want, k, passed := e.bare(), nameOf(e), 0
	if members, crowded := h.crowds[k]; crowded {
		n, ok := members[want]
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
	if passed > crowd {
		h.index(k)
	}
	return number, found
}

// index makes a crowd of the items of a name.
func (h *held) index(k name) {
	members := map[Entry]uint64{}
	h.ofName(k, func(n uint64, item *heldItem) bool {
		members[item.entry.bare()] = n
		return true
	})
	if h.crowds == nil {
		h.crowds = map[name]map[Entry]uint64{}
	}
	h.crowds[k] = members
}

func (h *held) get(e *Entry) *heldItem {
	_, item := h.find(e)
	return item
}

// add keeps a copy of e that holds on to no larger buffer. What most entries have in common is kept
// once.
func (h *held) add(e *Entry) *heldItem {
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
	item.older, item.chained = h.byName[k]
	item.newer, item.followed = 0, false
	item.present = true
	if item.chained {
		before := h.at(item.older)
		before.newer, before.followed = n, true
	}
	h.byName[k] = n
	if members, crowded := h.crowds[k]; crowded {
		members[item.entry.bare()] = n
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
	for h.chunks[0] == nil {
		h.chunks, h.base = h.chunks[1:], h.base+chunkItems
	}
}

// unlink takes item n out of the list of its name.
func (h *held) unlink(n uint64, item *heldItem) {
	k := nameOf(&item.entry)
	if item.chained {
		older := h.at(item.older)
		older.newer, older.followed = item.newer, item.followed
	}
	switch {
	case item.followed:
		newer := h.at(item.newer)
		newer.older, newer.chained = item.older, item.chained
	case item.chained:
		h.byName[k] = item.older
	default:
		delete(h.byName, k)
		delete(h.crowds, k)
	}
	if members, crowded := h.crowds[k]; crowded {
		delete(members, item.entry.bare())
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

// forget drops what has expired at now among the next n items in turn, but nothing that is being
// appended.
func (h *held) forget(now int64, n int) {
	for range n {
		if h.cursor < h.base || h.cursor >= h.next {
			h.cursor = h.base
		}
		item := h.at(h.cursor)
		if item != nil && item.inFlight == 0 && item.entry.Expires <= now {
			h.remove(h.cursor, item)
		}
		h.cursor++
	}
}

// merged holds all that a and b hold, b's after a's unless that would move the more.
func merged(a, b held) held {
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
