package replay_test

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/ulikunitz/xz"

	"bailiff/bench/logs"
	"bailiff/pkg/ban"
	"bailiff/pkg/replay"
)

// TestOrder: the files of a log are put together by name, whatever order they are given in, and in
// order by their dates; where there are none, by name.
func TestOrder(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ given, want string }{
		{"a.log a.log.1 a.log.10.gz a.log.2.gz", "a.log.10.gz a.log.2.gz a.log.1 a.log"},
		{"a.log-20260102 a.log a.log-20260101.gz", "a.log-20260101.gz a.log-20260102 a.log"},
		{"a-20260102.log a.log a-20260101.log.xz", "a-20260101.log.xz a-20260102.log a.log"},
		{"a.log.2026-01-02 a.log.2026-01-01.zst a.log", "a.log.2026-01-01.zst a.log.2026-01-02 a.log"},
		{"a.log-1769860800.gz a.log a.log-1769774400.gz", "a.log-1769774400.gz a.log-1769860800.gz a.log"},
		{"a.log-20260102-1769860800 a.log-20260102-1769774400", "a.log-20260102-1769774400 a.log-20260102-1769860800"},
		{"a.2.log a.log a.1.log", "a.2.log a.1.log a.log"},
		{"b.log a.log.1 a.log", "b.log; a.log.1 a.log"},
		{"a.log.1 a.log.1.gz a.log", "a.log.1 a.log"},
		{"a.log.1.gz a.log.1 a.log", "a.log.1 a.log"},
		{"web1.log web2.log", "web1.log; web2.log"},
	} {
		dir := t.TempDir()
		var paths []string
		for _, name := range strings.Fields(c.given) {
			path := filepath.Join(dir, name)
			if err := os.WriteFile(path, nil, 0o600); err != nil {
				t.Fatal(err)
			}
			paths = append(paths, path)
		}
		set, err := replay.Files(paths)
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, l := range set.Logs {
			var files []string
			for _, f := range l.Files {
				files = append(files, filepath.Base(f.Path))
			}
			got = append(got, strings.Join(files, " "))
		}
		if text := strings.Join(got, "; "); text != c.want {
			t.Errorf("%s: %s, want %s", c.given, text, c.want)
		}
	}
}

// replayed writes files and replays them by a jail with the filter django-auth.
func replayed(t *testing.T, toml string, files map[string]string, zone *time.Location) ([]*replay.Ban, *replay.Report) {
	t.Helper()
	dir := t.TempDir()
	var paths []string
	for name, text := range files {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		paths = append(paths, path)
	}
	set, err := replay.Files(paths)
	if err != nil {
		t.Fatal(err)
	}
	var bans []*replay.Ban
	r, err := replay.Run(t.Context(), replay.Options{
		Jail: jailOf(t, "django-auth", toml), Logs: set.Logs, Location: zone, Guard: newGuard(t),
		Ban: func(b *replay.Ban) error { bans = append(bans, b); return nil },
	})
	if err != nil {
		t.Fatal(err)
	}
	return bans, r
}

// TestByContent: what files hold says how they are compressed, and in which order they were
// written; their names may lie.
func TestByContent(t *testing.T) {
	t.Parallel()
	const say = "2026-01-31 12:00:0%d Login failure 192.0.2.%d\n"
	bans, r := replayed(t, "maxretry = 3", map[string]string{
		"a.log":      fmt.Sprintf(say, 1, 7),
		"a.log.1.gz": fmt.Sprintf(say, 3, 7),
		"a.log.2":    fmt.Sprintf(say, 2, 7) + "hello\n",
	}, time.UTC)
	if len(bans) != 1 || bans[0].Start.Second() != 3 || bans[0].Failures != 3 || len(r.Problems) > 0 {
		t.Errorf("%+v %+v", bans, r)
	}
	if want := "2026-01-31 12:00:01 Login failure 192.0.2.7"; len(bans) == 1 && (len(bans[0].Lines) != 3 || bans[0].Lines[0] != want) {
		t.Errorf("%q", bans[0].Lines)
	}
}

