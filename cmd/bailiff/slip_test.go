package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"bailiff/pkg/hosttest"
	"bailiff/pkg/netlab"
)

// slipWorld is a daemon with jails that have bans, and its configuration, to be spoilt.
type slipWorld struct {
	t             *testing.T
	dir           string // of the configuration
	sock, log     string
	prog, client  string
	host          *netlab.Host
	files         map[string]string
	before, table string
}

func (w *slipWorld) write(name, text string) {
	w.t.Helper()
	path := filepath.Join(w.dir, name)
	hosttest.Write(w.t, path, text)
}

func (w *slipWorld) restore() {
	w.t.Helper()
	if err := os.RemoveAll(w.dir); err != nil {
		w.t.Fatal(err)
	}
	for name, text := range w.files {
		w.write(name, text)
	}
}

// run runs a command and returns what it says, and its exit code.
func (w *slipWorld) run(prog string, args ...string) (string, int) {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	out, err := exec.CommandContext(ctx, prog, args...).CombinedOutput()
	var exit *exec.ExitError
	switch {
	case err == nil:
		return string(out), 0
	case errors.As(err, &exit):
		return string(out), exit.ExitCode()
	}
	w.t.Fatal(err)
	return "", 0
}

// state is who is banned where, and the kernel's table.
func (w *slipWorld) state() (list, table string) {
	w.t.Helper()
	out, err := exec.Command(w.prog, "status", "--json", "--socket", w.sock).Output()
	if err != nil {
		w.t.Fatal(err)
	}
	var s struct {
		Jails []struct {
			Name     string  `json:"name"`
			Error    string  `json:"error"`
			MaxRetry int     `json:"maxretry"`
			FindTime float64 `json:"findtime"`
			BanTime  float64 `json:"bantime"`
			Banned   int     `json:"currently_banned"`
		} `json:"jails"`
	}
	if err := json.Unmarshal(out, &s); err != nil {
		w.t.Fatal(err)
	}
	nft, err := w.host.Command(context.Background(), "nft", "-s", "list", "ruleset").Output()
	if err != nil {
		w.t.Fatal(err)
	}
	// A jail that starts again has its bans for what is left of them.
	lines := strings.Split(leftTime.ReplaceAllString(string(nft), ""), "\n")
	slices.Sort(lines)
	return fmt.Sprintf("%+v", s.Jails), strings.Join(lines, "\n")
}

var leftTime = regexp.MustCompile(` timeout \d\S*`)

// newSlipWorld starts a daemon; @D@ in the files is a folder for all else.
func newSlipWorld(t *testing.T, files map[string]string) *slipWorld {
	t.Helper()
	top := t.TempDir()
	w := &slipWorld{
		t: t, dir: filepath.Join(top, "etc"), sock: filepath.Join(top, "sock"), log: filepath.Join(top, "out"), prog: program(t, "bailiff"), client: program(t, "fail2ban-client"),
		host: server(t), files: map[string]string{},
	}
	for name, text := range files {
		w.files[name] = strings.ReplaceAll(text, "@D@", top)
	}
	w.restore()
	for name, text := range map[string]string{"1.log": "", "2.log": "", "list": "198.51.100.0/24\n"} {
		hosttest.Write(t, filepath.Join(top, name), text)
	}
	if out, code := w.run(w.prog, "check", "--config", w.dir); code != 0 {
		t.Fatal(out)
	}
	daemon := w.host.Command(context.Background(), w.prog, "run", "--config", w.dir, "--socket", w.sock, "--database", filepath.Join(top, "db"), "--log-target", w.log)
	var said bytes.Buffer
	daemon.Stdout, daemon.Stderr = &said, &said
	if err := daemon.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = daemon.Process.Kill(); _ = daemon.Wait() })
	if !hosttest.Soon(func() bool { return exec.Command(w.prog, "status", "--socket", w.sock).Run() == nil }) {
		t.Fatalf("no daemon: %s", said.String())
	}
	for _, ban := range [][]string{{"one", "192.0.2.1"}, {"two", "192.0.2.2"}} {
		if out, code := w.run(w.prog, "ban", ban[0], ban[1], "--socket", w.sock); code != 0 {
			t.Fatal(out)
		}
	}
	if !hosttest.Soon(func() bool {
		w.before, w.table = w.state()
		return strings.Contains(w.table, "192.0.2.1") && strings.Contains(w.table, "192.0.2.2")
	}) {
		t.Fatalf("not both are banned: %s", w.table)
	}
	return w
}

