package main

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"bailiff/pkg/control"
	"bailiff/pkg/hosttest"
	"bailiff/pkg/netlab"
	"bailiff/pkg/references"
	"bailiff/pkg/source"
)

var playsAll = flag.Bool("plays.all", false, "TestPlays plays on older fail2bans, too")

// A play is a script of commands and log lines, played on the real fail2ban and on
// ours; what a person sees is compared. Its verbs:
//
//	conf FILE, log FILE   the lines up to a lone dot are written, or appended, to etc/FILE, or FILE
//	start, stop, kill     the server, in the foreground
//	client ARGS           run the client, show its output and exit code
//	quiet ARGS            the same, and show nothing
//	until N ARGS          repeat a client's command until its output has N words
//	settle WORDS FILE     wait until FILE has so many words, at most 20 s
//	nft ARGS, sh COMMAND  show its output
//	daemonlog REGEX       show the log's lines that match
//	sleep SECONDS
//
// @D@ is the run's folder, @NOW@ and @ISO@ the time. Behind a line "-- differences
// --" stand the lines that differ, fail2ban's with "-", ours with "+", each block
// under a reason that begins with "#"; docs/differences.md has them all.
type playRun struct {
	t           *testing.T
	dir, server string
	client      string
	env         []string
	starter     *references.Starter // of the real client
	host        *netlab.Host
	running     *exec.Cmd
	pace        time.Duration // what pauses are multiplied by; 0: 1
	out         bytes.Buffer
	errs        bytes.Buffer
}

func newPlayRun(t *testing.T, lab *netlab.Lab, name, config, server, client string, env []string) *playRun {
	t.Helper()
	host, err := lab.Host(name)
	if err != nil {
		t.Fatal(err)
	}
	r := &playRun{t: t, dir: t.TempDir(), server: server, client: client, host: host, env: append(env, "TZ=UTC", "LC_ALL=C.UTF-8", "PYTHONDONTWRITEBYTECODE=1")}
	etc := filepath.Join(r.dir, "etc")
	if out, err := exec.Command("cp", "-a", config, etc).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s (make test installs Debian's fail2ban)", err, out)
	}
	for _, f := range []string{"jail.d", "jail.local"} {
		if err := os.RemoveAll(filepath.Join(etc, f)); err != nil {
			t.Fatal(err)
		}
	}
	r.write("etc/fail2ban.local", strings.ReplaceAll("[Definition]\nlogtarget = @D@/f2b.log\ndbfile = @D@/f2b.sqlite3\nsocket = @D@/f2b.sock\npidfile = @D@/f2b.pid\nallowipv6 = yes\n", "@D@", r.dir), false)
	t.Cleanup(func() {
		if r.running != nil {
			_ = r.running.Process.Kill()
			_ = r.running.Wait()
		}
	})
	return r
}

func (r *playRun) write(name, text string, appended bool) {
	r.t.Helper()
	flag := os.O_CREATE | os.O_WRONLY | os.O_TRUNC
	if appended {
		flag = os.O_CREATE | os.O_WRONLY | os.O_APPEND
	}
	path := filepath.Join(r.dir, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		r.t.Fatal(err)
	}
	f, err := os.OpenFile(path, flag, 0o644)
	if err != nil {
		r.t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteString(text); err != nil {
		r.t.Fatal(err)
	}
}

func (r *playRun) command(name string, args ...string) (string, int) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	c := r.host.Command(ctx, name, args...)
	c.Dir = r.dir
	c.Env = r.env
	out, _ := c.CombinedOutput()
	return string(out), c.ProcessState.ExitCode()
}

func (r *playRun) ask(args ...string) (string, int) {
	args = append([]string{"-c", filepath.Join(r.dir, "etc")}, args...)
	if filepath.Base(filepath.Dir(r.client)) != "bin" { // ours
		return r.command(r.client, args...)
	}
	r.t.Helper()
	if r.starter == nil {
		r.starter = starterOf(r.t, r.client, func(name string, args ...string) *exec.Cmd {
			c := r.host.Command(context.Background(), name, args...)
			c.Env = r.env
			return c
		})
	}
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	out, code, err := r.starter.Combined(ctx, r.dir, r.client, args...)
	if err != nil {
		r.t.Error(err)
	}
	return out, code
}

