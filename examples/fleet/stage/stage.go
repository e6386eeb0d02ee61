// Package stage is three hosts of a fleet, their hub, an attacker and a customer, each in a network namespace of its own, with
// real daemons, a real hub and the kernel's nftables: what the demo plays, and the test in short.
//
//	s, err := stage.New(dir, "bin/bailiff", "bin/bailiff-hub", tell)
//	defer s.Close()
//	err = s.Play(ctx)
//
// It waits for what has to come, for a minute at the most, and tells how long each thing took; nothing fails since it took long.
package stage

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/vishvananda/netlink"

	"bailiff/pkg/netlab"
)

// Who is there. Attackers and the customer have these addresses on whichever host they come to.
const (
	attacker = "192.0.2.66"
	second   = "192.0.2.67" // comes while the hub is down
	third    = "192.0.2.68" // is banned and lifted on two sides of a partition
	fourth   = "192.0.2.69" // the same, the other way round
	fifth    = "192.0.2.70" // fails once on each
	customer = "192.0.2.77"
)

var everybody = []string{attacker, second, third, fourth, fifth, customer}

// patience is how long is waited for anything.
const patience = time.Minute

// Stage is all of it.
type Stage struct {
	dir, bailiff, hubProgram string
	tell                     func(format string, args ...any)
	lab                      *netlab.Lab
	hubHost, clients         *netlab.Host
	hub                      *exec.Cmd
	hosts                    []*Host
}

// Host is a host of the fleet.
type Host struct {
	Name   string
	s      *Stage
	net    *netlab.Host
	dir    string
	addr   string // where clients find it
	daemon *exec.Cmd
	cable  string // to the hub
}

