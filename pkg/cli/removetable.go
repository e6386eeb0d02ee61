package cli

import (
	"fmt"

	"github.com/spf13/cobra"

	"bailiff/pkg/config"
	"bailiff/pkg/firewall"
)

// removeTableCommand is what packages call before the program goes: it needs no nft. It does
// not show in the help.
func removeTableCommand() *cobra.Command {
	var load config.Options
	c := &cobra.Command{
		Use:    "remove-table",
		Short:  "Remove nftables' table of the configuration, with all bans, where no daemon keeps it",
		Hidden: true,
		Args:   noArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			table := ""
			cfg, err := config.LoadWithin(startMost, load)
			if err == nil {
				table = cfg.Firewall.Table
			} else {
				fmt.Fprintf(c.ErrOrStderr(), "bailiff: warning: %v: if another table than f2b-table was configured, it stays\n", err)
			}
			return firewall.Remove(table)
		},
	}
	c.Flags().StringVarP(&load.Path, "config", "c", "", "the configuration, a `directory` or file")
	return c
}
