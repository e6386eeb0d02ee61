// Package netlab builds small networks out of kernel namespaces, for tests and
// for the demo: hosts of their own, joined by virtual cables, with addresses
// from the documentation ranges. Nothing in it reaches the machine's network.
// It needs root and iproute2.
//
//	lab := netlab.New("mytest")
//	defer lab.Close()
//	server, err := lab.Host("server")
//	client, err := lab.Host("client")
//	err = lab.Cable(server, client, []string{"192.0.2.1/24"}, []string{"192.0.2.7/24"})
//	conn, err := client.Dial("192.0.2.7", "192.0.2.1:80", time.Second)
package netlab

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// Lab is a set of hosts. Several goroutines may add to one.
type Lab struct {
	name   string
	mu     sync.Mutex // of hosts
	hosts  []*Host
	cables int
}

// Host is one network namespace.
type Host struct {
	Name string // as `ip netns` lists it
	ns   netns.NsHandle
}

// New makes a lab without hosts. The name leads the hosts' names.
func New(name string) *Lab { return &Lab{name: name} }

// Host makes a namespace called LAB-NAME with its loopback up. One of that name
// that an earlier run left behind is replaced.
func (l *Lab) Host(name string) (*Host, error) {
	if os.Getuid() != 0 {
		return nil, errors.New("network namespaces need root")
	}
	full := l.name + "-" + name
	_ = exec.Command("ip", "netns", "delete", full).Run()
	if out, err := exec.Command("ip", "netns", "add", full).CombinedOutput(); err != nil {
		return nil, fmt.Errorf("ip netns add %s: %w: %s", full, err, out)
	}
	ns, err := netns.GetFromName(full)
	if err != nil {
		return nil, fmt.Errorf("namespace %s: %w", full, err)
	}
	h := &Host{Name: full, ns: ns}
	l.mu.Lock()
	l.hosts = append(l.hosts, h)
	l.mu.Unlock()
	return h, h.Do(func() error {
		lo, err := netlink.LinkByName("lo")
		if err != nil {
			return err
		}
		return netlink.LinkSetUp(lo)
	})
}

// Cable joins two hosts and gives each end its addresses, written with the
// length of their network.
func (l *Lab) Cable(a, b *Host, addrsA, addrsB []string) error {
	// Interfaces are made in a namespace of ours, so that the machine's own never
	// has them, not even for a moment.
	nameA, nameB := fmt.Sprintf("cable%d", l.cables), fmt.Sprintf("cable%dp", l.cables)
	l.cables++
	err := a.Do(func() error {
		veth := &netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: nameA}, PeerName: nameB, PeerNamespace: netlink.NsFd(int(b.ns))}
		return netlink.LinkAdd(veth)
	})
	if err != nil {
		return fmt.Errorf("cable %s to %s: %w", a.Name, b.Name, err)
	}
	if err := a.up(nameA, addrsA); err != nil {
		return err
	}
	return b.up(nameB, addrsB)
}

func (h *Host) up(link string, addrs []string) error {
	return h.Do(func() error {
		dev, err := netlink.LinkByName(link)
		if err != nil {
			return fmt.Errorf("%s: %s: %w", h.Name, link, err)
		}
		for _, text := range addrs {
			addr, err := netlink.ParseAddr(text)
			if err != nil {
				return err
			}
			addr.Flags = unix.IFA_F_NODAD // usable at once
			if err := netlink.AddrAdd(dev, addr); err != nil {
				return fmt.Errorf("%s: address %s: %w", h.Name, text, err)
			}
		}
		return netlink.LinkSetUp(dev)
	})
}

// Do calls f on a thread that is in the host's network. What f opens there stays
// there.
func (h *Host) Do(f func() error) error {
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		home, err := netns.Get()
		if err != nil {
			done <- err
			return // with its thread
		}
		defer home.Close()
		if err := netns.Set(h.ns); err != nil {
			done <- fmt.Errorf("enter %s: %w", h.Name, err)
			return
		}
		err = f()
		if back := netns.Set(home); back == nil {
			runtime.UnlockOSThread()
		}
		done <- err
	}()
	return <-done
}

// NsFd is the namespace's file descriptor, for libraries that enter by
// themselves.
func (h *Host) NsFd() int { return int(h.ns) }

// Dial connects over TCP from one of the host's addresses; an empty one lets
// the kernel choose.
func (h *Host) Dial(from, to string, timeout time.Duration) (conn net.Conn, err error) {
	d := net.Dialer{Timeout: timeout}
	if from != "" {
		d.LocalAddr = &net.TCPAddr{IP: net.ParseIP(from)}
	}
	err = h.Do(func() error {
		conn, err = d.Dial("tcp", to)
		return err
	})
	return conn, err
}

// Listen opens a TCP listener on the host.
func (h *Host) Listen(addr string) (l net.Listener, err error) {
	err = h.Do(func() error {
		l, err = net.Listen("tcp", addr)
		return err
	})
	return l, err
}

// Serve answers who connects to a listener, each for itself, until that is closed. A
// connection is closed when it is answered.
func Serve(l net.Listener, answer func(net.Conn)) {
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				answer(c)
			}()
		}
	}()
}

// Command prepares a program that runs on the host. It has the process id of
// the program itself, and gets a TERM, not a KILL, when ctx ends.
func (h *Host) Command(ctx context.Context, name string, args ...string) *exec.Cmd {
	c := exec.CommandContext(ctx, "ip", append([]string{"netns", "exec", h.Name, name}, args...)...)
	c.Cancel = func() error { return c.Process.Signal(unix.SIGTERM) }
	c.WaitDelay = 5 * time.Second
	return c
}

// Close takes the namespaces down, with whatever still runs in them.
func (l *Lab) Close() error {
	var errs []error
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, h := range l.hosts {
		h.kill()
		h.ns.Close()
		if out, err := exec.Command("ip", "netns", "delete", h.Name).CombinedOutput(); err != nil {
			errs = append(errs, fmt.Errorf("ip netns delete %s: %w: %s", h.Name, err, out))
		}
	}
	l.hosts = nil
	return errors.Join(errs...)
}

// kill ends what runs on the host, but for this process, whose threads may be
// there yet.
func (h *Host) kill() {
	for range 50 {
		out, _ := exec.Command("ip", "netns", "pids", h.Name).Output()
		left := 0
		for _, field := range strings.Fields(string(out)) {
			if pid, err := strconv.Atoi(field); err == nil && pid != os.Getpid() {
				_ = unix.Kill(pid, unix.SIGKILL)
				left++
			}
		}
		if left == 0 {
			return
		}
		time.Sleep(20 * time.Millisecond)
	}
}
