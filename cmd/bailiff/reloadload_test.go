package main

import (
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"bailiff/pkg/control"
	"bailiff/pkg/hosttest"
)

var (
	reloads    = flag.Int("reloads", 20, "how many reloads TestReloadUnderLoad makes; make soak makes more")
	reloadRate = flag.Int("reloads.rate", 20_000, "how many lines a second are written meanwhile")
)

// goroutinesTo has the program write how many goroutines it has, and their stacks, to a
// file at SIGUSR2, where a test asks for it.
func goroutinesTo(path string) {
	asked := make(chan os.Signal, 1)
	signal.Notify(asked, syscall.SIGUSR2)
	go func() {
		buf := make([]byte, 4<<20)
		for range asked {
			n := runtime.Stack(buf, true)
			_ = os.WriteFile(path+".new", fmt.Appendf(nil, "%d\n%s", runtime.NumGoroutine(), buf[:n]), 0o644)
			_ = os.Rename(path+".new", path)
		}
	}()
}

// goroutines is how many the daemon has.
func (w *reloadable) goroutines() (n int, stacks string) {
	w.t.Helper()
	path := w.path("goroutines")
	os.Remove(path)
	if err := syscall.Kill(w.pid, syscall.SIGUSR2); err != nil {
		w.t.Fatal(err)
	}
	var text []byte
	w.until("no goroutines are told", func() (done bool) {
		var err error
		text, err = os.ReadFile(path)
		return err == nil
	})
	first, stacks, _ := strings.Cut(string(text), "\n")
	n, _ = strconv.Atoi(first)
	return n, stacks
}

// descriptors are the files that the daemon has open, but for sockets, and the database,
// which has one connection or two at rest, and the event that readers wait on for each other, which is there once
// it was wanted (pkg/fair).
func (w *reloadable) descriptors() (out []string) {
	w.t.Helper()
	dir := fmt.Sprintf("/proc/%d/fd", w.pid)
	open, err := os.ReadDir(dir)
	if err != nil {
		w.t.Fatal(err)
	}
	for _, e := range open {
		if to, err := os.Readlink(filepath.Join(dir, e.Name())); err == nil && !strings.HasPrefix(to, "socket:") && to != "anon_inode:[eventfd]" && to != w.path("db") && to != w.path("db-wal") {
			out = append(out, to)
		}
	}
	slices.Sort(out)
	return out
}

// sockets is how many it has open.
func (w *reloadable) sockets() (n int) {
	dir := fmt.Sprintf("/proc/%d/fd", w.pid)
	open, _ := os.ReadDir(dir)
	for _, e := range open {
		if to, err := os.Readlink(filepath.Join(dir, e.Name())); err == nil && strings.HasPrefix(to, "socket:") {
			n++
		}
	}
	return n
}

// sets are the names of the kernel's sets, and how many rules look into them.
func (w *reloadable) sets() (out []string) {
	for _, line := range strings.Split(w.nft(), "\n") {
		if f := strings.Fields(line); len(f) > 2 && f[0] == "set" {
			out = append(out, f[1])
		} else if i := strings.Index(line, "saddr @"); i >= 0 {
			out = append(out, "rule "+strings.Fields(line[i:])[1])
		}
	}
	slices.Sort(out)
	return out
}

// members are the elements of a set.
func (w *reloadable) members(set string) map[string]bool {
	w.t.Helper()
	text, err := w.host.Command(context.Background(), "nft", "--json", "list", "set", "inet", "f2b-table", set).Output()
	if err != nil {
		w.t.Fatal(err)
	}
	var list struct {
		Nftables []struct {
			Set struct {
				Elem []struct {
					Elem struct {
						Val string `json:"val"`
					} `json:"elem"`
				} `json:"elem"`
			} `json:"set"`
		} `json:"nftables"`
	}
	if err := json.Unmarshal(text, &list); err != nil {
		w.t.Fatalf("%v: %s", err, clipped(string(text), 500))
	}
	out := map[string]bool{}
	for _, x := range list.Nftables {
		for _, e := range x.Set.Elem {
			out[e.Elem.Val] = true
		}
	}
	return out
}

