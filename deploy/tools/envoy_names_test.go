package tools

import (
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"
)

// otherSigns are those that a header's name may have (RFC 9110 section 5.6.2) beside "-".
const otherSigns = "!#$%&'*+.^_`|~"

// TestEnvoyRemovesEveryNameThatOnlyAGateMayUse, by the second pattern alone, whatever sign stands
// for "-" (users may except names from the first), and no other name that has no other sign.
func TestEnvoyRemovesEveryNameThatOnlyAGateMayUse(t *testing.T) {
	patterns := removed(t, manager(t, envoyBeside, "gateway"))
	// Envoy tries each on each header of each request.
	if len(patterns) != 2 {
		t.Fatalf("%d patterns, expected two: %q", len(patterns), patterns)
	}
	signs, gates := whole(patterns[0]), whole(patterns[1])
	for _, name := range []string{
		"x-http-method-override", "x-http-method", "x-method-override", "x-original-url",
		"x-rewrite-url", "x-auth-subject", "x-auth-roles", "x-auth-token-id", "x-auth-tenant",
		"x-auth-a", "x-auth-", "x-auth--", "x-auth-method-override", "x-sallyport-stripped",
		"x-sallyport-reason", "x-sallyport-",
	} {
		if !gates.MatchString(name) || signs.MatchString(name) {
			t.Errorf("%s: by the second pattern %v, by the first %v", name, gates.MatchString(name),
				signs.MatchString(name))
		}
		for _, sign := range otherSigns {
			for n := 1; n <= strings.Count(name, "-"); n++ {
				spelt := strings.Replace(name, "-", string(sign), n)
				if !gates.MatchString(spelt) || !signs.MatchString(spelt) {
					t.Errorf("%s: by the second pattern %v, by the first %v", spelt,
						gates.MatchString(spelt), signs.MatchString(spelt))
				}
			}
		}
	}
	for _, name := range []string{
		":path", ":method", ":authority", ":scheme", "accept", "authorization", "content-type",
		"cookie", "x-access-token", "x-beta", "x-forwarded-for", "x-request-id", "x-tenant",
		"x", "x-", "x-auth", "x-author", "x-authority", "x-auth0-subject", "x-oauth-subject",
		"xx-auth-subject", "xauth-subject", "x0auth-subject", "x--auth-subject", "auth-subject",
		"a-x-auth-subject", "x-sallyport", "x-sallyports-a", "sallyport-stripped",
		"x-method", "x-http", "x-http-methods", "x-http-method-overrides", "x-http-method-override-a",
		"x-http-methodoverride", "x-httpmethod-override", "x-http--method", "x-https-method",
		"x-methods-override", "x-method-overrides", "x-method-overwrite", "xx-method-override",
		"http-method-override", "method-override", "a-x-http-method", "x-http-override",
		"x-original-uri", "x-original-urls", "x-original-method", "x-original", "x-originalurl",
		"x-original-url-a", "x-rewrite-uri", "x-rewrite", "x-url", "xx-rewrite-url", "original-url",
	} {
		if gates.MatchString(name) || signs.MatchString(name) {
			t.Errorf("%s is another's: by the second pattern %v, by the first %v", name,
				gates.MatchString(name), signs.MatchString(name))
		}
	}
	for _, name := range []string{"x_author", "x.beta", "grpc.trace", "a!", "~a", "x-authority#"} {
		if gates.MatchString(name) || !signs.MatchString(name) {
			t.Errorf("%s: by the second pattern %v, by the first %v", name, gates.MatchString(name),
				signs.MatchString(name))
		}
	}
}

// TestThePageOfEnvoyOverHTTPHasTheSamePatterns as the shipped file, and the same mark.
func TestThePageOfEnvoyOverHTTPHasTheSamePatterns(t *testing.T) {
	const page = "docs/doors/envoy-http.md"
	blocks := strings.Split(readFile(t, page), "\n```yaml\n")
	text, _, _ := strings.Cut(blocks[len(blocks)-1], "\n```\n")
	var file map[string]any
	if err := yaml.Unmarshal([]byte(text), &file); err != nil {
		t.Fatal(err)
	}
	shipped := slices.DeleteFunc(mutations(t, manager(t, envoyBeside, "gateway")), func(m any) bool {
		return m.(map[string]any)["remove"] == "x-forwarded-for" // the page has a client's address
	})
	if got := mutations(t, managerIn(t, file, "gateway")); !reflect.DeepEqual(got, shipped) {
		t.Errorf("%s has\n%v, %s\n%v", page, got, envoyBeside, shipped)
	}
}

// whole compiles a pattern that has to match all of a name, as Envoy has it: its regular expressions
// are RE2's, as Go's are.
func whole(pattern string) *regexp.Regexp { return regexp.MustCompile(`\A(?:` + pattern + `)\z`) }

// removed returns the patterns of names that a connection manager removes before all else.
func removed(t *testing.T, manager map[string]any) (patterns []string) {
	t.Helper()
	for _, m := range mutations(t, manager) {
		if entry := m.(map[string]any); entry["remove_on_match"] != nil {
			patterns = append(patterns, dig(t, entry, "remove_on_match", "key_matcher", "safe_regex",
				"regex").(string))
		}
	}
	return patterns
}

func mutations(t *testing.T, manager map[string]any) []any {
	t.Helper()
	early := dig(t, manager, "early_header_mutation_extensions").([]any)
	if len(early) != 1 {
		t.Fatalf("%d extensions, expected one", len(early))
	}
	return dig(t, early[0], "typed_config", "mutations").([]any)
}
