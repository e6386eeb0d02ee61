package replay_test

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"github.com/ulikunitz/xz"

	"bailiff/bench/logs"
	"bailiff/pkg/clock"
	"bailiff/pkg/config"
	"bailiff/pkg/filter"
	"bailiff/pkg/firewall"
	"bailiff/pkg/guard"
	"bailiff/pkg/hosttest"
	"bailiff/pkg/jail"
	"bailiff/pkg/replay"
	"bailiff/pkg/report"
	"bailiff/pkg/source"
)

// The daemon's jail is given the lines as they would have come, its clock driven by hand: its
// goroutine, its timers, its firewall. A replay of the same lines, in files as rotation leaves
// them, makes the same bans, to the second.

// line is a line of a log and when it was written.
type line struct {
	at   time.Time
	text string
}

// made is a ban as the firewall is told of it.
type made struct {
	id         string
	start, end int64 // end 0: for ever
}

func (m made) String() string {
	return fmt.Sprintf("%s %s to %d", m.id, time.Unix(m.start, 0).UTC().Format(time.DateTime), m.end)
}

// fed is a source that is given lines.
type fed struct {
	in    chan source.Batch
	taken chan struct{}
}

func (f *fed) Status() []source.Status { return nil }

func (f *fed) Run(ctx context.Context, out chan<- source.Batch) {
	for {
		select {
		case b := <-f.in:
			out <- b
			for range cap(out) + 1 { // the jail is through with it when these have left the channel
				out <- source.Batch{Path: b.Path}
			}
			f.taken <- struct{}{}
		case <-ctx.Done():
			return
		}
	}
}

// kernel notes what it is told.
type kernel struct {
	jail.NoFirewall
	clock *clock.Manual
	mu    sync.Mutex
	made  []made
	holds map[netip.Prefix]time.Time // by their ends
}

// Elements tells a comparison that nothing is missing.
func (k *kernel) Elements(string) (out []firewall.Element, err error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for id, end := range k.holds {
		e := firewall.Element{ID: id}
		if !end.IsZero() {
			if e.Left = end.Sub(k.clock.Now()); e.Left <= 0 {
				continue
			}
		}
		out = append(out, e)
	}
	return out, nil
}

func (k *kernel) Push(changes ...firewall.Change) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, c := range changes {
		if delete(k.holds, c.ID); c.Remove {
			continue
		}
		k.holds[c.ID] = time.Time{}
		if c.Left > 0 {
			k.holds[c.ID] = k.clock.Now().Add(c.Left)
		}
		m := made{id: c.ID.String(), start: k.clock.Now().Unix()}
		if c.ID.IsSingleIP() {
			m.id = c.ID.Addr().String()
		}
		if c.Left > 0 {
			m.end = k.clock.Now().Add(c.Left).Unix()
		}
		k.made = append(k.made, m)
	}
}

// byDaemon has the daemon's jail follow the lines.
func byDaemon(t *testing.T, c *config.Jail, g *guard.Guard, lines []line) []made {
	t.Helper()
	own := *c
	own.Unenforced = false
	m := clock.NewManual(lines[0].at)
	k := &kernel{clock: m, holds: map[netip.Prefix]time.Time{}}
	f := &fed{in: make(chan source.Batch), taken: make(chan struct{})}
	// A ban begins with its line, which may be of before the clock.
	starts := map[int]int64{} // by the number of the ban
	j, err := jail.Start(&own, jail.Deps{
		Firewall: k, Log: slog.New(slog.DiscardHandler), Clock: m.Clock, Location: time.UTC, Guard: g, MaxMatches: own.MaxMatches,
		Source:  func(*config.Jail, *filter.Filter) jail.Source { return f },
		Reports: func(string) (bool, bool) { return true, false },
		Report: func(o report.Offence) {
			starts[len(k.made)] = o.At.Unix()
		},
	}, jail.Carry{})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		left := j.Stop(false)
		<-left.Close(time.Now())
	}()
	now := lines[0].at
	for from := 0; from < len(lines); {
		if at := lines[from].at; at.After(now) {
			m.Advance(at.Sub(now))
			now = at
			j.Stepped(clock.Step{})      // it is told, as by a timer, to see whose ban is over
			for begun := time.Now(); ; { // until it has
				_, err := j.Bans()
				if err == nil {
					break
				}
				if time.Since(begun) > 2*time.Minute {
					t.Fatal(err)
				}
				time.Sleep(time.Millisecond) // else the jail waits for us
			}
		}
		to := from
		b := source.Batch{Path: "log"}
		for to < len(lines) && !lines[to].at.After(now) {
			b.Lines = append(b.Lines, []byte(lines[to].text))
			to++
		}
		from = to
		f.in <- b
		<-f.taken
	}
	for n := range k.made {
		if at, ok := starts[n]; ok {
			k.made[n].start = at
		}
	}
	return k.made
}

