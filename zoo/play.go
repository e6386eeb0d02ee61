package main

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"bailiff/pkg/netlab"
	"bailiff/zoo/animals"
)

// Nothing here asserts how long something takes: these are for what does not come at all.
const script = 2 * time.Minute // for a script to end

// play is one service, its attacker and its customer.
type play struct {
	*result
	dir     string // for what is of no use later
	heard   string // where the log is kept
	program string // ours

	root                       *root
	lab                        *netlab.Lab
	server, attacker, customer *netlab.Host
	service, daemon            *exec.Cmd
	serviceEnded               chan error
	daemonEnded                chan error
}

// whole plays it; what is wrong is among the result's problems.
func (p *play) whole(ctx context.Context, lowers []string) {
	began := time.Now()
	defer func() { p.took = time.Since(began) }()
	if err := p.play(ctx, lowers); err != nil {
		p.problem("%v", err)
	}
	p.found = p.findings()
	p.stopDaemon()
	p.stopService()
	if p.root != nil {
		p.keepLog()
	}
	green := filepath.Join(p.heard, p.name()+".green")
	if len(p.problems) == 0 && p.blind() == "" {
		if err := os.WriteFile(green, []byte(p.version), 0o644); err != nil {
			p.problem("%v", err)
		}
	} else {
		_ = os.Remove(green)
	}
	if p.lab != nil {
		if err := p.lab.Close(); err != nil {
			p.problem("%v", err)
		}
	}
	if p.root != nil {
		if err := p.root.close(); err != nil {
			p.problem("%v", err)
		}
	}
}

func (p *play) play(ctx context.Context, lowers []string) error {
	if err := os.RemoveAll(p.dir); err != nil {
		return err
	}
	for _, d := range []string{p.dir, p.heard} {
		if err := os.MkdirAll(d, 0o755); err != nil {
			return err
		}
	}
	var err error
	if p.root, err = mountRoot(p.dir, "", lowers); err != nil {
		return err
	}
	if err := p.network(); err != nil {
		return err
	}
	if err := p.begin(ctx); err != nil {
		return err
	}
	if err := p.beginDaemon(); err != nil {
		return err
	}
	if err := p.welcome(ctx); err != nil {
		return fmt.Errorf("before the attack: %w", err)
	}
	want := 0
	for _, w := range p.animal.Ways {
		from := p.logSize()
		for range max(w.Times, 1) {
			out, _ := p.client(ctx, p.attacker, p.net().ServerForAttacker, w.Script)
			if *verbal {
				say("%s: %s", w.What, out)
			}
		}
		if p.blind() == "" {
			want += w.Attempts()
		}
		if err := p.counted(ctx, want); err != nil {
			return fmt.Errorf("%s: %d attempts: %w; the log since:\n%s", w.What, w.Attempts(), err, p.logSince(from))
		}
		if *verbal {
			say("%s", p.logSince(from))
		}
	}
	if p.blind() == "" {
		if err := p.ban(ctx); err != nil {
			return err
		}
	}
	if err := p.welcome(ctx); err != nil {
		return fmt.Errorf("after the attack: %w", err)
	}
	p.result.customer = true
	p.stopService()
	if err := p.until(ctx, p.readWhole); err != nil {
		return err
	}
	for who, n := range p.findings() {
		switch {
		case who == p.net().Attacker && n != want:
			p.problem("%d attempts, and %d counted, in the end:\n%s", want, n, p.logSince(0))
		case who != p.net().Attacker:
			p.problem("%s was counted %d times, and is not the attacker:\n%s", who, n, p.logSince(0))
		}
	}
	p.stopDaemon()
	return p.compare(ctx)
}

func (p *play) network() (err error) {
	p.lab = netlab.New(filepath.Base(p.dir))
	for _, h := range []struct {
		name string
		host **netlab.Host
	}{{"server", &p.server}, {"attacker", &p.attacker}, {"customer", &p.customer}} {
		if *h.host, err = p.lab.Host(h.name); err != nil {
			return err
		}
	}
	n := p.net()
	with := func(a string) []string { return []string{fmt.Sprintf("%s/%d", a, n.Bits)} }
	if err := p.lab.Cable(p.server, p.attacker, with(n.ServerForAttacker), with(n.Attacker)); err != nil {
		return err
	}
	return p.lab.Cable(p.server, p.customer, with(n.ServerForCustomer), with(n.Customer))
}

