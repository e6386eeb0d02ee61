package control

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// crowdOf is a crowd whose users are chosen by the test.
type crowdOf struct {
	*crowd
	t    *testing.T
	mu   sync.Mutex
	told []string
}

func newTestCrowd(t *testing.T, role Role, b bounds) *crowdOf {
	out := &crowdOf{t: t}
	out.crowd = newCrowd(role, func(s string) {
		out.mu.Lock()
		defer out.mu.Unlock()
		out.told = append(out.told, s)
	})
	out.bounds = b
	return out
}

// come is a client of a user id, who says nothing.
func (c *crowdOf) come(uid uint32) *conn {
	a, b := net.Pipe()
	c.t.Cleanup(func() { a.Close(); b.Close() })
	return c.enter(a, uid)
}

// been lets a client do something since a while ago.
func (k *conn) been(doing activity, since time.Duration) *conn {
	k.note(doing)
	k.crowd.mu.Lock()
	defer k.crowd.mu.Unlock()
	k.since = time.Now().Add(-since)
	return k
}

func (k *conn) in() bool {
	if k == nil {
		return false
	}
	k.crowd.mu.Lock()
	defer k.crowd.mu.Unlock()
	return !k.gone
}

// Two users who are nobody that the daemon trusts.
const alice, bob, root = 64001, 64002, 0

func TestCrowdPerUser(t *testing.T) {
	c := newTestCrowd(t, Reader, bounds{clients: 10, perUser: 4, reserved: 2})
	var all []*conn
	for range 4 {
		all = append(all, c.come(alice).been(waiting, time.Hour))
	}
	if c.come(alice) != nil {
		t.Error("a fifth of alice was let in, though four have commands carried out")
	}
	if !c.come(bob).in() {
		t.Error("bob was not let in beside alice")
	}
	all[2].been(silent, time.Second)
	if k := c.come(alice); !k.in() || all[2].in() || !all[1].in() {
		t.Error("the silent one of alice did not go for a new one")
	}
}

func TestCrowdOrder(t *testing.T) {
	for _, x := range []struct {
		doing activity
		since time.Duration
		goes  bool
	}{
		{silent, 50 * time.Millisecond, false},
		{silent, time.Second, true},
		{asking, 500 * time.Millisecond, false},
		{asking, 5 * time.Second, true},
		{reading, 100 * time.Millisecond, false},
		{reading, time.Second, true},
		{quiet, time.Second, false},
		{quiet, 10 * time.Second, true},
		{waiting, time.Hour, false},
	} {
		c := newTestCrowd(t, Reader, bounds{clients: 2, perUser: 2})
		c.come(alice).been(waiting, time.Hour)
		k := c.come(alice).been(x.doing, x.since)
		next := c.come(alice)
		if next.in() != x.goes || k.in() == x.goes {
			t.Errorf("activity %d since %v: the next was let in: %v, want %v", x.doing, x.since, next.in(), x.goes)
		}
	}
}

func TestCrowdShares(t *testing.T) {
	c := newTestCrowd(t, Reader, bounds{clients: 8, perUser: 8, reserved: 2})
	for range 6 {
		c.come(alice).been(quiet, time.Millisecond)
	}
	if k := c.come(alice); k != nil {
		t.Error("alice got the places that are kept for root")
	}
	for i := range 3 { // a fair share: three each
		if k := c.come(bob).been(quiet, time.Millisecond); !k.in() {
			t.Fatalf("bob's place %d", i)
		}
	}
	if c.come(bob) != nil {
		t.Error("bob got more than alice has")
	}
	for i := range 8 { // and root as many as there are
		if k := c.come(root).been(waiting, 0); !k.in() {
			t.Fatalf("root's place %d", i)
		}
	}
	if n := c.strangers(); n != 0 {
		t.Errorf("%d of others are in beside eight of root", n)
	}
}

