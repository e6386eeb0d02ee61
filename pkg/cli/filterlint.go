package cli

import (
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"bailiff/pkg/config"
	"bailiff/pkg/config/fail2ban"
	"bailiff/pkg/filter"
	"bailiff/pkg/tags"
)

func filterShow(load *config.Options) *cobra.Command {
	var mode string
	var expanded bool
	c := &cobra.Command{
		Use:   "show NAME",
		Short: "Print a filter",
		Long: `Print a filter's file as it is: the beginning of one of your own, in
/etc/bailiff/filters/NAME.toml. With --expanded, its expressions are printed with
their tags written out.`,
		Args: args(1, 1),
		RunE: func(c *cobra.Command, names []string) error {
			cfg, err := config.LoadWithin(startMost, *load)
			if err != nil {
				return err
			}
			def, err := cfg.FilterDefinition(names[0], mode)
			if err != nil {
				return err
			}
			f := cfg.Filters[names[0]]
			if !expanded && mode == "" {
				fmt.Fprintf(c.OutOrStdout(), "# %s\n%s", f.Source, f.Text())
				return nil
			}
			compiled, err := filter.Compile(def, nil)
			if err != nil {
				return err
			}
			if expanded {
				for _, x := range append(append([]string{}, nonEmpty(compiled.Prefregex())...), compiled.Expanded()...) {
					fmt.Fprintln(c.OutOrStdout(), x)
				}
				return nil
			}
			for _, x := range compiled.Failregex() {
				fmt.Fprintln(c.OutOrStdout(), x.Text)
			}
			return nil
		},
		ValidArgsFunction: completeFilters(load),
	}
	c.Flags().StringVar(&mode, "mode", "", "print the expressions of this mode")
	c.Flags().BoolVar(&expanded, "expanded", false, "print the expressions with their tags written out")
	return c
}

func nonEmpty(s string) []string {
	if s == "" {
		return nil
	}
	return []string{s}
}

func completeFilters(load *config.Options) cobra.CompletionFunc {
	return func(_ *cobra.Command, _ []string, prefix string) ([]string, cobra.ShellCompDirective) {
		cfg, err := config.LoadWithin(startMost, *load)
		if err != nil {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		return slices.DeleteFunc(sortedFilters(cfg), func(n string) bool { return !strings.HasPrefix(n, prefix) }), cobra.ShellCompDirectiveDefault
	}
}

// linted is a filter with what there is to say of it.
type linted struct {
	Filter   string   `json:"filter"`
	Mode     string   `json:"mode,omitempty"`
	Error    string   `json:"error,omitempty"`
	Findings []string `json:"findings"`
}

func filterLint(load *config.Options) *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use:   "lint [NAME|FILE…]",
		Short: "Check filters for what a client could use, and for what is slow",
		Long: `Check filters by rule, of all filters or of some, in all of their modes:

  unanchored-start  text that a client writes may stand before the expression
  unanchored-end    the address comes behind something like .*, and nothing says
                    that it is the last one
  movable-host      something like .* stands before and after the address
  lone-id           an id (<F-ID>) without an address beside it may read as one
  no-literal        there is no text that every match holds
  partial-host      something greedy before the address takes its beginning
  ambiguous-time    a date that a client writes may be taken for the line's
  unused-part       [client] names the characters of a part that no sample names

and by proof, with samples that say what a client chooses of their lines (see filter prove):

  forgeable         some text makes another address count
  evadable          some text makes the true one not count

With --config /etc/fail2ban, fail2ban's filters are read; one of its files by its path
is in any case, with its options: './sshd.conf[mode=aggressive]'. The exit code is 1 if
there is something to say.`,
		Example: `  bailiff filter lint
  bailiff filter lint sshd ./my-filter.toml ./their-filter.conf
  bailiff filter lint --config /etc/fail2ban`,
		Args: args(0, -1),
		RunE: func(c *cobra.Command, names []string) error {
			list, err := lintAll(*load, names)
			if err != nil {
				return err
			}
			bad := 0
			for _, l := range list {
				if len(l.Findings) > 0 || l.Error != "" {
					bad++
				}
			}
			if asJSON {
				err = printJSON(c.OutOrStdout(), list)
			} else {
				printLint(c.OutOrStdout(), list)
			}
			if err == nil && bad > 0 {
				err = &exitError{exitFailed, ""}
			}
			return err
		},
		ValidArgsFunction: completeFilters(load),
	}
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return c
}

func printLint(w io.Writer, list []linted) {
	filters, findings := map[string]bool{}, 0
	told := map[string]bool{}
	for _, l := range list {
		filters[l.Filter] = true
		if l.Error != "" {
			fmt.Fprintf(w, "%s: %s\n", l.Filter, l.Error)
			findings++
		}
		for _, f := range l.Findings {
			if line := l.Filter + ": " + f; !told[line] { // in another mode, too
				told[line] = true
				findings++
				fmt.Fprintln(w, line)
			}
		}
	}
	fmt.Fprintf(w, "%d filters, %d findings\n", len(filters), findings)
}

