package daemon

import (
	"cmp"
	"fmt"
	"os"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"

	"golang.org/x/sys/unix"

	"bailiff/pkg/config"
	"bailiff/pkg/confine"
)

// Who the daemon is once it reads logs, where root has started it.

// serviceUser is whom packages make, and nobody is who has nothing.
const (
	serviceUser = "bailiff"
	nobody      = 65534
)

// identity is the user whom a daemon of root's becomes: the one that is configured, else the
// one of the packages, else nobody. nil: it stays root; why says for what reason, empty: it
// is configured so.
func identity(cfg *config.Config, w confine.Walls, opts Options) (as *confine.User, why string, err error) {
	name := cfg.Security.User
	if name == "root" || name == "0" {
		return nil, "", nil
	}
	if name == "" && !(confine.Has(unix.CAP_SETUID) && confine.Has(unix.CAP_SETGID)) {
		return nil, "", nil // who has started it means it to stay who it is, as an engine does of a container
	}
	as, called, err := named(name)
	if err != nil {
		return nil, "", err
	}
	m := readMounts()
	paths := slices.Concat(w.Write, w.Append)
	for _, path := range owned(cfg, opts, m) {
		if m.find(path).hangs {
			continue // it is not to be touched, not even looked for
		}
		found, _ := filepath.Glob(path + "*") // what stands beside a database
		paths = append(paths, found...)
	}
	for _, path := range paths {
		if p := m.find(path); p.hangs || p.there && !writable(p, as) {
			return nil, fmt.Sprintf("%s is not to be written by user %s: chown %s %[1]s (or [security] user = \"root\")", path, called, called), nil
		}
	}
	return as, "", nil
}

// named is a user by his name; without one, that of the packages, else nobody.
func named(name string) (as *confine.User, called string, err error) {
	u, err := user.Lookup(cmp.Or(name, serviceUser))
	if err != nil {
		if name != "" {
			return nil, "", fmt.Errorf("[security] user %q: %w", name, err)
		}
		return &confine.User{UID: nobody, GID: nobody}, strconv.Itoa(nobody), nil
	}
	as = &confine.User{}
	as.UID, _ = strconv.Atoi(u.Uid)
	as.GID, _ = strconv.Atoi(u.Gid)
	return as, u.Username, nil
}

// become says who the daemon becomes, and what it keeps. Exports that are not his are written
// by the process that runs commands, where there is one that may.
func become(cfg *config.Config, opts Options) (w confine.Walls, why string, err error) {
	me, root := uint32(os.Geteuid()), os.Geteuid() == 0
	mine := func(uid uint32) confine.Walls {
		if opts.Runner == nil || !opts.Runner.Commands() {
			return Walls(cfg, opts)
		}
		return wallsBut(cfg, opts, others(cfg, uid))
	}
	// Without fixed actions, who takes it over can have the runner do what root can.
	if !root || !cfg.Security.FixedActions {
		return mine(me), "", nil
	}
	if as, _, err := named(cfg.Security.User); err == nil {
		w := mine(uint32(as.UID))
		if w.User, why, err = identity(cfg, w, opts); w.User != nil {
			return w, why, err
		}
	}
	w = mine(me)
	w.User, why, err = identity(cfg, w, opts)
	return w, why, err
}

// owned are the files that are written where they are, and not replaced.
func owned(cfg *config.Config, opts Options, m mounts) (out []string) {
	db := cfg.Database.Path
	if opts.Database != "" {
		db = config.DatabasePath(opts.Database)
	}
	if db != "" {
		out = append(out, db)
	}
	if t := cmp.Or(opts.LogTarget, cfg.Log.Target); filepath.IsAbs(t) {
		if p := m.find(t); p.there && !p.hangs && p.path == filepath.Clean(t) && p.mode.IsRegular() {
			out = append(out, t)
		}
	}
	return append(out, cmp.Or(opts.Socket, cfg.Socket)+".lock")
}

// writable reports whether a user may write to a file, or in a directory.
func writable(p place, as *confine.User) bool {
	mode := p.mode.Perm()
	switch {
	case int(p.uid) == as.UID:
		mode >>= 6
	case int(p.gid) == as.GID || slices.Contains(as.Groups, int(p.gid)):
		mode >>= 3
	}
	if p.dir {
		return mode&0o3 == 0o3
	}
	return mode&0o2 != 0
}
