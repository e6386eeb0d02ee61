package main

import (
	"bufio"
	"fmt"
	"net"
	"net/netip"
	"os"
	"regexp"
	"strings"
	"sync/atomic"
	"time"

	"bailiff/bench/figures"
	"bailiff/bench/measure"
	"bailiff/pkg/netlab"
)

// What comes all at once: a hundred thousand new attackers in one write, and ten thousand
// bans a second for a minute, with an action and a mail for each.

const (
	// promisedBurst is until all of burstBans are in the kernel.
	promisedBurst = time.Second
	burstBans     = 100_000
	// stormRate is how many are banned a second, and promisedStorm what the daemon may have
	// resident then for all that waits, beside promisedBanned for each ban.
	stormRate      = 10_000
	promisedStorm  = 130e6
	promisedBanned = 400 // of which 225 are the ban's own: see bench/README.md
)

const burstJail = `loglevel = "INFO"
[jail.app]
enabled = true
filter = "django-auth"
logpath = "@D@/app.log"
maxretry = 1
findtime = "1h"
bantime = "1h"
ban.prefix6 = 128
`

func (b *bench) burst() error {
	if err := b.burstOnce(b.some(3, 1)); err != nil {
		return err
	}
	fmt.Fprintln(&b.out)
	return b.storm(b.some(60, 10))
}

// failuresOf is one line for each of some addresses.
func failuresOf(from, to int) []byte {
	var text []byte
	at := stamp()
	for i := from; i < to; i++ {
		text = append(torrentLine(text, at, i), '\n')
	}
	return text
}

// burstOnce has them all fail in one write.
func (b *bench) burstOnce(rounds int) error {
	b.head(fmt.Sprintf("%s new attackers in one write, each banned at once, from the write until all are in the kernel, and `nft -f`\nof the same elements (each of %d rounds):", measure.Thousands(burstBans), rounds),
		"`nft -f`", "bailiff", "promised", "resident at most", "`Ban` in the log")
	for range rounds {
		d, err := b.daemon("a burst", burstJail)
		if err != nil {
			return err
		}
		if err := d.write("app.log", ""); err != nil {
			return err
		}
		if err := d.start(); err != nil {
			return err
		}
		if err := d.until("the jail is there", 30*time.Second, func() bool { s, err := d.api.Status(); return err == nil && len(s.Jails) == 1 }); err != nil {
			return err
		}
		time.Sleep(time.Second) // the start is over
		reference, err := d.nftOf(burstBans, addr6)
		if err != nil {
			return err
		}
		lines := failuresOf(0, burstBans)
		begun := time.Now()
		if err := d.add("app.log", string(lines)); err != nil {
			return err
		}
		last := burstBans - 1
		if err := d.until("the last one is banned", time.Minute, func() bool { return d.banned("app", addr6(last)) }); err != nil {
			return err
		}
		took := time.Since(begun)
		for i := range burstBans { // what is asked of the kernel is told apart from what it is told by others
			if i%100 == 0 && !d.banned("app", addr6(i)) {
				return fmt.Errorf("the last one is banned, and %v is not", addr6(i))
			}
		}
		peak, err := measure.Peak(d.cmd.Process.Pid)
		if err != nil {
			return err
		}
		if err := d.stop(); err != nil {
			return err
		}
		told, err := d.count(regexp.MustCompile(`\] Ban 2001`))
		if err != nil {
			return err
		}
		b.row(measure.Round(reference), measure.Round(took), measure.Round(promisedBurst), fmt.Sprintf("%.0f MB", float64(peak)/1e6), measure.Thousands(told))
		figures.Note("100,000 attackers in one write: in the kernel after, s", took.Seconds())
		figures.Note("100,000 attackers in one write: to nft -f of as many elements", took.Seconds()/reference.Seconds())
		b.promise(took <= promisedBurst || b.busy(), "%d attackers at once are in the kernel after %v, promised is %v (nft -f: %v)", burstBans, took, promisedBurst, reference)
		b.promise(told == burstBans, "%d of %d bans are in the log", told, burstBans)
	}
	return nil
}

// nftOf is how long nft(8) takes for as many elements, in a table that is gone then.
func (d *daemon) nftOf(elements int, of func(int) netip.Addr) (time.Duration, error) {
	var text strings.Builder
	kind := "ipv4_addr"
	if of(0).Is6() {
		kind = "ipv6_addr"
	}
	fmt.Fprintf(&text, "table inet t {\nset s {\ntype %s\nflags timeout\nelements = {\n", kind)
	for i := range elements {
		fmt.Fprintf(&text, "%v timeout 1h,\n", of(i))
	}
	text.WriteString("}\n}\n}\n")
	if err := d.write("elements", text.String()); err != nil {
		return 0, err
	}
	begun := time.Now()
	if _, err := d.nft("-f", d.path("elements")); err != nil {
		return 0, err
	}
	took := time.Since(begun)
	_, err := d.nft("delete", "table", "inet", "t")
	return took, err
}

// count counts what matches in the daemon's log, line by line.
func (d *daemon) count(what *regexp.Regexp) (n int, err error) {
	f, err := os.Open(d.path("log"))
	if err != nil {
		return 0, err
	}
	defer f.Close()
	in := bufio.NewScanner(f)
	in.Buffer(nil, 1<<20)
	for in.Scan() {
		if what.Match(in.Bytes()) {
			n++
		}
	}
	return n, in.Err()
}

