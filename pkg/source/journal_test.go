package source

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
	"unicode/utf8"

	"bailiff/pkg/hosttest"
)

// writer writes a journal, with systemd's own program for that.
type journalWriter struct {
	t    *testing.T
	file string
	n    int
	base time.Time
}

func newJournal(t *testing.T) *journalWriter {
	t.Helper()
	return &journalWriter{t: t, file: filepath.Join(t.TempDir(), "test.journal"), base: time.Now().Add(-time.Hour).Truncate(time.Second)}
}

func (w *journalWriter) dir() string { return filepath.Dir(w.file) }

// at is the time of the n-th entry.
func (w *journalWriter) at(n int) time.Time {
	return w.base.Add(time.Duration(n) * 1500 * time.Millisecond)
}

// write appends entries; each is a list of FIELD=VALUE.
func (w *journalWriter) write(entries ...[]string) {
	w.t.Helper()
	var b bytes.Buffer
	for _, fields := range entries {
		at := w.at(w.n)
		fmt.Fprintf(&b, "__CURSOR=s=0123456789abcdef0123456789abcdef;i=%x;b=00112233445566778899aabbccddeeff;m=%x;t=%x;x=%x\n", w.n+1, 1000000*(w.n+1), at.UnixMicro(), w.n+1)
		fmt.Fprintf(&b, "__REALTIME_TIMESTAMP=%d\n__MONOTONIC_TIMESTAMP=%d\n_BOOT_ID=00112233445566778899aabbccddeeff\n_MACHINE_ID=ffeeddccbbaa99887766554433221100\n", at.UnixMicro(), 1000000*(w.n+1))
		for _, f := range fields {
			key, value, _ := strings.Cut(f, "=")
			if strings.Contains(value, "\n") || !utf8.ValidString(value) {
				b.WriteString(key + "\n")
				_ = binary.Write(&b, binary.LittleEndian, uint64(len(value)))
				b.WriteString(value + "\n")
				continue
			}
			b.WriteString(f + "\n")
		}
		b.WriteByte('\n')
		w.n++
	}
	cmd := exec.Command("/lib/systemd/systemd-journal-remote", "--output="+w.file, "-")
	cmd.Stdin = &b
	if out, err := cmd.CombinedOutput(); err != nil {
		w.t.Fatalf("systemd-journal-remote (Debian's package of that name): %v: %s", err, out)
	}
}

// followed gathers what a Journal delivers.
type followed struct {
	t      *testing.T
	mu     sync.Mutex
	lines  []string
	last   Batch
	replay int
	notes  []string
	stop   func()
}

func followJournal(t *testing.T, j *Journal) *followed {
	f := &followed{t: t}
	j.Notify = func(e Event) {
		f.mu.Lock()
		defer f.mu.Unlock()
		f.notes = append(f.notes, e.String())
	}
	ctx, cancel := context.WithCancel(t.Context())
	out := make(chan Batch)
	done := make(chan struct{})
	go func() { j.Run(ctx, out); close(done); close(out) }()
	go func() {
		for b := range out {
			f.mu.Lock()
			if b.Replay {
				f.replay += len(b.Lines)
			} else {
				for i, l := range b.Lines {
					f.lines = append(f.lines, ISO(b.Times[i])+" "+string(l))
				}
				f.last = b
			}
			f.mu.Unlock()
		}
	}()
	f.stop = sync.OnceFunc(func() { cancel(); <-done })
	t.Cleanup(f.stop)
	return f
}

func (f *followed) expect(want ...string) {
	f.t.Helper()
	for end := time.Now().Add(2 * time.Minute); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		f.mu.Lock()
		n := len(f.lines)
		f.mu.Unlock()
		if n >= len(want) {
			break
		}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if strings.Join(f.lines, "\n") != strings.Join(want, "\n") {
		f.t.Fatalf("lines\n%s\nwant\n%s\nnotes %q", strings.Join(f.lines, "\n"), strings.Join(want, "\n"), f.notes)
	}
}

