package action

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/mail"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"bailiff/pkg/hosttest"
	"bailiff/pkg/tags"
)

func defined(name string, timeout time.Duration, properties ...string) Definition {
	d := Definition{Name: name, Timeout: timeout, Properties: &tags.Options{}}
	for i := 0; i < len(properties); i += 2 {
		d.Properties.Set(properties[i], properties[i+1])
	}
	return d
}

func banOf(ip string) *Ticket {
	return &Ticket{ID: ip, IP: netip.MustParseAddr(ip), Failures: 3, BanTime: time.Hour, Time: "1764000000.0"}
}

type buffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

func working(t *testing.T, defs ...Definition) (*Group, *buffer) {
	t.Helper()
	log := &buffer{}
	g := NewGroup(defs, &Site{Jail: "web", Log: slog.New(slog.NewTextHandler(log, nil))})
	g.Begin()
	return g, log
}

// TestSlowAction: an action that hangs holds up neither the next action nor the next
// bans, is killed with all that it started, and is given up at a stop.
func TestSlowAction(t *testing.T) {
	dir := t.TempDir()
	notes, pids := filepath.Join(dir, "notes"), filepath.Join(dir, "pids")
	g, log := working(t,
		defined("hangs", 300*time.Millisecond, "actionban", "sleep 1000 & echo $! >>"+pids+"; sleep 1000"),
		defined("notes", 0, "actionban", "echo '<ip>' >>"+notes, "actionunban", "echo 'no <ip>' >>"+notes))
	const bans = 40
	for i := range bans {
		g.Ban(banOf(fmt.Sprintf("192.0.2.%d", i+1)))
	}
	lines := func(file string) int {
		data, _ := os.ReadFile(file)
		return strings.Count(string(data), "\n")
	}
	count := func() int { return lines(notes) }
	hosttest.Until(t, "the second action has all bans", func() bool { return count() == bans })
	if n := lines(pids); n == bans {
		t.Errorf("the second action had them only after the first one had hung %d times", n)
	}
	<-g.Close(time.Time{})
	if n := count(); n != 2*bans {
		t.Errorf("%d notes, want each ban and its end", n)
	}
	if !strings.Contains(log.String(), "timed out after 0 seconds") {
		t.Errorf("the log does not tell of the timeout:\n%s", log.String())
	}
	data, err := os.ReadFile(pids)
	if err != nil {
		t.Fatal(err)
	}
	for _, pid := range strings.Fields(string(data)) {
		hosttest.Until(t, "what the command had started is gone", func() bool {
			stat, err := os.ReadFile("/proc/" + pid + "/stat")
			return err != nil || strings.Contains(string(stat), ") Z ")
		})
	}
}

// TestFloodAndFailure: output without end and failures are bounded, told, and leave
// the others alone.
func TestFloodAndFailure(t *testing.T) {
	notes := filepath.Join(t.TempDir(), "notes")
	g, log := working(t,
		defined("floods", 0, "actionban", "head -c 40000000 /dev/zero | tr '\\0' y; exit 2"),
		defined("fails", 0, "actionstart", "echo no >&2; exit 1", "actionban", "/nonexistent/command <ip>"),
		defined("notes", 0, "actionban", "echo '<ip>' >>"+notes))
	for i := range 3 {
		g.Ban(banOf(fmt.Sprintf("192.0.2.%d", i+1)))
	}
	hosttest.Until(t, "the third action has all bans", func() bool {
		data, _ := os.ReadFile(notes)
		return strings.Count(string(data), "\n") == 3
	})
	hosttest.Until(t, "the floods have ended", func() bool {
		return strings.Count(log.String(), "Error banning 192.0.2.") >= 6 // of two actions
	})
	<-g.Close(time.Time{})
	out := log.String()
	for _, want := range []string{
		"Failed to start jail 'web' action 'fails': Error starting action Jail('web')/fails: 'Script error'",
		"Failed to execute ban jail 'web' action 'floods' info '192.0.2.1': Error banning 192.0.2.1",
		"returned 127", "HINT on 127", "returned 2",
	} {
		if !strings.Contains(out, want) {
			t.Errorf("the log lacks %q", want)
		}
	}
	if len(out) > 3<<20 {
		t.Errorf("the log has %d bytes", len(out))
	}
}

