package source

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"bailiff/pkg/engine"
	"bailiff/pkg/transport"
)

// randomLog is a log as engines write one: two streams beside one another, parts of lines with the
// time of the first, a clock that is set now and then, and many records of the same moment.
func randomLog(r *rand.Rand, n int) (out []engine.Record) {
	now := time.Unix(1_800_000_000, 0)
	var began [2]time.Time
	for i := range n {
		switch r.IntN(12) {
		case 0:
			now = now.Add(time.Duration(r.IntN(5000)) * time.Millisecond)
		case 1:
			if r.IntN(20) == 0 {
				now = now.Add(time.Duration(r.IntN(7200)-3600) * time.Second)
			}
		case 2, 3, 4:
			now = now.Add(time.Duration(r.IntN(1000)) * time.Microsecond)
		}
		rec := engine.Record{Stamp: now.Add(-time.Duration(r.IntN(3)) * time.Microsecond), Stderr: r.IntN(3) == 0, Text: []byte(fmt.Sprint("line ", i%max(1, r.IntN(7))))}
		of := &began[0]
		if rec.Stderr {
			of = &began[1]
		}
		if rec.Part = r.IntN(8) == 0; rec.Part && of.IsZero() {
			*of = rec.Stamp
		}
		if !of.IsZero() {
			rec.Stamp = *of
		}
		if !rec.Part {
			*of = time.Time{}
		}
		out = append(out, rec)
	}
	return out
}

// asked is what an engine tells of a log since a second.
func asked(log []engine.Record, since int64, podman bool) (out []engine.Record) {
	from := time.Unix(since, 0)
	for _, r := range log {
		stamp := r.Stamp
		if podman {
			r.Stamp = stamp.Truncate(time.Second)
		}
		if stamp.After(from) || !podman && stamp.Equal(from) {
			out = append(out, r)
		}
	}
	return out
}

// TestAnchor: whoever is at a place of a log, and asks from there, goes on behind it; over any
// number of times, whatever the times of the records are.
func TestAnchor(t *testing.T) {
	for seed := range uint64(100) {
		r := rand.New(rand.NewPCG(seed, 7))
		log := randomLog(r, 20+r.IntN(300))
		podman := r.IntN(2) == 0
		known := log[0].Stamp.Unix() - int64(r.IntN(100))
		for _, rec := range log {
			known = min(known, rec.Stamp.Unix())
		}
		var at anchorAt
		placed := false
		for read, idle := 0, 0; read < len(log); {
			was := read
			written := read + r.IntN(len(log)-read+1) // what there is when it asks
			since := known
			if placed {
				since = at.Low
				for _, rec := range log[read:written] { // a clock that was set back is known
					since = min(since, rec.Stamp.Unix())
				}
			}
			var a anchor
			find := finding{to: at, done: !placed}
			text := transport.NewRecords(transport.Options{})
			for _, rec := range asked(log[:written], since-1, podman) {
				passed := !find.done && find.passes(&rec)
				if find.lost {
					t.Fatalf("seed %d: at %d of %d: %+v is not found", seed, read, written, at)
				}
				if passed && rec.Stamp.Unix() < at.Floor && find.n < at.N {
					continue
				}
				if text.Take(recordOf(&rec)); !passed {
					if find.done = true; read >= written || string(rec.Text) != string(log[read].Text) || rec.Stamp.Unix() != log[read].Stamp.Unix() {
						t.Fatalf("seed %d: at %d of %d comes %q of %v: from %+v", seed, read, written, rec.Text, rec.Stamp.Unix(), at)
					}
					read++
				}
				if a.add(&rec, max(at.Floor, known)); !passed {
					waits, _ := text.WaitsSince()
					next, ok := parseAnchor(a.place(text.Parts(), waits).String())
					if at, placed = next, true; !ok {
						t.Fatalf("seed %d: %+v is not read back", seed, next)
					}
					if r.IntN(40) == 0 {
						break
					}
				}
			}
			if idle++; read > was {
				idle = 0
			} else if idle > 100 {
				t.Fatalf("seed %d: at %d of %d nothing comes: %+v", seed, read, len(log), at)
			}
		}
	}
}