// byReplay replays files.
func byReplay(t *testing.T, c *config.Jail, g *guard.Guard, paths []string) ([]made, *replay.Report) {
	t.Helper()
	set, err := replay.Files(paths)
	if err != nil {
		t.Fatal(err)
	}
	var out []made
	r, err := replay.Run(t.Context(), replay.Options{
		Jail: c, Logs: set.Logs, Location: time.UTC, Guard: g,
		Ban: func(b *replay.Ban) error {
			m := made{id: b.ID.String(), start: b.Start.Unix()}
			if !b.End.IsZero() {
				m.end = b.End.Unix()
			}
			out = append(out, m)
			return nil
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	return out, r
}

// generated is a log of a kind, with the times of its lines.
func generated(t *testing.T, kind, stamp string, o logs.Options) (out []line) {
	t.Helper()
	var b bytes.Buffer
	o.Kind = kind
	if err := logs.Write(&b, o); err != nil {
		t.Fatal(err)
	}
	for text := range strings.Lines(b.String()) {
		text = strings.TrimSuffix(text, "\n")
		at, err := time.Parse(stamp, text[:len(stamp)])
		if err != nil {
			t.Fatal(err)
		}
		if at.Year() == 0 {
			at = at.AddDate(o.Start.Year(), 0, 0)
		}
		out = append(out, line{at, text})
	}
	return out
}

// rotate writes a log as rotation leaves it: in so many files, the older ones compressed in turns.
func rotate(t *testing.T, dir, name string, lines []line, files int) (paths []string) {
	t.Helper()
	size := (len(lines) + files - 1) / files
	for i, n := 0, files-1; i < len(lines); i, n = i+size, n-1 {
		part := lines[i:min(i+size, len(lines))]
		var text bytes.Buffer
		for _, l := range part {
			text.WriteString(l.text + "\n")
		}
		path := filepath.Join(dir, name)
		if n > 0 {
			path = fmt.Sprintf("%s.%d", path, n)
		}
		var file bytes.Buffer
		var w io.WriteCloser
		var err error
		switch {
		case n < 2:
			w = nopCloser{&file}
		case n%3 == 2:
			path, w = path+".gz", gzip.NewWriter(&file)
		case n%3 == 0:
			path += ".zst"
			w, err = zstd.NewWriter(&file)
		default:
			path += ".xz"
			w, err = xz.NewWriter(&file)
		}
		if err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write(text.Bytes()); err != nil {
			t.Fatal(err)
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, file.Bytes(), 0o600); err != nil {
			t.Fatal(err)
		}
		at := part[len(part)-1].at
		if err := os.Chtimes(path, at, at); err != nil {
			t.Fatal(err)
		}
		paths = append(paths, path)
	}
	slices.Sort(paths) // as a shell gives them: auth.log before auth.log.1, .10 before .2
	return paths
}

type nopCloser struct{ io.Writer }

func (nopCloser) Close() error { return nil }

// jailOf is a jail that a file of TOML configures.
func jailOf(t *testing.T, name, toml string) *config.Jail {
	t.Helper()
	dir := t.TempDir()
	if err := os.MkdirAll(filepath.Join(dir, "jails"), 0o755); err != nil {
		t.Fatal(err)
	}
	hosttest.Write(t, filepath.Join(dir, "jails", name+".toml"), toml)
	cfg, err := config.Load(config.Options{Path: dir, Jails: []string{name + "=/var/log/x"}})
	if err != nil {
		t.Fatal(err)
	}
	for _, j := range cfg.Jails {
		if j.Name == name {
			if len(j.Errors)+len(j.Faults) > 0 {
				t.Fatal(j.Errors, j.Faults)
			}
			return j
		}
	}
	t.Fatalf("no jail %s", name)
	return nil
}

func newGuard(t *testing.T) *guard.Guard {
	t.Helper()
	g := guard.New(guard.Options{
		Host:   func() (*guard.Host, error) { return &guard.Host{}, nil },
		Lookup: func(context.Context, string, string) ([]netip.Addr, error) { return nil, nil },
	})
	t.Cleanup(g.Close)
	return g
}

// late has some lines come after others that are of a few seconds later.
func late(lines []line, seed uint64) {
	r := rand.New(rand.NewPCG(seed, 2))
	for n := range lines {
		if to := n + r.IntN(200); r.IntN(50) == 0 && to < len(lines) {
			l := lines[n]
			copy(lines[n:to], lines[n+1:to+1])
			lines[to] = l
		}
	}
	// When it comes is when the newest before it was written.
	for n := 1; n < len(lines); n++ {
		if lines[n].at.Before(lines[n-1].at) {
			lines[n].at = lines[n-1].at
		}
	}
}

const (
	syslogTime = "Jan _2 15:04:05"
	nginxTime  = "2006/01/02 15:04:05"
)

func TestAsTheDaemon(t *testing.T) {
	t.Parallel()
	start := time.Date(2026, 1, 31, 22, 0, 0, 0, time.UTC)
	auth := logs.Options{Lines: 6_000, Share: 0.4, Seed: 1, Start: start, PerSecond: 2}
	for _, c := range []struct {
		name, jail, toml string
		kind, stamp      string
		o                logs.Options
		late             bool
	}{
		{"sshd", "sshd", "maxretry = 4\nfindtime = \"1h\"", "auth", syslogTime, auth, false},
		{"quick", "sshd", "maxretry = 2\nfindtime = \"1h\"\nbantime = \"90s\"", "auth", syslogTime, auth, false},
		{"late lines", "sshd", "maxretry = 3\nfindtime = \"90s\"\nbantime = \"2m\"", "auth", syslogTime, auth, true},
		{"one is enough, for ever", "sshd", "maxretry = 1\nbantime = -1", "auth", syslogTime, auth, false},
		{"growing", "sshd", "maxretry = 3\nbantime = \"1m\"\nfindtime = \"1h\"\n\"bantime.increment\" = true\n\"bantime.maxtime\" = \"20m\"", "auth", syslogTime, auth, false},
		{"by accounts", "sshd", "maxretry = 2\nfindtime = \"1h\"\nbantime = \"5m\"\ncount.distinct = \"user\"", "auth", syslogTime, auth, false},
		{"forgiven, late lines", "sshd", "maxretry = 3\nfindtime = \"1h\"\nbantime = \"2m\"\nsuccess.forgives = true\nsuccess.most = 100", "auth", syslogTime, auth, true},
		{
			"weighed", "sshd", "maxretry = 5\nfindtime = \"1h\"\nfailregex = [{ regex = 'Failed password for invalid user .* from <ADDR> port', weight = 3 }, 'Failed password for .* from <ADDR> port']",
			"auth", syslogTime, auth, false,
		},
		{"networks", "sshd", "maxretry = 8\n[ban]\nprefix4 = 28\nprefix6 = 32", "auth", syslogTime, auth, false},
		{"aggregated", "sshd", "maxretry = 2\nfindtime = \"1h\"\nbantime = \"30m\"\n[ban]\naggregate = 20", "auth", syslogTime, auth, false},
		{"ignored", "sshd", "maxretry = 2\nignoreip = [\"192.0.2.0/25\", \"198.51.100.7\"]", "auth", syslogTime, auth, false},
		{"over new year", "sshd", "maxretry = 3", "auth", syslogTime, logs.Options{Lines: 4000, Share: 0.5, Seed: 2, Start: time.Date(2025, 12, 31, 23, 50, 0, 0, time.UTC), PerSecond: 2}, false},
		{"nginx", "nginx-http-auth", "maxretry = 3\nfindtime = \"10m\"", "nginx-error", nginxTime, auth, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			lines := generated(t, c.kind, c.stamp, c.o)
			if c.name == "over new year" {
				for n := range lines {
					if lines[n].at.Month() == time.January {
						lines[n].at = lines[n].at.AddDate(1, 0, 0)
					}
				}
			}
			if c.late {
				late(lines, 3)
			}
			g, j := newGuard(t), jailOf(t, c.jail, c.toml)
			want := byDaemon(t, j, g, lines)
			got, r := byReplay(t, j, g, rotate(t, t.TempDir(), "a.log", lines, 12))
			if len(want) < 20 {
				t.Fatalf("the daemon made %d bans: that shows nothing", len(want))
			}
			sameBans(t, got, want)
			if r.Lines != int64(len(lines)) || r.Bans != int64(len(want)) || len(r.Problems) > 0 || r.LetThrough+r.ShutOut != r.Failures {
				t.Errorf("%+v", r)
			}
			if c.name == "ignored" && r.Ignored == 0 {
				t.Error("nobody was ignored")
			}
		})
	}
}

// sameBans compares what replay found with what the daemon's jail did, in order.
func sameBans[B comparable](t *testing.T, got, want []B) {
	t.Helper()
	for n := range max(len(want), len(got)) {
		switch {
		case n >= len(got):
			t.Fatalf("ban %d is missing: %v", n, want[n])
		case n >= len(want):
			t.Fatalf("ban %d is one too many: %v", n, got[n])
		case got[n] != want[n]:
			t.Fatalf("ban %d: %v, want %v", n, got[n], want[n])
		}
	}
}

// monthLines is how many lines TestMonth has: -month-lines 10000000 takes minutes, and gigabytes of memory.
var monthLines = flag.Int("month-lines", 0, "how many lines TestMonth replays")

// TestMonth: a month of a log, in thirty files of which some are compressed, has the bans that
// the daemon's jail made when it was fed the same lines, to the second.
func TestMonth(t *testing.T) {
	if *monthLines == 0 {
		t.Skip("it wants -month-lines 10000000, minutes, and gigabytes of memory")
	}
	lines := generated(t, "auth", syslogTime, logs.Options{
		Lines: *monthLines, Share: 0.3, Seed: 3, Start: time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC), PerSecond: 1 + *monthLines/(30*24*3600),
	})
	g, j := newGuard(t), jailOf(t, "sshd", "maxretry = 3\nfindtime = \"6h\"\nbantime = \"2h\"")
	want := byDaemon(t, j, g, lines)
	got, r := byReplay(t, j, g, rotate(t, t.TempDir(), "a.log", lines, 30))
	if len(want) < 20 || r.Lines != int64(len(lines)) {
		t.Fatalf("%d bans, %d lines", len(want), r.Lines)
	}
	sameBans(t, got, want)
	t.Logf("%d lines, %d bans", r.Lines, len(want))
}
