package doctor

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"bailiff/pkg/config"
	"bailiff/pkg/safefile"
	"bailiff/pkg/source"
)

// The first link: whether there is a log, whether the daemon can read it, and whether
// somebody writes to it.

const (
	// quietMost is for how long nothing may have been written to a log without a word, and
	// emptyMost for how long one may be empty.
	quietMost, emptyMost = 30 * 24 * time.Hour, 24 * time.Hour
	// filesMost is how many files of a pattern are looked at, the newest.
	filesMost = 256
)

// log looks at the logs, and reads the end of them.
func (l *look) log(ctx context.Context) {
	j := l.j
	l.paths = j.LogPath
	missing := j.LookForLogs() // under fail2ban's configuration the journal may be read in their place
	switch {
	case j.Broken() != nil:
		l.nothing = "the jail is left out, since no log is there (skip_if_nologs)"
		l.say(Finding{Symptom: "log-skipped", Level: Broken, Cause: "none of its logs is there, and so the jail is left out", Seen: l.logSettings(), Remedy: l.set(l.key("logpath", "THE RIGHT PATH"))})
		return
	case j.Journal != nil:
		l.journalLog(ctx)
		return
	case j.Containers != nil || j.Syslog != nil:
		what := "what containers write"
		if j.Syslog != nil {
			what = "what is received as syslog"
		}
		l.nothing = what + " can be seen by the daemon only"
		l.fromDaemon()
		l.fine("%s: bailiff status %s tells how it is read", what, j.Name)
		return
	}
	var paths []string
	for _, log := range j.LogPath {
		if log == source.Stdin {
			l.nothing = "standard input can be read by the daemon only"
			continue
		}
		found := []string{filepath.Clean(log)}
		if source.IsGlob(log) {
			if found, _ = filepath.Glob(log); len(found) == 0 {
				l.say(Finding{
					Symptom: "log-pattern", Level: Broken, Told: true, Cause: fmt.Sprintf("no file matches %s", log),
					Seen: append(l.logSettings(), source.NoMatch(log)), Remedy: l.set(l.key("logpath", "THE RIGHT PATH")),
				})
			}
		}
		paths = append(paths, found...)
	}
	var there []string
	for _, path := range paths {
		fifo := slices.ContainsFunc(j.LogFIFO, func(g string) bool {
			ok, _ := filepath.Match(g, path)
			return ok || filepath.Clean(g) == path
		})
		err := source.Check(path, fifo)
		switch {
		case err == nil && !fifo:
			there = append(there, path)
		case err == nil:
		case errors.Is(err, fs.ErrNotExist):
			l.missing(ctx, path)
		default:
			l.unreadable(path, err)
		}
	}
	if missing == nil || len(there) > 0 {
		l.read(ctx, there)
	}
	l.fromDaemon()
	if len(there) == 0 && l.nothing == "" {
		l.nothing = "there is no log that can be read"
	}
	if len(l.logs) > 0 {
		newest := slices.MaxFunc(l.logs, func(a, b *logFile) int { return a.written.Compare(b.written) })
		l.fine("%s; last written to %s: %s", some(len(l.logs), "log"), l.ago(newest.written), newest.path)
	} else {
		l.fine("there is nothing to look at")
	}
}

// logSettings says where the logs are configured.
func (l *look) logSettings() []string {
	for _, s := range slices.Backward(l.j.Settings) {
		if s.Name == "logpath" && s.File != "" {
			return []string{setting(l.j, "logpath") + ": logpath = " + strings.Join(strings.Fields(s.Value), " ")}
		}
	}
	return nil
}

// ago says how long ago something was.
func (l *look) ago(t time.Time) string {
	d := l.now.Sub(t)
	switch {
	case d < 0:
		return "at " + t.Local().Format(time.DateTime) + ", in the future"
	case d < time.Minute:
		return "just now"
	case d < 2*time.Hour:
		return some(int(d/time.Minute), "minute") + " ago"
	case d < 48*time.Hour:
		return some(int(d/time.Hour), "hour") + " ago"
	}
	return some(int(d/(24*time.Hour)), "day") + " ago"
}

