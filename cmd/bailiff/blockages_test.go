package main

import (
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"bailiff/pkg/control"
)

// What may hang, and how it is seen that nothing was lost when it goes on.

// blockage is something that hangs.
type blockage struct {
	name string
	// jail is the one that it concerns, toml what else the configuration has; tree: it is
	// one of fail2ban's, ours can't say this. @D@ is the test's folder, @H@ one that may
	// hang, @HANG@ a command that does.
	jail  *illJail
	toml  string
	tree  bool
	hangs []string // operations of the folder that may hang
	// early: it hangs before the first start.
	early bool
	args  func(w *blockedWorld)
	// ready is done before it hangs.
	ready func(w *blockedWorld)
	begin func(w *blockedWorld, r round)
	end   func(w *blockedWorld)
	// late says that nothing of a round was lost, when it goes on; nil: there is nothing
	// to lose. Unless free is set, it can't be so before.
	late func(w *blockedWorld, r round) bool
	free bool
	// but is what hangs beside it with which something of the second time is lost, as it is
	// told: what was written to a file that was renamed while the daemon was stopped is not
	// found without the positions that the database has.
	but string
	// reload and start are what is said where they can't be done; empty: they can.
	reload, start string
}

// illJail is a jail with something wrong. Its options are written as fail2ban has them.
type illJail struct {
	name, log string
	options   map[string]string
	commands  map[string]string // of an action
	journal   bool
}

// round is one time that things hang.
type round struct {
	n    int
	who  string // the attacker of the jail that it concerns
	well string // of the other one
}

const failed = `^\s*failed <HOST>$`

// toml writes the jail as ours.
func (j *illJail) toml() string {
	out := fmt.Sprintf("\n[jail.%s]\nenabled = true\nmaxretry = 2\nfindtime = \"10m\"\n", j.name)
	if j.options["filter"] == "" {
		out += fmt.Sprintf("failregex = '%s'\n", failed)
	}
	if j.journal {
		out += "backend = \"systemd\"\n"
	} else {
		out += fmt.Sprintf("logpath = %q\n", j.log)
	}
	for _, name := range sortedNames(j.options) {
		if j.options[name] == "true" {
			out += fmt.Sprintf("%q = true\n", name)
		} else {
			out += fmt.Sprintf("%s = '''%s'''\n", name, j.options[name])
		}
	}
	if j.commands != nil {
		out += fmt.Sprintf("[jail.%s.action.slow]\n", j.name)
	}
	for _, name := range sortedNames(j.commands) {
		out += fmt.Sprintf("%s = '''%s'''\n", name, j.commands[name])
	}
	return out
}

// tree writes the jail as fail2ban's, and its action's file.
func (j *illJail) tree() (jail, action string) {
	out := fmt.Sprintf("\n[%s]\nenabled = true\n", j.name)
	if j.journal {
		out += "backend = systemd\n"
	} else {
		out += "logpath = " + j.log + "\n"
	}
	for _, name := range sortedNames(j.options) {
		out += name + " = " + strings.ReplaceAll(j.options[name], "\n", "\n  ") + "\n"
	}
	if j.commands == nil {
		return out, ""
	}
	action = "[Definition]\n"
	for _, name := range sortedNames(j.commands) {
		action += "action" + name + " = " + j.commands[name] + "\n"
	}
	return out + "action = nftables[type=allports]\n  slow-" + j.name + "\n", action
}

func sortedNames(m map[string]string) (out []string) {
	for name := range m {
		out = append(out, name)
	}
	slices.Sort(out)
	return out
}

func ill(name, log string, options ...string) *illJail {
	j := &illJail{name: name, log: log, options: map[string]string{}}
	for i := 0; i < len(options); i += 2 {
		j.options[options[i]] = options[i+1]
	}
	return j
}

// bans is the late of a jail that bans as soon as it can.
func bans(jail string) func(*blockedWorld, round) bool {
	return func(w *blockedWorld, r round) bool { return w.holds(jail, r.who) }
}

// fails is the begin of one whose log tells of its attacker.
func fails(log string) func(*blockedWorld, round) {
	return func(w *blockedWorld, r round) { w.fail(log, r.who) }
}

// shellAction hangs in one of its commands.
func shellAction(which string) blockage {
	name := "action-" + which
	j := ill(name, "@D@/"+name+".log")
	b := blockage{name: name, jail: j, begin: fails(name + ".log"), early: which == "start"}
	j.commands = map[string]string{}
	for _, c := range []string{"start", "stop", "check", "ban", "unban"} {
		text := "true"
		if c == "ban" {
			text = "echo <ip> >>@D@/" + name + ".told"
		}
		if c == which {
			text = "@HANG@; " + text
		}
		j.commands[c] = text
	}
	b.late = func(w *blockedWorld, r round) bool { return w.has(name+".told", r.who) }
	b.free = which == "stop" || which == "check" || which == "unban"
	if which == "unban" {
		b.begin = func(w *blockedWorld, r round) {
			w.fail(name+".log", r.who)
			if r.n == 3 { // it begins with the start
				return
			}
			w.until("the ill jail bans", func() bool { return w.holds(name, r.who) })
			w.answers("unban", promisedAnswer, func() error {
				_, err := w.api.Unban(control.UnbanRequest{IPs: []string{r.who}})
				return err
			})
		}
	}
	return b
}

