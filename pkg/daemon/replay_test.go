package daemon

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"bailiff/pkg/control"
)

// shopLog has so many failures of each of some addresses, a minute apart.
func shopLog(addresses, each int) string {
	var b strings.Builder
	at := time.Date(2026, 1, 31, 12, 0, 0, 0, time.Local)
	for i := range each {
		for n := range addresses {
			fmt.Fprintf(&b, "%s shop: login of root failed from 2001:db8:%x::7\n", at.Add(time.Duration(i)*time.Minute).Format(time.DateTime), n)
		}
	}
	return b.String()
}

// TestReplayInside: a present log and one that is sent lead to the same bans; lists are tried side by side; what
// can't be is said; one at a time; who has gone is not worked for.
func TestReplayInside(t *testing.T) {
	d := inside(t, `
[jail.shop]
enabled = true
failregex = '^ ?shop: login of <F-USER>\S+</F-USER> failed from <ADDR>$'
logpath = ["DIR/shop.log", "DIR/shop-*.log"]
maxretry = 3
findtime = "10m"
bantime = "10m"
[jail.gone]
enabled = true
failregex = '^ ?shop: login of <F-USER>\S+</F-USER> failed from <ADDR>$'
logpath = "DIR/gone.log"
[jail.entries]
enabled = true
filter = "sshd"
backend = "systemd"
`)
	dir := d.opts.Config.Path
	log := shopLog(20, 6)
	write := func(name, text string) {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("shop.log", log)
	ctx := context.Background()
	present, err := d.Replay(ctx, control.ReplayQuery{Jail: "shop"})
	if err != nil || present.BanCount != 20 || len(present.Bans) != 20 || present.Failures != 120 || present.LetThrough != 60 || present.ShutOut != 60 || !present.Complete || present.Logs[0] != filepath.Join(dir, "shop.log") {
		t.Fatalf("%+v, %v", present, err)
	}
	if p := present.Plot; p.Begin == nil || p.Failures[0] != 20 || p.Bans[2] != 20 || p.Users[0].Name != "root" || p.Users[0].N != 120 || len(p.Networks) != control.ReplayTop {
		t.Errorf("%+v", p)
	}
	sent, err := d.Replay(ctx, control.ReplayQuery{Jail: "shop", Log: control.ReplayUpload, MaxRetry: "3, 6", FindTime: "10m,2m", Upload: strings.NewReader(log)})
	if err != nil || sent.BanCount != present.BanCount || sent.Failures != present.Failures || len(sent.Sweep) != 4 || sent.Bans[0].ID != present.Bans[0].ID || !sent.Bans[0].Start.Equal(present.Bans[0].Start) {
		t.Errorf("%+v, %v", sent, err)
	}
	for _, o := range sent.Sweep {
		if want := map[int]int64{3: 20, 6: 20}[o.MaxRetry]; o.FindTime == 600 && o.Bans != want || o.FindTime == 120 && o.MaxRetry == 6 && o.Bans != 0 {
			t.Errorf("%+v", o)
		}
	}
	// Several logs, of which one is named.
	write("shop-2.log", shopLog(7, 3))
	if both, err := d.Replay(ctx, control.ReplayQuery{Jail: "shop"}); err != nil || len(both.Logs) != 2 || both.Lines != 141 {
		t.Errorf("%+v, %v", both, err)
	}
	if one, err := d.Replay(ctx, control.ReplayQuery{Jail: "shop", Log: filepath.Join(dir, "shop-2.log")}); err != nil || one.BanCount != 7 {
		t.Errorf("%+v, %v", one, err)
	}
	for text, q := range map[string]control.ReplayQuery{
		"no jail nobody":                    {Jail: "nobody"},
		"no such file":                      {Jail: "gone"},
		"reads the journal":                 {Jail: "entries"},
		"is no present log of jail shop":    {Jail: "shop", Log: "/etc/passwd"},
		`maxretry "0": want 1 or more`:      {Jail: "shop", MaxRetry: "0"},
		"13 settings are too many":          {Jail: "shop", MaxRetry: "1,2,3,4,5,6,7,8,9,10,11,12,13"},
		"combinations or more, 100 are the": {Jail: "shop", MaxRetry: strings.Repeat("1,", 1) + "2,3,4,5,6,7,8,9,10,11", FindTime: "1,2,3,4,5,6,7,8,9,10"},
	} {
		_, err := d.Replay(ctx, q)
		var bad *control.BadError
		var missing *control.NotFoundError
		if err == nil || !strings.Contains(err.Error(), text) || !errors.As(err, &bad) && !errors.As(err, &missing) {
			t.Errorf("%+v: %v", q, err)
		}
	}
	// What is sent is bounded, and what comes before the bound counts.
	long := io.MultiReader(strings.NewReader(log), zeros{})
	b := &bounded{from: long, left: 1000}
	if text, err := io.ReadAll(b); len(text) != 1000 || err == nil || !strings.Contains(err.Error(), "longer than 64 MiB") {
		t.Errorf("%d bytes, %v", len(text), err)
	}
	// A client that sends nothing more is waited for up to the deadline; meanwhile there is no other.
	in, out := io.Pipe()
	part, cancel := context.WithCancel(ctx)
	done := make(chan error, 1)
	go func() {
		_, err := d.Replay(part, control.ReplayQuery{Jail: "shop", Log: control.ReplayUpload, Upload: in})
		done <- err
	}()
	if _, err := out.Write([]byte(log)); err != nil { // taken: it is at work
		t.Fatal(err)
	}
	if _, err := d.Replay(ctx, control.ReplayQuery{Jail: "shop"}); !errors.Is(err, errReplays) {
		t.Errorf("a second one: %v", err)
	}
	cancel()
	out.CloseWithError(io.ErrUnexpectedEOF)
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Errorf("who has gone: %v", err)
	}
	late, end := context.WithDeadline(ctx, time.Now().Add(-time.Second))
	defer end()
	if _, err := d.Replay(late, control.ReplayQuery{Jail: "shop"}); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("behind its end: %v", err)
	}
	if d.replaying.Load() {
		t.Error("its place is not given back")
	}
}

// zeros is text without an end.
type zeros struct{}

func (zeros) Read(p []byte) (int, error) { return len(p), nil }

// TestPresentLogTail: of a log that is too large, the end is read, from a line's begin, and that is said.
func TestPresentLogTail(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	if err := os.WriteFile(path, []byte("the first line\nthe second\nthe third\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	o, note, err := presentLog(path, 15)
	if err != nil || note == "" {
		t.Fatal(note, err)
	}
	defer o.file.Close()
	if text, _ := io.ReadAll(o.in); string(text) != "the third\n" {
		t.Errorf("%q", text)
	}
	if _, _, err := presentLog(path+".gone", 15); !errors.Is(err, os.ErrNotExist) {
		t.Error(err)
	}
}
