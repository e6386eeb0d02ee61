package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"bailiff/bench/figures"
	"bailiff/bench/measure"
)

// What failures cost the disk, and the processor: bytes that a daemon has written, as the
// kernel accounts for them (write_bytes of /proc/PID/io: pages made dirty), with its own log
// at the level INFO.

// load is how failures come in.
type load struct {
	name     string
	jails    int
	rate     int // failures a second, over all jails and files
	lasts    time.Duration
	promised int // bytes a failure; 0: nothing is promised
}

// disk measures loads, a quiet daemon, and what a stop writes.
func (b *bench) disk() error {
	loads := []load{
		{"2 a second", 1, 2, time.Minute, 1024},
		{"500 a second, ten jails and files", 10, 500, time.Minute, 150},
		{"20,000 a second", 1, 20_000, 20 * time.Second, 150},
	}
	quiet := time.Minute
	if n, err := strconv.Atoi(b.load); err == nil && n > 0 && n <= len(loads) {
		loads, quiet = loads[n-1:n], 0
	}
	if b.quick {
		loads = loads[:min(len(loads), 2)]
		for i := range loads {
			loads[i].lasts, loads[i].promised = 20*time.Second, 0
		}
		quiet = min(quiet, 10*time.Second)
	}
	b.diskHead()
	for _, l := range loads {
		for _, p := range b.all() {
			if l.rate > 1000 && p.name == "fail2ban" {
				continue // it is behind by far
			}
			d, err := p.make(l.jails, 1000)
			if err != nil {
				return err
			}
			row, err := b.diskOf(l, d)
			if err != nil {
				return err
			}
			b.out.WriteString(row)
		}
	}
	if quiet == 0 {
		return nil
	}
	fmt.Fprintf(&b.out, "\nNothing to do but to read a line a second in which nobody fails, over %v:\n\n| program | written | of a core |\n| --- | --- | --- |\n", quiet)
	for _, p := range b.all() {
		for _, lines := range []bool{false, true} {
			d, err := p.make(1, 1000)
			if err != nil {
				return err
			}
			if err := d.settle(); err != nil {
				return err
			}
			was, err := written(d.pid)
			if err != nil {
				return err
			}
			cpu, _, _ := measure.Usage(d.pid)
			log, err := os.OpenFile(logsOf(d.dir, 0)[0], os.O_APPEND|os.O_WRONLY, 0)
			if err != nil {
				return err
			}
			for end := time.Now().Add(quiet); time.Now().Before(end); time.Sleep(time.Second) {
				if lines {
					fmt.Fprintf(log, "%s INFO nobody has failed\n", time.Now().Format("2006-01-02 15:04:05,000"))
				}
			}
			log.Close()
			now, err := written(d.pid)
			if err != nil {
				return err
			}
			used, _, _ := measure.Usage(d.pid)
			name := p.name + ", no line"
			if lines {
				name = p.name + ", a line a second"
			}
			fmt.Fprintf(&b.out, "| %s | %s | %.2f %% |\n", name, kilo(now-was), 100*(used-cpu).Seconds()/quiet.Seconds())
			fmt.Fprintf(os.Stderr, "%s: %s\n", name, kilo(now-was))
			if err := d.end(); err != nil {
				return err
			}
		}
	}
	return nil
}

func (b *bench) diskHead() {
	fmt.Fprintf(&b.out, "Failures of addresses that fail once each, no bans: written to the disk (`write_bytes` of\n`/proc/PID/io`), until everything has come there, and by the stop after that; processor time:\n\n| failures | program | written | a failure | promised | by the stop | of a core |\n| --- | --- | --- | --- | --- | --- | --- |\n")
}

// hour measures an hour of few failures, of all programs side by side: beside the first load of
// disk it has what is done once an hour, the fold into the database.
func (b *bench) hour() error {
	l := load{"2 a second, for an hour and two minutes", 1, 2, 62 * time.Minute, 1024}
	if b.quick {
		l.name, l.lasts = "2 a second, for a minute", time.Minute
	}
	var daemons []*daemon
	for _, p := range b.all() {
		d, err := p.make(l.jails, 1000)
		if err != nil {
			return err
		}
		daemons = append(daemons, d)
	}
	rows, errs := make([]string, len(daemons)), make([]error, len(daemons))
	var all sync.WaitGroup
	for i, d := range daemons {
		all.Go(func() { rows[i], errs[i] = b.diskOf(l, d) })
	}
	all.Wait()
	b.diskHead()
	b.out.WriteString(strings.Join(rows, ""))
	return errors.Join(errs...)
}

// maker is a program and how a daemon of it is made.
type maker struct {
	name string
	make func(jails, maxRetry int) (*daemon, error)
}

// all are fail2ban, bailiff, and an older one, if there is one.
func (b *bench) all() []maker {
	out := []maker{{"fail2ban", b.fail2ban}, {"bailiff", b.bailiff}}
	if b.before != "" {
		out = append(out, maker{"bailiff before", b.older})
	}
	return out
}

