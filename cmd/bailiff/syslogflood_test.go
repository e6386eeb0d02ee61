package main

import (
	"flag"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"
)

var flooded = flag.Bool("flood", false, "TestSyslogFlood sends 50,000 messages a second, on a machine that has nothing else to do")

// TestSyslogFlood: two send by UDP, 25,000 messages a second each and more, of failures the one and
// of garbage the other: of the one's, none is missing. A shorter one is TestFair of pkg/syslog.
//
//	go test ./cmd/bailiff -run TestSyslogFlood -flood
func TestSyslogFlood(t *testing.T) {
	if !*flooded {
		t.Skip("it wants -flood, and a machine that has nothing else to do")
	}
	n := newNetwork(t)
	n.patience = time.Minute
	n.start(`
[jail.sshd]
enabled = true
backend = "syslog"
listen = "udp://192.0.2.1:514"
allow = "192.0.2.0/24"
match = "program=sshd"
maxretry = 10000000
`)
	dial := func(from string) *net.UDPConn {
		t.Helper()
		var c *net.UDPConn
		err := n.attacker.Do(func() (err error) {
			c, err = net.DialUDP("udp4", &net.UDPAddr{IP: net.ParseIP(from)}, &net.UDPAddr{IP: net.ParseIP("192.0.2.1"), Port: 514})
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		return c
	}
	const perSecond, seconds = 25_000, 4
	honest, hostile := dial("192.0.2.66"), dial("192.0.2.67")
	// paced sends so many a second, of which it may be behind for a moment.
	paced := func(c *net.UDPConn, text func(i int) string) (sent int) {
		begun := time.Now()
		for sent < perSecond*seconds {
			for due := min(int(time.Since(begun).Seconds()*perSecond), perSecond*seconds); sent < due; sent++ {
				if _, err := c.Write([]byte(text(sent))); err != nil {
					t.Error(err)
					return sent
				}
			}
			time.Sleep(time.Millisecond)
		}
		return sent
	}
	done := make(chan int)
	go func() {
		long := strings.Repeat("x", 1200)
		done <- paced(hostile, func(i int) string {
			switch i % 3 {
			case 0:
				return "garbage " + long
			case 1:
				return "<38>1 - - sshd - - - " + long
			}
			return fmt.Sprintf("<38>sshd[%d]: Invalid user %s from nowhere", i, long)
		})
	}()
	sent := paced(honest, func(i int) string {
		return fmt.Sprintf("<38>Jan 31 12:00:00 web sshd[41]: Failed password for root from 203.0.113.%d port 41 ssh2", i%250)
	})
	bad := <-done
	n.until("all of the honest one's are counted", func() bool { return n.counted("sshd") >= sent })
	if got := n.counted("sshd"); got != sent {
		t.Errorf("%d failures, want %d", got, sent)
	}
	t.Logf("%d of the one's are there, beside %d of the other's", sent, bad)
}
