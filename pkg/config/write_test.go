package config

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"bailiff/pkg/config/fail2ban"
	"bailiff/pkg/filter"
	"bailiff/pkg/hosttest"
)

// allEnabled copies fail2ban's configuration and enables every jail of it.
func allEnabled(t *testing.T) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "fail2ban")
	if out, err := exec.Command("cp", "-r", tree, dir).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	known, err := fail2ban.ReadTree(dir)
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	b.WriteString("[DEFAULT]\nbanaction = nftables\nbanaction_allports = nftables[type=allports]\n" +
		"bantime.increment = true\nbantime.maxtime = 5w\nbantime.rndtime = 10m\nbantime.multipliers = 1 2 4\nbantime.factor = 2\nbantime.overalljails = true\n" +
		"maxmatches = 7\nban.aggregate = 5\nignoressh = yes\n")
	for _, j := range known.Jails {
		fmt.Fprintf(&b, "[%s]\nenabled = true\n", j.Name)
	}
	hosttest.Write(t, filepath.Join(dir, "jail.d", "zz-all.local"), b.String())
	return dir
}

func plainExprs(list ...filter.Expr) string {
	var out []string
	for _, e := range list {
		out = append(out, e.Text)
	}
	return strings.Join(out, "\n")
}

// TestExport imports every jail of fail2ban's and reads what was written: the same
// filter, rule, logs, counts and times.
func TestExport(t *testing.T) {
	sequential(t)
	from, err := Load(Options{Path: allEnabled(t)})
	if err != nil {
		t.Fatal(err)
	}
	files, notes := Export(from)
	dir := t.TempDir()
	for name, text := range files {
		to := filepath.Join(dir, name)
		hosttest.Write(t, to, text)
	}
	to, err := Load(Options{Path: dir})
	if err != nil {
		t.Fatal(err)
	}
	for _, err := range to.Problems() {
		t.Errorf("what was written: %v", err)
	}
	written := map[string]*Jail{}
	for _, j := range to.Jails {
		written[j.Name] = j
	}
	carried := 0
	for _, a := range from.Jails {
		b := written[a.Name]
		if a.Broken() != nil {
			if b != nil {
				t.Errorf("jail %s can't start, and was written", a.Name)
			}
			if !strings.Contains(strings.Join(notes, "\n"), "jail "+a.Name+" is left out: ") {
				t.Errorf("jail %s is left out in silence", a.Name)
			}
			continue
		}
		if b == nil {
			t.Errorf("jail %s was not written", a.Name)
			continue
		}
		carried++
		show := func(j *Jail) string {
			return fmt.Sprintf("increase %+v networks %+v matches %d ssh %v ", j.Increase, j.Networks, j.MaxMatches, j.Ignore.SSH) + fmt.Sprintf("retry %d find %v ban %v rule %+v logs %q tail %q ignore %v self %v command %q cache %+v\n"+
				"dns %s dates %q zone %q lines %d\npref %s\nfail %s\nignore %s",
				j.MaxRetry, j.FindTime, j.BanTime, j.Rule, j.LogPath, j.LogTail, j.Ignore.Prefixes, j.Ignore.Self, j.IgnoreCommand, j.IgnoreCache,
				j.Filter.UseDNS, j.Filter.DatePattern, j.Filter.LogTimezone, max(j.Filter.MaxLines, 1),
				plainExprs(j.Filter.Prefregex), plainExprs(j.Filter.Failregex...), plainExprs(j.Filter.Ignoreregex...))
		}
		if x, y := show(a), show(b); x != y {
			t.Errorf("jail %s:\nfail2ban's %s\nours       %s", a.Name, x, y)
		}
	}
	if tree == "/etc/fail2ban" && carried < 80 {
		t.Errorf("only %d jails of %d were carried: %q", carried, len(from.Jails), notes)
	}
	t.Logf("%d jails carried, %d left out, %d notes", carried, len(from.Jails)-carried, len(notes))
}

// TestShow: every setting of every jail has its place, or is a default.
func TestShow(t *testing.T) {
	cfg, err := Load(Options{Path: tree, All: true})
	if err != nil {
		t.Fatal(err)
	}
	placed := 0
	for _, j := range cfg.Jails {
		for _, s := range j.Settings {
			if s.File == "" {
				continue
			}
			placed++
			data, err := os.ReadFile(s.File)
			if err != nil {
				t.Fatal(err)
			}
			lines := strings.Split(string(data), "\n")
			if s.Line < 1 || s.Line > len(lines) || !strings.HasPrefix(strings.ToLower(lines[s.Line-1]), s.Name) {
				t.Errorf("jail %s: %s is said to stand in %s:%d", j.Name, s.Name, s.File, s.Line)
			}
		}
	}
	if placed < 500 {
		t.Errorf("only %d settings have a place", placed)
	}
}