// New makes hosts and networks; tell is told what happens. It needs root.
func New(dir, bailiff, hub string, tell func(format string, args ...any)) (*Stage, error) {
	s := &Stage{dir: dir, bailiff: bailiff, hubProgram: hub, tell: tell, lab: netlab.New(fmt.Sprintf("bailiff-fleet-%d", os.Getpid()))}
	if err := s.wire(); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

// wire makes the networks: each host has a cable to the hub and one to its clients.
func (s *Stage) wire() (err error) {
	if s.hubHost, err = s.lab.Host("hub"); err != nil {
		return err
	}
	if s.clients, err = s.lab.Host("clients"); err != nil {
		return err
	}
	cables := 0
	for i, name := range []string{"web-1", "web-2", "web-3"} {
		h := &Host{Name: name, s: s, dir: filepath.Join(s.dir, name), addr: fmt.Sprintf("203.0.113.%d", 8*i+1)}
		if h.net, err = s.lab.Host(name); err != nil {
			return err
		}
		s.hosts = append(s.hosts, h)
		h.cable = fmt.Sprintf("cable%d", cables)
		if err := s.lab.Cable(h.net, s.hubHost, []string{fmt.Sprintf("198.51.100.%d/30", 4*i+2)}, []string{fmt.Sprintf("198.51.100.%d/30", 4*i+1)}); err != nil {
			return err
		}
		theirs := fmt.Sprintf("203.0.113.%d", 8*i+2)
		mine := []string{theirs + "/29"}
		if i == 0 {
			for _, who := range everybody {
				mine = append(mine, who+"/32")
			}
		}
		if err := s.lab.Cable(h.net, s.clients, []string{h.addr + "/29"}, mine); err != nil {
			return err
		}
		cables += 2
		if err := h.route(theirs); err != nil {
			return err
		}
		for _, dir := range []string{"run", "state"} {
			if err := os.MkdirAll(h.path(dir), 0o700); err != nil {
				return err
			}
		}
		l, err := h.net.Listen(h.addr + ":2222")
		if err != nil {
			return err
		}
		netlab.Serve(l, func(c net.Conn) { _, _ = io.WriteString(c, "ok") })
	}
	return nil
}

// route has a host find clients by their cable.
func (h *Host) route(via string) error {
	return h.net.Do(func() error {
		for _, who := range everybody {
			dst := &net.IPNet{IP: net.ParseIP(who).To4(), Mask: net.CIDRMask(32, 32)}
			if err := netlink.RouteAdd(&netlink.Route{Dst: dst, Gw: net.ParseIP(via)}); err != nil {
				return fmt.Errorf("%s: route to %s: %w", h.Name, who, err)
			}
		}
		return nil
	})
}

// Close ends everything.
func (s *Stage) Close() error {
	var wg sync.WaitGroup
	for _, h := range s.hosts {
		if h.daemon != nil {
			wg.Go(func() { _ = h.daemon.Process.Signal(os.Interrupt); _ = h.daemon.Wait() })
		}
	}
	wg.Wait()
	s.killHub()
	return s.lab.Close()
}

// until waits for something, and tells how long that took.
func (s *Stage) until(what string, is func() bool) error {
	begun := time.Now()
	for !is() {
		if time.Since(begun) > patience {
			return fmt.Errorf("after %v it is not so: %s%s", patience, what, s.logs())
		}
		time.Sleep(10 * time.Millisecond)
	}
	s.tell("%s (%v)", what, time.Since(begun).Round(10*time.Millisecond))
	return nil
}

// logs are the ends of all logs, for who looks into a failure.
func (s *Stage) logs() string {
	out := ""
	for _, path := range []string{"hub.log", "web-1/log", "web-2/log", "web-3/log"} {
		data, _ := os.ReadFile(filepath.Join(s.dir, path))
		out += fmt.Sprintf("\n--- %s\n%s", path, data[max(0, len(data)-2000):])
	}
	return out
}

// startHub runs the hub; the first time it is made.
func (s *Stage) startHub() error {
	dir := filepath.Join(s.dir, "hub")
	if _, err := os.Stat(dir); err != nil {
		if out, err := s.hubHost.Command(context.Background(), s.hubProgram, "hub", "init", dir, "--san", "198.51.100.1", "--san", "198.51.100.5", "--san", "198.51.100.9").CombinedOutput(); err != nil {
			return fmt.Errorf("hub init: %w: %s", err, out)
		}
		// The key of the fleet's allow-list, which the hub doesn't have.
		key, err := s.hubHost.Command(context.Background(), s.bailiff, "fleet", "allow", "key", filepath.Join(s.dir, "allow.key")).Output()
		if err != nil {
			return fmt.Errorf("fleet allow key: %w", err)
		}
		// The fleet's own customers, whom nobody bans; and failures, counted over all hosts.
		text, err := os.ReadFile(filepath.Join(dir, "hub.toml"))
		if err != nil {
			return err
		}
		text = bytes.Replace(text, []byte("allow = []"), fmt.Appendf(nil, "allow = [%q]\n%s", customer, key), 1)
		text = append(text, "\n[count.login]\nmaxretry = 3\nfindtime = \"1h\"\nhosts = 3\nshare = 1\n"...)
		if err := os.WriteFile(filepath.Join(dir, "hub.toml"), text, 0o600); err != nil {
			return err
		}
	}
	log, err := os.OpenFile(filepath.Join(s.dir, "hub.log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer log.Close()
	s.hub = s.hubHost.Command(context.Background(), s.hubProgram, "hub", "run", dir)
	s.hub.Stdout, s.hub.Stderr = log, log
	return s.hub.Start()
}

func (s *Stage) killHub() {
	if s.hub != nil {
		_ = s.hub.Process.Kill()
		_ = s.hub.Wait()
		s.hub = nil
	}
}

// atHub runs a command of the hub's machine.
func (s *Stage) atHub(args ...string) (string, error) {
	args = append(args, "--hub", filepath.Join(s.dir, "hub"))
	c := s.hubHost.Command(context.Background(), s.hubProgram, args...)
	var out, wrong bytes.Buffer
	c.Stdout, c.Stderr = &out, &wrong
	if err := c.Run(); err != nil {
		return "", fmt.Errorf("%s: %w: %s", strings.Join(args, " "), err, wrong.String())
	}
	return strings.TrimSpace(out.String()), nil
}

// configuration is what a host has before it is in a fleet.
func (h *Host) configuration() string {
	return fmt.Sprintf(`socket = %q
[database]
path = %q
[jail.login]
enabled = true
logpath = %q
failregex = '^\s*failed login from <ADDR>$'
maxretry = 3
findtime = "1h"
bantime = "1h"
`, h.path("run/sock"), h.path("state/bailiff.sqlite3"), h.path("auth.log"))
}

func (h *Host) path(name string) string { return filepath.Join(h.dir, name) }

// start runs the daemon.
func (h *Host) start() error {
	for name, text := range map[string]string{"bailiff.toml": h.configuration(), "auth.log": ""} {
		if err := os.WriteFile(h.path(name), []byte(text), 0o644); err != nil {
			return err
		}
	}
	return h.run()
}

func (h *Host) run() error {
	log, err := os.OpenFile(h.path("log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer log.Close()
	h.daemon = h.net.Command(context.Background(), h.s.bailiff, "run", "--config", h.path("bailiff.toml"))
	h.daemon.Stdout, h.daemon.Stderr = log, log
	return h.daemon.Start()
}

// command runs one of bailiff's on the host.
func (h *Host) command(args ...string) (string, error) {
	c := h.net.Command(context.Background(), h.s.bailiff, append(args, "--socket", h.path("run/sock"))...)
	out, err := c.CombinedOutput()
	if err != nil {
		err = fmt.Errorf("%s: bailiff %s: %w: %s", h.Name, strings.Join(args, " "), err, out)
	}
	return string(out), err
}

// fails has somebody fail to log in.
func (h *Host) fails(who string, times int) error {
	f, err := os.OpenFile(h.path("auth.log"), os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	for range times {
		fmt.Fprintf(f, "%s failed login from %s\n", time.Now().Format(time.RFC3339), who)
	}
	return f.Close()
}

// reaches reports whether somebody gets an answer of a host.
func (h *Host) reaches(who string) bool {
	c, err := h.s.clients.Dial(who, h.addr+":2222", time.Second)
	if err != nil {
		return false
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(time.Second))
	answer, _ := io.ReadAll(c)
	return string(answer) == "ok"
}

// everywhere reports whether all of some hosts let somebody in, or none.
func everywhere(hosts []*Host, who string, in bool) func() bool {
	return func() bool {
		for _, h := range hosts {
			if h.reaches(who) != in {
				return false
			}
		}
		return true
	}
}

// cut takes the host's cable to the hub away, or puts it back.
func (h *Host) cut(off bool) error {
	return h.net.Do(func() error {
		link, err := netlink.LinkByName(h.cable)
		if err != nil {
			return err
		}
		if off {
			return netlink.LinkSetDown(link)
		}
		return netlink.LinkSetUp(link)
	})
}