// loadConfig is the i-th configuration; 0 is that of the start.
func loadConfig(i int) string {
	one := func(name, log, more string) string {
		return fmt.Sprintf("[jail.%s]\nenabled = true\nfailregex = '^\\s*failed <HOST>$'\nlogpath = \"@D@/%s.log\"\nmaxretry = 3\nfindtime = \"1h\"\nban.prefix6 = 128\n%s", name, log, more)
	}
	text := serverConfig + "[security]\nconfine = false\n" // a jail with commands comes and goes
	if i%3 == 1 {
		text = "loglevel = \"NOTICE\"\n" + text
	}
	text += one("load", "load", fmt.Sprintf("bantime = \"%dh\"\nignoreip = [\"192.0.2.%d\", \"file:@D@/allow.txt\"]\n", 5+i%2, i%250+1))
	text += one("second", "load", fmt.Sprintf("bantime = \"1d\"\nignoreip = [\"192.0.2.%d\"]\nport = \"%d\"\n", i/2%250+1, 80+i/2%7))
	if i%2 == 1 {
		text += one("passing", "passing", "bantime = \"1h\"\n[jail.passing.action.tell]\nstart = \"true\"\nban = \": <ip>\"\nunban = \":\"\nstop = \"true\"\n")
	}
	if i%5 != 3 {
		text += fmt.Sprintf("[jail.feed]\nenabled = true\nlist = \"@D@/feed.txt\"\nport = \"%d\"\n", 80+i/3%2)
	}
	if i%7 == 6 { // a slip
		text = strings.Replace(text, "<HOST>", "<HOST>(", 1)
	}
	return text
}

// loadWriter writes a log with failures in it, of addresses that fail three times, or twice
// each seventh of them, with a hundred others between.
type loadWriter struct {
	path     string
	each     int // of so many lines one is a failure
	lines    int
	written  atomic.Int64 // of them
	failures int
	of       map[string]int
	rotated  int
}

// linesAReload is how many lines are written between two reloads, at least.
const linesAReload = 3000

const loadBlock = 100 // attackers at a time

func (l *loadWriter) run(ctx context.Context, perSecond int) error {
	f, err := os.OpenFile(l.path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	defer func() { f.Close() }()
	const every = 5 * time.Millisecond
	tick := time.NewTicker(every)
	defer tick.Stop()
	size := 0
	begun := time.Now()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		due := int(time.Since(begun).Seconds()*float64(perSecond)) - l.lines
		due = min(due, perSecond/10) // after a pause of the test's own
		var b bytes.Buffer
		at := time.Now().UTC().Format("2006-01-02 15:04:05")
		for range due {
			k := l.lines / l.each
			failure := l.lines%l.each == 0
			l.lines++
			who := k/(3*loadBlock)*loadBlock + k%loadBlock
			if third := k / loadBlock % 3; failure && (third < 2 || who%7 != 0) {
				addr := fmt.Sprintf("2001:db8:1::%x:%x", who>>12+1, who&0xfff+1)
				l.of[addr]++
				l.failures++
				fmt.Fprintf(&b, "%s failed %s\n", at, addr)
				continue
			}
			fmt.Fprintf(&b, "%s session %d opened for 203.0.113.%d\n", at, l.lines, l.lines%250)
		}
		n, err := f.Write(b.Bytes())
		if err != nil {
			return err
		}
		l.written.Store(int64(l.lines))
		if size += n; size > 8<<20 {
			size = 0
			l.rotated++
			f.Close()
			if err := os.Rename(l.path, fmt.Sprintf("%s.%d", l.path, l.rotated)); err != nil {
				return err
			}
			if f, err = os.OpenFile(l.path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644); err != nil {
				return err
			}
		}
	}
}

// loadAnswers are how long answers took.
type loadAnswers struct {
	mu   sync.Mutex
	took map[string][]time.Duration
}

func (a *loadAnswers) String() string {
	a.mu.Lock()
	defer a.mu.Unlock()
	var out []string
	for what, all := range a.took {
		slices.Sort(all)
		out = append(out, fmt.Sprintf("%s: %d, median %v, 99 of 100 within %v, the last %v", what, len(all),
			all[len(all)/2].Round(100*time.Microsecond), all[len(all)*99/100].Round(100*time.Microsecond), all[len(all)-1].Round(time.Millisecond)))
	}
	slices.Sort(out)
	return strings.Join(out, "\n")
}

