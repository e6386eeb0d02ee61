// Command daemon measures bailiff and the real fail2ban side by side, in one run,
// in network namespaces of their own with the kernel's nftables: bans that come
// back after a start, the time from a written line to the kernel, what an idle
// daemon costs, and memory. It prints Markdown tables, and with --write puts them
// into bench/README.md.
//
// Run it as root from the project's root: make bench.
package main

import (
	"bytes"
	"cmp"
	"context"
	"flag"
	"fmt"
	"io"
	"net/netip"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"bailiff/bench/figures"
	"bailiff/bench/measure"
	"bailiff/bench/section"
	"bailiff/pkg/ban"
	"bailiff/pkg/clock"
	"bailiff/pkg/netlab"
	"bailiff/pkg/store"
)

func main() {
	bailiff := flag.String("bailiff", "bin/bailiff", "the `program`")
	write := flag.String("write", "", "a `file` in which the section of each part is replaced")
	million := flag.Bool("million", false, "bring a million bans back, too")
	quick := flag.Bool("quick", false, "measure less: to try the program")
	only := flag.String("only", "", "`parts` to measure, with commas: "+strings.Join(partNames(), ", ")+"; disk-N for the Nth load of disk alone, busy-bailiff for busy without fail2ban")
	before := flag.String("before", "", "an older `program` that is measured beside, for busy-bailiff, bursts, start, disk, hour and search")
	burst := flag.Int("burst", 1, "lines of a busy log that are written at once")
	lines := flag.Int("lines", 0, "of a busy log, in place of a million (bursts: 200,000)")
	rounds := flag.Int("rounds", 3, "of what is measured beside an older program, in turns")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	b := &bench{ctx: ctx, prog: *bailiff, before: *before, burst: *burst, lines: *lines, rounds: *rounds, quick: *quick, withMillion: *million}
	if err := b.run(*write, *only); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

const jail = "django-auth"

// both are the programs that are compared.
var both = []string{"fail2ban", "bailiff"}

// bench is one run.
type bench struct {
	ctx         context.Context
	dir         string
	lab         *netlab.Lab
	prog        string
	before      string // an older one; empty: there is none
	out         bytes.Buffer
	hosts       int
	burst       int // lines of a busy log that are written at once
	lines       int // of a busy log; 0: as many as each part has
	rounds      int
	quick       bool
	withMillion bool
	load        string // of disk, by its number; empty: all
}

// parts in the order in which they are measured, each with a section of its own: daemon/NAME.
// Those that are slow are measured only where they are asked for by name.
var parts = []struct {
	name    string
	measure func(*bench) error
	slow    bool
}{
	{"restarts", (*bench).restarts, false},
	{"latency", (*bench).latency, false},
	{"idle", (*bench).idle, false},
	{"busy", func(b *bench) error { return b.busy(cmp.Or(b.lines, b.some(1_000_000, 20_000)), b.burst, both) }, false},
	{"bursts", (*bench).bursts, false},
	{"disk", (*bench).disk, false},
	{"start", (*bench).memory, false},
	{"watched", (*bench).watched, false},
	{"search", (*bench).search, false},
	{"hour", (*bench).hour, true},
}

func partNames() (out []string) {
	for _, p := range parts {
		out = append(out, p.name)
	}
	return out
}

// some is a number of what is measured, or a smaller one where it is to be quick.
func (b *bench) some(all, few int) int {
	if b.quick {
		return few
	}
	return all
}

func (b *bench) run(write, only string) (err error) {
	for _, prog := range []*string{&b.prog, &b.before} {
		if *prog == "" {
			continue
		}
		if *prog, err = filepath.Abs(*prog); err != nil {
			return err
		}
	}
	if b.dir, err = os.MkdirTemp("", "bailiff-bench-"); err != nil {
		return err
	}
	defer os.RemoveAll(b.dir)
	b.lab = netlab.New(fmt.Sprintf("bench-%d", os.Getpid()))
	defer func() { err = cmp.Or(err, b.lab.Close()) }()
	asked := strings.Split(only, ",")
	measured := false
	for _, p := range parts {
		name, measure := p.name, p.measure
		for _, a := range asked {
			if load, ok := strings.CutPrefix(a, "disk-"); ok && name == "disk" {
				name, b.load = a, load
			}
			if a == "busy-bailiff" && name == "busy" {
				name, measure = a, func(b *bench) error {
					return b.busy(cmp.Or(b.lines, b.some(1_000_000, 20_000)), b.burst, b.oursOnly())
				}
			}
		}
		if only == "" && p.slow || only != "" && !slices.Contains(asked, name) {
			continue
		}
		measured = true
		b.out.Reset()
		if err := measure(b); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		os.Stdout.Write(b.out.Bytes())
		if write != "" && name == p.name {
			if err := section.Replace(write, "daemon/"+name, strings.TrimLeft(b.out.String(), "\n")); err != nil {
				return err
			}
		}
		fmt.Println()
	}
	if !measured {
		return fmt.Errorf("there is no part %q: want some of %s", only, strings.Join(partNames(), ", "))
	}
	return figures.Save()
}

// oursOnly are the programs of which one is older than the other, or the one.
func (b *bench) oursOnly() []string {
	if b.before != "" {
		return []string{"bailiff before", "bailiff"}
	}
	return []string{"bailiff"}
}

// daemon is a program under test with a network of its own.
type daemon struct {
	b    *bench
	name string
	host *netlab.Host
	dir  string
	cmd  *exec.Cmd
	pid  int
	make func(config string) *exec.Cmd
	// stop ends it in an orderly way.
	stop func() error
	log  string
}

func (b *bench) host() (*netlab.Host, string, error) {
	b.hosts++
	h, err := b.lab.Host(fmt.Sprint("host", b.hosts))
	if err != nil {
		return nil, "", err
	}
	dir := filepath.Join(b.dir, fmt.Sprint(b.hosts))
	return h, dir, os.MkdirAll(dir, 0o755)
}

// jails is how the jails of a measurement are told: as many as asked for, each
// with two logs.
func logsOf(dir string, n int) []string {
	return []string{filepath.Join(dir, fmt.Sprintf("log-%d-a", n)), filepath.Join(dir, fmt.Sprintf("log-%d-b", n))}
}

func jailName(n int) string {
	if n == 0 {
		return jail
	}
	return fmt.Sprintf("%s-%d", jail, n)
}

func touch(paths ...string) error {
	for _, p := range paths {
		f, err := os.OpenFile(p, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
		if err != nil {
			return err
		}
		f.Close()
	}
	return nil
}

func (b *bench) bailiff(jails, maxRetry int) (*daemon, error) {
	return b.bailiffOf("bailiff", b.prog, jails, maxRetry)
}

// older is the program that is measured beside.
func (b *bench) older(jails, maxRetry int) (*daemon, error) {
	return b.bailiffOf("bailiff before", b.before, jails, maxRetry)
}

func (b *bench) bailiffOf(name, prog string, jails, maxRetry int) (*daemon, error) {
	h, dir, err := b.host()
	if err != nil {
		return nil, err
	}
	var c strings.Builder
	fmt.Fprintf(&c, "[database]\npath = %q\n", filepath.Join(dir, "db.sqlite3"))
	for n := range jails {
		logs := logsOf(dir, n)
		if err := touch(logs...); err != nil {
			return nil, err
		}
		fmt.Fprintf(&c, "[jail.%s]\nenabled = true\nfilter = %q\nlogpath = [%q, %q]\nmaxretry = %d\nbantime = \"1h\"\n", jailName(n), jail, logs[0], logs[1], maxRetry)
	}
	config := filepath.Join(dir, "bailiff.toml")
	if err := os.WriteFile(config, []byte(c.String()), 0o644); err != nil {
		return nil, err
	}
	d := &daemon{b: b, name: name, host: h, dir: dir, log: filepath.Join(dir, "out")}
	socket := filepath.Join(dir, "sock")
	d.make = func(string) *exec.Cmd {
		return h.Command(b.ctx, prog, "run", "--config", config, "--socket", socket, "--log-target", d.log)
	}
	d.stop = func() error { return exec.Command(prog, "stop", "--socket", socket).Run() }
	return d, nil
}

func (b *bench) fail2ban(jails, maxRetry int) (*daemon, error) {
	h, dir, err := b.host()
	if err != nil {
		return nil, err
	}
	conf := filepath.Join(dir, "conf")
	if out, err := exec.Command("cp", "-a", "/etc/fail2ban", conf).CombinedOutput(); err != nil {
		return nil, fmt.Errorf("%w: %s", err, out)
	}
	if err := os.RemoveAll(filepath.Join(conf, "jail.d")); err != nil {
		return nil, err
	}
	var c strings.Builder
	c.WriteString("[DEFAULT]\nbackend = auto\nbanaction = nftables\nbantime = 1h\nfindtime = 10m\n")
	fmt.Fprintf(&c, "maxretry = %d\n", maxRetry)
	for n := range jails {
		logs := logsOf(dir, n)
		if err := touch(logs...); err != nil {
			return nil, err
		}
		fmt.Fprintf(&c, "[%s]\nenabled = true\nfilter =\nfailregex = Login failure <HOST>\nport = http,https\nlogpath = %s\n          %s\n", jailName(n), logs[0], logs[1])
	}
	for name, text := range map[string]string{
		"jail.local":     c.String(),
		"fail2ban.local": fmt.Sprintf("[Definition]\ndbfile = %s\nlogtarget = %s\n", filepath.Join(dir, "db.sqlite3"), filepath.Join(dir, "out")),
	} {
		if err := os.WriteFile(filepath.Join(conf, name), []byte(text), 0o644); err != nil {
			return nil, err
		}
	}
	d := &daemon{b: b, name: "fail2ban", host: h, dir: dir, log: filepath.Join(dir, "out")}
	socket := filepath.Join(dir, "sock")
	d.make = func(string) *exec.Cmd {
		return h.Command(b.ctx, "/usr/bin/fail2ban-server", "-f", "-c", conf, "-s", socket, "-p", filepath.Join(dir, "pid"), "start")
	}
	d.stop = func() error { return exec.Command("/usr/bin/fail2ban-client", "-s", socket, "stop").Run() }
	return d, nil
}

func addr(i int) netip.Addr {
	return netip.AddrFrom4([4]byte{198, byte(18 + i>>16), byte(i >> 8), byte(i)})
}

// fill writes a database with bans; the last one is the last to be read.
func fill(path string, count int) error {
	s, err := store.Open(path, clock.System())
	if err != nil {
		return err
	}
	d := &store.Delta{Jail: jail}
	now := time.Now()
	for i := range count {
		d.Events = append(d.Events, store.Event{Ban: ban.Ban{ID: ban.Of(netip.PrefixFrom(addr(i), 32)), Start: now, End: now.Add(time.Hour)}})
	}
	if err := s.Write([]*store.Delta{d}); err != nil {
		return err
	}
	return s.Close()
}

// back measures how long it takes from the start of the program until the kernel
// has all of so many stored bans.
func (d *daemon) back(bans int) (time.Duration, error) {
	begin := time.Now()
	if err := d.start(); err != nil {
		return 0, err
	}
	var took time.Duration
	// Asking for one element costs little; the whole is counted afterwards.
	last := addr(bans - 1)
	err := d.until(10*time.Minute, func() bool {
		if !d.has(last) {
			return false
		}
		took = time.Since(begin)
		n, err := d.count()
		return err == nil && n == bans
	})
	return took, err
}

// backBy reports whether the kernel has all of so many stored bans when the program
// has run for a time: it is stopped then, while nft counts, since to list many
// elements takes nft seconds, and slows the kernel down.
func (d *daemon) backBy(bans int, after time.Duration) (bool, error) {
	if _, err := d.nft("flush", "ruleset"); err != nil {
		return false, err
	}
	begin := time.Now()
	if err := d.start(); err != nil {
		return false, err
	}
	time.Sleep(time.Until(begin.Add(after)))
	if err := d.cmd.Process.Signal(syscall.SIGSTOP); err != nil {
		return false, err
	}
	n, _ := d.count() // no set yet: none
	if err := d.cmd.Process.Signal(syscall.SIGCONT); err != nil {
		return false, err
	}
	if err := d.until(time.Minute, func() bool {
		text, _ := os.ReadFile(d.log)
		return strings.Contains(string(text), "Jail '"+jail+"' started")
	}); err != nil {
		return false, err
	}
	if err := d.end(); err != nil {
		return false, err
	}
	return n == bans, os.Remove(d.log)
}

func (b *bench) restarts() error {
	const few = 2_000
	bans := b.some(100_000, 10_000)
	type row struct {
		name string
		bans int
		took time.Duration
	}
	var rows []row
	back := func(make func(int, int) (*daemon, error), bans int, rounds int, what string) error {
		d, err := make(1, 5)
		if err != nil {
			return err
		}
		if err := fill(filepath.Join(d.dir, "db.sqlite3"), bans); err != nil {
			return err
		}
		var all []time.Duration
		if step := time.Duration(bans/1000) * time.Millisecond; bans > 10_000 {
			for after := step; len(all) == 0; after += step {
				for round := range rounds { // in all rounds
					ok, err := d.backBy(bans, after)
					if err != nil {
						return err
					}
					if !ok {
						break
					}
					if round == rounds-1 {
						all = append(all, after)
					}
				}
			}
			rounds = 0
		}
		for range rounds {
			if _, err := d.nft("flush", "ruleset"); err != nil {
				return err
			}
			took, err := d.back(bans)
			if err != nil {
				return err
			}
			all = append(all, took)
			if err := d.end(); err != nil {
				return err
			}
		}
		rows = append(rows, row{d.name + what, bans, measure.Median(all)})
		fmt.Fprintf(os.Stderr, "%s%s: %d bans back in %v\n", d.name, what, bans, all)
		return nil
	}
	if err := back(b.fail2ban, few, 1, ""); err != nil {
		return err
	}
	if err := back(b.bailiff, few, 3, ""); err != nil {
		return err
	}
	if err := back(b.bailiff, bans, 3, ""); err != nil {
		return err
	}
	if b.withMillion {
		if err := back(b.bailiff, 1_000_000, 1, ""); err != nil {
			return err
		}
	}
	fmt.Fprintf(&b.out, "Stored bans that are in the kernel's sets again after a start with empty sets\n(from the start of the program, counted by `nft`; the median of three, for 100,000\nand more the first tenth of a second and the first second by which all three, or the\none, were complete):\n\n| program | bans | time | a second |\n| --- | --- | --- | --- |\n")
	for _, r := range rows {
		fmt.Fprintf(&b.out, "| %s | %s | %s | %s |\n", r.name, measure.Thousands(r.bans), measure.Round(r.took), measure.Thousands(int(float64(r.bans)/r.took.Seconds())))
	}
	figures.Note("2,000 stored bans in the kernel after a start: times as fast as fail2ban", rows[0].took.Seconds()/rows[1].took.Seconds())
	figures.Note("100,000 stored bans in the kernel after a start, s", rows[2].took.Seconds())
	fmt.Fprintf(&b.out, "\nFor %s bans that is 1 : %.0f.\n", measure.Thousands(few), rows[0].took.Seconds()/rows[1].took.Seconds())
	return nil
}

// latency measures from the write of a line to the element in the kernel.
func (b *bench) latency() error {
	bans := b.some(200, 40)
	fmt.Fprintf(&b.out, "From the write of a line to the element in the kernel, %d bans one after the other\n(told by the kernel's own events):\n\n| program | median | 90 %% | worst |\n| --- | --- | --- | --- |\n", bans)
	for _, make := range []func(int, int) (*daemon, error){b.fail2ban, b.bailiff} {
		d, err := make(1, 1)
		if err != nil {
			return err
		}
		if err := d.start(); err != nil {
			return err
		}
		if err := d.ready(); err != nil {
			return err
		}
		time.Sleep(3 * time.Second) // the start is over
		all, err := d.latencies(bans)
		if err != nil {
			return err
		}
		if err := d.end(); err != nil {
			return err
		}
		slices.Sort(all)
		fmt.Fprintf(&b.out, "| %s | %s | %s | %s |\n", d.name, measure.Round(measure.Median(all)), measure.Round(all[len(all)*9/10]), measure.Round(all[len(all)-1]))
		if d.name == "bailiff" {
			figures.Note("from line to kernel, median, ms", measure.Median(all).Seconds()*1e3)
		}
		fmt.Fprintf(os.Stderr, "%s: from line to kernel %v, worst %v\n", d.name, measure.Median(all), all[len(all)-1])
	}
	return nil
}

func (d *daemon) latencies(bans int) ([]time.Duration, error) {
	events, stop, err := watchElements(d.host)
	if err != nil {
		return nil, err
	}
	defer stop()
	log, err := os.OpenFile(logsOf(d.dir, 0)[0], os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		return nil, err
	}
	defer log.Close()
	var all []time.Duration
	for i := range bans {
		took, err := d.banned(log, events, attacker(i))
		if err != nil {
			return nil, err
		}
		all = append(all, took)
		time.Sleep(time.Duration(5+i*7%40) * time.Millisecond)
	}
	return all, nil
}

// attacker is who is banned as the how manieth.
func attacker(i int) netip.Addr {
	if i >= 256 {
		return netip.AddrFrom4([4]byte{192, 0, 2, byte(i)})
	}
	return netip.AddrFrom4([4]byte{203, 0, 113, byte(i)})
}

// banned measures from the write of a line of somebody's to the kernel.
func (d *daemon) banned(log io.Writer, events <-chan element, who netip.Addr) (time.Duration, error) {
	begin := time.Now()
	if _, err := io.WriteString(log, begin.Format("2006-01-02 15:04:05,000")+" ERROR Login failure "+who.String()+"\n"); err != nil {
		return 0, err
	}
	for {
		select {
		case e := <-events:
			if e.addr == who {
				return e.at.Sub(begin), nil
			}
		case <-time.After(20 * time.Second):
			return 0, fmt.Errorf("%s: %v is not banned within 20 s", d.name, who)
		case <-d.b.ctx.Done():
			return 0, d.b.ctx.Err()
		}
	}
}

// idle measures what a daemon costs that has nothing to do: 10 jails, 20 files.
func (b *bench) idle() error {
	lasts, bans := time.Duration(b.some(60, 5))*time.Second, b.some(100_000, 10_000)
	fmt.Fprintf(&b.out, "Nothing to do, with 10 jails and 20 files, over %v:\n\n| program | CPU | resident |\n| --- | --- | --- |\n", lasts)
	for _, make := range []func(int, int) (*daemon, error){b.fail2ban, b.bailiff} {
		d, err := make(10, 5)
		if err != nil {
			return err
		}
		if err := d.start(); err != nil {
			return err
		}
		if err := d.ready(); err != nil {
			return err
		}
		time.Sleep(15 * time.Second)
		before, _, err := measure.Usage(d.pid)
		if err != nil {
			return err
		}
		time.Sleep(lasts)
		after, rss, err := measure.Usage(d.pid)
		if err != nil {
			return err
		}
		if err := d.end(); err != nil {
			return err
		}
		fmt.Fprintf(&b.out, "| %s | %.2f %% | %.1f MB |\n", d.name, 100*(after-before).Seconds()/lasts.Seconds(), float64(rss)/1e6)
		if d.name == "bailiff" {
			figures.Note("10 jails and 20 files, idle: % of a core", 100*(after-before).Seconds()/lasts.Seconds())
		}
		fmt.Fprintf(os.Stderr, "%s idle: %v in %v, %d bytes\n", d.name, after-before, lasts, rss)
	}
	// What a ban costs in memory.
	var sizes [2]int64
	for i, n := range []int{1, bans} {
		d, err := b.bailiff(1, 5)
		if err != nil {
			return err
		}
		if err := fill(filepath.Join(d.dir, "db.sqlite3"), n); err != nil {
			return err
		}
		if _, err := d.back(n); err != nil {
			return err
		}
		time.Sleep(15 * time.Second)
		if _, sizes[i], err = measure.Usage(d.pid); err != nil {
			return err
		}
		if err := d.end(); err != nil {
			return err
		}
	}
	figures.Note("100,000 bans: bytes resident each", float64(sizes[1]-sizes[0])/float64(bans))
	fmt.Fprintf(&b.out, "\nbailiff with %s bans is resident with %.1f MB, %d bytes a ban.\n", measure.Thousands(bans), float64(sizes[1])/1e6, (sizes[1]-sizes[0])/int64(bans))
	return nil
}
