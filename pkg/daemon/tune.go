package daemon

import (
	"cmp"
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

	"bailiff/pkg/config"
	"bailiff/pkg/control"
	"bailiff/pkg/events"
	"bailiff/pkg/jail"
	"bailiff/pkg/safefile"
)

// The few settings of a jail that can be changed over the socket: until the next reload, or for good in a file
// of jails.d beside the database. Both are a reload of that jail, with one more layer of settings.

// statPatience is how long a log's size is waited for.
const statPatience = time.Second

// configured finds a jail in the configuration as it was read last.
func (d *Daemon) configured(name string) *config.Jail {
	for _, c := range d.cfgNow().Jails {
		if c.Name == name {
			return c
		}
	}
	return nil
}

// anyConfigured reads the configuration for a jail that is not enabled, too. now holds on top of it.
func (d *Daemon) anyConfigured(name string, now map[string]string) (*config.Config, *config.Jail, error) {
	opts := d.opts.Config
	opts.All, opts.ForJails, opts.Now = true, true, now
	cfg, err := config.LoadWithin(configMost, opts)
	config.ForgetStock()
	if err != nil {
		return nil, nil, err
	}
	for _, c := range cfg.Jails {
		if c.Name == name {
			return cfg, c, nil
		}
	}
	return cfg, nil, &control.NotFoundError{Jail: name}
}

// Settings implements control.Daemon.
func (d *Daemon) Settings(name string) (s control.JailSettings, err error) {
	d.awaitStart()
	s = control.JailSettings{Jail: name, Settings: []control.SettingStatus{}, Files: []control.LogStatus{}, Regexes: []control.RegexStatus{}}
	j, list := d.find(name)
	c := d.configured(name)
	if j != nil {
		c = j.Configured
	} else if list != nil {
		c = list.c
	}
	if c == nil {
		if _, c, err = d.anyConfigured(name, nil); err != nil {
			return s, err
		}
	}
	s.Running, s.Parts = j != nil || list != nil, c.Parts
	for _, x := range c.Settings {
		s.Settings = append(s.Settings, control.SettingStatus{Setting: x, Changeable: slices.Contains(config.KeptKeys, x.Name) && list == nil})
	}
	for _, err := range slices.Concat(c.Errors, c.Faults) {
		s.Problems = append(s.Problems, err.Error())
	}
	if s.Kept, err = d.keptPath(name); err != nil {
		s.KeepNot = err.Error()
	} else if data, err := d.readKept(s.Kept); err != nil {
		s.Problems = append(s.Problems, err.Error())
	} else {
		s.KeptText = data
	}
	if j != nil {
		d.runningSettings(j, &s)
	}
	return s, nil
}

// runningSettings adds what a jail at work tells.
func (d *Daemon) runningSettings(j *jail.Jail, s *control.JailSettings) {
	now := j.Settings()
	for i := range s.Settings {
		x := &s.Settings[i]
		switch x.Name {
		case "maxretry":
			if now.MaxRetry != j.Configured.MaxRetry {
				x.Now = strconv.Itoa(now.MaxRetry)
			}
		case "findtime":
			if now.FindTime != j.Configured.FindTime {
				x.Now = now.FindTime.String()
			}
		case "bantime":
			if now.BanTime != j.Configured.BanTime {
				x.Now = now.BanTime.String()
			}
		}
	}
	status := j.Status(false)
	s.Problems = append(s.Problems, status.Problems...)
	var sizes []int64
	safefile.Within(statPatience, func() {
		var got []int64
		for _, f := range status.Files {
			n := int64(-1)
			if fi, err := os.Stat(f.Path); err == nil && fi.Mode().IsRegular() {
				n = fi.Size()
			}
			got = append(got, n)
		}
		sizes = got
	})
	if len(sizes) != len(status.Files) {
		s.Problems = append(s.Problems, "the disk with the logs does not answer: how long they are is not known")
		sizes = slices.Repeat([]int64{-1}, len(status.Files))
	}
	for i, f := range status.Files {
		l := control.LogStatus{Status: f, Size: sizes[i], Lag: -1}
		if l.Size >= 0 && f.Error == "" {
			l.Lag = max(l.Size-f.Offset, 0)
		}
		s.Files = append(s.Files, l)
	}
	hits := j.Hits()
	if now.Filter.Prefregex.Text != "" {
		s.Regexes = append(s.Regexes, control.RegexStatus{Kind: "prefregex", Text: now.Filter.Prefregex.Text, File: now.Filter.Prefregex.File, Line: now.Filter.Prefregex.Line})
	}
	for i, x := range now.Filter.Failregex {
		r := control.RegexStatus{Kind: "failregex", Text: x.Text, File: x.File, Line: x.Line}
		if i < len(hits) {
			r.Hits = &hits[i]
		}
		s.Regexes = append(s.Regexes, r)
	}
	for _, x := range now.Filter.Ignoreregex {
		s.Regexes = append(s.Regexes, control.RegexStatus{Kind: "ignoreregex", Text: x.Text, File: x.File, Line: x.Line})
	}
}

