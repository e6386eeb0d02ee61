package main

import (
	"bytes"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"bailiff/bench/figures"
	"bailiff/bench/measure"
	"bailiff/jails"
)

// footprint is what a daemon takes of memory, in kB, and what a start takes.
type footprint struct {
	resident, anonymous, later int
	took, cpu                  time.Duration
}

// memory measures what ten jails with twenty files have resident, and how long all stock
// jails take to start, with the processor time of that: the clock tells the load of the
// machine, too.
func (b *bench) memory() error {
	programs, rounds := b.oursOnly(), 1
	if b.before != "" {
		rounds = b.rounds
	}
	all := map[string][]footprint{}
	n := 0
	for range rounds {
		for _, name := range programs {
			one, jails, err := b.footprint(name)
			if err != nil {
				return err
			}
			fmt.Fprintf(os.Stderr, "%s: %+v\n", name, one)
			all[name], n = append(all[name], one), jails
		}
	}
	kb := func(name string, of func(footprint) int) float64 {
		var list []int
		for _, f := range all[name] {
			list = append(list, of(f))
		}
		slices.Sort(list)
		return float64(list[len(list)/2]) / 1e3
	}
	times := func(name string, of func(footprint) time.Duration) time.Duration {
		var list []time.Duration
		for _, f := range all[name] {
			list = append(list, of(f))
		}
		return measure.Median(list)
	}
	ours := "bailiff"
	figures.Note("10 jails and 20 files: resident, MB", kb(ours, func(f footprint) int { return f.resident }))
	figures.Note("10 jails and 20 files: anonymous, MB", kb(ours, func(f footprint) int { return f.anonymous }))
	figures.Note("all stock jails up: processor time, s", times(ours, func(f footprint) time.Duration { return f.cpu }).Seconds())
	figures.Note("all stock jails up, s", times(ours, func(f footprint) time.Duration { return f.took }).Seconds())
	how := ""
	if rounds > 1 {
		how = fmt.Sprintf(" (medians of %d, in turns)", rounds)
	}
	fmt.Fprintf(&b.out, "Ten jails with twenty files, %v after the start, and %d stock jails, from the start of the program until all are up%s:\n\n| program | resident | of these anonymous | half a minute later | %d jails up | processor time of that |\n| --- | --- | --- | --- | --- | --- |\n",
		startOver, n, how, n)
	for _, name := range programs {
		fmt.Fprintf(&b.out, "| %s | %.1f MB | %.1f MB | %.1f MB | %s | %s |\n", name, kb(name, func(f footprint) int { return f.resident }), kb(name, func(f footprint) int { return f.anonymous }),
			kb(name, func(f footprint) int { return f.later }), measure.Round(times(name, func(f footprint) time.Duration { return f.took })), measure.Round(times(name, func(f footprint) time.Duration { return f.cpu })))
	}
	return nil
}

// startOver is when what a start takes has been given back: that is done after ten seconds.
const startOver = 15 * time.Second

func (b *bench) footprint(name string) (out footprint, jails int, err error) {
	make, prog := b.bailiff, b.prog
	if name != "bailiff" {
		make, prog = b.older, b.before
	}
	d, err := make(10, 5)
	if err != nil {
		return out, 0, err
	}
	if err := d.start(); err != nil {
		return out, 0, err
	}
	if err := d.ready(); err != nil {
		return out, 0, err
	}
	time.Sleep(startOver)
	if out.resident, err = statusKB(d.pid, "VmRSS:"); err != nil {
		return out, 0, err
	}
	if out.anonymous, err = statusKB(d.pid, "RssAnon:"); err != nil {
		return out, 0, err
	}
	time.Sleep(time.Duration(b.some(30, 1)) * time.Second)
	if out.later, err = statusKB(d.pid, "VmRSS:"); err != nil {
		return out, 0, err
	}
	if err := d.end(); err != nil {
		return out, 0, err
	}
	out.took, out.cpu, jails, err = b.stockJails(prog)
	return out, jails, err
}

// stockJails starts all stock jails, each with a log of its own.
func (b *bench) stockJails(prog string) (took, cpu time.Duration, n int, err error) {
	h, dir, err := b.host()
	if err != nil {
		return 0, 0, 0, err
	}
	names, err := fs.Glob(jails.FS, "*.toml")
	if err != nil {
		return 0, 0, 0, err
	}
	var c strings.Builder
	fmt.Fprintf(&c, "[database]\npath = %q\n", filepath.Join(dir, "db.sqlite3"))
	for i, name := range names {
		log := filepath.Join(dir, fmt.Sprintf("%d.log", i))
		if err := touch(log); err != nil {
			return 0, 0, 0, err
		}
		fmt.Fprintf(&c, "[jail.%s]\nenabled = true\nlogpath = [%q]\n", strings.TrimSuffix(name, ".toml"), log)
	}
	config := filepath.Join(dir, "bailiff.toml")
	if err := os.WriteFile(config, []byte(c.String()), 0o644); err != nil {
		return 0, 0, 0, err
	}
	d := &daemon{b: b, name: "bailiff", host: h, dir: dir, log: filepath.Join(dir, "out")}
	socket := filepath.Join(dir, "sock")
	d.make = func(string) *exec.Cmd {
		return h.Command(b.ctx, prog, "run", "--config", config, "--socket", socket, "--log-target", d.log)
	}
	d.stop = func() error { return exec.Command(prog, "stop", "--socket", socket).Run() }
	begin := time.Now()
	if err := d.start(); err != nil {
		return 0, 0, 0, err
	}
	if err := d.until(time.Minute, func() bool {
		text, _ := os.ReadFile(d.log)
		return bytes.Count(text, []byte("' started\n")) == len(names)
	}); err != nil {
		return 0, 0, 0, err
	}
	took = time.Since(begin)
	if cpu, _, err = measure.Usage(d.pid); err != nil {
		return 0, 0, 0, err
	}
	return took, cpu, len(names), d.end()
}

// statusKB is a line of /proc/PID/status, in kB.
func statusKB(pid int, key string) (int, error) {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(data)) {
		if text, ok := strings.CutPrefix(line, key); ok {
			return strconv.Atoi(strings.Fields(text)[0])
		}
	}
	return 0, fmt.Errorf("process %d has no %s", pid, key)
}
