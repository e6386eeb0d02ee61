package eventlog

import (
	"bufio"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"bailiff/pkg/hosttest"
)

// Tests run on machines that are busy with others.
func init() { endMost = time.Minute }

// lines are as many as fill what waits, and some more.
const lines = 3 * waitingMost / (entryCost + 10)

// TestHungTarget: a log that nobody reads holds nobody up; another target is taken
// meanwhile, and what is lost is counted, and told when it is read.
func TestHungTarget(t *testing.T) {
	fifo := filepath.Join(t.TempDir(), "fifo")
	if err := syscall.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, _, err := Open(fifo, "INFO"); err == nil {
		t.Error("a FIFO is taken for a log")
	}
	reader, hung, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer reader.Close()
	h, done, err := Open("stderr", "INFO")
	if err != nil {
		t.Fatal(err)
	}
	h.out.writer = newWriter(&sink{w: hung, path: "hung"})
	log := slog.New(h).With("component", "actions")
	for i := range lines {
		log.Info("line " + strconv.Itoa(i))
	}
	path := filepath.Join(t.TempDir(), "log")
	if err := h.SetTarget(path, ""); err != nil {
		t.Fatal(err)
	}
	log.Info("here")
	hosttest.Until(t, "the other target is written", func() bool {
		text, _ := os.ReadFile(path)
		return strings.HasSuffix(string(text), " here\n")
	})
	got, lost := 0, 0
	in := bufio.NewScanner(reader)
	for got+lost < lines && in.Scan() {
		if m := regexp.MustCompile(`ERROR   (\d+) lines of this log are lost`).FindStringSubmatch(in.Text()); m != nil {
			n, _ := strconv.Atoi(m[1])
			lost += n
			continue
		}
		got++
	}
	if got+lost != lines || lost == 0 || got < waitingMost/(entryCost+10) {
		t.Errorf("%d lines written and %d lost of %d", got, lost, lines)
	}
	if err := done(); err != nil {
		t.Error(err)
	}
}

// TestHungSyslog: a system log that does not read holds nobody up, and gets the lines
// when it does.
func TestHungSyslog(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "log")
	listen := func() *net.UnixConn {
		os.Remove(socket)
		c, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: socket, Net: "unixgram"})
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	system := listen()
	h, done, err := Open(filepath.Join(t.TempDir(), "log"), "INFO")
	if err != nil {
		t.Fatal(err)
	}
	if err := h.SetTarget("SYSLOG", socket); err != nil {
		t.Fatal(err)
	}
	log := slog.New(h).With("component", "actions")
	const n = 2000 // more than its socket holds
	for i := range n {
		log.Info(fmt.Sprintf("line %d", i))
	}
	buf := make([]byte, 1000)
	next := func(c *net.UnixConn) string {
		_ = c.SetReadDeadline(time.Now().Add(20 * time.Second))
		k, err := c.Read(buf)
		if err != nil {
			t.Fatal(err)
		}
		return string(buf[:k])
	}
	for i := range n {
		if got, want := next(system), fmt.Sprintf("INFO line %d", i); !strings.HasSuffix(got, want) {
			t.Fatalf("got %q, want %q", got, want)
		}
	}
	// It is started anew.
	system.Close()
	log.Info("while it is away")
	system = listen()
	defer system.Close()
	log.Info("when it is back")
	for _, want := range []string{"INFO while it is away", "INFO when it is back"} {
		if got := next(system); !strings.HasSuffix(got, want) {
			t.Errorf("got %q, want %q", got, want)
		}
	}
	if err := done(); err != nil {
		t.Error(err)
	}
}

// TestTargetsInTurn: the target is changed while lines wait, to and fro.
func TestTargetsInTurn(t *testing.T) {
	dir := t.TempDir()
	socket := filepath.Join(dir, "socket")
	system, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: socket, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer system.Close()
	go func() {
		buf := make([]byte, 1000)
		for {
			if _, err := system.Read(buf); err != nil {
				return
			}
		}
	}()
	h, done, err := Open(filepath.Join(dir, "log"), "INFO")
	if err != nil {
		t.Fatal(err)
	}
	log := slog.New(h)
	stop, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		for {
			select {
			case <-stop:
				return
			default:
				log.Info("line")
			}
		}
	}()
	for i := range 50 {
		target := "SYSLOG"
		if i%2 == 0 {
			target = filepath.Join(dir, strconv.Itoa(i))
		}
		if err := h.SetTarget(target, socket); err != nil {
			t.Fatal(err)
		}
	}
	close(stop)
	<-ended
	if err := done(); err != nil {
		t.Error(err)
	}
}

