package config

import "testing"

func TestOnlyLoopbackIsCertainlyThisMachine(t *testing.T) {
	for host, want := range map[string]bool{
		"localhost": true, "127.0.0.1": true, "127.9.9.9": true, "::1": true, "::ffff:127.0.0.1": true,
		"": false, "0.0.0.0": false, "::": false, "10.0.0.1": false, "example.com": false,
		"issuer.localhost": false, "localhost.example.com": false, "127.1": false, "::1%lo": false,
	} {
		if IsThisMachine(host) != want {
			t.Errorf("%q: got %t", host, !want)
		}
	}
}
