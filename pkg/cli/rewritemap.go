package cli

import (
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"bailiff/pkg/check"
	"bailiff/pkg/config"
)

// rewriteMapCommand is what Apache httpd runs to ask who is banned.
func rewriteMapCommand() *cobra.Command {
	var path, at string
	var jails []string
	c := &cobra.Command{
		Use:   "rewritemap",
		Short: "Tell Apache httpd who is banned, as a program of a RewriteMap",
		Long: `Answer for each address, a line of standard input, with a line: "banned", or "NULL" for who
is not, until standard input ends. httpd starts it by itself and asks it for each request (RewriteMap
NAME prg:…; docs/proxies.md has the whole configuration). The daemon is asked where [check] listen
says; without an answer within half a second nobody is refused.`,
		Example: `  printf '192.0.2.7\n' | bailiff rewritemap --at unix:/run/bailiff/check.sock`,
		Args:    noArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			if at == "" {
				cfg, err := config.LoadWithin(startMost, config.Options{Path: path, ForJails: true})
				if err != nil {
					return err
				}
				if len(cfg.Check.Listen) == 0 {
					return failed("the configuration says of no place to ask: [check] listen, or --at")
				}
				at = cfg.Check.Listen[0]
				config.ForgetStock()
			}
			return check.RewriteMap(c.Context(), os.Stdin, c.OutOrStdout(), at, jails, func(text string) {
				fmt.Fprintf(c.ErrOrStderr(), "bailiff rewritemap: %s: %s\n", at, text)
			})
		},
	}
	f := c.Flags()
	f.StringVarP(&path, "config", "c", "", "the daemon's configuration, a `path` as run has it, which says where to ask")
	f.StringVar(&at, "at", "", "ask here: a Unix socket's `path`, or ADDRESS:PORT (default what [check] listen names first)")
	f.StringArrayVar(&jails, "jail", nil, "only bans of the jail `NAME` count; can be given several times")
	return c
}
