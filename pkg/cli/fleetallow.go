package cli

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"bailiff/pkg/fleet/allow"
	"bailiff/pkg/iplist"
	"bailiff/pkg/safefile"
)

// The fleet's allow-list, which an operator signs. Neither a host nor the hub has the key.

func fleetAllowCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "allow",
		Short: "Sign the fleet's allow-list: whom no host of it shuts out",
		Long: `Sign the fleet's allow-list: whom no ban of the fleet shuts out, on any host that has pinned the key. The key is an operator's: keep it off the
hub and off all hosts, so that whoever captures one of them can name nobody, and strike nobody off.`,
		Example: `  bailiff fleet allow key fleet-allow.key
  bailiff fleet allow sign --key fleet-allow.key --output allow.signed allow.txt
  bailiff fleet allow publish allow.signed`,
		Args: noArgs,
		RunE: func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	c.AddCommand(fleetAllowKeyCommand(), fleetAllowSignCommand(), fleetAllowPublishCommand())
	return c
}

func fleetAllowKeyCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "key FILE",
		Short: "Make the key that signs the fleet's allow-list",
		Long: `Make the key that signs the fleet's allow-list, in a file that only its owner can read; nothing is written over. What is printed is its public half: it
belongs into hub.toml as allow_key, from which tokens hand it to hosts that join, and into [fleet] of hosts that are in the fleet
already. Whoever has the file can name anybody whom no host shuts out; without it, a new key has to be given to every host.`,
		Example: `  bailiff fleet allow key fleet-allow.key`,
		Args:    args(1, 1),
		RunE: func(c *cobra.Command, args []string) error {
			seed, public, err := allow.NewKey()
			if err != nil {
				return err
			}
			f, err := os.OpenFile(args[0], os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
			if err != nil {
				return err
			}
			_, err = f.Write(append(seed, '\n'))
			if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
				return err
			}
			fmt.Fprintf(c.OutOrStdout(), "allow_key = %q\n", public)
			return nil
		},
	}
}

func fleetAllowSignCommand() *cobra.Command {
	var key, output string
	var version uint64
	c := &cobra.Command{
		Use:   "sign LIST",
		Short: "Sign a list of addresses and networks",
		Long: `Sign a list of addresses and networks, one on a line or several, with # before what is a remark; - reads it from standard input. It is the whole list: whom it doesn't
name, hosts shut out again. Hosts take no older version than they have; without --version it is the time in seconds since 1970.`,
		Example: `  bailiff fleet allow sign --key fleet-allow.key --output allow.signed allow.txt
  printf '198.51.100.0/24\n2001:db8::/48\n' | bailiff fleet allow sign --key fleet-allow.key --output allow.signed -`,
		Args: args(1, 1),
		RunE: func(c *cobra.Command, args []string) error {
			if key == "" {
				return usageError("--key: want the file that bailiff fleet allow key made")
			}
			seed, err := safefile.ReadFile(key, 1<<10)
			if err != nil {
				return err
			}
			text, err := readAllow(c, args[0])
			if err != nil {
				return err
			}
			l := allow.List{Version: version}
			if version == 0 {
				l.Version = uint64(max(time.Now().Unix(), 1))
			}
			for i, line := range strings.Split(string(text), "\n") {
				line, _, _ = strings.Cut(line, "#")
				for _, word := range strings.Fields(line) {
					p, err := iplist.Parse(word)
					if err == nil {
						err = l.Add(p)
					}
					if err != nil {
						return fmt.Errorf("%s:%d: %w", plainly(args[0]), i+1, err)
					}
				}
			}
			signed, err := allow.Sign(l, seed)
			if err != nil {
				return fmt.Errorf("%s: %w", plainly(key), err)
			}
			if output != "" {
				return safefile.Replace(output, func(f *os.File) error {
					_, err := f.Write(signed)
					return err
				})
			}
			_, err = c.OutOrStdout().Write(signed)
			return err
		},
	}
	c.Flags().StringVar(&key, "key", "", "the `file` of the key")
	c.Flags().StringVarP(&output, "output", "o", "", "the `file` to write (default standard output)")
	c.Flags().Uint64Var(&version, "version", 0, "the list's `number`, larger than that of the one before (default the time)")
	return c
}

// readAllow reads a list of a file, or of standard input.
func readAllow(c *cobra.Command, path string) ([]byte, error) {
	if path != "-" {
		return safefile.ReadFile(path, 1<<20)
	}
	data, err := io.ReadAll(io.LimitReader(c.InOrStdin(), 1<<20+1))
	if err == nil && len(data) > 1<<20 {
		err = failed("standard input: more than 1 MiB")
	}
	return data, err
}