// some is a number of what, one or many.
func some(n int, what string) string {
	if n != 1 {
		what += "s"
	}
	return fmt.Sprintf("%d %s", n, what)
}

// missing tells of a log that isn't there, and where it may be instead.
func (l *look) missing(ctx context.Context, path string) {
	f := Finding{Symptom: "log-missing", Level: Broken, Told: true, Cause: path + " is not there", Seen: l.logSettings(), Remedy: l.set(l.key("logpath", "THE RIGHT PATH"))}
	h := holders(ctx, path)
	var match []string
	if h == (held{}) {
		match = l.journalMatch(ctx)
	}
	switch near := neighbours(path); {
	case h.deleted != "":
		f.Symptom, f.Told = "log-deleted", false
		f.Cause = fmt.Sprintf("%s was deleted, and %s goes on writing to what has no name any more", path, h.deleted)
		f.Remedy = fmt.Sprintf("have %s open its log again (systemctl restart, or reload), and see in /etc/logrotate.d that postrotate does so", h.deleted)
	case h.inside != "":
		f.Symptom, f.Told = "log-in-container", false
		f.Cause = fmt.Sprintf("%s is not on this host, but in the container of %s", path, h.inside)
		f.Remedy = "have the container's directory on the host as well (docker run -v " + filepath.Dir(path) + ":" + filepath.Dir(path) + "), or read what it writes to its output:\n" + `backend = "docker"` + "\n" + `container = "NAME"`
	case match != nil:
		f.Symptom, f.Told = "log-in-journal", false
		f.Cause = path + " is not there: what should stand there is in the journal"
		f.Seen = append(f.Seen, "journalctl "+strings.Join(match, " ")+" has entries")
		f.Remedy = l.set(l.key("backend", "systemd"), l.key("journalmatch", strings.Join(match, " ")))
	case near != "":
		f.Seen = append(f.Seen, "there is "+near)
		f.Remedy = l.set(l.key("logpath", near))
	default:
		if parent := filepath.Dir(path); !exists(parent) {
			f.Seen = append(f.Seen, parent+" is not there, either")
		}
	}
	l.say(f)
}

// neighbours is a log beside one that isn't there, whose name is nearly that; empty: none is.
func neighbours(path string) string {
	entries, err := os.ReadDir(filepath.Dir(path))
	if err != nil {
		return ""
	}
	base, best, by := strings.ToLower(filepath.Base(path)), "", 4
	for _, e := range entries[:min(len(entries), 10_000)] {
		name := strings.ToLower(e.Name())
		if !e.Type().IsRegular() || rotated(base, name) {
			continue
		}
		if d := apart(base, name); d < by {
			best, by = filepath.Join(filepath.Dir(path), e.Name()), d
		}
	}
	return best
}

// apart is how far two names are from each other: letters that are others, or an ending.
func apart(a, b string) int {
	if strings.TrimSuffix(a, filepath.Ext(a)) == strings.TrimSuffix(b, filepath.Ext(b)) {
		return 1
	}
	n := 0
	for a != "" && b != "" && a[0] == b[0] {
		a, b = a[1:], b[1:]
	}
	for a != "" && b != "" && a[len(a)-1] == b[len(b)-1] {
		a, b = a[:len(a)-1], b[:len(b)-1]
	}
	if n = max(len(a), len(b)); n <= 2 {
		return n
	}
	return 9
}

// rotated reports whether a name is that of a former part of a log.
func rotated(log, name string) bool {
	rest, ok := strings.CutPrefix(name, log)
	return ok && len(rest) > 1 && strings.ContainsRune(".-_", rune(rest[0])) && strings.ContainsAny(rest, "0123456789")
}