func TestJournal(t *testing.T) {
	w := newJournal(t)
	ssh := func(message string) []string {
		return []string{"_HOSTNAME=host", "SYSLOG_IDENTIFIER=sshd", "_COMM=sshd", "_PID=41", "_SYSTEMD_UNIT=ssh.service", "MESSAGE=" + message}
	}
	line := func(n int, text string) string { return ISO(w.at(n)) + " " + text }
	w.write(
		ssh("Failed password for root from 192.0.2.7 port 1 ssh2"),
		[]string{"_HOSTNAME=host", "SYSLOG_IDENTIFIER=other", "MESSAGE=not asked for", "_SYSTEMD_UNIT=other.service"},
		ssh("two\nlines \xff of bytes"),
		[]string{"_HOSTNAME=host", "_COMM=cron", "SYSLOG_PID=0x10", "_SYSTEMD_UNIT=cron.service", "MESSAGE=first", "MESSAGE=second"},
	)
	matches, err := ParseJournalMatch("_SYSTEMD_UNIT=ssh.service + _SYSTEMD_UNIT=cron.service")
	if err != nil {
		t.Fatal(err)
	}
	open := func(resume ...Position) *followed {
		return followJournal(t, &Journal{JournalOptions: JournalOptions{Path: w.dir(), Matches: matches}, Since: w.base.Add(-time.Minute), Resume: resume})
	}
	f := open()
	want := []string{
		line(0, "host sshd[41]: Failed password for root from 192.0.2.7 port 1 ssh2"),
		line(2, `host sshd[41]: two\nlines `+"\uFFFD of bytes"),
		line(3, "host cron[16]: first second"),
	}
	f.expect(want...)
	w.write(ssh("while it is followed"), []string{"MESSAGE=bare", "_SYSTEMD_UNIT=cron.service"})
	want = append(want, line(4, "host sshd[41]: while it is followed"), line(5, "bare"))
	f.expect(want...)
	f.stop()
	if f.last.Cursor == "" || !f.last.Stored.Equal(w.at(5)) {
		t.Errorf("the last batch ends at %q, %v", f.last.Cursor, f.last.Stored)
	}

	// What is written while nobody reads comes after a restart, and nothing twice.
	at := Position{Cursor: f.last.Cursor, Time: f.last.Stored}
	w.write(ssh("while nobody read"))
	f = open(at)
	f.expect(line(6, "host sshd[41]: while nobody read"))
	if f.replay != len(want) {
		t.Errorf("%d entries were read once more, want %d", f.replay, len(want))
	}
	f.stop()
	// A position of fail2ban's is a time.
	f = open(Position{Time: w.at(6)})
	f.expect(line(6, "host sshd[41]: while nobody read"))
	f.stop()
	// A cursor that no journal knows.
	f = open(Position{Cursor: "s=1;nonsense", Time: w.at(5)})
	f.expect(line(6, "host sshd[41]: while nobody read"))
}

