package remote

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"bailiff/pkg/events"
	"bailiff/pkg/hosttest"
)

// TestReceiver: the receiver that docs/exports.md shows takes what is signed, once, and nothing else.
func TestReceiver(t *testing.T) {
	const example = "../../examples/webhook/receiver.py"
	program, err := os.ReadFile(example)
	if err != nil {
		t.Fatal(err)
	}
	page, err := os.ReadFile("../../docs/exports.md")
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(page), "```python\n"+string(program)+"```\n") {
		t.Errorf("docs/exports.md shows another receiver than %s", example)
	}
	secret := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(secret, []byte("0123456789abcdef\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	port := free.Addr().(*net.TCPAddr).Port
	free.Close()
	cmd := exec.Command("python3", example, fmt.Sprint(port), secret)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	var said bytes.Buffer
	cmd.Stderr = &said
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = cmd.Process.Kill(); _ = cmd.Wait() }()
	lines := make(chan string, 100)
	go func() {
		for in := bufio.NewScanner(out); in.Scan(); {
			lines <- in.Text()
		}
	}()
	url := fmt.Sprintf("http://127.0.0.1:%d/hook", port)
	hosttest.Until(t, "the receiver listens", func() bool {
		c, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", port))
		if err == nil {
			c.Close()
		}
		return err == nil
	})
	post := func(at int64, sign string, body string) int {
		req, err := http.NewRequest(http.MethodPost, url, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set(HookTime, fmt.Sprint(at))
		req.Header.Set(HookSignature, sign)
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		res.Body.Close()
		return res.StatusCode
	}
	const body = `{"host":"h","stream":"s","first":1,"last":1,"events":[{"n":1,"kind":"ban"}]}`
	now := time.Now().Unix()
	for what, code := range map[string]int{
		"another secret": post(now, Sign("another", now, []byte(body)), body),
		"another body":   post(now, Sign("0123456789abcdef", now, []byte(body)), strings.Replace(body, "ban", "xyz", 1)),
		"another time":   post(now+1, Sign("0123456789abcdef", now, []byte(body)), body),
		"an old one":     post(now-1000, Sign("0123456789abcdef", now-1000, []byte(body)), body),
		"no signature":   post(now, "", body),
	} {
		if code != http.StatusForbidden {
			t.Errorf("%s: %d", what, code)
		}
	}
	table := events.Open(events.Options{Path: filepath.Join(t.TempDir(), "db")})
	defer table.Close()
	hosttest.Until(t, "the table is open", func() bool { _, _, ok := table.Last(); return ok })
	state := filepath.Join(t.TempDir(), "webhook-x")
	run := func() (h *Hook, stop func()) {
		h = &Hook{
			Client: &Client{URL: url, Token: Token{File: secret}.Read}, Table: table, Host: "web1", Kinds: events.Kinds, Path: state, Tell: func(level slog.Level, text string) { t.Logf("%v %s", level, text) },
			Sleep: func(ctx context.Context, _ time.Duration) error { return Sleep(ctx, time.Millisecond) },
		}
		ctx, cancel := context.WithCancel(context.Background())
		done := make(chan struct{})
		go func() { defer close(done); h.Run(ctx) }()
		hosttest.Until(t, "it has begun", func() bool { return h.State().Behind >= 0 })
		return h, func() { cancel(); <-done }
	}
	h, stop := run()
	table.Add(&events.Event{Kind: events.Ban, Jail: "sshd", IP: "192.0.2.7", Why: "by hand"})
	want := "web1 1 ban sshd 192.0.2.7 by hand"
	next := func() string {
		select {
		case l := <-lines:
			return l
		case <-time.After(time.Minute):
			return "nothing in a minute: " + said.String()
		}
	}
	if got := next(); got != want {
		t.Errorf("the receiver says %q, want %q", got, want)
	}
	hosttest.Until(t, "it was taken", func() bool { return h.State().Event == 1 })
	stop()
	_, stream, _ := table.Last()
	if err := os.WriteFile(state, []byte(stream+" 0\n"), 0o600); err != nil { // as before a kill
		t.Fatal(err)
	}
	h, stop = run()
	defer stop()
	table.Add(&events.Event{Kind: events.Unban, Jail: "sshd", IP: "192.0.2.7", Why: "its time is over"})
	if got, want := next(), "web1 2 unban sshd 192.0.2.7 its time is over"; got != want {
		t.Errorf("the receiver says %q, want %q: what came again is passed over", got, want)
	}
}
