package control

import (
	"fmt"
	"net"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// Everybody who is connected to a socket, from the moment that the kernel hands the
// connection over: a bounded number in all and for each user, and a bounded number of
// bytes. Where there is no room, whoever is of least use goes: who said nothing, who
// doesn't go on with a request, who doesn't read his answer, who was quiet for long.

// activity is what a client does.
type activity uint8

const (
	silent  activity = iota // connected, and has not said a byte
	asking                  // has begun a request
	waiting                 // a command of his is carried out
	reading                 // an answer is on its way
	quiet                   // has had his answer
)

// patience is how long a client may do the same where somebody else wants his place.
var patience = map[activity]time.Duration{
	silent: 100 * time.Millisecond, asking: time.Second, reading: 200 * time.Millisecond, quiet: 5 * time.Second,
}

// bounds of a crowd.
type bounds struct {
	clients, perUser int // connections
	bytes, userBytes int // of requests and answers that are on their way
	reserved         int // connections kept for root and the daemon's own user
	// streams are connections beside those, which follow events, in all and of a user.
	streams, userStreams int
}

// streamsMost is how many connections follow events, where there are descriptors for them.
const streamsMost = 1000

// descriptors a process may have open, less what clients get, are for logs, sets,
// actions and the database.
func clientBounds(role Role) bounds {
	allowed := 1024
	var r unix.Rlimit
	if unix.Getrlimit(unix.RLIMIT_NOFILE, &r) == nil {
		allowed = int(min(r.Cur, 1<<20))
	}
	streams := max(2, min(streamsMost, allowed/8))
	if role == Owner {
		n := max(4, min(100, allowed/4))
		return bounds{clients: n, perUser: n, bytes: 32 << 20, userBytes: 32 << 20, streams: streams, userStreams: streams}
	}
	n := max(4, min(64, allowed/8))
	return bounds{clients: n, perUser: n / 2, reserved: 2, bytes: 8 << 20, userBytes: 4 << 20, streams: streams, userStreams: max(2, streams/4)}
}

// crowd is who is connected to one socket.
type crowd struct {
	bounds
	role     Role
	warn     func(string)
	mu       sync.Mutex
	conns    map[*conn]struct{}
	users    map[uint32]*account
	follow   int                   // of the connections, those that follow events
	bytes    int                   // of all users
	told     map[string]*complaint // by kind
	changed  chan struct{}         // closed, and made anew, when there is room
	finished bool
	refused  uint64 // how often somebody was cut off or turned away
}

// account is a user id with connections, beside those that follow events.
type account struct{ conns, follow, bytes int }

// complaint is something that was told, and how often it was not since.
type complaint struct {
	at   time.Time
	more int
}

// conn is a client's connection.
type conn struct {
	net.Conn
	crowd *crowd
	uid   uint32
	first []byte // read already
	// caller asks from within this process; nil: it is who sits at the socket.
	caller *Caller

	// guarded by crowd.mu
	doing activity
	since time.Time
	held  int // bytes
	gone  bool
	// following: it has a place among those that follow events, and none among the others.
	following bool
}

func newCrowd(role Role, warn func(string)) *crowd {
	return &crowd{
		bounds: clientBounds(role), role: role, warn: warn, conns: map[*conn]struct{}{}, users: map[uint32]*account{},
		told: map[string]*complaint{}, changed: make(chan struct{}),
	}
}

// PeerOf is the user at the other end of a Unix socket's connection; of others, the largest number.
func PeerOf(c net.Conn) uint32 { return peer(c) }

// peer is the user at the other end of a connection.
func peer(c net.Conn) uint32 {
	const nobody = ^uint32(0)
	u, ok := c.(*net.UnixConn)
	if !ok {
		return nobody
	}
	raw, err := u.SyscallConn()
	if err != nil {
		return nobody
	}
	uid := nobody
	_ = raw.Control(func(fd uintptr) {
		if cred, err := unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED); err == nil {
			uid = cred.Uid
		}
	})
	return uid
}

// trusts says whether a user is one whom no other may keep out.
func (c *crowd) trusts(uid uint32) bool {
	return c.role == Owner || uid == 0 || int(uid) == os.Geteuid()
}