var blockages = []blockage{
	{
		name: "resolver",
		jail: ill("resolver", "@D@/resolver.log", "usedns", "warn"),
		begin: func(w *blockedWorld, r round) {
			var names []string
			for i := range 3000 / (r.n * r.n * r.n) { // what was not given up before the stop is not now
				names = append(names, fmt.Sprintf("h%d.%d.example.org", i, r.n))
			}
			w.fail("resolver.log", append(names, fmt.Sprintf("late%d.example.org", r.n), r.who)...)
			if r.n == 1 {
				w.until("the address behind the names is banned", func() bool { return w.holds("resolver", r.who) })
				w.tells("[resolver] host names for which no name server answered in time were given up, ")
			}
		},
		late: func(w *blockedWorld, r round) bool { return w.holds("resolver", fmt.Sprintf("198.51.100.%d", 250+r.n)) },
	},
	{
		// Who is ignored by a name is known when the name server answers.
		name:  "ignoreip-name",
		jail:  ill("ignoreip-name", "@D@/ignoreip-name.log", "ignoreip", "office.example.org"),
		begin: fails("ignoreip-name.log"),
		late:  bans("ignoreip-name"),
		free:  true,
	},
	{
		name: "ignoreip-file", hangs: []string{"all"},
		jail: ill("ignoreip-file", "@D@/ignoreip-file.log", "ignoreip", "file:@H@/allowed.txt"),
		args: func(w *blockedWorld) { w.write("under/ignoreip-file/allowed.txt", "192.0.2.33\n") },
		begin: func(w *blockedWorld, r round) {
			w.write("under/ignoreip-file/allowed.txt", fmt.Sprintf("192.0.2.33\n192.0.2.%d\n", 33+r.n))
			w.fail("ignoreip-file.log", fmt.Sprintf("192.0.2.%d", 33+r.n), r.who)
			w.until("lines are judged with what is known", func() bool { return r.n > 1 || w.holds("ignoreip-file", r.who) })
		},
		late: func(w *blockedWorld, r round) bool {
			return w.holds("ignoreip-file", r.who) && !w.holds("ignoreip-file", fmt.Sprintf("192.0.2.%d", 33+r.n))
		},
		free: true, // with the second one it may be read before anything hangs
	},
	{
		name: "log-open", jail: ill("log-open", "@H@/open.log"), hangs: []string{"open", "lookup", "getattr"}, but: "database",
		args: func(w *blockedWorld) { w.write("under/log-open/open.log", "") },
		begin: func(w *blockedWorld, r round) { // the old one is open
			if err := os.Rename(w.path("under/log-open/open.log"), w.path(fmt.Sprintf("under/log-open/open.log.%d", 4-r.n))); err != nil {
				w.t.Fatal(err)
			}
			w.fail("under/log-open/open.log", r.who)
		},
		late: bans("log-open"),
	},
	{
		name: "log-read", jail: ill("log-read", "@H@/read.log"), hangs: []string{"read"},
		args:  func(w *blockedWorld) { w.write("under/log-read/read.log", "") },
		begin: fails("under/log-read/read.log"),
		late:  bans("log-read"),
	},
	shellAction("start"), shellAction("stop"), shellAction("check"), shellAction("ban"), shellAction("unban"),
	{
		name: "ignorecommand", jail: ill("ignorecommand", "@D@/ignorecommand.log", "ignorecommand", "@HANG@; exit 1"),
		begin: fails("ignorecommand.log"), late: bans("ignorecommand"),
	},
	{
		name: "mail", tree: true,
		jail:  ill("mail", "@D@/mail.log", "action", "nftables[type=allports]\nsmtp.py[host=\"127.0.0.1:2525\", dest=root]"),
		args:  func(w *blockedWorld) { w.mailServer("127.0.0.1:2525") },
		begin: fails("mail.log"),
		late: func(w *blockedWorld, r round) bool {
			// What is not sent when it stops is told to be dropped, as with fail2ban.
			if r.n == 2 && !w.mailed(r.who) {
				w.tells("Failed to execute ban jail 'mail' action 'smtp' info '" + r.who + "': mail to root by 127.0.0.1:2525: ")
				return true
			}
			return w.mailed(r.who)
		},
	},
	{
		name: "export-reload", toml: "\n[export.reload]\nfile = \"@D@/reload.txt\"\nformat = \"plain\"\nreload = \"@HANG@; echo told >>@D@/reload.told\"\n",
		late: func(w *blockedWorld, r round) bool {
			return w.has("reload.told", "told") && w.has("reload.txt", r.well)
		},
		free: true, // of the first round it was told at the start
	},
	{
		name: "export-disk", toml: "\n[export.disk]\nfile = \"@H@/disk.txt\"\nformat = \"plain\"\n", hangs: []string{"all"},
		late: func(w *blockedWorld, r round) bool { return w.has("under/export-disk/disk.txt", r.well) },
	},
	{
		name: "export-fifo", toml: "\n[export.fifo]\nfile = \"@D@/fifo.txt\"\nformat = \"plain\"\n",
		args: func(w *blockedWorld) { _ = syscall.Mkfifo(w.path("fifo.txt"), 0o600) },
	},
	{
		name: "list", toml: "\n[jail.feed]\nenabled = true\nlist = \"@H@/list.txt\"\n", hangs: []string{"all"},
		args:  func(w *blockedWorld) { w.write("under/list/list.txt", "198.51.100.5\n") },
		begin: func(w *blockedWorld, r round) { w.write("under/list/list.txt", "198.51.100.5\n"+r.who+"\n") },
		late:  func(w *blockedWorld, r round) bool { return w.holds("feed", r.who) || r.n == 2 }, // the third has another list
	},
	{
		name: "database", hangs: []string{"all"},
		jail:  ill("database", "@D@/database.log", "bantime.increment", "true"), // each of its bans is a question
		args:  func(w *blockedWorld) { w.database = w.path("h/database/db.sqlite3") },
		ready: func(w *blockedWorld) { w.openAll("h/database") },
		begin: func(w *blockedWorld, r round) {
			for _, f := range w.opened { // pages are on their way to the disk, as after a while
				_ = unix.SyncFileRange(int(f.Fd()), 0, 0, unix.SYNC_FILE_RANGE_WRITE)
			}
			w.fail("database.log", r.who)
			if r.n == 1 {
				w.until("an address of which the database says nothing is taken for new", func() bool { return w.holds("database", r.who) })
			}
		},
		late: func(w *blockedWorld, r round) bool {
			out, _ := exec.Command("strings", w.path("under/database/db.sqlite3")).Output()
			return w.holds("database", r.who) && strings.Contains(string(out), r.well) && strings.Contains(string(out), r.who)
		},
	},
	{
		name: "log-target", hangs: []string{"all"},
		args: func(w *blockedWorld) { w.target = w.path("h/log-target/target.log") },
		late: func(w *blockedWorld, r round) bool {
			return r.n == 2 || w.has("under/log-target/target.log", "[well] Ban "+r.well)
		},
		start: "it can't be opened within 5s: does its disk hang?",
	},
	{
		name: "log-stderr",
		args: func(w *blockedWorld) { w.target = "stderr" },
		late: func(w *blockedWorld, r round) bool { return r.n == 2 || w.has("log", "[well] Ban "+r.well) },
	},
	{
		name: "config", hangs: []string{"all"},
		args: func(w *blockedWorld) { w.conf = "under/config" },
		begin: func(w *blockedWorld, r round) {
			if r.n == 3 {
				return // there is nobody to ask yet
			}
			w.answers("a client that looks there for the socket", promisedAnswer, func() error {
				if out, code := w.run("fail2ban-client", "-c", w.path("h/config"), "ping"); code != 0 {
					return fmt.Errorf("%s", out)
				}
				return nil
			})
		},
		reload: "no answer for @H@", start: "no answer for @H@",
	},
	{
		name: "filter-file", hangs: []string{"all"},
		jail: ill("filter-file", "@D@/filter-file.log", "filter", "slow"),
		args: func(w *blockedWorld) {
			w.write("under/filter-file/slow.toml", "failregex = '"+failed+"'\n")
			w.write("under/filter-file/slow.conf", "[Definition]\nfailregex = "+failed+"\n")
			for _, link := range []string{"filters/slow.toml", "filter.d/slow.conf"} {
				_ = os.MkdirAll(filepath.Dir(w.path(w.conf+"/"+link)), 0o755)
				if err := os.Symlink(w.path("h/filter-file/"+filepath.Base(link)), w.path(w.conf+"/"+link)); err != nil {
					w.t.Fatal(err)
				}
			}
		},
		begin: fails("filter-file.log"), late: bans("filter-file"), free: true,
		reload: "no answer for ", start: "no answer for ",
	},
	{
		name: "journalctl",
		jail: &illJail{name: "journal", journal: true},
		args: func(w *blockedWorld) {
			w.write("bin/journalctl", "#!/bin/sh\nexec sleep 1000\n")
			_ = os.Chmod(w.path("bin/journalctl"), 0o755)
		},
	},
	{
		name: "notify", // the service manager, told that the daemon is ready
		args: func(w *blockedWorld) { w.fullSocket("notify") },
	},
	{
		name: "clients",
		begin: func(w *blockedWorld, r round) {
			if r.n == 3 {
				return // there is nobody yet
			}
			for range 20 {
				c, err := net.Dial("unix", w.path("sock"))
				if err != nil {
					w.t.Fatal(err)
				}
				w.t.Cleanup(func() { c.Close() })
				_, _ = io.WriteString(c, strings.Repeat("GET /v1/bans HTTP/1.1\r\nHost: x\r\n\r\n", 50))
			}
		},
	},
}
