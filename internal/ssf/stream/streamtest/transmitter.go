// Package streamtest has a transmitter of security events for tests: one that holds its receivers
// to the letter of SSF, RFC 8935 and RFC 8936, and that can be made to fail.
package streamtest

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sallyport/sallyport/internal/jose"
	"github.com/sallyport/sallyport/internal/jose/signing"
)

// The names by which a receiver gets in.
const (
	Client = "sallyport"
	Secret = "secret of the client"
)

// Stream is what a receiver has made.
type Stream struct {
	ID            string
	Events        []string
	Method        string
	EndpointURL   string
	Authorization string
	Status        string
}

// Transmitter serves its documents, its management API and polls below URL.
type Transmitter struct {
	URL string

	t   *testing.T
	key *signing.PrivateKey

	mu       sync.Mutex
	streams  map[string]*Stream
	made     int
	tokens   map[string]bool
	queue    map[string]string // by jti, what has not been acknowledged
	order    []string
	acked    map[string]bool
	refused  map[string]string
	calls    map[string]int
	failing  map[string]int // by what is called: the status that it answers
	altered  map[string]func(answer map[string]any)
	one      bool          // a client may have one stream
	hold     time.Duration // how long a poll waits for something to come
	restless bool          // it says that there is more, and takes no acknowledgement
	came     *sync.Cond    // something has come, or a poll waits no longer
	last     Poll
	verified []string // states of verifications that were asked for
	next     int
}

// Poll is what a receiver has asked with.
type Poll struct {
	Ack    []string          `json:"ack"`
	Errors map[string]Refuse `json:"setErrs"`
	Max    int               `json:"maxEvents"`
	Now    bool              `json:"returnImmediately"`
}

// Refuse is why a receiver has refused a message.
type Refuse struct {
	Code        string `json:"err"`
	Description string `json:"description"`
}

// New starts a Transmitter, whose issuer is URL.
func New(t *testing.T) *Transmitter {
	t.Helper()
	key, err := signing.GenerateKey("RS256")
	if err != nil {
		t.Fatal(err)
	}
	tr := &Transmitter{
		t: t, key: key, streams: map[string]*Stream{}, tokens: map[string]bool{},
		queue: map[string]string{}, acked: map[string]bool{}, refused: map[string]string{},
		calls: map[string]int{}, failing: map[string]int{},
		altered: map[string]func(map[string]any){},
	}
	tr.came = sync.NewCond(&tr.mu)
	mux := http.NewServeMux()
	for pattern, handle := range map[string]func(*http.Request) (int, any){
		"GET /.well-known/ssf-configuration":    tr.configuration,
		"GET /.well-known/openid-configuration": tr.metadata,
		"GET /jwks":                             tr.keySet,
		"POST /token":                           tr.token,
		"GET /streams":                          tr.authorized(tr.list),
		"POST /streams":                         tr.authorized(tr.create),
		"PATCH /streams":                        tr.authorized(tr.update),
		"GET /status":                           tr.authorized(tr.status),
		"POST /status":                          tr.authorized(tr.setStatus),
		"POST /verify":                          tr.authorized(tr.verify),
		"POST /poll":                            tr.authorized(tr.poll),
	} {
		mux.Handle(pattern, tr.counted(pattern, handle))
	}
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)
	tr.URL = server.URL
	return tr
}

func (tr *Transmitter) counted(pattern string, handle func(*http.Request) (int,
	any)) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		tr.mu.Lock()
		tr.calls[pattern]++
		status, failing := tr.failing[pattern]
		alter := tr.altered[pattern]
		tr.mu.Unlock()
		var answer any
		if !failing {
			status, answer = handle(r)
		}
		if answer == nil {
			w.WriteHeader(status)
			return
		}
		if alter != nil {
			each(answer, alter)
		}
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(status)
		if err := json.NewEncoder(w).Encode(answer); err != nil {
			tr.t.Errorf("answering %s: %v", pattern, err)
		}
	})
}

// Fail has what is called, as "POST /poll", answer with a status; 0: no longer.
func (tr *Transmitter) Fail(pattern string, status int) {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	tr.failing[pattern] = status
	if status == 0 {
		delete(tr.failing, pattern)
	}
}

// each alters an answer that is an object, or each object of a list.
func each(answer any, alter func(map[string]any)) {
	switch a := answer.(type) {
	case map[string]any:
		alter(a)
	case []any:
		for _, one := range a {
			each(one, alter)
		}
	}
}

// Alter has the answers of what is called, as "POST /streams", altered before they are sent: each
// object of them.
func (tr *Transmitter) Alter(pattern string, alter func(answer map[string]any)) {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	tr.altered[pattern] = alter
}

// Calls returns how often something was called.
func (tr *Transmitter) Calls(pattern string) int {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	return tr.calls[pattern]
}

