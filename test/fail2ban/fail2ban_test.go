package fail2ban

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"bailiff/pkg/hosttest"
	"bailiff/pkg/references"
)

// parts are the modules with the cases, in groups that are run beside one another.
var parts = [][]string{
	{"fail2banregextestcase", "clientbeautifiertestcase", "sockettestcase"},
	{"fail2banclienttestcase.Fail2banClientTest", "fail2banclienttestcase.Fail2banServerTest"},
	{"servertestcase.Transmitter", "servertestcase.TransmitterLogging"},
}

// verdict is what became of a case: pass, fail, skip, or inside if it had nothing to do
// with programs.
type verdict struct {
	Case    string  `json:"case"`
	Result  string  `json:"result"`
	Why     string  `json:"why"`
	Seconds float64 `json:"seconds"`
}

// TestOwnCases needs root, python3, unshare (util-linux) and what make packages unpacks.
func TestOwnCases(t *testing.T) {
	f := hosttest.Fail2ban(t)
	listed := differences(t)
	root := tree(t, f)
	// Both sides at once: what the cases do most of the time is wait.
	var control map[string]verdict
	var controlErr error
	var other sync.WaitGroup
	other.Go(func() { control, controlErr = controlOf(t, f, root, listed) })
	ours := t.TempDir()
	out, err := exec.Command("go", "build", "-pgo=off", "-tags", "testclock", "-o", filepath.Join(ours, "bailiff"), "bailiff/cmd/bailiff").CombinedOutput()
	if err != nil {
		err = fmt.Errorf("%w\n%s", err, out)
	}
	for _, name := range []string{"fail2ban-client", "fail2ban-server", "fail2ban-regex"} {
		err = errors.Join(err, os.Symlink("bailiff", filepath.Join(ours, name)))
	}
	var got map[string]verdict
	if err == nil {
		got, err = runCases(t, root, ours, nil)
	}
	other.Wait()
	if err := errors.Join(controlErr, err); err != nil {
		t.Fatal(err)
	}
	for name, v := range control {
		if _, run := got[name]; v.Result == "pass" && !run {
			t.Errorf("%s was not run with ours", name)
		}
	}
	maps.DeleteFunc(got, func(name string, _ verdict) bool { return control[name].Result != "pass" })
	var again []string // a busy machine fails some of either side that wait for so long and no longer
	for name, v := range got {
		if _, known := listed[name]; v.Result != "pass" && !known {
			t.Logf("%s is asked once more: %s", name, v.Why)
			again = append(again, name)
		}
	}
	if again != nil {
		second, err := runCases(t, root, ours, again)
		if err != nil {
			t.Fatal(err)
		}
		maps.Copy(got, second)
	}
	for _, name := range slices.Sorted(maps.Keys(got)) {
		v := got[name]
		_, known := listed[name]
		switch {
		case v.Result != "pass" && !known:
			t.Errorf("%s: %s; it passes with fail2ban's own programs and is not among the differences:\n%s", name, v.Result, v.Why)
		case v.Result == "pass" && known:
			t.Errorf("%s passes: take it out of the differences", name)
		}
	}
	for name := range listed {
		c, there := control[name]
		switch _, run := got[name]; {
		case !there:
			t.Errorf("differences: %s is no case of fail2ban's", name)
		case !run: // a busy machine: it was asked twice
			t.Logf("differences: %s does not pass with fail2ban's own programs: %s", name, c.Why)
		}
	}
	t.Log("\n" + table(control, got, listed))
}

// table has a line for each class of cases.
func table(control, got map[string]verdict, listed map[string]string) string {
	type row struct{ cases, inside, control, ours, listed int }
	rows := map[string]*row{}
	for name, v := range control {
		class := name[:strings.LastIndex(name, ".")]
		if rows[class] == nil {
			rows[class] = &row{}
		}
		r := rows[class]
		r.cases++
		switch v.Result {
		case "pass":
			r.control++
		case "inside":
			r.inside++
		}
		if got[name].Result == "pass" {
			r.ours++
		}
		if _, ok := listed[name]; ok {
			r.listed++
		}
	}
	var b bytes.Buffer
	fmt.Fprintf(&b, "%-45s %5s %15s %15s %10s %10s\n", "module", "cases", "without program", "pass in control", "with ours", "listed")
	for _, class := range slices.Sorted(maps.Keys(rows)) {
		r := rows[class]
		fmt.Fprintf(&b, "%-45s %5d %15d %15d %10d %10d\n", class, r.cases, r.inside, r.control, r.ours, r.listed)
	}
	return b.String()
}

// differences reads the list: a case and its reason a line.
func differences(t *testing.T) map[string]string {
	t.Helper()
	text, err := os.ReadFile("differences")
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]string{}
	for line := range strings.Lines(string(text)) {
		if line = strings.TrimSpace(line); line == "" || line[0] == '#' {
			continue
		}
		name, why, _ := strings.Cut(line, " ")
		if why = strings.TrimSpace(why); why == "" || out[name] != "" {
			t.Fatalf("differences: %q: want a case, once, and its reason", line)
		}
		out[name] = why
	}
	return out
}