// logged returns what the daemon's log has, from a place on.
func (w *slipWorld) logged(from int) (string, int) {
	data, _ := os.ReadFile(w.log)
	return string(data[min(from, len(data)):]), len(data)
}

// same checks that everything is as it was.
func (w *slipWorld) same() {
	w.t.Helper()
	list, table := w.state()
	if list != w.before {
		w.t.Errorf("was %s\nis  %s", w.before, list)
	}
	if table != w.table {
		w.t.Errorf("was %s\nis %s", w.table, table)
	}
}

// replaced spoils a file of the configuration.
func (w *slipWorld) replaced(name, old, new string) {
	w.t.Helper()
	if !strings.Contains(w.files[name], old) {
		w.t.Fatalf("%s has no %q", name, old)
	}
	w.write(name, strings.Replace(w.files[name], old, new, 1))
}

func (w *slipWorld) away(name string) {
	if err := os.RemoveAll(filepath.Join(w.dir, name)); err != nil {
		w.t.Fatal(err)
	}
}

type slip struct {
	name  string
	do    func(w *slipWorld)
	want  string // of what is told
	check string // of what `bailiff check` tells, if it is other; "-": that can't know
}

var nativeSlips = []slip{
	{"a slip of syntax", func(w *slipWorld) { w.replaced("bailiff.toml", "[jail.feed]", "[jail.feed") }, "bailiff.toml:10: ", ""},
	{"a wrong type in one jail", func(w *slipWorld) { w.replaced("bailiff.toml", `"1h"`, "true") }, "jail one: DIR/bailiff.toml:7: bantime: want a string or a number, not true; it goes on", "jail one: DIR/bailiff.toml:7: bantime: want a string or a number, not true"},
	{"a wrong type in a list", func(w *slipWorld) { w.replaced("bailiff.toml", `list = "`, `list = 1.5 #`) }, "jail feed: DIR/bailiff.toml:12: list: want", ""},
	{"a wrong type in the defaults", func(w *slipWorld) { w.replaced("bailiff.toml", "maxretry = 4", `maxretry = "4"`) }, "jail two: DIR/bailiff.toml:2: maxretry: want a whole number", ""},
	{"a slip in a jail's file", func(w *slipWorld) { w.replaced("jails/two.toml", "= true", "= ") }, "jail two: DIR/jails/two.toml:1: ", ""},
	{"a wrong type in a jail's file", func(w *slipWorld) { w.replaced("jails/two.toml", "= true", "= 1") }, "jail two: DIR/jails/two.toml:1: enabled: want true or false, not 1", ""},
	{"a slip in a filter's file", func(w *slipWorld) { w.replaced("filters/own.toml", "<HOST>", "<HOST>(") }, "DIR/filters/own.toml:1: ", ""},
	{"a table that nobody knows", func(w *slipWorld) { w.replaced("bailiff.toml", "[jail.one]", "[jial.one]") }, `DIR/bailiff.toml:4: unknown key "jial" (did you mean "jail"?)`, ""},
	{"all away", func(w *slipWorld) { w.away("") }, "no such file", ""},
	{"bailiff.toml away", func(w *slipWorld) { w.away("bailiff.toml") }, "bailiff.toml was read before and is gone", "-"},
	{"jails away", func(w *slipWorld) { w.away("jails") }, "jails was read before and is gone", "-"},
}

var treeSlips = []slip{
	{"jail.conf away", func(w *slipWorld) { w.away("jail.conf") }, "neither jail.conf nor jail.local", ""},
	{"filter.d away", func(w *slipWorld) { w.away("filter.d") }, "jail two: DIR/jail.conf:3: Unable to read the filter 'f'", ""},
	{"action.d away", func(w *slipWorld) { w.away("action.d") }, "jail one: DIR/jail.conf:4: Unable to read action 'nftables'", ""},
	{"fail2ban.conf away", func(w *slipWorld) { w.away("fail2ban.conf") }, "fail2ban.conf was read before and is gone", "-"},
	{"a line that is none", func(w *slipWorld) { w.replaced("jail.conf", "maxretry = 4", "maxretry 4") }, "jail.conf:2: ", ""},
	{"no section", func(w *slipWorld) { w.write("jail.local", "maxretry = 4\n") }, "jail.local:1: ", ""},
	{"an option twice", func(w *slipWorld) { w.write("jail.local", "[one]\nmaxretry = 4\nmaxretry = 5\n") }, "jail.local:3: ", ""},
	{"a filter that isn't there", func(w *slipWorld) { w.write("jail.local", "[one]\nfilter = nix\n") }, "jail one: DIR/jail.local:2: Unable to read the filter 'nix'", ""},
	{"a number that is none", func(w *slipWorld) { w.write("jail.local", "[one]\nmaxretry = many\n") }, "jail one: DIR/jail.local:2: maxretry", ""},
	{"a yes that is none", func(w *slipWorld) { w.write("jail.local", "[one]\nenabled = trye\n") }, `jail one: DIR/jail.local:2: enabled "trye": want true or false`, ""},
	{"a slip in fail2ban.conf", func(w *slipWorld) { w.replaced("fail2ban.conf", "loglevel =", "loglevel") }, "fail2ban.conf:2: ", ""},
}

func nativeWorld(t *testing.T) *slipWorld {
	return newSlipWorld(t, map[string]string{
		"bailiff.toml": `[default]
maxretry = 4

[jail.one]
enabled = true
failregex = "one <HOST>"
bantime = "1h"
logpath = "@D@/1.log"

[jail.feed]
enabled = true
list = "@D@/list"
maxretry = 3
`,
		"jails/two.toml":   "enabled = true\nfilter = 'own'\nlogpath = '@D@/2.log'\n",
		"filters/own.toml": "failregex = '^own <HOST>$'\n",
	})
}

func treeWorld(t *testing.T) *slipWorld {
	files := map[string]string{
		"jail.conf":       "[DEFAULT]\nmaxretry = 4\nfilter = f\naction = nftables[port=\"http\"]\nbackend = polling\n[one]\nenabled = true\nbantime = 1h\nlogpath = @D@/1.log\n[two]\nenabled = true\nlogpath = @D@/2.log\n",
		"fail2ban.conf":   "[Definition]\nloglevel = INFO\nlogtarget = @D@/out\n",
		"filter.d/f.conf": "[Definition]\nfailregex = ^f <HOST>$\n",
	}
	data, err := os.ReadFile("/etc/fail2ban/action.d/nftables.conf")
	if err != nil {
		t.Fatalf("%v: this test needs Debian's package fail2ban (make test installs it)", err)
	}
	files["action.d/nftables.conf"] = string(data)
	return newSlipWorld(t, files)
}

// TestSlips: an operator's slip, then a reload: every jail runs on with its bans, the error
// names file and line where the operator looks, and nothing is as if it had worked.
func TestSlips(t *testing.T) {
	t.Parallel()
	for _, kind := range []struct {
		name  string
		world func(*testing.T) *slipWorld
		slips []slip
	}{{"native", nativeWorld, nativeSlips}, {"fail2ban", treeWorld, treeSlips}} {
		t.Run(kind.name, func(t *testing.T) {
			w := kind.world(t)
			for _, s := range kind.slips {
				t.Run(s.name, func(t *testing.T) {
					w.t = t
					s.do(w)
					told := func(by, out string, code, want int, what string) {
						t.Helper()
						out = strings.ReplaceAll(out, w.dir, "DIR")
						if code != want || !strings.Contains(out, what) {
							t.Errorf("%s: exit %d, %s\nlacks %s", by, code, out, what)
						}
					}
					if s.check != "-" {
						what := s.want
						if s.check != "" {
							what = s.check
						}
						out, code := w.run(w.prog, "check", "--config", w.dir)
						told("check", out, code, 1, what)
					}
					_, from := w.logged(0)
					out, code := w.run(w.prog, "reload", "--socket", w.sock)
					told("reload", out, code, 1, s.want)
					w.same()
					log, _ := w.logged(from)
					told("the log", log, 0, 0, s.want)
					commands := [][]string{{"reload"}, {"reload", "--restart"}, {"reload", "--restart", "one"}}
					if w.files["jail.conf"] == "" {
						commands = commands[:2]
					}
					for _, args := range commands {
						if len(args) == 3 && !strings.Contains(s.want, "jail one") {
							continue
						}
						out, code = w.run(w.client, append([]string{"-c", "/nonexistent", "-s", w.sock}, args...)...)
						told("fail2ban-client "+strings.Join(args, " "), out, code, 255, s.want)
						w.same()
					}
					w.restore()
					out, code = w.run(w.prog, "reload", "--socket", w.sock)
					if code != 0 || strings.TrimSpace(out) != "reloaded" {
						t.Errorf("after it is mended: exit %d, %s", code, out)
					}
					w.same()
				})
			}
		})
	}
}
