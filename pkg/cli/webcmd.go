package cli

import (
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"bailiff/pkg/config"
	"bailiff/pkg/control"
)

// The page, from a terminal: where it is, and a link that lets in once.

func (g *global) webCommand() *cobra.Command {
	var asJSON bool
	role := control.Admin.String()
	c := &cobra.Command{
		Use:   "web",
		Short: "Print where the page is, and a link that lets in there once",
		Long: `Ask the daemon where its page is ([web] listen in bailiff.toml), and for a link that lets
somebody in there once, within ten minutes, without a password. It opens nothing by
itself; users with passwords are made by bailiff web user.`,
		Example: `  bailiff web
  bailiff web --role viewer
  bailiff web user add anna --role operator`,
		Args: noArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			if _, err := control.ParseRole(role); err != nil {
				return usageError("--" + err.Error())
			}
			l, err := g.client().WebLogin(role)
			if err != nil {
				return err
			}
			out := c.OutOrStdout()
			if asJSON {
				return printJSON(out, l)
			}
			for _, p := range l.Problems {
				fmt.Fprintln(c.ErrOrStderr(), "bailiff:", p)
			}
			for _, url := range l.URLs {
				fmt.Fprintln(out, url+l.Path)
			}
			for _, path := range l.Sockets {
				fmt.Fprintf(out, "unix:%s\n", plainly(path))
			}
			switch {
			case len(l.URLs) > 0:
				fmt.Fprintf(out, "lets in once, until %s, as %s (%s)\n", l.Until.Local().Format(time.TimeOnly), plainly(l.Name), l.Role)
			default:
				fmt.Fprintf(out, "ssh -L 8990:%s HOST brings it to http://127.0.0.1:8990%s\nlets in once, until %s, as %s (%s)\n",
					plainly(l.Sockets[0]), l.Path, l.Until.Local().Format(time.TimeOnly), plainly(l.Name), l.Role)
			}
			return nil
		},
	}
	c.Flags().StringVar(&role, "role", role, "what who comes by it may do: viewer, operator or admin")
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	_ = c.RegisterFlagCompletionFunc("role", completeRoles)
	c.AddCommand(webUserCommand())
	return c
}

func completeRoles(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
	return config.WebRoles, cobra.ShellCompDirectiveNoFileComp
}
