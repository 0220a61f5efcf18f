package httpapi

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/url"
	"reflect"
	"slices"
	"strings"
	"time"
	"unicode/utf8"
)

// maxBody is the most bytes that a request's body may have.
const maxBody = 64 << 10

// lingering is how long what comes behind maxBody is read and thrown away.
const lingering = 250 * time.Millisecond

// Request is a request whose body has arrived whole.
type Request struct {
	*http.Request
	From Client
	body []byte
}

// HasBody reports whether the body says anything.
func (r *Request) HasBody() bool { return len(r.body) > 0 }

// Members reads the body as one JSON object whose members are strings, all of them named in
// allowed, each at most once.
func (r *Request) Members(allowed ...string) (map[string]string, error) {
	if err := checkContentType(r.Header, jsonType); err != nil {
		return nil, err
	}
	return parseBody(r.body, allowed)
}

// FormField reads the body as a form and returns the value of one parameter, which must be there
// once. Other parameters are ignored (OpenID Connect Back-Channel Logout 1.0 section 2.5).
func (r *Request) FormField(name string) (string, error) {
	if err := checkContentType(r.Header, FormType); err != nil {
		return "", err
	}
	form, err := url.ParseQuery(string(r.body))
	if err != nil {
		return "", InvalidRequest("the body is not a form")
	}
	if values := form[name]; len(values) == 1 && values[0] != "" {
		return values[0], nil
	}
	return "", InvalidRequest("the body does not have " + name + " once")
}

// Text returns the body as it came, of an endpoint whose type is neither JSON nor a form.
func (r *Request) Text() string { return string(r.body) }

// Read reads the body as Members does into a pointer to a struct, whose fields are the members: all
// of them strings with a tag.
func (r *Request) Read(dst any) error {
	into := reflect.ValueOf(dst).Elem() // anything but a pointer to such a struct panics in any test
	var allowed []string
	for field := range into.Type().Fields() {
		name, _, _ := strings.Cut(field.Tag.Get("json"), ",")
		allowed = append(allowed, name)
	}
	members, err := r.Members(allowed...)
	if err != nil {
		return err
	}
	for i, name := range allowed {
		into.Field(i).SetString(members[name])
	}
	return nil
}

// Flag reads ?name=true; any other text than true and false is refused.
func (r *Request) Flag(name string) (bool, error) {
	switch r.URL.Query().Get(name) {
	case "true":
		return true, nil
	case "", "false":
		return false, nil
	}
	return false, InvalidRequest(name + " is not true or false")
}

// The types of bodies.
const (
	jsonType = "application/json"
	FormType = "application/x-www-form-urlencoded"
)

// receive reads the body of a request, if it has one, of a type; "": JSON.
func receive(w http.ResponseWriter, r *http.Request, from Client, typ string) (*Request, error) {
	received := &Request{Request: r, From: from}
	if r.ContentLength == 0 {
		return received, nil
	}
	// Of a wrong type only so much is read as shows whether the body says anything at all.
	wrongType, most := checkContentType(r.Header, cmp.Or(typ, jsonType)), int64(maxBody)
	if wrongType != nil {
		most = maxNothing
	}
	body, err := readAll(w, r, most)
	switch {
	case err == nil && saysNothing(body):
		return received, nil
	case wrongType != nil:
		return nil, wrongType
	}
	received.body = body
	return received, err
}

// maxNothing is the most bytes that are read of a body whose type is wrong, to see whether it says
// anything.
const maxNothing = 64

// saysNothing reports whether a body is what clients' libraries send for none: blanks, null, or an
// object without members. It is none then, whatever its type: a request without a body needs no
// type either.
func saysNothing(body []byte) bool {
	const blanks = " \t\r\n" // RFC 8259 section 2
	body = bytes.Trim(body, blanks)
	if inner, ok := bytes.CutPrefix(body, []byte("{")); ok {
		return bytes.Equal(bytes.TrimLeft(inner, blanks), []byte("}"))
	}
	return len(body) == 0 || bytes.Equal(body, []byte("null"))
}

// checkContentType refuses all but one type in UTF-8, said once, and not compressed. Where that is
// JSON, it also keeps simple forms of foreign pages out, which browsers send without asking.
func checkContentType(h http.Header, want string) error {
	types := h.Values("Content-Type")
	if len(types) != 1 || len(h.Values("Content-Encoding")) > 0 {
		return unsupportedType(want)
	}
	kind, params, err := mime.ParseMediaType(types[0])
	if err != nil || kind != want {
		return unsupportedType(want)
	}
	for name, value := range params {
		if name != "charset" || !strings.EqualFold(value, "utf-8") {
			return unsupportedType(want)
		}
	}
	return nil
}

func readAll(w http.ResponseWriter, r *http.Request, most int64) ([]byte, error) {
	if r.ContentLength > most {
		w.Header().Set("Connection", "close") // what is on its way is not read
		return nil, errTooLarge
	}
	raw, err := io.ReadAll(http.MaxBytesReader(w, r.Body, most))
	var tooLarge *http.MaxBytesError
	if errors.As(err, &tooLarge) {
		w.Header().Set("Connection", "close")
		// The server would wait for the rest of it; this leaves the client time to see the answer.
		if err := http.NewResponseController(w).SetReadDeadline(time.Now().Add(lingering)); err != nil {
			return nil, fmt.Errorf("issuer: bounding the rest of a body: %w", err)
		}
		return nil, errTooLarge
	}
	if err != nil {
		return nil, InvalidRequest("the body did not arrive whole")
	}
	return raw, nil
}

// parseBody accepts exactly one spelling of what JSON leaves open: valid UTF-8 without NUL and lone
// surrogates, no member twice, nothing nested, nothing after the object.
func parseBody(raw []byte, allowed []string) (map[string]string, error) {
	if !utf8.Valid(raw) || !json.Valid(raw) {
		return nil, InvalidRequest("the body is not valid JSON in UTF-8")
	}
	// By tokens: json.Unmarshal takes the last of two members of one name, and any case of a name.
	d := json.NewDecoder(bytes.NewReader(raw))
	if open, err := d.Token(); err != nil || open != json.Delim('{') {
		return nil, InvalidRequest("the body is not a JSON object")
	}
	members := make(map[string]string, len(allowed))
	for d.More() {
		name, value, err := readMember(d)
		switch _, twice := members[name]; {
		case err != nil:
			return nil, err
		case twice:
			return nil, InvalidRequest("a member stands twice in the body")
		case !slices.Contains(allowed, name):
			return nil, InvalidRequest("the body has a member that is not known here")
		}
		members[name] = value
	}
	return members, nil
}

func readMember(d *json.Decoder) (name, value string, err error) {
	first, err := d.Token()
	if err != nil {
		return "", "", InvalidRequest("the body is not valid JSON in UTF-8")
	}
	second, err := d.Token()
	if err != nil {
		return "", "", InvalidRequest("the body is not valid JSON in UTF-8")
	}
	name, _ = first.(string)
	value, ok := second.(string)
	if !ok {
		return "", "", InvalidRequest("a member of the body is not a string")
	}
	// the decoder writes U+FFFD for a lone surrogate
	if strings.ContainsAny(name+value, "\x00\uFFFD") {
		return "", "", InvalidRequest("the body has a character that is not allowed")
	}
	return name, value, nil
}

// Require returns the values of members that must be there and not empty.
func Require(members map[string]string, names ...string) ([]string, error) {
	values := make([]string, len(names))
	for i, name := range names {
		if values[i] = members[name]; values[i] == "" {
			return nil, InvalidRequest("the body lacks " + name)
		}
	}
	return values, nil
}
