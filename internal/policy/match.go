package policy

import (
	"fmt"
	"slices"
	"strings"

	"github.com/sallyport/sallyport/internal/config"
)

// matcher is one compiled Match.
type matcher struct {
	segments []string // literals, anyOne, and anyRest as the last
	methods  methodSet
	hosts    hostSet
}

// The two wildcards as segments. No literal segment has a slash, so that none is taken for them.
const (
	anyOne  = "/*"
	anyRest = "/**"
)

func compileMatch(m Match) (*matcher, error) {
	segments, err := compilePath(m.Path)
	if err != nil {
		return nil, config.At("path", "%w", err)
	}
	methods, err := compileMethods(m.Methods)
	if err != nil {
		return nil, err
	}
	hosts, err := compileHosts(m.Hosts)
	if err != nil {
		return nil, err
	}
	return &matcher{segments: segments, methods: methods, hosts: hosts}, nil
}

// compilePath cuts a pattern into segments. The pattern is read exactly as a request's path is.
func compilePath(pattern string) ([]string, error) {
	if pattern == "" {
		return nil, fmt.Errorf("expected a path as /api/**, got none")
	}
	if strings.ContainsAny(pattern, "?;") {
		return nil, fmt.Errorf("expected a path without query and parameters, got %q", pattern)
	}
	var canonical requestPath
	if problem := canonical.read(pattern); problem != "" {
		return nil, fmt.Errorf("no request falls under %q: %s", pattern, problem)
	}
	var segments []string
	// Wildcards are those of the pattern as written: %2A is a star by name.
	written := splitPath(pattern)
	for i, literal := range splitPath(canonical.value) {
		segment, err := compileSegment(written[i], literal, i == len(written)-1)
		if err != nil {
			return nil, fmt.Errorf("%w in %q", err, pattern)
		}
		segments = append(segments, segment)
	}
	if len(segments) > maxSegments {
		return nil, fmt.Errorf("expected at most %d segments, got %d", maxSegments, len(segments))
	}
	return segments, nil
}

func compileSegment(written, literal string, last bool) (string, error) {
	switch {
	case written == "*":
		return anyOne, nil
	case written == "**" && last:
		return anyRest, nil
	case written == "**":
		return "", fmt.Errorf("expected ** only as the last segment")
	case strings.Contains(written, "*"):
		return "", fmt.Errorf(
			"expected * and ** only as segments of their own (%%2A is a literal star), got %q",
			written)
	}
	return literal, nil
}

// splitPath returns the segments of a path that judgeSegments has passed; a slash at the end adds
// none.
func splitPath(path string) []string {
	path = strings.Trim(path, "/")
	if path == "" {
		return nil
	}
	return strings.Split(path, "/")
}

// covers reports whether m matches whatever other matches.
func (m *matcher) covers(other *matcher) bool {
	return coversPath(m.segments, other.segments) && m.methods.covers(other.methods) &&
		m.hosts.covers(other.hosts)
}

func coversPath(a, b []string) bool {
	for i, segment := range a {
		switch {
		case segment == anyRest:
			return true
		case i >= len(b), b[i] == anyRest:
			return false
		case segment != anyOne && segment != b[i]:
			return false
		}
	}
	return len(a) == len(b)
}

// methodSet is a list of method names; an empty one stands for all.
type methodSet []string

func compileMethods(methods []string) (methodSet, error) {
	if len(methods) > maxNames {
		return nil, config.At("methods", "expected at most %d methods, got %d", maxNames, len(methods))
	}
	for i, m := range methods {
		at := fmt.Sprintf("methods[%d]", i)
		switch {
		case !isMethod(m):
			return nil, config.At(at, "expected a method's name as GET, got %q", m)
		case m != strings.ToUpper(m):
			return nil, config.At(at,
				"methods are told apart by case (RFC 9110 section 9.1): write %s, got %s",
				strings.ToUpper(m), m)
		case slices.Contains(methods[:i], m):
			return nil, config.At(at, "%s is there twice", m)
		}
	}
	return slices.Clone(methods), nil
}

func (s methodSet) contains(method string) bool {
	return len(s) == 0 || slices.Contains(s, method)
}

func (s methodSet) covers(other methodSet) bool {
	if len(s) == 0 {
		return true
	}
	return len(other) > 0 && !slices.ContainsFunc(other, func(m string) bool { return !s.contains(m) })
}

// isMethod reports whether m is a token of RFC 9110 section 5.6.2.
func isMethod(m string) bool {
	return m != "" && !strings.ContainsFunc(m, func(r rune) bool {
		return !('a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9' ||
			strings.ContainsRune("!#$%&'*+-.^_`|~", r))
	})
}
