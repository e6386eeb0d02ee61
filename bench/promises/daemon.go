package main

import (
	"bytes"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	"bailiff/pkg/ban"
	"bailiff/pkg/clock"
	"bailiff/pkg/control"
	"bailiff/pkg/netlab"
	"bailiff/pkg/store"
)

// daemon is one with a network and a folder of its own.
type daemon struct {
	b      *bench
	name   string
	host   *netlab.Host
	dir    string
	config string // of bailiff.toml, in which @D@ is the folder
	args   []string
	env    []string
	wrap   []string // what runs it; empty: nothing
	cmd    *exec.Cmd
	exited chan struct{}
	said   bytes.Buffer
	socket string
	api    *control.Client
	kernel *netlink.Conn
}

// daemon makes one that was not started yet.
func (b *bench) daemon(name, config string) (*daemon, error) {
	b.hosts++
	h, err := b.lab.Host(fmt.Sprint("host", b.hosts))
	if err != nil {
		return nil, err
	}
	d := &daemon{b: b, name: name, host: h, dir: filepath.Join(b.dir, fmt.Sprint(b.hosts)), config: config}
	if err := os.MkdirAll(d.path("conf"), 0o755); err != nil {
		return nil, err
	}
	if err := os.Chmod(d.dir, 0o711); err != nil {
		return nil, err
	}
	d.socket = d.path("sock")
	if d.kernel, err = b.kernel(h); err != nil {
		return nil, err
	}
	return d, d.configure(config)
}

// kernel opens a socket to a host's nftables.
func (b *bench) kernel(h *netlab.Host) (c *netlink.Conn, err error) {
	return c, h.Do(func() error {
		c, err = netlink.Dial(unix.NETLINK_NETFILTER, nil)
		return err
	})
}

func (d *daemon) path(name string) string { return filepath.Join(d.dir, name) }

// write makes a file anew, in one step.
func (d *daemon) write(name, text string) error {
	if err := os.WriteFile(d.path(name+".new"), []byte(text), 0o644); err != nil {
		return err
	}
	return os.Rename(d.path(name+".new"), d.path(name))
}

func (d *daemon) configure(config string) error {
	return d.write("conf/bailiff.toml", strings.ReplaceAll(config, "@D@", d.dir))
}

// add appends to a file.
func (d *daemon) add(name, text string) error {
	f, err := os.OpenFile(d.path(name), os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	if _, err := f.WriteString(text); err != nil {
		f.Close()
		return err
	}
	return f.Close()
}

// launch starts it; start waits until it answers.
func (d *daemon) launch() error {
	args := append([]string{"run", "--config", d.path("conf"), "--socket", d.socket}, d.args...)
	for option, name := range map[string]string{"--log-target": "log", "--database": "db.sqlite3"} {
		if !strings.Contains(strings.Join(d.args, " "), option) {
			args = append(args, option, d.path(name))
		}
	}
	args = append(append(slices.Clone(d.wrap), d.b.prog), args...)
	d.cmd = d.host.Command(d.b.ctx, args[0], args[1:]...)
	d.cmd.Env = append(append(os.Environ(), "TZ=UTC"), d.env...)
	d.said.Reset()
	d.cmd.Stdout, d.cmd.Stderr = &d.said, &d.said
	if err := d.cmd.Start(); err != nil {
		return err
	}
	exited := make(chan struct{})
	cmd := d.cmd
	go func() { _ = cmd.Wait(); close(exited) }()
	d.exited = exited
	d.api = control.NewClient(d.socket)
	return nil
}

func (d *daemon) start() error {
	if err := d.launch(); err != nil {
		return err
	}
	return d.until("it answers", time.Minute, func() bool { return d.api.Ping() == nil })
}

// startWith starts it with so many stored bans of a jail that reads app.log, and waits until
// they are in the kernel.
func (d *daemon) startWith(jail string, bans int) error {
	if err := d.add("app.log", ""); err != nil {
		return err
	}
	if bans > 0 {
		if err := d.fill(jail, bans); err != nil {
			return err
		}
	}
	if err := d.start(); err != nil || bans == 0 {
		return err
	}
	return d.until("all bans are there", time.Minute, func() bool { return d.banned(jail, addr(bans-1)) })
}

// stop ends it in an orderly way.
func (d *daemon) stop() error {
	_ = d.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-d.exited:
		return nil
	case <-time.After(time.Minute):
		_ = d.cmd.Process.Kill()
		return fmt.Errorf("%s does not stop within a minute: %s", d.name, d.log())
	}
}

// log is the end of what it told.
func (d *daemon) log() string {
	text, _ := os.ReadFile(d.path("log"))
	return string(text[max(0, len(text)-2000):])
}

func (d *daemon) until(what string, most time.Duration, done func() bool) error {
	for end := time.Now().Add(most); time.Now().Before(end); time.Sleep(2 * time.Millisecond) {
		if done() {
			return nil
		}
		if err := d.b.ctx.Err(); err != nil {
			return err
		}
		select {
		case <-d.exited:
			return fmt.Errorf("%s has ended: %s", d.name, d.log())
		default:
		}
	}
	return fmt.Errorf("%s: waited %v in vain: %s; log:\n%s", d.name, most, what, d.log())
}

// nft runs it in the daemon's network.
func (d *daemon) nft(args ...string) (string, error) {
	out, err := d.host.Command(d.b.ctx, "nft", args...).CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("nft %s: %w: %s", strings.Join(args, " "), err, out)
	}
	return string(out), nil
}

// banned asks the kernel for a single address of a jail.
func (d *daemon) banned(jail string, a netip.Addr) bool {
	set := "addr-set-" + jail
	if a.Is6() {
		set = "addr6-set-" + jail
	}
	return has(d.kernel, "f2b-table", set, a)
}

// has asks the kernel whether a set holds an address.
func has(c *netlink.Conn, table, set string, a netip.Addr) bool {
	ok, err := netlab.InSet(c, table, set, a)
	if err != nil {
		panic(fmt.Sprintf("nftables: %v", err)) // there is no measuring without
	}
	return ok
}

// addr is the i-th of many addresses, from 198.18.0.0/15, which is for measurements
// (RFC 2544).
func addr(i int) netip.Addr {
	return netip.AddrFrom4([4]byte{198, byte(18 + i>>16), byte(i >> 8), byte(i)})
}

// fill writes a database with bans of a jail.
func (d *daemon) fill(jail string, count int) error {
	s, err := store.Open(d.path("db.sqlite3"), clock.System())
	if err != nil {
		return err
	}
	delta := &store.Delta{Jail: jail}
	now := time.Now()
	for i := range count {
		delta.Events = append(delta.Events, store.Event{Ban: ban.Ban{ID: ban.Of(netip.PrefixFrom(addr(i), 32)), Start: now, End: now.Add(time.Hour)}})
	}
	if err := s.Write([]*store.Delta{delta}); err != nil {
		return err
	}
	return s.Close()
}

// stamp begins a line of a log.
func stamp() string { return time.Now().UTC().Format("2006-01-02 15:04:05.000") }

// pick returns one of two texts.
func pick(yes bool, a, b string) string {
	if yes {
		return a
	}
	return b
}
