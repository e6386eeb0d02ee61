package action

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
	"unicode/utf8"

	"bailiff/pkg/tags"
)

func TestFill(t *testing.T) {
	ticket := &Ticket{
		ID: "192.0.2.7", IP: netip.MustParseAddr("192.0.2.7"), Time: "1.0", Failures: 3, BanTime: 600 * time.Second,
		Matches: []string{"one", "two; rm -rf /"}, Groups: map[string]string{"user": "$(reboot)", "fid": "x", "plain": "me"},
	}
	c := Fill(`ban <ip> <family> <ip-rev> <failures> <bantime> <F-USER> <F-PLAIN>|<F-NONE>| <F-ID> <nope> <matches>`, ticket.Tag, ticket.Group)
	want := `ban 192.0.2.7 inet4 7.2.0.192. 3 600 $f2bV_F_user me|| x <nope> $f2bV_matches`
	if c.Text != want {
		t.Errorf("got  %s\nwant %s", c.Text, want)
	}
	six := &Ticket{ID: "2001:db8::/64", IP: netip.MustParseAddr("2001:db8::1")}
	if v, _ := six.Tag("ip-rev"); v != "1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2." {
		t.Errorf("ip-rev: %s", v)
	}
}

// TestHostileValues: what an attacker wrote arrives as it is and runs nothing.
func TestHostileValues(t *testing.T) {
	dir := t.TempDir()
	t.Chdir(dir)
	values := []string{
		"$(touch ran)", "`touch ran`", "'; touch ran; '", "\"; touch ran; \"", "x\ntouch ran\n", "& touch ran &", "| touch ran",
		"${IFS}touch ran", "> ran", "\\", "a\x00b", "*", "~", "-n", "$f2bV_x", "\r", "<matches>", strings.Repeat("'", 1000),
	}
	for _, v := range values {
		ticket := &Ticket{ID: v, Groups: map[string]string{"user": v}}
		c := Fill(`printf '%s|%s' "<fid>" "<F-USER>"`, ticket.Tag, ticket.Group)
		r, err := c.Run(context.Background(), 10*time.Second)
		if err != nil || r.Code != 0 {
			t.Errorf("%q: exit code %d, %v: %s", v, r.Code, err, r.Output())
		}
		kept := strings.ReplaceAll(v, "\x00", "\uFFFD")
		if got := r.Output(); got != kept+"|"+kept {
			t.Errorf("%q arrives as %q", v, got)
		}
	}
	if _, err := os.Stat(filepath.Join(dir, "ran")); err == nil {
		t.Error("a value was run")
	}
}

func TestRun(t *testing.T) {
	run := func(text string, timeout time.Duration) (Result, error) {
		return Command{Text: text}.Run(context.Background(), timeout)
	}
	if r, err := run("exit 3", time.Minute); err != nil || r.Code != 3 {
		t.Errorf("exit 3: %+v, %v", r, err)
	}
	if r, err := run("kill -9 $$", time.Minute); err != nil || r.Code != 137 {
		t.Errorf("kill -9: %+v, %v", r, err)
	}
	if r, err := run("echo out; echo err >&2", time.Minute); err != nil || r.Output() != "out\nerr\n" {
		t.Errorf("output: %q, %v", r.Output(), err)
	}
	_, err := run("sleep 100 & sleep 100; echo", 100*time.Millisecond)
	var timeout *TimeoutError
	if !errors.As(err, &timeout) {
		t.Errorf("a command that hangs: %v", err)
	}
	if r, err := run("head -c 1000000 /dev/zero", time.Minute); err != nil || len(r.Output()) != maxOutput {
		t.Errorf("much output: %d bytes, %v", len(r.Output()), err)
	}
}

