package main

import (
	"bufio"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"golang.org/x/net/dns/dnsmessage"

	"bailiff/pkg/hosttest"
	"bailiff/pkg/netlab"
)

// Servers that say nothing until they are told to.

// silentNames is a name server: lateN.example.org is 198.51.100.(250+N), and
// office.example.org 198.51.100.9.
func (w *blockedWorld) silentNames(host *netlab.Host) {
	var conn net.PacketConn
	if err := host.Do(func() (err error) {
		conn, err = net.ListenPacket("udp4", "127.0.0.1:53")
		return err
	}); err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { conn.Close() })
	etc := filepath.Join("/etc/netns", host.Name)
	if err := os.MkdirAll(etc, 0o755); err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { os.RemoveAll(etc) })
	hosttest.Write(w.t, filepath.Join(etc, "resolv.conf"), "nameserver 127.0.0.1\noptions timeout:30\n")
	go func() {
		buf := make([]byte, 1500)
		for {
			n, from, err := conn.ReadFrom(buf)
			if err != nil {
				return
			}
			var m dnsmessage.Message
			if w.silent.Load() || m.Unpack(buf[:n]) != nil || len(m.Questions) != 1 {
				continue
			}
			q := m.Questions[0]
			m.Response, m.RecursionAvailable, m.Additionals = true, true, nil
			var late int
			_, _ = fmt.Sscanf(q.Name.String(), "late%d.example.org.", &late)
			last := byte(250 + late)
			if q.Name.String() == "office.example.org." {
				late, last = 1, 9
			}
			switch {
			case late == 0:
				m.RCode = dnsmessage.RCodeNameError
			case q.Type == dnsmessage.TypeA:
				m.Answers = []dnsmessage.Resource{{
					Header: dnsmessage.ResourceHeader{Name: q.Name, Type: q.Type, Class: q.Class, TTL: 60},
					Body:   &dnsmessage.AResource{A: [4]byte{198, 51, 100, last}},
				}}
			}
			if out, err := m.Pack(); err == nil {
				_, _ = conn.WriteTo(out, from)
			}
		}
	}()
}

// mailServer is one that takes every connection, and mail when it may speak.
func (w *blockedWorld) mailServer(addr string) {
	l, err := w.host.Listen(addr)
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { l.Close() })
	netlab.Serve(l, w.takeMail)
}

// takeMail speaks SMTP with one client.
func (w *blockedWorld) takeMail(c net.Conn) {
	say := func(text string) {
		for w.silent.Load() {
			time.Sleep(10 * time.Millisecond)
		}
		fmt.Fprintf(c, "%s\r\n", text)
	}
	say("220 test")
	var text strings.Builder
	data := false
	for in := bufio.NewScanner(c); in.Scan(); {
		switch line := in.Text(); {
		case data && line == ".":
			data = false
			w.mu.Lock()
			w.mails = append(w.mails, text.String())
			w.mu.Unlock()
			say("250 taken")
		case data:
			text.WriteString(line + "\n")
		case strings.EqualFold(line, "DATA"):
			text.Reset()
			data = true
			say("354 go on")
		case strings.EqualFold(line, "QUIT"):
			say("221 bye")
		default:
			say("250 well")
		}
	}
}

// mailed reports whether there was a mail that tells of somebody.
func (w *blockedWorld) mailed(who string) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.ContainsFunc(w.mails, func(m string) bool { return strings.Contains(m, who) })
}

// fullSocket is where a service manager is told that the daemon is ready, and which takes
// nothing more.
func (w *blockedWorld) fullSocket(name string) {
	w.notify = w.path(name)
	l, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: w.notify, Net: "unixgram"})
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { l.Close() })
	fd, err := syscall.Socket(syscall.AF_UNIX, syscall.SOCK_DGRAM|syscall.SOCK_NONBLOCK|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		w.t.Fatal(err)
	}
	defer syscall.Close(fd)
	for err == nil {
		err = syscall.Sendto(fd, []byte("FULL=1"), 0, &syscall.SockaddrUnix{Name: w.notify})
	}
	if err != syscall.EAGAIN {
		w.t.Fatal(err)
	}
}
