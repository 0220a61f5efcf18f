package policy

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/sallyport/sallyport/internal/config"
)

// CORS says which pages of other origins may read a route's answers (Fetch standard, section 3.2).
type CORS struct {
	// Origins are exact: https://app.example.com. No pattern stands for several, and `null` is nobody's.
	Origins []string `yaml:"origins"`
	// Headers are what a request may have besides what any may; authorization and content-type when it
	// says nothing.
	Headers []string `yaml:"headers"`
	// Expose are headers of the answer that a page may read besides what it always may.
	Expose []string `yaml:"expose"`
	// Credentials lets requests have cookies.
	Credentials bool          `yaml:"credentials"`
	MaxAge      time.Duration `yaml:"max_age"` // for how long a preflight's answer holds; 0: 10 minutes
}

// Validate checks that the origins are ones as browsers write them, and the names.
func (c CORS) Validate() error {
	var errs []error
	if len(c.Origins) > maxNames || len(c.Headers) > maxNames || len(c.Expose) > maxNames {
		errs = append(errs, config.At("origins", "expected at most %d of each", maxNames))
	}
	if len(c.Origins) == 0 && (len(c.Headers)+len(c.Expose) > 0 || c.Credentials || c.MaxAge != 0) {
		errs = append(errs, config.At("origins", "expected at least one, got none"))
	}
	for i, o := range c.Origins {
		if err := config.CheckOrigin(o); err != nil {
			errs = append(errs, config.At(fmt.Sprintf("origins[%d]", i), "%w", err))
		}
	}
	for key, names := range map[string][]string{"headers": c.Headers, "expose": c.Expose} {
		for i, name := range names {
			if !isMethod(name) || name == "*" || name != strings.ToLower(name) {
				errs = append(errs, config.At(fmt.Sprintf("%s[%d]", key, i),
					"expected a header's name in small letters, got %q", name))
			}
		}
	}
	if c.MaxAge < 0 || c.MaxAge > 24*time.Hour {
		errs = append(errs, config.At("max_age", "expected at most 24h, got %v", c.MaxAge))
	}
	return errors.Join(errs...)
}

// Across is a compiled CORS: the values of its headers.
type Across struct {
	origins     []string
	Headers     string // access-control-allow-headers
	Expose      string // access-control-expose-headers
	Credentials bool
	MaxAge      string // in seconds
}

// Trusts reports whether pages of an origin may read answers.
func (a *Across) Trusts(origin string) bool {
	return a != nil && slices.Contains(a.origins, origin)
}

// IsOneMethod reports whether access-control-allow-methods may name a method: to browsers `*` stands
// there for all.
func IsOneMethod(method string) bool { return isMethod(method) && method != "*" }

const defaultMaxAge = 10 * time.Minute

// Compile returns nil where no origin is trusted. expose are headers that pages may read besides.
func (c CORS) Compile(expose ...string) *Across {
	if len(c.Origins) == 0 {
		return nil
	}
	if c.Headers == nil {
		c.Headers = []string{"authorization", "content-type"}
	}
	if c.MaxAge == 0 {
		c.MaxAge = defaultMaxAge
	}
	return &Across{
		origins: slices.Clone(c.Origins), Headers: strings.Join(c.Headers, ", "),
		Expose:      strings.Join(append(slices.Clone(c.Expose), expose...), ", "),
		Credentials: c.Credentials, MaxAge: strconv.Itoa(int(c.MaxAge / time.Second)),
	}
}
