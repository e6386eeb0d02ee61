package main

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"

	"bailiff/pkg/hosttest"
)

// TestMigrateServices: where fail2ban is a service of systemd's, so is ours; what is started
// at the next boot follows. systemctl is one of the test's, which does what it is told.
func TestMigrateServices(t *testing.T) {
	newest := hosttest.Fail2ban(t)
	t.Parallel()
	c := newChangeover(t, newest, "nftables", 5, func(c *changeover) {
		for _, dir := range []string{"units", "run/system", "bin"} {
			if err := os.MkdirAll(c.path(dir), 0o755); err != nil {
				t.Fatal(err)
			}
		}
		c.systemctl()
		if err := os.Symlink(c.self(), c.path("fail2ban-server")); err != nil {
			t.Fatal(err)
		}
	})
	_ = os.WriteFile(c.path("units/fail2ban.service"), nil, 0o644)
	out, code := c.migrate("--dry-run")
	if want := "stop fail2ban (systemctl stop fail2ban.service)"; code != 0 || !strings.Contains(out, want) {
		t.Fatalf("exit code %d, lacks %q:\n%s", code, want, out)
	}
	out, code = c.migrate()
	if code != 0 || !c.isOurs() {
		t.Fatalf("exit code %d:\n%s\n%s", code, out, c.log())
	}
	c.whole("with ours")
	unit, err := os.ReadFile(c.path("units/bailiff-fail2ban.service"))
	if err != nil || !strings.Contains(string(unit), `fail2ban-server -xf -c "`+c.tree+`" -s "`+c.path("f2b.sock")+`"`) {
		t.Errorf("%v: the unit is\n%s", err, unit)
	}
	out, code = c.migrate("--back")
	if code != 0 || c.isOurs() {
		t.Fatalf("back: exit code %d:\n%s\n%s", code, out, c.log())
	}
	c.whole("back")
	did, _ := os.ReadFile(c.path("did"))
	// Masked, it could not be started again: that is found before anything is stopped.
	_ = errors.Join(os.Remove(c.path("units/fail2ban.service")), os.Symlink(os.DevNull, c.path("units/fail2ban.service")))
	out, code = c.migrate()
	if code != 1 || !strings.Contains(out, "systemctl unmask fail2ban.service") || !strings.Contains(out, "nothing was changed") || c.isOurs() {
		t.Errorf("masked: exit code %d:\n%s", code, out)
	}
	_ = errors.Join(os.Remove(c.path("units/fail2ban.service")), os.WriteFile(c.path("units/fail2ban.service"), nil, 0o644))
	// It does not start: it is put back, and no unit is left.
	_ = os.WriteFile(c.path("refused"), nil, 0o644)
	out, code = c.migrate()
	if want := "everything is as before"; code != 1 || !strings.Contains(out, want) || c.isOurs() {
		t.Errorf("refused: exit code %d, lacks %q:\n%s", code, want, out)
	}
	c.whole("refused")
	want := "daemon-reload\nstop fail2ban.service\nstart bailiff-fail2ban.service\ndisable fail2ban.service\nenable bailiff-fail2ban.service\n" +
		"stop bailiff-fail2ban.service\nstart fail2ban.service\ndisable bailiff-fail2ban.service\ndaemon-reload\nenable fail2ban.service\n"
	if string(did) != want {
		t.Errorf("systemctl was told\n%s\nwant\n%s", did, want)
	}
	if _, err := os.Stat(c.path("units/bailiff-fail2ban.service")); err == nil {
		t.Error("the unit that was written is there still")
	}
}

// systemctl has commands find a systemd: its directories, and a systemctl that starts and
// stops what units name, each in a control group of the unit's name.
func (c *changeover) systemctl() {
	name := fmt.Sprintf("/bailiff-%d-%d", os.Getpid(), networks.Add(1))
	outside := "/sys/fs/cgroup" + name
	if _, err := os.Stat("/sys/fs/cgroup/pids"); err == nil { // the first version of control groups
		outside = "/sys/fs/cgroup/pids" + name
	}
	group := c.path("groups") + name // /sys is another one there
	c.t.Cleanup(func() {
		c.clean()
		for _, unit := range []string{"/fail2ban.service", "/bailiff-fail2ban.service", ""} {
			dir := outside + unit
			c.until(dir+" is empty", func() bool { return os.Remove(dir) == nil || errIsNotExist(dir) })
		}
	})
	script := `#!/bin/sh
case $1 in
cat) shift $(($# - 1)); exec test -e ` + c.path("units") + `/$1 ;;
esac
echo "$*" >>` + c.path("did") + `
into() { mkdir -p ` + group + `/$1 && echo $$ >` + group + `/$1/cgroup.procs; }
case $1-$2 in
start-fail2ban.service) into $2; exec ` + c.f2b.Program("fail2ban-server") + ` -c ` + c.tree + ` -b start >/dev/null 2>&1 ;;
start-bailiff-fail2ban.service)
	[ ! -e ` + c.path("refused") + ` ] || { echo "it is refused" >&2; exit 1; }
	into $2
	cmd=$(sed -n 's/^ExecStart=@"[^"]*" /` + strings.ReplaceAll(c.dir, "/", `\/`) + `\//p' ` + c.path("units") + `/$2)
	eval "exec setsid $cmd" </dev/null >/dev/null 2>&1 & ;;
stop-*) kill $(cat ` + group + `/$2/cgroup.procs); while [ -n "$(cat ` + group + `/$2/cgroup.procs)" ]; do sleep 0.02; done ;;
esac
`
	if err := os.WriteFile(c.path("bin/systemctl"), []byte(script), 0o755); err != nil {
		c.t.Fatal(err)
	}
	// Each command is in a mount namespace of its own (ip netns exec).
	c.first = "mkdir -p /etc/systemd/system /run/systemd && mount --bind " + c.path("units") + " /etc/systemd/system && mount --bind " + c.path("run") + " /run/systemd && { mount -t cgroup -o pids none " + c.path("groups") + " || mount -t cgroup2 none " + c.path("groups") + "; } 2>/dev/null && PATH=" + c.path("bin") + ":$PATH"
	if err := errors.Join(os.Mkdir(c.path("groups"), 0o755), os.MkdirAll(outside+"/fail2ban.service", 0o755)); err != nil {
		c.t.Fatal(err)
	}
	c.first += ` && { case $1 in ` + c.f2b.Program("fail2ban-server") + `) echo $$ >` + group + `/fail2ban.service/cgroup.procs ;; esac; }`
}

func errIsNotExist(path string) bool {
	_, err := os.Stat(path)
	return os.IsNotExist(err)
}
