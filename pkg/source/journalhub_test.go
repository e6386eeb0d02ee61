package source

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"bailiff/pkg/hosttest"
)

// followersOf are the processes that follow the journal in a directory.
func followersOf(dir string) (pids []int) {
	all, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, name := range all {
		args, _ := os.ReadFile(name)
		if bytes.HasPrefix(args, []byte("journalctl\x00")) && bytes.Contains(args, []byte("--directory="+dir+"\x00")) && bytes.Contains(args, []byte("--follow\x00")) {
			pid, _ := strconv.Atoi(filepath.Base(filepath.Dir(name)))
			pids = append(pids, pid)
		}
	}
	return pids
}

// journalctlLines is what journalctl itself says that is asked for.
func journalctlLines(t *testing.T, dir string, matches [][]string) (lines []string) {
	t.Helper()
	args := []string{"--directory=" + dir, "--output=cat", "--no-pager", "--quiet", "--"}
	for i, m := range matches {
		if i > 0 {
			args = append(args, "+")
		}
		args = append(args, m...)
	}
	out, err := exec.Command("journalctl", args...).Output()
	if err != nil {
		t.Fatal(err)
	}
	if len(out) == 0 {
		return nil
	}
	return strings.Split(strings.TrimSuffix(string(out), "\n"), "\n")
}

// reader is a jail that is stopped and started again.
type reader struct {
	t       *testing.T
	options JournalOptions
	mu      sync.Mutex
	lines   []string
	at      Position
	notes   []string
	slow    chan struct{} // while it is not closed, nothing is taken; nil: all is
	cancel  func()
	done    chan struct{}
}

func (r *reader) start() {
	j := &Journal{JournalOptions: r.options, Since: time.Unix(0, 0), Notify: func(e Event) {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.notes = append(r.notes, e.String())
	}}
	if r.at.Cursor != "" {
		j.Resume = []Position{r.at}
	}
	ctx, cancel := context.WithCancel(context.Background())
	out := make(chan Batch)
	r.cancel, r.done = cancel, make(chan struct{})
	go func() { j.Run(ctx, out); close(out) }()
	go func() {
		defer close(r.done)
		for b := range out {
			if r.slow != nil {
				<-r.slow
			}
			r.mu.Lock()
			if !b.Replay {
				for i, l := range b.Lines {
					r.lines = append(r.lines, string(l[b.Frames[i].Head:]))
				}
				r.at = Position{Cursor: b.Cursor, Time: b.Stored}
			}
			r.mu.Unlock()
		}
	}()
}

func (r *reader) stop() {
	r.cancel()
	<-r.done
}

func (r *reader) has() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.lines)
}

// TestOneJournalctl: who follows the same journal shares one journalctl, and has each entry
// that he asked for once, in order, whoever comes, goes, and whatever happens to that.
func TestOneJournalctl(t *testing.T) {
	w := newJournal(t)
	rng := rand.New(rand.NewPCG(1, 2))
	n := 0
	write := func(count int) {
		var entries [][]string
		for range count {
			n++
			e := []string{fmt.Sprintf("MESSAGE=%d", n)}
			for _, field := range []string{"_COMM", "_UID", "X"} {
				for range rng.IntN(3) {
					e = append(e, fmt.Sprintf("%s=%d", field, rng.IntN(3)))
				}
			}
			if rng.IntN(8) == 0 {
				e = append(e, "X=two\nlines")
			}
			entries = append(entries, e)
		}
		w.write(entries...)
	}
	write(20)
	var readers []*reader
	for _, m := range []string{
		"_COMM=0", "_COMM=1 _COMM=2", "_COMM=0 _UID=1", "_COMM=0 _UID=1 + X=2", "_UID=0 _UID=1 X=0 X=1 + _COMM=2", "X=none", "'X=two\nlines'", "MESSAGE=7", "",
	} {
		var matches [][]string
		if m != "" {
			var err error
			if matches, err = ParseJournalMatch(m); err != nil {
				t.Fatal(err)
			}
		}
		r := &reader{t: t, options: JournalOptions{Path: w.dir(), Matches: matches}}
		readers = append(readers, r)
		r.start()
		defer func() { r.stop() }()
	}
	// One that asks for nonsense disturbs nobody.
	bad := &reader{t: t, options: JournalOptions{Path: w.dir(), Matches: [][]string{{"lower=x"}}}}
	bad.start()
	defer bad.stop()
	for round := range 25 {
		write(1 + rng.IntN(4))
		switch r := readers[rng.IntN(len(readers))]; rng.IntN(4) {
		case 0:
			r.stop()
			write(rng.IntN(3) + 1)
			r.start()
		case 1:
			if pids := followersOf(w.dir()); len(pids) > 0 && round%2 == 0 {
				_ = syscall.Kill(pids[0], syscall.SIGKILL)
			}
		}
	}
	for _, r := range readers {
		want := journalctlLines(t, w.dir(), r.options.Matches)
		hosttest.Until(t, fmt.Sprintf("%q: %d entries, of %d", r.options.Matches, r.has(), len(want)), func() bool { return r.has() >= len(want) })
	}
	hosttest.Until(t, "one journalctl for all", func() bool { return len(followersOf(w.dir())) == 1 })
	// And what comes now comes to all.
	write(5)
	for _, r := range readers {
		want := journalctlLines(t, w.dir(), r.options.Matches)
		hosttest.Until(t, "the last entries", func() bool { return r.has() >= len(want) })
		r.mu.Lock()
		if !slices.Equal(r.lines, want) {
			t.Errorf("%q: %d entries\n%q\nwant %d\n%q\nnotes %q", r.options.Matches, len(r.lines), r.lines, len(want), want, r.notes)
		}
		r.mu.Unlock()
	}
	bad.mu.Lock()
	defer bad.mu.Unlock()
	if said := strings.Join(bad.notes, "\n"); !strings.Contains(said, "journalctl: ") || len(bad.lines) > 0 {
		t.Errorf("nonsense: %q, %q", bad.notes, bad.lines)
	}
}