const waitInLine = 30 * time.Second

// enter lets a client in, or says that there is no room for him. On the owner's
// socket, where all are to be trusted, it waits for a place.
func (c *crowd) enter(of net.Conn, uid uint32) *conn {
	k := &conn{Conn: of, crowd: c, uid: uid, since: time.Now()}
	trusted := c.trusts(k.uid)
	for end := time.Now().Add(waitInLine); ; {
		c.mu.Lock()
		if c.finished {
			c.mu.Unlock()
			return nil
		}
		u := c.users[k.uid]
		if u == nil {
			u = &account{}
		}
		if len(c.conns)-c.follow < c.clients && (trusted || u.conns < c.perUser && c.strangers() < c.clients-c.reserved) {
			c.users[k.uid] = u
			u.conns++
			c.conns[k] = struct{}{}
			c.mu.Unlock()
			return k
		}
		if c.leave() {
			c.mu.Unlock()
			continue
		}
		worst := c.worst(k.uid, u, trusted)
		if worst != nil {
			if !worst.hush() {
				c.mu.Unlock()
				continue
			}
			c.drop(worst)
			c.complain("too many clients on the socket: those that say nothing, don't read, or were quiet for long, are cut off", "")
			c.mu.Unlock()
			continue
		}
		changed := c.changed
		if !trusted || time.Now().After(end) {
			c.complain("too many clients on the socket: new ones are turned away", fmt.Sprintf("user id %d has %d of %d connections", k.uid, u.conns, len(c.conns)-c.follow))
			c.mu.Unlock()
			return nil
		}
		c.mu.Unlock()
		select {
		case <-changed:
		case <-time.After(20 * time.Millisecond): // somebody's patience may be at its end
		}
	}
}

// strangers is how many connections are not of users that are trusted. The caller
// holds the lock.
func (c *crowd) strangers() int {
	n := 0
	for uid, u := range c.users {
		if !c.trusts(uid) {
			n += u.conns
		}
	}
	return n
}

// leave drops those who have hung up, and were not seen to yet. The caller holds the lock.
func (c *crowd) leave() (some bool) {
	for k := range c.conns {
		if k.doing != waiting && k.polled()&(unix.POLLHUP|unix.POLLERR) != 0 {
			c.drop(k)
			some = true
		}
	}
	return some
}

// polled is what the kernel says of a connection just now.
func (k *conn) polled() (events int16) {
	u, ok := k.Conn.(*net.UnixConn)
	if !ok {
		return 0
	}
	raw, err := u.SyscallConn()
	if err != nil {
		return 0
	}
	_ = raw.Control(func(fd uintptr) {
		p := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
		if n, err := unix.Poll(p, 0); err == nil && n > 0 {
			events = p[0].Revents
		}
	})
	return events
}

// spoke says that it is not the client who is slow: he has said something that nobody has
// read yet, or has taken all that was written to him. On a busy machine, who is to go on
// with it may have to wait for the processor.
func (k *conn) spoke() bool {
	switch k.doing {
	case silent, asking, quiet:
		return k.polled()&unix.POLLIN != 0
	case reading:
		return k.queued(unix.SIOCOUTQ) == 0
	}
	return false
}

// queued is how many bytes wait in the kernel, of what the client said (SIOCINQ) or of what
// he is told (SIOCOUTQ, with what it takes to keep them); -1: that isn't known.
func (k *conn) queued(which uint) (n int) {
	n = -1
	u, ok := k.Conn.(*net.UnixConn)
	if !ok {
		return n
	}
	raw, err := u.SyscallConn()
	if err != nil {
		return n
	}
	_ = raw.Control(func(fd uintptr) {
		if v, err := unix.IoctlGetInt(int(fd), which); err == nil {
			n = v
		}
	})
	return n
}

// hush has a client who is about to be cut off say nothing more, so that he knows of a request
// that it was not taken, and can send it again. It reports false if he has begun one just
// before: he has his answer, and goes then.
func (k *conn) hush() bool {
	if u, ok := k.Conn.(*net.UnixConn); ok && k.doing != reading {
		_ = u.CloseRead()
		return k.queued(unix.SIOCINQ) <= 0
	}
	return true
}

