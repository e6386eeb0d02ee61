package action

import (
	"context"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestLongValues: whatever a client wrote, and however much, the command is run: values
// are cut to fit, with a mark that says so. It is so for values that need no quoting,
// for many of them, and where the stack's limit leaves little room.
func TestLongValues(t *testing.T) {
	lines := func(n, size int, fill string) (out []string) {
		for range n {
			out = append(out, strings.Repeat(fill, size/len(fill)))
		}
		return out
	}
	many := map[string]string{}
	text := "x=1"
	for i := range 60 {
		name := fmt.Sprintf("f%d", i)
		many[name] = strings.Repeat("y'", 50_000)
		text += fmt.Sprintf(` && test -n "<F-F%d>"`, i)
	}
	for name, c := range map[string]struct {
		command string
		ticket  Ticket
		want    string // in the output
		stack   uint64
	}{
		"quoted":   {command: `printf %s "<matches>" | wc -c; printf %s "<matches>" | tail -c 25`, ticket: Ticket{Matches: lines(5, 30<<10, "a b'c")}, want: "65536\n"},
		"plain":    {command: `printf %s "<matches>" | wc -c`, ticket: Ticket{Matches: lines(1, 1<<20, "a")}, want: "65536\n"},
		"wide":     {command: `printf %s "<matches>" | wc -m`, ticket: Ticket{Matches: lines(5, 100<<10, "ü;")}, want: "\n"},
		"groups":   {command: `printf %s "<F-USER>" | wc -c`, ticket: Ticket{Groups: map[string]string{"user": strings.Repeat("$(x)", 100_000)}}, want: "65536\n"},
		"many":     {command: text + "; printf %s $x", ticket: Ticket{Groups: many}, want: "1"},
		"manyOnce": {command: ":" + strings.Repeat(" <F-USER>", 2000), ticket: Ticket{Groups: map[string]string{"user": strings.Repeat("y", 4000)}}},
		"narrow":   {command: `printf %s "<matches><F-USER>" | wc -c`, ticket: Ticket{Matches: lines(5, 30<<10, "a'"), Groups: map[string]string{"user": strings.Repeat("z'", 100_000)}}, want: "\n", stack: 384 << 10}, // with 256 KiB, a shell of Debian 13 does not start
	} {
		t.Run(name, func(t *testing.T) {
			if c.stack > 0 {
				var was unix.Rlimit
				if err := unix.Getrlimit(unix.RLIMIT_STACK, &was); err != nil {
					t.Fatal(err)
				}
				defer func() { _ = unix.Setrlimit(unix.RLIMIT_STACK, &was) }()
				if err := unix.Setrlimit(unix.RLIMIT_STACK, &unix.Rlimit{Cur: c.stack, Max: was.Max}); err != nil {
					t.Fatal(err)
				}
			}
			filled := Fill(c.command, c.ticket.Tag, c.ticket.Group)
			r, err := filled.Run(context.Background(), time.Minute)
			if err != nil || r.Code != 0 {
				t.Fatalf("exit code %d, %.200v: %.200s", r.Code, err, r.Output())
			}
			if !strings.Contains(r.Output(), c.want) {
				t.Errorf("output %.200q, want %q", r.Output(), c.want)
			}
			if name == "quoted" && !strings.HasSuffix(r.Output(), " [cut: 153604 bytes]") {
				t.Errorf("no mark at the end: %q", r.Output())
			}
			if said := filled.String(); len(said) > 3*saidMost {
				t.Errorf("the log would tell %d bytes", len(said))
			}
		})
	}
}

// TestLongFailure: what the log tells of a command that fails is bounded, whatever it was
// told and wrote.
func TestLongFailure(t *testing.T) {
	g, log := working(t, defined("fails", 0, "actionban", `: "<matches>"; head -c 1000000 /dev/zero | tr '\0' y; seq 10000; exit 3`))
	ticket := banOf("192.0.2.7")
	ticket.Matches = []string{strings.Repeat("a'", 50_000)}
	g.Ban(ticket)
	<-g.Close(time.Time{})
	out := log.String()
	if len(out) > 32<<10 || !strings.Contains(out, "returned 3") || !strings.Contains(out, "[cut: 100000 bytes]") {
		t.Errorf("the log has %d bytes:\n%.3000s", len(out), out)
	}
}

// TestEnvironment: a command gets PATH, LANG and TZ, and what is named; nothing else of
// the daemon's.
func TestEnvironment(t *testing.T) {
	for _, v := range os.Environ() {
		name, _, _ := strings.Cut(v, "=")
		t.Setenv(name, "") // so that it is put back
		os.Unsetenv(name)
	}
	env := func() string {
		t.Helper()
		r, err := Command{Text: `tr '\0' '\n' </proc/$$/environ`}.Run(context.Background(), time.Minute)
		if err != nil || r.Code != 0 {
			t.Fatal(err, r)
		}
		return strings.TrimSpace(r.Output())
	}
	if got, want := env(), "PATH="+DefaultPath; got != want {
		t.Errorf("with nothing: %q, want %q", got, want)
	}
	for name, value := range map[string]string{
		"PATH": "/usr/bin:/bin", "LC_ALL": "C.UTF-8", "LANG": "de_DE.UTF-8", "TZ": "Europe/Berlin", "HOME": "/root", "AWS_SECRET_ACCESS_KEY": "secret", "NOTIFY_SOCKET": "/run/x",
	} {
		t.Setenv(name, value)
	}
	if got, want := env(), "PATH=/usr/bin:/bin\nLANG=C.UTF-8\nTZ=Europe/Berlin"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	defer SetEnvironment(nil)
	SetEnvironment([]string{"HOME", "NOT_THERE", "https_proxy=http://192.0.2.1:3128/?a=b", "TZ=UTC"})
	if got, want := env(), "PATH=/usr/bin:/bin\nLANG=C.UTF-8\nHOME=/root\nhttps_proxy=http://192.0.2.1:3128/?a=b\nTZ=UTC"; got != want {
		t.Errorf("with names: %q, want %q", got, want)
	}
	for _, wrong := range []string{"", "=x", "a b", "1a", "a-b=c", "a=\x00"} {
		if CheckVariable(wrong) == nil {
			t.Errorf("%q is taken", wrong)
		}
	}
}
