package daemon

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"bailiff/pkg/config"
	"bailiff/pkg/control"
	"bailiff/pkg/events"
	"bailiff/pkg/filter"
	"bailiff/pkg/safefile"
)

// Filters that are saved over the socket, in filters.d beside the database, with lines of logs as their samples: bailiff
// filter test and prove look at them as at any other's.

// SaveFilter implements control.Daemon.
func (d *Daemon) SaveFilter(name string, r control.SaveRequest) (out control.SaveResult, err error) {
	d.awaitStart()
	out.Name = name
	release, err := d.turn.take("a filter that is saved", changeMost-stepsMost)
	if err != nil {
		return out, err
	}
	defer release()
	if d.opts.DryRun {
		return out, control.Bad(errors.New("it is a dry run, which writes nothing"))
	}
	cfg, err := d.loadForFilters()
	if err != nil {
		return out, err
	}
	if out.File, err = cfg.KeptFilterPath(name); err != nil {
		return out, control.Bad(err)
	}
	if r.Text != "" {
		if out.Text, err = d.filterText(name, &r); err != nil {
			return out, err
		}
	} else if cfg.Filters[name] == nil {
		return out, control.Bad(fmt.Errorf("no filter %s was saved", name))
	} else if jails := jailsWith(cfg, name); len(jails) > 0 {
		return out, control.Bad(fmt.Errorf("jail %s has filter %s: give it another one first", strings.Join(jails, ", "), name))
	}
	was, err := d.readKept(out.File)
	if err != nil {
		return out, err
	}
	out.Diff = unifiedDiff(out.File, out.File, was, out.Text)
	if r.Preview {
		return out, nil
	}
	if err := d.writeKept(out.File, out.Text); err != nil {
		return out, err
	}
	did := map[bool]string{true: "removed", false: "saved"}[out.Text == ""]
	d.events.Add(&events.Event{Kind: events.Reload, By: r.By, Text: "filter " + name + " is " + did})
	if was != "" && out.Text != "" {
		out.Note = "a jail that has it goes on with what it was until the next reload"
	}
	return out, nil
}

// loadForFilters reads the configuration with the jails that are not enabled, too.
func (d *Daemon) loadForFilters() (*config.Config, error) {
	opts := d.opts.Config
	opts.All, opts.ForJails = true, true
	cfg, err := config.LoadWithin(configMost, opts)
	config.ForgetStock()
	return cfg, err
}

// jailsWith are the jails that have a filter.
func jailsWith(cfg *config.Config, filter string) []string {
	names := []string{}
	for _, c := range cfg.Jails {
		if !c.Disabled && slices.ContainsFunc(c.Settings, func(s config.Setting) bool {
			name, _, _ := strings.Cut(s.Value, "[")
			return s.Name == "filter" && name == filter
		}) {
			names = append(names, c.Name)
		}
	}
	return names
}

// SavedFilters implements control.Daemon.
func (d *Daemon) SavedFilters() ([]control.SavedFilter, error) {
	d.awaitStart()
	out := []control.SavedFilter{}
	cfg, err := d.loadForFilters()
	if err != nil {
		return nil, err
	}
	for _, name := range sortedKeys(cfg.Filters) {
		path, err := cfg.KeptFilterPath(name)
		if err != nil || cfg.Filters[name].Source != path {
			continue
		}
		text, err := d.readKept(path)
		if err != nil {
			return nil, err
		}
		out = append(out, control.SavedFilter{Name: name, File: path, Text: text, Jails: jailsWith(cfg, name)})
	}
	return out, nil
}

// filterText is what is written of a filter: its text, and lines as samples. The error is of who asks if the filter is none, or
// does not make of a sample what it says.
func (d *Daemon) filterText(name string, r *control.SaveRequest) (string, error) {
	if def, err := config.DefinitionOf(name, []byte(r.Text), r.Mode); err != nil {
		return "", control.Bad(err)
	} else if _, err := filter.Compile(def, time.Local); err != nil {
		return "", control.Bad(err)
	}
	text := strings.TrimRight(strings.ReplaceAll(r.Text, "\r\n", "\n"), "\n") + "\n"
	if len(r.Lines) > 0 {
		a, err := d.TryFilter(control.TryRequest{Filter: text, Mode: r.Mode, Lines: r.Lines})
		if err != nil {
			return "", err
		}
		if len(a.Lines) < len(r.Lines) {
			return "", errors.New(strings.Join(a.Problems, "; "))
		}
		for _, l := range a.Lines {
			text += sampleText(&l, r.Mode)
		}
	}
	if len(text) > control.TryText {
		return "", control.Bad(fmt.Errorf("with its samples the filter is longer than %d bytes: want fewer lines", control.TryText))
	}
	wrong, looked := "", 0
	if !safefile.Within(tryPatience, func() {
		f := config.ParseFilter(name, name, []byte(text))
		for i, s := range f.Samples {
			if said := f.Check(s); said != "" {
				wrong = fmt.Sprintf("sample %d, %.200q: %s", i+1, s.Line, said)
				break
			}
			looked++
		}
	}) {
		return "", fmt.Errorf("to look at its samples takes longer than %v: want fewer lines, or a simpler expression", tryPatience)
	}
	if wrong != "" {
		return "", control.Bad(errors.New(wrong))
	}
	return text, nil
}

// sampleText is a line as a sample in a filter's file.
func sampleText(l *control.TriedLine, mode string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "\n[[sample]]\nline = %s\n", config.TOMLString(l.Line))
	if mode != "" {
		fmt.Fprintf(&b, "mode = %s\n", config.TOMLString(mode))
	}
	if l.Verdict == "failure" {
		fmt.Fprintf(&b, "host = %s\n", config.TOMLString(l.ID))
	} else {
		b.WriteString("match = false\n")
	}
	return b.String()
}
