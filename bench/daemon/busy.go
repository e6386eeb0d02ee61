package main

import (
	"bytes"
	"cmp"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"bailiff/bench/figures"
	"bailiff/bench/logs"
	"bailiff/bench/measure"
)

// How a log that is written to all the time is written: line by line, as by a
// syslog daemon, so many a second.
const (
	busyRate  = 20_000
	busyBurst = 20 // lines that follow each other at once
)

// busyTree is a configuration of fail2ban's with so many jails on one log, which
// find what they find and ban nobody.
func busyTree(dir string, jails int) (conf string, err error) {
	conf = filepath.Join(dir, "conf")
	if out, err := exec.Command("cp", "-a", "/etc/fail2ban", conf).CombinedOutput(); err != nil {
		return "", fmt.Errorf("%w: %s", err, out)
	}
	if err := os.RemoveAll(filepath.Join(conf, "jail.d")); err != nil {
		return "", err
	}
	var c strings.Builder
	c.WriteString("[DEFAULT]\nbackend = auto\nbanaction = nftables\nfindtime = 30d\nmaxretry = 1000000\n")
	for n := range jails {
		fmt.Fprintf(&c, "[%s]\nenabled = true\nfilter = sshd\nlogpath = %s\n", jailName(n), filepath.Join(dir, "auth.log"))
	}
	if err := os.WriteFile(filepath.Join(conf, "jail.local"), []byte(c.String()), 0o644); err != nil {
		return "", err
	}
	own := fmt.Sprintf("[Definition]\ndbfile = None\nloglevel = WARNING\nlogtarget = %s\n", filepath.Join(dir, "out"))
	if err := os.WriteFile(filepath.Join(conf, "fail2ban.local"), []byte(own), 0o644); err != nil {
		return "", err
	}
	return conf, touch(filepath.Join(dir, "auth.log"))
}

// fail2banTakes is what part of the lines fail2ban gets: it takes a quarter of an hour for all
// of them with twenty jails, and as much for each line of many as of few.
const fail2banTakes = 10

// burstLines are how many lines come in bursts.
const burstLines = 200_000

// busy measures what lines cost a daemon with 1, 5 and 20 jails on their log. Beside an older
// program it does so several times, in turns.
func (b *bench) busy(lines, burst int, names []string) error {
	written := "one by one"
	if burst > 1 {
		written = measure.Thousands(burst) + " at a time"
	}
	rounds := 1
	if slices.Contains(names, "bailiff before") {
		rounds = max(b.rounds, 1)
	}
	part, of := "", fmt.Sprintf("; medians of %d, in turns", rounds)
	if rounds == 1 {
		of = ""
	}
	if slices.Contains(names, "fail2ban") {
		part = fmt.Sprintf(" (fail2ban: a %dth of them)", fail2banTakes)
	}
	fmt.Fprintf(&b.out, "%s lines%s, written %s to one auth.log, %s a second, all jails with fail2ban's\nsshd filter (processor time for a line after the start; what one jail found%s):\n\n| program | 1 jail | 5 jails | 20 jails | 20 to 1 | failures |\n| --- | --- | --- | --- | --- | --- |\n",
		measure.Thousands(lines), part, written, measure.Thousands(busyRate), of)
	counts := []int{1, 5, 20}
	type key struct {
		name  string
		jails int
	}
	took, found := map[key][]time.Duration{}, map[string]string{}
	for _, jails := range counts {
		for range rounds {
			for _, name := range names {
				log, err := busyLog(linesOf(name, lines))
				if err != nil {
					return err
				}
				d, n, err := b.busyRun(name, jails, burst, log)
				if err != nil {
					return err
				}
				fmt.Fprintf(os.Stderr, "%s with %d jails: %v, %s failures\n", name, jails, d, n)
				if was := found[name]; was != "" && was != n {
					return fmt.Errorf("%s with %d jails found %s failures, before %s", name, jails, n, was)
				}
				took[key{name, jails}], found[name] = append(took[key{name, jails}], d), n
			}
		}
	}
	for _, name := range names {
		failures, err := strconv.Atoi(found[name])
		if err != nil {
			return err
		}
		var cells []string
		for _, jails := range counts {
			cells = append(cells, fmt.Sprintf("%.2f µs", measure.Median(took[key{name, jails}]).Seconds()*1e6/float64(linesOf(name, lines))))
		}
		ratio := measure.Median(took[key{name, 20}]).Seconds() / measure.Median(took[key{name, 1}]).Seconds()
		if name == "bailiff" {
			figures.Note("twenty jails on one log, written "+written+": processor time to one jail", ratio)
		}
		fmt.Fprintf(&b.out, "| %s | %s | %.1f | %s |\n", name, strings.Join(cells, " | "), ratio, measure.Thousands(failures))
	}
	return nil
}

