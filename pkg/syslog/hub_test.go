package syslog

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"bailiff/pkg/hosttest"
)

// heard gathers what is told.
type heard struct {
	mu    sync.Mutex
	texts []string
}

func (t *heard) tell(text string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.texts = append(t.texts, text)
}

func (t *heard) all() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return strings.Join(t.texts, "\n")
}

// newHub is a hub that has begun, with what it tells.
func newHub(t *testing.T, s Settings) (*Hub, *heard) {
	t.Helper()
	said := &heard{}
	h := NewHub(HubOptions{Settings: s, Tell: said.tell})
	h.again, h.look = 20*time.Millisecond, 20*time.Millisecond
	h.Begin()
	t.Cleanup(h.Close)
	return h, said
}

// loop is a free port on loopback.
func loop(t *testing.T, kind string) Address {
	t.Helper()
	a := Address{Kind: kind, Host: netip.MustParseAddr("127.0.0.1")}
	if kind == UDP {
		c, err := net.ListenPacket("udp4", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		a.Port = uint16(c.LocalAddr().(*net.UDPAddr).Port)
		c.Close()
		return a
	}
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	a.Port = uint16(l.Addr().(*net.TCPAddr).Port)
	l.Close()
	return a
}

func match(t *testing.T, list ...string) Match {
	t.Helper()
	m, err := ParseMatch(list)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// send connects, from an address if one is named, and sends.
func send(t *testing.T, a Address, from string, texts ...string) net.Conn {
	t.Helper()
	d := net.Dialer{Timeout: 10 * time.Second}
	network, to := a.Network(), a.HostPort()
	if a.IsUnix() {
		to = a.Path
	} else if from != "" {
		if a.Kind == UDP {
			d.LocalAddr = &net.UDPAddr{IP: net.ParseIP(from)}
		} else {
			d.LocalAddr = &net.TCPAddr{IP: net.ParseIP(from)}
		}
	}
	c, err := d.Dial(network, to)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	for _, text := range texts {
		if _, err := io.WriteString(c, text); err != nil {
			t.Fatal(err)
		}
	}
	return c
}

// take takes so many messages, as lines with who sent them.
func take(t *testing.T, s *Subscriber, n int) (lines []string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	for len(lines) < n {
		d, err := s.Next(ctx)
		if err != nil {
			t.Fatalf("%v, after %d of %d messages: %q", err, len(lines), n, lines[:min(len(lines), 20)])
		}
		if !d.Take() {
			t.Fatal("a delivery was withdrawn")
		}
		for i := range d.Items {
			line, _ := d.Items[i].Line(d.Items[i].From)
			lines = append(lines, string(line))
		}
	}
	return lines
}

// TestHub: all kinds of sockets, shared by several who want different messages.
func TestHub(t *testing.T) {
	h, _ := newHub(t, Settings{})
	dir := t.TempDir()
	for _, a := range []Address{loop(t, UDP), loop(t, TCP), {Kind: Unix, Path: filepath.Join(dir, "dgram")}, {Kind: UnixStream, Path: filepath.Join(dir, "stream")}} {
		t.Run(a.Kind, func(t *testing.T) {
			all := h.Attach("all "+a.Kind, Wants{Listen: []Address{a}})
			some := h.Attach("some "+a.Kind, Wants{Listen: []Address{a}, Match: match(t, "program=sshd severity=notice", "+", "program=post*/*")})
			if _, errs := all.Listeners(); len(errs) != 1 || errs[0] != nil {
				t.Fatal(errs)
			}
			if a.IsUnix() {
				if fi, err := os.Stat(a.Path); err != nil || fi.Mode().Perm() != 0o600 {
					t.Fatal(fi, err)
				}
			}
			host := "127.0.0.1"
			if a.IsUnix() {
				host = hostName()
			}
			end := ""
			if a.Kind == TCP || a.Kind == UnixStream {
				end = "\n"
			}
			send(t, a, "", "<34>Jan  2 12:00:00 liar sshd[1]: one"+end, "<38>1 - liar sshd 2 - - two"+end, "garbage"+end, "<22>Jan  2 12:00:00 liar postfix/smtpd[3]: three"+end, "<34>cron: four"+end)
			want := []string{host + " sshd[1]: one", host + " sshd[2]: two", host + " postfix/smtpd[3]: three", host + " cron: four"}
			if got := take(t, all, 4); !slices.Equal(got, want) {
				t.Errorf("%q, want %q", got, want)
			}
			if got := take(t, some, 2); !slices.Equal(got, []string{want[0], want[2]}) {
				t.Errorf("of what matches: %q", got)
			}
			h.Remove("all " + a.Kind)
			h.Remove("some " + a.Kind)
			if a.IsUnix() {
				if _, err := os.Lstat(a.Path); err == nil {
					t.Error("the socket is still there")
				}
			}
		})
	}
}

// TestCounted: messages that are counted have newlines in them, on the same socket.
func TestCounted(t *testing.T) {
	h, said := newHub(t, Settings{})
	a := loop(t, TCP)
	s := h.Attach("x", Wants{Listen: []Address{a}})
	one := "<34>1 - h sshd 1 - - a\n<34>sshd[2]: forged"
	send(t, a, "", fmt.Sprintf("%d %s%d %s", len(one), one, len(one), one))
	if got := take(t, s, 2); got[0] != `127.0.0.1 sshd[1]: a\n<34>sshd[2]: forged` || got[1] != got[0] {
		t.Errorf("%q", got)
	}
	c := send(t, a, "", "GET / HTTP/1.1\r\n")
	_ = c.SetReadDeadline(time.Now().Add(30 * time.Second))
	if _, err := c.Read(make([]byte, 1)); err != io.EOF {
		t.Errorf("what is no syslog: %v", err)
	}
	hosttest.Until(t, "who sent what is no syslog is told of", func() bool {
		return strings.Contains(said.all(), "of 127.0.0.1, 1 was no message of syslog, the last one since it begins neither with")
	})
}

// TestAllow: who is not named is not heard, and told of; nobody named is this host alone.
func TestAllow(t *testing.T) {
	h, said := newHub(t, Settings{})
	for _, kind := range []string{UDP, TCP} {
		a := loop(t, kind)
		narrow := h.Attach("narrow", Wants{Listen: []Address{a}, Allow: []netip.Prefix{netip.MustParsePrefix("127.0.0.2/32")}})
		wide := h.Attach("wide", Wants{Listen: []Address{a}, Allow: []netip.Prefix{netip.MustParsePrefix("127.0.0.2/31")}})
		send(t, a, "127.0.0.4", "<34>p: a stranger's\n")
		send(t, a, "127.0.0.3", "<34>p: for the one\n")
		if got := take(t, wide, 1); got[0] != "127.0.0.3 p: for the one" {
			t.Errorf("%s: %q", kind, got)
		}
		send(t, a, "127.0.0.2", "<34>p: for both\n")
		if got := take(t, narrow, 1); got[0] != "127.0.0.2 p: for both" {
			t.Errorf("%s: %q", kind, got)
		}
		take(t, wide, 1)
		hosttest.Until(t, "a stranger is told of", func() bool {
			return strings.Contains(said.all(), a.String()+": not read, since allow does not name who sent it: messages or connections of 127.0.0.4 (1)")
		})
		if narrow.wants.Allow = nil; !slices.Equal(narrow.wants.allowed(), loopback) {
			t.Error("nobody named is not this host alone")
		}
		h.Remove("narrow")
		h.Remove("wide")
	}
}

// TestPlaceTaken: who takes another one's place under its name is given what that was not, in
// order, and nothing twice; the socket stays open all the while.
func TestPlaceTaken(t *testing.T) {
	h, _ := newHub(t, Settings{})
	a := loop(t, TCP)
	w := Wants{Listen: []Address{a}}
	s := h.Attach("x", w)
	c := send(t, a, "", "<34>p: 0\n<34>p: 1\n")
	hosttest.Until(t, "both came", func() bool { return s.waiting() == 2 })
	first, err := s.Next(t.Context())
	if err != nil || len(first.Items) != 2 {
		t.Fatal(first, err)
	}
	if _, err := io.WriteString(c, "<34>p: 2\n"); err != nil {
		t.Fatal(err)
	}
	hosttest.Until(t, "one more", func() bool { return s.waiting() == 3 })
	second, err := s.Next(t.Context())
	if err != nil || !first.Take() {
		t.Fatal(err)
	}
	s.GiveBack()
	if second.Take() {
		t.Error("what was withdrawn is taken")
	}
	if _, err := io.WriteString(c, "<34>p: 3\n"); err != nil { // while nobody is there
		t.Fatal(err)
	}
	if next := h.Attach("x", w); next != s {
		t.Error("it is another one")
	}
	if got := take(t, s, 2); !slices.Equal(got, []string{"127.0.0.1 p: 2", "127.0.0.1 p: 3"}) {
		t.Errorf("%q", got)
	}
	if n := s.waiting(); n != 0 || s.outBytes != 0 || s.queue.bytes != 0 {
		t.Errorf("%d wait, %d bytes are out, %d in the queue", n, s.outBytes, s.queue.bytes)
	}
}

// TestInUse: an address that somebody else has is told of with what helps, and taken as soon as
// it is free.
func TestInUse(t *testing.T) {
	h, _ := newHub(t, Settings{})
	dir := t.TempDir()
	for _, a := range []Address{loop(t, UDP), loop(t, TCP), {Kind: Unix, Path: filepath.Join(dir, "x")}} {
		other := newListener(h, a)
		other.bind()
		if other.err != nil {
			t.Fatal(other.err)
		}
		var mu sync.Mutex
		var events []string
		s := h.Attach(a.String(), Wants{Listen: []Address{a}, Notify: func(e Event) {
			mu.Lock()
			defer mu.Unlock()
			events = append(events, fmt.Sprint(e.Err, e.Text))
		}})
		if _, errs := s.Listeners(); errs[0] == nil || !strings.Contains(errs[0].Error(), "address already in use: another program listens there (ss -lpn shows which)") {
			t.Errorf("%s: %v", a, errs)
		}
		other.close()
		hosttest.Until(t, "the address is taken", func() bool { _, errs := s.Listeners(); return errs[0] == nil })
		send(t, a, "", "<34>p: x\n")
		take(t, s, 1)
		mu.Lock()
		if len(events) != 2 || !strings.Contains(events[0], "in use") || events[1] != "<nil>listening" {
			t.Errorf("%s: %q", a, events)
		}
		mu.Unlock()
	}
	// What a killed process has left is no obstacle; a file is left alone.
	dead := filepath.Join(dir, "dead")
	l, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: dead, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	l.Close()
	if s := h.Attach("dead", Wants{Listen: []Address{{Kind: Unix, Path: dead}}}); s != nil {
		if _, errs := s.Listeners(); errs[0] != nil {
			t.Error(errs)
		}
	}
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	s := h.Attach("file", Wants{Listen: []Address{{Kind: Unix, Path: file}}})
	if _, errs := s.Listeners(); errs[0] == nil || !strings.Contains(errs[0].Error(), "no socket") {
		t.Error(errs)
	}
}

// TestTLS: with a certificate of the authority; without, or with another one's, nothing is read.
func TestTLS(t *testing.T) {
	dir := t.TempDir()
	ours, theirs := newAuthority(t, dir, "ours"), newAuthority(t, dir, "theirs")
	settings := Settings{CA: ours.file}
	settings.Cert, settings.Key = ours.issue("logs.example.org")
	h, said := newHub(t, settings)
	a := loop(t, TLS)
	s := h.Attach("x", Wants{Listen: []Address{a}, Match: match(t, "cert=router.example.org")})
	if _, errs := s.Listeners(); errs[0] != nil {
		t.Fatal(errs)
	}
	dial := func(cert, key string) error {
		c := &tls.Config{RootCAs: ours.pool(), ServerName: "logs.example.org"}
		if cert != "" {
			pair, err := tls.LoadX509KeyPair(cert, key)
			if err != nil {
				t.Fatal(err)
			}
			// Also if the server says that it knows nobody of that name.
			c.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &pair, nil }
		}
		conn, err := tls.Dial("tcp", a.HostPort(), c)
		if err != nil {
			return err
		}
		defer conn.Close()
		if _, err := io.WriteString(conn, "20 <34>sshd[1]: hello  \n"); err != nil {
			return err
		}
		_ = conn.CloseWrite()
		_ = conn.SetReadDeadline(time.Now().Add(30 * time.Second))
		if _, err = conn.Read(make([]byte, 1)); err == io.EOF {
			return nil
		}
		return err
	}
	if err := dial("", ""); err == nil || !strings.Contains(err.Error(), "certificate required") {
		t.Errorf("without a certificate: %v", err)
	}
	if err := dial(theirs.issue("router.example.org")); err == nil {
		t.Error("with a certificate of another authority it is taken")
	}
	if err := dial(ours.issue("other.example.org")); err != nil {
		t.Errorf("of another name: %v", err)
	}
	if err := dial(ours.issue("router.example.org")); err != nil {
		t.Fatal(err)
	}
	if got := take(t, s, 1); len(got) != 1 || got[0] != "127.0.0.1 sshd[1]: hello  " {
		t.Errorf("%q", got)
	}
	if n := s.waiting(); n != 0 {
		t.Errorf("%d more are there", n)
	}
	hosttest.Until(t, "who has no certificate is told of", func() bool {
		return strings.Contains(said.all(), " refused, the last one since tls: ")
	})
	// Plain text at a port of TLS.
	send(t, a, "", "<34>sshd[1]: hello\n")
	// Another certificate at a reload.
	settings.Cert = filepath.Join(dir, "none")
	if err := h.Configure(settings, []Address{a}); err == nil {
		t.Error("a certificate that is not there")
	}
	// One that is about to be closed needs none any more.
	if err := h.Configure(Settings{}, nil); err != nil {
		t.Errorf("nobody wants TLS any more: %v", err)
	}
	settings.Cert, settings.Key = ours.issue("logs.example.org")
	if err := h.Configure(settings, []Address{a}); err != nil {
		t.Error(err)
	}
	if err := dial(ours.issue("router.example.org")); err != nil {
		t.Error(err)
	}
}

// TestEndedInHandshake: who is ended for others within his handshake is told of as such, and not as refused.
func TestEndedInHandshake(t *testing.T) {
	ours := newAuthority(t, t.TempDir(), "ours")
	settings := Settings{CA: ours.file, Connections: 1}
	settings.Cert, settings.Key = ours.issue("logs.example.org")
	h, said := newHub(t, settings)
	a := loop(t, TLS)
	h.Attach("x", Wants{Listen: []Address{a}})
	for range 5 {
		conn, err := net.Dial("tcp", a.HostPort())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
	}
	hosttest.Until(t, "that some were ended is told", func() bool { return strings.Contains(said.all(), "ended") })
	if got := said.all(); strings.Contains(got, "refused") {
		t.Error(got)
	}
}
