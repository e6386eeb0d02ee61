package gate

import (
	"net"
	"net/http"
	"testing"
)

// TestGate: beyond the bound a new connection takes the place of the one that has been idle for
// longest, and a place that was given back can be taken.
func TestGate(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	full := 0
	g := New(l, 2, func() { full++ })
	defer g.Close()
	come := func() (client, server net.Conn) {
		t.Helper()
		client, err := net.Dial("tcp", l.Addr().String())
		if err == nil {
			server, err = g.Accept()
		}
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { client.Close() })
		return client, server
	}
	closed := func(c net.Conn) bool {
		_, err := c.Write([]byte("x"))
		return err != nil
	}
	_, one := come()
	_, two := come()
	g.State(two, http.StateIdle)
	g.State(one, http.StateIdle)
	g.State(two, http.StateActive)
	g.State(two, http.StateIdle) // for a shorter time now
	_, three := come()
	if !closed(one) || closed(two) || closed(three) || full != 1 {
		t.Errorf("closed: %v, %v, %v; full %d times", closed(one), closed(two), closed(three), full)
	}
	three.Close()
	three.Close() // its place is given back once
	_, four := come()
	if closed(two) || closed(four) || full != 1 {
		t.Errorf("closed: %v, %v; full %d times", closed(two), closed(four), full)
	}
	come()
	if !closed(two) || full != 2 {
		t.Errorf("closed: %v; full %d times", closed(two), full)
	}
}