// unreadable tells of a log that is there and can't be read.
func (l *look) unreadable(path string, err error) {
	f := Finding{Level: Broken, Told: true, Seen: l.logSettings()}
	var link *safefile.LinkError
	var kind *safefile.KindError
	switch {
	case errors.Is(err, fs.ErrPermission) && l.d.Inside: // what the daemon follows it has opened before, or says so
		f = Finding{Level: Unlooked, Cause: inside + path + fromOutside}
	case errors.Is(err, fs.ErrPermission):
		f.Symptom, f.Cause = "log-permission", fmt.Sprintf("%s can't be read by user %d, who looks", path, os.Geteuid())
		f.Remedy = "run it as root, or as the daemon's user; if that can't read it, either: usermod -aG " + groupOf(path) + " THE DAEMON'S USER, or start the daemon by its unit, which lets it read every log"
	case errors.As(err, &link):
		f.Symptom, f.Cause, f.Remedy = "log-link", fmt.Sprintf("%s: %v", path, err), "name the file itself in logpath, or give the link to the owner of the file: chown -h"
	case errors.Is(err, source.ErrFIFO):
		f.Symptom, f.Cause, f.Remedy = "log-fifo", path+" is a FIFO, and isn't named as one", l.set(l.key("logpath", path+" fifo"))
	case errors.As(err, &kind):
		f.Symptom, f.Cause, f.Remedy = "log-kind", fmt.Sprintf("%s is %s, and no log", path, safefile.Kind(kind.Mode)), l.set(l.key("logpath", "THE RIGHT PATH"))
		if kind.Mode.IsDir() {
			f.Remedy = l.set(l.key("logpath", filepath.Join(path, "*.log")))
		}
	default:
		f.Symptom, f.Cause, f.Remedy = "log-error", fmt.Sprintf("%s: %v", path, err), "see what is wrong with the disk or the file system: dmesg"
	}
	l.say(f)
}

// read reads the ends of logs, and says which of them nobody writes to.
func (l *look) read(ctx context.Context, paths []string) {
	type one struct {
		path string
		fi   os.FileInfo
	}
	var all []one
	seen := map[source.FileID]bool{}
	for _, p := range paths {
		if fi, err := os.Stat(p); err == nil && !seen[source.IDOf(fi)] {
			seen[source.IDOf(fi)] = true
			all = append(all, one{p, fi})
		}
	}
	slices.SortFunc(all, func(a, b one) int {
		return cmp.Or(b.fi.ModTime().Compare(a.fi.ModTime()), cmp.Compare(a.path, b.path))
	})
	left, bytesLeft := l.d.Lines, l.d.Bytes
	for _, o := range all[:min(len(all), filesMost)] {
		if left == 0 || bytesLeft <= 0 || ctx.Err() != nil {
			break
		}
		f, err := readTail(ctx, o.path, l.j.Encoding, left, bytesLeft)
		if err != nil {
			l.unreadable(o.path, err)
			continue
		}
		left -= len(f.lines)
		for _, line := range f.lines {
			bytesLeft -= int64(len(line))
		}
		l.logs = append(l.logs, f)
		if form := compressed(f); form != "" {
			l.say(Finding{Symptom: "log-compressed", Level: Broken, Cause: fmt.Sprintf("%s is compressed (%s): the daemon reads it as it stands, and finds nothing", o.path, form), Seen: l.logSettings(), Remedy: "name the log that is written to, not what rotation has made of it: " + l.set(l.key("logpath", strings.TrimRight(strings.TrimSuffix(o.path, filepath.Ext(o.path)), ".0123456789")))})
			f.lines = nil
		}
	}
	slices.Reverse(l.logs) // the oldest first
	quiet := 0
	var last Finding
	for _, f := range l.logs {
		if q, ok := l.quiet(ctx, f, o1(paths)); ok {
			quiet++
			last = q
		}
	}
	if quiet > 0 && quiet == len(l.logs) { // of several, each in its time
		l.say(last)
	}
}

func o1(paths []string) bool { return len(paths) == 1 }

// compressed names the form of a file that is no text; empty: it may be.
func compressed(f *logFile) string {
	if len(f.lines) == 0 {
		return ""
	}
	file, err := safefile.Open(f.path)
	if err != nil {
		return ""
	}
	defer file.Close()
	data := make([]byte, 6)
	n, _ := file.Read(data)
	data = data[:n]
	for magic, form := range map[string]string{"\x1f\x8b": "gzip", "\x28\xb5\x2f\xfd": "zstd", "\xfd7zXZ": "xz", "BZh": "bzip2"} {
		if bytes.HasPrefix(data, []byte(magic)) {
			return form
		}
	}
	return ""
}

