package main

import (
	"bytes"
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

// Clients that mean harm, and a daemon that goes on.

const hostileConfig = `
[jail.django-auth]
enabled = true
logpath = "%s/auth.log"
maxretry = 3
bantime = "1h"

[jail.django-auth.action.mail]
ban = "true <password>"
[jail.django-auth.action.mail.param]
password = "hunter-two"
`

func failures(t *testing.T, dir, addr string, n int) {
	t.Helper()
	f, err := os.OpenFile(filepath.Join(dir, "auth.log"), os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for range n {
		fmt.Fprintf(f, "%s ERROR Login failure %s\n", time.Now().UTC().Format("2006-01-02 15:04:05,000"), addr)
	}
}

// TestReadersOnly: of a real jail with an action that has a password, nobody on the
// read socket learns it, whatever his words look like, and nothing changes.
func TestReadersOnly(t *testing.T) {
	t.Parallel()
	c := newCell(t, cellOptions{config: hostileConfig, files: map[string]string{"auth.log": ""}})
	forms := map[string]func(string) string{
		"text": func(w string) string { return "V" + w + "\n" }, "bytes": func(w string) string { return "C" + string(rune(len(w))) + w },
		"list": func(w string) string { return "(V" + w + "\nl" }, "tuple": func(w string) string { return "V" + w + "\n\x85" },
		"twice": func(w string) string { return "((V" + w + "\nll" }, "after None": func(w string) string { return "NV" + w + "\n" },
	}
	secrets := []string{
		"get django-auth action mail actionban", "get django-auth action mail password", "get django-auth actionproperties mail",
		"get django-auth actionmethods mail", "set django-auth action mail password x", "set django-auth banip 192.0.2.9", "stop", "stop django-auth",
		"unban --all", "reload --all", "multi-set django-auth addfailregex ^<HOST>$", "add x", "flushlogs", "sleep 30", "echo hunter-two",
	}
	for _, text := range secrets {
		words := strings.Fields(text)
		for name, form := range forms {
			for which := range len(words) + 1 { // each alone, then all
				request := "("
				for i, w := range words {
					if i == which || which == len(words) {
						request += form(w)
					} else {
						request += forms["text"](w)
					}
				}
				answer, err := askAs(nobody, c.read, []byte(request+"l."))
				if err != nil {
					t.Fatalf("%s, %d as %s: %v\n%s", text, which, name, err, c.log())
				}
				if !bytes.Contains(answer, []byte("PermissionError")) || bytes.Contains(answer, []byte("hunter")) || bytes.Contains(answer, []byte("password")) {
					t.Errorf("%s, %d as %s: answered %q", text, which, name, answer)
				}
			}
		}
	}
	answer, err := askAs(nobody, c.read, []byte("(Vget\nVdjango-auth\nVactions\nl."))
	if err != nil || !bytes.Contains(answer, []byte("mail")) {
		t.Errorf("what a reader may: %q %v", answer, err)
	}
	answer, err = askAs(0, c.socket, []byte("(Vget\nVdjango-auth\nVaction\nVmail\nVactionban\nl."))
	if err != nil || !bytes.Contains(answer, []byte("true")) {
		t.Errorf("what the owner may: %q %v", answer, err)
	}
	s, err := c.client.Status()
	if err != nil || len(s.Jails) != 1 || s.Jails[0].Banned != 0 {
		t.Errorf("afterwards %+v %v", s, err)
	}
}

// TestDescriptors: with 200 descriptors and 500 clients that say nothing on either
// socket, who fails is banned, a file that is new is read, and both sockets answer.
func TestDescriptors(t *testing.T) {
	t.Parallel()
	c := newCell(t, cellOptions{config: strings.Replace(hostileConfig, "auth.log", "auth*.log", 1), files: map[string]string{"auth.log": ""}, descriptors: 200})
	var mu sync.Mutex
	var silent []net.Conn
	defer func() {
		for _, s := range silent {
			s.Close()
		}
	}()
	var come sync.WaitGroup
	for _, x := range []struct {
		uid  int
		path string
	}{{nobody, c.read}, {0, c.socket}} {
		come.Go(func() {
			for range 500 {
				s, err := dialAs(x.uid, noGroup, x.path)
				if err != nil {
					continue // turned away
				}
				mu.Lock()
				silent = append(silent, s)
				mu.Unlock()
			}
		})
	}
	defer func() {
		if len(silent) < 600 {
			t.Errorf("only %d came", len(silent))
		}
	}()
	failures(t, c.dir, "192.0.2.7", 3)
	c.until("a ban while they come", 10*time.Second, func() bool { return c.banned("django-auth", "192.0.2.7") })
	come.Wait()
	failures(t, c.dir, "192.0.2.8", 3)
	c.until("a ban while they are there", 10*time.Second, func() bool { return c.banned("django-auth", "192.0.2.8") })
	if err := os.Rename(filepath.Join(c.dir, "auth.log"), filepath.Join(c.dir, "auth.log.1")); err != nil {
		t.Fatal(err)
	}
	failures(t, c.dir, "192.0.2.9", 3)
	c.until("a ban from the next file", 20*time.Second, func() bool { return c.banned("django-auth", "192.0.2.9") })
	if answer, err := askAs(0, c.read, []byte("(Vping\nl.")); err != nil || !bytes.Contains(answer, []byte("pong")) {
		t.Errorf("root on the read socket: %q %v", answer, err)
	}
	if _, err := c.client.Status(); err != nil {
		t.Errorf("the owner: %v", err)
	}
	open, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", c.daemon.Process.Pid))
	if err != nil || len(open) > 150 {
		t.Errorf("%d descriptors are open, %v", len(open), err)
	}
}

// TestNumberBombs: forty clients send numbers of four million digits for as long as it
// takes to ban somebody; the daemon takes next to nothing for it.
func TestNumberBombs(t *testing.T) {
	t.Parallel()
	c := newCell(t, cellOptions{config: hostileConfig, files: map[string]string{"auth.log": ""}})
	before := c.memory("VmRSS")
	bombs := [][]byte{
		[]byte("(L" + strings.Repeat("9", 4_000_000) + "L\nl."),
		[]byte("\x80\x04\x95\x00\x09\x3d\x00\x00\x00\x00\x00" + strings.Repeat("]", 4_000_000)),
		[]byte("(" + strings.Repeat("}", 7_900_000) + "l."),
		[]byte("(" + strings.Repeat("X\x00\x00\x01\x00"+strings.Repeat("x", 1<<16), 15) + "l."), // as large as may be
	}
	stop := make(chan struct{})
	var clients sync.WaitGroup
	var refused atomic.Int64
	for i := range 40 {
		clients.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
					if answer, _ := askAs(nobody-i%2, c.read, bombs[i%len(bombs)]); bytes.Contains(answer, []byte("request refused")) {
						refused.Add(1)
					}
				}
			}
		})
	}
	for i := range 5 {
		addr := fmt.Sprintf("192.0.2.%d", 10+i)
		failed := time.Now()
		failures(t, c.dir, addr, 3)
		c.until("a ban of "+addr, 20*time.Second, func() bool { return c.banned("django-auth", addr) })
		t.Logf("%s: told as banned %v after its failures", addr, c.told("Ban "+addr).Sub(failed).Round(time.Millisecond))
	}
	c.until("enough bombs are refused", 60*time.Second, func() bool { return refused.Load() >= 60 })
	close(stop)
	clients.Wait()
	peak := c.memory("VmHWM")
	t.Logf("%d MB before, %d MB at most", before>>20, peak>>20)
	if more := peak - before; more > 40<<20 {
		t.Errorf("%d MB more", more>>20)
	}
}
