package config

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"bailiff/filters"
	"bailiff/jails"
	"bailiff/pkg/config/fail2ban"
	"bailiff/pkg/filter"
	"bailiff/pkg/lazyregexp"
	"bailiff/pkg/pyregexp"
	"bailiff/pkg/safefile"
)

// layer is one file's word on a jail.
type layer struct {
	file string
	doc  *document // nil: it is no file's, or one that can't be parsed
	raw  rawJail
	// table is where the jail's keys stand in the file: "" or "jail.NAME".
	table []string
	// mistakes are what of it can't be read.
	mistakes []mistake
	// unread: nothing of the file can be.
	unread error
	stock  bool
	// later is the file that it is read from when the jail is asked for; empty: it was read.
	later string
}

type jailLayers struct {
	layers []layer
}

// read reads what the program carries of a jail.
func (j *jailLayers) read() {
	for i := range j.layers {
		if of := &j.layers[i]; of.later != "" {
			data, err := fs.ReadFile(jails.FS, of.later)
			of.later = ""
			of.read(data, err)
		}
	}
}

type loader struct {
	cfg      *Config
	all      bool    // jails that are not enabled, too
	bare     bool    // jails of the command line need no filter
	was      *Config // what a running daemon has; nil: none runs
	defaults *layer
	jails    map[string]*jailLayers
	// firewallSet: a jail of fail2ban's has said where the rules live.
	firewallSet bool
	// chains are jails whose bans are in a chain, or a set, of iptables' actions.
	chains map[string][]string
	// unsure are mistakes for which nobody can tell what jails there are.
	unsure []error
}

func (l *loader) jail(name string) *jailLayers {
	j := l.jails[name]
	if j == nil {
		j = &jailLayers{}
		l.jails[name] = j
	}
	return j
}

// complain notes what is wrong outside of jails.
func (l *loader) complain(err error) { l.cfg.Errors = append(l.cfg.Errors, err) }

// doubt notes a mistake that leaves open what jails there are.
func (l *loader) doubt(err error) {
	l.complain(err)
	l.unsure = append(l.unsure, err)
}

// stockJails notes those that the program carries: few of them are enabled.
func (l *loader) stockJails() {
	for _, file := range stockFiles(jails.FS) {
		j := l.jail(strings.TrimSuffix(file, ".toml"))
		j.layers = append(j.layers, layer{file: stockPrefix + "jails/" + file, stock: true, later: file})
	}
}

// stockFiles are the files of TOML among those that the program carries.
func stockFiles(files fs.FS) []string {
	names, _ := fs.Glob(files, "*.toml")
	return names
}

func (l *loader) jailFile(name, file string, data []byte, err error) {
	j := l.jail(name)
	of := layer{file: file}
	of.read(data, err)
	j.layers = append(j.layers, of)
}

// read fills a layer with what its file says.
func (of *layer) read(data []byte, err error) {
	if err == nil {
		of.doc, err = readDocument(of.file, data)
	}
	if err != nil {
		of.unread = err
	} else {
		of.mistakes = of.doc.decode(&of.raw)
	}
}

// stockAlone reports whether the program alone speaks of a jail, and nobody enables those.
func (l *loader) stockAlone(j *jailLayers) bool {
	if len(j.layers) != 1 || j.layers[0].later == "" {
		return false
	}
	d := l.defaults
	return d == nil || keyEnabled.of(&d.raw) == nil && len(d.mistakes) == 0 && d.unread == nil
}

func (l *loader) filter(name, file string, data []byte, err error) {
	f := &Filter{Name: name, Source: file, Stock: strings.HasPrefix(file, stockPrefix)}
	l.cfg.Filters[name] = f
	f.read(data, err)
}

// stockFilters notes those that the program carries: few of them are asked for.
func (l *loader) stockFilters() {
	for _, file := range stockFiles(filters.FS) {
		name := strings.TrimSuffix(file, ".toml")
		l.cfg.Filters[name] = &Filter{Name: name, Source: stockPrefix + "filters/" + file, Stock: true, unread: file}
	}
}