// quiet tells of a log to which nobody writes.
func (l *look) quiet(ctx context.Context, f *logFile, alone bool) (out Finding, is bool) {
	since := l.now.Sub(f.written)
	out = Finding{Level: Doubtful, Seen: []string{fmt.Sprintf("%s: %d bytes, last written to %s (%s)", f.path, f.size, f.written.Local().Format(time.DateTime), l.ago(f.written))}}
	if former, fi := newerFormer(f); fi != nil && (fi.ModTime().After(f.written.Add(time.Minute)) || writtenTo(ctx, former) && !writtenTo(ctx, f.path)) {
		who := holders(ctx, former).open
		out.Symptom, out.Level = "log-rotated", Broken
		out.Cause = fmt.Sprintf("%s was rotated away: what is new stands in %s", f.path, former)
		out.Seen = append(out.Seen, fmt.Sprintf("%s: last written to %s", former, fi.ModTime().Local().Format(time.DateTime)))
		out.Remedy = fmt.Sprintf("have %s open its log again after rotation: postrotate, or copytruncate, in /etc/logrotate.d", cmp.Or(who, "the service"))
		return out, true
	}
	for _, dir := range []string{"/var/lib/docker/overlay2/", "/var/lib/containers/storage/overlay/", "/var/lib/containerd/"} {
		if strings.HasPrefix(f.path, dir) {
			out.Symptom = "log-in-layer"
			out.Cause = f.path + " is inside of a container's layers: the next container has another path"
			out.Remedy = "have its directory on the host (docker run -v), or read its output: " + l.set(`backend = "docker"`, `container = "NAME"`)
			l.say(out)
			return out, false
		}
	}
	least := quietMost
	if f.size == 0 {
		least = emptyMost
	}
	var match []string
	if since > emptyMost {
		match = l.journalMatch(ctx, "--since=@"+fmt.Sprint(f.written.Add(time.Hour).Unix()))
	}
	if match != nil {
		out.Symptom, out.Level = "log-in-journal", Broken
		out.Cause = f.path + " isn't written to any more: what is new is in the journal"
		out.Seen = append(out.Seen, "journalctl "+strings.Join(match, " ")+" has newer entries")
		out.Remedy = l.set(l.key("backend", "systemd"), l.key("journalmatch", strings.Join(match, " ")))
		return out, true
	}
	if since <= least || !alone {
		return out, since > least
	}
	out.Symptom, out.Cause = "log-quiet", fmt.Sprintf("nothing has been written to %s since %s", f.path, strings.TrimSuffix(l.ago(f.written), " ago"))
	if f.size == 0 {
		out.Symptom, out.Cause = "log-empty", fmt.Sprintf("%s is empty, and was last touched %s", f.path, l.ago(f.written))
	}
	out.Remedy = "see where the service logs to now, and that its log level includes failed logins; then " + l.set(l.key("logpath", "THE RIGHT PATH"))
	return out, true
}

// writtenTo reports whether a process has a file open to write to it.
func writtenTo(ctx context.Context, path string) bool { return holders(ctx, path).open != "" }

// newerFormer is a former part of a log to which it was written when that log was last, or later.
func newerFormer(f *logFile) (path string, fi os.FileInfo) {
	entries, err := os.ReadDir(filepath.Dir(f.path))
	if err != nil {
		return "", nil
	}
	for _, e := range entries[:min(len(entries), 10_000)] {
		if !rotated(filepath.Base(f.path), e.Name()) || slices.Contains([]string{".gz", ".xz", ".zst", ".bz2"}, filepath.Ext(e.Name())) {
			continue
		}
		one, err := e.Info()
		if err != nil || !one.Mode().IsRegular() || one.Size() == 0 || one.ModTime().Before(f.written) {
			continue
		}
		if fi == nil || one.ModTime().After(fi.ModTime()) {
			path, fi = filepath.Join(filepath.Dir(f.path), e.Name()), one
		}
	}
	return path, fi
}

