package daemon

import (
	"bufio"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"bailiff/pkg/config"
	"bailiff/pkg/control"
	"bailiff/pkg/syslog"
)

// What is received over syslog, for all jails.

// drainMost is how long a stop waits for jails to deal with what was received.
const drainMost = 500 * time.Millisecond

// PrepareSyslog opens the sockets at which a configuration has jails listen, as far as they
// may need more rights than the daemon keeps. Nothing is read yet.
func PrepareSyslog(cfg *config.Config, opts Options) *syslog.Hub {
	log := opts.Log.With("component", "filter")
	h := syslog.NewHub(syslog.HubOptions{
		Settings:  cfg.Syslog,
		Tell:      func(text string) { log.Warn(text) },
		Inherited: control.OtherSockets(),
		Open:      openElsewhere,
	})
	h.Prepare(listens(cfg))
	return h
}

// listens are the addresses of jails that can start.
func listens(cfg *config.Config) (out []syslog.Address) {
	for _, j := range cfg.Jails {
		if j.Syslog == nil || j.Disabled || j.Broken() != nil {
			continue
		}
		for _, a := range j.Syslog.Listen {
			if !slices.Contains(out, a) {
				out = append(out, a)
			}
		}
	}
	return out
}

// drainSyslog has jails deal with what was received before they end.
func (d *Daemon) drainSyslog() {
	ctx, cancel := context.WithTimeout(context.Background(), drainMost)
	defer cancel()
	if n := d.syslog.Drain(ctx); n > 0 {
		d.log.With("component", "filter").Warn(fmt.Sprintf("syslog: %d messages that were received were not looked at before the end", n))
	}
}

// syslogChanged has other settings of listeners hold.
func (d *Daemon) syslogChanged(cfg *config.Config, say func(format string, args ...any)) {
	was := d.cfgNow().Syslog
	if err := d.syslog.Configure(cfg.Syslog, listens(cfg)); err != nil {
		say("%v: what was read before holds on", syslogPlace(cfg, err))
	}
	if was.Mode != cfg.Syslog.Mode || was.Group != cfg.Syslog.Group {
		for _, a := range listens(cfg) {
			if a.IsUnix() && d.syslog.Listens(a) {
				say("[syslog] mode and group hold for sockets that are made from now on: %s stays as it is until a restart", a)
			}
		}
	}
}

// syslogDirs are the directories of Unix sockets.
func syslogDirs(cfg *config.Config, dirs func(os.FileMode, string) []string) (out []string) {
	for _, a := range listens(cfg) {
		if a.IsUnix() {
			out = append(out, dirs(0o755, a.Path)...)
		}
	}
	return out
}

// syslogGroups is the group that Unix sockets are given to.
func syslogGroups(cfg *config.Config) []int {
	if cfg.Syslog.Group == "" || !slices.ContainsFunc(listens(cfg), syslog.Address.IsUnix) {
		return nil
	}
	g, err := user.LookupGroup(cfg.Syslog.Group) // who needs it says what is wrong
	if err != nil {
		return nil
	}
	gid, err := strconv.Atoi(g.Gid)
	if err != nil {
		return nil
	}
	return []int{gid}
}

// syslogFiles are the files of TLS.
func syslogFiles(cfg *config.Config) (out []string) {
	for _, path := range []string{cfg.Syslog.Cert, cfg.Syslog.Key, cfg.Syslog.CA} {
		if path != "" {
			out = append(out, path)
		}
	}
	return out
}

// checkSyslog says what is in the way of listeners now.
func checkSyslog(cfg *config.Config) (out []error) {
	tls := false
	for _, j := range cfg.Jails {
		if j.Syslog == nil || j.Broken() != nil {
			continue
		}
		for _, a := range j.Syslog.Listen {
			if a.Kind == syslog.TLS && !tls {
				tls = true
				if err := syslog.CheckTLS(cfg.Syslog); err != nil {
					out = append(out, syslogPlace(cfg, err))
				}
			}
			if err := checkListen(a); err != nil {
				out = append(out, fmt.Errorf("%sjail %s: listen %s: %w", placeOf(j, "listen"), j.Name, a, err))
			}
		}
	}
	return out
}

// syslogPlace adds to an error of [syslog] where what it is about stands.
func syslogPlace(cfg *config.Config, err error) error {
	var of *syslog.SettingError
	if at := ""; errors.As(err, &of) {
		if at = cfg.Place("syslog", of.Key); at != "" {
			return fmt.Errorf("%s%w", at, err)
		}
	}
	return err
}

// placeOf says where a key of a jail stands, as FILE:LINE and a colon; empty: nowhere.
func placeOf(j *config.Jail, key string) string {
	for _, s := range j.Settings {
		if s.Name == key && s.Line > 0 {
			return fmt.Sprintf("%s:%d: ", s.File, s.Line)
		}
	}
	return ""
}

// checkListen says why an address can't be listened at now.
func checkListen(a syslog.Address) error {
	if a.IsUnix() {
		switch fi, err := os.Lstat(a.Path); {
		case err == nil && fi.Mode()&os.ModeSocket == 0:
			return fmt.Errorf("%s is there and no socket: it is left alone; name another path", a.Path)
		case err != nil && !errors.Is(err, os.ErrNotExist):
			return err
		}
		if fi, err := os.Stat(filepath.Dir(a.Path)); err != nil || !fi.IsDir() {
			return fmt.Errorf("directory %s is not there: make it", filepath.Dir(a.Path))
		}
		return nil
	}
	err := syslog.Try(a)
	switch {
	case err == nil, errors.Is(err, unix.EACCES): // who checks is not the daemon
		return nil
	case !errors.Is(err, unix.EADDRINUSE):
		return err
	}
	switch owner := listenerOf(a); owner {
	case "bailiff":
		return nil
	case "":
		return fmt.Errorf("%w (who listens there, user %d can't see)", err, os.Geteuid())
	default:
		return fmt.Errorf("%s listens there: stop it, or listen elsewhere", owner)
	}
}

// listenerOf finds the name of the program that has a port; empty: it can't be told.
func listenerOf(a syslog.Address) string {
	inodes := map[string]bool{}
	protocol := "tcp"
	if a.Kind == syslog.UDP {
		protocol = "udp"
	}
	for _, file := range []string{"/proc/net/" + protocol, "/proc/net/" + protocol + "6"} {
		f, err := os.Open(file)
		if err != nil {
			continue
		}
		for lines := bufio.NewScanner(io.LimitReader(f, 16<<20)); lines.Scan(); {
			fields := strings.Fields(lines.Text())
			if len(fields) < 10 || protocol == "tcp" && fields[3] != "0A" {
				continue
			}
			_, port, _ := strings.Cut(fields[1], ":")
			if b, err := hex.DecodeString(port); err == nil && len(b) == 2 && uint16(b[0])<<8|uint16(b[1]) == a.Port {
				inodes["socket:["+fields[9]+"]"] = true
			}
		}
		f.Close()
	}
	links, _ := filepath.Glob("/proc/[0-9]*/fd/*")
	for _, link := range links {
		to, err := os.Readlink(link)
		if err != nil || !inodes[to] {
			continue
		}
		name, err := os.ReadFile(filepath.Join(filepath.Dir(filepath.Dir(link)), "comm"))
		if err == nil {
			return strings.TrimSpace(string(name))
		}
	}
	return ""
}