// worst is the connection that has to go for a new one; nil: none. The caller holds
// the lock.
func (c *crowd) worst(uid uint32, u *account, trusted bool) *conn {
	now := time.Now()
	own := !trusted && u.conns >= c.perUser // then he makes room himself
	pick := func(patient bool, who func(*conn) bool) *conn {
		var worst *conn
		var over time.Duration
		for k := range c.conns {
			if k.doing == waiting || k.following || !who(k) {
				continue
			}
			past := now.Sub(k.since)
			if patient {
				past -= patience[k.doing]
			}
			if past > over && !k.spoke() {
				worst, over = k, past
			}
		}
		return worst
	}
	k := pick(true, func(k *conn) bool {
		return own && k.uid == uid || !own && (trusted || !c.trusts(k.uid))
	})
	switch {
	case k != nil || own || c.role == Owner:
		return k
	case trusted:
		return pick(false, func(k *conn) bool { return !c.trusts(k.uid) })
	}
	// A fair share: who has most gives one to who has less.
	var most uint32
	n := u.conns + 1
	for id, x := range c.users {
		if x.conns > n && !c.trusts(id) {
			most, n = id, x.conns
		}
	}
	if n == u.conns+1 {
		return nil
	}
	return pick(false, func(k *conn) bool { return k.uid == most })
}

// drop takes a connection out and closes it. The caller holds the lock.
func (c *crowd) drop(k *conn) {
	if k.gone {
		return
	}
	k.gone = true
	delete(c.conns, k)
	u := c.users[k.uid]
	if k.following {
		u.follow--
		c.follow--
	} else {
		u.conns--
	}
	u.bytes -= k.held
	c.bytes -= k.held
	k.held = 0
	if u.conns+u.follow == 0 {
		delete(c.users, k.uid)
	}
	k.Conn.Close()
	close(c.changed)
	c.changed = make(chan struct{})
}

// follow gives a connection a place among those that follow events, and its own to others. It reports
// whether there is one.
func (k *conn) follow() bool {
	c := k.crowd
	c.mu.Lock()
	defer c.mu.Unlock()
	u := c.users[k.uid]
	if k.gone || u == nil || c.follow >= c.streams || u.follow >= c.userStreams {
		return false
	}
	SlowBuffer(k.Conn)
	k.following = true
	c.follow++
	u.follow++
	u.conns--
	close(c.changed)
	c.changed = make(chan struct{})
	return true
}

// followBuffer is how many bytes the kernel keeps for who follows and does not read; it takes it for
// what they take there, and doubles it.
const followBuffer = 32 << 10

// SlowBuffer bounds what the kernel keeps of what is written to a connection that nobody may read: by default
// that is 200 KB, and of TCP megabytes.
func SlowBuffer(c net.Conn) {
	if b, ok := c.(interface{ SetWriteBuffer(bytes int) error }); ok {
		_ = b.SetWriteBuffer(followBuffer) // what is there is bounded, too
	}
}

// followed says that it has done so, and is one of the others again, also if they are one more than may
// be then.
func (k *conn) followed() {
	c := k.crowd
	c.mu.Lock()
	defer c.mu.Unlock()
	if !k.following || k.gone {
		return
	}
	k.following = false
	c.follow--
	u := c.users[k.uid]
	u.follow--
	u.conns++
}

// relieve closes the connection of least use: the process is out of descriptors.
func (c *crowd) relieve() {
	c.mu.Lock()
	defer c.mu.Unlock()
	var worst *conn
	for k := range c.conns {
		if k.doing != waiting && (worst == nil || k.since.Before(worst.since)) {
			worst = k
		}
	}
	if worst != nil {
		c.drop(worst)
	}
	c.complain("no file descriptor is left for a client on the socket: the one that was idle for longest is cut off", "")
}

