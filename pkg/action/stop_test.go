package action

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"bailiff/pkg/hosttest"
	"bailiff/pkg/tags"
)

// within waits for what is promised within a time, ten times as long and a minute at least, and fails
// the test then.
func within(t *testing.T, what string, promised time.Duration, done <-chan struct{}) {
	t.Helper()
	select {
	case <-done:
	case <-time.After(max(10*promised, time.Minute)):
		t.Fatalf("%s: neither within ten times %v nor a minute", what, promised)
	}
}

func many(n int) string { return netip.AddrFrom4([4]byte{198, 18, byte(n >> 8), byte(n)}).String() }

// TestStopBehind: a stop behind a slow action lifts what was banned, and nothing else;
// what it had not come to is told in one line, with its number.
func TestStopBehind(t *testing.T) {
	for _, how := range []string{"close", "remove", "reload", "flush"} {
		t.Run(how, func(t *testing.T) {
			t.Parallel()
			notes := filepath.Join(t.TempDir(), "notes")
			g, log := working(t, defined("slow", 0, "actionban", "echo ban <ip> >>"+notes+"; sleep 0.3", "actionunban", "echo unban <ip> >>"+notes, "actionstop", "echo stop >>"+notes))
			const bans = 20_000
			for i := range bans {
				g.Ban(banOf(many(i)))
			}
			read := func() (out []string) {
				data, _ := os.ReadFile(notes)
				return strings.Split(strings.TrimSuffix(string(data), "\n"), "\n")
			}
			hosttest.Until(t, "some bans were run", func() bool { return len(read()) > 1 })
			switch how {
			case "remove":
				if err := g.Remove("slow"); err != nil {
					t.Fatal(err)
				}
			case "reload":
				g.Reload([]Definition{defined("other", 0, "actionban", "true")}, nil)
			case "flush":
				g.Flush()
				ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
				defer cancel()
				if behind := g.Sync(ctx); behind != nil {
					t.Fatal("not through")
				}
			}
			within(t, "the stop", 5*time.Second, g.Close(time.Time{}))
			state := map[string]int{}
			run := 0
			lines := read()
			for _, l := range lines {
				switch what, ip, _ := strings.Cut(l, " "); what {
				case "ban":
					state[ip]++
					run++
				case "unban":
					state[ip]--
				}
			}
			for ip, n := range state {
				if n != 0 {
					t.Errorf("%s: bans less unbans: %d", ip, n)
				}
			}
			if run > bans/10 || lines[len(lines)-1] != "stop" {
				t.Errorf("%d bans were run; the end of what was done: %q", run, lines[len(lines)-1])
			}
			said := regexp.MustCompile(`action 'slow': (\d+) bans that it had not come to were dropped`).FindAllStringSubmatch(log.String(), -1)
			if len(said) != 1 || said[0][1] != strconv.Itoa(bans-run) {
				t.Errorf("the log says %q, want once %d:\n%s", said, bans-run, log.String())
			}
		})
	}
}

