package jail

import (
	"net/netip"
	"reflect"
	"slices"

	"bailiff/pkg/ban"
	"bailiff/pkg/config"
	"bailiff/pkg/filter"
	"bailiff/pkg/source"
)

// What can be asked of a running jail and changed while it runs. A reload takes
// such changes back.

// Settings returns what holds now. It is a copy; its lists are not to be changed.
func (j *Jail) Settings() (c config.Jail) {
	c = *j.Configured
	j.do(func() { c = *j.Config })
	return c
}

// Changed reports whether Change was called since the start.
func (j *Jail) Changed() (changed bool) {
	j.do(func() { changed = j.Config != j.Configured || !j.actions.Same(j.Configured.Actions) })
	return changed
}

// ReloadActions tells the actions that the configuration was read anew, and did
// not change.
func (j *Jail) ReloadActions() {
	j.do(func() { j.actions.Reload(j.Configured.Actions, nil) })
}

// Change has f change the jail's settings. f gets a copy, and sets new lists in
// place of changing those that are there. Where it fails, everything stays as it
// is.
func (j *Jail) Change(f func(*config.Jail) error) (err error) {
	j.do(func() {
		c := *j.Config
		if err = f(&c); err != nil {
			return
		}
		compiled, growth := j.filter, (*ban.Growth)(nil)
		if !reflect.DeepEqual(c.Filter, j.Config.Filter) {
			if compiled, err = filter.Compile(c.Filter, j.deps.Location); err != nil {
				return
			}
		}
		if c.Increase != nil {
			if growth, err = c.Increase.Compile(); err != nil {
				return
			}
			if j.history == nil {
				j.history = map[netip.Prefix]past{}
			}
		}
		j.filter, j.growth = compiled, growth
		j.window.Limit(c.MaxRetry, c.FindTime)
		j.Config = &c
		j.ignore.Prefixes = slices.Clone(c.Ignore.Prefixes)
		if !c.Ignore.Self {
			j.ignore.Self = nil
		} else if j.ignore.Self == nil {
			j.ignore.Self = append(j.deps.Own(), netip.AddrFrom4([4]byte{127, 0, 0, 1}))
		}
	})
	return err
}

// Expressions returns the prefregex, failregex and ignoreregex as they are
// searched, with their tags filled in, and the patterns and names of the date
// templates.
func (j *Jail) Expressions() (pref string, fail, ignore []string, dates [][2]string) {
	j.do(func() {
		pref, fail, ignore = j.filter.Prefregex(), j.filter.Expanded(), j.filter.ExpandedIgnore()
		for _, d := range j.filter.Dates() {
			dates = append(dates, [2]string{d.Pattern, d.Name})
		}
	})
	return pref, fail, ignore, dates
}

// Attempt counts a failure by hand and returns how many there are now.
func (j *Jail) Attempt(id netip.Prefix, lines []string) (n int) {
	j.do(func() {
		before := j.window.Count(j.widened(id))
		f := filter.Failure{Addr: id}
		for _, l := range lines {
			f.Lines = append(f.Lines, filter.Line{After: l})
		}
		j.consider(found{id: id, at: j.deps.Now(), failure: f})
		if n = j.window.Count(j.widened(id)); n <= before {
			n = before + 1 // it was the last one, and the address is banned
		}
	})
	return n
}

// AddLog follows another log, from findtime ago on or from its end. It returns
// false if the jail reads no files.
func (j *Jail) AddLog(path string, tail bool) bool {
	files, ok := j.source.(*source.Files)
	if !ok {
		return false
	}
	_ = j.Change(func(c *config.Jail) error {
		if !slices.Contains(c.LogPath, path) {
			c.LogPath = append(slices.Clone(c.LogPath), path)
		}
		return nil
	})
	files.Add(path, tail)
	return true
}

// RemoveLog follows a log no longer.
func (j *Jail) RemoveLog(path string) bool {
	files, ok := j.source.(*source.Files)
	if !ok {
		return false
	}
	_ = j.Change(func(c *config.Jail) error {
		c.LogPath = slices.DeleteFunc(slices.Clone(c.LogPath), func(p string) bool { return p == path })
		return nil
	})
	return files.Remove(path)
}