// fromDaemon tells what the daemon says of the logs.
func (l *look) fromDaemon() {
	s, ok := l.d.state[l.j.Name]
	if !ok {
		return
	}
	for _, f := range s.Files {
		if f.Error == "" || slices.ContainsFunc(l.found, func(x Finding) bool { return x.Level == Broken }) {
			continue
		}
		l.say(Finding{Symptom: "log-daemon", Level: Broken, Cause: fmt.Sprintf("the daemon can't read %s: %s", f.Path, f.Error), Seen: []string{"bailiff status " + l.j.Name}, Remedy: "let it: the unit has CAP_DAC_READ_SEARCH, or add the daemon's user to the log's group, " + groupOf(f.Path)})
	}
	for _, f := range l.logs {
		i := slices.IndexFunc(s.Files, func(x source.Status) bool { return x.Path == f.path })
		if i < 0 && len(s.Files) > 0 && len(l.found) == 0 {
			l.say(Finding{Symptom: "daemon-other-log", Level: Broken, Cause: "the daemon doesn't read " + f.path, Seen: []string{"bailiff status " + l.j.Name + " names " + s.Files[0].Path}, Remedy: "the configuration was changed since: bailiff reload"})
		}
	}
}

// journalMatch is which entries of the journal are those of the jail, and that it has some
// since a time (journalctl's --since; empty: ever); nil: it has none, or nobody knows.
func (l *look) journalMatch(ctx context.Context, since ...string) []string {
	if l.d.Inside {
		return nil
	}
	for _, match := range l.journalMatches() {
		if l.journalHas(ctx, match, since...) {
			return match
		}
	}
	return nil
}

// journalMatches are the ways in which the jail's service may stand in the journal, the
// likeliest first.
func (l *look) journalMatches() (out [][]string) {
	o := l.j.Journal
	if o == nil {
		o = l.j.NoLogs.Journal
	}
	if o != nil && len(o.Matches) > 0 {
		return [][]string{config.JournalWords(o.Matches)}
	}
	name := l.j.Filter.Name
	if f := l.cfg.Filters[name]; f != nil {
		if m := f.JournalMatch(); m != nil {
			return [][]string{config.JournalWords(m)}
		}
	}
	names := []string{name, l.j.Name}
	if base, _, ok := strings.Cut(name, "-"); ok {
		names = append(names, base)
	}
	for _, n := range names {
		if n == "" || strings.ContainsAny(n, " /=+") {
			continue
		}
		for _, unit := range append(journalUnits[n], n) {
			out = append(out, []string{"_SYSTEMD_UNIT=" + unit + ".service"})
		}
		out = append(out, []string{"SYSLOG_IDENTIFIER=" + n})
	}
	return out[:min(len(out), matchesMost)]
}

// matchesMost is how many ways are tried.
const matchesMost = 6

// journalUnits are services' units, where their names are others.
var journalUnits = map[string][]string{"sshd": {"ssh"}, "apache": {"apache2", "httpd"}, "postfix": {"postfix@-"}, "named": {"bind9"}, "mysqld": {"mysql", "mariadb"}}

// journalHas reports whether the journal has such entries.
func (l *look) journalHas(ctx context.Context, match []string, more ...string) bool {
	ctx, cancel := context.WithTimeout(ctx, journalMost)
	defer cancel()
	var lists [][]string
	if len(match) > 0 {
		var err error
		if lists, err = source.ParseJournalMatch(strings.Join(match, " ")); err != nil {
			return false
		}
	}
	f, err := readJournal(ctx, source.JournalOptions{Matches: lists, Path: l.d.Journal}, nil, 1, more...)
	return err == nil && len(f.lines) > 0
}

// journalMost is how long the journal is waited for where it is only asked whether it has
// something.
const journalMost = 3 * time.Second

