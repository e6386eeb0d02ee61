package hub

import (
	"testing"
	"time"

	"github.com/nats-io/nats.go"
)

// TestCrowd: who has a host's credentials can't have any number of connections, and takes none of another host's.
func TestCrowd(t *testing.T) {
	dir := made(t)
	h, _ := running(t, dir)
	other, _ := joined(t, dir, "web-2", TokenOptions{})
	lost := make(chan struct{}, 1)
	other.SetDisconnectErrHandler(func(*nats.Conn, error) { lost <- struct{}{} })
	first, files := joined(t, dir, "web-1", TokenOptions{})
	first.Close()
	const n = 4 * connectionsEach
	cut := make(chan *nats.Conn, n)
	var newest *nats.Conn
	for range n {
		newest = host1(t, h.cfg.URLs, "web-1", files, nats.NoReconnect(), nats.ClosedHandler(func(nc *nats.Conn) { cut <- nc }))
	}
	for range n - connectionsEach {
		select {
		case nc := <-cut:
			if nc == newest {
				t.Error("the newest connection was cut off")
			}
		case <-time.After(patience):
			t.Fatal("a host has any number of connections")
		}
	}
	if err := newest.FlushTimeout(patience); err != nil {
		t.Errorf("the newest: %v", err)
	}
	if err := other.FlushTimeout(patience); err != nil || len(lost) > 0 {
		t.Errorf("another host's: %v", err)
	}
}