// starterOf runs a client of fail2ban's until the test's end.
func starterOf(t *testing.T, client string, command func(string, ...string) *exec.Cmd) *references.Starter {
	t.Helper()
	s, err := references.NewStarter(t.TempDir(), client, command)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

var (
	playTime   = regexp.MustCompile(`\d{4}-\d\d-\d\d[ T]\d\d:\d\d:\d\d([,.]\d+)?`)
	playPID    = regexp.MustCompile(`\[\d+\]: ([A-Z])`)
	playExpire = regexp.MustCompile(` expires [0-9a-z]+`)
	playEvent  = regexp.MustCompile(`^\S+ \S+ (\S+)\s+\[\d+\]: (\w+)\s+(.*)$`)
	// What Python shows of a ban's info differs with each run; ours is its address.
	playInfo  = regexp.MustCompile(`info '(ActionInfo\(\{.*?\}\)|[0-9a-f.:]+)'`)
	playEpoch = regexp.MustCompile(`\b1[78]\d{8}(\.\d+)?\b`)
)

func (r *playRun) show(text string) {
	text = strings.ReplaceAll(text, r.dir, "@D@")
	text = playTime.ReplaceAllString(text, "<time>")
	text = playEpoch.ReplaceAllString(text, "<epoch>")
	text = playExpire.ReplaceAllString(text, "")
	text = playInfo.ReplaceAllString(text, "info")
	text = playPID.ReplaceAllString(text, "[pid]: $1")
	r.out.WriteString(text)
	if text != "" && !strings.HasSuffix(text, "\n") {
		r.out.WriteByte('\n')
	}
}

func (r *playRun) start() {
	r.t.Helper()
	c := r.host.Command(context.Background(), r.server, "-f", "-c", filepath.Join(r.dir, "etc"), "start")
	c.Dir = r.dir
	c.Env = r.env
	c.Stdout, c.Stderr = &r.errs, &r.errs
	if err := c.Start(); err != nil {
		r.t.Fatal(err)
	}
	r.running = c
	awaitFail2ban(filepath.Join(r.dir, "f2b.sock"))
	for end := time.Now().Add(2 * time.Minute); ; time.Sleep(50 * time.Millisecond) {
		out, code := r.ask("status")
		if code == 0 && strings.HasPrefix(out, "Status") {
			return
		}
		if time.Now().After(end) {
			r.t.Fatalf("%s does not answer: exit %d, %q: %s", r.server, code, out, r.errs.String())
		}
	}
}

// awaitFail2ban waits until a server answers on its socket, for two minutes: whoever asks by
// a client then gets an answer. A client is a program that takes longer to start than to ask,
// and many that are started in vain keep the server from what they wait for.
func awaitFail2ban(socket string) {
	for end := time.Now().Add(2 * time.Minute); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		c, err := control.DialFail2ban(socket, 10*time.Second)
		if err != nil {
			continue
		}
		_, err = c.Do([]any{"ping"}, 10*time.Second)
		c.Close()
		if err == nil {
			return
		}
	}
}

func (r *playRun) ended() {
	r.t.Helper()
	done := make(chan error, 1)
	go func() { done <- r.running.Wait() }()
	select {
	case <-done:
	case <-time.After(2 * time.Minute):
		r.t.Fatalf("%s does not stop", r.server)
	}
	r.running = nil
}

