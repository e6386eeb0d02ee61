package cli

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"bailiff/pkg/config"
	"bailiff/pkg/fleet"
	"bailiff/pkg/fleet/enrol"
)

// A host's fleet: how it comes into one, and leaves. What is for the machine of the hub is in hubcmd.go.

func (g *global) fleetCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "fleet",
		Short: "Bring this host into a fleet that shares bans, and look after its hosts",
		Example: `  bailiff fleet token --name web-1
  bailiff fleet join --name web-1 -
  bailiff fleet status
  bailiff fleet hosts`,
		Args: noArgs,
		RunE: func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	c.AddCommand(fleetJoinCommand(), fleetLeaveCommand(), g.fleetStatusCommand(), fleetAllowCommand())
	c.AddCommand(fleetHubCommands()...)
	return c
}

// joinMost is how long it may take to come into a fleet, or to leave it.
const joinMost = 30 * time.Second

func fleetJoinCommand() *cobra.Command {
	var name, dir string
	var groups []string
	var print bool
	c := &cobra.Command{
		Use:   "join TOKEN",
		Short: "Bring this host into the fleet of a token",
		Long: `Bring this host into the fleet of a token that bailiff fleet token has printed at the hub; - reads it
from standard input, where other users of this machine don't see it. The host makes its own key,
which never leaves it. Written are, beside the configuration, ` + enrol.CredentialsFile + ` with the key and what the
hub has signed of it, readable by its owner alone, and ` + enrol.AuthorityFile + `, by which the hub is known.
Credentials are never written over. Started as root, they are given to the user whom the daemon
becomes. At the end of bailiff.toml a table [fleet] is written, if there is none, which the daemon
reads at its next reload; --group says which jails' bans are shared, and with whom.

Where something goes wrong on this host after the hub has let it in, the same token does it once more.`,
		Example: `  bailiff fleet join --name web-1 -
  bailiff fleet join --name web-1 --group ssh=sshd --group web=nginx-http-auth,django-auth -`,
		Args: args(1, 1),
		RunE: func(c *cobra.Command, args []string) error {
			text := args[0]
			if text == "-" {
				if _, err := fmt.Fscan(c.InOrStdin(), &text); err != nil {
					return failed("standard input: no token: %v", err)
				}
			}
			t, err := enrol.ParseToken(text)
			if err != nil {
				return err
			}
			if name == "" {
				if name, err = hostName(); err != nil {
					return err
				}
			}
			if _, err := fleetTable(&enrol.Joined{}, groups); err != nil {
				return err
			}
			ctx, cancel := context.WithTimeout(context.Background(), joinMost)
			defer cancel()
			j, err := enrol.Join(ctx, t, name, dir)
			if err != nil {
				return err
			}
			out := c.OutOrStdout()
			fmt.Fprintf(out, "this host is %s in the fleet\n", j.Name)
			if j.Lifts {
				fmt.Fprintln(out, "it may lift what others banned")
			}
			fmt.Fprintf(out, "hub: %s\ncredentials: %s\nauthority: %s\n", strings.Join(j.URLs, " "), plainly(j.Credentials), plainly(j.Authority))
			if err := handOver(out, dir, j.Credentials, j.Authority); err != nil {
				return err
			}
			table, err := fleetTable(&j, groups)
			if err != nil || print {
				fmt.Fprint(out, table)
				return err
			}
			return writeFleetTable(out, dir, table)
		},
	}
	c.Flags().StringVar(&name, "name", "", "this host's `name` in the fleet (default its host name, up to the first dot)")
	c.Flags().StringVar(&dir, "dir", config.DefaultDir, "the `directory` of the configuration, into which to write")
	c.Flags().StringArrayVar(&groups, "group", []string{"ssh=sshd"}, "a group of bans that is shared, and the jails that publish into it, `NAME=JAIL,JAIL`; may be repeated")
	c.Flags().BoolVar(&print, "print", false, "print what bailiff.toml is to have, and leave it alone")
	return c
}

// hostName is this host's own, as a fleet may have it.
func hostName() (string, error) {
	full, err := os.Hostname()
	if err != nil {
		return "", err
	}
	name, _, _ := strings.Cut(strings.ToLower(full), ".")
	if fleet.CheckHost(name) != nil {
		return "", failed("this host is called %q, which a fleet can't have as a name: --name NAME, of a-z, 0-9 and -", full)
	}
	return name, nil
}

func fleetLeaveCommand() *cobra.Command {
	var dir string
	var urls []string
	c := &cobra.Command{
		Use:   "leave",
		Short: "Take this host out of its fleet",
		Long: `Take this host out of its fleet: the hub takes back its key and lifts what it has said, and what bailiff
fleet join wrote is removed; [fleet] in bailiff.toml is commented out, and bailiff reload ends this host's part. Where the hub
can't be reached, all that is here is done with --force; then bailiff fleet distrust at the hub does the rest.`,
		Example: `  bailiff fleet leave --url tls://hub.example:4222`,
		Args:    noArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			name, err := enrol.Read(dir)
			if err != nil {
				return err
			}
			force, err := c.Flags().GetBool("force")
			if err != nil {
				return err
			}
			for _, u := range urls {
				if err := enrol.CheckURL(u); err != nil {
					return usageError("--url " + err.Error())
				}
			}
			if cfg, err := config.Load(config.Options{Path: dir}); err == nil && len(urls) == 0 {
				urls = cfg.Fleet.URLs
			}
			if len(urls) == 0 && !force {
				return usageError("--url: where is the hub? (fleet join printed it)")
			}
			told := false
			if len(urls) > 0 {
				ctx, cancel := context.WithTimeout(context.Background(), joinMost)
				defer cancel()
				if err := enrol.Leave(ctx, urls, name, dir); err != nil && !force {
					return fmt.Errorf("%w: nothing was changed; --force removes the files all the same", err)
				} else if err != nil {
					complain(err)
				} else {
					told = true
				}
			}
			if err := enrol.Remove(dir); err != nil {
				return err
			}
			out, gone := c.OutOrStdout(), plainly(filepath.Join(dir, enrol.CredentialsFile))
			if told {
				fmt.Fprintf(out, "%s is out of the fleet; %s is gone\n", name, gone)
			} else {
				fmt.Fprintf(out, "%s is gone; the hub has not been told: `bailiff fleet distrust %s` there takes back its key, and lifts what it has said\n", gone, name)
			}
			return endFleetTable(out, dir)
		},
	}
	c.Flags().StringVar(&dir, "dir", config.DefaultDir, "the `directory` into which join wrote")
	c.Flags().StringArrayVar(&urls, "url", nil, "where the hub is, `tls://HOST:PORT`; may be repeated (default as bailiff.toml says)")
	c.Flags().Bool("force", false, "remove the files though the hub can't be reached")
	return c
}
