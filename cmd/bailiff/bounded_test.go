package main

import (
	"bytes"
	"flag"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

var boundedFor = flag.Duration("bounded.time", time.Second, "how long TestBounded keeps up each kind of hostile input")

// boundedMemory is what the daemon's control group allows: what it keeps itself, and
// what the kernel keeps on its account.
const boundedMemory = 200 << 20

// flood is a log that somebody fills as fast as the daemon reads it.
type flood struct {
	c       *cell
	f       *os.File
	path    string
	written int64 // to the present file
	unread  bool  // the daemon's position doesn't tell what it has read
	lines   int
}

const (
	floodAhead = 2 << 20  // how far the writer is ahead of the reader
	floodFile  = 64 << 20 // when the log is rotated
)

// write appends lines, waits for the reader, and rotates the log where it is long.
func (f *flood) write(data []byte, lines int) {
	if f.f == nil || f.written > floodFile {
		if f.f != nil {
			f.f.Close()
			if err := os.Rename(f.path, f.path+".1"); err != nil {
				f.c.t.Fatal(err)
			}
		}
		var err error
		if f.f, err = os.OpenFile(f.path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644); err != nil {
			f.c.t.Fatal(err)
		}
		f.written = 0
	}
	if _, err := f.f.Write(data); err != nil {
		f.c.t.Fatal(err)
	}
	f.written += int64(len(data))
	f.lines += lines
	if f.unread || f.written < floodAhead {
		return
	}
	f.c.until("the daemon reads on", 60*time.Second, func() bool {
		s, err := f.c.client.Status()
		if err != nil {
			return false
		}
		for _, x := range s.Jails[0].Files {
			if x.Path == f.path && x.Offset <= f.written {
				return x.Offset > f.written-floodAhead
			}
		}
		return false
	})
}

// stamp begins a line.
func stamp() string { return time.Now().UTC().Format("2006-01-02 15:04:05,000") }

// kind is hostile input of one kind.
type boundedKind struct {
	// line is the i-th line of a flood; nil: none.
	line func(i int) string
	// most is how many lines there are; 0: as many as there is time for.
	most int
	// unread says that the daemon's position doesn't tell what it has read.
	unread bool
	// kill ends the daemon at once: its actions take their time.
	kill bool
	// attack are the lines by which an address is banned; nil: failures of Django's.
	attack func(addr string, i int) string
	// client is what each of forty clients does, over and over.
	client func(c *cell, i int)
	config string // of the jail
}

const sessionFilter = `
datepattern = '{^LN-BEG}'
failregex = '''
^\s*app\[<F-MLFID>\d+</F-MLFID>\]: <F-NOFAIL>connect</F-NOFAIL> from <ADDR>\s*$
^\s*app\[<F-MLFID>\d+</F-MLFID>\]: wrong password for <F-USER>\S+</F-USER>\s*$
'''
`

const django = "filter = \"django-auth\"\n"

func sessionAttack(addr string, i int) string {
	out := fmt.Sprintf("%s app[%d]: connect from %s\n", stamp(), 900_000_000+i, addr)
	return out + strings.Repeat(fmt.Sprintf("%s app[%d]: wrong password for root\n", stamp(), 900_000_000+i), 3)
}

func boundedKinds() map[string]boundedKind {
	long16 := strings.Repeat("x", 16<<10)
	megabyte := strings.Repeat("x", 1<<20)
	pad := strings.Repeat("9", 900_000)
	echo := func(s string) []byte { return []byte("(Vstatus\nVapp\nV" + s + "\nl.") }
	return map[string]boundedKind{
		"addresses": {config: django, line: func(i int) string {
			return fmt.Sprintf("%s ERROR Login failure 10.%d.%d.%d\n", stamp(), i>>16&255, i>>8&255, i&255)
		}},
		"addresses of IPv6": {config: django, line: func(i int) string {
			return fmt.Sprintf("%s ERROR Login failure 2001:db8:%x:%x::%x\n", stamp(), i>>16, i&0xffff, i)
		}},
		"lines of 16 KB": {config: "filter = \"long\"\n", line: func(i int) string {
			return fmt.Sprintf("%s ERROR Login failure 10.%d.%d.%d for %s\n", stamp(), i>>17&255, i>>9&255, i>>1&255, long16)
		}},
		"lines of 1 MiB": {config: "filter = \"long\"\n", line: func(i int) string {
			return fmt.Sprintf("%s ERROR Login failure 10.%d.%d.%d for %s\n", stamp(), i>>17&255, i>>9&255, i>>1&255, megabyte)
		}},
		"a line without end": {config: django, most: 400, unread: true, line: func(i int) string {
			if i%100 == 99 {
				return "\n"
			}
			return megabyte
		}},
		"names": {config: django + "usedns = \"warn\"\n", line: func(i int) string {
			return fmt.Sprintf("%s ERROR Login failure h%d.example.org\n", stamp(), i)
		}},
		"connections": {config: "filter = \"session\"\n", attack: sessionAttack, line: func(i int) string {
			return fmt.Sprintf("%s app[%d]: wrong password for u%d\n", stamp(), i, i)
		}},
		"users of one connection": {config: "filter = \"session\"\n", attack: sessionAttack, line: func(i int) string {
			return fmt.Sprintf("%s app[7]: wrong password for u%d\n", stamp(), i)
		}},
		"bans behind a slow action": {config: django + "[jail.app.action.slow]\nban = \"sleep 1\"\n", most: 300_000, kill: true, line: func(i int) string {
			return fmt.Sprintf("%s ERROR Login failure 10.%d.%d.%d\n", stamp(), i/3>>16&255, i/3>>8&255, i/3&255)
		}},
		"requests": {config: django, client: func(c *cell, i int) {
			request := []byte("(L" + pad + "L\nl.")
			switch i % 4 {
			case 0:
				request = echo(pad)
			case 1:
				request = []byte("\x80\x04" + strings.Repeat("]", 4_000_000) + ".")
			case 2:
				request = []byte("(Vbanned\nl.")
			}
			_, _ = askAs(nobody-i%3, c.read, request)
		}},
		"clients": {config: django, client: func(c *cell, i int) {
			n, err := dialAs(nobody-i%3, noGroup, c.read)
			if err != nil {
				return
			}
			defer n.Close()
			_ = n.SetDeadline(time.Now().Add(time.Second))
			switch i % 4 {
			case 0: // says nothing
			case 1:
				_, _ = n.Write([]byte("("))
			case 2: // asks, and doesn't read
				for range 1000 {
					if _, err := n.Write([]byte("(Vbanned\nl.<F2B_END_COMMAND>")); err != nil {
						return
					}
				}
			case 3:
				_, _ = n.Write([]byte("GET /v1/bans HTTP/1.1\r\nHost: x\r\nX: "))
			}
			_, _ = n.Read(make([]byte, 1))
		}},
		"clients of the owner": {config: django, client: func(c *cell, i int) {
			n, err := net.DialTimeout("unix", c.socket, time.Second)
			if err != nil {
				return
			}
			defer n.Close()
			_ = n.SetDeadline(time.Now().Add(time.Second))
			if i%2 == 1 {
				_, _ = n.Write([]byte("(Vstatus\nVapp\nl.<F2B_END_COMMAND>"))
			}
			_, _ = n.Read(make([]byte, 1))
		}},
	}
}

// TestBounded: for each kind of input at full speed the daemon stays in 200 MB, lives,
// and bans who attacks meanwhile. What it took at most is told.
func TestBounded(t *testing.T) {
	t.Parallel()
	for name, k := range boundedKinds() {
		t.Run(name, func(t *testing.T) {
			if k.attack == nil {
				k.attack = func(addr string, _ int) string {
					return strings.Repeat(fmt.Sprintf("%s ERROR Login failure %s\n", stamp(), addr), 3)
				}
			}
			c := newCell(t, cellOptions{
				memory: boundedMemory, config: "[jail.app]\nenabled = true\nlogpath = \"%s/app.log\"\nmaxretry = 3\nfindtime = \"1h\"\nbantime = \"1h\"\n" + k.config,
				files: map[string]string{
					"app.log": "", "filters/session.toml": sessionFilter,
					"filters/long.toml": "datepattern = '{^LN-BEG}'\nfailregex = '''\n^ ?ERROR Login failure <ADDR>(?: for \\S*)?\\s*$\n'''\n",
				},
			})
			before := c.memory("VmRSS")
			f := &flood{c: c, path: filepath.Join(c.dir, "app.log"), unread: k.unread}
			var clients sync.WaitGroup
			stop := make(chan struct{})
			var calls atomic.Int64
			if k.client != nil {
				for i := range 40 {
					clients.Go(func() {
						for ; ; i += 40 {
							select {
							case <-stop:
								return
							default:
								k.client(c, i)
								calls.Add(1)
							}
						}
					})
				}
			}
			end := time.Now().Add(*boundedFor)
			next, attackers := time.Now().Add(*boundedFor/4), 0
			for i := 0; time.Now().Before(end) || attackers == 0; {
				if k.line != nil && (k.most == 0 || i < k.most) {
					var b bytes.Buffer
					n := i
					for b.Len() < 1<<20 && (k.most == 0 || i < k.most) {
						b.WriteString(k.line(i))
						i++
					}
					f.write(b.Bytes(), i-n)
				} else {
					time.Sleep(20 * time.Millisecond)
				}
				if time.Now().After(next) {
					attackers++
					addr := fmt.Sprintf("203.0.113.%d", attackers)
					f.write([]byte("\n"+k.attack(addr, attackers)), 3)
					c.until("a ban of "+addr, 30*time.Second, func() bool { return c.banned("app", addr) })
					next = time.Now().Add(*boundedFor / 4)
				}
			}
			close(stop)
			clients.Wait()
			peak := c.memory("VmHWM")
			t.Logf("%d lines, %d calls, %d bans of attackers; resident %d MB before, %d MB at most; charged %d MB at most",
				f.lines, calls.Load(), attackers, before>>20, peak>>20, c.charged()>>20)
			if _, err := c.client.Status(); err != nil {
				t.Errorf("afterwards: %v\n%s", err, c.log())
			}
			if k.kill {
				_ = c.daemon.Process.Kill()
			}
			if peak > boundedMemory {
				t.Errorf("%d MB", peak>>20)
			}
		})
	}
}