func TestJournalMistakes(t *testing.T) {
	for text, want := range map[string]string{
		"+ _COMM=x": "nothing before +", "_COMM=x +": "nothing after +", "sshd": "not FIELD=VALUE", "_COMM='x": "not closed", `_COMM=x\`: "ends with a backslash", "": "nothing",
	} {
		if _, err := ParseJournalMatch(text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", text, err, want)
		}
	}
	m, err := ParseJournalMatch(`_COMM=a "MESSAGE=b c" _X='d "e"' + /usr/sbin/sshd`)
	if got := fmt.Sprintf("%q %v", m, err); got != `[["_COMM=a" "MESSAGE=b c" "_X=d \"e\""] ["/usr/sbin/sshd"]] <nil>` {
		t.Error(got)
	}
	f := followJournal(t, &Journal{JournalOptions: JournalOptions{Path: filepath.Join(t.TempDir(), "none")}})
	said := func() string {
		f.mu.Lock()
		defer f.mu.Unlock()
		return strings.Join(f.notes, "\n")
	}
	hosttest.Soon(func() bool { return strings.Contains(said(), "journalctl: ") })
	f.stop()
	if all := said(); !strings.Contains(all, "journalctl: ") {
		t.Errorf("a journal that is not there: %q", all)
	}
}

func TestJournalArgs(t *testing.T) {
	nine := 9
	for _, c := range []struct {
		o    JournalOptions
		want string
	}{
		{JournalOptions{}, "--merge --system --"},
		{JournalOptions{Flags: &nine}, "--user --"},
		{JournalOptions{Path: "/d", Matches: [][]string{{"_COMM=a", "_UID=0"}, {"-x=1"}}}, "--merge --directory=/d -- _COMM=a _UID=0 + -x=1"},
		{JournalOptions{Files: []string{"/a", "/b"}, Namespace: "n"}, "--file=/a --file=/b --namespace=n --"},
	} {
		got := c.o.Args()
		if s := strings.Join(got[4:], " "); s != c.want {
			t.Errorf("%+v: %s, want %s", c.o, s, c.want)
		}
	}
}

func FuzzEntries(f *testing.F) {
	f.Add([]byte("__CURSOR=a\n__REALTIME_TIMESTAMP=1\nMESSAGE\n\x03\x00\x00\x00\x00\x00\x00\x00a\nb\n_PID=1\nSYSLOG_IDENTIFIER=kernel\n\nMESSAGE=x\n\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		r := NewEntryReader(bytes.NewReader(data), nil)
		for range len(data) + 1 {
			e, err := r.Next()
			if err != nil {
				return
			}
			if bytes.IndexByte(e.Line, '\n') >= 0 {
				t.Fatalf("a line with a newline: %q", e.Line)
			}
		}
		t.Fatal("more entries than bytes")
	})
}

// TestHugeEntry: an entry with 100 messages of 1 MB, as any user may write it, is a
// line as long as others may be.
func TestHugeEntry(t *testing.T) {
	var b bytes.Buffer
	for range 100 {
		b.WriteString("MESSAGE=" + strings.Repeat("x", 1<<20) + "\n")
	}
	for range 5000 {
		b.WriteString("MESSAGE=\n")
	}
	b.WriteString("\nMESSAGE=after\n\n")
	in := NewEntryReader(&b, nil)
	e, err := in.Next()
	if err != nil || len(e.Line) > MaxLine || len(e.Line) < MaxLine/2 {
		t.Errorf("%d bytes, %v", len(e.Line), err)
	}
	if e, err = in.Next(); err != nil || string(e.Line) != "after" {
		t.Errorf("%q, %v", e.Line, err)
	}
}

// TestHangingJournal: a journalctl that prints nothing and does not end when it is
// asked to is killed with all that it started.
func TestHangingJournal(t *testing.T) {
	for _, resumed := range []bool{false, true} {
		dir := t.TempDir()
		pids := filepath.Join(dir, "pids")
		script := "#!/bin/sh\ntrap '' TERM INT\nsh -c 'trap \"\" TERM; echo $$ >> " + pids + "; while :; do sleep 1000; done' &\necho $$ >> " + pids + "\nwhile :; do sleep 1000; done\n"
		if err := os.WriteFile(filepath.Join(dir, "journalctl"), []byte(script), 0o755); err != nil {
			t.Fatal(err)
		}
		t.Setenv("PATH", dir+":"+os.Getenv("PATH"))
		j := &Journal{}
		if resumed {
			j.Resume = []Position{{Cursor: "x", Time: time.Now()}}
		}
		f := followJournal(t, j)
		var started []string
		for end := time.Now().Add(2 * time.Minute); len(started) < 2 && time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
			text, _ := os.ReadFile(pids)
			started = strings.Fields(string(text))
		}
		if len(started) < 2 {
			t.Fatal("it isn't started")
		}
		ended := make(chan struct{})
		go func() { f.stop(); close(ended) }()
		select {
		case <-ended:
		case <-time.After(10 * leaveAfter):
			t.Fatal("it doesn't end")
		}
		for _, pid := range started {
			n, _ := strconv.Atoi(pid)
			for end := time.Now().Add(2 * time.Minute); syscall.Kill(n, 0) == nil; time.Sleep(5 * time.Millisecond) {
				if stat, _ := os.ReadFile(fmt.Sprintf("/proc/%d/stat", n)); bytes.Contains(stat, []byte(") Z ")) {
					break // nobody asks for its end
				}
				if time.Now().After(end) {
					t.Fatalf("process %d is still there", n)
				}
			}
		}
	}
}