// TestSeveralLogs: several logs are in the order of time.
func TestSeveralLogs(t *testing.T) {
	t.Parallel()
	files := map[string]string{}
	for i := range 6 {
		var text strings.Builder
		for n := range 1000 {
			at := time.Date(2026, 1, 31, 12, 0, 0, 0, time.UTC).Add(time.Duration(6*n+i) * time.Second)
			fmt.Fprintf(&text, "%s Login failure 192.0.2.%d\n", at.Format(time.DateTime), 1+n%200)
		}
		files[fmt.Sprintf("log%c", 'a'+i)] = text.String()
	}
	bans, r := replayed(t, "maxretry = 6\nfindtime = \"5s\"\nbantime = \"1s\"", files, time.UTC)
	if len(bans) != 1000 || r.Failures != 6000 || r.Lines != 6000 {
		t.Fatalf("%d bans, %+v", len(bans), r)
	}
	for n, b := range bans {
		if at := time.Date(2026, 1, 31, 12, 0, 5, 0, time.UTC).Add(time.Duration(6*n) * time.Second); !b.Start.Equal(at) || b.ID.String() != fmt.Sprintf("192.0.2.%d", 1+n%200) {
			t.Fatalf("ban %d: %v %v, want %v", n, b.ID, b.Start, at)
		}
	}
}

// TestHourTwice: in the hour that autumn has twice, and the next, failures are counted at their
// times.
func TestHourTwice(t *testing.T) {
	t.Parallel()
	zurich, err := time.LoadLocation("Europe/Zurich")
	if err != nil {
		t.Fatal(err)
	}
	var text strings.Builder
	begin := time.Date(2025, 10, 25, 23, 0, 0, 0, time.UTC)
	for at := begin; at.Before(begin.Add(4 * time.Hour)); at = at.Add(5 * time.Minute) {
		fmt.Fprintf(&text, "%s Login failure 192.0.2.7\n", at.In(zurich).Format(time.DateTime))
	}
	// One in five minutes: five of them lie in 20.
	bans, r := replayed(t, "maxretry = 5\nfindtime = \"20m\"\nbantime = \"1m\"", map[string]string{"a.log": text.String()}, zurich)
	if len(bans) != 9 || r.TooOld > 0 {
		t.Fatalf("%d bans, %+v", len(bans), r)
	}
	for n, b := range bans {
		if want := begin.Add(time.Duration(20+25*n) * time.Minute); !b.Start.Equal(want) {
			t.Errorf("ban %d at %v, want %v", n, b.Start.UTC(), want)
		}
	}
}

// TestAhead: a line of later than its file was written to moves no clock, and is told; lines
// without a date are of when the one before them was.
func TestAhead(t *testing.T) {
	t.Parallel()
	bans, r := replayed(t, "maxretry = 4", map[string]string{
		"a.log": "2026-01-31 12:00:00 Login failure 192.0.2.7\n" +
			"2027-01-31 12:00:01 Login failure 192.0.2.7\n" +
			"Login failure 192.0.2.7\n" +
			"2026-01-31 12:00:03 Login failure 192.0.2.7\n",
	}, time.UTC)
	if len(r.Problems) != 1 || r.Problems[0].Missing || !strings.Contains(r.Problems[0].String(), "2027-01-31 12:00:01 is of later than the file was last written to") {
		t.Errorf("%v", r.Problems)
	}
	if r.Failures < 3 || len(bans) > 1 || len(bans) == 1 && bans[0].Start.Second() != 3 {
		t.Errorf("%+v %+v", bans, r)
	}
}

