// Command read measures how fast logs are read: bailiff and Debian's
// fail2ban-regex with its fastest options and its unchanged filters, beside
// sshguard's parser, ripgrep and wc, on the same generated logs, one after the
// other in several rounds. A figure is told only where bailiff and fail2ban found
// the same failures, line by line. It prints Markdown tables, and with --write puts
// them into a document.
package main

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"bailiff/bench/figures"
	"bailiff/bench/logs"
	"bailiff/bench/measure"
	"bailiff/bench/section"
	"bailiff/pkg/config"
	fail2banconf "bailiff/pkg/config/fail2ban"
	"bailiff/pkg/tags"
)

func main() {
	lines := flag.Int("lines", 1_000_000, "of auth.log; other logs have half")
	rounds := flag.Int("rounds", 3, "of each program")
	long := flag.Int("long", 10, "how many times as long the log is in which a start counts little; 0: there is none")
	write := flag.String("write", "", "a `file` whose section is replaced")
	flag.Parse()
	if err := run(*lines, *rounds, *long, *write); err != nil {
		fmt.Fprintln(os.Stderr, "read:", err)
		os.Exit(1)
	}
}

type bench struct {
	dir    string
	rounds int
	out    strings.Builder
}

func run(lines, rounds, long int, write string) error {
	dir, err := os.MkdirTemp("", "bailiff-read-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	b := &bench{dir: dir, rounds: rounds}
	if err := b.auth(lines); err != nil {
		return err
	}
	if long > 0 {
		if err := b.long(lines * long); err != nil {
			return err
		}
	}
	if err := b.ripgrep(lines); err != nil {
		return err
	}
	if err := b.others(lines / 2); err != nil {
		return err
	}
	if err := b.report(lines); err != nil {
		return err
	}
	if err := figures.Save(); err != nil {
		return err
	}
	if write == "" {
		fmt.Print(b.out.String())
		return nil
	}
	return section.Replace(write, "reading", b.out.String())
}

// log generates a log and returns its path.
func (b *bench) log(kind string, lines int, share float64) (string, error) {
	path := filepath.Join(b.dir, fmt.Sprintf("%s-%g.log", kind, share))
	f, err := os.Create(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	// It ends now: fail2ban takes lines of the future for those of last year.
	start := time.Now().Add(-time.Duration(lines/20) * time.Second)
	if err := logs.Write(f, logs.Options{Kind: kind, Lines: lines, Share: share, Seed: 1, Start: start}); err != nil {
		return "", err
	}
	return path, f.Close()
}

// program is one of those that are compared.
type program struct {
	name  string
	args  []string
	cores string // as taskset has them
	stdin string // a file
	rows  [][]byte
	times []time.Duration
	cpu   []time.Duration // the processor's, user and system
	peak  int64           // resident, in bytes
}

func (p *program) run() error {
	c := exec.Command("taskset", append([]string{"-c", p.cores}, p.args...)...)
	var out, errs bytes.Buffer
	c.Stdout, c.Stderr = &out, &errs
	if p.stdin != "" {
		f, err := os.Open(p.stdin)
		if err != nil {
			return err
		}
		defer f.Close()
		c.Stdin = f
	}
	began := time.Now()
	err := c.Start()
	if err == nil {
		done, peak := make(chan struct{}), make(chan int64)
		go func() { peak <- watch(c.Process.Pid, done) }()
		err = c.Wait()
		p.times = append(p.times, time.Since(began))
		p.cpu = append(p.cpu, c.ProcessState.UserTime()+c.ProcessState.SystemTime())
		close(done)
		p.peak = max(p.peak, <-peak)
	}
	if err != nil {
		return fmt.Errorf("%s: %w: %s", strings.Join(p.args, " "), err, errs.String())
	}
	p.rows = bytes.Split(out.Bytes(), []byte("\n"))
	return nil
}

func (p *program) median() time.Duration {
	t := slices.Clone(p.times)
	slices.Sort(t)
	return t[len(t)/2]
}

// compare runs programs in turns. The first two must print the same.
func (b *bench) compare(programs []*program) error {
	for range b.rounds {
		for _, p := range programs {
			if err := p.run(); err != nil {
				return err
			}
		}
		for i, row := range programs[0].rows {
			if i >= len(programs[1].rows) || !bytes.Equal(row, programs[1].rows[i]) {
				return fmt.Errorf("%s and %s find different failures, from the one with number %d on", programs[0].name, programs[1].name, i+1)
			}
		}
		if len(programs[0].rows) != len(programs[1].rows) {
			return fmt.Errorf("%s finds %d failures, %s %d", programs[0].name, len(programs[0].rows)-1, programs[1].name, len(programs[1].rows)-1)
		}
	}
	return nil
}

func bailiff(cores, log, filter string) *program {
	return &program{name: "bailiff", cores: cores, args: []string{"bin/bailiff", "regex", "--config", "/etc/fail2ban", "--out", "id", log, filter}}
}

func fail2ban(cores, log, filter string) *program {
	return &program{name: "fail2ban-regex", cores: cores, args: []string{"/usr/bin/fail2ban-regex", "-o", "id", log, filter}}
}

// grep are the failures of sshd as alternatives for ripgrep, in full.
const grep = `sshd\[\d+\]: (?:Failed (?:password|publickey) for (?:invalid user )?.* from \S+ port \d+ ssh2(?:: .*)?$|Invalid user .* from \S+ port \d+$|` +
	`User .* from \S+ not allowed because not listed in AllowUsers$|error: maximum authentication attempts exceeded for .* from \S+ port \d+ ssh2 \[preauth\]$|` +
	`(?:Connection closed by|Disconnected from|Disconnecting) (?:authenticating|invalid) user .* \S+ port \d+(?:: .*)? \[preauth\]$)`

// full is all of what fail2ban's sshd filter looks for, in one expression of
// ripgrep's: the prefregex with every failregex in it, without look-around, and
// without captures but those of alternatives.
func full(mode string) (string, error) {
	given := &tags.Options{}
	given.Set("mode", mode)
	f, err := fail2banconf.ReadFilter("/etc/fail2ban", "sshd", given)
	if err != nil {
		return "", err
	}
	def, err := config.FromFail2ban(f)
	if err != nil {
		return "", err
	}
	const addr = `(?:(?:\d{1,3}(?:\.\d{1,3}){3})|\[?[0-9a-fA-F:]+\]?)`
	const host = `(?:::f{4,6}:)?(?:` + addr + `|[\w\-.^_]*\w)`
	open, shut := regexp.MustCompile(`<F-[A-Z0-9_-]+>`), regexp.MustCompile(`</F-[A-Z0-9_-]+>`)
	around := regexp.MustCompile(`\(\?<?[!=][^()]*\)`)
	plain := func(s string) string {
		s = strings.NewReplacer("<HOST>", host, "<ADDR>", addr).Replace(s)
		return around.ReplaceAllString(open.ReplaceAllString(shut.ReplaceAllString(s, ")"), "(?:"), "")
	}
	var list []string
	for _, x := range def.Failregex {
		text := x.Text
		switch { // these ask whether a group took part
		case strings.HasPrefix(text, "^Failed publickey for invalid"):
			text = `^Failed publickey for invalid user .*? from <HOST>(?: (?:port \d+|on \S+)){0,2}(?: ssh\d*)?`
		case strings.Contains(text, "cond_inv"):
			text = `^Failed \S+ for (?:invalid user )?.*? from <HOST>(?: (?:port \d+|on \S+)){0,2}(?: ssh\d*)?`
		}
		list = append(list, strings.TrimPrefix(plain(text), "^"))
	}
	before, _, ok := strings.Cut(def.Prefregex.Text, "<F-CONTENT>")
	if !ok {
		return "", errors.New("sshd has no content")
	}
	return `^\w{3} .\d \d\d:\d\d:\d\d ?` + strings.TrimPrefix(plain(before), "^") + "(?:" + strings.Join(list, "|") + ")", nil
}

// ripgrep compares with ripgrep on all expressions of the filter, mode aggressive.
func (b *bench) ripgrep(lines int) error {
	pattern, err := full("aggressive")
	if err != nil {
		return err
	}
	fmt.Fprint(&b.out, "One core, with all expressions of sshd's mode aggressive; `rg -c` has them in its syntax, and counts lines\nwhere bailiff captures, and follows connections:\n\n| lines of attacks | `rg -c`, lines/s | bailiff | |\n| --- | --- | --- | --- |\n")
	for _, share := range []float64{0, 0.01, 0.1} {
		log, err := b.log("auth", lines, share)
		if err != nil {
			return err
		}
		ours, theirs := bailiff("0", log, "sshd[mode=aggressive]"), &program{name: "rg", cores: "0", args: []string{"rg", "-c", pattern, log}}
		for range b.rounds {
			for _, p := range []*program{ours, theirs} {
				if err := p.run(); err != nil {
					return err
				}
			}
		}
		rate := func(p *program) float64 { return float64(lines) / p.median().Seconds() }
		fmt.Fprintf(&b.out, "| %g %% | %s | %s | 1 : %.2f |\n", 100*share, measure.Thousands(int(rate(theirs))), measure.Thousands(int(rate(ours))), rate(ours)/rate(theirs))
		figures.Note(fmt.Sprintf("reading, %g %% of attacks, all of sshd's expressions: to rg -c", 100*share), rate(ours)/rate(theirs))
		if err := os.Remove(log); err != nil {
			return err
		}
	}
	b.out.WriteByte('\n')
	return nil
}

func (b *bench) auth(lines int) error {
	fmt.Fprintf(&b.out, "auth.log with %d lines, fail2ban's own sshd filter, medians of %d rounds; the same failures were found:\n\n", lines, b.rounds)
	fmt.Fprint(&b.out, "| lines of attacks | failures | fail2ban-regex, lines/s | bailiff, one core | | bailiff, two cores | |\n| --- | --- | --- | --- | --- | --- | --- |\n")
	var beside string
	for _, share := range []float64{0, 0.01, 0.1, 0.5, 1} {
		log, err := b.log("auth", lines, share)
		if err != nil {
			return err
		}
		ours, theirs, both := bailiff("0", log, "sshd"), fail2ban("0", log, "sshd"), bailiff("0,1", log, "sshd")
		both.name = "bailiff, two cores"
		list := []*program{ours, theirs, both}
		if share > 0 { // rg fails where it finds nothing
			list = append(list, &program{name: "`rg -c`, the failures' full expressions", cores: "0", args: []string{"rg", "-c", "--no-unicode", grep, log}})
		}
		if share == 0.1 {
			list = append(list, &program{name: "`wc -l`", cores: "0", args: []string{"wc", "-l", log}})
			if parser := sshguard(b.dir); parser != "" {
				list = append(list, &program{name: "sshguard's `sshg-parser`", cores: "0", args: []string{parser}, stdin: log})
			}
		}
		if err := b.compare(list); err != nil {
			return fmt.Errorf("auth.log, %g %%: %w", 100*share, err)
		}
		rate := func(p *program) float64 { return float64(lines) / p.median().Seconds() }
		fmt.Fprintf(&b.out, "| %g %% | %d | %s | %s | 1 : %.0f | %s | 1 : %.0f |\n", 100*share, len(ours.rows)-1, measure.Thousands(int(rate(theirs))),
			measure.Thousands(int(rate(ours))), rate(ours)/rate(theirs), measure.Thousands(int(rate(both))), rate(both)/rate(theirs))
		figures.Note(fmt.Sprintf("reading, %g %% of attacks, one core: times as fast as fail2ban-regex", 100*share), rate(ours)/rate(theirs))
		if share > 0 && share < 0.5 {
			figures.Note(fmt.Sprintf("reading, %g %% of attacks: to rg -c with the failures' expressions", 100*share), rate(ours)/rate(list[3]))
		}
		if share == 0.1 {
			figures.Note("reading, 10 % of attacks: two cores to one", rate(both)/rate(ours))
			figures.Note("reading: resident at most, MB", float64(ours.peak)/1e6)
			for _, p := range append([]*program{ours, both, theirs}, list[3:]...) {
				beside += fmt.Sprintf("| %s | %s | %.2f | %.0f MB |\n", p.name, measure.Thousands(int(rate(p))), rate(p)/rate(ours), float64(p.peak)/1e6)
			}
		}
		if err := os.Remove(log); err != nil {
			return err
		}
	}
	fmt.Fprintf(&b.out, "\nThe log with 10 %%, on one core, and programs that do less:\n\n| program | lines/s | bailiff is 1 | peak memory |\n| --- | --- | --- | --- |\n%s\n", beside)
	return nil
}

// long compares on a log that is so long that what a start takes hardly counts: fail2ban once, since
// it takes minutes.
func (b *bench) long(lines int) error {
	fmt.Fprintf(&b.out, "The same with %s lines, so that a start hardly counts: lines a second of the processor's time on one core, fail2ban-regex once, medians of\n%d rounds of the\n"+
		"others; the same failures were found. `rg -c` with the failures' full expressions maps the log into memory by itself, and reads it with `--no-mmap`:\n\n", measure.Thousands(lines), b.rounds)
	fmt.Fprint(&b.out, "| lines of attacks | fail2ban-regex | bailiff | | `rg -c` | bailiff to it | `rg -c --no-mmap` | bailiff to it |\n| --- | --- | --- | --- | --- | --- | --- | --- |\n")
	for _, share := range []float64{0.01, 0.1} {
		log, err := b.log("auth", lines, share)
		if err != nil {
			return err
		}
		ours, theirs := bailiff("0", log, "sshd"), fail2ban("0", log, "sshd")
		rg := &program{name: "rg", cores: "0", args: []string{"rg", "-c", "--no-unicode", grep, log}}
		reads := &program{name: "rg", cores: "0", args: []string{"rg", "-c", "--no-unicode", "--no-mmap", grep, log}}
		for range b.rounds {
			for _, p := range []*program{ours, rg, reads} {
				if err := p.run(); err != nil {
					return err
				}
			}
		}
		if err := theirs.run(); err != nil {
			return err
		}
		if !slices.EqualFunc(ours.rows, theirs.rows, bytes.Equal) {
			return fmt.Errorf("auth.log with %d lines, %g %%: bailiff finds %d failures, fail2ban %d, or others", lines, 100*share, len(ours.rows)-1, len(theirs.rows)-1)
		}
		rate := func(p *program) float64 { return float64(lines) / measure.Median(p.cpu).Seconds() }
		fmt.Fprintf(&b.out, "| %g %% | %s | %s | 1 : %.0f | %s | %.2f | %s | %.2f |\n", 100*share, measure.Thousands(int(rate(theirs))), measure.Thousands(int(rate(ours))),
			rate(ours)/rate(theirs), measure.Thousands(int(rate(rg))), rate(ours)/rate(rg), measure.Thousands(int(rate(reads))), rate(ours)/rate(reads))
		figures.Note(fmt.Sprintf("reading a long log, %g %% of attacks, one core: times as fast as fail2ban-regex", 100*share), rate(ours)/rate(theirs))
		figures.Note(fmt.Sprintf("reading a long log, %g %% of attacks: to rg -c with the failures' expressions", 100*share), rate(ours)/rate(rg))
		if err := os.Remove(log); err != nil {
			return err
		}
	}
	b.out.WriteByte('\n')
	return nil
}

func (b *bench) others(lines int) error {
	fmt.Fprintf(&b.out, "Other filters of fail2ban's on logs of %d lines, 10 %% of attacks, one core:\n\n| filter | failures | fail2ban-regex, lines/s | bailiff | |\n| --- | --- | --- | --- | --- |\n", lines)
	for _, of := range []struct{ filter, kind string }{
		{"nginx-http-auth", "nginx-error"}, {"nginx-botsearch", "nginx-access"}, {"dovecot", "dovecot"}, {"postfix", "mail"}, {"apache-auth", "apache-error"}, {"recidive", "fail2ban"},
	} {
		log, err := b.log(of.kind, lines, 0.1)
		if err != nil {
			return err
		}
		ours, theirs := bailiff("0", log, of.filter), fail2ban("0", log, of.filter)
		if err := b.compare([]*program{ours, theirs}); err != nil {
			return fmt.Errorf("%s: %w", of.filter, err)
		}
		rate := func(p *program) float64 { return float64(lines) / p.median().Seconds() }
		fmt.Fprintf(&b.out, "| %s | %d | %s | %s | 1 : %.0f |\n", of.filter, len(ours.rows)-1, measure.Thousands(int(rate(theirs))), measure.Thousands(int(rate(ours))), rate(ours)/rate(theirs))
		figures.Note("reading, "+of.filter+": times as fast as fail2ban-regex", rate(ours)/rate(theirs))
	}
	b.out.WriteByte('\n')
	return nil
}

// report measures what people call fail2ban-regex for, in processor time: the two hardly
// differ, and others may be at work on the machine.
func (b *bench) report(lines int) error {
	log, err := b.log("auth", lines, 0.1)
	if err != nil {
		return err
	}
	forms := []struct {
		name string
		args []string
	}{{"`-o id`", []string{"--out", "id"}}, {"the report", nil}, {"with `--print-all-matched`", []string{"--print-all-matched"}}, {"with `-v`, which lists all hits", []string{"-v"}}}
	times := make([][]time.Duration, len(forms))
	for range 2*b.rounds + 1 {
		for i, f := range forms {
			c := exec.Command("taskset", append(append([]string{"-c", "0", "bin/bailiff", "regex", "--config", "/etc/fail2ban"}, f.args...), log, "sshd")...)
			if err := c.Run(); err != nil {
				return fmt.Errorf("%s: %w", f.name, err)
			}
			times[i] = append(times[i], c.ProcessState.UserTime()+c.ProcessState.SystemTime())
		}
	}
	fmt.Fprintf(&b.out, "The full report counts what matched, and keeps text only of what it lists. The log with 10 %%, processor time on one core, medians of\n%d in turns:\n\n| | ms | speed to `-o id` |\n| --- | --- | --- |\n", len(times[0]))
	for i, f := range forms {
		took, id := measure.Median(times[i]), measure.Median(times[0])
		fmt.Fprintf(&b.out, "| %s | %d | %.2f |\n", f.name, took.Milliseconds(), id.Seconds()/took.Seconds())
		if i == 1 {
			figures.Note("the report of fail2ban-regex: speed to that of -o id", id.Seconds()/took.Seconds())
		}
	}
	b.out.WriteByte('\n')
	return os.Remove(log)
}

// sshguard unpacks sshguard's parser from Debian's package; "" where that can't be
// had.
func sshguard(dir string) string {
	c := exec.Command("sh", "-c", "apt-get download -qq sshguard && dpkg -x sshguard_*.deb sshguard")
	c.Dir = dir
	if out, err := c.CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "read: sshguard is left out: %v: %s\n", err, out)
		return ""
	}
	return filepath.Join(dir, "sshguard/usr/libexec/sshguard/sshg-parser")
}

// watch returns how much memory a process has had, in bytes, as it was told last: what
// wait4 tells is also that of this program, of which the process was a copy at first.
func watch(pid int, done <-chan struct{}) (peak int64) {
	tick := time.NewTicker(20 * time.Millisecond) // more often, it would take a part of the second core
	defer tick.Stop()
	for {
		select {
		case <-done:
			return peak
		case <-tick.C:
		}
		if now, err := measure.Peak(pid); err == nil {
			peak = now
		}
	}
}
