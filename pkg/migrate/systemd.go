package migrate

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"bailiff/packaging"
)

// Services of systemd's: fail2ban's own, and one for ours on fail2ban's configuration.

const (
	// OurUnit is the service of ours, and TheirUnit fail2ban's.
	OurUnit   = "bailiff-fail2ban.service"
	TheirUnit = "fail2ban.service"
)

// UnitDir is where a unit is written to, where no package has brought ours.
var UnitDir = "/etc/systemd/system"

// written marks a unit that we wrote.
const written = "# Written by bailiff migrate; bailiff migrate --back removes it.\n"

// unitText is the service of ours where no package has brought it: that of the package, with
// the program that runs now, and fail2ban's paths as they are here.
func unitText(program, dir, socket, pidFile string) string {
	server := "@" + unitWord(program) + " fail2ban-server -xf -c " + unitWord(dir) + " -s " + unitWord(socket)
	client := "@" + unitWord(program) + " fail2ban-client -c " + unitWord(dir) + " -s " + unitWord(socket)
	if pidFile != "" {
		server += " -p " + unitWord(pidFile)
	}
	out := written
	for line := range strings.Lines(packaging.Fail2banUnit) {
		switch key, _, _ := strings.Cut(line, "="); key {
		case "ExecStart":
			line = "ExecStart=" + server + " start\n"
		case "ExecReload":
			line = "ExecReload=" + client + " reload\n"
		case "PIDFile":
			if line = ""; pidFile != "" {
				line = "PIDFile=" + strings.ReplaceAll(runDir(pidFile), "%", "%%") + "\n"
			}
		case "Conflicts": // fail2ban is installed beside it
			line = strings.TrimSuffix(line, "\n") + " " + TheirUnit + "\n"
		case "Documentation", "Alias":
			line = ""
		}
		out += line
	}
	return out
}

// runDir is a path under /run where it is one under what once was /var/run: systemd warns of
// that.
func runDir(path string) string {
	if rest, ok := strings.CutPrefix(path, "/var/run/"); ok {
		return "/run/" + rest
	}
	return path
}

// unitWord is a word of a command in a unit (systemd.service(5)).
func unitWord(s string) string {
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`, "%", "%%", "$", "$$").Replace(s) + `"`
}

// known reports whether systemd knows a unit.
func known(ctx context.Context, unit string) bool { return systemctl(ctx, "cat", "--", unit) == nil }

// masked says why a unit can't be started, if it is masked.
func masked(unit string) error {
	if unit == "" {
		return nil
	}
	for _, dir := range []string{UnitDir, SystemdDir} {
		path := filepath.Join(dir, unit)
		if to, err := os.Readlink(path); err == nil && to == os.DevNull {
			return fmt.Errorf("%s is masked (%s leads to %s), so it could not be started: systemctl unmask %s", unit, path, to, unit)
		}
	}
	return nil
}

// systemctlMost is how long systemctl may take for what starts and stops nothing: to enable
// a service that has a script of old, too, it runs that one's program, which took more than two
// minutes on a tenth of a core.
const systemctlMost = 5 * time.Minute

// withinMost is systemctl with that deadline.
func withinMost(ctx context.Context, args ...string) error {
	ctx, cancel := context.WithTimeout(ctx, systemctlMost)
	defer cancel()
	return systemctl(ctx, args...)
}

// OursByUnit makes a target of ours as a service: the one that there is, or one that is
// written. Where fail2ban is no service, ok is false.
func OursByUnit(from *Server, program, dir, pidFile string, to Target) (t Target, ok bool) {
	if from.Unit == "" {
		return to, false
	}
	ctx, cancel := context.WithTimeout(context.Background(), systemctlMost)
	defer cancel()
	path := filepath.Join(UnitDir, OurUnit)
	have, _ := os.ReadFile(path)
	write := strings.HasPrefix(string(have), written) || !known(ctx, OurUnit)
	to.Unit, to.By = OurUnit, "systemctl start "+OurUnit
	if write {
		to.By += ", a unit that is written to " + path
	}
	if write {
		wrote := false
		to.Prepare = func(ctx context.Context) error {
			if err := os.WriteFile(path, []byte(unitText(program, dir, to.Socket, pidFile)), 0o644); err != nil {
				if have == nil {
					_ = os.Remove(path) // of a full disk
				}
				return fmt.Errorf("the service can't be written: %w", err)
			}
			wrote = true
			return withinMost(ctx, "daemon-reload")
		}
		to.Undo = func(ctx context.Context) error {
			if !wrote || have != nil {
				return nil // nothing, or that of an earlier change over: it says the same
			}
			if err := os.Remove(path); err != nil {
				if errors.Is(err, os.ErrNotExist) {
					return nil
				}
				return fmt.Errorf("the service that was written stays: %w", err)
			}
			return withinMost(ctx, "daemon-reload")
		}
	}
	to.Start = func(ctx context.Context) error {
		ctx, cancel := context.WithTimeout(ctx, upMost)
		defer cancel()
		return systemctl(ctx, "start", OurUnit)
	}
	to.After = func(ctx context.Context) error {
		return wrapped("what is started at the next boot could not be changed", errors.Join(
			withinMost(ctx, "disable", from.Unit), withinMost(ctx, "enable", OurUnit)))
	}
	return to, true
}

// TheirsByUnit makes a target of fail2ban as a service. Where it is none, ok is false.
func TheirsByUnit(from *Server, to Target) (t Target, ok bool) {
	ctx, cancel := context.WithTimeout(context.Background(), systemctlMost)
	defer cancel()
	if from.Unit == TheirUnit || !systemd() || !known(ctx, TheirUnit) {
		return to, false
	}
	to.Unit, to.By = TheirUnit, "systemctl start "+TheirUnit
	to.Start = func(ctx context.Context) error {
		ctx, cancel := context.WithTimeout(ctx, upMost)
		defer cancel()
		return systemctl(ctx, "start", TheirUnit)
	}
	to.After = func(ctx context.Context) error {
		var errs []error
		if from.Unit != "" {
			errs = append(errs, withinMost(ctx, "disable", from.Unit))
		}
		path := filepath.Join(UnitDir, OurUnit)
		if have, err := os.ReadFile(path); err == nil && strings.HasPrefix(string(have), written) {
			errs = append(errs, os.Remove(path), withinMost(ctx, "daemon-reload"))
		}
		return wrapped("what is started at the next boot could not be changed", errors.Join(append(errs, withinMost(ctx, "enable", TheirUnit))...))
	}
	return to, true
}

func wrapped(what string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s: %w", what, err)
}
