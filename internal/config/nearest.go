package config

import (
	"fmt"
	"strings"
)

// nearest returns the known word that a typist most likely meant by word; "" when none is near.
func nearest(word string, known []string) string {
	best, distance := "", max(1, len(word)/3)+1
	for _, k := range known {
		if d := edits(plain(word), plain(k)); d < distance {
			best, distance = k, d
		}
	}
	return best
}

// plain makes spellings equal that differ only in case and in how words are joined.
func plain(s string) string {
	if len(s) > maxQuote {
		s = s[:maxQuote]
	}
	return strings.NewReplacer("_", "", "-", "", ".", "").Replace(strings.ToLower(s))
}

// edits counts the letters to add, drop, change or swap with their neighbour (the restricted
// Damerau-Levenshtein distance).
func edits(a, b string) int {
	// Three rows of the table are enough: a swap looks back two.
	var before, previous []int
	current := make([]int, len(b)+1)
	for j := range current {
		current[j] = j
	}
	for i := range len(a) {
		before, previous, current = previous, current, make([]int, len(b)+1)
		current[0] = i + 1
		for j := range len(b) {
			change := previous[j]
			if a[i] != b[j] {
				change++
			}
			current[j+1] = min(change, previous[j+1]+1, current[j]+1)
			if i > 0 && j > 0 && a[i] == b[j-1] && a[i-1] == b[j] {
				current[j+1] = min(current[j+1], before[j-1]+1)
			}
		}
	}
	return current[len(b)]
}

// unknownKey names the nearest known key, or all of them when none is near.
func unknownKey(key string, known []string) error {
	if near := nearest(key, known); near != "" {
		return fmt.Errorf("unknown key: did you mean %s?", near)
	}
	return fmt.Errorf("unknown key: expected one of %s", strings.Join(known, ", "))
}