// linesOf is how many of the lines a program gets.
func linesOf(name string, lines int) int {
	if name == "fail2ban" {
		return lines / fail2banTakes
	}
	return lines
}

// busyLog is an auth.log that ends now.
func busyLog(lines int) ([]byte, error) {
	var log bytes.Buffer
	start := time.Now().Add(-time.Duration(lines/20) * time.Second)
	err := logs.Write(&log, logs.Options{Kind: "auth", Lines: lines, Share: 0.1, Seed: 1, Start: start})
	return log.Bytes(), err
}

// bursts measures the same with many lines at a time, as after a rotation or a flood.
func (b *bench) bursts() error {
	return b.busy(cmp.Or(b.lines, b.some(burstLines, 20_000)), 2_000, b.oursOnly())
}

// busyRun returns the CPU time for the lines, and what a jail found.
func (b *bench) busyRun(name string, jails, burst int, log []byte) (took time.Duration, found string, err error) {
	h, dir, err := b.host()
	if err != nil {
		return 0, "", err
	}
	conf, err := busyTree(dir, jails)
	if err != nil {
		return 0, "", err
	}
	socket := filepath.Join(dir, "sock")
	d := &daemon{b: b, name: name, host: h, dir: dir, log: filepath.Join(dir, "out")}
	d.make = func(string) *exec.Cmd {
		switch name {
		case "bailiff":
			return h.Command(b.ctx, b.prog, "run", "--config", conf, "--socket", socket)
		case "bailiff before":
			return h.Command(b.ctx, b.before, "run", "--config", conf, "--socket", socket)
		}
		return h.Command(b.ctx, "/usr/bin/fail2ban-server", "-f", "-c", conf, "-s", socket, "-p", filepath.Join(dir, "pid"), "start")
	}
	client := func(args ...string) (string, error) {
		out, err := exec.CommandContext(b.ctx, "/usr/bin/fail2ban-client", append([]string{"-s", socket}, args...)...).CombinedOutput()
		return string(out), err
	}
	d.stop = func() error { _, err := client("stop"); return err }
	if err := d.start(); err != nil {
		return 0, "", err
	}
	if err := d.until(time.Minute, func() bool {
		out, err := client("status", jailName(jails-1))
		return err == nil && strings.Contains(out, "auth.log")
	}); err != nil {
		return 0, "", err
	}
	if err := d.quiet(); err != nil {
		return 0, "", err
	}
	before, _, err := measure.Usage(d.pid)
	if err != nil {
		return 0, "", err
	}
	if err := writeSteadily(filepath.Join(dir, "auth.log"), log, burst); err != nil {
		return 0, "", err
	}
	if err := d.quiet(); err != nil {
		return 0, "", err
	}
	after, _, err := measure.Usage(d.pid)
	if err != nil {
		return 0, "", err
	}
	out, err := client("status", jail)
	if err != nil {
		return 0, "", fmt.Errorf("%w: %s", err, out)
	}
	_, found, _ = strings.Cut(out, "Total failed:")
	found, _, _ = strings.Cut(strings.TrimSpace(found), "\n")
	return after - before, found, d.end()
}

// quiet waits until a daemon has nothing more to do: it takes no processor's time, and waits for
// none, as it does on a machine with other work on it.
func (d *daemon) quiet() error {
	const (
		between  = 2 * time.Second
		mostTook = 40 * time.Millisecond
		// Who is idle waits a little whenever he looks after something; who has work does all the time.
		mostWaited = between / 4
	)
	took, waited := time.Duration(-1), time.Duration(0)
	for end := time.Now().Add(30 * time.Minute); time.Now().Before(end); time.Sleep(between) {
		tookNow, _, err := measure.Usage(d.pid)
		if err != nil {
			return err
		}
		waitedNow, err := measure.Waited(d.pid)
		if err != nil {
			return err
		}
		if took >= 0 && tookNow-took <= mostTook && waitedNow-waited <= mostWaited {
			return d.b.ctx.Err()
		}
		took, waited = tookNow, waitedNow
	}
	return fmt.Errorf("%s is busy without an end", d.name)
}

// writeSteadily appends lines, so many with one write.
func writeSteadily(path string, log []byte, burst int) error {
	f, err := os.OpenFile(path, os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	begin := time.Now()
	for n, slept := 0, 0; len(log) > 0; {
		end := 0
		for range burst {
			if i := bytes.IndexByte(log[end:], '\n'); i >= 0 {
				end += i + 1
				n++
			}
		}
		if _, err := f.Write(log[:end]); err != nil {
			return err
		}
		if log = log[end:]; n-slept >= busyBurst {
			slept = n
			time.Sleep(time.Until(begin.Add(time.Duration(n) * time.Second / busyRate)))
		}
	}
	return f.Close()
}