func TestCut(t *testing.T) {
	const lineMost = 4 << 10
	for _, text := range []string{
		strings.Repeat("x", lineMost), strings.Repeat("x", lineMost+1), strings.Repeat("ü", lineMost), "a" + strings.Repeat("\U0001f600", lineMost),
		strings.Repeat("\x80", 3*lineMost), strings.Repeat("x", 1<<20), "",
	} {
		got := Cut(text, lineMost)
		if len(text) <= lineMost {
			if got != text {
				t.Errorf("%d bytes were changed", len(text))
			}
			continue
		}
		mark := fmt.Sprintf(" [cut: %d bytes]", len(text))
		kept, marked := strings.CutSuffix(got, mark)
		if !marked || len(got) > lineMost || len(got) < lineMost-utf8.UTFMax || !strings.HasPrefix(text, kept) {
			t.Errorf("%.20q… of %d bytes: %d are left, with %q behind", text, len(text), len(got), got[len(got)-40:])
		}
		if utf8.ValidString(text) != utf8.ValidString(got) {
			t.Errorf("%.20q… is cut within a character", text)
		}
	}
}

func FuzzFill(f *testing.F) {
	f.Add("a <ip> <F-USER>", "v'")
	f.Fuzz(func(t *testing.T, text, value string) {
		ticket := &Ticket{ID: value, Groups: map[string]string{"user": value}}
		c := Fill("<fid>"+text, ticket.Tag, ticket.Group)
		if unsafe.MatchString(value) && !strings.HasPrefix(c.Text, "$f2bV_fid") {
			t.Errorf("%q stands in %q", value, c.Text)
		}
	})
}

// TestDryRun: no command is run and no mail is sent; both are told, with what they would
// hold.
func TestDryRun(t *testing.T) {
	var out strings.Builder
	marker := filepath.Join(t.TempDir(), "ran")
	site := &Site{Jail: "web", DryRun: true, Log: slog.New(slog.NewTextHandler(&out, nil))}
	opts := &tags.Options{}
	opts.Set("actionban", "touch "+marker+"\n echo <ip>")
	ticket := &Ticket{ID: "192.0.2.7", IP: netip.MustParseAddr("192.0.2.7"), Failures: 3, BanTime: time.Minute}
	for _, def := range []Definition{
		{Name: "mark", Properties: opts},
		{Name: "post", Properties: &tags.Options{}, Mail: &Mail{Host: "127.0.0.1:1", Sender: "a@example.org", To: []string{"b@example.org"}}},
	} {
		a := New(context.Background(), &def, site)
		if err := a.Ban(ticket, false); err != nil {
			t.Error(err)
		}
	}
	if _, err := os.Stat(marker); err == nil {
		t.Error("a command was run")
	}
	for _, want := range []string{"[web] mark: dry run: would run: touch " + marker + " echo 192.0.2.7", "[web] post: dry run: would send mail to b@example.org by 127.0.0.1:1: [Fail2Ban] web: banned 192.0.2.7 from"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("not told: %s\n%s", want, out.String())
		}
	}
}

// TestFlushEachFamily: a flush that lifted the bans of one family is run again for those
// of the other that came since.
func TestFlushEachFamily(t *testing.T) {
	var mu sync.Mutex
	var ran []string
	g := NewGroup([]Definition{defined("one", time.Minute, "actionban", "ban <ip>", "actionunban", "unban <ip>", "actionflush", "flush")}, &Site{
		Jail: "web", Log: slog.New(slog.DiscardHandler), Run: func(_ context.Context, c Command, _ time.Duration) bool {
			mu.Lock()
			defer mu.Unlock()
			ran = append(ran, c.Text)
			return true
		},
	})
	g.Begin()
	for _, ips := range [][]string{{"192.0.2.1"}, {"2001:db8::1"}, {"192.0.2.1", "2001:db8::1"}} {
		for _, ip := range ips {
			g.Ban(banOf(ip))
		}
		g.Flush()
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	g.Sync(ctx)
	want := []string{"ban 192.0.2.1", "flush", "ban 2001:db8::1", "flush", "ban 192.0.2.1", "ban 2001:db8::1", "flush"}
	mu.Lock()
	defer mu.Unlock()
	if !slices.Equal(ran, want) {
		t.Errorf("run were %q, want %q", ran, want)
	}
	<-g.Close(time.Now().Add(10 * time.Second))
}