// TestHangingUnban: a stop behind commands that hang ends in its time, also where there
// are several; actionstop is run still, what is not lifted is told with its number, and
// what was started is killed.
func TestHangingUnban(t *testing.T) {
	for _, hanging := range []string{"actionban", "actionunban", "actionflush", "actionstop", "actionstart", "actioncheck"} {
		t.Run(hanging, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			pids, notes := filepath.Join(dir, "pids"), filepath.Join(dir, "notes")
			props := []string{"actionban", "true", "actionunban", "true", "actionstop", "echo stop >>" + notes}
			command := "sleep 1000 & echo $! >>" + pids + "; echo $$ >>" + pids + "; sleep 1000"
			if at := slices.Index(props, hanging); at >= 0 {
				props[at+1] = command
			} else {
				props = append(props, hanging, command)
			}
			g, log := working(t, defined("one", time.Hour, props...), defined("two", time.Hour, props...))
			for i := range 50 {
				g.Ban(banOf(many(i)))
			}
			if hanging == "actioncheck" {
				g.Check()
			}
			pidsOf := func() []string {
				data, _ := os.ReadFile(pids)
				return strings.Fields(string(data))
			}
			if hanging == "actionban" || hanging == "actionstart" || hanging == "actioncheck" {
				hosttest.Until(t, "both hang", func() bool { return len(pidsOf()) >= 4 })
			} else {
				ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
				defer cancel()
				g.Sync(ctx)
			}
			const time4 = 4 * time.Second
			within(t, "the stop", time4+killGrace, g.Close(time.Now().Add(time4)))
			if hanging != "actionstop" && hanging != "actionstart" {
				if data, _ := os.ReadFile(notes); string(data) != "stop\nstop\n" {
					t.Errorf("actionstop: %q, want it of both", data)
				}
			}
			if hanging == "actionunban" || hanging == "actionflush" {
				for _, name := range []string{"one", "two"} {
					if n := strings.Count(log.String(), "action '"+name+"': the time for its end is over: 50 of its bans are not lifted (198.18.0."); n != 1 {
						t.Errorf("the log tells %d times what is not lifted:\n%s", n, log.String())
					}
				}
			}
			if len(pidsOf()) < 4 {
				t.Errorf("not both hung: %q", pidsOf())
			}
			for _, pid := range pidsOf() {
				hosttest.Until(t, "what a command had started is gone", func() bool {
					stat, err := os.ReadFile("/proc/" + pid + "/stat")
					return err != nil || strings.Contains(string(stat), ") Z ")
				})
			}
		})
	}
}

// TestNothingWaits: while a command hangs, no method but Call waits for it, and Sync says
// who is behind.
func TestNothingWaits(t *testing.T) {
	free := make(chan struct{})
	var once sync.Once
	defer once.Do(func() { close(free) })
	g := NewGroup([]Definition{defined("hangs", 0, "actionban", "hang <ip>", "actionunban", "x"), defined("works", 0, "actionban", "x")}, &Site{
		Jail: "web", Log: slog.New(slog.NewTextHandler(io.Discard, nil)),
		Run: func(ctx context.Context, c Command, _ time.Duration) bool {
			if strings.HasPrefix(c.Text, "hang") {
				select {
				case <-free:
				case <-ctx.Done():
				}
			}
			return true
		},
	})
	g.Begin()
	done := make(chan struct{})
	go func() {
		defer close(done)
		for i := range 5 {
			g.Ban(banOf(many(i)))
		}
		g.Prolong(banOf(many(1)))
		g.Unban(many(2))
		g.Check()
		g.Retain(func(string) bool { return true })
		g.Names()
		g.Flush()
		ctx, cancel := context.WithTimeout(context.Background(), 3*time.Second)
		defer cancel()
		if behind := g.Sync(ctx); !slices.Equal(behind, []string{"hangs"}) {
			t.Errorf("behind: %q, want hangs", behind)
		}
		g.Ban(banOf(many(9)))
		if err := g.Add(defined("more", 0, "actionban", "x")); err != nil {
			t.Error(err)
		}
		g.Reload([]Definition{defined("works", 0, "actionban", "x")}, nil)
		if err := g.Remove("works"); err != nil {
			t.Error(err)
		}
		g.Close(time.Time{})
	}()
	within(t, "all methods", 3*time.Second, done)
	once.Do(func() { close(free) })
	within(t, "the end", time.Second, g.Close(time.Time{}))
}