func TestCrowdBytes(t *testing.T) {
	c := newTestCrowd(t, Reader, bounds{clients: 8, perUser: 4, bytes: 150, userBytes: 100})
	a, b, o := c.come(alice), c.come(alice), c.come(bob)
	for _, x := range []struct {
		k    *conn
		n    int
		want bool
	}{{a, 60, true}, {b, 60, false}, {b, 40, true}, {o, 60, false}, {o, 50, true}} {
		if got := x.k.hold(x.n); got != x.want {
			t.Errorf("%d bytes for %d: %v", x.n, x.k.uid, got)
		}
	}
	b.been(reading, time.Hour) // doesn't read: goes for a's answer
	a.release()
	o.release()
	if !a.holdAnswer(90) || b.in() {
		t.Error("an answer waited for a client that doesn't read his")
	}
	if a.Close(); c.crowd.bytes != 0 || len(c.users) != 1 {
		t.Errorf("%d bytes are left over, %d users", c.crowd.bytes, len(c.users))
	}
	if !o.holdAnswer(5000) {
		t.Error("one answer alone is not told")
	}
}

// TestComplaints: each kind is told once a minute, whatever its details.
func TestComplaints(t *testing.T) {
	c := newTestCrowd(t, Reader, bounds{})
	for i := range 1000 {
		c.complain("refused", fmt.Sprint(i))
	}
	if len(c.told) != 1 || c.told[0] != "refused: 0" {
		t.Error(c.told)
	}
	c.crowd.told["refused"].at = time.Now().Add(-2 * time.Minute)
	c.complain("refused", "again")
	if len(c.told) != 2 || !strings.Contains(c.told[1], "refused: again (and 999 times more") {
		t.Error(c.told)
	}
}