// begin sets the service up and starts it.
func (p *play) begin(ctx context.Context) error {
	if err := os.MkdirAll(filepath.Dir(p.logPath()), 0o755); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(p.root.dir, "setup"), []byte(p.animal.Setup), 0o755); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(p.root.dir, "start"), []byte(p.animal.Start), 0o755); err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Join(p.root.dir, "zoo"), 0o755); err != nil {
		return err
	}
	for name, text := range animals.Tools {
		if err := os.WriteFile(filepath.Join(p.root.dir, "zoo", name), []byte(text), 0o755); err != nil {
			return err
		}
	}
	if err := os.WriteFile(filepath.Join(p.root.dir, "zoo", "syslog"), []byte(p.way.syslog), 0o755); err != nil {
		return err
	}
	for from, to := range p.animal.Copy {
		if out, err := exec.Command("cp", "-a", from, filepath.Join(p.root.dir, to)).CombinedOutput(); err != nil {
			return fmt.Errorf("copy %s: %w: %s", from, err, out)
		}
	}
	version := cmp.Or(p.animal.Version, "dpkg-query -W -f '${Package} ${Version}' "+p.animal.Packages[0])
	out, err := p.client(ctx, p.server, "127.0.0.1", version)
	if err != nil {
		return fmt.Errorf("%s: its version: %w: %s", p.animal.Name, err, out)
	}
	p.version = out
	if out, err := p.client(ctx, p.server, "127.0.0.1", "exec sh -e /setup"); err != nil {
		return fmt.Errorf("setup: %w: %s", err, out)
	}
	if err := p.makeLog(); err != nil {
		return err
	}
	said, err := os.OpenFile(filepath.Join(p.root.dir, "var/log/stdout.log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o666)
	if err != nil {
		return err
	}
	defer said.Close()
	p.service = exec.Command("/proc/self/exe", p.root.dir, "/start")
	p.service.Env = append(os.Environ(), roleName+"=cell")
	p.service.Stdout, p.service.Stderr = said, said
	p.service.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWPID | unix.CLONE_NEWNS | unix.CLONE_NEWUTS | unix.CLONE_NEWIPC, Setpgid: true}
	if err := p.server.Do(p.service.Start); err != nil {
		return fmt.Errorf("start: %w", err)
	}
	p.serviceEnded = make(chan error, 1)
	go func() { p.serviceEnded <- p.service.Wait() }()
	return p.until(ctx, func() error {
		select {
		case err := <-p.serviceEnded:
			p.serviceEnded <- err
			return &final{fmt.Errorf("the service has ended (%v): %s", err, p.said())}
		default:
		}
		if p.animal.Port != 0 && !p.listens(p.animal.Port) {
			return fmt.Errorf("nobody listens on port %d: %s", p.animal.Port, p.said())
		}
		if p.animal.Ready != "" {
			if out, err := p.client(ctx, p.server, "127.0.0.1", p.animal.Ready); err != nil {
				return fmt.Errorf("not ready: %w: %s: %s", err, out, p.said())
			}
		}
		return nil
	})
}

func (p *play) said() string {
	text, _ := os.ReadFile(filepath.Join(p.root.dir, "var/log/stdout.log"))
	return string(bytes.TrimSpace(text[max(0, len(text)-3000):]))
}

// listens asks the kernel, since a connection would be in the log.
func (p *play) listens(port int) (yes bool) {
	kind, state := "tcp", "0A"
	if p.animal.UDP {
		kind, state = "udp", "07"
	}
	_ = p.server.Do(func() error {
		for _, name := range []string{kind, kind + "6"} {
			text, _ := os.ReadFile("/proc/thread-self/net/" + name)
			for line := range strings.Lines(string(text)) {
				f := strings.Fields(line)
				if len(f) > 3 && f[3] == state && strings.HasSuffix(f[1], fmt.Sprintf(":%04X", port)) {
					yes = true
				}
			}
		}
		return nil
	})
	return yes
}

