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
	// names[i] is what segments[i] is called, "" where it has no name; no longer than it need be
	names   []string
	methods methodSet
	hosts   hostSet
	headers headerSet
}

// The two wildcards as segments. No literal segment has a slash, so that none is taken for them.
const (
	anyOne  = "/*"
	anyRest = "/**"
)

func compileMatch(m Match) (*matcher, error) {
	hosts, err := compileHosts(m.Hosts)
	if err != nil {
		return nil, err
	}
	headers, err := compileHeaders(m.Headers)
	if err != nil {
		return nil, err
	}
	if m.GRPC != "" {
		segments, err := compileGRPC(m)
		return &matcher{
			segments: segments, methods: methodSet{"POST"}, hosts: hosts, headers: headers,
		}, err
	}
	segments, names, err := compilePath(m.Path)
	if err != nil {
		return nil, config.At("path", "%w", err)
	}
	methods, err := compileMethods(m.Methods)
	if err != nil {
		return nil, err
	}
	return &matcher{
		segments: segments, names: names, methods: methods, hosts: hosts, headers: headers,
	}, nil
}

// String is the pattern as it is written.
func (m Match) String() string { return m.Path + m.GRPC } // one of them is empty

// compileGRPC cuts service and method into the segments of a path, as gRPC over HTTP/2 has it.
func compileGRPC(m Match) ([]string, error) {
	if m.Path != "" || m.Methods != nil {
		return nil, config.At("grpc", "stands for a path and the method POST: leave path and methods out")
	}
	service, method, _ := strings.Cut(m.GRPC, "/")
	name := method
	if method == "*" {
		name, method = "any", anyOne
	}
	// Names of protobuf: letters, digits and underscores, which are packages' with dots between them.
	for part := range strings.SplitSeq(service+"."+name, ".") {
		if !isVariable(strings.ToLower(part)) {
			return nil, config.At("grpc",
				"expected a service and its method as shop.v1.Orders/Get, or shop.v1.Orders/*, got %q", m.GRPC)
		}
	}
	return []string{service, method}, nil
}

// compilePath cuts a pattern into segments and their names. The pattern is read exactly as a
// request's path is.
func compilePath(pattern string) (segments, names []string, err error) {
	if pattern == "" {
		return nil, nil, fmt.Errorf("expected a path as /api/**, got none")
	}
	if strings.ContainsAny(pattern, "?;") {
		return nil, nil, fmt.Errorf("expected a path without query and parameters, got %q", pattern)
	}
	var canonical requestPath
	if problem := canonical.read(pattern); problem != "" {
		return nil, nil, fmt.Errorf("no request falls under %q: %s", pattern, problem)
	}
	// Wildcards are those of the pattern as written: %2A is a star by name.
	written := splitPath(pattern)
	for i, literal := range splitPath(canonical.value) {
		segment, name, err := compileSegment(written[i], literal, i == len(written)-1)
		switch {
		case err != nil:
			return nil, nil, fmt.Errorf("%w in %q", err, pattern)
		case name != "" && slices.Contains(names, name):
			return nil, nil, fmt.Errorf("expected each name once, got {%s} twice in %q", name, pattern)
		case name != "":
			names = append(append(names, make([]string, i-len(names))...), name)
		}
		segments = append(segments, segment)
	}
	if len(segments) > maxSegments {
		return nil, nil, fmt.Errorf("expected at most %d segments, got %d", maxSegments, len(segments))
	}
	return segments, names, nil
}

func compileSegment(written, literal string, last bool) (segment, name string, err error) {
	inner, opened := strings.CutPrefix(written, "{")
	name, closed := strings.CutSuffix(inner, "}")
	switch {
	case written == "*":
		return anyOne, "", nil
	case written == "**" && last:
		return anyRest, "", nil
	case written == "**":
		return "", "", fmt.Errorf("expected ** only as the last segment")
	case strings.Contains(written, "*"):
		return "", "", fmt.Errorf(
			"expected * and ** only as segments of their own (%%2A is a literal star), got %q",
			written)
	case opened && closed && isVariable(name):
		return anyOne, name, nil
	case strings.ContainsAny(written, "{}"):
		return "", "", fmt.Errorf(
			"expected {name} only as a segment of its own, of small letters, digits"+
				" and underscores (%%7B and %%7D are literal braces), got %q",
			written,
		)
	}
	return literal, "", nil
}

// isVariable reports whether s may name a segment.
func isVariable(s string) bool {
	return s != "" && len(s) <= maxVariable && (s[0] < '0' || s[0] > '9') &&
		strings.Trim(s, "abcdefghijklmnopqrstuvwxyz0123456789_") == ""
}

const maxVariable = 64

// splitPath returns the segments of a path that judgeSegments has passed; a slash at the end adds
// none.
func splitPath(path string) []string {
	path = strings.Trim(path, "/")
	if path == "" {
		return nil
	}
	return strings.Split(path, "/")
}

func (m *matcher) candidate(rule *Rule) *candidate {
	return &candidate{
		rule: rule, segments: m.segments, methods: m.methods, hosts: m.hosts, headers: m.headers,
	}
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