func (r *playRun) play(script string) {
	r.t.Helper()
	lines := strings.Split(script, "\n")
	for i := 0; i < len(lines); i++ {
		line := strings.ReplaceAll(lines[i], "@D@", r.dir)
		verb, rest, _ := strings.Cut(line, " ")
		if verb != "sh" {
			rest, _, _ = strings.Cut(rest, " # ")
		}
		if verb == "" || strings.HasPrefix(verb, "#") {
			continue
		}
		switch verb {
		case "conf", "log":
			var body strings.Builder
			for i++; i < len(lines) && lines[i] != "."; i++ {
				now := time.Now().UTC()
				body.WriteString(strings.NewReplacer("@D@", r.dir, "@NOW@", now.Format("Jan _2 15:04:05"), "@ISO@", now.Format(time.DateTime)).Replace(lines[i]) + "\n")
			}
			if verb == "conf" {
				rest = "etc/" + rest
			}
			r.write(rest, body.String(), verb == "log")
		case "start":
			r.start()
		case "stop":
			_, _ = r.ask("stop")
			r.ended()
		case "kill":
			_ = r.running.Process.Kill()
			r.ended()
		case "client", "quiet":
			words, err := source.Words(rest)
			if err != nil {
				r.t.Fatal(err)
			}
			out, code := r.ask(words...)
			if verb == "client" {
				fmt.Fprintf(&r.out, "$ %s\n", strings.ReplaceAll(rest, r.dir, "@D@"))
				r.show(out)
				fmt.Fprintf(&r.out, "[exit %d]\n", code)
			}
		case "until":
			n, args, _ := strings.Cut(rest, " ")
			want, err := strconv.Atoi(n)
			if err != nil {
				r.t.Fatal(err)
			}
			asked := time.Now()
			for end := asked.Add(2 * time.Minute); time.Now().Before(end); time.Sleep(max(100*time.Millisecond, time.Since(asked))) {
				asked = time.Now()
				if out, _ := r.ask(strings.Fields(args)...); len(strings.Fields(out)) >= want {
					break
				}
			}
		case "settle":
			n, file, _ := strings.Cut(rest, " ")
			want, err := strconv.Atoi(n)
			if err != nil {
				r.t.Fatal(err)
			}
			for end := time.Now().Add(2 * time.Minute); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
				if data, _ := os.ReadFile(filepath.Join(r.dir, file)); len(strings.Fields(string(data))) >= want {
					break
				}
			}
		case "sleep":
			s, err := strconv.ParseFloat(rest, 64)
			if err != nil {
				r.t.Fatal(err)
			}
			time.Sleep(max(r.pace, 1) * time.Duration(s*float64(time.Second)))
		case "nft", "sh":
			fmt.Fprintf(&r.out, "$ %s\n", strings.ReplaceAll(line, r.dir, "@D@"))
			if verb == "nft" {
				rest = line
			}
			if strings.Contains(rest, "notes") {
				r.quiet("notes") // no command waits for what actions do, but for a moment
			}
			out, _ := r.command("/bin/sh", "-c", rest)
			r.show(out)
		case "daemonlog":
			fmt.Fprintf(&r.out, "-- the log: %s\n", rest)
			want := regexp.MustCompile(rest)
			machine, err := os.Hostname()
			if err != nil {
				r.t.Fatal(err)
			}
			data, _ := os.ReadFile(filepath.Join(r.dir, "f2b.log"))
			for _, l := range strings.Split(string(data), "\n") {
				// Whether this machine's own name has an address is its own affair.
				if m := playEvent.FindStringSubmatch(l); m != nil && want.MatchString(l) && !strings.Contains(l, "Unable to find a corresponding IP address for "+machine) {
					r.show(strings.Join(m[1:], " "))
				}
			}
		default:
			r.t.Fatalf("unknown verb: %s", line)
		}
	}
}

// quiet waits until a file has not grown for a while.
func (r *playRun) quiet(name string) {
	size := func() int64 {
		fi, err := os.Stat(filepath.Join(r.dir, name))
		if err != nil {
			return -1
		}
		return fi.Size()
	}
	was, since := size(), time.Now()
	for end := time.Now().Add(20 * time.Second); time.Now().Before(end) && time.Since(since) < max(r.pace, 1)*400*time.Millisecond; time.Sleep(20 * time.Millisecond) {
		if now := size(); now != was {
			was, since = now, time.Now()
		}
	}
}

// lineDiff returns the lines of a and b that are not in both, in order, those of a
// with "-", those of b with "+".
func lineDiff(a, b []string) []string {
	rows := make([][]int, len(a)+1)
	for i := range rows {
		rows[i] = make([]int, len(b)+1)
	}
	for i := len(a) - 1; i >= 0; i-- {
		for j := len(b) - 1; j >= 0; j-- {
			if a[i] == b[j] {
				rows[i][j] = rows[i+1][j+1] + 1
			} else {
				rows[i][j] = max(rows[i+1][j], rows[i][j+1])
			}
		}
	}
	var out []string
	i, j := 0, 0
	for i < len(a) || j < len(b) {
		switch {
		case i < len(a) && j < len(b) && a[i] == b[j]:
			i, j = i+1, j+1
		case j == len(b) || i < len(a) && rows[i+1][j] >= rows[i][j+1]:
			out = append(out, "-"+a[i])
			i++
		default:
			out = append(out, "+"+b[j])
			j++
		}
	}
	return out
}

