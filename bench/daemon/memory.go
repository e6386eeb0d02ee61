package main

import (
	"bytes"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"bailiff/bench/figures"
	"bailiff/bench/measure"
	"bailiff/jails"
)

// memory measures what ten jails with twenty files have resident, and how long all stock
// jails take to start, with the processor time of that: the clock tells the load of the
// machine, too.
func (b *bench) memory() error {
	d, err := b.bailiff(10, 5)
	if err != nil {
		return err
	}
	if err := d.start(); err != nil {
		return err
	}
	if err := d.ready(); err != nil {
		return err
	}
	time.Sleep(15 * time.Second) // what a start takes is given back after ten
	resident, err := statusKB(d.pid, "VmRSS:")
	if err != nil {
		return err
	}
	anonymous, err := statusKB(d.pid, "RssAnon:")
	if err != nil {
		return err
	}
	if err := d.end(); err != nil {
		return err
	}
	took, cpu, n, err := b.stockJails()
	if err != nil {
		return err
	}
	figures.Note("10 jails and 20 files: resident, MB", float64(resident)/1e3)
	figures.Note("10 jails and 20 files: anonymous, MB", float64(anonymous)/1e3)
	figures.Note("all stock jails up: processor time, s", cpu.Seconds())
	figures.Note("all stock jails up, s", took.Seconds())
	fmt.Fprintf(&b.out, "\n| measure | bailiff |\n| --- | --- |\n| 10 jails, 20 files: resident | %.1f MB |\n| of these anonymous | %.1f MB |\n| %d stock jails, from the start of the program until all are up | %s |\n| processor time of that | %s |\n",
		float64(resident)/1e3, float64(anonymous)/1e3, n, measure.Round(took), measure.Round(cpu))
	return nil
}

// stockJails starts all stock jails, each with a log of its own.
func (b *bench) stockJails() (took, cpu time.Duration, n int, err error) {
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
		return h.Command(b.ctx, b.prog, "run", "--config", config, "--socket", socket, "--log-target", d.log)
	}
	d.stop = func() error { return exec.Command(b.prog, "stop", "--socket", socket).Run() }
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
