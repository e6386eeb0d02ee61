package main

import (
	"fmt"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"bailiff/bench/figures"
	"bailiff/bench/measure"
)

// What a jail whose log is flooded takes from others: the daemon has one core, the flood and
// what measures have another one.

const (
	// promisedFair is how long it takes from a line of the quiet jail to the kernel, in 99 of
	// 100 times.
	promisedFair = 5 * time.Millisecond
	// floodRate is how many lines a second the other jail's log gets, floodWrite with
	// each write.
	floodRate, floodWrite = 200_000, 20
)

const fairJails = burstJail + `[jail.flooded]
enabled = true
filter = "django-auth"
logpath = "@D@/flooded.log"
maxretry = 3
findtime = "1h"
bantime = "1h"
ban.prefix6 = 128
`

// torrents are kinds of lines that come by the hundred thousand.
var torrents = []struct {
	name string
	line func(b []byte, stamp string, i int) []byte
}{
	{"lines of nobody", func(b []byte, stamp string, i int) []byte {
		return strconv.AppendInt(append(append(b, stamp...), " django.server page read by "...), int64(i), 10)
	}},
	{"failures of 1,000 who are banned", func(b []byte, stamp string, i int) []byte {
		return torrentLine(b, stamp, i%1000)
	}},
	{"failures of ever new addresses", func(b []byte, stamp string, i int) []byte {
		return torrentLine(b, stamp, i)
	}},
	{"a thousand new bans a second among them", func(b []byte, stamp string, i int) []byte {
		who := i % 1000
		if i%67 < 1 { // three of each
			who = 1000 + i/67/3
		}
		return torrentLine(b, stamp, who)
	}},
}

// addr6 is the i-th of many addresses of 2001:db8::/32.
func addr6(i int) netip.Addr {
	return netip.AddrFrom16([16]byte{0x20, 0x01, 0x0d, 0xb8, byte(i >> 24), byte(i >> 16), byte(i >> 8), byte(i), 15: 1})
}

func torrentLine(b []byte, stamp string, i int) []byte {
	return addr6(i).AppendTo(append(append(b, stamp...), " django.security Login failure "...))
}

// pour writes lines of a kind for ever, so many a second.
func pour(f *os.File, kind int) error {
	begun := time.Now()
	var b []byte
	for i := 0; ; {
		text := stamp()
		b = b[:0]
		for range floodWrite {
			b = append(torrents[kind].line(b, text, i), '\n')
			i++
		}
		if _, err := f.Write(b); err != nil {
			return err
		}
		if i%(floodRate/1000) == 0 {
			time.Sleep(time.Until(begun.Add(time.Duration(i) * time.Second / floodRate)))
		}
	}
}

// firstOfAll has this process and its children come before other programs of the machine,
// which are not what is measured, until it is called. Where the kernel groups processes by
// their sessions, a process's own priority counts among those of its session.
func firstOfAll() (again func()) {
	set := func(nice int) {
		_ = os.WriteFile("/proc/self/autogroup", []byte(strconv.Itoa(nice)), 0)
	}
	set(-20)
	return func() { set(0) }
}

// pin has this process run on one core only, until it is called.
func pin(core int) (again func(), err error) {
	var before, one unix.CPUSet
	if err := unix.SchedGetaffinity(0, &before); err != nil {
		return nil, err
	}
	one.Set(core)
	set := func(s *unix.CPUSet) {
		tasks, _ := os.ReadDir("/proc/self/task")
		for _, t := range tasks { // each thread has its own
			if tid, err := strconv.Atoi(t.Name()); err == nil {
				_ = unix.SchedSetaffinity(tid, s)
			}
		}
	}
	set(&one)
	return func() { set(&before) }, nil
}

// fair: from a line of a quiet jail to the kernel while another jail's log is flooded.
func (b *bench) fair() error {
	bans := b.some(1000, 300)
	b.head(fmt.Sprintf("From the write of a line of a quiet jail to the element in the kernel, %d bans one after the other, while another\njail's log gets %s lines a second; the daemon has one core (`taskset`), flood and measuring another one:",
		bans, measure.Thousands(floodRate)),
		"flood", "median", "90 %", "99 %", "worst", "an echo: 99 %", "written, lines/s", "read, lines/s", "the daemon's log", "resident at most")
	defer firstOfAll()()
	alone, err := b.fairBeside(-1, bans, 0)
	for kind := 0; kind < len(torrents) && err == nil; kind++ {
		_, err = b.fairBeside(kind, bans, alone)
	}
	return err
}