// TestBehind: while much waits, a ban that is over before an action came to it is
// not told at all, and memory is not filled with lines.
func TestBehind(t *testing.T) {
	free := make(chan struct{})
	told := 0
	// A word before the lines: those that were let go are asked of the site, which knows none here, and a
	// command without a word is not run; with one core the action would come to nothing else first.
	g := NewGroup([]Definition{defined("slow", 0, "actionban", "ban <matches>", "actionunban", "un <ip>")}, &Site{
		Jail: "web", Log: slog.New(slog.NewTextHandler(io.Discard, nil)),
		Run: func(_ context.Context, c Command, _ time.Duration) bool { <-free; told++; return true },
	})
	g.Begin()
	const bans = 20_000
	for i := range bans {
		ticket := banOf(netip.AddrFrom4([4]byte{198, 18, byte(i >> 8), byte(i)}).String())
		ticket.Matches = []string{strings.Repeat("x", 1000)}
		g.Ban(ticket)
	}
	for i := range bans {
		g.Unban(netip.AddrFrom4([4]byte{198, 18, byte(i >> 8), byte(i)}).String())
	}
	w := g.workers[0]
	w.mu.Lock()
	left := w.todo.n - w.dead
	w.mu.Unlock()
	g.mu.Lock()
	kept := g.textBytes
	g.mu.Unlock()
	if left > 3*leanFrom || kept > linesBudget {
		t.Errorf("%d jobs wait, with %d bytes of lines", left, kept)
	}
	close(free)
	g.Sync(context.Background())
	<-g.Close(time.Time{})
	if told > 3*leanFrom || told == 0 {
		t.Errorf("%d commands were run", told)
	}
}

// TestMail: what smtp.py sends is sent, and a hostile line is only text in it.
func TestMail(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	letters := make(chan string, 10)
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go smtpServer(c, letters)
		}
	}()
	m := MailDefaults()
	m.Host, m.To, m.Matches = l.Addr().String(), []string{"a@example.org", "b@example.org"}, "matches"
	g, log := working(t, Definition{Name: "smtp", Properties: &tags.Options{}, Mail: &m})
	ticket := banOf("192.0.2.7")
	ticket.Matches = []string{"one\r\n.\r\nRSET", "ünï: $(reboot)"}
	g.Ban(ticket)
	restored := banOf("192.0.2.8")
	restored.Restored = true
	g.Ban(restored)
	<-g.Close(time.Time{})
	want := []string{"started on", "banned 192.0.2.7 from", "stopped on"}
	for _, subject := range want {
		select {
		case text := <-letters:
			msg, err := mail.ReadMessage(strings.NewReader(text))
			if err != nil {
				t.Fatalf("%v: %s", err, text)
			}
			if !strings.Contains(msg.Header.Get("Subject"), "[Fail2Ban] web: "+subject) || msg.Header.Get("To") != "a@example.org, b@example.org" {
				t.Errorf("header %v, want %s", msg.Header, subject)
			}
			if strings.HasPrefix(subject, "banned") && (!strings.Contains(text, "after 3 attempts") || !strings.Contains(text, "RSET") || !strings.Contains(text, "$(reboot)")) {
				t.Errorf("the letter: %s", text)
			}
		case <-time.After(2 * time.Minute):
			t.Fatalf("no letter %q; %s", subject, log.String())
		}
	}
	select {
	case text := <-letters:
		t.Errorf("one letter too many: %s", text)
	default:
	}
}

// smtpServer is one that takes everything.
func smtpServer(c net.Conn, letters chan<- string) {
	defer c.Close()
	in := bufio.NewReader(c)
	fmt.Fprint(c, "220 test\r\n")
	for {
		line, err := in.ReadString('\n')
		if err != nil {
			return
		}
		switch strings.ToUpper(strings.TrimSpace(line + "    ")[:4]) {
		case "DATA":
			fmt.Fprint(c, "354 go on\r\n")
			var text strings.Builder
			for {
				l, err := in.ReadString('\n')
				if err != nil {
					return
				}
				if l == ".\r\n" {
					break
				}
				text.WriteString(strings.TrimPrefix(l, "."))
			}
			letters <- text.String()
			fmt.Fprint(c, "250 taken\r\n")
		case "QUIT":
			fmt.Fprint(c, "221 bye\r\n")
			return
		default:
			fmt.Fprint(c, "250 ok\r\n")
		}
	}
}
