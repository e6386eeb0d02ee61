package cli

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"bailiff/pkg/config"
	"bailiff/pkg/filter"
	"bailiff/pkg/transport"
)

func filterNew() *cobra.Command {
	var output string
	var good []string
	c := &cobra.Command{
		Use:   "new NAME [LINE…]",
		Short: "Make a filter from lines of a log",
		Long: `Make a filter from lines of a log, given as arguments or on standard input, one a
line. The address is marked in each, <192.0.2.7>, unless it is the only one there is.
They may stand behind what a container's runtime or syslog puts around them: the daemon
takes that off, too.
Several lines of one kind show what differs between them: user names, for example.

The filter is printed, or written to a file with --output, with the lines as its
samples; what there is to say of it goes to standard error. Nothing is written that fails
them. Give a line of a success with --good, and add one in which a client tries to have another address taken.`,
		Example: `  grep 'login failed' app.log | head -3 | bailiff filter new my-app
  bailiff filter new my-app 'Jan 31 12:00:00 web app[41]: login of bob failed: <192.0.2.7>' -o my-app.toml`,
		Args: args(1, -1),
		RunE: func(c *cobra.Command, given []string) error {
			lines := given[1:]
			if len(lines) == 0 {
				in := bufio.NewScanner(c.InOrStdin())
				in.Buffer(nil, 1<<20)
				for in.Scan() {
					if strings.TrimSpace(in.Text()) != "" {
						lines = append(lines, in.Text())
					}
				}
				if err := in.Err(); err != nil {
					return err
				}
			}
			text, err := newFilter(given[0], lines, good)
			if err != nil {
				return err
			}
			f := config.ParseFilter(given[0], output, []byte(text))
			def, err := f.Definition("")
			if err != nil {
				return err
			}
			for _, s := range f.Samples { // nothing is written that fails its own samples
				switch problem := f.Check(s); {
				case problem == "":
				case !s.Match:
					return fmt.Errorf("the filter %s: %q: a line of a success looks like the failures; give failures that differ from it, or write the filter by hand", problem, s.Line)
				default:
					return fmt.Errorf("the filter %s: %q: write it by hand", problem, s.Line)
				}
			}
			if len(good) == 0 {
				fmt.Fprintln(c.ErrOrStderr(), "bailiff: give a line of a success, too, with --good: it tells whether the filter takes failures only")
			}
			found, err := filter.Lint(def)
			if err != nil {
				return err
			}
			for _, f := range found {
				f.Expr = filter.Expr{}
				fmt.Fprintf(c.ErrOrStderr(), "bailiff: %s\n", f)
			}
			if output == "" {
				_, err = io.WriteString(c.OutOrStdout(), text)
				return err
			}
			file, err := os.OpenFile(output, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o644)
			if err != nil {
				return err
			}
			_, err = file.WriteString(text)
			return errors.Join(err, file.Close())
		},
	}
	c.Flags().StringArrayVar(&good, "good", nil, "a `LINE` of a success, which the filter must not take")
	c.Flags().StringVarP(&output, "output", "o", "", "write a new `file`")
	return c
}

func newFilter(name string, lines, good []string) (string, error) {
	var examples []filter.Example
	var whole []string // with what stands around them
	for _, l := range lines {
		e, err := filter.ParseExample(l)
		if err != nil {
			return "", err
		}
		whole = append(whole, e.Line)
		text, _, ok := transport.New(transport.Options{Runtime: true, Rewrite: true, Colours: true}).One([]byte(e.Line))
		if !ok {
			return "", fmt.Errorf("%q: a part of a line; give the line as it is when its parts are joined", l)
		}
		e.Line = string(text)
		examples = append(examples, e)
	}
	list, err := filter.Propose(examples)
	if err != nil {
		return "", err
	}
	var b strings.Builder
	fmt.Fprintf(&b, "description = \"%s: failed logins\"\n\n%sfailregex = '''\n%s\n'''\n", name, filter.DatesOf(examples), strings.Join(list, "\n"))
	for i, e := range examples {
		fmt.Fprintf(&b, "\n[[sample]]\nline = %s\nhost = %q\n", config.TOMLString(whole[i]), filter.ParseID(e.Host, -1).Addr())
	}
	for _, l := range good {
		fmt.Fprintf(&b, "\n[[sample]]\nline = %s\nmatch = false\n", config.TOMLString(l))
	}
	return b.String(), nil
}