// TestCallWaits: who asks an action for something by hand is told after a while that it
// is busy, and it is done later.
func TestCallWaits(t *testing.T) {
	defer func(d time.Duration) { callMost = d }(callMost)
	callMost = 50 * time.Millisecond
	free := make(chan struct{})
	g := NewGroup([]Definition{defined("hangs", 0, "actionban", "hang")}, &Site{
		Jail: "web", Log: slog.New(slog.NewTextHandler(io.Discard, nil)), Run: func(context.Context, Command, time.Duration) bool { <-free; return true },
	})
	g.Begin()
	g.Ban(banOf("192.0.2.7"))
	err := g.Set("hangs", func(d *Definition) error { d.Properties.Set("actionban", "other"); return nil })
	if _, busy := err.(*BusyError); !busy {
		t.Errorf("error %v, want that it is busy", err)
	}
	close(free)
	hosttest.Until(t, "it is set", func() bool { d, _ := g.Definition("hangs"); return d.get("actionban") == "other" })
	within(t, "the end", time.Second, g.Close(time.Time{}))
}

// TestSuccessor: an action that takes the place of another one of its jail begins when
// that has lifted its bans and stopped, however long that takes; so does the whole of a
// jail's actions after those of a jail that is gone.
func TestSuccessor(t *testing.T) {
	var mu sync.Mutex
	var ran []string
	free := make(chan struct{})
	site := &Site{
		Jail: "web", Log: slog.New(slog.NewTextHandler(io.Discard, nil)),
		Run: func(_ context.Context, c Command, _ time.Duration) bool {
			if strings.HasPrefix(c.Text, "old unban") {
				<-free
			}
			mu.Lock()
			defer mu.Unlock()
			ran = append(ran, c.Text)
			return true
		},
	}
	is := func(tag string) Definition {
		return defined("a", 0, "actionstart", tag+" start", "actionban", tag+" ban", "actionunban", tag+" unban", "actionstop", tag+" stop")
	}
	endings := &Endings{}
	g := NewGroup([]Definition{is("old")}, site)
	g.Begin()
	g.Ban(banOf("192.0.2.7"))
	g.Sync(context.Background())
	g.Reload([]Definition{is("new")}, nil)
	endings.Add("web", g, g.Close(time.Time{}))
	next := *site
	next.After = endings.Of("web")
	if len(next.After) != 1 || len(endings.Of("other")) != 0 {
		t.Fatal("who is ending is not known")
	}
	h := NewGroup([]Definition{is("next")}, &next)
	h.Begin()
	time.AfterFunc(2*orderGrace, func() { close(free) }) // longer than anybody waits for his turn
	h.Sync(context.Background())
	within(t, "the end", time.Second, h.Close(time.Time{}))
	endings.Wait(time.Now().Add(time.Minute))
	mu.Lock()
	defer mu.Unlock()
	// The new one never came to its ban before the end; what it did not do, it does not undo.
	got := strings.Join(slices.DeleteFunc(ran, func(s string) bool { return s == "new ban" || s == "new unban" }), ", ")
	if want := "old start, old ban, old unban, old stop, new start, new stop, next start, next stop"; got != want {
		t.Errorf("ran %s\nwant %s", got, want)
	}
}