// TestPlays plays every script on ours and on each fail2ban, with that one's
// configuration. Ours behaves as the newest, whatever the configuration: what an older one
// does otherwise stands behind a line "-- differences VERSION … --" of its own; make soak plays on those, too (-plays.all).
func TestPlays(t *testing.T) {
	plays, err := filepath.Glob("testdata/play/*.play")
	if err != nil || len(plays) < 11 {
		t.Fatalf("%d plays, %v", len(plays), err)
	}
	all := hosttest.Fail2bans(t)
	if !*playsAll {
		all = all[len(all)-1:]
	}
	for _, path := range plays {
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		name := strings.TrimSuffix(filepath.Base(path), ".play")
		script, lists, _ := strings.Cut(string(data), "-- differences")
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var wg sync.WaitGroup // the versions at once: they mostly wait
			for _, r := range all {
				version := r.Release()
				want, err := playDifferences(lists, version)
				if err != nil {
					t.Errorf("%s: %v", path, err)
				}
				wg.Go(func() {
					t.Run(version, func(t *testing.T) { playOn(t, path, name, script, r, want) })
				})
			}
			wg.Wait()
		})
	}
}

// playOn plays a script on a fail2ban and on ours, both with that one's configuration. Where
// they differ, it is played once more with longer pauses: on a busy machine, what either does
// beside its answers may not be done when it is looked at.
func playOn(t *testing.T, path, name, script string, r references.Fail2ban, want []string) {
	if n := strings.Count(script, "\nclient ") + strings.Count(script, "\nsh ") + strings.Count(script, "\ndaemonlog "); n < 5 {
		t.Errorf("%s: only %d things are compared", path, n)
	}
	for try, pace := range []time.Duration{1, 5, 5, 5} {
		theirs, ours := playAt(t, pace, fmt.Sprint(name, try), script, r)
		// The form of an address of IPv6 in <HOST> is another one since 1.1.0.
		older := strings.ReplaceAll(theirs, "[0-9a-fA-F]{1,4}::?|::)", "[0-9a-fA-F]{1,4}::?|:)")
		got := lineDiff(strings.Split(older, "\n"), strings.Split(ours, "\n"))
		if slices.Equal(got, want) {
			t.Logf("%d lines, %d differences, all of them listed", strings.Count(theirs, "\n"), len(got))
			return
		}
		again := try == 0 || try < 3 && (strings.Contains(ours, "this machine may be busy") || strings.Contains(ours, busyWith))
		tell := t.Errorf
		if again {
			tell = t.Logf
		}
		tell("%s differs:\n%s\n--- expected\n%s\n--- fail2ban's whole\n%s--- ours\n%s", path, strings.Join(got, "\n"), strings.Join(want, "\n"), theirs, ours)
		if !again {
			return
		}
	}
}

// playAt plays a script on both, and returns what a person sees.
func playAt(t *testing.T, pace time.Duration, name, script string, r references.Fail2ban) (of, by string) {
	lab := netlab.New(fmt.Sprintf("bailiff-play-%s-%s-%d-%d", name, r.Suite, pace, os.Getpid()))
	t.Cleanup(func() {
		if err := lab.Close(); err != nil {
			t.Error(err)
		}
	})
	theirs := newPlayRun(t, lab, "theirs", r.Config, r.Program("fail2ban-server"), r.Program("fail2ban-client"), r.Env())
	ours := newPlayRun(t, lab, "ours", r.Config, program(t, "fail2ban-server"), program(t, "fail2ban-client"), os.Environ())
	theirs.pace, ours.pace = pace, pace
	done := make(chan struct{})
	go func() { // beside the real one: both mostly wait
		defer close(done)
		ours.play(script)
	}()
	theirs.play(script)
	<-done
	return theirs.out.String(), ours.out.String()
}

// playDifferences returns the lines that are to differ from a version: those of the list
// that names it, else of the one that names none.
func playDifferences(lists, version string) (want []string, err error) {
	var common, own []string
	found := false
	for _, list := range strings.Split(lists, "-- differences") {
		head, text, _ := strings.Cut(list, "--\n")
		var lines []string
		reason := false
		for l := range strings.Lines(text) {
			switch l = strings.TrimSuffix(l, "\n"); {
			case strings.HasPrefix(l, "#"):
				reason = true
			case l != "":
				if !reason {
					err = fmt.Errorf("a difference without a reason: %s", l)
				}
				lines = append(lines, l)
			}
		}
		switch versions := strings.Fields(head); {
		case len(versions) == 0:
			common = lines
		case slices.Contains(versions, version):
			own, found = lines, true
		}
	}
	if found {
		return own, err
	}
	return common, err
}
