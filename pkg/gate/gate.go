// Package gate bounds how many connections a server has.
package gate

import (
	"errors"
	"net"
	"net/http"
	"sync"
	"time"
)

// Gate is a listener that has so many connections and no more: beyond that, the one that has been
// idle for longest is closed for a new one.
type Gate struct {
	net.Listener
	places chan struct{}
	full   func()
	mu     sync.Mutex
	idle   map[net.Conn]time.Time
}

// New returns such a listener. full is told each time there is no place.
func New(l net.Listener, most int, full func()) *Gate {
	return &Gate{Listener: l, places: make(chan struct{}, most), full: full, idle: map[net.Conn]time.Time{}}
}

// Accept implements net.Listener.
func (g *Gate) Accept() (net.Conn, error) {
	select {
	case g.places <- struct{}{}:
	default:
		g.full()
		g.relieve()
		g.places <- struct{}{} // nobody keeps a place for longer than the timeouts, but who follows events
	}
	for {
		c, err := g.Listener.Accept()
		if err == nil {
			return &Conn{Conn: c, places: g.places}, nil
		}
		if errors.Is(err, net.ErrClosed) {
			<-g.places
			return nil, err
		}
		g.relieve() // out of descriptors
		time.Sleep(20 * time.Millisecond)
	}
}

// relieve closes the connection that has been idle for longest.
func (g *Gate) relieve() {
	g.mu.Lock()
	defer g.mu.Unlock()
	var oldest net.Conn
	for c, since := range g.idle {
		if oldest == nil || since.Before(g.idle[oldest]) {
			oldest = c
		}
	}
	if oldest != nil {
		delete(g.idle, oldest)
		oldest.Close()
	}
}

// State is http.Server's ConnState: it tells which connections are idle.
func (g *Gate) State(c net.Conn, state http.ConnState) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if state == http.StateIdle {
		g.idle[c] = time.Now()
	} else {
		delete(g.idle, c)
	}
}

// Conn is one of them; it gives its place back when it is closed.
type Conn struct {
	net.Conn
	places chan struct{}
	once   sync.Once
}

// Close implements net.Conn.
func (c *Conn) Close() error {
	c.once.Do(func() { <-c.places })
	return c.Conn.Close()
}