// TestReloadUnderLoad: reloads, each with changes, while a log is written fast and rotated
// and a hundred clients ask, ban and unban: no line is lost or counted twice, who failed
// three times is banned in every jail and nobody else is, all are answered, and in the
// end the daemon has as many goroutines, files and sets as in the beginning.
func TestReloadUnderLoad(t *testing.T) {
	t.Parallel()
	clients := 99 // and one that reloads
	if raced {
		*reloads, *reloadRate, clients = min(*reloads, 7), *reloadRate/10, 20
	}
	w := newReloadable(t, loadConfig(0))
	w.write("allow.txt", "192.0.2.0/24\n")
	w.write("feed.txt", "198.51.100.0/25\n")
	// In the end some thousand bans, which 25 clients want to see in full twice a second.
	log := &loadWriter{path: w.path("load.log"), of: map[string]int{}, each: max(100, *reloads)}
	w.write("load.log", "")
	var few strings.Builder // a jail that starts anew reads all of its log
	for i := range 30 {
		fmt.Fprintf(&few, "%s failed 2001:db8:2::%x\n", time.Now().UTC().Format("2006-01-02 15:04:05"), i%10)
	}
	w.write("passing.log", few.String())
	for _, i := range []int{1, 0} { // what is opened or made once, is
		w.write("etc/bailiff.toml", loadConfig(i))
		if wrong := w.reload(); wrong != "" {
			t.Fatal(wrong)
		}
	}
	w.until("it is at work", func() bool { return w.holds("feed", "198.51.100.1") })
	if _, err := w.api.Status(); err != nil {
		t.Fatal(err)
	}
	type state struct {
		goroutines, sockets int
		files, sets         []string
	}
	now := func() (s state, stacks string) {
		s.goroutines, stacks = w.goroutines()
		s.files, s.sockets, s.sets = w.descriptors(), w.sockets(), w.sets()
		return s, stacks
	}
	before, _ := now()

	answers := &loadAnswers{took: map[string][]time.Duration{}}
	ctx, stop := context.WithCancel(context.Background())
	var writing, asking sync.WaitGroup
	defer asking.Wait()
	defer writing.Wait()
	defer stop()
	writing.Go(func() {
		if err := log.run(ctx, *reloadRate); err != nil {
			t.Error(err)
		}
	})
	for i := range clients {
		asking.Go(func() { w.client(ctx, i, answers) })
	}
	late := 0
	for i := 1; i <= *reloads && !t.Failed(); i++ {
		if !hosttest.Soon(func() bool { return log.written.Load() >= int64(i**reloadRate*linesAReload/20_000) }) {
			t.Fatal("the test can't write so fast")
		}
		w.write("etc/bailiff.toml", loadConfig(i))
		if i%4 == 0 {
			w.write("feed.txt", fmt.Sprintf("198.51.100.0/25\n203.0.113.%d\n", i%250))
		}
		answers.wait(t, "reload", promisedChange, func() error {
			res, err := w.api.Reload()
			wrong := slices.DeleteFunc(slices.Clone(res.Errors), func(s string) bool { return strings.Contains(s, "not through yet") }) // on a machine that is busy with others
			if len(wrong) < len(res.Errors) {
				late++
				t.Logf("reload %d: %q", i, res.Errors)
			}
			slip := i%7 == 6 // and all others change jail load, unless they are late
			taken := slices.Contains(res.Changed, "load") || len(wrong) < len(res.Errors)
			if err == nil && (slip == (len(wrong) == 0) || !slip && !taken) {
				err = fmt.Errorf("reload %d: %+v", i, res)
			}
			return err
		})
	}
	stop()
	writing.Wait()
	asking.Wait()

	w.write("etc/bailiff.toml", loadConfig(0))
	w.until("a reload is not through", func() bool {
		wrong := w.reload()
		if wrong != "" && !strings.Contains(wrong, "not through yet") {
			t.Fatal(wrong)
		}
		return wrong == ""
	})
	t.Logf("%d reloads, %d of them not through at once, %d lines, %d failures, %d rotations\n%s", *reloads, late, log.lines, log.failures, log.rotated, answers)
	want := map[string]bool{}
	for addr, n := range log.of {
		if n == 3 {
			want[addr] = true
		}
	}
	for _, name := range []string{"load", "second"} {
		failed := -1
		w.until(fmt.Sprintf("jail %s does not count %d failures", name, log.failures), func() bool {
			s, err := w.api.Jail(name)
			if err == nil && s.TotalFailed != failed {
				failed = s.TotalFailed
				t.Logf("%s: %d failures", name, failed)
			}
			return failed >= log.failures
		})
		if failed != log.failures {
			t.Errorf("jail %s counted %d failures of %d", name, failed, log.failures)
		}
		s, err := w.api.Jail(name)
		if err != nil {
			t.Fatal(err)
		}
		listed := map[string]bool{}
		for _, b := range s.Bans {
			listed[b.IP] = true
		}
		sameSet(t, "the list of jail "+name, listed, want)
		w.until("the kernel has the bans", func() bool { return len(w.members("addr6-set-"+name)) == len(want) })
		sameSet(t, "the kernel's set of jail "+name, w.members("addr6-set-"+name), want)
		if left := w.members("addr-set-" + name); len(left) > 0 {
			t.Errorf("jail %s: what was lifted is banned: %v", name, left)
		}
	}
	var after state
	var stacks string
	if !hosttest.Soon(func() bool {
		after, stacks = now()
		return after.goroutines <= before.goroutines && after.sockets <= before.sockets && len(after.files) <= len(before.files) && slices.Equal(after.sets, before.sets)
	}) {
		t.Fatalf("before %+v\nafter  %+v\n%s", before, after, stacks)
	}
	t.Logf("%d goroutines, %d files, %d sockets, %d sets and rules; before %d, %d, %d, %d", after.goroutines, len(after.files), after.sockets, len(after.sets),
		before.goroutines, len(before.files), before.sockets, len(before.sets))
}