// TestDictionary: a file that wants more memory to be decompressed than it may have is not read.
func TestDictionary(t *testing.T) {
	t.Parallel()
	for _, size := range []int{1 << 16, 64 << 20, 512 << 20} {
		var b bytes.Buffer
		w, err := xz.WriterConfig{DictCap: size, BufSize: 4096}.NewWriter(&b)
		if size > 64<<20 { // the header alone: to write it takes that much
			w, err = xz.WriterConfig{DictCap: 1 << 16}.NewWriter(&b)
		}
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(w, "2026-01-31 12:00:00 Login failure 192.0.2.7\n"); err != nil {
			t.Fatal(err)
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		file := b.Bytes()
		if size > 64<<20 {
			i := bytes.Index(file[12:], []byte{0x21, 1})
			file[12+i+2] = 34 // 512 MiB
		}
		_, r := replayed(t, "", map[string]string{"a.log.xz": string(file)}, time.UTC)
		switch {
		case size <= 64<<20 && (len(r.Problems) > 0 || r.Failures != 1):
			t.Errorf("%d MiB: %+v", size>>20, r)
		case size > 64<<20 && (len(r.Problems) != 1 || !r.Problems[0].Missing || !strings.Contains(r.Problems[0].String(), "dictionary is larger than 128 MiB")):
			t.Errorf("%d MiB: %+v", size>>20, r)
		}
	}
}

// TestUnreadable: what is wrong with one file costs what stands behind that in it.
func TestUnreadable(t *testing.T) {
	t.Parallel()
	good := "2026-01-31 12:00:00 Login failure 192.0.2.7\n"
	for _, bad := range []string{"\x1f\x8b\x08\x00", "\x28\xb5\x2f\xfd", "\xfd7zXZ\x00", "\xfd7zXZ\x00" + strings.Repeat("x", 40), "BZh9", "\x1f\x8b" + strings.Repeat("x", 100)} {
		_, r := replayed(t, "", map[string]string{"a.log": good, "a.log.1": bad}, time.UTC)
		if r.Failures != 1 || len(r.Problems) != 1 || !r.Problems[0].Missing {
			t.Errorf("%q: %+v", bad, r)
		}
	}
	if _, err := replay.Files([]string{t.TempDir(), filepath.Join(t.TempDir(), "nothing")}); err == nil || !strings.Contains(err.Error(), "is a directory") || !errors.Is(err, os.ErrNotExist) {
		t.Error(err)
	}
}

// manyLines is how many lines TestManyLines replays: -many-lines 10000000 for a whole month.
var manyLines = flag.Int("many-lines", 400_000, "how many lines TestManyLines replays")

// TestManyLines: more lines take no more memory.
func TestManyLines(t *testing.T) {
	pipe := func(lines int) (heap uint64, r *replay.Report) {
		in, out := io.Pipe()
		go func() {
			err := logs.Write(out, logs.Options{Kind: "auth", Lines: lines, Share: 0.3, Seed: 1, Start: time.Now().Add(-time.Duration(lines) * time.Second / 4), PerSecond: 4})
			out.CloseWithError(err)
		}()
		set, err := replay.Files([]string{replay.Stdin})
		if err != nil {
			t.Fatal(err)
		}
		n, ids := 0, map[ban.ID]bool{}
		r, err = replay.Run(t.Context(), replay.Options{
			Jail: jailOf(t, "sshd", "maxretry = 3\nfindtime = \"1h\""), Logs: set.Logs, Location: time.UTC, Guard: newGuard(t), Stdin: in,
			Ban: func(b *replay.Ban) error {
				ids[b.ID] = true
				if n++; n%200 == 0 { // by then there is what there will be
					runtime.GC()
					var m runtime.MemStats
					runtime.ReadMemStats(&m)
					heap = max(heap, m.HeapInuse)
				}
				return nil
			},
		})
		if err != nil {
			t.Fatal(err)
		}
		if r.Lines != int64(lines) || int64(len(ids)) != r.Banned || r.Bans < int64(lines)/200 {
			t.Errorf("%+v", r)
		}
		return heap, r
	}
	few, _ := pipe(*manyLines / 4)
	many, r := pipe(*manyLines)
	t.Logf("%d lines: %d KiB; %d lines, %d bans: %d KiB", *manyLines/4, few>>10, r.Lines, r.Bans, many>>10)
	// What is kept of lines fills up to its 8 MiB; the log has a hundred bytes a line.
	if many > few+12<<20 {
		t.Errorf("%d KiB, and %d KiB with four times the lines", few>>10, many>>10)
	}
}