// OneStream lets a client have one stream: another one is a conflict.
func (tr *Transmitter) OneStream() {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	tr.one = true
}

// HoldPolls has polls that would bring nothing wait so long for something to come.
func (tr *Transmitter) HoldPolls(most time.Duration) {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	tr.hold = most
}

// Restless has polls answered as if there always were more, and acknowledgements overheard.
func (tr *Transmitter) Restless() {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	tr.restless = true
}

// Key returns the key that messages are signed with.
func (tr *Transmitter) Key() *signing.PrivateKey { return tr.key }

func (tr *Transmitter) configuration(*http.Request) (int, any) {
	return http.StatusOK, map[string]any{
		"spec_version": "1_0", "issuer": tr.URL, "jwks_uri": tr.URL + "/jwks",
		"configuration_endpoint": tr.URL + "/streams", "status_endpoint": tr.URL + "/status",
		"verification_endpoint": tr.URL + "/verify",
	}
}

func (tr *Transmitter) metadata(*http.Request) (int, any) {
	return http.StatusOK, map[string]any{"issuer": tr.URL, "token_endpoint": tr.URL + "/token"}
}

func (tr *Transmitter) keySet(*http.Request) (int, any) {
	set, err := jose.MarshalKeySet([]*jose.PublicKey{tr.key.Public()})
	if err != nil {
		tr.t.Errorf("the key set: %v", err)
	}
	return http.StatusOK, json.RawMessage(set)
}

func (tr *Transmitter) token(r *http.Request) (int, any) {
	id, secret, ok := r.BasicAuth()
	if err := r.ParseForm(); err != nil || !ok || id != Client ||
		secret != strings.ReplaceAll(Secret, " ", "+") ||
		r.PostForm.Get("grant_type") != "client_credentials" ||
		r.PostForm.Get("scope") != "ssf.read ssf.manage" {
		return http.StatusUnauthorized, nil
	}
	tr.mu.Lock()
	defer tr.mu.Unlock()
	tr.next++
	token := fmt.Sprintf("token-%d", tr.next)
	tr.tokens[token] = true
	return http.StatusOK, map[string]any{
		"access_token": token, "token_type": "Bearer", "expires_in": 60,
	}
}

// ForgetTokens makes every token invalid that was handed out.
func (tr *Transmitter) ForgetTokens() {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	clear(tr.tokens)
}

// authorized lets through who has a token, one at a time.
func (tr *Transmitter) authorized(
	handle func(*http.Request) (int, any)) func(*http.Request) (int, any) {
	return func(r *http.Request) (int, any) {
		tr.mu.Lock()
		defer tr.mu.Unlock()
		token, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
		if !ok || !tr.tokens[token] {
			return http.StatusUnauthorized, nil
		}
		return handle(r)
	}
}

func (tr *Transmitter) shown(s *Stream) map[string]any {
	delivery := map[string]any{"method": s.Method, "endpoint_url": s.EndpointURL}
	if s.Method == "urn:ietf:rfc:8936" {
		delivery["endpoint_url"] = tr.URL + "/poll"
	}
	return map[string]any{
		"stream_id": s.ID, "iss": tr.URL, "aud": Client + "/" + s.ID,
		"events_requested": s.Events, "events_delivered": s.Events, "delivery": delivery,
	}
}

func (tr *Transmitter) list(*http.Request) (int, any) {
	list := []any{}
	for _, id := range slices.Sorted(maps.Keys(tr.streams)) {
		list = append(list, tr.shown(tr.streams[id]))
	}
	return http.StatusOK, list
}

type order struct {
	ID       string   `json:"stream_id"`
	Events   []string `json:"events_requested"`
	Delivery struct {
		Method        string `json:"method"`
		EndpointURL   string `json:"endpoint_url"`
		Authorization string `json:"authorization_header"`
	} `json:"delivery"`
	Status string `json:"status"`
	State  string `json:"state"`
}

func (tr *Transmitter) read(r *http.Request, into any) bool {
	text, err := io.ReadAll(r.Body)
	if err == nil && r.Header.Get("Content-Type") == "application/json" {
		err = json.Unmarshal(text, into)
	}
	if err != nil {
		tr.t.Errorf("%s %s: %v", r.Method, r.URL.Path, err)
	}
	return err == nil
}

func (tr *Transmitter) create(r *http.Request) (int, any) {
	var o order
	if !tr.read(r, &o) || len(o.Events) == 0 || o.ID != "" {
		return http.StatusBadRequest, nil
	}
	if tr.one && len(tr.streams) > 0 {
		return http.StatusConflict, nil
	}
	tr.made++
	s := &Stream{ID: fmt.Sprintf("stream-%d", tr.made), Status: "enabled"}
	tr.streams[s.ID] = s
	s.take(o)
	return http.StatusCreated, tr.shown(s)
}

