package replay_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync/atomic"
	"testing"
	"testing/iotest"
	"time"

	"github.com/klauspost/compress/zstd"

	"bailiff/pkg/config"
	"bailiff/pkg/guard"
	"bailiff/pkg/replay"
)

// shop is a jail with a filter of a line, and failures that a log of its has.
func shop(t *testing.T) *config.Jail {
	t.Helper()
	def, err := config.DefinitionOf("shop", []byte("failregex = '^ ?shop: login failed from <ADDR>$'\n"), "")
	if err != nil {
		t.Fatal(err)
	}
	return &config.Jail{Name: "shop", Filter: def, MaxRetry: 3, FindTime: 10 * time.Minute, BanTime: 10 * time.Minute}
}

func failures(addresses, each int) string {
	var b strings.Builder
	at := time.Date(2026, 1, 31, 12, 0, 0, 0, time.UTC)
	for i := range each {
		for n := range addresses {
			fmt.Fprintf(&b, "%s shop: login failed from 2001:db8:%x::7\n", at.Add(time.Duration(i)*time.Minute).Format(time.DateTime), n)
		}
	}
	return b.String()
}

func over(t *testing.T, text []byte, change func(*replay.Options)) (*replay.Report, error) {
	t.Helper()
	g := guard.New(guard.Options{Log: slog.New(slog.DiscardHandler)})
	defer g.Close()
	o := replay.Options{
		Jail: shop(t), Location: time.UTC, Guard: g, Cores: 1,
		Logs: []replay.Log{{Name: "-", Files: []*replay.File{{Path: "no such file", Time: time.Now(), From: bytes.NewReader(text)}}}},
	}
	change(&o)
	return replay.Run(context.Background(), o)
}

// TestMost: what is too much is missing, and said; what came before it counts.
func TestMost(t *testing.T) {
	t.Parallel()
	log := failures(100, 5) // 500 lines
	whole, err := over(t, []byte(log), func(*replay.Options) {})
	if err != nil || whole.Lines != 500 || whole.Failures != 500 || whole.Bans != 100 || len(whole.Problems) > 0 {
		t.Fatalf("%+v, %v", whole, err)
	}
	var steps atomic.Int64
	r, err := over(t, []byte(log), func(o *replay.Options) {
		o.Most.Lines, o.Most.Text = 1_000_000, 1<<30
		o.Step = func() { steps.Add(1) }
		o.Sweep = []replay.Setting{{MaxRetry: 1, FindTime: time.Minute, BanTime: time.Minute}, {MaxRetry: 4, FindTime: time.Hour, BanTime: -1}}
	})
	if err != nil || r.Bans != whole.Bans || r.ShutOut != whole.ShutOut || r.Sweep[1].Bans != 100 || len(r.Problems) > 0 || steps.Load() < 5 {
		t.Errorf("within its bounds: %+v, %v, %d steps", r, err, steps.Load())
	}
	for what, change := range map[string]func(*replay.Options){
		"lines": func(o *replay.Options) { o.Most.Lines = 350 },
		"text":  func(o *replay.Options) { o.Most.Text = 20 << 10 },
	} {
		r, err := over(t, []byte(log), func(o *replay.Options) {
			change(o)
			o.Logs[0].Files[0].From = iotest.OneByteReader(strings.NewReader(log))
		})
		if err != nil || len(r.Problems) != 1 || !r.Problems[0].Missing || !strings.Contains(r.Problems[0].String(), "it has more than") || r.Lines == 0 || r.Lines > 360 || r.Failures != r.Lines {
			t.Errorf("%s: %d lines, %d failures, %v, %v", what, r.Lines, r.Failures, r.Problems, err)
		}
	}
	_, err = over(t, []byte(log), func(o *replay.Options) { o.Most.Bans = 70 })
	if many, ok := errors.AsType[*replay.BansError](err); !ok || many.Most != 70 {
		t.Errorf("too many bans: %v", err)
	}
}

// TestWindow: what would take more to be decompressed than may be is refused, and read with more.
func TestWindow(t *testing.T) {
	t.Parallel()
	var packed bytes.Buffer
	w, err := zstd.NewWriter(&packed, zstd.WithWindowSize(16<<20), zstd.WithSingleSegment(false))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write([]byte(failures(20_000, 3))); err != nil {
		t.Fatal(err)
	}
	w.Close()
	for window, whole := range map[int64]bool{8 << 20: false, 0: true} {
		r, err := over(t, packed.Bytes(), func(o *replay.Options) { o.Most.Window = window })
		if err != nil || (r.Bans == 20_000) != whole || (len(r.Problems) == 0) != whole {
			t.Errorf("window %d: %d bans, %v, %v", window, r.Bans, r.Problems, err)
		}
	}
}

// TestAnswer: JSON has what the report has, and the picture all failures.
func TestAnswer(t *testing.T) {
	t.Parallel()
	r, err := over(t, []byte(failures(10, 5)), func(o *replay.Options) {
		o.Sweep = []replay.Setting{{MaxRetry: 5, FindTime: time.Hour, BanTime: -1}}
	})
	if err != nil {
		t.Fatal(err)
	}
	a, p := r.Answer(time.UTC), r.Plot(time.UTC, 3)
	if a.Failures != 50 || a.BanCount != 10 || a.LetThrough != 30 || a.ShutOut != 20 || !a.Complete || a.Logins != nil || a.Best == nil || a.Best.BanTime != -1 || a.Sweep[0].Bans != 10 {
		t.Errorf("%+v", a)
	}
	sum := [2]int64{}
	for i := range p.Failures {
		sum[0] += p.Failures[i]
		sum[1] += p.Bans[i]
	}
	if sum != [2]int64{50, 10} || p.Step != 60 || p.Begin == nil || len(p.Networks) != 3 || p.Networks[0].N != 5 {
		t.Errorf("%+v", p)
	}
}
