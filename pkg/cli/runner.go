package cli

import (
	"os"

	"github.com/spf13/cobra"

	"bailiff/pkg/config"
	"bailiff/pkg/daemon"
	"bailiff/pkg/runner"
)

// runnerCommand is the process that the daemon starts to have commands run: nobody calls it,
// and it does not show in the help.
func runnerCommand() *cobra.Command {
	var load config.Options
	var fixed, journal bool
	c := &cobra.Command{
		Use:    "runner",
		Short:  "Run commands for the daemon",
		Long:   "Run commands for the daemon that has started this process, until it ends.",
		Hidden: true,
		Args:   noArgs,
		RunE: func(*cobra.Command, []string) error {
			// It is looked for by this name, not by that of its file.
			_ = os.WriteFile("/proc/self/comm", []byte("bailiff-runner"), 0)
			me := uint32(os.Geteuid())
			var read *config.Config
			opts := runner.Options{
				Fixed: fixed,
				Load: func() (runner.Table, error) {
					cfg, err := config.LoadWithin(startMost, load)
					config.ForgetStock()
					if err != nil {
						return runner.Table{}, err
					}
					read = cfg
					return daemon.Table(cfg, me), nil
				},
				Replace: daemon.ReplaceTheirs,
			}
			if journal {
				opts.Settle = func() error { return daemon.SettleRunner(read) }
			}
			return runner.Serve(os.NewFile(runner.FD, "socket to the daemon"), opts)
		},
	}
	f := c.Flags()
	f.StringVarP(&load.Path, "config", "c", "", "a `path`, as run has it")
	f.StringArrayVarP(&load.Jails, "jail", "j", nil, "`NAME=LOGPATH`, as run has it")
	f.BoolVar(&fixed, "fixed", false, "run nothing but what is configured")
	f.BoolVar(&journal, "journal", false, "read the journal, and give away what that does not take")
	return c
}