func (s *Stream) take(o order) {
	s.Events, s.Method = o.Events, o.Delivery.Method
	s.EndpointURL, s.Authorization = o.Delivery.EndpointURL, o.Delivery.Authorization
}

func (tr *Transmitter) update(r *http.Request) (int, any) {
	var o order
	if !tr.read(r, &o) {
		return http.StatusBadRequest, nil
	}
	s := tr.streams[o.ID]
	if s == nil {
		return http.StatusNotFound, nil
	}
	s.take(o)
	return http.StatusOK, tr.shown(s)
}

func (tr *Transmitter) status(r *http.Request) (int, any) {
	s := tr.streams[r.URL.Query().Get("stream_id")]
	if s == nil {
		return http.StatusNotFound, nil
	}
	return http.StatusOK, map[string]string{"stream_id": s.ID, "status": s.Status}
}

func (tr *Transmitter) setStatus(r *http.Request) (int, any) {
	var o order
	if !tr.read(r, &o) || tr.streams[o.ID] == nil {
		return http.StatusNotFound, nil
	}
	tr.streams[o.ID].Status = o.Status
	return http.StatusOK, map[string]string{"stream_id": o.ID, "status": o.Status}
}

func (tr *Transmitter) verify(r *http.Request) (int, any) {
	var o order
	if !tr.read(r, &o) || tr.streams[o.ID] == nil {
		return http.StatusNotFound, nil
	}
	tr.verified = append(tr.verified, o.State)
	return http.StatusNoContent, nil
}

// poll answers with what is not acknowledged; as long as there is nothing, and it may be held, it
// waits for something to come (RFC 8936 section 2.4).
func (tr *Transmitter) poll(r *http.Request) (int, any) {
	var p Poll
	if !tr.read(r, &p) {
		return http.StatusBadRequest, nil
	}
	if !slices.ContainsFunc(slices.Collect(maps.Values(tr.streams)), func(s *Stream) bool {
		return s.Method == "urn:ietf:rfc:8936"
	}) {
		return http.StatusNotFound, nil
	}
	tr.last = p
	for _, id := range p.Ack {
		if !tr.restless {
			delete(tr.queue, id)
		}
		tr.acked[id] = true
	}
	for id, why := range p.Errors {
		delete(tr.queue, id)
		tr.refused[id] = why.Code
	}
	if !p.Now && tr.hold > 0 {
		until := time.Now().Add(tr.hold)
		defer time.AfterFunc(tr.hold, tr.came.Broadcast).Stop()
		defer context.AfterFunc(r.Context(), tr.came.Broadcast)()
		for len(tr.queue) == 0 && r.Context().Err() == nil && time.Now().Before(until) {
			tr.came.Wait()
		}
	}
	sets := map[string]string{}
	for _, id := range tr.order {
		if text, there := tr.queue[id]; there && len(sets) < p.Max {
			sets[id] = text
		}
	}
	return http.StatusOK, map[string]any{"sets": sets, "moreAvailable": tr.restless || len(sets) < len(tr.queue)}
}

// Send queues a message for polls.
func (tr *Transmitter) Send(id, compact string) {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	tr.queue[id] = compact
	tr.order = append(tr.order, id)
	tr.came.Broadcast()
}

// Acked reports whether a message was acknowledged, and with which code it was refused, if it was.
func (tr *Transmitter) Acked(id string) (acked bool, code string) {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	return tr.acked[id], tr.refused[id]
}

// Left returns how many messages are neither acknowledged nor refused.
func (tr *Transmitter) Left() int {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	return len(tr.queue)
}

// Streams returns the streams there are, by their ids.
func (tr *Transmitter) Streams() []Stream {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	var list []Stream
	for _, id := range slices.Sorted(maps.Keys(tr.streams)) {
		list = append(list, *tr.streams[id])
	}
	return list
}

// Change changes the streams there are; nil deletes them.
func (tr *Transmitter) Change(change func(*Stream)) {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	if change == nil {
		clear(tr.streams)
	}
	for _, s := range tr.streams {
		change(s)
	}
}

// States returns the states of the verifications that were asked for.
func (tr *Transmitter) States() []string {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	return slices.Clone(tr.verified)
}

// Message signs a message of one event about a subject, both given as JSON.
func (tr *Transmitter) Message(id, event, inside, subject string) string {
	tr.t.Helper()
	claims := fmt.Sprintf(`{"jti":%q,"iss":%q,"iat":%d,"aud":%q,"events":{%q:%s},"sub_id":%s}`,
		id, tr.URL, time.Now().Unix(), Client+"/stream-1", event, inside, subject)
	return tr.Sign(claims)
}

// Sign signs a message's claims.
func (tr *Transmitter) Sign(claims string) string {
	tr.t.Helper()
	text, err := tr.key.Sign("secevent+jwt", []byte(claims))
	if err != nil {
		tr.t.Fatal(err)
	}
	return text
}