// client runs a script in the service's root, in the network of a host.
func (p *play) client(ctx context.Context, h *netlab.Host, server, text string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, script)
	defer cancel()
	c := h.Command(ctx, "chroot", p.root.dir, "/bin/sh", "-c", text)
	c.Env = environment(server)
	out, err := c.CombinedOutput()
	if ctx.Err() != nil {
		err = fmt.Errorf("it did not end: %w", ctx.Err())
	}
	return strings.TrimSpace(string(out)), err
}

// welcome has the customer come in.
func (p *play) welcome(ctx context.Context) error {
	out, err := p.client(ctx, p.customer, p.net().ServerForCustomer, p.animal.Success)
	if err != nil {
		return fmt.Errorf("the customer does not get in: %w: %s\nthe log:\n%s\nthe service:\n%s", err, out, p.logSince(0), p.said())
	}
	if *verbal {
		say("customer: %s", out)
	}
	return nil
}

// final is an error that waiting does not mend.
type final struct{ error }

// until waits for a condition.
func (p *play) until(ctx context.Context, condition func() error) error {
	deadline := time.Now().Add(*patience)
	for {
		err := condition()
		var end *final
		switch {
		case err == nil:
			return nil
		case errors.As(err, &end) || time.Now().After(deadline):
			return err
		case ctx.Err() != nil:
			return ctx.Err()
		}
		time.Sleep(50 * time.Millisecond)
	}
}

func (p *play) socket() string { return filepath.Join(p.dir, "bailiff.sock") }

// beginDaemon starts ours on the server, with the stock jail and maxretry such that the
// last attempt is the one for which the attacker is banned.
func (p *play) beginDaemon() error {
	config := filepath.Join(p.dir, "bailiff")
	if err := os.MkdirAll(config, 0o755); err != nil {
		return err
	}
	a := p.animal
	mode := ""
	if a.Mode != "" {
		mode = fmt.Sprintf("mode = %q\n", a.Mode)
	}
	text := fmt.Sprintf("loglevel = \"INFO\"\nlogtarget = %q\n[jail.%s]\nenabled = true\n%s%smaxretry = %d\nfindtime = \"1h\"\nbantime = \"1h\"\n",
		filepath.Join(p.dir, "bailiff.log"), a.Filter, mode, p.logSettings(), max(a.Attempts(p.suite), 1))
	if err := os.WriteFile(filepath.Join(config, "bailiff.toml"), []byte(text), 0o644); err != nil {
		return err
	}
	out, err := os.Create(filepath.Join(p.dir, "bailiff.out"))
	if err != nil {
		return err
	}
	defer out.Close()
	p.daemon = exec.Command("ip", "netns", "exec", p.server.Name, p.program, "run", "--config", config, "--socket", p.socket())
	p.daemon.Env = append(os.Environ(), "STATE_DIRECTORY="+p.dir, "TZ=UTC")
	p.daemon.Stdout, p.daemon.Stderr = out, out
	p.daemon.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := p.daemon.Start(); err != nil {
		return err
	}
	p.daemonEnded = make(chan error, 1)
	go func() { p.daemonEnded <- p.daemon.Wait() }()
	return p.until(context.Background(), func() error {
		select {
		case err := <-p.daemonEnded:
			p.daemonEnded <- err
			said, _ := os.ReadFile(out.Name())
			return &final{fmt.Errorf("the daemon has ended (%v): %s", err, said)}
		default:
		}
		_, _, err := p.status()
		return err
	})
}