const stormTree = `[DEFAULT]
backend = auto
[app]
enabled = true
filter = app
logpath = @D@/app.log
maxretry = 1
findtime = 1h
bantime = 1h
banaction = nftables-allports
action = %(banaction)s
         note[file="@D@/noted"]
         smtp.py[host="127.0.0.1:@PORT@", sender="f2b@example.org", dest="root@example.org"]
`

// storm has a jail ban and tell of it, so many a second for a while.
func (b *bench) storm(seconds int) error {
	d, err := b.daemon("a storm", "")
	if err != nil {
		return err
	}
	var mails atomic.Int64
	port, end, err := d.mails(&mails)
	if err != nil {
		return err
	}
	defer end()
	for name, text := range map[string]string{
		"fail2ban.conf":      "[Definition]\nloglevel = INFO\n",
		"jail.conf":          strings.ReplaceAll(stormTree, "@PORT@", fmt.Sprint(port)),
		"filter.d/app.conf":  "[Definition]\nfailregex = ^ django\\.security Login failure <HOST>$\n",
		"action.d/note.conf": "[Definition]\nactionban = echo <ip> >> <file>\nactionunban =\n[Init]\nfile =\n",
	} {
		if err := os.MkdirAll(d.path("conf/filter.d"), 0o755); err != nil {
			return err
		}
		if err := os.MkdirAll(d.path("conf/action.d"), 0o755); err != nil {
			return err
		}
		if err := d.write("conf/"+name, strings.ReplaceAll(text, "@D@", d.dir)); err != nil {
			return err
		}
	}
	for _, name := range []string{"nftables.conf", "nftables-allports.conf", "smtp.py"} {
		text, err := os.ReadFile("/etc/fail2ban/action.d/" + name)
		if err != nil {
			return err
		}
		if err := d.write("conf/action.d/"+name, string(text)); err != nil {
			return err
		}
	}
	_ = os.Remove(d.path("conf/bailiff.toml"))
	if err := d.write("app.log", ""); err != nil {
		return err
	}
	if err := d.start(); err != nil {
		return err
	}
	defer func() { _ = d.stop() }()
	if err := d.until("the jail is there", 30*time.Second, func() bool { s, err := d.api.Status(); return err == nil && len(s.Jails) == 1 }); err != nil {
		return err
	}
	all := seconds * stormRate
	begun := time.Now()
	for i, each := 0, stormRate/100; i < all; i += each {
		if err := d.add("app.log", string(failuresOf(i, i+each))); err != nil {
			return err
		}
		time.Sleep(time.Until(begun.Add(time.Duration(i+each) * time.Second / stormRate)))
	}
	if err := d.until("the last one is banned", 5*time.Minute, func() bool { return d.banned("app", addr6(all-1)) }); err != nil {
		return err
	}
	late := time.Since(begun) - time.Duration(seconds)*time.Second
	for i := range all {
		if i%100 == 0 && !d.banned("app", addr6(i)) {
			return fmt.Errorf("the last one is banned, and %v is not", addr6(i))
		}
	}
	peak, err := measure.Peak(d.cmd.Process.Pid)
	if err != nil {
		return err
	}
	noted, _ := os.ReadFile(d.path("noted"))
	shed, err := d.count(regexp.MustCompile(`(?i)behind|later bans|not told`))
	if err != nil {
		return err
	}
	most := promisedStorm + promisedBanned*float64(all)
	b.head(fmt.Sprintf("%s bans a second for %d s, each with a command and a mail:", measure.Thousands(stormRate), seconds),
		"bans", "in the kernel behind the last line", "resident at most", "promised", "commands by then", "mails by then", "lines of the log on what waits")
	b.row(measure.Thousands(all), measure.Round(late), fmt.Sprintf("%.0f MB", float64(peak)/1e6), fmt.Sprintf("%.0f MB", most/1e6),
		measure.Thousands(strings.Count(string(noted), "\n")), measure.Thousands(int(mails.Load())), fmt.Sprint(shed))
	figures.Note(fmt.Sprintf("%s bans a second for %d s, each with a command and a mail: resident at most, MB", measure.Thousands(stormRate), seconds), float64(peak)/1e6)
	b.promise(float64(peak) <= most, "a storm of %d bans takes %.0f MB, promised are %.0f", all, float64(peak)/1e6, most/1e6)
	return nil
}

// mails is a mail server in the daemon's network that counts.
func (d *daemon) mails(n *atomic.Int64) (port int, end func(), err error) {
	l, err := d.host.Listen("127.0.0.1:0")
	if err != nil {
		return 0, nil, err
	}
	netlab.Serve(l, func(c net.Conn) { serveMail(c, n) })
	return l.Addr().(*net.TCPAddr).Port, func() { l.Close() }, nil
}

func serveMail(c net.Conn, n *atomic.Int64) {
	in := bufio.NewScanner(c)
	say := func(text string) { fmt.Fprintf(c, "%s\r\n", text) }
	say("220 here")
	for text := false; in.Scan(); {
		line := strings.ToUpper(in.Text())
		switch {
		case text && line == ".":
			text = false
			n.Add(1)
			say("250 ok")
		case text:
		case line == "DATA":
			text = true
			say("354 go on")
		case strings.HasPrefix(line, "QUIT"):
			say("221 bye")
			return
		default:
			say("250 ok")
		}
	}
}
