package link

import (
	"testing"
	"time"

	"bailiff/pkg/fleet"
)

func TestURLs(t *testing.T) {
	for u, want := range map[string]bool{
		"tls://hub.example.org:4222": true, "nats://127.0.0.1:4222": true, "nats://[::1]:4222": true, "tls://192.0.2.7": true,
		"nats://hub.example.org:4222": false, "nats://localhost:4222": false, "nats://192.0.2.7:4222": false, "ws://127.0.0.1": false,
		"hub.example.org:4222": false, "": false, "tls://user:pass@hub.example.org": false, "tls://": false,
	} {
		if err := checkURL(u); (err == nil) != want {
			t.Errorf("%q: %v", u, err)
		}
	}
	if _, err := New(Options{Host: "*", URLs: []string{"nats://127.0.0.1:1"}, Now: time.Now}, fleet.Policy{}, fleet.Start{}, nil); err == nil {
		t.Error("a host may be named *")
	}
}