// filterNamed is a filter, read by then; nil: there is none.
func (c *Config) filterNamed(name string) *Filter {
	f := c.Filters[name]
	if f != nil && f.unread != "" {
		data, err := fs.ReadFile(filters.FS, f.unread)
		f.unread = ""
		f.read(data, err)
	}
	return f
}

// read fills a filter with what its file says.
func (f *Filter) read(data []byte, err error) {
	file := f.Source
	if err == nil {
		f.doc, err = readDocument(file, data)
	}
	if err != nil {
		f.doc = &document{file: file, text: string(data)}
		f.Errors = []error{err}
		return
	}
	for _, m := range f.doc.decode(&f.raw) {
		f.Errors = append(f.Errors, m.err)
	}
	f.Description, f.Origin = f.raw.Description, f.raw.Source
	f.Modes = slices.Sorted(maps.Keys(f.raw.Mode))
	if len(f.Modes) > 0 {
		f.Modes = append([]string{"normal"}, slices.DeleteFunc(f.Modes, func(m string) bool { return m == "normal" })...)
	}
	f.checkPrefixes()
	for name, chars := range f.raw.Client {
		re, err := pyregexp.Compile(chars, 0)
		if err != nil {
			f.Errors = append(f.Errors, &Error{file, f.doc.line("client", name), fmt.Sprintf("client.%s: %v", name, err)})
			continue
		}
		if f.Client == nil {
			f.Client = map[string]*pyregexp.Regexp{}
		}
		f.Client[name] = re
	}
	for i, s := range f.raw.Sample {
		out := Sample{
			Line: s.Line, Host: s.Host, Mode: s.Mode, Match: s.Match == nil || *s.Match, Injection: s.Injection, From: s.From, Client: s.Client,
			File: file, LineNo: f.doc.line("sample", strconv.Itoa(i)),
		}
		if s.Trusted != nil {
			var err error
			if out.Trusted, err = parseProxies(*s.Trusted); err != nil {
				f.Errors = append(f.Errors, &Error{file, out.LineNo, err.Error()})
			}
		}
		switch {
		case s.Forgeable != "":
			out.Unproved, out.Why = filter.Forgeable, s.Forgeable
		case s.Evadable != "":
			out.Unproved, out.Why = filter.Evadable, s.Evadable
		}
		if s.Time != "" {
			t, err := parseSampleTime(s.Time)
			if err != nil {
				f.Errors = append(f.Errors, &Error{file, out.LineNo, err.Error()})
			}
			out.Time = t
		}
		f.Samples = append(f.Samples, out)
	}
}

func parseSampleTime(s string) (time.Time, error) {
	for _, layout := range []string{time.RFC3339Nano, "2006-01-02T15:04:05.999999999"} {
		if t, err := time.ParseInLocation(layout, s, time.UTC); err == nil {
			return t, nil
		}
	}
	return time.Time{}, fmt.Errorf("sample's time %q: want 2026-01-31T12:00:00, with or without a zone", s)
}