// sameSet compares two sets of names.
func sameSet(t *testing.T, what string, got, want map[string]bool) {
	t.Helper()
	var missing, more []string
	for x := range want {
		if !got[x] {
			missing = append(missing, x)
		}
	}
	for x := range got {
		if !want[x] {
			more = append(more, x)
		}
	}
	if len(missing)+len(more) > 0 {
		t.Errorf("%s: %d of %d are missing, as %.200s; %d more are there, as %.200s", what, len(missing), len(want), fmt.Sprint(missing), len(more), fmt.Sprint(more))
	}
}

// wait waits for an answer ten times as long as docs/bounds.md has for a jail that lacks
// only the processor, or as it is promised for, if that is longer.
func (a *loadAnswers) wait(t *testing.T, what string, promised time.Duration, f func() error) {
	begun := time.Now()
	done := make(chan error, 1)
	go func() { done <- f() }()
	select {
	case err := <-done:
		if err != nil {
			t.Errorf("%s: %v", what, err)
		}
	case <-time.After(10 * max(promised, 5*time.Second)):
		t.Errorf("%s is not answered", what)
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.took[what] = append(a.took[what], time.Since(begun))
}

// client asks twice a second until ctx ends.
func (w *reloadable) client(ctx context.Context, i int, answers *loadAnswers) {
	api := control.NewClient(w.socket)
	defer api.Close()
	var wire *control.Call
	if i%4 == 2 {
		var err error
		if wire, err = control.DialFail2ban(w.socket, time.Minute); err != nil {
			w.t.Error(err)
			return
		}
		defer wire.Close()
	}
	mine := fmt.Sprintf("198.51.100.%d", 128+i)
	tick := time.NewTicker(500 * time.Millisecond)
	defer tick.Stop()
	for ctx.Err() == nil {
		switch i % 4 {
		case 0:
			answers.wait(w.t, "status", promisedAnswer, func() error { _, err := api.Status(); return err })
		case 1:
			answers.wait(w.t, "status of a jail", promisedAnswer, func() error {
				s, err := api.Jail("load")
				if err == nil && s.Error != "" {
					err = fmt.Errorf("%+v", s)
				}
				return err
			})
		case 2:
			answers.wait(w.t, "get", promisedAnswer, func() error {
				v, err := wire.Do([]any{"get", "second", "bantime"}, time.Minute)
				if err == nil && fmt.Sprint(v) != "86400" {
					err = fmt.Errorf("bantime %v", v)
				}
				return err
			})
		case 3:
			answers.wait(w.t, "ban", promisedAnswer, func() error {
				res, err := api.Ban("load", control.BanRequest{IPs: []string{mine}})
				if err == nil && (len(res) != 1 || res[0].Error != "" || !res[0].Added && res[0].Pending == "") {
					err = fmt.Errorf("%+v", res)
				}
				return err
			})
			answers.wait(w.t, "unban", promisedAnswer, func() error {
				res, err := api.Unban(control.UnbanRequest{IPs: []string{mine}, Jail: "load"})
				if err == nil && (len(res) != 1 || res[0].Count == 0 && res[0].Pending == "") {
					err = fmt.Errorf("%+v", res)
				}
				return err
			})
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
		}
	}
}
