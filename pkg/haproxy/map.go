// Package haproxy keeps a map of a running HAProxy equal to what is banned, over its runtime
// socket ("stats socket" with level admin), without a reload.
//
// Entries of ours have the value [Value]; those with another value are somebody else's, and stay. A command
// is a connection, as HAProxy has it where nobody asks for a prompt: the commands of one are carried out together,
// and the connection tells of the process that it is the same one as before ([Map.Process]).
package haproxy

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/netip"
	"strings"
	"time"

	"bailiff/pkg/opener"
)

// Value is that of entries of ours.
const Value = "bailiff"

const (
	dialMost = 2 * time.Second
	// answerMost is how long HAProxy may be silent within an answer.
	answerMost = 10 * time.Second
	// commandMost is how long a command may be, with what follows it: HAProxy takes no
	// more than a buffer of 16 KiB, less what it keeps free in that.
	commandMost = 8 << 10
	// wholeMost is how long an answer may take in all, listMost how long a list may: who sends a
	// byte now and then is not silent.
	wholeMost = 30 * time.Second
	listMost  = 5 * time.Minute
	// answerBytes bounds an answer that is no list, lineBytes a line of one, and entriesMost its entries.
	answerBytes = 64 << 10
	lineBytes   = 16 << 10
	entriesMost = 10_000_000
)

// An answer beyond the bounds.
var (
	errSlow    = errors.New("the answer doesn't end: what is at the socket is no HAProxy, or a very busy one")
	errLong    = fmt.Errorf("the answer has a line of more than %d bytes: what is at the socket is no HAProxy", lineBytes)
	errEntries = fmt.Errorf("the map has more than %d entries", entriesMost)
	errCut     = errors.New("the answer ends early")
)

// Map is a map of a HAProxy.
type Map struct {
	// Socket is a path, or ADDRESS:PORT.
	Socket string
	// File is what the configuration calls the map.
	File string

	most time.Duration // in place of wholeMost and listMost; 0: those
}

// Entry is one of a map.
type Entry struct {
	Ref, Key, Value string
}

// Error is what HAProxy answers in place of doing something.
type Error struct{ Said string }

func (e *Error) Error() string { return "HAProxy says: " + e.Said }

// Key is how an address or a network stands in a map.
func Key(p netip.Prefix) string {
	if p.IsSingleIP() {
		return p.Addr().String()
	}
	return p.String()
}

func (m *Map) dial(ctx context.Context) (net.Conn, error) {
	network := "tcp"
	if strings.HasPrefix(m.Socket, "/") {
		network = "unix"
	}
	ctx, cancel := context.WithTimeout(ctx, dialMost)
	defer cancel()
	c, err := opener.Dial(ctx, network, m.Socket)
	if errors.Is(err, fs.ErrPermission) {
		err = fmt.Errorf("%w: let the daemon's user write to it (stats socket %s mode 660 level admin group GROUP)", err, m.Socket)
	}
	return c, err
}

// command sends commands and has read read what comes, within most.
func (m *Map) command(ctx context.Context, most time.Duration, text string, read func(*bufio.Reader) error) error {
	if m.most != 0 {
		most = m.most
	}
	ctx, cancel := context.WithTimeoutCause(ctx, most, errSlow)
	defer cancel()
	c, err := m.dial(ctx)
	if err != nil {
		return err
	}
	defer c.Close()
	defer context.AfterFunc(ctx, func() { c.Close() })()
	_ = c.SetWriteDeadline(time.Now().Add(answerMost))
	if _, err := io.WriteString(c, text+"\n"); err != nil {
		return err
	}
	err = read(bufio.NewReaderSize(&patient{c}, lineBytes))
	if ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	return err
}

// patient reads as long as something comes.
type patient struct{ net.Conn }

func (p *patient) Read(b []byte) (int, error) {
	_ = p.SetReadDeadline(time.Now().Add(answerMost))
	return p.Conn.Read(b)
}

// do carries out commands of which nothing is to be said. What is not there need not be
// removed.
func (m *Map) do(ctx context.Context, text string) error {
	return m.command(ctx, wholeMost, text, func(r *bufio.Reader) error {
		out, err := io.ReadAll(io.LimitReader(r, answerBytes))
		if err != nil {
			return err
		}
		for _, line := range strings.Split(string(out), "\n") {
			if line = strings.TrimSpace(line); line != "" && line != "Key not found." {
				return m.refused(line)
			}
		}
		return nil
	})
}

func (m *Map) refused(line string) error {
	err := error(&Error{line[:min(len(line), 200)]})
	switch {
	case strings.Contains(line, "nknown map"):
		return fmt.Errorf("%w: no rule of its configuration uses the map %s (http-request deny if { src,map_ip(%[2]s) -m found })", err, m.File)
	case strings.Contains(line, "ermission denied"):
		return fmt.Errorf("%w: the socket needs level admin (stats socket %s level admin)", err, m.Socket)
	}
	return err
}

// Process tells a HAProxy from one that has taken its place: what it has in its maps is what the
// file had.
func (m *Map) Process(ctx context.Context) (id string, err error) {
	err = m.command(ctx, wholeMost, "show info", func(r *bufio.Reader) error {
		out, err := io.ReadAll(io.LimitReader(r, answerBytes))
		if err != nil {
			return err
		}
		for _, line := range strings.Split(string(out), "\n") {
			if pid, ok := strings.CutPrefix(line, "Pid: "); ok {
				id = strings.TrimSpace(pid)
				return nil
			}
		}
		first, _, _ := strings.Cut(strings.TrimSpace(string(out)), "\n")
		return m.refused("no Pid in its show info: " + first)
	})
	return id, err
}

// List goes through the map.
func (m *Map) List(ctx context.Context, each func(Entry)) error {
	return m.command(ctx, listMost, "show map "+m.File, func(r *bufio.Reader) error {
		for n, ended := 0, false; ; {
			data, err := r.ReadSlice('\n')
			switch {
			case err == io.EOF && ended && len(data) == 0:
				return nil
			case err == io.EOF:
				return errCut // by one that was stopped: what it has in its map is not known
			case errors.Is(err, bufio.ErrBufferFull):
				return errLong
			case err != nil:
				return err
			}
			line := strings.TrimRight(string(data), "\r\n")
			f := strings.SplitN(line, " ", 3)
			switch ended = line == ""; {
			case ended:
			case !strings.HasPrefix(line, "0x"):
				return m.refused(line)
			case len(f) == 3:
				if n++; n > entriesMost {
					return errEntries
				}
				each(Entry{f[0], f[1], f[2]})
			}
		}
	})
}

// Change puts keys into the map and takes others out, those that are in it by their key or by
// "#" and their Ref. It goes in pieces that HAProxy takes; after an error some of it is done.
func (m *Map) Change(ctx context.Context, add, remove []string) error {
	var b strings.Builder
	for i, key := range remove {
		if b.Len() > 0 {
			b.WriteByte(';')
		}
		fmt.Fprintf(&b, "del map %s %s", m.File, key)
		if b.Len() > commandMost || i == len(remove)-1 {
			if err := m.do(ctx, b.String()); err != nil {
				return err
			}
			b.Reset()
		}
	}
	for i, key := range add {
		if b.Len() == 0 {
			fmt.Fprintf(&b, "add map %s <<\n", m.File)
		}
		fmt.Fprintf(&b, "%s %s\n", key, Value)
		if b.Len() > commandMost || i == len(add)-1 {
			if err := m.do(ctx, b.String()); err != nil {
				return err
			}
			b.Reset()
		}
	}
	return nil
}