// TestManyBehind: 100,000 bans behind an action that hangs take little memory, lines and
// all; those beyond the bound are told when it has caught up.
func TestManyBehind(t *testing.T) {
	const bans = 100_000
	defer func(n int) { behindMost = n }(behindMost)
	var mu sync.Mutex
	told := map[string]int{}
	heap := func() int {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return int(m.HeapAlloc)
	}
	fill := func(bans, line int) (*Group, *buffer, int, chan struct{}) {
		free := make(chan struct{})
		log := &buffer{}
		before := heap()
		g := NewGroup([]Definition{defined("slow", 0, "actionban", "ban <ip> <matches>", "actionunban", "unban <matches>")}, &Site{
			Jail: "web", Log: slog.New(slog.NewTextHandler(log, nil)),
			Run: func(_ context.Context, c Command, _ time.Duration) bool {
				<-free
				mu.Lock()
				defer mu.Unlock()
				told[strings.Fields(c.Text + " - -")[1]]++
				return true
			},
		})
		g.Begin()
		for i := range bans {
			ticket := banOf(netip.AddrFrom4([4]byte{198, 18 + byte(i>>16), byte(i >> 8), byte(i)}).String())
			ticket.Matches = []string{strings.Repeat("x", line), strings.Repeat("y", line)}
			ticket.Time = fmt.Sprintf("1764000000.%06d", i)
			g.Ban(ticket)
		}
		return g, log, heap() - before, free
	}
	g, _, took, free := fill(bans, 4000)
	t.Logf("%d bans that wait: %d bytes each, with %d bytes of lines in all", bans, (took-g.textBytes)/bans, g.textBytes)
	if took > 25<<20 {
		t.Errorf("%d bans that wait take %d MB", bans, took>>20)
	}
	ended := g.Close(time.Now().Add(time.Second))
	close(free)
	within(t, "the end", 10*time.Second, ended)

	<-g.workers[0].gone
	behindMost = 5000
	clear(told)
	const fewer = 30_000
	g, log, took, free := fill(fewer, 100)
	if took > 20<<20 || strings.Count(log.String(), "jobs wait for it: it gets later bans when it has caught up by half") != 1 {
		t.Errorf("%d MB; %s", took>>20, log.String())
	}
	close(free)
	hosttest.Until(t, "all bans are told", func() bool {
		mu.Lock()
		defer mu.Unlock()
		return len(told) == fewer
	})
	if n := strings.Count(log.String(), "it gets all bans again"); n != 1 {
		t.Errorf("the log says %d times that it has caught up", n)
	}
	within(t, "the end", 10*time.Second, g.Close(time.Time{}))
}

// TestSilentMailServer: a mail server that takes the connection and says nothing, or
// stops in the middle, costs its own action only, and no stop more than its time.
func TestSilentMailServer(t *testing.T) {
	for name, greeting := range map[string]string{"silent": "", "half": "220 test\r\n250 ok\r\n250 ok\r\n", "line without end": strings.Repeat("2", 4000)} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			defer l.Close()
			came := make(chan struct{}, 100)
			go func() {
				for {
					c, err := l.Accept()
					if err != nil {
						return
					}
					defer c.Close()
					_, _ = io.WriteString(c, greeting)
					came <- struct{}{}
				}
			}()
			notes := filepath.Join(t.TempDir(), "notes")
			m := MailDefaults()
			m.Host = l.Addr().String()
			g, log := working(t, Definition{Name: "smtp", Properties: &tags.Options{}, Mail: &m, Timeout: time.Hour}, defined("notes", 0, "actionban", "echo '<ip>' >>"+notes))
			for i := range 20 {
				g.Ban(banOf(many(i)))
			}
			within(t, "the mail server is asked", time.Second, readOnce(came))
			hosttest.Until(t, "the other action has all bans", func() bool {
				data, _ := os.ReadFile(notes)
				return strings.Count(string(data), "\n") == 20
			})
			within(t, "the stop", 3*time.Second, g.Close(time.Now().Add(3*time.Second)))
			if !strings.Contains(log.String(), "action 'smtp': 20 bans that it had not come to were dropped") {
				t.Errorf("the log: %s", log.String())
			}
			// Which mail was not sent is told, and nothing is said of what it doesn't do.
			if text := log.String(); !strings.Contains(text, "Failed to st") || strings.Contains(text, "not lifted") {
				t.Errorf("the log: %s", text)
			}
		})
	}
	// A deadline of its own, without a stop.
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	m := MailDefaults()
	m.Host = l.Addr().String()
	g, log := working(t, Definition{Name: "smtp", Properties: &tags.Options{}, Mail: &m, Timeout: 200 * time.Millisecond})
	hosttest.Until(t, "it is given up", func() bool {
		return strings.Contains(log.String(), "Failed to start jail 'web' action 'smtp': mail to root by "+m.Host)
	})
	within(t, "the stop", 3*time.Second, g.Close(time.Now().Add(3*time.Second)))
}

func readOnce(c <-chan struct{}) <-chan struct{} {
	done := make(chan struct{})
	go func() { <-c; close(done) }()
	return done
}