// TestBehindAnothers: the last entry of the journal, behind which reading together goes on, is
// nobody's: the next one that is somebody's is not passed over; neither is it behind a place
// that a match of before has left.
func TestBehindAnothers(t *testing.T) {
	w := newJournal(t)
	w.write([]string{"MESSAGE=1", "_COMM=0"}, []string{"MESSAGE=2", "_COMM=1"}, []string{"MESSAGE=3", "_COMM=2"})
	var readers []*reader
	for _, comm := range []string{"_COMM=0", "_COMM=1"} {
		r := &reader{t: t, options: JournalOptions{Path: w.dir(), Matches: [][]string{{comm}}}}
		readers = append(readers, r)
		r.start()
		defer func() { r.stop() }()
	}
	hosttest.Until(t, "one journalctl for both", func() bool { return readers[0].has()+readers[1].has() == 2 && len(followersOf(w.dir())) == 1 })
	w.write([]string{"MESSAGE=4", "_COMM=1"}, []string{"MESSAGE=5", "_COMM=0"}, []string{"MESSAGE=6", "_COMM=1"})
	hosttest.Until(t, "what came", func() bool { return readers[0].has() == 2 && readers[1].has() == 3 })
	// The first is asked for something else from now on.
	readers[0].stop()
	w.write([]string{"MESSAGE=7", "_COMM=2"}, []string{"MESSAGE=8", "_COMM=2"})
	readers[0].options.Matches = [][]string{{"_COMM=2"}}
	readers[0].start()
	hosttest.Until(t, "what came meanwhile", func() bool { return readers[0].has() >= 4 })
	for i, want := range [][]string{{"1", "5", "7", "8"}, {"2", "4", "6"}} {
		r := readers[i]
		r.mu.Lock()
		if !slices.Equal(r.lines, want) {
			t.Errorf("%q, want %q, notes %q", r.lines, want, r.notes)
		}
		r.mu.Unlock()
	}
}

