package cli

import (
	"os"
	"strconv"

	"github.com/spf13/cobra"

	"bailiff/pkg/config"
	"bailiff/pkg/daemon"
	"bailiff/pkg/runner"
)

// runnerCommand is the process that the daemon starts to have commands run: nobody calls it,
// and it does not show in the help.
func runnerCommand() *cobra.Command {
	var load config.Options
	var fixed, journal, listen bool
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
					load.ForJails = true
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
			socket := os.NewFile(runner.FD, "socket to the daemon")
			if listen {
				if os.Getenv("LISTEN_FDS") != "1" || os.Getenv("LISTEN_PID") != strconv.Itoa(os.Getpid()) {
					return failed("--listen: no service manager has handed a socket over")
				}
				if !fixed {
					return failed("--listen: who connects is not believed, so --fixed belongs to it")
				}
				for _, name := range []string{"LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES"} {
					_ = os.Unsetenv(name)
				}
				var err error
				if socket, err = runner.Accept(socket); err != nil {
					return err
				}
			}
			return runner.Serve(socket, opts)
		},
	}
	f := c.Flags()
	f.StringVarP(&load.Path, "config", "c", "", "a `path`, as run has it")
	f.StringArrayVarP(&load.Jails, "jail", "j", nil, "`NAME=LOGPATH`, as run has it")
	f.BoolVar(&fixed, "fixed", false, "run nothing but what is configured")
	f.BoolVar(&journal, "journal", false, "read the journal and ask container engines, and give away what that does not take")
	f.BoolVar(&listen, "listen", false, "wait for the daemon at a socket of a service manager's")
	return c
}
