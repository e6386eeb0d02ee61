package cli

import (
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"bailiff/pkg/config"
)

func configReferenceCommand() *cobra.Command {
	var asJSON bool
	var schema string
	c := &cobra.Command{
		Use:   "reference [KEY…]",
		Short: "Explain every key of the configuration: type, default, example",
		Long: `Explain every key of bailiff.toml and of filters' files, or those named: what it
does, its type, its default and an example. What can stand in [jail.NAME] can stand in
[default], for all jails, and in a file jails/NAME.toml, without the table.`,
		Example: `  bailiff config reference bantime findtime
  bailiff config reference --json | jq '.[] | select(.table == "firewall")'
  bailiff config reference --schema filter > filter.schema.json`,
		RunE: func(c *cobra.Command, names []string) error {
			if schema != "" {
				file, ok := map[string]string{"main": config.MainFile, "jail": config.JailFile, "filter": config.FilterFile}[schema]
				if !ok {
					return &exitError{exitUsage, fmt.Sprintf("--schema %s: want main, jail or filter", schema)}
				}
				return printJSON(c.OutOrStdout(), config.Schema(file))
			}
			keys := config.Reference()
			if len(names) > 0 {
				all := keys
				keys = slices.DeleteFunc(slices.Clone(all), func(k config.Key) bool {
					return !slices.ContainsFunc(names, func(n string) bool { return named(k, n) })
				})
				for _, n := range names {
					if !slices.ContainsFunc(all, func(k config.Key) bool { return named(k, n) }) {
						return failed("there is no key %q: bailiff config reference prints all", n)
					}
				}
			}
			if asJSON {
				return printJSON(c.OutOrStdout(), keys)
			}
			printReference(c.OutOrStdout(), keys)
			return nil
		},
		ValidArgsFunction: func(_ *cobra.Command, _ []string, _ string) (names []string, _ cobra.ShellCompDirective) {
			for _, k := range config.Reference() {
				if !slices.Contains(names, k.Name) {
					names = append(names, k.Name)
				}
			}
			return names, cobra.ShellCompDirectiveNoFileComp
		},
	}
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	c.Flags().StringVar(&schema, "schema", "", "print the JSON schema of a `kind` of file, for editors: main, jail, filter")
	_ = c.RegisterFlagCompletionFunc("schema", cobra.FixedCompletions([]string{"main", "jail", "filter"}, cobra.ShellCompDirectiveNoFileComp))
	return c
}

// named reports whether a word means a key: by its name, with its table before it, or that
// of a family like ban.prefix4.
func named(k config.Key, word string) bool {
	full := strings.TrimPrefix(k.Table+"."+k.Name, ".")
	return word == k.Name || word == full || word == k.Table || strings.HasPrefix(k.Name, word+".") || strings.HasSuffix(full, "."+word)
}

func printReference(w io.Writer, keys []config.Key) {
	table := "\x00"
	for _, k := range keys {
		if at := k.File + k.Table; at != table {
			if table != "\x00" {
				fmt.Fprintln(w)
			}
			table = at
			fmt.Fprintln(w, k.Heading())
		}
		fmt.Fprintf(w, "\n  %s  (%s)\n", k.Written(), k.Kind())
		for _, line := range wrapped(k.Text, 84) {
			fmt.Fprintln(w, "      "+line)
		}
		fmt.Fprintln(w)
		for _, line := range strings.Split(k.Example, "\n") {
			fmt.Fprintln(w, "          "+line)
		}
	}
}

// wrapped breaks a text into lines of so many letters, where they fit.
func wrapped(text string, width int) (lines []string) {
	line := ""
	for _, word := range strings.Fields(text) {
		if line != "" && len(line)+1+len(word) > width {
			lines, line = append(lines, line), ""
		}
		line = strings.TrimPrefix(line+" "+word, " ")
	}
	return append(lines, line)
}
