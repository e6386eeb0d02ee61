package store

import (
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"bailiff/pkg/ban"
	"bailiff/pkg/clock"
)

// killed returns the database as a daemon that is killed now leaves it.
func (h *held) killed(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	h.writing.Lock() // a fold may be under way: a moment of it
	defer h.writing.Unlock()
	for _, ending := range []string{"", "-journal", changesEnding, oldEnding} {
		data, err := os.ReadFile(h.path + ending)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err == nil {
			err = os.WriteFile(filepath.Join(dir, "db"+ending), data, 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return filepath.Join(dir, "db")
}

// model is what a store should know.
type model struct {
	failures map[string]map[ban.ID][]time.Time
	logs     map[string]map[LogKey]Position
}

func (m *model) take(d *Delta) {
	if m.failures[d.Jail] == nil || d.AllFailures {
		m.failures[d.Jail] = map[ban.ID][]time.Time{}
	}
	_ = d.Window.each(func(id ban.ID, times []time.Time) error {
		m.failures[d.Jail][id] = slices.Clone(times)
		return nil
	})
	for id, times := range d.Failures {
		if m.failures[d.Jail][id] = times; len(times) == 0 {
			delete(m.failures[d.Jail], id)
		}
	}
	if m.logs[d.Jail] == nil || d.AllLogs {
		m.logs[d.Jail] = map[LogKey]Position{}
	}
	for k, p := range d.Logs {
		if m.logs[d.Jail][k] = p; p.Gone {
			delete(m.logs[d.Jail], k)
		}
	}
}

func (m *model) differs(st State, jail string, by time.Duration) string {
	want, got := []string{}, []string{}
	for id, times := range m.failures[jail] {
		text := ban.Name(id)
		for _, t := range times {
			text += fmt.Sprint(" ", t.UnixMicro())
		}
		want = append(want, text)
	}
	for _, f := range st.Failures {
		text := ban.Name(f.ID)
		for _, t := range f.Times {
			text += fmt.Sprint(" ", t.Add(by).UnixMicro())
		}
		got = append(got, text)
	}
	for _, p := range m.logs[jail] {
		want = append(want, fmt.Sprintf("%+v", p))
	}
	for _, p := range st.Logs {
		got = append(got, fmt.Sprintf("%+v", p))
	}
	slices.Sort(want)
	slices.Sort(got)
	if slices.Equal(want, got) {
		return ""
	}
	return fmt.Sprintf("got  %s\nwant %s", strings.Join(got, "\n     "), strings.Join(want, "\n     "))
}

// TestChangesModel: whatever is written, folded, killed, and done to the clock, what is
// read back is what was written.
func TestChangesModel(t *testing.T) {
	defer func(most int64) { changesMost = most }(changesMost)
	changesMost = 4 << 10
	for seed := range uint64(8) {
		rng := rand.New(rand.NewPCG(seed, 7))
		h := holding(t)
		m := model{map[string]map[ban.ID][]time.Time{}, map[string]map[LogKey]Position{}}
		ids := []ban.ID{p("192.0.2.1"), p("2001:db8::1"), p("192.0.2.0/24"), p("2001:db8:1::/64"), p("a name"), p("ünï")}
		for i := range 40 {
			ids = append(ids, p(fmt.Sprintf("198.51.100.%d", i)))
		}
		check := func(s *Store, what string, by time.Duration) {
			t.Helper()
			for jail := range m.failures {
				st, err := s.Load(jail, h.m.Now())
				if err != nil {
					t.Fatal(seed, what, err)
				}
				if diff := m.differs(st, jail, by); diff != "" {
					t.Fatalf("seed %d: %s: %s\n%s", seed, what, jail, diff)
				}
			}
		}
		var wrote []*Delta
		for step := range 150 {
			h.m.Advance(time.Duration(rng.IntN(5000)) * time.Millisecond)
			switch n := rng.IntN(40); {
			case n == 0:
				h.m.Set(time.Duration(rng.IntN(100000)-50000) * time.Second)
			case n == 1:
				if err := h.fold(time.Time{}); err != nil {
					t.Fatal(err)
				}
			case n == 2:
				check(h.Store, fmt.Sprintf("step %d, loaded", step), 0)
			case n == 3:
				path := h.killed(t)
				s, err := Open(path, h.m.Clock)
				if err != nil {
					t.Fatal(err)
				}
				if w := s.Warnings(); len(w) > 0 {
					t.Error(w)
				}
				check(s, fmt.Sprintf("step %d, after a kill", step), 0)
				if err := s.Close(); err != nil {
					t.Fatal(err)
				}
				if left, _ := filepath.Glob(path + ".changes*"); len(left) > 0 {
					t.Errorf("left after a stop: %q", left)
				}
			case n == 4: // a stop, and a start
				if err := h.Close(); err != nil {
					t.Fatal(err)
				}
				h.open()
				check(h.Store, fmt.Sprintf("step %d, after a stop", step), 0)
			default:
				wrote = wrote[:0]
				for range 1 + rng.IntN(2) {
					d := &Delta{Jail: []string{"ssh", "web", "mail"}[rng.IntN(3)], Failures: map[ban.ID][]time.Time{}, Logs: map[LogKey]Position{}}
					if rng.IntN(20) == 0 {
						d.AllFailures = true
						for _, id := range ids[:rng.IntN(len(ids))] {
							d.Window.Add(id, h.m.Now().UnixMicro())
						}
					}
					for range rng.IntN(10) {
						var times []time.Time
						for range rng.IntN(4) {
							times = append(times, h.m.Now().Add(-time.Duration(rng.IntN(1e6))*time.Microsecond).Truncate(time.Microsecond))
						}
						slices.SortFunc(times, time.Time.Compare)
						d.Failures[ids[rng.IntN(len(ids))]] = times
					}
					d.AllLogs = rng.IntN(30) == 0
					for range rng.IntN(3) {
						k := LogKey{"/a.log", 1, uint64(1 + rng.IntN(4))}
						p := Position{
							Path: k.Path, Dev: k.Dev, Inode: k.Inode, FirstLine: fmt.Sprint("f", k.Inode), Offset: rng.Int64N(1e9), Before: "b\x00",
							Born: int64(k.Inode), Seen: rng.Int64N(10), Time: time.Unix(0, rng.Int64N(1e18)), Gone: rng.IntN(5) == 0,
						}
						d.Logs[k] = p
					}
					if rng.IntN(4) == 0 {
						d.Logs[LogKey{Path: journal}] = Position{Path: journal, Cursor: fmt.Sprint("s=", step), Time: time.UnixMicro(rng.Int64N(1e15))}
					}
					wrote = append(wrote, d)
				}
				if len(wrote) == 2 && wrote[0].Jail == wrote[1].Jail {
					wrote = wrote[:1]
				}
				if err := h.Write(wrote); err != nil {
					t.Fatal(err)
				}
				for _, d := range wrote {
					m.take(d)
				}
			}
		}
		check(h.Store, "at the end", 0)
	}
}

// TestTorn: a file that was not written to its end, or has a hole, or rubbish in it, counts up to
// there, is said to, and is written to again.
func TestTorn(t *testing.T) {
	h := holding(t)
	var ends []int64
	for i := range 5 {
		h.write(&Delta{Failures: map[ban.ID][]time.Time{p(fmt.Sprintf("192.0.2.%d", i)): {noon}}})
		ends = append(ends, h.changes.size)
	}
	whole, err := os.ReadFile(h.path + changesEnding)
	if err != nil {
		t.Fatal(err)
	}
	whole = whole[:ends[4]]
	known := func(data []byte) (n int, warnings []string) {
		path := h.killed(t)
		if err := os.WriteFile(path+changesEnding, data, 0o600); err != nil {
			t.Fatal(err)
		}
		s, err := Open(path, h.m.Clock)
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		st, err := s.Load("web", noon)
		if err != nil {
			t.Fatal(err)
		}
		return len(st.Failures), s.Warnings()
	}
	for _, c := range []struct {
		name string
		data []byte
		want int
		told bool
	}{
		{"whole", whole, 5, false},
		{"with room behind it", append(slices.Clone(whole), make([]byte, 70000)...), 5, false},
		{"cut in the last frame", whole[:ends[4]-1], 4, true},
		{"cut in its head", whole[:ends[3]+3], 4, true},
		{"cut in the second", whole[:ends[1]-2], 1, true},
		{"cut in the head", whole[:headSize-1], 0, false},
		{"only its name", whole[:20], 0, false},
		{"nothing", nil, 0, false},
		{"a byte is another one", slices.Concat(whole[:ends[2]+9], []byte{whole[ends[2]+9] ^ 1}, whole[ends[2]+10:]), 3, true},
		{"a page that never came", slices.Concat(whole[:ends[2]], make([]byte, ends[3]-ends[2]), whole[ends[3]:]), 3, true},
		{"a length beyond everything", slices.Concat(whole[:ends[2]], []byte{255, 255, 255, 255}, whole[ends[2]+4:]), 3, true},
	} {
		if n, told := known(c.data); n != c.want || (len(told) > 0) != c.told || c.told && !strings.Contains(told[0], "not written whole") {
			t.Errorf("%s: %d failures, want %d, told %q", c.name, n, c.want, told)
		}
	}
}

// TestOtherChanges: a file of a form that is not known, or of another database, is set
// aside, and said to; reading goes on from what the database knows.
func TestOtherChanges(t *testing.T) {
	h := holding(t)
	h.write(&Delta{Failures: map[ban.ID][]time.Time{p("192.0.2.1"): {noon}}})
	if err := h.fold(time.Time{}); err != nil {
		t.Fatal(err)
	}
	h.write(&Delta{Failures: map[ban.ID][]time.Time{p("192.0.2.2"): {noon}}})
	own, err := os.ReadFile(h.path + changesEnding)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name, want string
		data       []byte
		failures   int
	}{
		{"ours", "", own, 2},
		{"a later form", "not of a form", []byte(strings.Replace(string(own), changesForm, "2\n", 1)), 1},
		{"something else", "not of a form", []byte("SQLite format 3\x00 and so on, and so on, and so on, and so on"), 1},
		{"another database's", "another database", append(append([]byte(changesMagic+changesForm), make([]byte, databaseID)...), own[headSize-8:]...), 1},
	} {
		path := h.killed(t)
		if err := os.WriteFile(path+changesEnding, c.data, 0o600); err != nil {
			t.Fatal(err)
		}
		s, err := Open(path, h.m.Clock)
		if err != nil {
			t.Fatal(err)
		}
		st, err := s.Load("web", noon)
		if told := strings.Join(s.Warnings(), "\n"); err != nil || len(st.Failures) != c.failures || (told == "") != (c.want == "") || !strings.Contains(told, c.want) {
			t.Errorf("%s: %v %v, told %q", c.name, st, err, told)
		}
		if aside, _ := filepath.Glob(path + changesEnding + ".unused-*"); (len(aside) == 1) != (c.want != "") {
			t.Errorf("%s: set aside %q", c.name, aside)
		}
		s.Close()
	}
	// What is in its place may be anything: it is told, bans are written, and what failed is
	// kept until it can be.
	if err := h.fold(time.Time{}); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(h.path+changesEnding, 0o700); err != nil {
		t.Fatal(err)
	}
	d := &Delta{Jail: "web", Failures: map[ban.ID][]time.Time{p("192.0.2.3"): {noon}}, Events: []Event{{Ban: ban.Ban{ID: who, Start: noon, End: noon.Add(hour)}}}}
	for range 3 {
		if err := h.Write([]*Delta{d}); err == nil || !strings.Contains(err.Error(), changesEnding) {
			t.Fatal(err)
		}
	}
	if n, _, err := h.BanCount("web", who, false); n != 1 || err != nil {
		t.Error(n, err)
	}
	var bans int
	if err := h.db.QueryRow("SELECT count(*) FROM bans").Scan(&bans); err != nil || bans != 1 {
		t.Errorf("the ban is there %d times, %v", bans, err)
	}
	if err := os.Remove(h.path + changesEnding); err != nil {
		t.Fatal(err)
	}
	if err := h.Write([]*Delta{d}); err != nil {
		t.Fatal(err)
	}
	if st, err := h.Load("web", noon); err != nil || len(st.Failures) != 3 {
		t.Error(st, err)
	}
}

// TestChangesRemoved: a file that is removed, replaced or cut under us is noticed, and
// jails are to tell everything.
func TestChangesRemoved(t *testing.T) {
	for name, do := range map[string]func(path string) error{
		"was removed":  os.Remove,
		"was replaced": func(path string) error { return errors.Join(os.Remove(path), os.WriteFile(path, nil, 0o600)) },
		"was cut":      func(path string) error { return os.Truncate(path, 10) },
	} {
		h := holding(t)
		var told []error
		h.Renewed(func(why error) { told = append(told, why) })
		h.write(&Delta{Failures: map[ban.ID][]time.Time{p("192.0.2.1"): {noon}}})
		was := h.Generation()
		if err := do(h.path + changesEnding); err != nil {
			t.Fatal(err)
		}
		if err := h.Write([]*Delta{CheckDelta()}); err != nil {
			t.Fatal(err)
		}
		if h.Generation() != was+1 || len(told) != 1 || !strings.Contains(told[0].Error(), name) {
			t.Errorf("%s: generation %d to %d, told %v", name, was, h.Generation(), told)
		}
		h.write(&Delta{AllBans: true, AllFailures: true, AllLogs: true, Failures: map[ban.ID][]time.Time{p("192.0.2.9"): {noon}}})
		s, err := Open(h.killed(t), h.m.Clock)
		if err != nil {
			t.Fatal(err)
		}
		if st, err := s.Load("web", noon); err != nil || st.String() != "failures 192.0.2.9 1" {
			t.Errorf("%s: %v, %v", name, st, err)
		}
		s.Close()
	}
}

// TestChangesFull: on a disk that is full, nothing is appended, and that is told; when there
// is room again, everything is there. Needs root, for a file system of its own.
func TestChangesFull(t *testing.T) {
	dir := t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=1m"); err != nil {
		t.Fatal("a file system of 1 MB, which root can mount:", err)
	}
	t.Cleanup(func() { _ = syscall.Unmount(dir, syscall.MNT_DETACH) })
	m := clock.NewManual(noon)
	s, err := Open(filepath.Join(dir, "db"), m.Clock)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	told := make(chan error, 10)
	q := NewQueue(s.Write, func(err error) { told <- err })
	add := func(i int) {
		q.Push(&Delta{Jail: "web", Failures: map[ban.ID][]time.Time{p(fmt.Sprintf("192.0.2.%d", i)): {noon}}})
	}
	add(1)
	if err := q.SyncFor(10 * time.Second); err != nil {
		t.Fatal(err)
	}
	ballast, err := os.Create(filepath.Join(dir, "ballast"))
	if err != nil {
		t.Fatal(err)
	}
	for chunk := 4096; chunk > 0; {
		if _, err := ballast.Write(make([]byte, chunk)); err != nil {
			chunk /= 2
		}
	}
	var full error
	n := 1
	for full == nil && n < 200 {
		n++
		d := &Delta{Jail: "web", Failures: map[ban.ID][]time.Time{p(fmt.Sprintf("192.0.2.%d", n)): {noon}}, Logs: map[LogKey]Position{
			{"/a.log", 1, 1}: {Path: "/a.log", Dev: 1, Inode: 1, FirstLine: "x", Offset: int64(n), Before: strings.Repeat("b", 4096)},
		}}
		q.Push(d)
		full = q.SyncFor(10 * time.Second)
	}
	if full == nil || !strings.Contains(full.Error(), "no space left") && !strings.Contains(full.Error(), "full") {
		t.Fatalf("after %d: %v", n, full)
	}
	if err := <-told; err == nil {
		t.Error("nothing is told")
	}
	if err := errors.Join(ballast.Close(), os.Remove(ballast.Name())); err != nil {
		t.Fatal(err)
	}
	if err := <-told; err != nil { // it works again
		t.Error(err)
	}
	if err := q.Close(); err != nil {
		t.Fatal(err)
	}
	st, err := s.Load("web", noon)
	if err != nil || len(st.Failures) != n || len(st.Logs) != 1 || st.Logs[0].Offset != int64(n) {
		t.Errorf("%d failures of %d, logs %v, %v", len(st.Failures), n, st.Logs, err)
	}
}

// TestFoldBounds: the file does not grow beyond its bound, and addresses are folded once.
func TestFoldBounds(t *testing.T) {
	defer func(most int64) { changesMost = most }(changesMost)
	changesMost = 64 << 10
	h := holding(t)
	largest := int64(0)
	for i := range 3000 {
		d := &Delta{Failures: map[ban.ID][]time.Time{}}
		for k := range 5 {
			d.Failures[p(fmt.Sprintf("198.51.%d.%d", k, i%256))] = []time.Time{noon.Add(time.Duration(i) * time.Second)}
		}
		h.write(d)
		largest = max(largest, h.changes.size)
		for h.foldingNow.Load() { // who writes is quicker than the disk: let it come after
			time.Sleep(time.Millisecond)
		}
	}
	if err := h.fold(time.Time{}); err != nil {
		t.Fatal(err)
	}
	var rows int
	if err := h.db.QueryRow("SELECT count(*) FROM bailiff_failures").Scan(&rows); err != nil || rows != 5*256 {
		t.Errorf("%d rows, %v", rows, err)
	}
	if left, _ := filepath.Glob(h.path + ".changes*"); len(left) > 0 {
		t.Errorf("left: %q", left)
	}
	if largest > 8*changesMost {
		t.Errorf("the file had %d bytes, of %d", largest, changesMost)
	}
}

// TestQuietDisk: what is not a ban writes nothing to the database.
func TestQuietDisk(t *testing.T) {
	h := holding(t)
	pos := func(n int64) map[LogKey]Position {
		return map[LogKey]Position{{"/a.log", 1, 1}: {Path: "/a.log", Dev: 1, Inode: 1, FirstLine: "x", Offset: n}}
	}
	h.write(&Delta{Logs: pos(1)})
	was, err := os.ReadFile(h.path)
	if err != nil {
		t.Fatal(err)
	}
	const n = 1000
	for i := range n {
		h.write(&Delta{Failures: map[ban.ID][]time.Time{p(fmt.Sprintf("192.0.2.%d", i%250)): {noon}}, Logs: pos(int64(i))})
	}
	if now, err := os.ReadFile(h.path); err != nil || string(now) != string(was) {
		t.Errorf("the database has changed, %v", err)
	}
	if each := h.changes.size / n; each > 60 {
		t.Errorf("%d bytes for a failure and a position", each)
	}
}

// FuzzChanges: no file stops us, and what is read of one can be written.
func FuzzChanges(f *testing.F) {
	r := newRecorder(noon)
	seed := r.head([databaseID]byte{1})
	for i := range 3 {
		seed = append(seed, r.frame([]*Delta{{
			Jail: "web", AllLogs: i == 1, AllFailures: i == 2,
			Failures: map[ban.ID][]time.Time{p("192.0.2.1"): {noon}, p("2001:db8::1"): nil, p("x"): {noon, noon}},
			Logs:     map[LogKey]Position{{"a", 1, 2}: {Path: "a", Dev: 1, Inode: 2, Cursor: "c", Time: noon, Before: "b"}},
		}}, recordClock{"boot", 1, 2}, noon)...)
	}
	f.Add(seed, 0, byte(0))
	f.Add(seed, 70, byte(1))
	f.Fuzz(func(t *testing.T, data []byte, at int, with byte) {
		if at > headSize+frameHead && at < len(data) { // beyond the sum, which would hide it
			data = slices.Clone(data)
			data[at] ^= with
			for from := headSize; len(data)-from > frameHead; {
				n := int(uint32(data[from]) | uint32(data[from+1])<<8 | uint32(data[from+2])<<16 | uint32(data[from+3])<<24)
				if n <= 0 || n > len(data)-from-frameHead {
					break
				}
				sum := sumOf(data[from : from+frameHead+n])
				data[from+4], data[from+5], data[from+6], data[from+7] = byte(sum), byte(sum>>8), byte(sum>>16), byte(sum>>24)
				from += frameHead + n
			}
		}
		r, err := readRecorded(data)
		if err != nil {
			return
		}
		if r.sound > len(data) {
			t.Fatal(r.sound)
		}
		for _, j := range r.jails {
			var st State
			st.over(r, j, nil)
			for _, f := range st.Failures {
				if !f.ID.IsValid() {
					t.Fatal("nobody has failed")
				}
			}
		}
	})
}

// TestLoadBesideWriter: a jail is loaded while somebody writes to a disk that takes its time.
func TestLoadBesideWriter(t *testing.T) {
	h := holding(t)
	h.write(&Delta{Failures: map[ban.ID][]time.Time{p("192.0.2.1"): {noon}}})
	h.writing.Lock()
	defer h.writing.Unlock()
	loaded := make(chan string, 2)
	go func() {
		for _, jail := range []string{"web", "other"} {
			st, err := h.Load(jail, noon)
			loaded <- fmt.Sprint(st.String(), err)
		}
	}()
	for _, want := range []string{"failures 192.0.2.1 1<nil>", "<nil>"} {
		select {
		case got := <-loaded:
			if got != want {
				t.Errorf("%q, want %q", got, want)
			}
		case <-time.After(2 * time.Minute):
			t.Fatal("it waits for who writes")
		}
	}
}

// each calls f with the failures of each address, which are valid until it returns.
func (w *Window) each(f func(id ban.ID, times []time.Time) error) error {
	var list []time.Time
	from := 0
	for i, id := range w.ids {
		list = list[:0]
		for _, t := range w.times[from:w.ends[i]] {
			list = append(list, time.UnixMicro(t))
		}
		from = w.ends[i]
		if err := f(id, list); err != nil {
			return err
		}
	}
	return nil
}
