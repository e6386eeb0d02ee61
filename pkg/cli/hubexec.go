//go:build !hub

package cli

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"syscall"

	"github.com/spf13/cobra"
)

// The server of a hub is not in this program but in bailiff-hub, which is the same one built with the tag hub:
// who imports it has 12 MB more, and a timer that reads /proc each second, in every process, whether it serves or not.

// hubProgram is the program that has it.
const hubProgram = "bailiff-hub"

func hubCommand() *cobra.Command {
	return elsewhere("hub", "Make and run the hub of a fleet, where bans of many hosts meet (by "+hubProgram+")")
}

// fleetHubCommands are those of `bailiff fleet` that are for the machine of the hub.
func fleetHubCommands() []*cobra.Command {
	return []*cobra.Command{
		elsewhere("token", "Print a token that lets one host into the fleet (at the hub, by "+hubProgram+")"),
		elsewhere("distrust", "Take a host out of the fleet, and lift what it has said (at the hub, by "+hubProgram+")"),
		elsewhere("hosts", "Show the hubs and hosts of the fleet (at the hub, by "+hubProgram+")"),
	}
}

func fleetAllowPublishCommand() *cobra.Command {
	return elsewhere("publish", "Have the hub hand a signed allow-list on to the hosts (at the hub, by "+hubProgram+")")
}

// elsewhere is a command that bailiff-hub carries out, in the place of this process; and so it completes its words.
func elsewhere(name, short string) *cobra.Command {
	return &cobra.Command{
		Use: name, Short: short, DisableFlagParsing: true,
		RunE: func(c *cobra.Command, args []string) error {
			path, err := findHub()
			if err != nil {
				if slices.Contains(args, "--help") || slices.Contains(args, "-h") {
					return c.Help()
				}
				return failed("%s is for the machine of a hub, and done by the program %s, which is not here: install the package %s", c.CommandPath(), hubProgram, hubProgram)
			}
			return failed("%s: %v", path, become(path, words(c), args))
		},
		ValidArgsFunction: func(c *cobra.Command, args []string, begun string) ([]string, cobra.ShellCompDirective) {
			request := []string{cobra.ShellCompRequestCmd}
			if slices.Contains(os.Args, cobra.ShellCompNoDescRequestCmd) {
				request[0] = cobra.ShellCompNoDescRequestCmd
			}
			if path, err := findHub(); err == nil {
				_ = become(path, request, words(c), args, []string{begun})
			}
			return nil, cobra.ShellCompDirectiveNoFileComp
		},
	}
}

// words are those by which a command is called.
func words(c *cobra.Command) (out []string) {
	for ; c.HasParent(); c = c.Parent() {
		out = append([]string{c.Name()}, out...)
	}
	return out
}

// become has bailiff-hub take the place of this process. It returns if that fails.
func become(path string, args ...[]string) error {
	return syscall.Exec(path, slices.Concat([]string{hubProgram}, slices.Concat(args...)), os.Environ())
}

// findHub looks beside this program, then where programs are.
func findHub() (string, error) {
	if self, err := os.Executable(); err == nil {
		path := filepath.Join(filepath.Dir(self), hubProgram)
		if m, err := os.Stat(path); err == nil && m.Mode().IsRegular() && m.Mode().Perm()&0o111 != 0 {
			return path, nil
		}
	}
	return exec.LookPath(hubProgram)
}