// settle starts a daemon and waits until its start is over.
func (d *daemon) settle() error {
	if err := d.start(); err != nil {
		return err
	}
	if err := d.ready(); err != nil {
		return err
	}
	return d.quiet()
}

// diskOf measures one load on one program, and returns its row.
func (b *bench) diskOf(l load, d *daemon) (string, error) {
	name := d.name
	if err := d.settle(); err != nil {
		return "", err
	}
	var logs []*os.File
	for n := range l.jails {
		f, err := os.OpenFile(logsOf(d.dir, n)[0], os.O_APPEND|os.O_WRONLY, 0)
		if err != nil {
			return "", err
		}
		defer f.Close()
		logs = append(logs, f)
	}
	was, err := written(d.pid)
	if err != nil {
		return "", err
	}
	cpu, _, err := measure.Usage(d.pid)
	if err != nil {
		return "", err
	}
	begin, n := time.Now(), 0
	for time.Since(begin) < l.lasts {
		for due := int(time.Since(begin).Seconds() * float64(l.rate)); n <= due; n++ {
			who := netip.AddrFrom4([4]byte{198, byte(18 + n>>16&1), byte(n >> 8), byte(n)}) // as bans do, a benchmark's own range
			if _, err := io.WriteString(logs[n%len(logs)], time.Now().Format("2006-01-02 15:04:05,000")+" ERROR Login failure "+who.String()+"\n"); err != nil {
				return "", err
			}
		}
		time.Sleep(time.Second / time.Duration(min(l.rate, 100)))
		if b.ctx.Err() != nil {
			return "", b.ctx.Err()
		}
	}
	if err := d.quiet(); err != nil {
		return "", err
	}
	time.Sleep(6 * time.Second)
	now, err := written(d.pid)
	if err != nil {
		return "", err
	}
	used, _, err := measure.Usage(d.pid)
	if err != nil {
		return "", err
	}
	if found, err := d.found(l.jails); err != nil || found < n*99/100 {
		return "", fmt.Errorf("%s found %d failures of %d, %v", name, found, n, err)
	}
	stopped, err := d.endWritten()
	if err != nil {
		return "", err
	}
	each, promised := float64(now-was)/float64(n), "—"
	if name == "bailiff" {
		figures.Note("disk, "+l.name+": bytes written a failure", each)
	}
	if l.promised > 0 && name == "bailiff" {
		promised = fmt.Sprintf("%d at most", l.promised)
		if each > float64(l.promised) {
			return "", fmt.Errorf("%s: %.0f bytes written a failure, and %d are promised", l.name, each, l.promised)
		}
	}
	row := fmt.Sprintf("| %s | %s | %s | %.0f | %s | %s | %.2f %% |\n", l.name, name, kilo(now-was), each, promised, kilo(stopped-now), 100*(used-cpu).Seconds()/l.lasts.Seconds())
	fmt.Fprintf(os.Stderr, "%s, %s: %s, %.0f a failure, then %s, %v\n", l.name, name, kilo(now-was), each, kilo(stopped-now), used-cpu)
	return row, nil
}

// found is how many failures its jails have counted.
func (d *daemon) found(jails int) (n int, err error) {
	for j := range jails {
		out, err := exec.CommandContext(d.b.ctx, "/usr/bin/fail2ban-client", "-s", filepath.Join(d.dir, "sock"), "status", jailName(j)).CombinedOutput()
		if err != nil {
			return 0, fmt.Errorf("%w: %s", err, out)
		}
		_, text, _ := strings.Cut(string(out), "Total failed:")
		text, _, _ = strings.Cut(strings.TrimSpace(text), "\n")
		one, err := strconv.Atoi(text)
		if err != nil {
			return 0, err
		}
		n += one
	}
	return n, nil
}

// endWritten ends a daemon, and returns what it has written until it was gone: its last
// account is read while it is not waited for.
func (d *daemon) endWritten() (int64, error) {
	last, err := written(d.pid)
	if err != nil {
		return 0, err
	}
	stopped := make(chan error, 1)
	go func() { stopped <- d.stop() }()
	for {
		if n, err := written(d.pid); err == nil && n > 0 {
			last = n
		} else if err != nil {
			break
		}
		select {
		case err := <-stopped:
			if err != nil {
				return 0, err
			}
			stopped = nil
		case <-time.After(2 * time.Millisecond):
		}
		if alive(d.pid) {
			continue
		}
		break
	}
	_ = d.cmd.Wait()
	return last, nil
}

// alive reports whether a process is not a zombie yet.
func alive(pid int) bool {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return false
	}
	rest := data[bytes.LastIndexByte(data, ')')+1:]
	return len(rest) > 1 && rest[1] != 'Z'
}

// written is what a process has had written to disks.
func written(pid int) (int64, error) {
	data, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "io"))
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(data)) {
		if text, ok := strings.CutPrefix(line, "write_bytes:"); ok {
			return strconv.ParseInt(strings.TrimSpace(text), 10, 64)
		}
	}
	return 0, fmt.Errorf("process %d has no write_bytes", pid)
}

func kilo(n int64) string { return measure.Thousands(int(n)/1000) + " KB" }
