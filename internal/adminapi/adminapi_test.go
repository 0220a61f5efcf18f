package adminapi_test

import (
	"bytes"
	"encoding/json"
	"reflect"
	"testing"
	"time"

	"github.com/sallyport/sallyport/internal/adminapi"
)

// TestTheBytesOnTheWireStayAsTheyAre: commands and issuers of different versions understand each
// other, and scripts read these members.
func TestTheBytesOnTheWireStayAsTheyAre(t *testing.T) {
	at := time.Date(2026, 1, 31, 12, 0, 0, 0, time.UTC)
	yes, one, lag, seconds := true, 1, uint64(2), 1.5
	for name, row := range map[string]struct {
		value any
		wire  string
	}{
		"revocation": {
			&adminapi.Revocation{
				Actor: "dana", IssuedBefore: "2026-01-31T12:00:00Z", Issuer: "https://i", Kind: "sub",
				Reason: "leaked", Value: "alice",
			},
			`{"actor":"dana","issued_before":"2026-01-31T12:00:00Z","issuer":"https://i",` +
				`"kind":"sub","reason":"leaked","value":"alice"}`,
		},
		"revocation of an issuer": {
			&adminapi.Revocation{Actor: "dana", Kind: "iss", Issuer: "https://i", Reason: "leaked"},
			`{"actor":"dana","issuer":"https://i","kind":"iss","reason":"leaked"}`,
		},
		"order": {
			&adminapi.Order{Actor: "dana", Reason: "leaked"}, `{"actor":"dana","reason":"leaked"}`,
		},
		"revoked": {&adminapi.Revoked{Revoked: true, Seq: 7}, `{"revoked":true,"seq":7}`},
		"revoked, and waited for": {
			&adminapi.Revoked{
				Revoked: true, Seq: 7, Applied: "1/2", Behind: []string{"gate-2"}, Issuer: "https://i",
				Sessions: &one,
			},
			`{"revoked":true,"seq":7,"applied":"1/2","behind":["gate-2"],"issuer":"https://i","sessions":1}`,
		},
		"preview": {
			&adminapi.Preview{
				DryRun: true, Kind: "sid", Value: "s", Issuer: "https://i", IssuedBefore: &at, Effect: "e",
				Revoked: &yes, SessionsKnown: true, SessionsTotal: 1, Sessions: []adminapi.Session{{
					ID: "s", Subject: "alice", ClientID: "c", Tenant: "t", Began: at, Expires: at,
					State: "active",
				}},
			},
			`{"dry_run":true,"kind":"sid","value":"s","issuer":"https://i",` +
				`"issued_before":"2026-01-31T12:00:00Z","effect":"e","already_revoked":true,` +
				`"sessions_known":true,"sessions_total":1,"sessions":[{"id":"s","subject":"alice",` +
				`"client_id":"c","tenant":"t","began":"2026-01-31T12:00:00Z",` +
				`"expires":"2026-01-31T12:00:00Z","state":"active"}]}`,
		},
		"entries": {
			&adminapi.Entries{Head: &adminapi.Head{Epoch: "e", Seq: 9}, Entries: []adminapi.Entry{{
				Seq: 3, Kind: "client", Issuer: "https://i", Value: "app", IssuedBefore: &at,
				Expires: at, Reason: "r", Actor: "a", At: at,
			}}, Last: 3, Next: 3},
			`{"head":{"epoch":"e","seq":9},"entries":[{"seq":3,"kind":"client","issuer":"https://i",` +
				`"value":"app","issued_before":"2026-01-31T12:00:00Z",` +
				`"expires":"2026-01-31T12:00:00Z","reason":"r","actor":"a",` +
				`"at":"2026-01-31T12:00:00Z"}],"last":3,"next":3}`,
		},
		"the last entries": {
			&adminapi.Entries{Entries: []adminapi.Entry{}}, `{"head":null,"entries":[],"last":0}`,
		},
		"status": {
			&adminapi.Status{
				Well: true, Head: &adminapi.Head{Epoch: "e", Seq: 9}, MaxStaleness: 10,
				Gates: []adminapi.Process{{
					Name: "g", Version: "v1", State: adminapi.Behind, Ready: true, Epoch: "e", Seq: 7,
					OnLog: true, Lag: &lag, Staleness: &seconds, KeySetAge: &seconds, Age: 0.25,
					Live: true, MaxStaleness: &seconds,
				}},
				Issuers: []adminapi.Process{{Name: "i", State: adminapi.OffLog, Shared: true}},
			},
			`{"well":true,"head":{"epoch":"e","seq":9},"max_staleness_seconds":10,"gates":[` +
				`{"name":"g","version":"v1","state":"behind","ready":true,"epoch":"e","seq":7,` +
				`"on_log":true,"lag":2,"staleness_seconds":1.5,"key_set_age_seconds":1.5,` +
				`"age_seconds":0.25,"live":true,"shared":false,"max_staleness_seconds":1.5}],"issuers":[` +
				`{"name":"i","version":"","state":"off_log","ready":false,"epoch":"","seq":0,` +
				`"on_log":false,"lag":null,"staleness_seconds":null,"key_set_age_seconds":null,` +
				`"age_seconds":0,"live":false,"shared":true,"max_staleness_seconds":null}]}`,
		},
		"problem": {
			&adminapi.Problem{Error: "not_found", Description: "There is nothing here."},
			`{"error":"not_found","error_description":"There is nothing here."}`,
		},
	} {
		t.Run(name, func(t *testing.T) {
			written, err := json.Marshal(row.value)
			if err != nil || string(written) != row.wire {
				t.Errorf("expected %s, got %s, %v", row.wire, written, err)
			}
			read := reflect.New(reflect.TypeOf(row.value).Elem()).Interface()
			d := json.NewDecoder(bytes.NewReader([]byte(row.wire)))
			d.DisallowUnknownFields()
			if err := d.Decode(read); err != nil || !reflect.DeepEqual(read, row.value) {
				t.Errorf("expected %+v, got %+v, %v", row.value, read, err)
			}
		})
	}
}

func TestAUsersNameIsOneSegmentOfThePath(t *testing.T) {
	if got := adminapi.LogoutOf("a/b c"); got != "/admin/users/a%2Fb%20c/logout" {
		t.Errorf("got %s", got)
	}
}
