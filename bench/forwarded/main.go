// Command forwarded measures how long it takes from a line of a log until its address is shut out of a
// service of this host, and of one in a container behind a published port (DNAT), by turns: until a new connection is
// refused, by when that one begins, and until the connection that is open is answered for the last time (root).
// It prints a Markdown table, and with --write puts it into a document.
package main

import (
	"bufio"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"bailiff/bench/measure"
	"bailiff/bench/section"
	"bailiff/pkg/netlab"
)

func main() {
	rounds := flag.Int("rounds", 40, "of a ban and an unban, for each")
	program := flag.String("program", "bin/bailiff", "the `program`")
	write := flag.String("write", "", "a `file` whose section is replaced")
	flag.Parse()
	text, err := run(*rounds, *program)
	if err == nil && *write != "" {
		err = section.Replace(*write, "forwarded", text)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "forwarded:", err)
		os.Exit(1)
	}
	fmt.Print(text)
}

const (
	local = "192.0.2.1:9090"
	// patience is how long a ban may take, and quiet how long an open connection has not to be
	// answered to be over.
	patience = time.Minute
	quiet    = 300 * time.Millisecond
	step     = 200 * time.Microsecond
)

var attacker = netlab.PublishedBad[0]

// bench is a host with a service of its own and one behind a published port, and a client.
type bench struct {
	net     *netlab.Published
	program string
	socket  string
	log     *os.File
}

func run(rounds int, program string) (string, error) {
	program, err := filepath.Abs(program)
	if err != nil {
		return "", err
	}
	dir, err := os.MkdirTemp("", "bailiff-bench-forwarded-")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(dir)
	lab := netlab.New(fmt.Sprintf("bailiff-bench-forwarded-%d", os.Getpid()))
	defer lab.Close()
	b := &bench{program: program, socket: filepath.Join(dir, "sock")}
	if b.net, err = lab.Published(); err != nil {
		return "", err
	}
	for at, h := range map[string]*netlab.Host{local: b.net.Gate, netlab.ContainerAt[0]: b.net.Container} {
		l, err := h.Listen(at)
		if err != nil {
			return "", err
		}
		defer l.Close()
		netlab.Serve(l, func(c net.Conn) { _, _ = io.Copy(c, c) })
	}
	if b.log, err = os.Create(filepath.Join(dir, "app.log")); err != nil {
		return "", err
	}
	defer b.log.Close()
	config := fmt.Sprintf("[jail.app]\nenabled = true\nfailregex = '^failed login from <HOST>$'\nlogpath = '%s'\nport = '8080,9090'\nmaxretry = 1\nbantime = '1h'\n", b.log.Name())
	if err := os.WriteFile(filepath.Join(dir, "bailiff.toml"), []byte(config), 0o600); err != nil {
		return "", err
	}
	daemon := b.net.Gate.Command(context.Background(), program, "run", "--config", filepath.Join(dir, "bailiff.toml"), "--socket", b.socket, "--database", filepath.Join(dir, "db"), "--log-target", filepath.Join(dir, "log"))
	if err := daemon.Start(); err != nil {
		return "", err
	}
	defer func() { _ = daemon.Process.Signal(syscall.SIGTERM); _ = daemon.Wait() }()
	for end := time.Now().Add(patience); b.ask("status") != nil; time.Sleep(50 * time.Millisecond) {
		if time.Now().After(end) {
			return "", errors.New("the daemon does not answer")
		}
	}
	places := []struct{ name, at string }{{"a service of this host", local}, {"a container, behind a published port", netlab.PublishedAt[0]}}
	refused, last := map[string][]time.Duration{}, map[string][]time.Duration{}
	for range rounds + 1 { // the first warms up
		for _, p := range places {
			r, l, err := b.once(p.at)
			if err != nil {
				return "", fmt.Errorf("%s: %w", p.name, err)
			}
			refused[p.name], last[p.name] = append(refused[p.name], r), append(last[p.name], l)
		}
	}
	var out strings.Builder
	fmt.Fprintf(&out, "From the write of a line until its address is shut out, %d times each by turns, measured from outside (load %s):\n\n", rounds, loadNow())
	out.WriteString("| what | the first new connection that is refused begins: median | 90 % | worst | the open one's last answer: median | 90 % | worst |\n| --- | --- | --- | --- | --- | --- | --- |\n")
	var medians []time.Duration
	for _, p := range places {
		r, l := refused[p.name][1:], last[p.name][1:]
		medians = append(medians, measure.Median(r))
		fmt.Fprintf(&out, "| %s | %s | %s | %s | %s | %s | %s |\n", p.name, measure.Round(measure.Median(r)), measure.Round(measure.Quantile(r, 0.9)), measure.Round(measure.Quantile(r, 1)),
			measure.Round(measure.Median(l)), measure.Round(measure.Quantile(l, 0.9)), measure.Round(measure.Quantile(l, 1)))
	}
	fmt.Fprintf(&out, "\nBehind the published port it takes %.2f times as long.\n", float64(medians[1])/float64(medians[0]))
	return out.String(), nil
}

func loadNow() string {
	data, _ := os.ReadFile("/proc/loadavg")
	first, _, _ := strings.Cut(string(data), " ")
	return first
}

func (b *bench) ask(args ...string) error {
	return exec.Command(b.program, append(args, "--socket", b.socket)...).Run()
}

// once has the attacker banned while he has a connection open, and lifts the ban.
func (b *bench) once(at string) (refused, last time.Duration, err error) {
	c, err := b.net.Client.Dial(attacker, at, 10*time.Second)
	if err != nil {
		return 0, 0, err
	}
	defer c.Close()
	answers := make(chan time.Time, 1)
	begun := make(chan struct{})
	go func() { // talks all the while
		var at time.Time
		in := bufio.NewReader(c)
		for n := 0; ; n++ {
			_ = c.SetDeadline(time.Now().Add(quiet))
			if _, err := io.WriteString(c, "hello\n"); err != nil {
				break
			}
			if _, err := in.ReadString('\n'); err != nil {
				break
			}
			if at = time.Now(); n == 0 {
				close(begun)
			}
			time.Sleep(step)
		}
		answers <- at
	}()
	select {
	case <-begun:
	case at := <-answers:
		return 0, 0, fmt.Errorf("the open connection is not answered (%v)", at)
	}
	start := time.Now()
	if _, err := fmt.Fprintf(b.log, "failed login from %s\n", attacker); err != nil {
		return 0, 0, err
	}
	for {
		// When it begins counts: the kernel sends few refusals to the same address at a time, and who gets none
		// waits for a second.
		refused = time.Since(start)
		n, err := b.net.Client.Dial(attacker, at, 200*time.Millisecond)
		if err != nil {
			break
		}
		n.Close()
		time.Sleep(step) // who measures takes the daemon no core
		if time.Since(start) > patience {
			return 0, 0, errors.New("he is not banned")
		}
	}
	last = max((<-answers).Sub(start), 0)
	return refused, last, b.ask("unban", attacker)
}