// lintAll checks the filters of these names, or all.
func lintAll(load config.Options, names []string) ([]linted, error) {
	var out []linted
	asked := len(names) > 0
	names = slices.DeleteFunc(slices.Clone(names), func(arg string) bool {
		name, given, ok := fail2banFile(arg)
		if ok {
			def, err := readFail2banFile(name, given)
			out = append(out, lintOne(arg, given.Values["mode"], def, err))
		}
		return ok
	})
	switch {
	case asked && len(names) == 0:
		return out, nil
	case config.IsTree(load.Path):
		more, err := lintTree(load.Path, names)
		return append(out, more...), err
	}
	filters, err := namedFilters(load, names)
	if err != nil {
		return nil, err
	}
	for _, f := range filters {
		for _, mode := range append([]string{""}, f.Modes...) {
			def, err := f.Definition(mode)
			out = append(out, lintOne(f.Name, mode, def, err))
		}
		for _, text := range f.UnusedParts() {
			last := &out[len(out)-1]
			last.Findings = append(last.Findings, "unused-part: "+text)
		}
		if f.Stock && len(filters) > 1 {
			continue // proved by the tests; it would take minutes for all
		}
		last := &out[len(out)-1]
		for _, s := range f.Samples {
			probe, ok := f.Probe(s)
			def, err := f.Definition(s.Mode)
			if !ok || err != nil {
				continue
			}
			def.Proxies = s.Trusted
			p := prove(f.Name, s.Mode, "", def, probe)
			if p.claimed = s.Unproved; p.good() {
				continue
			}
			for _, text := range p.findings() {
				last.Findings = append(last.Findings, fmt.Sprintf("%s:%d: %s", s.File, s.LineNo, text))
			}
		}
	}
	return out, nil
}

// namedFilters are the filters of these names or files, or all that are known.
func namedFilters(load config.Options, names []string) (out []*config.Filter, err error) {
	cfg, err := config.LoadWithin(startMost, load)
	if err != nil {
		return nil, err
	}
	if len(names) == 0 {
		names = sortedFilters(cfg)
	}
	for _, name := range names {
		f := cfg.Filters[name]
		if f == nil && isFile(name) {
			if f, err = config.ReadFilter(name); err != nil {
				return nil, err
			}
		}
		if f == nil {
			_, err := cfg.FilterDefinition(name, "")
			return nil, err
		}
		out = append(out, f)
	}
	return out, nil
}

// fail2banFile reports whether an argument is the path of a filter's file of fail2ban's,
// and with which options.
func fail2banFile(arg string) (path string, given *tags.Options, ok bool) {
	path, given, err := tags.Extract(arg)
	if err != nil {
		path, given = arg, &tags.Options{}
	}
	return path, given, isFile(path) && !strings.HasSuffix(path, ".toml") && fail2ban.HasSections(path)
}

func readFail2banFile(path string, given *tags.Options) (filter.Definition, error) {
	c, err := fail2ban.ReadFiles(path)
	if err != nil {
		return filter.Definition{}, err
	}
	f, err := fail2ban.NewFilter(c, path, given)
	if err != nil {
		return filter.Definition{}, err
	}
	return config.FromFail2ban(f)
}

func lintOne(name, mode string, def filter.Definition, err error) linted {
	l := linted{Filter: name, Mode: mode, Findings: []string{}}
	var found []filter.Finding
	if err == nil {
		found, err = filter.Lint(def)
	}
	if err != nil {
		l.Error = err.Error()
	}
	for _, f := range found {
		l.Findings = append(l.Findings, f.String())
	}
	return l
}

// lintTree checks the filters of a configuration of fail2ban's.
func lintTree(dir string, names []string) ([]linted, error) {
	if len(names) == 0 {
		files, err := filepath.Glob(filepath.Join(dir, "filter.d", "*.conf"))
		if err != nil {
			return nil, err
		}
		for _, f := range files {
			if n := strings.TrimSuffix(filepath.Base(f), ".conf"); !strings.HasSuffix(n, "-common") && n != "common" {
				names = append(names, n)
			}
		}
	}
	var out []linted
	for _, name := range names {
		f, err := fail2ban.ReadFilter(dir, name, &tags.Options{})
		if err != nil {
			out = append(out, lintOne(name, "", filter.Definition{}, err))
			continue
		}
		def, err := config.FromFail2ban(f)
		out = append(out, lintOne(name, "", def, err))
	}
	if len(out) == 0 {
		return nil, errors.New("no filters in " + filepath.Join(dir, "filter.d"))
	}
	return out, nil
}
