package runner

import (
	"bufio"
	"context"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"bailiff/pkg/opener"
)

// TestListen: a listener that the runner opens is the daemon's, and none is opened that is not
// configured.
func TestListen(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "sock")
	c, _ := begin(t, true, "listen tcp 127.0.0.1:0", "listen udp 127.0.0.1:0", "listen unix "+path)
	ctx := context.Background()
	for _, p := range []opener.Place{{Network: "tcp", Address: "127.0.0.1:0"}, {Network: "unix", Address: path}} {
		f, err := c.Listen(ctx, p)
		if err != nil {
			t.Fatal(err)
		}
		l, err := net.FileListener(f)
		f.Close()
		if err != nil {
			t.Fatal(err)
		}
		conn, err := net.Dial(l.Addr().Network(), l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		accepted, err := l.Accept()
		if err != nil {
			t.Fatal(err)
		}
		accepted.Close()
		conn.Close()
		l.Close()
	}
	// The file of the one that has gone is in nobody's way.
	if f, err := c.Listen(ctx, opener.Place{Network: "unix", Address: path}); err != nil {
		t.Error(err)
	} else {
		f.Close()
	}
	f, err := c.Listen(ctx, opener.Place{Network: "udp", Address: "127.0.0.1:0"})
	if err != nil {
		t.Fatal(err)
	}
	if p, err := net.FilePacketConn(f); err != nil {
		t.Error(err)
	} else {
		p.Close()
	}
	f.Close()
	for _, p := range []opener.Place{
		{Network: "tcp", Address: "127.0.0.1:1"},
		{Network: "tcp4", Address: "127.0.0.1:0"},
		{Network: "unix", Address: path, Mode: 0o666},
		{Network: "unix", Address: path + "2"},
		{Network: "ip:icmp", Address: "127.0.0.1"},
	} {
		if f, err := c.Listen(ctx, p); err == nil || !strings.Contains(err.Error(), "not among what is configured") {
			f.Close()
			t.Errorf("%s: %v", p, err)
		}
	}
}

// TestEngine: a container engine is asked what is read from it, of those that are configured; a
// stream of its goes on until it is closed, and the runner ends its connection then.
func TestEngine(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "engine")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	more := make(chan string)
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodGet {
			t.Errorf("%s %s", r.Method, r.URL)
		}
		if !strings.HasSuffix(r.URL.Path, "/logs") {
			_, _ = io.WriteString(w, r.URL.String())
			return
		}
		defer close(ended)
		w.(http.Flusher).Flush()
		for {
			select {
			case <-r.Context().Done():
				return
			case s := <-more:
				_, _ = io.WriteString(w, s)
				w.(http.Flusher).Flush()
			}
		}
	})}
	go func() { _ = server.Serve(l) }()
	defer server.Close()
	c, _ := begin(t, true, "engine "+path)
	get := func(target string) (*http.Response, *opener.Answer, error) {
		a, err := c.Get(context.Background(), path, target)
		if err != nil {
			return nil, nil, err
		}
		res, err := http.ReadResponse(bufio.NewReader(a), nil)
		return res, a, err
	}
	res, a, err := get("/v1.41/containers/json?all=1")
	if err != nil {
		t.Fatal(err)
	}
	if text, err := io.ReadAll(res.Body); err != nil || string(text) != "/v1.41/containers/json?all=1" {
		t.Errorf("%q, %v", text, err)
	}
	a.Close()
	res, a, err = get("/containers/web-1/logs?follow=1&stdout=1")
	if err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewReader(res.Body)
	for _, want := range []string{"one\n", "two\n"} {
		more <- want
		if got, err := lines.ReadString('\n'); err != nil || got != want {
			t.Errorf("%q, %v, want %q", got, err, want)
		}
	}
	a.Close()
	select {
	case <-ended:
	case <-time.After(20 * time.Second):
		t.Error("the stream goes on though nobody reads it")
	}
	for _, target := range []string{
		"/containers/create", "/containers/x/exec", "/containers/x/archive?path=/", "/containers/../images/json", "/containers/x/logs HTTP/1.1\r\nHost: x\r\n\r\nPOST /containers/create",
		"/build", "/containers/x/export", "", "http://x/info", "/v1.41/containers/x/logs?a=\r\n",
	} {
		if _, _, err := get(target); err == nil || !strings.Contains(err.Error(), "not among what is read") {
			t.Errorf("%q: %v", target, err)
		}
	}
	other := filepath.Join(dir, "other")
	if err := os.Symlink(path, other); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Get(context.Background(), other, "/info"); err == nil || !strings.Contains(err.Error(), "not among what is configured") {
		t.Errorf("another socket: %v", err)
	}
}

