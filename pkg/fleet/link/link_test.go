package link

import (
	"testing"
	"time"

	"bailiff/pkg/fleet"
)

func TestNew(t *testing.T) {
	if _, err := New(Options{Host: "web-1", URLs: []string{"nats://hub.example:4222"}, Now: time.Now}, fleet.Policy{}, fleet.Start{}, nil); err == nil {
		t.Error("a hub elsewhere is spoken to without TLS")
	}
	if _, err := New(Options{Host: "*", URLs: []string{"nats://127.0.0.1:1"}, Now: time.Now}, fleet.Policy{}, fleet.Start{}, nil); err == nil {
		t.Error("a host may be named *")
	}
}
