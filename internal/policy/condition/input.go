package condition

import (
	"iter"
	"strconv"
	"strings"
	"time"

	"cel.dev/cel-go/cel"

	"github.com/sallyport/sallyport/internal/token/strict"
)

// Input is what a condition is evaluated for. What is costly to have is asked for only if the
// condition speaks of it.
type Input struct {
	Claims             strict.Value // an object
	Roles              func() []string
	Scopes             []string
	Method, Host, Path string
	Segment            func(name string) (value string, ok bool)
	Headers            iter.Seq2[string, string] // names in any case
	Peer               string
	Now                time.Time
}

var _ cel.Activation = (*Input)(nil)

// Parent implements cel.Activation: there is none.
func (in *Input) Parent() cel.Activation { return nil }

// ResolveName implements cel.Activation. What is not there is no value, so that a condition which
// reads it has an error.
func (in *Input) ResolveName(name string) (any, bool) {
	switch name {
	case claims:
		return native(in.Claims), in.Claims.Kind() == strict.Object
	case roles:
		return in.Roles(), true
	case scopes:
		return in.Scopes, true
	case method:
		return in.Method, true
	case host:
		return in.Host, in.Host != ""
	case path:
		return in.Path, true
	case headers:
		return in.headers(), true
	case peer:
		return in.Peer, true
	case now:
		return in.Now, true
	}
	if name, ok := strings.CutPrefix(name, segment); ok {
		return in.Segment(name)
	}
	return nil, false
}

func (in *Input) headers() map[string]string {
	lines := map[string][]string{}
	for name, value := range in.Headers {
		name = strings.ToLower(name)
		lines[name] = append(lines[name], value)
	}
	all := make(map[string]string, len(lines))
	for name, values := range lines {
		all[name] = strings.Join(values, ",")
	}
	return all
}

// native returns a claim as CEL takes it: whole numbers that fit are of type int, others double. One
// that is too great for that is infinite.
func native(v strict.Value) any {
	switch v.Kind() {
	case strict.Bool:
		return v.Text() == "true"
	case strict.Number:
		if n, err := strconv.ParseInt(v.Text(), 10, 64); err == nil {
			return n
		}
		f, _ := strconv.ParseFloat(v.Text(), 64) // out of range it is infinite, which compares as it should
		return f
	case strict.String:
		return v.Text()
	case strict.Array:
		all := make([]any, 0, len(v.Members()))
		for _, m := range v.Members() {
			all = append(all, native(m.Value))
		}
		return all
	case strict.Object:
		all := make(map[string]any, len(v.Members()))
		for _, m := range v.Members() {
			all[m.Name] = native(m.Value)
		}
		return all
	}
	return nil
}
