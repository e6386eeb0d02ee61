package jail

import (
	"fmt"
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
func (j *Jail) Settings() config.Jail { return *j.settings.Load() }

// Changed reports whether Change was called since the start.
func (j *Jail) Changed() bool {
	return j.settings.Load() != j.Configured || !j.actions.Same(j.Configured.Actions)
}

// KeepMatches sets how many lines of the log are kept with a ban.
func (j *Jail) KeepMatches(n int) {
	j.inbox.tell(func(j *Jail) {
		j.deps.MaxMatches = n
		j.maxMatches.Store(int64(n))
	})
}

// Begin has a jail that was held begin. It reports whether it was.
func (j *Jail) Begin() (was bool, err error) {
	return command(j, func(j *Jail) (bool, error) {
		was := !j.begun
		if was {
			j.begun = true
			j.actions.Begin()
			close(j.begin)
		}
		return was, nil
	})
}

// Begun reports whether the jail is at work, or held.
func (j *Jail) Begun() bool { return j.hasBegun.Load() }

// Idle has the jail read nothing for the time being, or go on.
func (j *Jail) Idle(on bool) error { return j.do(func(j *Jail) { j.idle = on }) }

// ReloadActions tells the actions that the configuration was read anew, and did
// not change.
func (j *Jail) ReloadActions() { j.actions.Reload(j.Configured.Actions, nil) }

// Change has f change the jail's settings. f gets a copy, and sets new lists in
// place of changing those that are there. Where it fails, everything stays as it
// is.
func (j *Jail) Change(f func(*config.Jail) error) error {
	_, err := command(j, func(j *Jail) (none struct{}, err error) {
		c := *j.Config
		if err = f(&c); err != nil {
			return none, err
		}
		compiled, growth := j.filter, (*ban.Growth)(nil)
		if !reflect.DeepEqual(c.Filter, j.Config.Filter) {
			if compiled, err = compileShared(&c, &j.deps); err != nil {
				return none, err
			}
		}
		if c.Increase != nil {
			if growth, err = c.Increase.Compile(); err != nil {
				return none, err
			}
			if j.history == nil {
				j.history = map[ban.ID]past{}
			}
		}
		if compiled != j.filter {
			j.year = j.deps.Clock.Wall().Year()
		}
		j.useFilter(compiled)
		j.growth = growth
		j.counts(&c)
		j.times.dates = nil
		j.window.Limit(c.MaxRetry, c.FindTime)
		ignore := !reflect.DeepEqual(c.Ignore, j.Config.Ignore)
		j.Config = &c
		if ignore {
			j.view.Set(Protected(&c))
			j.reconsider()
		}
		return none, nil
	})
	return err
}

// Expressions are what a jail searches for.
type Expressions struct {
	// Pref, Fail and Ignore are the prefregex, failregex and ignoreregex as they are
	// searched, with their tags filled in.
	Pref         string
	Fail, Ignore []string
	Dates        [][2]string // patterns and names of the date templates
}

// Expressions returns what the jail searches for.
func (j *Jail) Expressions() (Expressions, error) {
	return ask(j, patience, func(j *Jail) Expressions {
		x := Expressions{Pref: j.filter.Prefregex(), Fail: j.filter.Expanded(), Ignore: j.filter.ExpandedIgnore()}
		for _, d := range j.filter.Dates() {
			x.Dates = append(x.Dates, [2]string{d.Pattern, d.Name})
		}
		return x
	})
}

// Attempt counts failures by hand, one for each line, or one without lines, and none of
// whom is ignored.
func (j *Jail) Attempt(id ban.ID, lines []string) (counts bool, err error) {
	return command(j, func(j *Jail) (bool, error) {
		if why := j.why(id); why.Some() {
			j.log.Info(fmt.Sprintf("[%s] Ignore %s by %s", j.Config.Name, ban.Told(id), why.Log()))
			return false, nil
		}
		at := j.deps.Clock.Now()
		j.log.Info(fmt.Sprintf("[%s] Attempt %s - %s", j.Config.Name, ban.Told(id), wall(j.deps.Clock.ToWall(at))))
		if len(lines) == 0 {
			j.consider(&found{id: id, at: at, failure: filter.Failure{Regex: -1}})
		}
		for _, l := range lines {
			j.consider(&found{id: id, at: at, failure: filter.Failure{Addr: id.Prefix(), Regex: -1, Lines: []filter.Line{{After: l}}}})
		}
		return true, nil
	})
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

// AddFIFO follows a named pipe from now on. It returns false if the jail reads no
// files.
func (j *Jail) AddFIFO(path string) bool {
	if files, ok := j.source.(*source.Files); ok {
		files.NameFIFO(path)
	}
	_ = j.Change(func(c *config.Jail) error {
		c.LogFIFO = append(slices.Clone(c.LogFIFO), path)
		return nil
	})
	return j.AddLog(path, false)
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
