package cli

import (
	"fmt"
	"io"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"bailiff/pkg/config"
)

func filterCommand() *cobra.Command {
	var load config.Options
	c := &cobra.Command{
		Use:   "filter",
		Short: "List, show, test, check and prove filters, and make new ones",
		Args:  args(0, 0),
		RunE:  func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	c.PersistentFlags().StringVarP(&load.Path, "config", "c", "", "a `path`: bailiff.toml, or the directory that holds it")
	var listJSON bool
	list := &cobra.Command{
		Use:   "list",
		Short: "List the filters that are known",
		Args:  noArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			cfg, err := config.LoadWithin(startMost, load)
			if err != nil {
				return err
			}
			type row struct {
				Name        string   `json:"name"`
				Description string   `json:"description"`
				Modes       []string `json:"modes"`
				Samples     int      `json:"samples"`
				Source      string   `json:"source"`
			}
			rows := []row{}
			for _, n := range sortedFilters(cfg) {
				f := cfg.Filters[n]
				rows = append(rows, row{n, f.Description, append([]string{}, f.Modes...), len(f.Samples), f.Source})
			}
			if listJSON {
				return printJSON(c.OutOrStdout(), rows)
			}
			t := tabwriter.NewWriter(c.OutOrStdout(), 0, 8, 2, ' ', 0)
			for _, r := range rows {
				fmt.Fprintf(t, "%s\t%s\n", r.Name, r.Description)
			}
			return t.Flush()
		},
	}
	list.Flags().BoolVar(&listJSON, "json", false, "print JSON")
	test := &cobra.Command{
		Use:   "test [NAME|FILE…]",
		Short: "Run the samples that filters carry",
		Long: `Run the samples that filters carry, of all filters or of some, by name or as files:
each [[sample]] must give the host and the time that it names, or nothing with match = false.`,
		Args: args(0, -1),
		RunE: func(c *cobra.Command, names []string) error {
			cfg, err := config.LoadWithin(startMost, load)
			if err != nil {
				return err
			}
			if len(names) == 0 {
				names = sortedFilters(cfg)
			}
			passed, bad := 0, 0
			for _, name := range names {
				p, b, err := testFilter(c.OutOrStdout(), cfg, name)
				if err != nil {
					fmt.Fprintf(c.ErrOrStderr(), "bailiff: filter %s: %v\n", name, err)
					bad++
				}
				passed, bad = passed+p, bad+b
			}
			fmt.Fprintf(c.OutOrStdout(), "%d filters, %d samples passed, %d failed\n", len(names), passed, bad)
			if bad > 0 {
				return &exitError{exitFailed, ""}
			}
			return nil
		},
	}
	c.AddCommand(list, filterShow(&load), test, filterLint(&load), filterProve(&load), filterNew())
	return c
}

// testFilter runs the samples of one filter and tells of those that fail.
func testFilter(w io.Writer, cfg *config.Config, name string) (passed, failed int, err error) {
	f := cfg.Filters[name]
	if f == nil && isFile(name) {
		if f, err = config.ReadFilter(name); err != nil {
			return 0, 0, err
		}
		_, err = f.Definition("")
	} else {
		_, err = cfg.FilterDefinition(name, "")
	}
	if err != nil {
		return 0, 0, err
	}
	if len(f.Samples) == 0 {
		return 0, 0, fmt.Errorf("%s: no [[sample]] in it", f.Source)
	}
	for _, s := range f.Samples {
		if problem := f.Check(s); problem != "" {
			failed++
			fmt.Fprintf(w, "%s:%d: %s\n    %s\n", s.File, s.LineNo, problem, s.Line)
			continue
		}
		passed++
	}
	return passed, failed, nil
}