// TestReplace: a file that is configured is replaced whole, or not at all.
func TestReplace(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "export")
	c, conf := begin(t, true, "export "+path, configured)
	ctx := context.Background()
	for _, size := range []int{0, 1, 3_000_000} {
		data := strings.Repeat("x", size)
		if err := c.Replace(ctx, path, []byte(data)); err != nil {
			t.Fatal(err)
		}
		if got, err := os.ReadFile(path); err != nil || string(got) != data {
			t.Errorf("%d bytes, %v, want %d", len(got), err, size)
		}
	}
	if err := c.Replace(ctx, path+"2", nil); err == nil || !strings.Contains(err.Error(), "not among what is configured") {
		t.Errorf("another file: %v", err)
	}
	// Who dies while he writes leaves the old one.
	answers, f, done, err := c.openFor(ctx, path, func(request uint32) *writer {
		w := newWriter(askReplace, request)
		w.text(path)
		w.number(1000)
		return w
	})
	if err != nil {
		t.Fatal(err)
	}
	defer done()
	if _, err := f.Write([]byte("half")); err != nil {
		t.Fatal(err)
	}
	f.Close()
	got, err := c.await(ctx, answers, 20*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	if r := (&reader{data: got.data}); got.kind != tellEnd || r.text() == "" {
		t.Error("half of a file is taken")
	}
	if got, _ := os.ReadFile(path); len(got) != 3_000_000 {
		t.Errorf("%d bytes", len(got))
	}
	// Of a configuration that others could change nothing is written, run or opened, not even
	// what was known before.
	if err := os.WriteFile(conf, []byte("refused FILE\nexport "+path+"\n"+configured), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := c.Reload(nil); err != nil {
		t.Fatal(err)
	}
	if err := c.Replace(ctx, path, nil); err == nil || !strings.Contains(err.Error(), "others could change the configuration: FILE") {
		t.Error(err)
	}
	if _, err := c.Run(ctx, filled(configured, map[string]string{"ip": "192.0.2.7"}), time.Minute); err == nil || !strings.Contains(err.Error(), "others could change the configuration: FILE") {
		t.Error(err)
	}
	c.mu.Lock()
	c.refused, c.numbers = nil, map[[32]byte]uint32{sumOf(configured): 0}
	c.mu.Unlock()
	if _, err := c.Run(ctx, filled(configured, map[string]string{"ip": "192.0.2.7"}), time.Minute); err == nil || !strings.Contains(err.Error(), "no command of number 0") {
		t.Errorf("by its number: %v", err)
	}
}

// TestDial: a connection to a socket that is configured is the daemon's; there is none to another one.
func TestDial(t *testing.T) {
	path := filepath.Join(t.TempDir(), "sock")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	c, _ := begin(t, true, "socket "+path)
	f, err := c.Dial(context.Background(), path)
	if err != nil {
		t.Fatal(err)
	}
	conn, err := net.FileConn(f)
	f.Close()
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	other, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := conn.Write([]byte("x")); err != nil {
		t.Fatal(err)
	}
	conn.Close()
	if got, err := io.ReadAll(other); string(got) != "x" || err != nil {
		t.Errorf("%q, %v", got, err)
	}
	for _, path := range []string{path + "2", "/run/docker.sock"} {
		if _, err := c.Dial(context.Background(), path); err == nil || !strings.Contains(err.Error(), "not among what is configured") {
			t.Errorf("%s: %v", path, err)
		}
	}
}
