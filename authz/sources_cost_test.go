package authz

import (
	"strings"
	"testing"
)

// counting counts the bytes that a list is asked about.
type counting struct {
	list
	bytes *int
}

func (c counting) token(item string) (string, bool) {
	*c.bytes += len(item)
	return c.list.token(item)
}

// TestNoByteOfAListIsLookedAtMoreThanTwice: as part of an item, and of what a proxy may have
// joined. Whoever has no token may send as much as the proxy takes.
func TestNoByteOfAListIsLookedAtMoreThanTwice(t *testing.T) {
	const n = 2000
	for name, value := range map[string]string{
		"commas":               "a" + strings.Repeat(",", n) + "b" + strings.Repeat(" ", n) + "=",
		"commas without a =":   strings.Repeat("a,", n),
		"commas before one =":  strings.Repeat(",", n) + "session=x",
		"a comma in each item": strings.Repeat("a=b,c;", n),
		"the name again":       strings.Repeat("session=,", n),
		"items":                strings.Repeat("a=b; ", n),
	} {
		for header, l := range map[string]list{
			"cookie": cookies{"session"}, "sec-websocket-protocol": protocols{"session"},
		} {
			looked := 0
			var found taken
			r := &Request{Headers: []Header{{header, value}}}
			found.fromList(r, header, false, counting{l, &looked})
			if looked > 2*len(value) {
				t.Errorf("%s in %s: %d bytes for %d", name, header, looked, len(value))
			}
		}
	}
}
