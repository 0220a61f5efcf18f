package policy

import (
	"errors"
	"maps"
	"slices"
	"strings"

	"github.com/sallyport/sallyport/internal/config"
)

// hierarchy is the setting `roles` as a whole (role inheritance, as in RBAC): by a role's name all
// that it brings along, and all that bring it along, at any remove. Neither list has the role
// itself.
type hierarchy struct {
	brings    map[string][]string
	broughtBy map[string][]string
}

// validateRoles checks the names, and that no role brings itself along.
func validateRoles(direct map[string][]string) error {
	if len(direct) > maxNames {
		return config.At("roles", "expected at most %d roles, got %d", maxNames, len(direct))
	}
	var errs []error
	for _, role := range slices.Sorted(maps.Keys(direct)) {
		if role == "" {
			errs = append(errs, config.At("roles", "expected a role's name, got an empty string"))
			continue
		}
		errs = append(errs, validateNames("roles."+role, direct[role]))
	}
	if circle := findCircle(direct); circle != nil {
		errs = append(errs, config.At("roles."+circle[0],
			"expected no role to bring itself along, got %s: leave one of these steps out",
			strings.Join(circle, " > ")))
	}
	return errors.Join(errs...)
}

// findCircle returns the roles of a circle, the first once more at its end; nil where there is none.
func findCircle(direct map[string][]string) []string {
	done := map[string]bool{} // no circle begins here
	var way []string
	var visit func(role string) []string
	visit = func(role string) []string {
		if at := slices.Index(way, role); at >= 0 {
			return append(slices.Clone(way[at:]), role)
		}
		if done[role] {
			return nil
		}
		way = append(way, role)
		for _, next := range direct[role] {
			if circle := visit(next); circle != nil {
				return circle
			}
		}
		way, done[role] = way[:len(way)-1], true
		return nil
	}
	for _, role := range slices.Sorted(maps.Keys(direct)) {
		if circle := visit(role); circle != nil {
			return circle
		}
	}
	return nil
}

// newHierarchy follows every role to its end. There must be no circle.
func newHierarchy(direct map[string][]string) hierarchy {
	h := hierarchy{brings: map[string][]string{}, broughtBy: map[string][]string{}}
	for _, role := range slices.Sorted(maps.Keys(direct)) {
		seen := map[string]bool{}
		var follow func(string)
		follow = func(at string) {
			for _, next := range direct[at] {
				if !seen[next] {
					seen[next] = true
					follow(next)
				}
			}
		}
		follow(role)
		h.brings[role] = slices.Sorted(maps.Keys(seen))
		for junior := range seen {
			h.broughtBy[junior] = append(h.broughtBy[junior], role)
		}
	}
	return h
}

// enoughFor returns the roles any of which is as good as one of those that are asked for.
func (h hierarchy) enoughFor(asked []string) []string {
	enough := slices.Clone(asked)
	for _, role := range asked {
		enough = append(enough, h.broughtBy[role]...)
	}
	slices.Sort(enough)
	return slices.Compact(enough)
}
