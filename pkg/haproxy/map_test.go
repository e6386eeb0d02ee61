package haproxy

import (
	"bufio"
	"context"
	"errors"
	"net"
	"net/netip"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// fake is a HAProxy that says what it is told to say, and notes what it was asked. Real ones are
// asked by TestHAProxy.
func fake(t *testing.T, answer func(command string) string) (m *Map, asked func() []string) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "sock")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	var mu sync.Mutex
	var got []string
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				in := bufio.NewReader(c)
				text, _ := in.ReadString('\n')
				if strings.HasSuffix(text, "<<\n") {
					for {
						line, err := in.ReadString('\n')
						if err != nil || line == "\n" {
							break
						}
						text += line
					}
				}
				mu.Lock()
				got = append(got, text)
				mu.Unlock()
				_, _ = c.Write([]byte(answer(text)))
			}()
		}
	}()
	return &Map{Socket: path, File: "/etc/bailiff.map"}, func() []string {
		mu.Lock()
		defer mu.Unlock()
		return got
	}
}

// TestPieces: what is more than a command takes goes in several, and each says what it means.
func TestPieces(t *testing.T) {
	m, asked := fake(t, func(string) string { return "\n" })
	var add, remove []string
	for i := range 1000 {
		add = append(add, Key(netip.PrefixFrom(netip.AddrFrom4([4]byte{192, 0, 2, byte(i)}), 32)))
		remove = append(remove, Key(netip.MustParsePrefix("2001:db8::/64")))
	}
	if err := m.Change(context.Background(), add, remove); err != nil {
		t.Fatal(err)
	}
	adds, removes := 0, 0
	for _, command := range asked() {
		if len(command) > commandMost+200 {
			t.Errorf("a command of %d bytes", len(command))
		}
		adds += strings.Count(command, " bailiff\n")
		removes += strings.Count(command, "del map /etc/bailiff.map 2001:db8::/64")
		if strings.Contains(command, ";\n") || strings.Contains(command, ";;") {
			t.Errorf("an empty command: %q", command)
		}
	}
	if adds != 1000 || removes != 1000 || len(asked()) < 4 {
		t.Errorf("%d and %d in %d commands", adds, removes, len(asked()))
	}
}

// TestRefusals: what HAProxy doesn't do is an error that says what to do.
func TestRefusals(t *testing.T) {
	ctx := context.Background()
	for said, want := range map[string]string{
		"Unknown map identifier. Please use #<id> or <file>.\n\n": "no rule of its configuration uses the map /etc/bailiff.map",
		"Permission denied\n\n":                                   "the socket needs level admin",
		"Unable to parse IPv4 address 'x'.\n\n":                   "HAProxy says: Unable to parse",
	} {
		m, _ := fake(t, func(string) string { return said })
		var refused *Error
		if err := m.Change(ctx, []string{"192.0.2.7"}, nil); err == nil || !strings.Contains(err.Error(), want) || !errors.As(err, &refused) {
			t.Errorf("%q: %v", said, err)
		}
		if err := m.List(ctx, func(Entry) {}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: list: %v", said, err)
		}
		if _, err := m.Process(ctx); err == nil {
			t.Errorf("%q: it has a process", said)
		}
	}
	m, _ := fake(t, func(string) string { return "Key not found.\n\n" })
	if err := m.Change(ctx, nil, []string{"192.0.2.7"}); err != nil {
		t.Errorf("what isn't there: %v", err)
	}
	m.Socket += "-away"
	if _, err := m.Process(ctx); err == nil {
		t.Error("nobody is there, and answers")
	}
	// Who says nothing is given up when the context ends.
	hangs := make(chan struct{})
	defer close(hangs)
	m, _ = fake(t, func(string) string { <-hangs; return "" })
	ctx, cancel := context.WithTimeout(ctx, 50*time.Millisecond)
	defer cancel()
	if _, err := m.Process(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("of one that hangs: %v", err)
	}
}

func TestList(t *testing.T) {
	m, _ := fake(t, func(string) string {
		return "0x1 192.0.2.7 bailiff\n0x2 2001:db8::/64 a partner of ours\n0x3 x\n\n"
	})
	var got []Entry
	if err := m.List(context.Background(), func(e Entry) { got = append(got, e) }); err != nil || len(got) != 2 || got[1] != (Entry{"0x2", "2001:db8::/64", "a partner of ours"}) {
		t.Errorf("%q %v", got, err)
	}
}

// TestEndless: what is at the socket and doesn't end is given up, and costs no memory.
func TestEndless(t *testing.T) {
	path := filepath.Join(t.TempDir(), "sock")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	var send struct {
		sync.Mutex
		text  string
		times int // 0: for ever
		pause time.Duration
	}
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			send.Lock()
			text, times, pause := send.text, send.times, send.pause
			send.Unlock()
			go func() {
				defer c.Close()
				_, _ = bufio.NewReader(c).ReadString('\n')
				for i := 0; times == 0 || i < times; i++ {
					if _, err := c.Write([]byte(text)); err != nil {
						return
					}
					time.Sleep(pause)
				}
			}()
		}
	}()
	ctx := context.Background()
	m := &Map{Socket: path, File: "/etc/bailiff.map"}
	for _, c := range []struct {
		text  string
		times int
		pause time.Duration
		want  error
	}{
		{strings.Repeat("x", 4096), 0, 0, errLong},                                // a line without an end
		{"0x1 192.0.2.7 " + strings.Repeat("x", lineBytes) + "\n", 1, 0, errLong}, // one that is long
		{"0x1 192.0.2.7 another\n", 0, 0, errSlow},                                // lines without an end
		{"0", 0, 20 * time.Millisecond, errSlow},                                  // a byte now and then
		{"0x1 192.0.2.7 bailiff\n", 1, 0, errCut},                                 // one that was stopped
		{"0x1 192.0.2.7 bailiff\n0x2 192.0.2.8 bai", 1, 0, errCut},
		{"\n", 1, 0, nil}, // an empty map
	} {
		send.Lock()
		send.text, send.times, send.pause = c.text, c.times, c.pause
		send.Unlock()
		if m.most = 0; errors.Is(c.want, errSlow) {
			m.most = 200 * time.Millisecond
		}
		if err := m.List(ctx, func(Entry) {}); !errors.Is(err, c.want) {
			t.Errorf("%.20q: %v, want %v", c.text, err, c.want)
		}
		if c.pause == 0 {
			continue
		}
		if _, err := m.Process(ctx); !errors.Is(err, c.want) {
			t.Errorf("%.20q: process: %v, want %v", c.text, err, c.want)
		}
		if err := m.Change(ctx, []string{"192.0.2.7"}, nil); !errors.Is(err, c.want) {
			t.Errorf("%.20q: change: %v, want %v", c.text, err, c.want)
		}
	}
}