// status asks the daemon who is banned, and how far it has read.
func (p *play) status() (bans []string, offset int64, err error) {
	c := exec.Command(p.program, "status", p.animal.Filter, "--json", "--socket", p.socket())
	out, err := c.CombinedOutput()
	if err != nil {
		return nil, 0, fmt.Errorf("bailiff status: %w: %s", err, out)
	}
	var s struct {
		Error string
		Files []struct{ Offset int64 }
		Bans  []struct{ IP string }
	}
	if err := json.Unmarshal(out, &s); err != nil {
		return nil, 0, fmt.Errorf("bailiff status: %w: %s", err, out)
	}
	if s.Error != "" {
		return nil, 0, &final{errors.New(s.Error)}
	}
	if len(s.Files) == 0 {
		return nil, 0, errors.New("the jail reads no file yet")
	}
	for _, b := range s.Bans {
		bans = append(bans, b.IP)
	}
	return bans, s.Files[0].Offset, nil
}

var foundLine = regexp.MustCompile(`\] Found (\S+) - `)

// findings are how often each address was counted, as the daemon's log tells.
func (p *play) findings() map[string]int {
	out := map[string]int{}
	text, _ := os.ReadFile(filepath.Join(p.dir, "bailiff.log"))
	for _, m := range foundLine.FindAllSubmatch(text, -1) {
		out[string(m[1])]++
	}
	return out
}

// counted waits until so many failures of the attacker are counted, and no more.
func (p *play) counted(ctx context.Context, want int) error {
	return p.until(ctx, func() error {
		found := p.findings()
		for who := range found {
			if who != p.net().Attacker {
				return &final{fmt.Errorf("%s was counted, and is not the attacker", who)}
			}
		}
		switch n := found[p.net().Attacker]; {
		case n > want:
			return &final{fmt.Errorf("%d counted in all, want %d", n, want)}
		case n < want:
			return fmt.Errorf("%d counted in all, want %d", n, want)
		}
		return nil
	})
}

// ban waits for it, and has the attacker come once more.
func (p *play) ban(ctx context.Context) error {
	err := p.until(ctx, func() (err error) {
		if p.banned, _, err = p.status(); err == nil && len(p.banned) == 0 {
			err = errors.New("nobody is banned")
		}
		return err
	})
	if err != nil {
		return err
	}
	if len(p.banned) != 1 || p.banned[0] != p.net().Banned {
		return fmt.Errorf("banned: %s", strings.Join(p.banned, " "))
	}
	if p.animal.Port == 0 {
		return nil
	}
	return p.until(ctx, func() error {
		if err := p.knock(); !errors.Is(err, syscall.ECONNREFUSED) {
			return fmt.Errorf("the attacker's next connection is not refused: %v", err)
		}
		p.refused = true
		return nil
	})
}

// knock has the attacker try the service's port.
func (p *play) knock() error {
	address := net.JoinHostPort(p.net().ServerForAttacker, strconv.Itoa(p.animal.Port))
	if !p.animal.UDP {
		c, err := p.attacker.Dial(p.net().Attacker, address, 5*time.Second)
		if err == nil {
			c.Close()
		}
		return err
	}
	var c net.Conn
	err := p.attacker.Do(func() (err error) {
		c, err = net.Dial("udp", address)
		return err
	})
	if err != nil {
		return err
	}
	defer c.Close()
	if _, err := c.Write([]byte("x")); err != nil {
		return err
	}
	if err := c.SetDeadline(time.Now().Add(2 * time.Second)); err != nil {
		return err
	}
	_, err = c.Read(make([]byte, 100))
	return err
}

// stopService ends it in order, so that it writes what it still has to write.
func (p *play) stopService() {
	if p.service == nil || p.serviceEnded == nil {
		return
	}
	end(p.service, p.serviceEnded)
	p.service = nil
}

func (p *play) stopDaemon() {
	if p.daemon == nil || p.daemonEnded == nil {
		return
	}
	end(p.daemon, p.daemonEnded)
	p.daemon = nil
}

func end(c *exec.Cmd, ended chan error) {
	_ = c.Process.Signal(syscall.SIGTERM)
	select {
	case <-ended:
	case <-time.After(30 * time.Second):
		_ = c.Process.Kill()
		<-ended
	}
}
