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
)

// Tests run on machines that are busy with others.
func init() { endMost = time.Minute }

func until(t *testing.T, what string, done func() bool) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); !done(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("waited in vain: %s", what)
		}
	}
}

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
	until(t, "the other target is written", func() bool {
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