// TestCloseFormer: what waits for a target that was changed is written at the end, too,
// as far as it takes it, and what isn't is told. Targets that all hang don't pile up.
func TestCloseFormer(t *testing.T) {
	dir := t.TempDir()
	reader, hung, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer reader.Close()
	h, done, err := Open(filepath.Join(dir, "first"), "INFO")
	if err != nil {
		t.Fatal(err)
	}
	log := slog.New(h)
	hang := func() { // the target is one that takes as much as a pipe does
		h.out.mu.Lock()
		h.out.writer.end()
		h.out.former = append(h.out.former, h.out.writer)
		h.out.writer = newWriter(&sink{w: hung, path: "hung"})
		h.out.mu.Unlock()
	}
	hang()
	const n = 3000 // more than a pipe holds
	text := strings.Repeat("x", 100)
	for i := range n {
		log.Info(text + strconv.Itoa(i))
	}
	if err := h.SetTarget(filepath.Join(dir, "second"), ""); err != nil {
		t.Fatal(err)
	}
	log.Info("to the second")
	closed := make(chan error, 1)
	go func() { closed <- done() }() // waits for the one that hangs
	got := 0
	for in := bufio.NewScanner(reader); got < n && in.Scan(); got++ {
		if want := "INFO    " + text + strconv.Itoa(got); !strings.HasSuffix(in.Text(), want) {
			t.Fatalf("line %d: %q", got, in.Text())
		}
	}
	if err := <-closed; err != nil || got != n {
		t.Errorf("%d of %d lines, %v", got, n, err)
	}

	// All of them hang: who is oldest is given up, which is told.
	if h, done, err = Open(filepath.Join(dir, "first"), "INFO"); err != nil {
		t.Fatal(err)
	}
	log = slog.New(h)
	reader, hung, err = os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer reader.Close()
	for range formerMost + 3 {
		hang()
		for range n { // in two goes: the first is being written, the second waits
			log.Info(text)
		}
		w := h.out.writer
		hosttest.Until(t, "it hangs", func() bool {
			w.mu.Lock()
			defer w.mu.Unlock()
			return w.writing > 0
		})
		log.Info("one more")
	}
	defer func(was time.Duration) { formerPatience = was }(formerPatience)
	formerPatience = 50 * time.Millisecond
	last := filepath.Join(dir, "last")
	if err := h.SetTarget(last, ""); err != nil {
		t.Fatal(err)
	}
	if got := len(h.out.former); got > formerMost {
		t.Errorf("%d targets are kept", got)
	}
	log.Info("to the last")
	hosttest.Until(t, "what is lost is told", func() bool {
		data, _ := os.ReadFile(last)
		return regexp.MustCompile(`ERROR   \d+ lines of this log are lost: they could not be written in time \(they waited for hung, where the log went before\)\n.* to the last\n$`).Match(data)
	})
	defer func(was time.Duration) { endMost = was }(endMost)
	endMost = 50 * time.Millisecond
	if err := done(); err == nil || !strings.Contains(err.Error(), "were not taken in time by hung") {
		t.Errorf("the end says %v", err)
	}
}

// TestNoLineBetweenTargets: each line is written to the target before or the one after.
func TestNoLineBetweenTargets(t *testing.T) {
	dir := t.TempDir()
	h, done, err := Open(filepath.Join(dir, "log"), "INFO")
	if err != nil {
		t.Fatal(err)
	}
	log := slog.New(h)
	const n = 20_000
	told := make(chan struct{})
	go func() {
		defer close(told)
		for i := range n {
			log.Info("line " + strconv.Itoa(i))
		}
	}()
	files := 0
	for going := true; going; files++ {
		select {
		case <-told:
			going = false
		default:
		}
		if err := h.SetTarget(filepath.Join(dir, strconv.Itoa(files)), ""); err != nil {
			t.Fatal(err)
		}
	}
	if err := done(); err != nil {
		t.Error(err)
	}
	got := 0
	all, _ := filepath.Glob(filepath.Join(dir, "*"))
	for _, path := range all {
		data, _ := os.ReadFile(path)
		got += strings.Count(string(data), " line ")
	}
	if got != n {
		t.Errorf("%d lines of %d in %d files", got, n, files)
	}
}
