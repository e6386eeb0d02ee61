// Package references tells tests which real fail2bans there are to ask: this Debian's,
// installed, and those of other releases, unpacked beside it by scripts/fail2bans. That of
// Debian 12 (1.0.2) is there where Python is old enough for it, before 3.12.
package references

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// A Fail2ban is one to ask.
type Fail2ban struct {
	Suite   string // of Debian: bookworm, trixie, sid
	Version string // of the package, as 1.1.1-1
	Lib     string // the directory that holds its Python package
	Config  string // its configuration as Debian ships it
}

// checkout is the directory with go.mod in which a test or a program of the project runs. The compiler's own word for it
// is not asked: there is none where it was told to -trimpath.
func checkout() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for at := dir; ; at = filepath.Dir(at) {
		if _, err := os.Stat(filepath.Join(at, "go.mod")); err == nil {
			return at, nil
		}
		if at == filepath.Dir(at) {
			return "", fmt.Errorf("%s: no go.mod here or above: run this inside the project's checkout", dir)
		}
	}
}

// All returns those that make references unpacked, the oldest first. The error says what to
// do where it was not run.
func All() ([]Fail2ban, error) {
	root, err := checkout()
	if err != nil {
		return nil, err
	}
	list := filepath.Join(root, "tmp/fail2bans/versions")
	text, err := os.ReadFile(list)
	if err != nil {
		return nil, fmt.Errorf("%w (make references unpacks the fail2bans that tests ask)", err)
	}
	var out []Fail2ban
	for line := range strings.Lines(string(text)) {
		f := strings.Fields(line)
		if len(f) != 4 {
			return nil, fmt.Errorf("%s: %q: want SUITE VERSION LIB CONFIG", list, line)
		}
		out = append(out, Fail2ban{f[0], f[1], f[2], f[3]})
	}
	if len(out) < 2 {
		return nil, fmt.Errorf("%s names %d, want 2 or more (make references unpacks them)", list, len(out))
	}
	return out, nil
}

// Newest returns the newest of them: it is the one whose behaviour counts, whatever
// version a configuration is of.
func Newest() (Fail2ban, error) {
	all, err := All()
	if err != nil {
		return Fail2ban{}, err
	}
	return all[len(all)-1], nil
}

// Release is the version of fail2ban itself, without what Debian puts behind it, as 1.1.1.
func (f Fail2ban) Release() string {
	release, _, _ := strings.Cut(f.Version, "-")
	return release
}

// Env returns the environment in which Python finds this one before any other. What it prints
// comes in the order in which it prints it, also into a file.
func (f Fail2ban) Env() []string {
	return append(os.Environ(), "PYTHONPATH="+f.Lib, "PYTHONUNBUFFERED=1")
}

// Program returns one of its programs, as fail2ban-client.
func (f Fail2ban) Program(name string) string { return filepath.Join(f.Lib, "../../../bin", name) }