// keptPath is the file of what is changed for good in a jail; the error says why nothing can be.
func (d *Daemon) keptPath(name string) (string, error) {
	cfg := d.cfgNow()
	switch path := cfg.KeptPath(name); {
	case cfg.Fail2ban != nil:
		return "", fmt.Errorf("the configuration is one of fail2ban's (%s): what is to hold for good belongs into jail.local, or a file of jail.d, there", d.opts.Config.Path)
	case d.opts.DryRun:
		return "", errors.New("it is a dry run, which writes nothing")
	case path == "":
		return "", errors.New("nothing is kept here, since [database] path is \"None\"")
	default:
		return path, nil
	}
}

// readKept reads such a file; empty: there is none.
func (d *Daemon) readKept(path string) (text string, err error) {
	read := func() {
		var data []byte
		if data, err = safefile.ReadConfig(path); errors.Is(err, fs.ErrNotExist) {
			err = nil
		}
		text = string(data)
	}
	if !safefile.Within(statPatience, read) {
		return "", fmt.Errorf("%s: the disk does not answer", path)
	}
	return text, err
}

// settingsWanted are the values of a request, as they are written into a file.
func settingsWanted(r *control.SettingsRequest) (map[string]string, error) {
	out := map[string]string{}
	add := func(key string, v any) error {
		text, err := config.KeptValue(v)
		if err != nil {
			return control.Bad(fmt.Errorf("%s: %w", key, err))
		}
		out[key] = text
		return nil
	}
	var errs []error
	if r.Enabled != nil {
		errs = append(errs, add("enabled", *r.Enabled))
	}
	if r.Observe != nil {
		errs = append(errs, add("observe", *r.Observe))
	}
	if r.MaxRetry != nil {
		errs = append(errs, add("maxretry", *r.MaxRetry))
	}
	if r.FindTime != nil {
		errs = append(errs, add("findtime", string(*r.FindTime)))
	}
	if r.BanTime != nil {
		errs = append(errs, add("bantime", string(*r.BanTime)))
	}
	if r.Filter != nil {
		errs = append(errs, add("filter", *r.Filter))
	}
	for _, err := range errs {
		if err != nil {
			return nil, err
		}
	}
	return out, nil
}

// ownWords are the texts of a request, which an answer to it may quote.
func ownWords(r *control.SettingsRequest) []string {
	words := slices.Clone(r.Unset)
	for _, v := range []*control.SettingText{r.FindTime, r.BanTime} {
		if v != nil {
			words = append(words, string(*v))
		}
	}
	if r.Filter != nil {
		name, _, _ := strings.Cut(*r.Filter, "[")
		words = append(words, *r.Filter, name)
	}
	return words
}

// ChangeSettings implements control.Daemon.
func (d *Daemon) ChangeSettings(name string, r control.SettingsRequest) (out control.SettingsResult, err error) {
	d.awaitStart()
	out = control.SettingsResult{Jail: name}
	defer func() { err = control.OwnWords(err, ownWords(&r)...) }()
	want, err := settingsWanted(&r)
	if err != nil {
		return out, err
	}
	for _, key := range r.Unset {
		if !slices.Contains(config.KeptKeys, key) {
			return out, control.Bad(fmt.Errorf("unset: %.40q is none of %s", key, strings.Join(config.KeptKeys, ", ")))
		}
		if !r.Keep {
			return out, control.Bad(errors.New("unset takes back what was changed for good: want \"keep\": true with it; a reload takes back what was changed for now"))
		}
	}
	if len(want)+len(r.Unset) == 0 {
		return out, control.Bad(fmt.Errorf("nothing is to be changed: want one of %s", strings.Join(config.KeptKeys, ", ")))
	}
	if j, list := d.find(name); list != nil {
		return out, &control.ListError{Jail: name, Files: list.c.List}
	} else if j != nil && j.Configured.Labelled != "" {
		return out, control.Bad(fmt.Errorf("jail %s is of container %s, whose labels say what holds", name, j.Configured.Labelled))
	}
	if d.asFail2ban() {
		return out, control.Bad(fmt.Errorf("the configuration is one of fail2ban's (%s): change it in jail.local there and reload, or for now by fail2ban-client set %s KEY VALUE", d.opts.Config.Path, name))
	}
	release, err := d.turn.take("a change of settings", changeMost-stepsMost)
	if err != nil {
		return out, err
	}
	defer release()
	if r.Filter != nil {
		if err := d.filterCounts(name); err != nil {
			return out, err
		}
	}
	if r.Keep {
		return d.keepSettings(name, &r, want, out)
	}
	now := config.KeptText("changed for now by "+nobodyIf(r.By), want)
	if err := d.checked(name, now); err != nil {
		return out, err
	}
	before := map[string]string{} // as it is without the change
	if _, was, err := d.anyConfigured(name, nil); err == nil {
		for _, s := range was.Settings {
			if _, ok := want[s.Name]; ok {
				before[s.Name], _ = keptWord(s.Value)
			}
		}
	}
	out.Diff = unifiedDiff("jail "+name, "jail "+name+" "+config.NowFile, config.KeptText(name, before), config.KeptText(name, want))
	if r.Preview {
		return out, nil
	}
	if err := d.reloadWith(name, map[string]string{name: now}, r.By, "for now: "+saidSettings(want), &out); err != nil {
		return out, err
	}
	out.Notes = append(out.Notes, "it holds until the next reload, or the end of the daemon")
	return out, nil
}