// user reads what the administrator wrote.
func (l *loader) user(path string) error {
	if path == "" {
		if _, err := stat(DefaultDir); err != nil {
			return l.gone() // stock definitions only
		}
		path = DefaultDir
	}
	fi, err := stat(path)
	if err != nil {
		return fmt.Errorf("configuration: %w", err)
	}
	main, dir := path, filepath.Dir(path)
	if fi.IsDir() {
		main, dir = filepath.Join(path, "bailiff.toml"), path
		if IsTree(path) {
			if err := l.tree(path); err != nil {
				return err
			}
			return l.gone()
		}
	}
	data, err := safefile.ReadConfig(main)
	switch {
	case errors.Is(err, os.ErrNotExist) && fi.IsDir():
		if part := fail2ban.PartOf(dir); part != "" {
			return fmt.Errorf("configuration: %s has %s as fail2ban's configuration does, but neither jail.conf nor jail.local, and no bailiff.toml", dir, part)
		}
		data = nil
	case err != nil:
		return fmt.Errorf("configuration: %w", err)
	default:
		l.cfg.Needed = append(l.cfg.Needed, main)
		l.cfg.read = append(l.cfg.read, main)
	}
	for _, part := range []struct {
		dir  string
		read func(name, file string, data []byte, err error)
	}{{"filters", l.filter}, {"jails", l.jailFile}} {
		in := filepath.Join(dir, part.dir)
		files, err := readDir(in)
		if err != nil {
			if !errors.Is(err, os.ErrNotExist) {
				l.doubt(err)
			}
			continue
		}
		l.cfg.Needed = append(l.cfg.Needed, in)
		for _, f := range files {
			name, ok := strings.CutSuffix(f.Name(), ".toml")
			if !ok || strings.HasPrefix(name, ".") {
				continue
			}
			file := filepath.Join(in, f.Name())
			data, err := safefile.ReadConfig(file)
			if errors.Is(err, os.ErrNotExist) && f.Type()&os.ModeSymlink == 0 {
				continue // it was deleted this moment
			}
			l.cfg.read = append(l.cfg.read, file)
			part.read(name, file, data, err)
		}
	}
	if data != nil {
		if err := l.main(main, data); err != nil {
			return err
		}
	}
	return l.gone()
}

// gone is the error of a configuration of which a part is missing that was there: for a
// moment, while a package is upgraded or a file is saved, or by mistake. What it said of
// jails and defaults can't be told from nothing.
func (l *loader) gone() error {
	if l.was == nil {
		return nil
	}
	for _, path := range l.was.Needed {
		if _, err := stat(path); err != nil {
			what := "is gone"
			if !errors.Is(err, os.ErrNotExist) {
				what = "can't be looked at: " + err.Error()
			}
			return fmt.Errorf("configuration: %s was read before and %s; who means that leaves it there empty, or restarts the daemon", path, what)
		}
	}
	return nil
}

// DatabasePath reads fail2ban's dbfile: "None" and ":memory:" keep nothing.
func DatabasePath(s string) string {
	switch strings.ToLower(s) {
	case "none", ":memory:", "":
		return ""
	}
	return s
}

// argument is --jail NAME=LOGPATH: the jail of that name, or one made from the
// filter of that name.
func (l *loader) argument(name, path string) {
	for _, j := range l.cfg.Jails { // of a tree of fail2ban's
		if j.Name == name {
			j.LogPath, j.LogTail, j.LogFIFO, j.Journal, j.Syslog = []string{path}, nil, nil, nil, nil
			if fifo, ok := strings.CutSuffix(path, " fifo"); ok {
				j.LogPath = []string{fifo}
				j.LogFIFO = j.LogPath
			}
			return
		}
	}
	raw := rawJail{}
	keyEnabled.set(&raw, true)
	keyLogPath.set(&raw, stringList{path})
	switch {
	case l.jails[name] != nil:
	case l.bare:
		keyFailregex.set(&raw, failList{{text: "<HOST>"}})
	default:
		keyFilter.set(&raw, name)
	}
	j := l.jail(name)
	j.layers = append(j.layers, layer{file: "--jail", raw: raw})
}

var jailName = lazyregexp.New(`^[A-Za-z0-9_][A-Za-z0-9_.:-]{0,63}$`)

// checkName says what is wrong with a jail's name. Those of its sets hold it, and nft
// can't load a colon back from its own listing.
func checkName(name string, noSets bool) error {
	if !jailName.MatchString(name) {
		return fmt.Errorf("jail name %.80q: want letters, digits, and . _ - after the first, 64 at the most", name)
	}
	if strings.Contains(name, ":") && !noSets {
		return fmt.Errorf("jail name %q: nft could not read sets of that name back from its own listing: want letters, digits, and . _ -", name)
	}
	return nil
}

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }
