package daemon

import (
	"cmp"
	"fmt"
	"path/filepath"
	"slices"

	"bailiff/pkg/config"
)

// written is a file that a daemon writes, and the setting that says so.
type written struct{ what, path string }

// writes are the files that a daemon with a configuration writes. In the directories of all
// of them it may write whatever it likes, since files are replaced.
func writes(cfg *config.Config, opts Options) (out []written) {
	add := func(what, path string) {
		if filepath.IsAbs(path) {
			out = append(out, written{what, path})
		}
	}
	db := cfg.Database.Path
	if opts.Database != "" {
		db = config.DatabasePath(opts.Database)
	}
	add("[database] path", db)
	add("socket", cmp.Or(opts.Socket, cfg.Socket))
	add("[read] socket", cfg.ReadSocket)
	for _, at := range cfg.Check.Listen {
		add("[check] listen", at)
	}
	for _, at := range cfg.Web.Listen {
		add("[web] listen", at)
	}
	for _, a := range listens(cfg) {
		if a.IsUnix() {
			add("listen", a.Path)
		}
	}
	for _, x := range cfg.Exports {
		add("export "+x.Name+": file", x.File)
	}
	add("logtarget", cmp.Or(opts.LogTarget, cfg.Log.Target))
	add("--pid-file", opts.PIDFile)
	return out
}

// besideConfiguration says which files the daemon writes in a directory that holds what it is
// configured by: the walls are around directories, so who takes it over could change that.
func besideConfiguration(cfg *config.Config, opts Options) (found []error) {
	if cfg.Security.Unconfined || !cfg.Security.FixedActions { // it has no such walls
		return nil
	}
	m := readMounts()
	from := cmp.Or(opts.Config.Path, config.DefaultDir)
	files := append(slices.Concat(cfg.Files(), cfg.Needed), from)
	if m.find(from).dir { // whatever comes into these is read as well
		files = append(files, filepath.Join(from, "jails"), filepath.Join(from, "filters"))
	}
	for _, w := range writes(cfg, opts) {
		dir := m.find(filepath.Dir(w.path))
		if dir.hangs {
			continue
		}
		at := slices.IndexFunc(files, func(file string) bool { // it, or a link in its place
			return m.beneath(file, []string{dir.path}) || m.beneath(filepath.Dir(file), []string{dir.path})
		})
		if at >= 0 {
			found = append(found, fmt.Errorf("%s = %q: the daemon may write whatever is in %s, so also %s: who takes it over by a line in a log could change what it is configured by; give it a directory of its own", w.what, w.path, dir.path, files[at]))
		}
	}
	return found
}
