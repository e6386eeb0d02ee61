package config

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"bailiff/pkg/action"
	"bailiff/pkg/hosttest"
)

// TestExportActions: the actions of a configuration of fail2ban's, written as ours, run
// the same commands.
func TestExportActions(t *testing.T) {
	sequential(t)
	tree, own := filepath.Join(t.TempDir(), "tree"), t.TempDir()
	if out, err := exec.Command("cp", "-a", "/etc/fail2ban", tree).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s (make test installs Debian's fail2ban)", err, out)
	}
	if err := os.RemoveAll(filepath.Join(tree, "jail.d")); err != nil {
		t.Fatal(err)
	}
	jail := "[sshd]\nenabled = true\nbackend = auto\nlogpath = /var/log/auth.log\naction = %(action_mwl)s\n  abuseipdb[abuseipdb_apikey=\"k 'x' \\\\ y\", abuseipdb_category=\"18,22\"]\n  dummy[target=/tmp/x]\n  hostsdeny[daemon_list=sshd]\n  smtp.py[host=localhost]\n"
	hosttest.Write(t, filepath.Join(tree, "jail.local"), jail)
	before, err := Load(Options{Path: tree})
	if err != nil {
		t.Fatal(err)
	}
	files, notes := Export(before)
	for name, text := range files {
		hosttest.Write(t, filepath.Join(own, name), text)
	}
	after, err := Load(Options{Path: own})
	if err != nil || len(after.Problems()) > 0 || len(after.Jails) != 1 {
		t.Fatalf("%v %v %q %v", err, after.Problems(), notes, files)
	}
	carried := 0
	for _, a := range before.Jails[0].Actions {
		if isFirewallAction(a.Name) {
			continue // the jail's rule is that
		}
		i := slices.IndexFunc(after.Jails[0].Actions, func(b action.Definition) bool { return b.Name == a.Name })
		if i < 0 {
			if !slices.ContainsFunc(notes, func(n string) bool { return strings.Contains(n, "action "+a.Name+" is not carried: ") }) {
				t.Errorf("%s is gone, and nothing is said of it: %q", a.Name, notes)
			}
			continue
		}
		carried++
		want, err1 := a.Resolve("")
		got, err2 := after.Jails[0].Actions[i].Resolve("")
		if err1 != nil || err2 != nil {
			t.Fatal(err1, err2)
		}
		for n, v := range want.Values {
			if strings.HasPrefix(n, "action") && got.Values[n] != v {
				t.Errorf("%s: %s is %q, want %q", a.Name, n, got.Values[n], v)
			}
		}
		if a.NoRestored() != after.Jails[0].Actions[i].NoRestored() || a.Timeout != after.Jails[0].Actions[i].Timeout {
			t.Errorf("%s: %+v, want %+v", a.Name, after.Jails[0].Actions[i], a)
		}
	}
	if carried < 3 {
		t.Errorf("only %d actions: %q", carried, notes)
	}
}