// keptWord is a value of the configuration as a file of jails.d has it.
func keptWord(value string) (string, error) {
	if n, err := strconv.Atoi(value); err == nil {
		return config.KeptValue(n)
	}
	if b, err := strconv.ParseBool(value); err == nil {
		return config.KeptValue(b)
	}
	return config.KeptValue(value)
}

func nobodyIf(by string) string {
	if by == "" {
		return "somebody"
	}
	return events.Clean(by, 100)
}

func saidSettings(want map[string]string) string {
	var parts []string
	for _, key := range slices.Sorted(maps.Keys(want)) {
		parts = append(parts, key+" = "+want[key])
	}
	return strings.Join(parts, ", ")
}

// filterCounts says why another filter would change nothing of a jail.
func (d *Daemon) filterCounts(name string) error {
	_, c, err := d.anyConfigured(name, nil)
	if err != nil {
		return err
	}
	for _, s := range c.Settings {
		if s.Name == "failregex" {
			return control.Bad(fmt.Errorf("jail %s has a failregex of its own (%s:%d), which counts in place of any filter's: take it out there first", name, s.File, s.Line))
		}
	}
	return nil
}

// checked looks whether a jail can be what is wanted; text is on top of what there is.
func (d *Daemon) checked(name, text string) error {
	cfg, c, err := d.anyConfigured(name, map[string]string{name: text})
	if err != nil {
		return err
	}
	for _, err := range cfg.Errors {
		var at *config.Error
		if errors.As(err, &at) && at.File == config.NowFile {
			return control.Bad(errors.New(at.Msg))
		}
	}
	if err := c.Broken(); err != nil && !c.Disabled {
		return control.Bad(fmt.Errorf("jail %s could not work so: %w", name, err))
	}
	return nil
}

// keepSettings changes settings for good, by whose turn it is.
func (d *Daemon) keepSettings(name string, r *control.SettingsRequest, want map[string]string, out control.SettingsResult) (control.SettingsResult, error) {
	path, err := d.keptPath(name)
	if err != nil {
		return out, control.Bad(err)
	}
	out.File = path
	was, err := d.readKept(path)
	if err != nil {
		return out, err
	}
	values := config.Kept(was)
	for _, key := range r.Unset {
		delete(values, key)
	}
	maps.Copy(values, want)
	head := fmt.Sprintf("Changed by %s, %s; read last, on top of the configuration.\nTo take it back: remove the file and reload, or DELETE /v1/jails/%s/settings.",
		nobodyIf(r.By), d.clock.Wall().UTC().Format(time.RFC3339), name)
	text := config.KeptText(head, values)
	if len(values) == 0 {
		text = ""
	}
	if err := d.checked(name, config.KeptText("", values)); err != nil {
		return out, err
	}
	out.Diff = unifiedDiff(path, path, was, text)
	if r.Preview {
		return out, nil
	}
	if err := d.writeKept(path, text); err != nil {
		return out, err
	}
	if err := d.reloadWith(name, nil, r.By, "for good: "+cmp.Or(saidSettings(values), "nothing any more"), &out); err != nil {
		return out, err
	}
	return out, nil
}

// writeKept puts a file there, or takes it away.
func (d *Daemon) writeKept(path, text string) (err error) {
	write := func() {
		if text == "" {
			if err = os.Remove(path); errors.Is(err, fs.ErrNotExist) {
				err = nil
			}
			return
		}
		if err = os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return
		}
		err = safefile.Replace(path, func(f *os.File) error {
			_, err := f.WriteString(text)
			return errors.Join(err, f.Chmod(0o644))
		})
	}
	if !safefile.Within(5*time.Second, write) {
		return fmt.Errorf("%s: the disk does not answer; whether it is written is not known", path)
	}
	return err
}

