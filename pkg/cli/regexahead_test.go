package cli

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"strings"
	"testing"
	"time"

	"bailiff/bench/logs"
)

// TestInBlocks: one core and several find the same in a log, to the byte, also where
// dates change their form on the way; and a line that ends the run, ends it.
func TestInBlocks(t *testing.T) {
	var log bytes.Buffer
	at := time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC)
	for i := range 6 {
		err := logs.Write(&log, logs.Options{Kind: []string{"auth", "syslog"}[i%2], Lines: 30_000, Share: 0.2, Seed: uint64(i), Start: at.AddDate(0, 0, i)})
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(&log, "no date here\n# a comment\n\n2026-03-0%dT10:00:00+01:00 web1 sshd[7]: Invalid user bob from 192.0.2.%d port 22\n", i+1, i+1)
	}
	path := filepath.Join(t.TempDir(), "auth.log")
	if err := os.WriteFile(path, log.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	found := map[int]string{}
	for _, cores := range []int{1, 2, 5} {
		before := runtime.GOMAXPROCS(cores)
		for _, format := range []string{"id", "<ip> <matches>"} {
			var out bytes.Buffer
			o := regexOptions{out: &out, format: format, now: at.AddDate(0, 1, 0), location: time.UTC}
			if err := o.run([]string{path, "sshd"}); err != nil {
				t.Fatal(err)
			}
			found[cores] += out.String()
		}
		runtime.GOMAXPROCS(before)
	}
	if n := bytes.Count([]byte(found[1]), []byte("\n")); n < 10_000 {
		t.Errorf("%d failures", n)
	}
	for cores, out := range found {
		if out != found[1] {
			t.Errorf("%d cores find something else than one (%d and %d bytes)", cores, len(out), len(found[1]))
		}
	}
}

// TestReportInBlocks: the report is the same to the byte on one core, on several, and
// where one line is read after the other, with all that may be listed.
func TestReportInBlocks(t *testing.T) {
	var log bytes.Buffer
	at := time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC)
	for i := range 4 {
		err := logs.Write(&log, logs.Options{Kind: []string{"auth", "syslog"}[i%2], Lines: reportLines, Share: 0.2, Seed: uint64(i), Start: at.AddDate(0, 0, i)})
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(&log, "no date here\r\n# a comment\n\n2026-03-0%dT10:00:00+01:00 web1 sshd[7]: Invalid user \xff\x00 from 192.0.2.%d port 22\n", i+1, i+1)
	}
	long := "Mar  5 10:00:00 web1 sshd[8]: Invalid user " + strings.Repeat("x", 1200<<10) + " from 192.0.2.1 port 22\n"
	log.WriteString(long)
	few := []byte("Mar  5 10:00:00 web1 cron[8]: nothing\nMar  5 10:00:01 web1 sshd[8]: Invalid user bob from 192.0.2.1 port 22\n")
	path := filepath.Join(t.TempDir(), "auth.log")
	report := func(text []byte, lines bool, o regexOptions, args ...string) string {
		if err := os.WriteFile(path, text, 0o600); err != nil {
			t.Fatal(err)
		}
		var out bytes.Buffer
		o.out, o.now, o.location, o.fail2ban = &out, at.AddDate(0, 1, 0), time.UTC, true
		log := path
		if lines { // each is then looked at by itself
			log = strings.TrimSuffix(strings.ReplaceAll(string(text), long, ""), "\n")
		}
		if err := o.run(append([]string{log}, args...)); err != nil {
			t.Fatal(err)
		}
		_, report, _ := strings.Cut(out.String(), "Results\n")
		return regexp.MustCompile(`processed in .*`).ReplaceAllString(report, "")
	}
	for i, args := range [][]string{{"sshd"}, {"sshd", "root|alice"}, {`[iI]nvalid user \S* from <HOST>`}, {`(?:Failed|Invalid) .* from <ADDR>`, "192"}, {"postfix"}} {
		if testing.Short() && i > 0 { // goroutines meet at the first as at all others
			break
		}
		for _, o := range []regexOptions{
			{},
			{verbose: 1},
			{allMatched: true},
			{verbose: 1, allMissed: true, allMatched: true, allIgnored: true},
			{noMissed: true, noIgnored: true},
			{raw: true, maxLines: 1},
		} {
			for _, text := range [][]byte{log.Bytes(), few, nil} {
				var first string
				for _, cores := range []int{1, 3} {
					before := runtime.GOMAXPROCS(cores)
					got := report(text, false, o, args...)
					runtime.GOMAXPROCS(before)
					if cores == 1 {
						first = got
					} else if got != first {
						t.Fatalf("%q %+v: %d cores report something else than one:\n%.2000s\nand:\n%.2000s", args, o, cores, got, first)
					}
				}
				if testing.Short() {
					continue
				}
				text = bytes.ReplaceAll(text, []byte(long), nil)
				if alone, got := report(text, true, o, args...), report(text, false, o, args...); len(text) > 0 && alone != got {
					t.Fatalf("%q %+v: line by line:\n%.2000s\nin blocks:\n%.2000s", args, o, alone, got)
				}
			}
		}
	}
}

// TestCollectLater: memory is collected when much of it is in use, and as ever after
// that.
func TestCollectLater(t *testing.T) {
	before := debug.SetGCPercent(100)
	defer debug.SetGCPercent(before)
	collectLater()
	var kept [][]byte
	deadline := time.Now().Add(2 * time.Minute)
	percent := []metrics.Sample{{Name: "/gc/gogc:percent"}}
	for metrics.Read(percent); percent[0].Value.Uint64() != 100; metrics.Read(percent) {
		if time.Now().After(deadline) {
			t.Fatal("it is not collected")
		}
		kept = append(kept, make([]byte, 1<<20))
		if len(kept) > 60 {
			kept = nil
			time.Sleep(time.Millisecond)
		}
	}
}

// BenchmarkRegex is a whole run of bailiff regex -o id, on one core and on all.
func BenchmarkRegex(b *testing.B) {
	for _, of := range []struct{ filter, kind string }{
		{"sshd", "auth"},
		{"nginx-http-auth", "nginx-error"},
		{"nginx-botsearch", "nginx-access"},
		{"dovecot", "dovecot"},
		{"postfix", "mail"},
		{"apache-auth", "apache-error"},
		{"recidive", "fail2ban"},
	} {
		const lines = 100_000
		var log bytes.Buffer
		if err := logs.Write(&log, logs.Options{Kind: of.kind, Lines: lines, Share: 0.1, Seed: 1, Start: time.Now().Add(-2 * time.Hour)}); err != nil {
			b.Fatal(err)
		}
		path := filepath.Join(b.TempDir(), "log")
		if err := os.WriteFile(path, log.Bytes(), 0o600); err != nil {
			b.Fatal(err)
		}
		for _, cores := range []int{1, runtime.NumCPU()} {
			b.Run(fmt.Sprintf("%s/cores=%d", of.filter, cores), func(b *testing.B) {
				defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(cores))
				b.SetBytes(int64(log.Len()))
				for b.Loop() {
					o := regexOptions{out: io.Discard, format: "id", config: "/etc/fail2ban", location: time.UTC}
					if err := o.run([]string{path, of.filter}); err != nil {
						b.Fatal(err)
					}
				}
				b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/lines, "ns/line")
			})
		}
	}
}
