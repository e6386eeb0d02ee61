package events

import (
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

func TestMain(m *testing.M) {
	gather = time.Millisecond
	os.Exit(m.Run())
}

// all reads what a reader tells.
func all(t *testing.T, r *Reader) (out []Event) {
	t.Helper()
	if err := r.Each(func(n uint64, line []byte) bool {
		e, err := Parse(line)
		if err != nil || e.N != n {
			t.Fatalf("event %d: %v: %s", n, err, line)
		}
		out = append(out, e)
		return true
	}); err != nil {
		t.Fatal(err)
	}
	return out
}

// inFiles reads what is in files.
func inFiles(t *testing.T, path string) []Event {
	t.Helper()
	r, err := Files(path, 0, func(text string) { t.Error(text) })
	if err != nil {
		t.Fatal(err)
	}
	return all(t, r)
}

// await waits until a table has so many events.
func await(t *testing.T, table *Table, n uint64) {
	t.Helper()
	for end := time.After(10 * time.Second); ; {
		changed := table.Changed()
		if last, _, _ := table.Last(); last >= n {
			return
		}
		select {
		case <-changed:
		case <-end:
			last, _, _ := table.Last()
			t.Fatalf("%d events were written, not %d", last, n)
		}
	}
}

// TestNumbers: over stops, kills and ends that were not written whole, numbers go on without a
// hole, and none comes twice. Whatever was told before a kill is there after it.
func TestNumbers(t *testing.T) {
	path := filepath.Join(t.TempDir(), "db")
	told := map[uint64]string{}
	note := func(r *Reader) {
		for _, e := range all(t, r) {
			if was, ok := told[e.N]; ok && was != e.Text {
				t.Fatalf("number %d was %q and is %q", e.N, was, e.Text)
			}
			told[e.N] = e.Text
		}
	}
	rng := rand.New(rand.NewPCG(1, 2))
	for life := range 20 {
		table := Open(Options{Path: path, Boot: "boot", Warn: func(text string) { t.Error(text) }})
		_, _, _ = table.Last()
		last := uint64(len(told))
		for i := range 1 + rng.IntN(5) {
			table.Add(&Event{Kind: Error, Text: fmt.Sprintf("life %d, event %d", life, i)})
			last++
		}
		await(t, table, last)
		note(table.Reader(0))
		switch life % 3 {
		case 0:
			table.Add(&Event{Kind: Stop, Text: "stop"})
		case 1: // killed in the middle of a line
			files, _ := filepath.Glob(path + ".events-*")
			f, err := os.OpenFile(files[len(files)-1], os.O_WRONLY|os.O_APPEND, 0)
			if err != nil {
				t.Fatal(err)
			}
			fmt.Fprintf(f, `{"n":%d,"time":"2026-01-`, last+1)
			f.Close()
		}
		table.Close() // which has nothing to write: as the kernel does it at a kill
		r, err := Files(path, 0, func(text string) { t.Error(text) })
		if err != nil {
			t.Fatal(err)
		}
		note(r)
	}
	for n := uint64(1); n <= uint64(len(told)); n++ {
		if _, ok := told[n]; !ok {
			t.Fatalf("there is no event %d of %d", n, len(told))
		}
	}
}

// TestPowerCut: after another boot that no orderly stop came before, numbers that may have been
// told are not given again, and it is said which.
func TestPowerCut(t *testing.T) {
	path := filepath.Join(t.TempDir(), "db")
	life := func(boot string, stop bool) {
		table := Open(Options{Path: path, Boot: boot})
		table.Add(&Event{Kind: Error, Text: boot})
		if stop {
			table.Add(&Event{Kind: Stop})
		}
		table.Close()
	}
	life("one", true)  // 1, 2
	life("two", false) // 3: an orderly stop came before
	life("two", false) // 4: a kill of the program alone
	life("three", false)
	got := inFiles(t, path)
	if len(got) != 6 || got[3].N != 4 || got[4].Kind != Gap || got[4].From != 5 || got[4].To != 4+gapMost || got[4].N != 5+gapMost || got[5].N != got[4].N+1 {
		t.Fatalf("%+v", got)
	}
}

// TestBounded: what is kept has a bound in bytes and one in age; what is older goes in pieces, and
// the numbers of what is left go on.
func TestBounded(t *testing.T) {
	path := filepath.Join(t.TempDir(), "db")
	now, mu := time.Date(2026, 1, 31, 12, 0, 0, 0, time.UTC), sync.Mutex{}
	clock := func() time.Time { mu.Lock(); defer mu.Unlock(); return now }
	table := Open(Options{Path: path, Boot: "b", Bytes: LeastBytes, Age: time.Hour, Now: clock})
	defer table.Close()
	line := strings.Repeat("x", LineMost)
	share := table.Share("sshd")
	n := uint64(0)
	for range 30 {
		for range 250 {
			table.add(&Event{Kind: Found, Jail: "sshd", Line: line}, false)
			n++
		}
		await(t, table, n)
	}
	_ = share
	size := int64(0)
	files, _ := filepath.Glob(path + ".events-*")
	for _, f := range files {
		fi, err := os.Stat(f)
		if err != nil {
			t.Fatal(err)
		}
		size += fi.Size()
	}
	if size > LeastBytes || size < LeastBytes/2 {
		t.Errorf("%d bytes are kept, of %d", size, LeastBytes)
	}
	got := all(t, table.Reader(0))
	if got[len(got)-1].N != n || got[0].N != table.Reader(0).Oldest() || len(got) != int(n-got[0].N)+1 {
		t.Errorf("%d events, %d to %d", len(got), got[0].N, got[len(got)-1].N)
	}
	mu.Lock()
	now = now.Add(2 * time.Hour)
	mu.Unlock()
	table.Add(&Event{Kind: Error, Text: "later"})
	await(t, table, n+1)
	table.Purge()
	if got := all(t, table.Reader(0)); len(got) != 1 || got[0].N != n+1 {
		t.Errorf("%d events are left, the first is %d", len(got), got[0].N)
	}
}

// TestUnwritable: where nothing can be written, that is said, once; what comes meanwhile is
// kept, and has its numbers when it is written. Nobody waits.
func TestUnwritable(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "later")
	said := make(chan error, 10)
	table := Open(Options{Path: filepath.Join(dir, "db"), Boot: "b", Failed: func(err error) { said <- err }})
	defer table.Close()
	table.Add(&Event{Kind: Error, Text: "one"})
	if err := <-said; !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
	table.Add(&Event{Kind: Error, Text: "two"})
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := <-said; err != nil {
		t.Fatal(err)
	}
	await(t, table, 2)
	if got := all(t, table.Reader(0)); len(got) != 2 || got[0].Text != "one" || got[1].Text != "two" {
		t.Errorf("%+v", got)
	}
	files, _ := filepath.Glob(filepath.Join(dir, "*"))
	for _, f := range files { // taken away by somebody
		os.Remove(f)
	}
	table.Add(&Event{Kind: Error, Text: "three"})
	await(t, table, 3)
	if got := inFiles(t, filepath.Join(dir, "db")); len(got) != 1 || got[0].N != 3 {
		t.Errorf("%+v", got)
	}
}

