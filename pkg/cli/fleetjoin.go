package cli

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"bailiff/pkg/config"
	"bailiff/pkg/fleet"
	"bailiff/pkg/fleet/enrol"
	"bailiff/pkg/safefile"
)

// What is written into bailiff.toml when a host comes into a fleet.

// fleetTable is the part of bailiff.toml that has this host take part in the fleet.
func fleetTable(j *enrol.Joined, groups []string) (string, error) {
	urls := make([]string, len(j.URLs))
	for i, u := range j.URLs {
		urls[i] = config.TOMLString(u)
	}
	text := fmt.Sprintf("\n# Written by bailiff fleet join; docs/fleet.md says what else there is.\n[fleet]\nurl = [%s]\n", strings.Join(urls, ", "))
	if j.Lifts {
		text += "lift_others = true\n"
	}
	if j.AllowKey != "" {
		text += fmt.Sprintf("allow_key = %s\n", config.TOMLString(j.AllowKey))
	}
	for _, g := range groups {
		name, jails, _ := strings.Cut(g, "=")
		if err := fleet.CheckName(name); err != nil {
			return "", usageError("--group " + err.Error())
		}
		text += fmt.Sprintf("\n[fleet.group.%s]\n", name)
		var publish []string
		for _, jail := range strings.FieldsFunc(jails, func(r rune) bool { return r == ',' || r == ' ' }) {
			publish = append(publish, config.TOMLString(jail))
		}
		text += fmt.Sprintf("publish = [%s]\n", strings.Join(publish, ", "))
	}
	return text, nil
}

// writeFleetTable puts it at the end of DIR/bailiff.toml, if there is no [fleet] in it, and says so.
func writeFleetTable(out io.Writer, dir, table string) error {
	path := filepath.Join(dir, config.MainFile)
	why := ""
	if config.IsTree(dir) {
		why = dir + " is a configuration of fail2ban's, which has no [fleet]"
	} else if cfg, err := config.Load(config.Options{Path: dir}); err != nil {
		why = err.Error()
	} else if cfg.Fleet.At != "" {
		why = cfg.Fleet.At + ": there is a [fleet] already"
	}
	if why != "" {
		fmt.Fprintf(out, "nothing was changed in %s (%s); what it is to have:\n%s", plainly(path), plainly(why), table)
		return nil
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o644)
	if err != nil {
		return err
	}
	_, err = f.WriteString(table)
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	fmt.Fprintf(out, "%s has at its end now:\n%s\nto take part: bailiff reload\n", plainly(path), table)
	return nil
}

// endFleetTable comments out what DIR/bailiff.toml has of a fleet, so that nothing of it is lost. Where that can't be, it says what is
// to be done.
func endFleetTable(out io.Writer, dir string) error {
	path := filepath.Join(dir, config.MainFile)
	if at, err := filepath.EvalSymlinks(path); err == nil {
		path = at
	}
	data, err := safefile.ReadConfig(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	text, first := config.CommentTable(string(data), "fleet")
	switch {
	case first == 0:
		return nil
	case text == "":
		fmt.Fprintf(out, "%s:%d: take out [fleet], then bailiff reload: without, it says that the credentials are not there\n", plainly(path), first)
		return nil
	}
	m, err := os.Stat(path)
	if err != nil {
		return err
	}
	err = safefile.Replace(path, func(f *os.File) error {
		if st, ok := m.Sys().(*syscall.Stat_t); ok {
			if err := f.Chown(int(st.Uid), int(st.Gid)); err != nil && os.Geteuid() == 0 {
				return err
			}
		}
		_, err := f.WriteString(text)
		return errors.Join(err, f.Chmod(m.Mode().Perm()))
	})
	if err != nil {
		return fmt.Errorf("%w: take out [fleet] there (line %d), then bailiff reload", err, first)
	}
	fmt.Fprintf(out, "%s:%d: [fleet] is commented out now; bailiff reload ends this host's part\n", plainly(path), first)
	return nil
}

// handOver gives files to the user whom the daemon of root's becomes, so that he can read them at a reload.
func handOver(out io.Writer, dir string, paths ...string) error {
	if os.Geteuid() != 0 {
		return nil
	}
	name := "bailiff"
	if cfg, err := config.Load(config.Options{Path: dir}); err == nil && cfg.Security.User != "" {
		name = cfg.Security.User
	}
	u, err := user.Lookup(name)
	if err != nil {
		return nil // there is none: the daemon stays root
	}
	uid, err := strconv.Atoi(u.Uid)
	if err != nil || uid == 0 {
		return nil
	}
	for _, path := range paths {
		if err := os.Lchown(path, uid, -1); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("%w: the daemon, which is user %s, can't read it", err, name)
		}
	}
	fmt.Fprintf(out, "they belong to user %s, who the daemon is\n", name)
	return nil
}
