package daemon

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"bailiff/pkg/config"
	"bailiff/pkg/jail"
	"bailiff/pkg/safefile"
	"bailiff/pkg/source"
)

// checkPatience is how long a check waits for the file systems of logs, all together.
const checkPatience = 5 * time.Second

// CheckFiles looks at what a configuration names outside of it: whether there are logs
// that can be read, and directories for exports. What isn't may come later, so none of it
// is an error.
func CheckFiles(cfg *config.Config) (warnings []error) {
	var looks []func() []error
	looks = append(looks, func() []error { return checkSyslog(cfg) }, func() []error { return checkGroups(cfg) })
	if cfg.Docker.Labels.Allowed {
		looks = append(looks, func() []error { return checkLabels(cfg) })
	}
	for _, c := range cfg.Jails {
		if c.Broken() != nil || c.Journal != nil {
			continue
		}
		if c.Containers != nil {
			looks = append(looks, func() []error { return checkContainers(c) })
			continue
		}
		at, relative := logPlace(c)
		for _, log := range c.LogPath {
			if log == source.Stdin {
				continue
			}
			if relative && !filepath.IsAbs(log) {
				warnings = append(warnings, fmt.Errorf("%s: log %s: is no path from the root: it is looked for in the directory in which the daemon is started", at, log))
			}
			looks = append(looks, func() (out []error) {
				for _, err := range checkLog(c, log) {
					out = append(out, fmt.Errorf("%s: log %w", at, err))
				}
				return out
			})
		}
	}
	for _, x := range cfg.Exports {
		looks = append(looks, func() []error {
			if err := checkExport(x); err != nil {
				return []error{fmt.Errorf("%s: export %s: %w", x.At, x.Name, err)}
			}
			return nil
		})
	}
	for _, x := range cfg.HTTPExports {
		looks = append(looks, func() []error {
			if err := checkService(x.Token, x.CA); err != nil {
				return []error{fmt.Errorf("%s: export %s: %w", x.At, x.Name, err)}
			}
			return nil
		})
	}
	for _, x := range cfg.Reports {
		looks = append(looks, func() []error {
			if err := checkService(x.Token, x.CA); err != nil {
				return []error{fmt.Errorf("%s: report %s: %w", x.At, x.Name, err)}
			}
			return nil
		})
	}
	return append(warnings, inTime(looks)...)
}

// inTime carries out looks beside one another, and returns what they found, in order. A
// file system that doesn't answer is left behind.
func inTime(looks []func() []error) (out []error) {
	found := make([][]error, len(looks))
	var mu sync.Mutex
	var wg sync.WaitGroup
	few := make(chan struct{}, 32)
	ctx, cancel := context.WithTimeout(context.Background(), checkPatience)
	defer cancel()
	for i, look := range looks {
		wg.Go(func() {
			select {
			case few <- struct{}{}:
			case <-ctx.Done():
				return
			}
			got := look()
			<-few
			mu.Lock()
			defer mu.Unlock()
			found[i] = got
		})
	}
	all := safefile.Within(checkPatience, wg.Wait)
	mu.Lock()
	defer mu.Unlock()
	out = slices.Concat(found...)
	if !all {
		out = append(out, fmt.Errorf("the file system of a log or an export hasn't answered for %v: not all of them were looked at", checkPatience))
	}
	return out
}

// logPlace says where a jail's logs are configured: FILE:LINE: jail NAME. relative: a
// path that doesn't begin at the root is worth a word.
func logPlace(c *config.Jail) (at string, relative bool) {
	at = "jail " + c.Name
	for _, s := range c.Settings {
		if s.Name == "logpath" && s.File != "" && s.File != "--jail" {
			if s.Line > 0 {
				return fmt.Sprintf("%s:%d: %s", s.File, s.Line, at), true
			}
			return s.File + ": " + at, true
		}
	}
	return at, false
}

// checkLog tells what of a log can't be read now; of a glob, each file.
func checkLog(c *config.Jail, log string) (out []error) {
	paths := []string{filepath.Clean(log)}
	if source.IsGlob(log) {
		paths, _ = filepath.Glob(log) // the pattern was checked
		if len(paths) == 0 {
			return []error{fmt.Errorf("%s: %s; see logpath if it is the wrong pattern", log, source.NoMatch(log))}
		}
	}
	for _, path := range paths {
		fifo := slices.ContainsFunc(c.LogFIFO, func(g string) bool {
			ok, _ := filepath.Match(g, path)
			return ok || filepath.Clean(g) == path
		})
		err := source.Check(path, fifo)
		switch {
		case err == nil:
		case errors.Is(err, fs.ErrNotExist):
			out = append(out, fmt.Errorf("%s: is not there; the jail waits for it; see logpath if it is the wrong name", path))
		case errors.Is(err, fs.ErrPermission):
			out = append(out, fmt.Errorf("%s: can't be read by user %d, who checks: permission denied; root can, unless its rights are cut", path, os.Geteuid()))
		default:
			var pe *fs.PathError
			if errors.As(err, &pe) {
				err = pe.Err
			}
			out = append(out, fmt.Errorf("%s: %w: %s", path, err, jail.LogRemedy(err)))
		}
	}
	return out
}

// checkExport tells why a file can't be made where an export wants it.
func checkExport(x config.BanFile) error {
	dir := filepath.Dir(x.File)
	fi, err := os.Stat(dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("%s can't be written: directory %s is not there%s", x.File, dir, exportRemedy(err))
	case err != nil:
		return fmt.Errorf("%s can't be written: %w", x.File, err)
	case !fi.IsDir():
		return fmt.Errorf("%s can't be written: %s is no directory%s", x.File, dir, exportRemedy(nil))
	}
	if fi, err := os.Stat(x.File); err == nil && !fi.Mode().IsRegular() {
		return fmt.Errorf("%s is no regular file: it is left alone; remove it, or name another file", x.File)
	}
	return nil
}
