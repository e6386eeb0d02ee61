package control

import (
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"bailiff/pkg/hosttest"
)

// heldCommander carries a command out as long as it is held.
type heldCommander struct {
	at, most atomic.Int32
	free     chan struct{}
}

func (h *heldCommander) Command(*Request) (any, error) {
	n := h.at.Add(1)
	defer h.at.Add(-1)
	for {
		most := h.most.Load()
		if n <= most || h.most.CompareAndSwap(most, n) {
			break
		}
	}
	<-h.free
	return "pong", nil
}

// TestReadersAtOnce: of commands that take long, two are carried out at a time for those
// who may only ask; who waits for too long is told that the daemon is busy, and the others
// get their answers. The owner's do not wait for one another.
func TestReadersAtOnce(t *testing.T) {
	defer func(was time.Duration) { turnTimeout = was }(turnTimeout)
	turnTimeout = 200 * time.Millisecond
	ping, err := encodeCommand([]any{"ping"})
	if err != nil {
		t.Fatal(err)
	}
	ping = append(ping, endCommand...)
	ask := func(path string, clients int) (answers chan error) {
		answers = make(chan error, clients)
		for range clients {
			c := dial(t, path)
			go func() {
				_, _ = c.Write(ping)
				_, err := c.answer()
				answers <- err
			}()
		}
		return answers
	}
	next := func(answers chan error) error {
		t.Helper()
		select {
		case err := <-answers:
			return err
		case <-time.After(2 * time.Minute):
			t.Fatal("no answer")
			return nil
		}
	}
	h := &heldCommander{free: make(chan struct{})}
	path, _ := readSocketFor(t, h)
	const clients = 6
	answers := ask(path, clients)
	for range clients - readersAtOnce {
		if err := next(answers); err == nil || !strings.Contains(err.Error(), errBusy.Error()) {
			t.Errorf("who waits for too long is told %v", err)
		}
	}
	close(h.free)
	for range readersAtOnce {
		if err := next(answers); err != nil {
			t.Error(err)
		}
	}
	if n := h.most.Load(); n != readersAtOnce {
		t.Errorf("%d were carried out at a time", n)
	}
	h = &heldCommander{free: make(chan struct{})}
	path = t.TempDir() + "/sock"
	s, err := Listen(path, &fake{}, Options{Commander: h})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	answers = ask(path, clients)
	hosttest.Soon(func() bool { return h.at.Load() >= clients })
	if n := h.at.Load(); n != clients {
		t.Errorf("%d of the owner's are carried out at a time", n)
	}
	close(h.free)
	for range clients {
		if err := next(answers); err != nil {
			t.Error(err)
		}
	}
}