// TestFull: what waits for a disk has a bound; beyond it is counted, and told when there is room.
func TestFull(t *testing.T) {
	defer func(was time.Duration) { moreEvery = was }(moreEvery)
	moreEvery = 10 * time.Millisecond
	dir := filepath.Join(t.TempDir(), "later")
	table := Open(Options{Path: filepath.Join(dir, "db"), Boot: "b"})
	defer table.Close()
	text := strings.Repeat("x", textMost)
	const added = 4000
	for range added {
		table.Add(&Event{Kind: Error, Jail: "sshd", Text: text})
	}
	table.mu.Lock()
	waits := len(table.buf)
	table.mu.Unlock()
	if waits > waitingMost {
		t.Errorf("%d bytes wait", waits)
	}
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		kept, more := 0, 0
		for _, e := range all(t, table.Reader(0)) {
			if e.Kind == More && e.What == Error && e.Jail == "sshd" {
				more += e.Count
			} else {
				kept++
			}
		}
		if kept+more == added && more > 0 {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("%d kept, %d told of in sum, of %d", kept, more, added)
		}
	}
}

// TestShares: a jail that floods has its part and no more, another one has its own all the same,
// and what is not kept is counted exactly.
func TestShares(t *testing.T) {
	defer func(was time.Duration) { moreEvery = was }(moreEvery)
	moreEvery = 10 * time.Millisecond
	table := Open(Options{Path: filepath.Join(t.TempDir(), "db"), Boot: "b"})
	defer table.Close()
	flood, quiet := table.Share("flood"), table.Share("quiet")
	now := time.Date(2026, 1, 31, 12, 0, 0, 0, time.UTC)
	kept := 0
	const each, size = 200_000, 200
	for range 60 { // seconds
		for range each / 10 {
			if flood.Take(now, size) {
				kept++
			}
		}
		if !quiet.Take(now, 60) {
			t.Fatal("the quiet jail had no room")
		}
		now = now.Add(time.Second)
	}
	most := (sharedBurst + ownBurst + 60*(sharedRate+ownRate)) / size
	if kept > most || kept < most/2 {
		t.Errorf("%d failures of the flood were kept, of %d at the most", kept, most)
	}
	for end := time.Now().Add(10 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		more := 0
		for _, e := range all(t, table.Reader(0)) {
			if e.Kind == More && e.What == Found && e.Jail == "flood" {
				more += e.Count
			}
		}
		if more == 60*each/10-kept {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("%d were told of in sum, of %d", more, 60*each/10-kept)
		}
	}
}