// TestSilentClients: five hundred that say nothing keep nobody out of either socket,
// and each is bounded from the moment that he is there.
func TestSilentClients(t *testing.T) {
	owner := filepath.Join(t.TempDir(), "sock")
	s, err := Listen(owner, &fake{}, Options{Commander: &echoCommander{}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	read, r := readSocketFor(t, &echoCommander{})
	for _, x := range []struct {
		path string
		s    *Server
	}{{owner, s}, {read, r}} {
		most := 0
		for range 500 {
			dial(t, x.path)
			x.s.crowd.mu.Lock()
			most = max(most, len(x.s.crowd.conns))
			x.s.crowd.mu.Unlock()
		}
		c, err := DialFail2ban(x.path, 10*time.Second)
		if err != nil {
			t.Fatal(err)
		}
		if v, err := c.Do([]any{"ping"}, 20*time.Second); fmt.Sprint(v) != "[ping]" {
			t.Errorf("beside the silent ones: %v %v", v, err)
		}
		c.Close()
		if _, err := NewClient(x.path).Status(); err != nil {
			t.Error(err)
		}
		if most > x.s.crowd.clients {
			t.Errorf("%d of at most %d", most, x.s.crowd.clients)
		}
	}
}

// real is a client of root's over a socket.
func (c *crowdOf) real() (k *conn, client net.Conn) {
	c.t.Helper()
	l, err := net.Listen("unix", filepath.Join(c.t.TempDir(), "s"))
	if err != nil {
		c.t.Fatal(err)
	}
	defer l.Close()
	if client, err = net.Dial("unix", l.Addr().String()); err != nil {
		c.t.Fatal(err)
	}
	of, err := l.Accept()
	if err != nil {
		c.t.Fatal(err)
	}
	c.t.Cleanup(func() { client.Close(); of.Close() })
	return c.enter(of, root), client
}

// TestCrowdSlowServer: where there is no room, who has hung up goes first, and who has
// begun a request that was not read yet stays: it is not he who is slow.
func TestCrowdSlowServer(t *testing.T) {
	c := newTestCrowd(t, Owner, bounds{clients: 3, perUser: 3})
	asks, client := c.real()
	if _, err := client.Write([]byte("G")); err != nil {
		t.Fatal(err)
	}
	asks.been(silent, 10*time.Second)
	says, _ := c.real()
	says.been(silent, 5*time.Second)
	left, client := c.real()
	client.Close()
	if next, _ := c.real(); !next.in() || left.in() || !asks.in() || !says.in() {
		t.Errorf("who has hung up is not who went: next %v, who hung up %v, asks %v, silent %v", next.in(), left.in(), asks.in(), says.in())
	}
	if next, _ := c.real(); !next.in() || !asks.in() || says.in() {
		t.Errorf("who is silent is not who went: next %v, asks %v, silent %v", next.in(), asks.in(), says.in())
	}
	asks.been(quiet, time.Minute)
	if !asks.spoke() {
		t.Error("a second request was not seen")
	}
}

// TestCrowdAtWork: where there is no room, nobody goes who waits for the server: he has taken
// all that was written to him, and what he said is read soon. Who has left something goes.
func TestCrowdAtWork(t *testing.T) {
	c := newTestCrowd(t, Owner, bounds{clients: 3, perUser: 3, bytes: 10, userBytes: 10})
	takes, _ := c.real()
	takes.been(reading, time.Hour)
	asks, client := c.real()
	if _, err := client.Write([]byte("G")); err != nil {
		t.Fatal(err)
	}
	asks.been(asking, time.Hour)
	leaves, _ := c.real()
	if _, err := leaves.Conn.Write([]byte("x")); err != nil {
		t.Fatal(err)
	}
	leaves.been(reading, time.Second)
	next, _ := c.real()
	if !next.in() || !takes.in() || !asks.in() || leaves.in() {
		t.Errorf("who leaves his answer is not who went: next %v, takes %v, asks %v, leaves %v", next.in(), takes.in(), asks.in(), leaves.in())
	}
	// Nor for the room of answers.
	if !takes.hold(8) || !next.hold(1) {
		t.Fatal("there is room")
	}
	if _, err := next.Conn.Write([]byte("x")); err != nil {
		t.Fatal(err)
	}
	next.been(reading, time.Second)
	time.AfterFunc(time.Second, func() { takes.release() }) // or it waits for long
	if !asks.holdAnswer(5) || !takes.in() || next.in() {
		t.Errorf("for an answer, not he goes who leaves his: takes %v, leaves %v", takes.in(), next.in())
	}
}

// TestHush: what a client says while he is cut off is answered, or he knows that nobody
// has it.
func TestHush(t *testing.T) {
	c := newTestCrowd(t, Owner, bounds{clients: 2, perUser: 2})
	before, client := c.real()
	if _, err := client.Write([]byte("G")); err != nil {
		t.Fatal(err)
	}
	before.been(quiet, time.Minute)
	if before.hush() {
		t.Error("who has begun a request is cut off")
	}
	if n, err := before.Read(make([]byte, 10)); n != 1 || err != nil {
		t.Errorf("of his request: %d bytes, %v", n, err)
	}
	if n, err := before.Read(make([]byte, 10)); n != 0 || !errors.Is(err, io.EOF) {
		t.Errorf("behind it: %d bytes, %v", n, err)
	}
	after, client := c.real()
	after.been(quiet, time.Minute)
	if !after.hush() {
		t.Error("who says nothing is not cut off")
	}
	if _, err := client.Write([]byte("G")); !errors.Is(err, syscall.EPIPE) {
		t.Errorf("who speaks after that is told %v", err)
	}
}

// TestClientKeepsConnection: a client that asks again and again has one connection,
// however long the answers are.
func TestClientKeepsConnection(t *testing.T) {
	path := filepath.Join(t.TempDir(), "sock")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	var conns atomic.Int32
	s := &http.Server{
		ConnState: func(_ net.Conn, state http.ConnState) {
			if state == http.StateNew {
				conns.Add(1)
			}
		},
		Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			fmt.Fprintf(w, "{\"version\": %q}\n", strings.Repeat("x", 1<<20))
		}),
	}
	go func() { _ = s.Serve(l) }()
	defer s.Close()
	c := NewClient(path)
	for range 5 {
		if _, err := c.Status(); err != nil {
			t.Fatal(err)
		}
	}
	if n := conns.Load(); n != 1 {
		t.Errorf("%d connections for five questions", n)
	}
}