// journalLog looks at a jail that reads the journal.
func (l *look) journalLog(ctx context.Context) {
	if l.d.Inside {
		l.nothing = "the journal can't be read from inside" + fromOutside
		l.say(Finding{Level: Unlooked, Cause: inside + "the journal" + fromOutside})
		l.fromDaemon()
		return
	}
	at := setting(l.j, "backend")
	instead := l.j.NoLogs.Journal == l.j.Journal && l.j.NoLogs.Journal != nil
	ctx, cancel := context.WithTimeout(ctx, l.d.Most*8/10)
	defer cancel()
	o := *l.j.Journal
	if o.Path == "" && len(o.Files) == 0 && o.Flags == nil {
		o.Path = l.d.Journal
	}
	f, err := readJournal(ctx, o, l.j.Encoding, l.d.Lines)
	words := strings.Join(config.JournalWords(o.Matches), " ")
	seen := []string{strings.TrimSpace("journalctl " + words)}
	if at != "" {
		seen = append(seen, at+": backend reads the journal")
	}
	switch {
	case err != nil:
		l.nothing = "the journal can't be read"
		l.say(Finding{Symptom: "journal-error", Level: Broken, Cause: err.Error(), Seen: seen, Remedy: "run it as root, or as a member of the group systemd-journal; journalctl is of the package systemd"})
		return
	case len(f.lines) == 0 && instead:
		l.nothing = "there is no log, and the journal has nothing for this jail"
		for _, path := range l.paths {
			l.missing(ctx, path)
		}
		return
	case len(f.lines) == 0:
		l.nothing = "the journal has nothing for this jail"
		out := Finding{Symptom: "journal-empty", Level: Broken, Cause: "the journal has no entry for this jail", Seen: seen, Remedy: "see which unit the service has (systemctl status), and " + l.set(l.key("journalmatch", "_SYSTEMD_UNIT=NAME.service"))}
		if log := l.unreadLog(); log == "" {
			if !l.journalHas(ctx, nil) {
				out.Symptom, out.Told, out.Cause = "journal-none", true, "there is no journal on this host, or it is empty"
				out.Remedy = "start systemd-journald, or have the service log to a file: " + l.set(l.key("backend", "auto"), l.key("logpath", "ITS PATH"))
			}
		} else {
			out.Symptom = "journal-beside-log"
			out.Cause = fmt.Sprintf("backend = systemd reads the journal, which has no entry for this jail; nobody reads %s", log)
			out.Seen = append(out.Seen, l.logSettings()...)
			out.Remedy = l.set(l.key("backend", "auto"))
		}
		l.say(out)
		return
	}
	l.logs = []*logFile{f}
	switch since := l.now.Sub(f.written); {
	case instead:
		l.say(Finding{
			Symptom: "log-in-journal", Level: Doubtful, Cause: "none of its logs is there; the journal is read in their place", Seen: append(l.logSettings(), seen...),
			Remedy: "say so: " + l.set(l.key("backend", "systemd"), l.key("journalmatch", words)),
		})
	case since > quietMost:
		l.say(Finding{Symptom: "log-quiet", Level: Doubtful, Cause: fmt.Sprintf("the last entry of the journal for this jail is of %s", l.ago(f.written)), Seen: seen, Remedy: "see where the service logs to now"})
	}
	if log := l.unreadLog(); log != "" && !instead && l.ownLogPath() {
		l.say(Finding{Symptom: "journal-beside-log", Level: Doubtful, Cause: fmt.Sprintf("backend = systemd reads the journal; nobody reads %s", log), Seen: append(l.logSettings(), seen...), Remedy: "take logpath out, or " + l.set(l.key("backend", "auto"))})
	}
	l.fromDaemon()
	l.fine("%d entries of the journal; the last one came %s", len(f.lines), l.ago(f.written))
}

// unreadLog is a log that is named beside the journal, and is there.
func (l *look) unreadLog() string {
	for _, log := range l.j.LogPath {
		paths := []string{log}
		if source.IsGlob(log) {
			paths, _ = filepath.Glob(log)
		}
		for _, p := range paths {
			if fi, err := os.Stat(p); err == nil && fi.Size() > 0 {
				return p
			}
		}
	}
	return ""
}

// ownLogPath reports whether an administrator has named the log, and not who made the file of
// all jails.
func (l *look) ownLogPath() bool {
	at := setting(l.j, "logpath")
	return at != "" && !strings.HasPrefix(at, "(stock)") && !strings.HasPrefix(filepath.Base(at), "jail.conf:")
}