// fairBeside measures beside a flood, or none, and returns the time for 99 of 100 bans. What
// the machine is late without a flood, it may be with one: alone is that.
func (b *bench) fairBeside(kind, bans int, alone time.Duration) (late time.Duration, err error) {
	name := "none"
	if kind >= 0 {
		name = torrents[kind].name
	}
	d, err := b.daemon(name, fairJails)
	if err != nil {
		return 0, err
	}
	d.wrap = []string{"taskset", "-c", "0"}
	for _, log := range []string{"app.log", "flooded.log"} {
		if err := d.write(log, ""); err != nil {
			return 0, err
		}
	}
	if err := d.start(); err != nil {
		return 0, err
	}
	defer func() { _ = d.stop() }()
	if err := d.until("the jails are there", 30*time.Second, func() bool { s, err := d.api.Status(); return err == nil && len(s.Jails) == 2 }); err != nil {
		return 0, err
	}
	again, err := pin(1)
	if err != nil {
		return 0, err
	}
	defer again()
	time.Sleep(time.Second) // the start is over
	begun := time.Now()
	end := func() {}
	if kind >= 0 {
		if end, err = d.torrent(kind); err != nil {
			return 0, err
		}
		defer func() { end() }()
		time.Sleep(2 * time.Second) // it has begun
	}
	all, echoes, err := d.latencies(hostile{attack: failure}, 0, bans, 1)
	if err != nil {
		return 0, err
	}
	took := time.Since(begun)
	read := d.readOf("flooded")
	end()
	end = func() {}
	fi, err := os.Stat(d.path("flooded.log"))
	if err != nil {
		return 0, err
	}
	own, err := os.Stat(d.path("log"))
	if err != nil {
		return 0, err
	}
	peak, err := measure.Peak(d.cmd.Process.Pid)
	if err != nil {
		return 0, err
	}
	line := int64(1)
	if kind >= 0 {
		line = int64(len(torrents[kind].line(nil, stamp(), 1_000_000)) + 1)
	}
	rate := func(bytes int64) string {
		return measure.Thousands(int(float64(bytes/line) / took.Seconds()))
	}
	echo := measure.Quantile(echoes, 0.99)
	late = measure.Quantile(all, 0.99)
	b.row(name, measure.Round(measure.Median(all)), measure.Round(measure.Quantile(all, 0.9)), measure.Round(late), measure.Round(measure.Quantile(all, 1)), measure.Round(echo),
		rate(fi.Size()), rate(read), fmt.Sprintf("%.1f MB", float64(own.Size())/1e6), fmt.Sprintf("%.0f MB", float64(peak)/1e6))
	figures.Note("from line to kernel, 99 of 100, beside "+pick(kind < 0, "no flood", "a flood of "+name)+", ms", late.Seconds()*1e3)
	if kind >= 0 {
		b.promise(late <= promisedFair+max(alone-promisedFair, 0)+echo || b.busy(),
			"beside %s a quiet jail's ban takes %v in 99 of 100 times, promised are %v (without a flood: %v; an echo: %v)", name, late, promisedFair, alone, echo)
	}
	return late, os.Remove(d.path("flooded.log"))
}

// readOf is how many bytes of its logs a jail has read.
func (d *daemon) readOf(jail string) (n int64) {
	s, err := d.api.Status()
	if err != nil {
		return 0
	}
	for _, j := range s.Jails {
		if j.Name == jail {
			for _, f := range j.Files {
				n += f.Offset
			}
		}
	}
	return n
}

// torrent starts a process that writes lines of a kind.
func (d *daemon) torrent(kind int) (end func(), err error) {
	return startFlood(fmt.Sprintf("torrent-%d", kind), d.path("flooded.log"), &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}, "GOMAXPROCS=1")
}

// torrentKind is the kind that a process is told to write.
func torrentKind(text string) (kind int, ok bool) {
	n, ok := strings.CutPrefix(text, "torrent-")
	if !ok {
		return 0, false
	}
	kind, err := strconv.Atoi(n)
	return kind, err == nil && kind < len(torrents)
}
