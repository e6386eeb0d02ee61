package main

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"time"

	"bailiff/bench/measure"
)

// promisedLatency is how long it may take from a line to the kernel beside clients that
// mean harm.
const promisedLatency = 20 * time.Millisecond

// Hostile input comes from a process of its own, which is told by its environment what
// to do, so that it does not stand in the way of what measures.
const floodVariable = "BAILIFF_FLOOD"

// floodIfAsked is that process.
func floodIfAsked() bool {
	kind, path, ok := strings.Cut(os.Getenv(floodVariable), ":")
	if !ok {
		return false
	}
	fmt.Println("ready")
	switch kind {
	case "clients":
		floodClients(path)
	case "echo":
		_, _ = io.Copy(os.Stdout, os.Stdin)
		return true
	}
	f, err := os.OpenFile(path, os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	if kind, ok := torrentKind(kind); ok {
		fmt.Fprintln(os.Stderr, pour(f, kind))
		os.Exit(1)
	}
	k := floods[kind]
	const tick = 5 * time.Millisecond
	each := max(int(time.Duration(k.rate)*tick/time.Second), 1)
	begun := time.Now()
	for i := 0; ; {
		var b bytes.Buffer
		for range each {
			b.WriteString(k.line(i))
			i++
		}
		if _, err := f.Write(b.Bytes()); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		time.Sleep(time.Until(begun.Add(time.Duration(i) * time.Second / time.Duration(k.rate))))
	}
}

// flood is a kind of hostile lines.
type flood struct {
	rate int // lines a second
	line func(i int) string
}

var megabyte = strings.Repeat("x", 1<<20)

var floods = map[string]flood{
	"names": {5_000, func(i int) string { return fmt.Sprintf("%s ERROR Login failure h%d.example.org\n", stamp(), i) }},
	"long": {20, func(i int) string {
		return fmt.Sprintf("%s ERROR Login failure %s for %s\n", stamp(), addr(i/2), megabyte)
	}},
	"users": {5_000, func(i int) string { return fmt.Sprintf("%s app[7]: wrong password for u%d\n", stamp(), i%100_000) }},
}

// clientsAtOnce is how many clients flood the socket.
const clientsAtOnce = 100

// floodClients never returns: each client sends, without a pause, what once cost the
// daemon most, or is silent, or does not read.
func floodClients(socket string) {
	digits := strings.Repeat("9", 4_000_000)
	requests := [][]byte{
		[]byte("(L" + digits + "L\nl.<F2B_END_COMMAND>"),
		[]byte("\x80\x04" + strings.Repeat("]", 4_000_000) + ".<F2B_END_COMMAND>"),
		[]byte("(Vstatus\nVapp\nV" + digits[:900_000] + "\nl.<F2B_END_COMMAND>"),
		[]byte("(Vstatus\nVapp\nl.<F2B_END_COMMAND>"),
		[]byte("(Vbanned\nl.<F2B_END_COMMAND>"),
		[]byte("GET /v1/bans HTTP/1.1\r\nHost: x\r\n\r\n"),
		[]byte("("), // and no more
		bytes.Repeat([]byte("(Vbanned\nl.<F2B_END_COMMAND>"), 1000),
	}
	for i := range clientsAtOnce {
		go func() {
			for ; ; i++ {
				c, err := net.Dial("unix", socket)
				if err != nil {
					time.Sleep(time.Millisecond)
					continue
				}
				_ = c.SetDeadline(time.Now().Add(time.Second))
				_, _ = c.Write(requests[i%len(requests)])
				_, _ = c.Read(make([]byte, 4096))
				c.Close()
			}
		}()
	}
	select {}
}

// hostile is what goes on beside the bans that are measured.
type hostile struct {
	name, flood string
	config      string
	attack      func(a netip.Addr, i int) string
}

const latencyJail = "loglevel = \"WARNING\"\n[read]\nsocket = \"@D@/read.sock\"\ngroup = \"nogroup\"\n" +
	"[jail.app]\nenabled = true\nlogpath = \"@D@/app.log\"\nmaxretry = 1\nfindtime = \"1h\"\nbantime = \"1h\"\n"

const longLines = "datepattern = '{^LN-BEG}'\nfailregex = '''\n^ ?ERROR Login failure <HOST>(?: for \\S*)?\\s*$\n'''\n"

// sessions remember who connected, by the number of a process.
const sessions = `datepattern = '{^LN-BEG}'
failregex = '''
^\s*app\[<F-MLFID>\d+</F-MLFID>\]: <F-NOFAIL>connect</F-NOFAIL> from <ADDR>\s*$
^\s*app\[<F-MLFID>\d+</F-MLFID>\]: wrong password for <F-USER>\S+</F-USER>\s*$
'''
`

func failure(a netip.Addr, _ int) string {
	return fmt.Sprintf("%s ERROR Login failure %s\n", stamp(), a)
}

func sessionFailure(a netip.Addr, i int) string {
	return fmt.Sprintf("%s app[%d]: connect from %s\n%s app[%d]: wrong password for root\n", stamp(), 9_000_000+i, a, stamp(), 9_000_000+i)
}

// latency: from a line to the kernel, alone and beside what means harm.
func (b *bench) latency() error {
	bans := b.some(400, 100)
	b.head(fmt.Sprintf("From the write of a line to the element in the kernel, which is asked for it all the time, %d bans\none after the other, and as many beside hostile input:", bans),
		"beside", "alone: median", "90 %", "99 %", "beside it: median", "90 %", "99 %", "an echo: 90 %", "median to alone", "resident at most")
	for _, k := range []hostile{
		{fmt.Sprintf("%d clients that flood the socket for all users", clientsAtOnce), "clients", "filter = \"long\"\n", failure},
		{"5,000 lines a second with names, the name server is silent", "names", "filter = \"long\"\nusedns = \"warn\"\n", failure},
		{"20 lines of 1 MiB a second", "long", "filter = \"long\"\nmaxretry = 3\n", failure},
		{"5,000 lines a second with 100,000 user names of one connection", "users", "filter = \"session\"\n", sessionFailure},
	} {
		if err := b.latencyBeside(k, bans); err != nil {
			return fmt.Errorf("%s: %w", k.name, err)
		}
	}
	return nil
}

func (b *bench) latencyBeside(k hostile, bans int) error {
	config := latencyJail + k.config
	retries := 1
	if strings.Contains(k.config, "maxretry") { // the long lines are not to be bans themselves
		config, retries = strings.Replace(config, "maxretry = 1\n", "", 1), 3
	}
	d, err := b.daemon(k.name, config)
	if err != nil {
		return err
	}
	for name, text := range map[string]string{"app.log": "", "conf/filters/long.toml": longLines, "conf/filters/session.toml": sessions} {
		if err := os.MkdirAll(d.path("conf/filters"), 0o755); err != nil {
			return err
		}
		if err := d.write(name, text); err != nil {
			return err
		}
	}
	h := &hung{daemon: d}
	if err := h.silentNames(); err != nil {
		return err
	}
	defer h.close()
	if err := d.start(); err != nil {
		return err
	}
	defer func() { _ = d.stop() }()
	if err := d.until("the jail is there", 30*time.Second, func() bool { s, err := d.api.Status(); return err == nil && len(s.Jails) == 1 }); err != nil {
		return err
	}
	time.Sleep(time.Second) // the start is over
	alone, _, err := d.latencies(k, 0, bans, retries)
	if err != nil {
		return err
	}
	end, err := d.flood(k.flood)
	if err != nil {
		return err
	}
	time.Sleep(2 * time.Second) // it has begun
	beside, echoes, err := d.latencies(k, bans, bans, retries)
	end()
	if err != nil {
		return err
	}
	peak, err := measure.Peak(d.cmd.Process.Pid)
	if err != nil {
		return err
	}
	before, after := measure.Median(alone), measure.Median(beside)
	// What the machine itself is late, a program that only echoes is late as well.
	echo := measure.Quantile(echoes, 0.9)
	b.promise(after <= promisedLatency+echo, "beside %s a ban takes %v, promised are %v (an echo: %v)", k.name, after, promisedLatency, echo)
	cells := []string{k.name}
	for _, all := range [][]time.Duration{alone, beside} {
		cells = append(cells, measure.Round(measure.Median(all)), measure.Round(measure.Quantile(all, 0.9)), measure.Round(measure.Quantile(all, 0.99)))
	}
	b.row(append(cells, measure.Round(echo), fmt.Sprintf("%.1f", float64(after)/float64(before)), fmt.Sprintf("%.0f MB", float64(peak)/1e6))...)
	return nil
}

// flood starts hostile input, as a user without rights if it comes over a socket.
func (d *daemon) flood(kind string) (end func(), err error) {
	if kind != "clients" {
		return startFlood(kind, d.path("app.log"), nil)
	}
	const nobody = 65534
	return startFlood(kind, d.path("read.sock"), &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}})
}

