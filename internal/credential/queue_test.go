package credential

import (
	"encoding/binary"
	"fmt"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// at makes a place out of small numbers.
func at(familiar bool, wide, narrow, name int) place {
	key := func(kind byte, ns ...int) digest {
		d := digest{kind}
		for i, n := range ns {
			binary.BigEndian.PutUint16(d[2+2*i:], uint16(n))
		}
		return d
	}
	return place{
		familiar: familiar,
		path:     [placeDepth]digest{key(1, wide), key(2, wide, narrow), key(3, wide, narrow, name)},
	}
}

func anyPlace(t *rapid.T) place {
	few := rapid.IntRange(0, 3)
	return at(rapid.Bool().Draw(t, "familiar"), few.Draw(t, "wide"), few.Draw(t, "narrow"),
		few.Draw(t, "name"))
}

// checkBranch counts a branch's turns and holds its books against them.
func checkBranch(t *rapid.T, b *branch) int {
	n := b.turns.Len()
	if len(b.below) != b.order.Len() || len(b.below) != len(b.sizes) {
		t.Fatalf("%d branches, %d in order, %d by size", len(b.below), b.order.Len(), len(b.sizes))
	}
	for i, c := range b.sizes {
		if c.rank != i || c.size > b.sizes[(i-1)/2].size || b.below[c.key] != c || c.size == 0 {
			t.Fatalf("branch %d of %d turns at rank %d", i, c.size, c.rank)
		}
		n += checkBranch(t, c)
	}
	if n != b.size {
		t.Fatalf("%d turns, %d counted", n, b.size)
	}
	return n
}

// TestTheQueueKeepsItsPlacesAndLosesNobody drives the queue through any order of comings, turns
// and goings: each turn ends in exactly one way, the places are never exceeded, only the greediest
// loses one, and nothing is kept of those who have gone.
func TestTheQueueKeepsItsPlacesAndLosesNobody(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		places := rapid.IntRange(0, 12).Draw(t, "places")
		q := newFairQueue(places)
		waiting := map[*turn]place{}
		networks := func(familiar digest) map[digest]int { // turns by network
			sizes := map[digest]int{}
			for w := range waiting {
				path, queue := w.at, w.at
				for queue.up != &q.root {
					path, queue = queue, queue.up
				}
				if queue.key == familiar {
					sizes[path.key]++
				}
			}
			return sizes
		}
		t.Repeat(map[string]func(*rapid.T){
			"join": func(t *rapid.T) {
				p, n := anyPlace(t), &turn{}
				before := networks(strangers)
				switch loser := q.join(n, p); {
				case loser == n:
					for network, size := range before {
						if size > before[p.path[0]]+1 {
							t.Fatalf(
								"turned away with %d of its network waiting, while %v has %d",
								before[p.path[0]], network, size)
						}
					}
				case loser != nil:
					if _, there := waiting[loser]; !there {
						t.Fatal("one loses its place that had none")
					}
					lost := waiting[loser]
					delete(waiting, loser)
					waiting[n] = p
					sizes := networks(strangers)
					if p.familiar {
						sizes = networks(regulars)
					}
					for network, size := range sizes {
						if size > sizes[lost.path[0]]+1 {
							t.Fatalf("%v had %d turns and lost none, one with %d did", network,
								size, sizes[lost.path[0]]+1)
						}
					}
				default:
					waiting[n] = p
				}
			},
			"serve": func(t *rapid.T) {
				n := q.first()
				if (n == nil) != (len(waiting) == 0) {
					t.Fatalf("%d wait, next %v", len(waiting), n)
				}
				if n == nil {
					return
				}
				if _, there := waiting[n]; !there {
					t.Fatal("one is served twice, or has lost its place")
				}
				q.serve(n)
				delete(waiting, n)
			},
			"leave": func(t *rapid.T) {
				for n := range waiting {
					q.remove(n)
					delete(waiting, n)
					return
				}
			},
			"": func(t *rapid.T) {
				if checkBranch(t, &q.root) != len(waiting) {
					t.Fatalf("%d wait, %d are known", q.root.size, len(waiting))
				}
				for queue, most := range map[digest]int{strangers: places, regulars: (places + 3) / 4} {
					if b := q.root.below[queue]; b != nil && b.size > most {
						t.Fatalf("%d of %d places", b.size, most)
					}
				}
			},
		})
	})
}

