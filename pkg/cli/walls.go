package cli

import (
	"fmt"
	"log/slog"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"bailiff/pkg/config"
	"bailiff/pkg/confine"
	"bailiff/pkg/daemon"
	"bailiff/pkg/eventlog"
)

// wallsCommand is for tests: it does not show in the help.
func wallsCommand() *cobra.Command {
	var load config.Options
	c := &cobra.Command{
		Use:   "walls",
		Short: "Try from inside what a confined daemon can't do",
		Long: `Confine this process as the daemon would be with that configuration, try everything
that it is not to be able to do, and tell what came of each: the kernel's error, or OPEN.
Exits with 1 if anything could be done.`,
		Hidden: true,
		Args:   noArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			load.ForJails = true
			cfg, err := config.LoadWithin(startMost, load)
			if err != nil {
				return err
			}
			handler, closeLog, err := eventlog.Open("stderr", "INFO")
			if err != nil {
				return err
			}
			defer func() { _ = closeLog() }()
			if daemon.Confine(cfg, daemon.Options{Config: load, Log: slog.New(handler)}) == nil {
				return failed("the daemon is not confined with this configuration")
			}
			open := 0
			for _, a := range confine.Try() {
				fmt.Fprintln(c.OutOrStdout(), a)
				if !a.Held() {
					open++
				}
			}
			status, err := os.ReadFile("/proc/self/status")
			if err != nil {
				return err
			}
			for _, line := range strings.Split(string(status), "\n") {
				name, _, _ := strings.Cut(line, ":")
				switch name {
				case "Uid", "Gid", "Groups", "CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb", "NoNewPrivs", "Seccomp":
					fmt.Fprintln(c.OutOrStdout(), line)
				}
			}
			if open > 0 {
				return failed("%d walls don't hold", open)
			}
			return nil
		},
	}
	f := c.Flags()
	f.StringVarP(&load.Path, "config", "c", "", "a `path`, as run has it")
	f.StringArrayVarP(&load.Jails, "jail", "j", nil, "`NAME=LOGPATH`, as run has it")
	return c
}
