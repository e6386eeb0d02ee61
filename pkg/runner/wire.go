package runner

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// What is said between the two processes: frames, each with its length before it, a kind,
// the number of the request that it belongs to, and fields. Texts have their length before
// them, lists their count. Nothing in a frame is looked at as anything but bytes and numbers.
// Descriptors go with the first byte of their frame.

const (
	frameMost  = 16 << 20 // bytes of a frame
	listMost   = 200_000  // entries of a list
	headBytes  = 4
	writeMost  = 10 * time.Second // how long the other one may take to read a frame
	fdsMost    = 2
	kindBytes  = 1
	startBytes = kindBytes + 4 // of each frame: kind and request
)

// Kinds of frames: what is asked, and what is answered.
const (
	askRun byte = iota + 1
	askKnown
	askJournal
	askCancel
	askReload
	askEnvironment
	askListen
	askDial
	askEngine
	askReplace
	tellResult
	tellJournal
	tellEnd
	tellTable
	tellOpened
)

var errFrame = errors.New("a damaged frame")

// frame is one of them.
type frame struct {
	kind    byte
	request uint32
	data    []byte
	fds     []int
}

// writer puts a frame together.
type writer struct{ buf []byte }

func newWriter(kind byte, request uint32) *writer {
	w := &writer{make([]byte, headBytes, 256)}
	w.buf = append(w.buf, kind)
	w.buf = binary.BigEndian.AppendUint32(w.buf, request)
	return w
}

func (w *writer) number(n uint64) { w.buf = binary.BigEndian.AppendUint64(w.buf, n) }

func (w *writer) text(s string) {
	w.buf = binary.BigEndian.AppendUint32(w.buf, uint32(len(s)))
	w.buf = append(w.buf, s...)
}

func (w *writer) texts(all []string) {
	w.number(uint64(len(all)))
	for _, s := range all {
		w.text(s)
	}
}

// reader takes a frame's fields apart; after a mistake they are all empty.
type reader struct {
	data []byte
	bad  bool
}

func (r *reader) number() uint64 {
	if len(r.data) < 8 {
		r.bad, r.data = true, nil
		return 0
	}
	n := binary.BigEndian.Uint64(r.data)
	r.data = r.data[8:]
	return n
}

func (r *reader) text() string {
	if len(r.data) < 4 {
		r.bad, r.data = true, nil
		return ""
	}
	n := binary.BigEndian.Uint32(r.data)
	if uint64(n) > uint64(len(r.data)-4) {
		r.bad, r.data = true, nil
		return ""
	}
	s := string(r.data[4 : 4+n])
	r.data = r.data[4+n:]
	return s
}

// count is the number of entries of a list, each of which takes some bytes.
func (r *reader) count(each int) int {
	n := r.number()
	if n > listMost || n*uint64(each) > uint64(len(r.data)) {
		r.bad, r.data = true, nil
		return 0
	}
	return int(n)
}

func (r *reader) texts() []string {
	out := make([]string, 0, r.count(4))
	for range cap(out) {
		out = append(out, r.text())
	}
	return out
}

// end reports whether all was as it is to be, and nothing is left.
func (r *reader) end() error {
	if r.bad || len(r.data) > 0 {
		return errFrame
	}
	return nil
}

// link is one end of the socket.
type link struct {
	conn *net.UnixConn
	mu   sync.Mutex // of who writes
	fds  []int      // that came and belong to no frame yet
}

// newLink takes over a descriptor.
func newLink(f *os.File) (*link, error) {
	defer f.Close() // it is duplicated
	c, err := net.FileConn(f)
	if err != nil {
		return nil, err
	}
	conn, ok := c.(*net.UnixConn)
	if !ok {
		c.Close()
		return nil, fmt.Errorf("want a Unix socket, not %s", c.LocalAddr().Network())
	}
	return &link{conn: conn}, nil
}

// send writes a frame. After an error the link is of no use any more.
func (l *link) send(w *writer, fds ...int) error {
	n := len(w.buf) - headBytes
	if n > frameMost {
		return fmt.Errorf("%d bytes at once, %d at the most", n, frameMost)
	}
	binary.BigEndian.PutUint32(w.buf, uint32(n))
	l.mu.Lock()
	defer l.mu.Unlock()
	_ = l.conn.SetWriteDeadline(time.Now().Add(writeMost))
	rest := w.buf
	if len(fds) > 0 {
		n, _, err := l.conn.WriteMsgUnix(rest, unix.UnixRights(fds...), nil)
		if err != nil {
			l.conn.Close()
			return err
		}
		rest = rest[n:]
	}
	if _, err := l.conn.Write(rest); err != nil {
		l.conn.Close()
		return err
	}
	return nil
}

// receive reads the next frame.
func (l *link) receive() (frame, error) {
	var head [headBytes]byte
	if err := l.read(head[:]); err != nil {
		return frame{}, err
	}
	n := binary.BigEndian.Uint32(head[:])
	if n < startBytes || n > frameMost {
		return frame{}, errFrame
	}
	data := make([]byte, n)
	if err := l.read(data); err != nil {
		if errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF
		}
		return frame{}, err
	}
	f := frame{kind: data[0], request: binary.BigEndian.Uint32(data[1:]), data: data[startBytes:], fds: l.fds}
	l.fds = nil
	return f, nil
}

// read fills a buffer, and keeps the descriptors that come with it.
func (l *link) read(buf []byte) error {
	var oob [256]byte
	for len(buf) > 0 {
		n, on, _, _, err := l.conn.ReadMsgUnix(buf, oob[:])
		if on > 0 {
			messages, _ := unix.ParseSocketControlMessage(oob[:on])
			for _, m := range messages {
				fds, _ := unix.ParseUnixRights(&m)
				for _, fd := range fds {
					unix.CloseOnExec(fd)
					if len(l.fds) >= fdsMost {
						unix.Close(fd)
						continue
					}
					l.fds = append(l.fds, fd)
				}
			}
		}
		if err != nil {
			return err
		}
		if n == 0 {
			return io.EOF
		}
		buf = buf[n:]
	}
	return nil
}

func (f *frame) closeAll() {
	for _, fd := range f.fds {
		unix.Close(fd)
	}
	f.fds = nil
}

// millis is a duration as it is told.
func millis(d time.Duration) uint64 { return uint64(max(d, 0) / time.Millisecond) }

// fromMillis is one that was told, at most a day.
func fromMillis(n uint64) time.Duration {
	return time.Duration(min(n, uint64(24*time.Hour/time.Millisecond), math.MaxInt32)) * time.Millisecond
}