// startFlood starts this program as one that writes to a path, or talks to a socket; it
// returns once that has begun.
func startFlood(kind, path string, attr *syscall.SysProcAttr, env ...string) (end func(), err error) {
	c := exec.Command("/proc/self/exe")
	c.Env = append(append(os.Environ(), floodVariable+"="+kind+":"+path), env...)
	c.Stderr = os.Stderr
	c.SysProcAttr = attr
	out, err := c.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := c.Start(); err != nil {
		return nil, err
	}
	if _, err := out.Read(make([]byte, 16)); err != nil {
		return nil, fmt.Errorf("the flood: %w", err)
	}
	return func() { _ = c.Process.Kill(); _ = c.Wait() }, nil
}

// latencies has addresses banned, one after the other, and before each a program of its
// own echo a byte.
func (d *daemon) latencies(k hostile, from, bans, retries int) (all, echoes []time.Duration, err error) {
	echo := exec.Command("/proc/self/exe")
	echo.Env = append(os.Environ(), floodVariable+"=echo:")
	in, err := echo.StdinPipe()
	if err != nil {
		return nil, nil, err
	}
	out, err := echo.StdoutPipe()
	if err != nil {
		return nil, nil, err
	}
	if err := echo.Start(); err != nil {
		return nil, nil, err
	}
	defer func() { in.Close(); _ = echo.Wait() }()
	if _, err := out.Read(make([]byte, 16)); err != nil { // it is ready
		return nil, nil, err
	}
	// What measures is not to wait for the processor itself.
	defer first()()
	log, err := os.OpenFile(d.path("app.log"), os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		return nil, nil, err
	}
	defer log.Close()
	for i := from; i < from+bans; i++ {
		who := addr(100_000 + i)
		text := strings.Repeat(k.attack(who, i), retries)
		begun := time.Now()
		if _, err := in.Write([]byte("x")); err != nil {
			return nil, nil, err
		}
		if _, err := out.Read(make([]byte, 1)); err != nil {
			return nil, nil, err
		}
		echoes = append(echoes, time.Since(begun))
		begun = time.Now()
		if _, err := log.WriteString(text); err != nil {
			return nil, nil, err
		}
		for !d.banned("app", who) {
			if time.Since(begun) > time.Minute {
				return nil, nil, fmt.Errorf("%v is not banned within a minute; log:\n%s", who, d.log())
			}
			if err := d.b.ctx.Err(); err != nil {
				return nil, nil, err
			}
			time.Sleep(50 * time.Microsecond)
		}
		all = append(all, time.Since(begun))
		time.Sleep(time.Duration(5+i*7%20) * time.Millisecond)
	}
	return all, echoes, nil
}

// first has this process come first when it wants the processor, until it is called.
func first() (again func()) {
	pid := os.Getpid()
	set := func(nice int) {
		tasks, _ := os.ReadDir(fmt.Sprintf("/proc/%d/task", pid))
		for _, t := range tasks { // each thread has its own
			if tid, err := strconv.Atoi(t.Name()); err == nil {
				_ = syscall.Setpriority(syscall.PRIO_PROCESS, tid, nice)
			}
		}
	}
	set(-20)
	return func() { set(0) }
}
