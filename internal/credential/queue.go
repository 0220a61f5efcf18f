package credential

import (
	"container/heap"
	"container/list"
)

// place is where a login stands in the queue.
type place struct {
	// familiar: the name has logged in from this address before.
	familiar bool
	// path are, from wide to narrow, whom the login shares its turns with: the network, the smaller
	// network or address in it, and the name at that address.
	path [placeDepth]digest
}

const placeDepth = 3

// turn is a wait in the queue. done is closed, under the pool's mutex, once the room is taken for
// it, or its place is lost to others.
type turn struct {
	memory int64
	done   chan struct{}
	lost   bool

	at   *branch       // its place; nil once it waits no more
	here *list.Element // in at.turns
}

// fairQueue lets networks take turns, then addresses within a network, then names at an address:
// however many requests one of them sends, it gets one turn a round. Logins from where the name
// has logged in before are a queue of their own with places of its own, and take every second
// turn.
//
// When all places are taken, the network (address, name) that has most of them loses its newest: a
// flood displaces itself and nobody else.
//
// The queue is a tree whose leaves hold the turns. Coming, going and being served take time
// logarithmic in the number of branches.
type fairQueue struct {
	root   branch
	places map[digest]int // of each of the two queues
}

// The keys of the two queues in root.
var strangers, regulars = digest{0}, digest{1}

// branch is a set of turns that share: at the leaves the turns themselves, above them branches in
// the order of their turns.
type branch struct {
	key   digest
	up    *branch
	size  int           // turns in it
	here  *list.Element // in up.order
	rank  int           // in up.sizes
	order list.List     // of *branch
	sizes bySize
	below map[digest]*branch
	turns list.List // of *turn
}

// bySize is a heap of branches, the one with most turns first.
type bySize []*branch

func (s bySize) Len() int           { return len(s) }
func (s bySize) Less(i, j int) bool { return s[i].size > s[j].size }
func (s bySize) Swap(i, j int)      { s[i], s[j] = s[j], s[i]; s[i].rank, s[j].rank = i, j }
func (s *bySize) Push(b any)        { b.(*branch).rank = len(*s); *s = append(*s, b.(*branch)) }

func (s *bySize) Pop() any {
	last := len(*s) - 1
	b := (*s)[last]
	(*s)[last], *s = nil, (*s)[:last]
	return b
}

// grow changes the number of turns in the branch, and in all above it.
func (b *branch) grow(by int) {
	for ; b != nil; b = b.up {
		b.size += by
		if b.up != nil {
			heap.Fix(&b.up.sizes, b.rank)
		}
	}
}

// newFairQueue returns a queue with so many places for strangers, and a quarter as many more for
// those who are no strangers.
func newFairQueue(places int) *fairQueue {
	return &fairQueue{places: map[digest]int{strangers: places, regulars: (places + 3) / 4}}
}

// child returns the branch of that key; a new one is the last to have its turn.
func (b *branch) child(key digest) *branch {
	if c := b.below[key]; c != nil {
		return c
	}
	c := &branch{key: key, up: b}
	if b.below == nil {
		b.below = map[digest]*branch{}
	}
	b.below[key], c.here = c, b.order.PushBack(c)
	heap.Push(&b.sizes, c)
	return c
}

// prune removes empty branches from b upwards. One that comes back is the last in the order.
func (b *branch) prune() {
	for ; b.up != nil && b.size == 0; b = b.up {
		b.up.order.Remove(b.here)
		heap.Remove(&b.up.sizes, b.rank)
		delete(b.up.below, b.key)
	}
}

// join gives the turn a place. It returns the turn that loses its place to it, which may be the
// newcomer itself, or nil.
func (q *fairQueue) join(t *turn, p place) (loser *turn) {
	// A regular who finds no place among the regulars may still find one among the strangers.
	if p.familiar {
		if loser = q.add(t, regulars, p.path); loser != t {
			return loser
		}
	}
	return q.add(t, strangers, p.path)
}

func (q *fairQueue) add(t *turn, queue digest, path [placeDepth]digest) (loser *turn) {
	b := q.root.child(queue)
	for _, key := range path {
		b = b.child(key)
	}
	t.at, t.here = b, b.turns.PushBack(t)
	b.grow(1)
	if q.root.below[queue].size <= q.places[queue] {
		return nil
	}
	loser = q.greediest(queue, path)
	q.remove(loser)
	return loser
}

// greediest returns the newest turn of who has most: the newcomer's, which path leads to, if
// nobody has more.
func (q *fairQueue) greediest(queue digest, path [placeDepth]digest) *turn {
	b := q.root.below[queue]
	for _, key := range path {
		own, most := b.below[key], b.sizes[0]
		// Among equals it is the newcomer who goes: who waits already is not displaced by one who would
		// then have as many.
		if own != nil && own.size == most.size {
			most = own
		}
		b = most
	}
	return b.turns.Back().Value.(*turn)
}

// remove takes a turn out without its being served.
func (q *fairQueue) remove(t *turn) {
	leaf := t.at
	leaf.turns.Remove(t.here)
	leaf.grow(-1)
	leaf.prune()
	t.at, t.here = nil, nil
}

// first returns whose turn it is, nil when nobody waits.
func (q *fairQueue) first() *turn {
	if q.root.size == 0 {
		return nil
	}
	b := &q.root
	for b.order.Len() > 0 {
		b = b.order.Front().Value.(*branch)
	}
	return b.turns.Front().Value.(*turn)
}

// serve takes out the one whose turn it is, and sends all that it shares with to the end of their
// orders.
func (q *fairQueue) serve(t *turn) {
	for b := t.at; b.up != nil; b = b.up {
		b.up.order.MoveToBack(b.here)
	}
	q.remove(t)
}