// TestMemory: without files there are events all the same, within a bound.
func TestMemory(t *testing.T) {
	table := Open(Options{})
	text := strings.Repeat("x", textMost)
	for n := uint64(1); n <= 5000; n += 500 {
		for range 500 {
			table.Add(&Event{Kind: Error, Text: text})
		}
		await(t, table, n+499)
	}
	got := all(t, table.Reader(0))
	if n := len(got) * len(text); n > MemoryMost || n < MemoryMost/2 || got[len(got)-1].N != 5000 {
		t.Errorf("%d bytes, up to number %d", n, got[len(got)-1].N)
	}
	table.Close()
	table.Add(&Event{Kind: Error}) // nobody is there
	var none *Table
	none.Add(&Event{Kind: Error})
	if none.Share("x").Take(time.Now(), 1) {
		t.Error("who keeps none has room")
	}
	none.Close()
}

// TestFollow: a reader that asks again is told what came, once.
func TestFollow(t *testing.T) {
	table := Open(Options{Path: filepath.Join(t.TempDir(), "db"), Boot: "b", Bytes: LeastBytes})
	defer table.Close()
	r := table.Reader(0)
	seen := uint64(0)
	for round := uint64(1); round <= 400; round++ {
		table.add(&Event{Kind: Found, Line: strings.Repeat("y", LineMost), Lines: []string{strings.Repeat("z", linesMost)}}, false)
		if round%7 == 0 {
			await(t, table, round)
			for _, e := range all(t, r) {
				if e.N != seen+1 {
					t.Fatalf("%d after %d", e.N, seen)
				}
				seen = e.N
			}
		}
	}
}

// FuzzEvent: whatever a line of a log is, an event is one line of JSON that says it.
func FuzzEvent(f *testing.F) {
	f.Add("Failed password for root from 192.0.2.7", "192.0.2.7")
	f.Add("\x00\x1b[31m\"\\\n\xff\u2028", `","n":7,"ip":"`)
	f.Fuzz(func(t *testing.T, line, id string) {
		e := Event{Time: time.Unix(1e9, 0).UTC(), Kind: Found, IP: id, Line: line, Lines: []string{line, id}}
		b := append([]byte(`{"n":1`), e.appendTo(nil)...)
		if n, ok := numberOf(b); !ok || n != 1 || strings.Count(string(b), "\n") != 1 {
			t.Fatalf("%q", b)
		}
		var got Event
		if err := json.Unmarshal(b, &got); err != nil {
			t.Fatalf("%v: %q", err, b)
		}
		if want := strings.ToValidUTF8(line, "\uFFFD"); len(line) <= LineMost && strings.Count(want, "\uFFFD") == 0 && got.Line != line {
			t.Fatalf("%q is told as %q", line, got.Line)
		}
		for _, c := range b[:len(b)-1] {
			if c < ' ' || c == 0x7f {
				t.Fatalf("%q", b)
			}
		}
	})
}

// TestMemoryBehind: what waited for a slow writer does not go beyond the bound, either.
func TestMemoryBehind(t *testing.T) {
	table := Open(Options{})
	defer table.Close()
	e := Event{Kind: Error, Text: strings.Repeat("x", textMost), Time: time.Now()}
	for n := uint64(0); n < 5000; {
		table.mu.Lock() // as much as may wait
		for ; len(table.buf) < waitingMost*9/10; n++ {
			table.buf = e.appendTo(table.buf)
		}
		table.mu.Unlock()
		signal(table.wake)
		await(t, table, n)
		var kept int
		table.mu.Lock()
		for _, s := range table.segs {
			kept += len(s.memory)
			if len(s.memory) > MemoryMost/segments {
				t.Errorf("%d bytes in a piece", len(s.memory))
			}
		}
		table.mu.Unlock()
		if kept > MemoryMost || kept < MemoryMost/2 {
			t.Errorf("%d bytes are kept", kept)
		}
	}
}
