package cli

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
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

// TestCollectLater: memory is collected when much of it is in use, and as ever after
// that.
func TestCollectLater(t *testing.T) {
	before := debug.SetGCPercent(100)
	defer debug.SetGCPercent(before)
	collectLater()
	var kept [][]byte
	deadline := time.Now().Add(10 * time.Second)
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
