package main

import (
	"bufio"
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"time"

	"bailiff/bench/logs"
	"bailiff/bench/measure"
	"bailiff/pkg/control"
)

// What docs/bounds.md says that a jail takes whose log tells of more and more addresses,
// and how many times as long as `wc -l` a log is read.
const (
	promisedResident = 110e6
	promisedReading  = 25.0
)

// memory: what millions of addresses take, and how long it takes to read a log.
func (b *bench) memory() error {
	if err := b.addresses(b.some(6_000_000, 1_000_000)); err != nil {
		return err
	}
	return b.reading(b.some(1_000_000, 300_000))
}

// addresses has a log tell of so many that each fail once.
func (b *bench) addresses(count int) error {
	d, err := b.daemon("addresses", "loglevel = \"WARNING\"\n[jail.app]\nenabled = true\nlogpath = \"@D@/app.log\"\nfilter = \"django-auth\"\nfindtime = \"1h\"\n")
	if err != nil {
		return err
	}
	f, err := os.Create(d.path("app.log"))
	if err != nil {
		return err
	}
	defer f.Close()
	w := bufio.NewWriterSize(f, 1<<20)
	now := stamp()
	for i := range count {
		fmt.Fprintf(w, "%s ERROR Login failure 2001:db8:%x:%x::1\n", now, i>>16, i&0xffff)
	}
	if err := w.Flush(); err != nil {
		return err
	}
	fi, err := f.Stat()
	if err != nil {
		return err
	}
	if err := d.start(); err != nil {
		return err
	}
	defer func() { _ = d.stop() }()
	offset := regexp.MustCompile(`"offset": ?(\d+)`)
	if err := d.until("it is read", 20*time.Minute, func() bool {
		time.Sleep(50 * time.Millisecond)
		out, err := exec.CommandContext(b.ctx, b.prog, "status", "app", "--json", "--socket", d.socket).Output()
		m := offset.FindSubmatch(out)
		return err == nil && m != nil && string(m[1]) == strconv.FormatInt(fi.Size(), 10)
	}); err != nil {
		return err
	}
	if _, err := d.api.Ban("app", control.BanRequest{IPs: []string{"192.0.2.66"}}); err != nil {
		return err
	}
	peak, err := measure.Peak(d.cmd.Process.Pid)
	if err != nil {
		return err
	}
	_, now2, err := measure.Usage(d.cmd.Process.Pid)
	if err != nil {
		return err
	}
	b.head("Memory of a jail with a database, whose log tells of more and more addresses that fail once each:", "addresses", "resident at most", "resident then", "docs/bounds.md")
	b.row(measure.Thousands(count), fmt.Sprintf("%.0f MB", float64(peak)/1e6), fmt.Sprintf("%.0f MB", float64(now2)/1e6), fmt.Sprintf("%.0f MB", promisedResident/1e6))
	b.promise(float64(peak) <= promisedResident, "%s addresses take %.0f MB, docs/bounds.md says %.0f", measure.Thousands(count), float64(peak)/1e6, promisedResident/1e6)
	fmt.Fprintln(&b.out)
	return nil
}

// reading a log, on one core, in turns with wc.
func (b *bench) reading(lines int) error {
	path := b.dir + "/auth.log"
	var log bytes.Buffer
	if err := logs.Write(&log, logs.Options{Kind: "auth", Lines: lines, Share: 0.1, Seed: 1, Start: time.Now().Add(-time.Duration(lines/20) * time.Second)}); err != nil {
		return err
	}
	if err := os.WriteFile(path, log.Bytes(), 0o644); err != nil {
		return err
	}
	// By the processor's time: others at work on the machine make neither slower.
	cost := func(name string, args ...string) (time.Duration, error) {
		c := exec.CommandContext(b.ctx, name, args...)
		c.Env = append(os.Environ(), "GOMAXPROCS=1", "LC_ALL=C")
		if err := c.Run(); err != nil {
			return 0, fmt.Errorf("%s: %w", name, err)
		}
		return c.ProcessState.UserTime() + c.ProcessState.SystemTime(), nil
	}
	var ours, wc []time.Duration
	for range b.some(5, 3) {
		a, err := cost(b.prog, "regex", "--out", "id", path, "sshd")
		if err != nil {
			return err
		}
		// wc is over in a moment: several times, or it can't be told from its start.
		var sum time.Duration
		for range 5 {
			t, err := cost("wc", "-l", path)
			if err != nil {
				return err
			}
			sum += t
		}
		ours, wc = append(ours, a), append(wc, sum/5)
	}
	ratio := float64(measure.Median(ours)) / float64(measure.Median(wc))
	b.head(fmt.Sprintf("An auth.log of %s lines, a tenth of attacks, read by `bailiff regex --out id` and by `wc -l`, processor time, in turns\n(medians of %d):", measure.Thousands(lines), len(ours)), "`wc -l`", "bailiff", "bailiff to wc", "promised")
	b.row(measure.Round(measure.Median(wc)), measure.Round(measure.Median(ours)), fmt.Sprintf("%.1f", ratio), fmt.Sprintf("%.0f at most", promisedReading))
	b.promise(ratio <= promisedReading, "a log is read in %.1f times the time of `wc -l`, promised are %.0f", ratio, promisedReading)
	return nil
}
