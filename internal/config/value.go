package config

import (
	"encoding/json"
	"reflect"
	"strings"
)

// Value is whatever stands in a file, as JSON: for what is no setting, as the claims of a token.
type Value []byte

var valueType = reflect.TypeFor[Value]()

// json writes the node. Numbers are written as JSON has them; one that JSON does not know, as 0x1f
// and .inf, is a string.
func (n *node) json() []byte {
	switch n.kind {
	case null:
		return []byte("null")
	case boolean:
		return []byte(strings.ToLower(n.text))
	case integer, decimal:
		if json.Valid([]byte(n.text)) {
			return []byte(n.text)
		}
	case list:
		parts := make([]string, len(n.items))
		for i, item := range n.items {
			parts[i] = string(item.json())
		}
		return []byte("[" + strings.Join(parts, ",") + "]")
	case mapping:
		parts := make([]string, len(n.entries))
		for i, e := range n.entries {
			parts[i] = string(quotedJSON(e.key)) + ":" + string(e.value.json())
		}
		return []byte("{" + strings.Join(parts, ",") + "}")
	}
	return quotedJSON(n.text)
}

func quotedJSON(s string) []byte {
	b, err := json.Marshal(s)
	if err != nil { // strings always marshal
		return []byte(`""`)
	}
	return b
}
