package runner

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"bailiff/pkg/action"
	"bailiff/pkg/hosttest"
	"bailiff/pkg/opener"
)

const configured = `printf '%s|%s' <ip> <matches>`

func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == "runner" {
		err := Serve(os.NewFile(FD, "socket"), Options{Fixed: os.Args[2] == "fixed", Load: func() (Table, error) {
			if text, err := os.ReadFile(os.Args[3]); err == nil {
				return table(string(text)), nil
			}
			return Table{}, errors.New("no configuration")
		}, Replace: func(path string, content func(io.Writer) error) error {
			f, err := os.Create(path + ".new")
			if err != nil {
				return err
			}
			defer f.Close()
			if err := content(f); err != nil {
				return err
			}
			return os.Rename(path+".new", path)
		}})
		if err != nil {
			os.Stderr.WriteString(err.Error() + "\n")
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// table is a configuration of a line for each command, place to listen at, or engine.
func table(text string) Table {
	t := Table{Environment: []string{"HELLO=there"}}
	for _, line := range strings.Split(text, "\n") {
		switch f := strings.Fields(line); {
		case len(f) == 3 && f[0] == "listen":
			t.Listen = append(t.Listen, opener.Place{Network: f[1], Address: f[2]})
		case len(f) == 2 && f[0] == "socket":
			t.Sockets = append(t.Sockets, f[1])
		case len(f) == 2 && f[0] == "export":
			t.Exports = append(t.Exports, f[1])
		case len(f) == 2 && f[0] == "refused":
			t.Refused = append(t.Refused, f[1])
		case len(f) == 2 && f[0] == "engine":
			t.Engines = append(t.Engines, f[1])
		default:
			t.Commands = append(t.Commands, line)
		}
	}
	return t
}

// begin starts a runner with a configuration of some commands.
func begin(t *testing.T, fixed bool, commands ...string) (*Client, string) {
	t.Helper()
	conf := filepath.Join(t.TempDir(), "conf")
	if err := os.WriteFile(conf, []byte(strings.Join(commands, "\n")), 0o600); err != nil {
		t.Fatal(err)
	}
	how := "believes"
	if fixed {
		how = "fixed"
	}
	c, err := Start(fixed, "runner", how, conf)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	if err := c.Reload([]string{"HELLO=there"}); err != nil {
		t.Fatal(err)
	}
	return c, conf
}

// filled is a command as an action fills it in.
func filled(template string, values map[string]string) action.Command {
	return action.Fill(template, func(tag string) (string, bool) { v, ok := values[tag]; return v, ok }, nil)
}

// TestRun: a command that a runner runs comes to the same as one that is run here.
func TestRun(t *testing.T) {
	const hostile = "a'; touch /tmp/x \"$(id)\" `id` <ip>\n-rf"
	ctx := context.Background()
	for _, fixed := range []bool{false, true} {
		for _, command := range []string{configured, "echo $HELLO; echo oops >&2; exit 3", "kill -9 $$", "head -c 100000 /dev/zero"} {
			c, _ := begin(t, fixed, command)
			cmd := filled(command, map[string]string{"ip": "192.0.2.7", "matches": hostile})
			got, err := c.Run(ctx, cmd, time.Minute)
			action.SetEnvironment([]string{"HELLO=there"})
			want, wrong := cmd.Run(ctx, time.Minute)
			if err != nil || wrong != nil || got.Code != want.Code || string(got.Stdout) != string(want.Stdout) || string(got.Stderr) != string(want.Stderr) {
				t.Errorf("fixed %v, %s: %+.200v, %v; here %+.200v, %v", fixed, command, got, err, want, wrong)
			}
		}
	}
}

// TestEnds: a command that takes too long is killed, and one that is not wanted any more;
// others go on meanwhile.
func TestEnds(t *testing.T) {
	c, _ := begin(t, false)
	var late *action.TimeoutError
	if _, err := c.Run(context.Background(), action.Command{Text: "sleep 1000"}, 50*time.Millisecond); !errors.As(err, &late) {
		t.Errorf("%v, want that it took too long", err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	over := make(chan error, 1)
	file := filepath.Join(t.TempDir(), "begun")
	go func() {
		_, err := c.Run(ctx, action.Command{Text: "echo $$ > " + file + "; sleep 1000"}, time.Hour)
		over <- err
	}()
	if !hosttest.Soon(func() bool {
		text, _ := os.ReadFile(file)
		return len(text) > 0
	}) {
		t.Fatal("it does not begin")
	}
	if res, err := c.Run(context.Background(), action.Command{Text: "echo beside"}, time.Minute); err != nil || string(res.Stdout) != "beside\n" {
		t.Errorf("%+v, %v", res, err)
	}
	cancel()
	select {
	case err := <-over:
		if !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
	case <-time.After(2 * time.Minute):
		t.Error("it goes on")
	}
}

// TestFixed: who has taken over the daemon has nothing run but what is configured.
func TestFixed(t *testing.T) {
	c, conf := begin(t, true, configured)
	mark := filepath.Join(t.TempDir(), "mark")
	evil := "touch " + mark
	if _, err := c.Run(context.Background(), action.Command{Text: evil}, time.Minute); err == nil || !strings.Contains(err.Error(), "none of the configuration's") {
		t.Errorf("the client: %v", err)
	}
	// Past the client, as who has taken over the process says it.
	for name, w := range map[string]func(uint32) *writer{
		"a text": func(n uint32) *writer {
			w := newWriter(askRun, n)
			w.number(1000)
			w.text(evil)
			w.number(0)
			return w
		},
		"a number of none": func(n uint32) *writer {
			w := newWriter(askKnown, n)
			w.number(1000)
			w.number(1)
			w.number(0)
			return w
		},
		"a value that is a command": func(n uint32) *writer {
			w := newWriter(askKnown, n)
			w.number(1000)
			w.number(0)
			w.number(1)
			w.number(0)
			w.text("ip")
			w.text("$(" + evil + ")`" + evil + "`;" + evil)
			return w
		},
		"an environment": func(n uint32) *writer {
			w := newWriter(askEnvironment, n)
			w.texts([]string{"PATH=/tmp"})
			if err := c.link.send(w); err != nil {
				t.Error(err)
			}
			w = newWriter(askJournal, n)
			w.texts([]string{"--cursor-file=" + mark})
			return w
		},
	} {
		_, answers, done, err := c.ask(w)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		select {
		case f := <-answers:
			f.closeAll()
		case <-time.After(2 * time.Minute):
			t.Errorf("%s: no answer", name)
		}
		done()
	}
	if _, err := os.Stat(mark); err == nil {
		t.Error("a command of somebody else's was run")
	}
	// What is configured later is known after a reload, and what was before is for a while.
	if err := os.WriteFile(conf, []byte("echo later"), 0o600); err != nil {
		t.Fatal(err)
	}
	for i := range generations + 1 {
		if err := c.Reload(nil); err != nil {
			t.Fatal(err)
		}
		if res, err := c.Run(context.Background(), action.Command{Text: "echo later"}, time.Minute); err != nil || string(res.Stdout) != "later\n" {
			t.Errorf("%+v, %v", res, err)
		}
		_, err := c.Run(context.Background(), filled(configured, map[string]string{"ip": "192.0.2.7", "matches": ""}), time.Minute)
		if known := err == nil; known != (i+1 < generations) {
			t.Errorf("%d readings later: %v", i+1, err)
		}
	}
	// A configuration that can't be read changes nothing.
	if err := os.Remove(conf); err != nil {
		t.Fatal(err)
	}
	if err := c.Reload(nil); err == nil {
		t.Error("it is read")
	}
	if _, err := c.Run(context.Background(), action.Command{Text: "echo later"}, time.Minute); err != nil {
		t.Error(err)
	}
}

// TestRunnerDies: all who wait are told at once, and whoever asks later.
func TestRunnerDies(t *testing.T) {
	c, _ := begin(t, false)
	over := make(chan error, 1)
	file := filepath.Join(t.TempDir(), "begun")
	go func() {
		_, err := c.Run(context.Background(), action.Command{Text: "echo > " + file + "; exec sleep 3"}, time.Hour)
		over <- err
	}()
	if !hosttest.Soon(func() bool {
		_, err := os.Stat(file)
		return err == nil
	}) {
		t.Fatal("it does not begin")
	}
	if err := syscall.Kill(c.cmd.Process.Pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	select {
	case err := <-over:
		if !errors.Is(err, ErrEnded) {
			t.Error(err)
		}
	case <-time.After(2 * time.Minute):
		t.Fatal("nobody is told")
	}
	<-c.Ended()
	if _, err := c.Run(context.Background(), action.Command{Text: "true"}, time.Hour); !errors.Is(err, ErrEnded) {
		t.Error(err)
	}
	if _, err := c.Journal(context.Background(), nil); !errors.Is(err, ErrEnded) {
		t.Error(err)
	}
}

// TestDaemonDies: the runner ends, and is no zombie's parent.
func TestDaemonDies(t *testing.T) {
	c, _ := begin(t, false)
	c.Close()
	select {
	case <-c.Ended():
	case <-time.After(2 * time.Minute):
		t.Error("it goes on")
	}
}

func TestCheckJournal(t *testing.T) {
	table := Table{Directories: []string{"/var/log/journal/x"}, Files: []string{"/a/*.journal"}, Namespaces: []string{"web"}}
	for _, c := range []struct {
		args           string
		believed, okay bool // without and with Fixed
	}{
		{"--output=export --no-pager --quiet --output-fields=MESSAGE,_PID --merge --system --no-tail --follow --since=@12.000001 -- _SYSTEMD_UNIT=ssh.service + SYSLOG_IDENTIFIER=sshd", true, true},
		{"--lines=500 --until=@12 --cursor=s=1f;i=2;b=3;m=4;t=5;x=6 --", true, true},
		{"--directory=/var/log/journal/x --", true, true},
		{"--directory=/run/log/journal --", true, true},
		{"--directory=/home --", true, false},
		{"--file=/a/*.journal --", true, true},
		{"--file=/etc/shadow --", true, false},
		{"--namespace=web --", true, true},
		{"--namespace=other --", true, false},
		{"-- /usr/sbin/sshd", true, false},
		{"--cursor-file=/etc/cron.d/x --", false, false},
		{"--vacuum-size=1 --", false, false},
		{"--rotate", false, false},
		{"--setup-keys --force", false, false},
		{"--root=/tmp --", false, false},
		{"-- --rotate", false, false},
		{"--since=@1 --rotate", false, false},
	} {
		args := strings.Fields(c.args)
		if err := checkJournal(args, false, table); (err == nil) != c.believed {
			t.Errorf("%s: %v", c.args, err)
		}
		if err := checkJournal(args, true, table); (err == nil) != c.okay {
			t.Errorf("%s, fixed: %v", c.args, err)
		}
	}
}

// FuzzParse: whatever comes is a request or none, in memory that depends on its size.
func FuzzParse(f *testing.F) {
	for kind := range byte(8) {
		f.Add(kind, []byte{})
		w := newWriter(kind, 1)
		w.number(1)
		w.text("ip")
		w.texts([]string{"a", "b"})
		f.Add(kind, w.buf[headBytes+startBytes:])
	}
	f.Fuzz(func(t *testing.T, kind byte, data []byte) {
		a, err := parse(frame{kind: kind, data: data})
		if err == nil && len(a.vars)+len(a.values)+len(a.args)+len(a.environment) > len(data) {
			t.Errorf("%d bytes are %+v", len(data), a)
		}
	})
}