// tree makes what the cases expect around them: fail2ban's package, and its configuration
// beside it as config.
func tree(t *testing.T, f references.Fail2ban) string {
	t.Helper()
	root := t.TempDir()
	if err := os.CopyFS(filepath.Join(root, "fail2ban"), os.DirFS(filepath.Join(f.Lib, "fail2ban"))); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(f.Config, filepath.Join(root, "config")); err != nil {
		t.Fatal(err)
	}
	return root
}

// controlOf returns what becomes of the cases with fail2ban's own programs. It is kept
// beside the packages that scripts/fail2bans unpacks: as long as they and the shim are the
// same, so is the answer.
func controlOf(t *testing.T, f references.Fail2ban, root string, listed map[string]string) (map[string]verdict, error) {
	sum := sha256.New()
	fmt.Fprintln(sum, f.Version)
	for _, name := range []string{"shim.py", "shift.py", "real.py"} {
		text, err := os.ReadFile(name)
		if err != nil {
			return nil, err
		}
		sum.Write(text)
	}
	kept := filepath.Join("../../tmp/fail2bans", "control-"+hex.EncodeToString(sum.Sum(nil))[:16])
	if text, err := os.ReadFile(kept); err == nil {
		return verdicts(text)
	}
	real := t.TempDir()
	for _, c := range [][2]string{{"real.py", "fail2ban-client"}, {"real.py", "fail2ban-server"}, {"real.py", "fail2ban-regex"}, {"shift.py", "shift.py"}} {
		text, err := os.ReadFile(c[0])
		if err == nil {
			err = os.WriteFile(filepath.Join(real, c[1]), text, 0o755)
		}
		if err != nil {
			return nil, err
		}
	}
	got, err := runCases(t, root, real, nil)
	if err != nil {
		return nil, err
	}
	var again []string // a busy machine fails some that wait for so long and no longer
	for name := range listed {
		if v, ok := got[name]; ok && v.Result != "pass" {
			again = append(again, name)
		}
	}
	if again != nil {
		second, err := runCases(t, root, real, again)
		if err != nil {
			return nil, err
		}
		maps.Copy(got, second)
	}
	var text bytes.Buffer
	for _, v := range got {
		line, _ := json.Marshal(v)
		text.Write(append(line, '\n'))
	}
	return got, os.WriteFile(kept, text.Bytes(), 0o644)
}

// runCases runs cases (all, if none are named) with the programs of a directory.
func runCases(t *testing.T, root, programs string, cases []string) (map[string]verdict, error) {
	shim, err := filepath.Abs("shim.py")
	if err != nil {
		return nil, err
	}
	var mu sync.Mutex
	var failed error
	var group sync.WaitGroup
	out := map[string]verdict{}
	for _, part := range parts {
		names := part
		if cases != nil {
			names = nil
			for _, c := range cases {
				if slices.ContainsFunc(part, func(p string) bool { return strings.HasPrefix(c, p+".") }) {
					names = append(names, c)
				}
			}
			if names == nil {
				continue
			}
		}
		dir := t.TempDir()
		group.Go(func() {
			// Namespaces of their own: no network, no name server, and no process is left
			// behind, whatever a case does. The shell is there to take in what ends.
			resolv := filepath.Join(dir, "resolv.conf")
			_ = os.WriteFile(resolv, nil, 0o644) // mounting it fails where that failed
			c := exec.Command("unshare", append([]string{
				"--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc", "--", "sh", "-c",
				`ip link set lo up && mount --bind "$0" /etc/resolv.conf && timeout 600 "$@"; exit $?`, resolv,
				"/usr/bin/python3", shim, programs, filepath.Join(dir, "verdicts"),
			}, names...)...)
			c.Dir = dir
			c.Env = append(os.Environ(), "PYTHONPATH="+root, "PYTHONDONTWRITEBYTECODE=1", "FAIL2BAN_CONFIG_DIR="+filepath.Join(root, "config"), "TMPDIR="+dir)
			said, err := c.CombinedOutput()
			text, _ := os.ReadFile(filepath.Join(dir, "verdicts"))
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				failed = errors.Join(failed, fmt.Errorf("%v: %w\n%s", part, err, said))
			}
			read, err := verdicts(text)
			failed = errors.Join(failed, err)
			maps.Copy(out, read)
		})
	}
	group.Wait()
	if failed == nil && (len(out) == 0 || cases != nil && len(out) != len(cases)) {
		failed = fmt.Errorf("%d cases were run, want %d", len(out), len(cases))
	}
	return out, failed
}

// verdicts reads what shim.py has written.
func verdicts(text []byte) (map[string]verdict, error) {
	out := map[string]verdict{}
	lines := bufio.NewScanner(bytes.NewReader(text))
	lines.Buffer(nil, 64<<20)
	for lines.Scan() {
		var v verdict
		if err := json.Unmarshal(lines.Bytes(), &v); err != nil {
			return nil, err
		}
		out[v.Case] = v
	}
	return out, lines.Err()
}
