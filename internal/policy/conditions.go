package policy

import (
	"runtime"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/sallyport/sallyport/internal/daemon"
	"github.com/sallyport/sallyport/internal/policy/condition"
)

// conditions are those that have been compiled lately. A policy is read more than once when it is
// loaded, and most conditions of the next one are those of the one before: compiling is what takes
// time in reading a policy.
var conditions = compiled{now: map[string]verdict{}, before: map[string]verdict{}}

// compiled remembers what the last policy and the one that is being read have asked for.
type compiled struct {
	mu          sync.Mutex
	now, before map[string]verdict
}

// verdict is what came of a condition.
type verdict struct {
	program *condition.Program
	err     error
}

// get returns a condition compiled; no text is none.
func (c *compiled) get(text string, names []string) (*condition.Program, error) {
	if text == "" {
		return nil, nil
	}
	key := strings.Join(names, "/") + "\n" + text
	c.mu.Lock()
	v, ok := c.now[key]
	if !ok {
		v, ok = c.before[key]
	}
	c.mu.Unlock()
	if !ok {
		v.program, v.err = condition.Compile(text, names) // for as long as it takes, without the lock
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	// Files that are never put in force must not add up.
	if len(c.now) >= maxRoutes {
		clear(c.now)
	}
	c.now[key] = v
	return v.program, v.err
}

// Prepare compiles all conditions at once, on as many processors as there are. Whoever needs one later
// finds it compiled; what is wrong with it is reported then.
func (c Config) Prepare() {
	type asked struct {
		text  string
		names []string
	}
	var all []asked
	for i := range min(len(c.Routes), maxRoutes) {
		r := &c.Routes[i]
		m, err := compileMatch(r.Match)
		if err != nil {
			continue // the match itself reports it
		}
		for _, one := range append([]Require{r.Require}, r.Require.AnyOf...) {
			if one.When != "" {
				all = append(all, asked{one.When, m.names})
			}
		}
	}
	var next atomic.Int64
	var workers sync.WaitGroup
	for range min(runtime.GOMAXPROCS(0), len(all)) {
		workers.Go(func() {
			for i := next.Add(1); i <= int64(len(all)); i = next.Add(1) {
				// Whoever needs it meets what is wrong with it, were it a panic of the compiler's.
				_ = daemon.Guard(func() error {
					_, err := conditions.get(all[i-1].text, all[i-1].names)
					return err
				})
			}
		})
	}
	workers.Wait()
}

// turn forgets what neither this policy nor any since the last one has asked for.
func (c *compiled) turn() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now, c.before = map[string]verdict{}, c.now
}