// ForgetSettings implements control.Daemon: it takes back what was changed in a jail, for good and for now.
func (d *Daemon) ForgetSettings(name, by string) (out control.SettingsResult, err error) {
	d.awaitStart()
	out = control.SettingsResult{Jail: name}
	if d.asFail2ban() {
		return out, control.Bad(errors.New("the configuration is one of fail2ban's: nothing is kept beside it; a reload takes back what was changed for now"))
	}
	release, err := d.turn.take("a change of settings", changeMost-stepsMost)
	if err != nil {
		return out, err
	}
	defer release()
	if _, _, err := d.anyConfigured(name, nil); err != nil {
		return out, err
	}
	if path, err := d.keptPath(name); err == nil {
		was, err := d.readKept(path)
		if err != nil {
			return out, err
		}
		if was != "" {
			out.File, out.Diff = path, unifiedDiff(path, path, was, "")
			if err := d.writeKept(path, ""); err != nil {
				return out, err
			}
		}
	}
	return out, d.reloadWith(name, nil, by, "taken back", &out)
}

// reloadWith reloads a jail, with settings that hold until the next time, by whose turn it is.
func (d *Daemon) reloadWith(name string, now map[string]string, by, said string, out *control.SettingsResult) error {
	d.mu.Lock()
	d.settingsNow = now
	d.mu.Unlock()
	res, err := d.reloadNow(name, false)
	d.mu.Lock()
	d.settingsNow = nil
	d.mu.Unlock()
	if err != nil {
		d.events.Add(&events.Event{Kind: events.Reload, Jail: name, By: by, Text: "settings " + said + ": failed: " + err.Error()})
		return err
	}
	d.events.Add(&events.Event{Kind: events.Reload, Jail: name, By: by, Text: "settings " + said})
	switch {
	case slices.Contains(res.Started, name):
		out.Did = "started"
	case slices.Contains(res.Stopped, name):
		out.Did = "stopped"
	case slices.Contains(res.Changed, name):
		out.Did = "changed"
	default:
		out.Did = "unchanged"
	}
	for _, text := range res.Errors {
		if strings.Contains(text, name) {
			out.Notes = append(out.Notes, text)
		}
	}
	d.log.With("component", "server").Info(fmt.Sprintf("[%s] settings %s, by %s", name, said, nobodyIf(by)))
	return nil
}

// unifiedDiff tells small texts apart as diff -u does, with all of their lines; of long ones it tells the first 500,
// and how many more there are.
func unifiedDiff(from, to, a, b string) string {
	if a == b {
		return ""
	}
	lines := func(s string) []string {
		if s == "" {
			return nil
		}
		return strings.Split(strings.TrimSuffix(s, "\n"), "\n")
	}
	x, y := lines(a), lines(b)
	// The longest common subsequence, of at most some dozen lines each.
	n, m := min(len(x), 500), min(len(y), 500)
	more := len(x) - n + len(y) - m
	x, y = x[:n], y[:m]
	long := make([][]int, n+1)
	for i := range long {
		long[i] = make([]int, m+1)
	}
	for i := n - 1; i >= 0; i-- {
		for j := m - 1; j >= 0; j-- {
			if x[i] == y[j] {
				long[i][j] = long[i+1][j+1] + 1
			} else {
				long[i][j] = max(long[i+1][j], long[i][j+1])
			}
		}
	}
	var out strings.Builder
	span := func(n int) string {
		switch n {
		case 0:
			return "0,0"
		case 1:
			return "1"
		}
		return "1," + strconv.Itoa(n)
	}
	fromName, toName := from, to
	if a == "" {
		fromName = "/dev/null"
	}
	if b == "" {
		toName = "/dev/null"
	}
	fmt.Fprintf(&out, "--- %s\n+++ %s\n@@ -%s +%s @@\n", fromName, toName, span(n), span(m))
	for i, j := 0, 0; i < n || j < m; {
		switch {
		case i < n && j < m && x[i] == y[j]:
			out.WriteString(" " + x[i] + "\n")
			i++
			j++
		case i < n && (j == m || long[i+1][j] >= long[i][j+1]):
			out.WriteString("-" + x[i] + "\n")
			i++
		default:
			out.WriteString("+" + y[j] + "\n")
			j++
		}
	}
	if more > 0 {
		fmt.Fprintf(&out, "\\ %d lines more\n", more)
	}
	return out.String()
}