// TestSlowReader: one that doesn't take what comes holds up nobody, and misses nothing.
func TestSlowReader(t *testing.T) {
	w := newJournal(t)
	w.write([]string{"MESSAGE=0", "_COMM=x"})
	open := func(slow chan struct{}) *reader {
		r := &reader{t: t, options: JournalOptions{Path: w.dir(), Matches: [][]string{{"_COMM=x"}}}, slow: slow}
		r.start()
		t.Cleanup(r.stop)
		return r
	}
	gate := make(chan struct{})
	quick, slow := open(nil), open(gate)
	var free sync.Once
	t.Cleanup(func() { free.Do(func() { close(gate) }) })
	hosttest.Until(t, "the first", func() bool { return quick.has() == 1 })
	const most = memberEntries + 3000
	for n := 1; n < most; {
		var entries [][]string
		for range 1000 {
			entries = append(entries, []string{fmt.Sprintf("MESSAGE=%d", n), "_COMM=x"})
			n++
		}
		w.write(entries...)
	}
	want := journalctlLines(t, w.dir(), [][]string{{"_COMM=x"}})
	hosttest.Until(t, "who takes what comes has it", func() bool { return quick.has() == len(want) })
	free.Do(func() { close(gate) })
	hosttest.Until(t, "who did not has it, too", func() bool { return slow.has() >= len(want) })
	for name, r := range map[string]*reader{"quick": quick, "slow": slow} {
		r.mu.Lock()
		for i := range max(len(r.lines), len(want)) {
			if i >= len(r.lines) || i >= len(want) || r.lines[i] != want[i] {
				t.Errorf("%s: %d entries, want %d; from the %d-th on %q, want %q; notes %q", name, len(r.lines), len(want), i, r.lines[i:min(i+5, len(r.lines))], want[i:min(i+5, len(want))], r.notes)
				break
			}
		}
		r.mu.Unlock()
	}
}

// TestUnreadMessage: an entry that journalctl prints without its message, since it could not
// read that, is read once more, by who reads alone and by those who read together; one that
// has none is delivered so.
func TestUnreadMessage(t *testing.T) {
	real, err := exec.LookPath("journalctl")
	if err != nil {
		t.Fatal(err)
	}
	bin := t.TempDir()
	script := fmt.Sprintf(`#!/bin/sh
# The first that prints one of those messages leaves it out.
"%[2]s" "$@" | while IFS= read -r line; do
	case $line in
	MESSAGE=2 | MESSAGE=12) mkdir "%[1]s/$line" 2>/dev/null && continue ;;
	esac
	printf '%%s\n' "$line"
done
`, bin, real)
	if err := os.WriteFile(filepath.Join(bin, "journalctl"), []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", bin+":"+os.Getenv("PATH"))
	w := newJournal(t)
	w.write([]string{"MESSAGE=1", "_COMM=x"}, []string{"MESSAGE=2", "_COMM=x"}, []string{"_COMM=x"}, []string{"MESSAGE=4", "_COMM=x"})
	var readers []*reader
	for range 2 {
		r := &reader{t: t, options: JournalOptions{Path: w.dir(), Matches: [][]string{{"_COMM=x"}}}}
		r.start()
		t.Cleanup(r.stop)
		hosttest.Until(t, "what there is", func() bool { return r.has() == 4 })
		readers = append(readers, r)
	}
	hosttest.Until(t, "they read together", func() bool {
		hubs.Lock()
		defer hubs.Unlock()
		for _, h := range hubs.of {
			h.mu.Lock()
			both := h.all == 2 && len(h.coming) == 0 && strings.Contains(h.key, w.dir())
			h.mu.Unlock()
			if both {
				return true
			}
		}
		return false
	})
	w.write([]string{"MESSAGE=11", "_COMM=x"}, []string{"MESSAGE=12", "_COMM=x"}, []string{"_COMM=x"}, []string{"MESSAGE=14", "_COMM=x"})
	want := []string{"1", "2", "", "4", "11", "12", "", "14"}
	for _, r := range readers {
		hosttest.Until(t, "what came", func() bool { return r.has() >= len(want) })
		r.mu.Lock()
		if !slices.Equal(r.lines, want) {
			t.Errorf("%q, want %q, notes %q", r.lines, want, r.notes)
		}
		r.mu.Unlock()
	}
	for _, n := range []string{"2", "12"} {
		if _, err := os.Stat(filepath.Join(bin, "MESSAGE="+n)); err != nil {
			t.Error("nothing was left out: ", err)
		}
	}
}

// TestFieldsFlood: an entry with more fields than are kept is found by the one that counts.
func TestFieldsFlood(t *testing.T) {
	var b bytes.Buffer
	for range 5000 {
		b.WriteString("MESSAGE=x\n")
	}
	b.WriteString("_SYSTEMD_UNIT=ssh.service\n\n")
	table := newMatchTable([][]string{{"_SYSTEMD_UNIT=ssh.service"}})
	in := NewEntryReader(&b, nil)
	in.matches = table
	if _, err := in.Next(); err != nil || !table.matcher([][]string{{"_SYSTEMD_UNIT=ssh.service"}}).holds(table.hits) {
		t.Error("it is not found", err)
	}
}
