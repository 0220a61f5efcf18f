package stream

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// maxStateAge is how long a verification that was asked for may take: a transmitter that has been
// away sends it late.
const maxStateAge = 24 * time.Hour

// newState returns the state of a request for a verification. Every issuer that has the same secret
// knows it again, so that it does not matter which of them is asked and which one hears.
func newState(secret, streamID string, now time.Time) string {
	at := strconv.FormatInt(now.Unix(), 10)
	return at + "." + stateMAC(secret, streamID, at)
}

func stateMAC(secret, streamID, at string) string {
	mac := hmac.New(sha256.New, []byte(secret))
	_, _ = fmt.Fprintf(mac, "sallyport stream verification\n%s\n%s", streamID, at)
	return hex.EncodeToString(mac.Sum(nil)[:16])
}

// stateFits reports whether a verification's state is one of ours for that stream.
func stateFits(secret, streamID, state string, now time.Time) bool {
	at, mac, _ := strings.Cut(state, ".")
	seconds, err := strconv.ParseInt(at, 10, 64)
	fits := hmac.Equal([]byte(mac), []byte(stateMAC(secret, streamID, at)))
	return fits && err == nil && now.Sub(time.Unix(seconds, 0)).Abs() <= maxStateAge
}