// complain tells each kind of complaint once a minute. The caller holds the lock.
func (c *crowd) complain(kind, detail string) {
	c.refused++
	t := c.told[kind]
	if t == nil {
		t = &complaint{}
		c.told[kind] = t
	}
	if !t.at.IsZero() && time.Since(t.at) < time.Minute {
		t.more++
		return
	}
	text := kind
	if detail != "" {
		text += ": " + detail
	}
	if t.more > 0 {
		text += fmt.Sprintf(" (and %d times more since it was last logged)", t.more)
	}
	*t = complaint{at: time.Now()}
	c.warn(text)
}

// Close implements net.Conn.
func (k *conn) Close() error {
	k.crowd.mu.Lock()
	defer k.crowd.mu.Unlock()
	k.crowd.drop(k)
	return nil
}

// note says what the client does from now on.
func (k *conn) note(doing activity) {
	k.crowd.mu.Lock()
	defer k.crowd.mu.Unlock()
	k.doing, k.since = doing, time.Now()
}

// Read implements net.Conn.
func (k *conn) Read(p []byte) (int, error) {
	if len(k.first) > 0 && len(p) > 0 {
		n := copy(p, k.first)
		k.first = k.first[n:]
		return n, nil
	}
	return k.Conn.Read(p)
}

// Write implements net.Conn. While the client doesn't take what is written he is of
// little use.
func (k *conn) Write(p []byte) (int, error) {
	k.crowd.mu.Lock()
	before := k.doing
	k.crowd.mu.Unlock()
	defer func() { k.note(before) }()
	n := 0
	for {
		k.note(reading) // anew for each piece: who reads on is not stuck
		m, err := k.Conn.Write(p[n:min(len(p), n+64<<10)])
		n += m
		if err != nil || n >= len(p) {
			return n, err
		}
	}
}

// hold accounts for bytes that are kept for a client, as far as his user id and all
// of them have not too many.
func (k *conn) hold(n int) bool {
	c := k.crowd
	c.mu.Lock()
	defer c.mu.Unlock()
	u := c.users[k.uid]
	if k.gone || u == nil || u.bytes+n > c.userBytes || c.bytes+n > c.bounds.bytes {
		return false
	}
	u.bytes += n
	c.bytes += n
	k.held += n
	return true
}

// release gives back what was held.
func (k *conn) release() {
	c := k.crowd
	c.mu.Lock()
	defer c.mu.Unlock()
	if k.gone || k.held == 0 {
		return
	}
	c.users[k.uid].bytes -= k.held
	c.bytes -= k.held
	k.held = 0
	close(c.changed)
	c.changed = make(chan struct{})
}

// holdAnswer is hold for an answer, which is there already: it waits for others that
// go, and cuts off those that don't read theirs. One answer alone may be of any size.
func (k *conn) holdAnswer(n int) bool {
	c := k.crowd
	for end := time.Now().Add(sendTimeout); ; {
		c.mu.Lock()
		u := c.users[k.uid]
		if k.gone || u == nil {
			c.mu.Unlock()
			return false
		}
		if (u.bytes == 0 || u.bytes+n <= c.userBytes) && (c.bytes == 0 || c.bytes+n <= c.bounds.bytes) {
			u.bytes += n
			c.bytes += n
			k.held += n
			c.mu.Unlock()
			return true
		}
		for o := range c.conns {
			if o.doing == reading && !o.following && time.Since(o.since) > patience[reading] && !o.spoke() {
				c.drop(o)
				c.complain("clients on the socket don't read their answers: they are cut off, others wait for theirs", "")
			}
		}
		changed := c.changed
		c.mu.Unlock()
		if time.Now().After(end) {
			return false
		}
		select {
		case <-changed:
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// finish closes every connection; those whose commands are carried out, or answered,
// have so long.
func (c *crowd) finish(grace time.Duration) {
	for end := time.Now().Add(grace); ; time.Sleep(2 * time.Millisecond) {
		c.mu.Lock()
		c.finished = true
		for k := range c.conns {
			if time.Now().After(end) || k.doing != waiting && k.doing != reading {
				c.drop(k)
			}
		}
		n := len(c.conns)
		c.mu.Unlock()
		if n == 0 {
			return
		}
	}
}