// TestNobodyWaitsLongerThanARound: whatever the others send, who waits has its turn before any
// network has two of its own.
func TestNobodyWaitsLongerThanARound(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		q := newFairQueue(1000)
		for range rapid.IntRange(0, 200).Draw(t, "waiting") {
			q.join(&turn{}, anyPlace(t))
		}
		p := anyPlace(t)
		p.path = at(false, 99, 0, 0).path // a network of its own
		mine := &turn{}
		q.join(mine, p)
		served := map[digest]int{}
		for q.first() != mine {
			n := q.first()
			path, queue := n.at, n.at
			for queue.up != &q.root {
				path, queue = queue, queue.up
			}
			if mine.at.up.up.up == queue {
				served[path.key]++
			}
			q.serve(n)
			q.join(&turn{}, anyPlace(t)) // and they send more
		}
		for network, n := range served {
			if n > 1 {
				t.Fatalf("%v had %d turns meanwhile", network, n)
			}
		}
	})
}

// TestAFloodDisplacesItselfAlone: one network sends any number, in any names and subnets; each of
// the others keeps its places, and finds one.
func TestAFloodDisplacesItselfAlone(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		const places = 16
		q := newFairQueue(places)
		honest := map[*turn]bool{}
		flood := func() {
			for range rapid.IntRange(0, 40).Draw(t, "flood") {
				subnet := rapid.IntRange(0, 255).Draw(t, "subnet")
				name := rapid.IntRange(0, 999).Draw(t, "name")
				if honest[q.join(&turn{}, at(false, 0, subnet, name))] {
					t.Fatal("the flood took an honest one's place")
				}
			}
		}
		for i := range places/2 - 1 {
			flood()
			n := &turn{}
			if loser := q.join(n, at(false, i+1, 0, 0)); loser == n || honest[loser] {
				t.Fatalf("honest network %d found no place", i+1)
			}
			honest[n] = true
		}
		flood()
	})
}

func order(q *fairQueue, names map[*turn]string) []string {
	var all []string
	for n := q.first(); n != nil; n = q.first() {
		all = append(all, names[n])
		q.serve(n)
	}
	return all
}

func TestTurnsGoRoundByNetworkThenAddressThenName(t *testing.T) {
	q, names := newFairQueue(100), map[*turn]string{}
	for _, p := range []place{
		at(false, 1, 1, 1), at(false, 1, 1, 1), at(false, 1, 1, 1), at(false, 1, 1, 2),
		at(false, 1, 2, 1), at(false, 2, 1, 1),
	} {
		n := &turn{}
		names[n] = fmt.Sprintf("%d.%d.%d", p.path[0][3], p.path[1][5], p.path[2][7])
		q.join(n, p)
	}
	if got, want := order(q, names), []string{
		"1.1.1",
		"2.1.1",
		"1.2.1",
		"1.1.2",
		"1.1.1",
		"1.1.1",
	}; !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

// TestWhoHasBeenThereBeforeHasEverySecondTurn: a hundred networks of strangers wait, and the
// regular is next or next but one; and when strangers have taken every place of theirs, there is
// one for the regular.
func TestWhoHasBeenThereBeforeHasEverySecondTurn(t *testing.T) {
	q := newFairQueue(100)
	for i := range 300 {
		q.join(&turn{}, at(false, i, 0, 0))
	}
	regular := &turn{}
	if loser := q.join(regular, at(true, 5, 0, 0)); loser != nil {
		t.Fatal("it took somebody's place, or found none")
	}
	q.serve(q.first())
	if q.first() != regular {
		t.Error("it waits for more than one stranger")
	}
	for i := range 300 {
		q.join(&turn{}, at(true, 1000+i, 0, 0))
	}
	if got := q.root.below[regulars].size; got != 25 {
		t.Errorf("%d regulars wait, 25 may", got)
	}
}

func TestNetworksThatTakeTurnsAreWhatOneSiteIsGiven(t *testing.T) {
	for from, want := range map[string][2]string{
		"2001:db8:1:2::1":     {"2001:db8:1::/48", "2001:db8:1::/56"},
		"2001:db8:1:1ff::1":   {"2001:db8:1::/48", "2001:db8:1:100::/56"},
		"198.51.100.7":        {"198.51.100.0/24", "198.51.100.7/32"},
		"::ffff:198.51.100.7": {"198.51.100.0/24", "198.51.100.7/32"},
	} {
		if wide, narrow := neighbours(ip(from)); wide != want[0] || narrow != want[1] {
			t.Errorf("%s: got %s and %s", from, wide, narrow)
		}
	}
}
