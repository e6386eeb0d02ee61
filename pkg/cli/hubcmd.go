//go:build hub

package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"bailiff/pkg/config"
	"bailiff/pkg/daemon"
	"bailiff/pkg/eventlog"
	"bailiff/pkg/hub"
)

// The hub of a fleet: made, run, looked after, on the machine where its directory is.

func hubCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "hub",
		Short: "Make and run the hub of a fleet, where bans of many hosts meet",
		Long: `A fleet is hosts that share bans by a hub: NATS' server with a stream of all bans, inside this
program. All that a hub is, is in one directory: keys, certificates, configuration
(hub.toml), the stream. Whoever can read it can speak for every host of the fleet.`,
		Example: `  bailiff hub init /var/lib/bailiff-hub --san hub.example
  bailiff hub run /var/lib/bailiff-hub
  bailiff fleet token`,
		Args: noArgs,
		RunE: func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	c.AddCommand(hubInitCommand(), hubRunCommand(), hubGatekeeperCommand(), hubReloadCommand(), hubRenewCommand())
	return c
}

func hubInitCommand() *cobra.Command {
	var o hub.InitOptions
	var region hub.RegionOptions
	var cluster []string
	var under string
	c := &cobra.Command{
		Use:   "init DIR",
		Short: "Make a hub's keys, certificates and configuration in a new directory",
		Long: `Make a hub's keys, certificates and configuration in a directory that is not there yet, or
is empty. Nothing is written over.

With --cluster, three times or five, hubs are made that are one fleet, each in a directory
of its own below DIR. Each is to be copied to its machine; they hold the stream
together, and bans go on while more than half of them are at work.

With --external, the server is NATS' own, or a cluster of them, that you run yourself: nats.conf
in DIR is what their configuration needs (accounts, limits, certificate, JetStream), and
bailiff hub gatekeeper DIR runs beside them. --san then says where they are reached.

With --region, it is a region's hub, with a copy of all bans for the hosts near it, below the hub whose directory is
--of, or below another region, --under. DIR holds no key of the fleet: copy it to the region's machine.`,
		Example: `  bailiff hub init /var/lib/bailiff-hub --san hub.example --san 198.51.100.5
  bailiff hub init hubs --cluster a=198.51.100.5 --cluster b=198.51.100.6 --cluster c=198.51.100.7
  bailiff hub init gate --external --san nats-1.example --san nats-2.example --san nats-3.example --replicas 3
  bailiff hub init east --region east --of /var/lib/bailiff-hub --san hub.east.example`,
		Args: args(1, 1),
		RunE: func(c *cobra.Command, args []string) error {
			if region.Name != "" || region.Root != "" || under != "" {
				return initRegion(c, args[0], region, o, under, len(cluster) > 0)
			}
			for _, text := range cluster {
				m, err := hub.ParseMember(text)
				if err != nil {
					return usageError("--cluster " + err.Error())
				}
				o.Cluster = append(o.Cluster, m)
			}
			made, err := hub.Init(args[0], o)
			for _, dir := range made {
				if err == nil && o.External {
					fmt.Fprintf(c.OutOrStdout(), "%s: the NATS servers need what is in %s/%s; then bailiff hub gatekeeper %s\n", plainly(dir), plainly(dir), hub.NATSFile, plainly(dir))
				} else if err == nil {
					fmt.Fprintf(c.OutOrStdout(), "%s: ready for bailiff hub run %s; hosts are to find it at %s\n", plainly(dir), plainly(dir), plainly(strings.Join(hubURLs(dir), " ")))
				}
			}
			return err
		},
	}
	f := c.Flags()
	f.StringArrayVar(&o.Names, "san", nil, "a `name` or address by which hosts reach the hub; may be repeated (default this host's name)")
	f.StringVar(&o.Address, "listen", "", "the `address` to listen on (default all)")
	f.IntVar(&o.Port, "port", 0, fmt.Sprintf("the port to listen on (default %d)", hub.DefaultPort))
	f.StringVar(&region.Name, "region", "", "the `name` of the region whose hub it is")
	f.StringVar(&region.Root, "of", "", "the `directory` of the hub that has the fleet's keys")
	f.StringVar(&under, "under", "", "the region that it is below, `NAME=HOST:PORT`, and where that listens for regions (default the root)")
	f.BoolVar(&o.External, "external", false, "NATS' servers are your own")
	f.IntVar(&o.Replicas, "replicas", 0, "how `many` of your own servers hold the stream (default 1)")
	f.StringArrayVar(&cluster, "cluster", nil, "one hub of several, `NAME=HOST[:PORT[:CLUSTERPORT]]`; may be repeated")
	return c
}

// hubURLs is where hosts are told that a hub is.
func hubURLs(dir string) []string {
	cfg, err := hub.ReadConfig(dir)
	if err != nil {
		return nil // it was just made
	}
	return cfg.URLs
}

// initRegion makes the directory of a region's hub.
func initRegion(c *cobra.Command, dir string, r hub.RegionOptions, o hub.InitOptions, under string, cluster bool) error {
	if r.Name == "" || r.Root == "" {
		return usageError("--region and --of: want both, the region's name and the directory of the hub that has the fleet's keys")
	}
	if o.External || cluster || o.Replicas > 0 {
		return usageError("--region: a region has one hub of bailiff's own; --external, --replicas and --cluster are not for it")
	}
	if under != "" {
		name, at, ok := strings.Cut(under, "=")
		if !ok {
			return usageError("--under " + under + ": want NAME=HOST:PORT")
		}
		r.Under, r.UnderURLs = name, []string{"tls://" + at}
	}
	r.Names, r.Port, r.Address = o.Names, o.Port, o.Address
	if err := hub.InitRegion(dir, r); err != nil {
		return err
	}
	fmt.Fprintf(c.OutOrStdout(), "%s: ready for bailiff hub run %s, on the region's machine; once it runs, bailiff fleet token --region %s\n", plainly(dir), plainly(dir), plainly(r.Name))
	return nil
}

func hubRunCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "run DIR",
		Short: "Run the hub of a directory",
		Long: `Run the hub of a directory in the foreground. SIGTERM and SIGINT end it, within 15 seconds: what
is on its way is answered, hosts are sent to other hubs, if there are, and another one takes
over what this one leads. While there is no hub, hosts go on banning by themselves, and keep what they have to say. SIGHUP
has it read hub.toml again, as bailiff hub reload does.`,
		Example: `  bailiff hub run /var/lib/bailiff-hub`,
		Args:    args(1, 1),
		RunE: func(c *cobra.Command, args []string) error {
			cfg, err := hub.ReadConfig(args[0])
			if err != nil {
				return err
			}
			return runHub(args[0], cfg)
		},
	}
}

func hubGatekeeperCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "gatekeeper DIR",
		Short: "Run the gate of a fleet beside NATS servers of your own",
		Long: `Run what a hub has besides NATS' server: the gate, which alone writes the stream, the beat, who is in the fleet. The
directory is one of bailiff hub init --external. While the servers do not answer, are too old, or have no
JetStream, the log says so, once, and it goes on trying. Several gatekeepers, each with a copy of the directory
and a name of its own in hub.toml, share the work. Signals are as with bailiff hub run, which does the same for
such a directory.`,
		Example: `  bailiff hub gatekeeper /var/lib/bailiff-hub`,
		Args:    args(1, 1),
		RunE: func(c *cobra.Command, args []string) error {
			cfg, err := hub.ReadConfig(args[0])
			if err != nil {
				return err
			}
			if !cfg.External() {
				return failed("%s is the directory of a hub that has its own server: bailiff hub run %s", plainly(args[0]), plainly(args[0]))
			}
			return runHub(args[0], cfg)
		},
	}
}

// runHub runs the hub of a directory until a signal ends it.
func runHub(dir string, cfg hub.Config) error {
	daemon.LimitMemory()
	handler, closeLog, err := eventlog.Open(cfg.LogTarget, cfg.LogLevel)
	if err != nil {
		return err
	}
	defer func() {
		if err := closeLog(); err != nil {
			complain(err)
		}
	}()
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	context.AfterFunc(ctx, stop) // a second one ends the process at once
	hup := make(chan os.Signal, 1)
	signal.Notify(hup, syscall.SIGHUP)
	log := slog.New(handler)
	return hub.Run(ctx, dir, hub.RunOptions{Log: log, Version: Version, Reload: hup, Ready: func() { notifySystemd(ctx, log, "READY=1") }})
}

func hubReloadCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "reload DIR",
		Short: "Have a hub read its hub.toml again",
		Long: `Have the hub of a directory, which is at work, read its hub.toml again. It is printed what has changed, and what
waits for a restart. Where the file is wrong, nothing changes.`,
		Example: `  bailiff hub reload /var/lib/bailiff-hub`,
		Args:    args(1, 1),
		RunE: func(c *cobra.Command, args []string) error {
			r, err := hub.Reload(context.Background(), args[0])
			if err == nil {
				fmt.Fprintln(c.OutOrStdout(), r)
			}
			return err
		},
	}
}

func hubRenewCommand() *cobra.Command {
	var names []string
	c := &cobra.Command{
		Use:   "renew DIR",
		Short: "Make a new certificate for a hub",
		Long: `Make a new certificate for the hub of a directory, for the names of the old one or for those of --san. It is good for
two years, and served from the hub's next start on; hosts need nothing for it.`,
		Example: `  bailiff hub renew /var/lib/bailiff-hub`,
		Args:    args(1, 1),
		RunE: func(c *cobra.Command, args []string) error {
			until, err := hub.Renew(args[0], names)
			if err == nil {
				fmt.Fprintf(c.OutOrStdout(), "good until %s; restart the hub\n", until.Format(time.DateOnly))
			}
			return err
		},
	}
	c.Flags().StringArrayVar(&names, "san", nil, "a `name` or address by which hosts reach the hub; may be repeated")
	return c
}

// atHub are the flags by which a command finds a hub.
type atHub struct{ dir, at string }

func (h *atHub) flags(c *cobra.Command) {
	c.Flags().StringVar(&h.dir, "hub", hub.DefaultDir, "the hub's `directory`")
	c.Flags().StringVar(&h.at, "at", "", "where it is, `tls://HOST:PORT` (default as hub.toml there says)")
}

func (h *atHub) dial() (*hub.Client, error) {
	c, err := hub.Dial(h.dir, h.at)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%w: this is for the machine of the hub; --hub says in which directory it is", err)
	}
	return c, err
}

// ask has a hub's client do something, within askMost.
func (h *atHub) ask(do func(context.Context, *hub.Client) error) error {
	c, err := h.dial()
	if err != nil {
		return err
	}
	defer c.Close()
	ctx, cancel := context.WithTimeout(context.Background(), askMost)
	defer cancel()
	return do(ctx, c)
}

// askMost is how long a hub's command may take.
const askMost = 30 * time.Second

// fleetHubCommands are those of `bailiff fleet` that are for the machine of the hub.
func fleetHubCommands() []*cobra.Command {
	return []*cobra.Command{fleetTokenCommand(), fleetDistrustCommand(), fleetHostsCommand()}
}

func fleetTokenCommand() *cobra.Command {
	var at atHub
	var o hub.TokenOptions
	var valid string
	c := &cobra.Command{
		Use:   "token",
		Short: "Print a token that lets one host into the fleet (at the hub)",
		Long: `Print a token that lets one host into the fleet, once, within an hour or what --valid says. It is
secret: hand it over by a way that you trust, as ssh.`,
		Example: `  bailiff fleet token --name web-1
  bailiff fleet token --name admin --lift-others --valid 10m`,
		Args: noArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			var err error
			if o.Valid, err = config.ParseTime(valid); err != nil {
				return usageError("--valid " + err.Error())
			}
			return at.ask(func(ctx context.Context, client *hub.Client) error {
				t, err := client.Token(ctx, o)
				if err != nil {
					return err
				}
				fmt.Fprintln(c.OutOrStdout(), t)
				return nil
			})
		},
	}
	at.flags(c)
	c.Flags().StringVar(&o.Name, "name", "", "the only `name` that it lets in (default any that is free)")
	c.Flags().BoolVar(&o.Lifts, "lift-others", false, "the host may lift what others banned: it can free every attacker")
	c.Flags().StringVar(&o.Region, "region", "", "the `region` whose hub the host is to find (default the root)")
	c.Flags().StringVar(&valid, "valid", "1h", "how `long` it is good for, as 10m, 1h, 2d")
	return c
}

func fleetAllowPublishCommand() *cobra.Command {
	dir := hub.DefaultDir
	c := &cobra.Command{
		Use:   "publish FILE",
		Short: "Have the hub hand a signed allow-list on to the hosts (at the hub)",
		Long: `Have the hub of a directory hand a signed allow-list on to the hosts, and heed it; - reads it from standard input. It is looked at
first: signed by allow_key of hub.toml, and newer than the one before. Hosts that have pinned the key have it within a minute. Of
several hubs each needs it.`,
		Example: `  bailiff fleet allow publish allow.signed`,
		Args:    args(1, 1),
		RunE: func(c *cobra.Command, args []string) error {
			data, err := readAllow(c, args[0])
			if err != nil {
				return err
			}
			l, err := hub.PublishAllow(dir, data)
			if errors.Is(err, fs.ErrNotExist) {
				return fmt.Errorf("%w: this is for the machine of the hub; --hub says in which directory it is", err)
			}
			if err != nil {
				return fmt.Errorf("%s: %w", plainly(args[0]), err)
			}
			fmt.Fprintf(c.OutOrStdout(), "version %d, %d addresses and networks: hosts have it within a minute\n", l.Version, len(l.Prefixes))
			client, err := hub.Dial(dir, "")
			if err != nil {
				fmt.Fprintf(c.ErrOrStderr(), "bailiff: the hub is not asked to look: %v; it finds the list within 10 s of its being at work\n", err)
				return nil
			}
			defer client.Close()
			ctx, cancel := context.WithTimeout(context.Background(), askMost)
			defer cancel()
			return client.Look(ctx)
		},
	}
	c.Flags().StringVar(&dir, "hub", hub.DefaultDir, "the hub's `directory`")
	return c
}

func fleetDistrustCommand() *cobra.Command {
	var at atHub
	c := &cobra.Command{
		Use:   "distrust HOST",
		Short: "Take a host out of the fleet, and lift what it has said (at the hub)",
		Long: `Take a host out of the fleet: it is cut off and not let in again, and what it has banned
is lifted on all hosts, but for what others have banned, too.`,
		Example: `  bailiff fleet distrust web-1`,
		Args:    args(1, 1),
		RunE: func(c *cobra.Command, args []string) error {
			return at.ask(func(ctx context.Context, client *hub.Client) error {
				if err := client.Distrust(ctx, args[0]); err != nil {
					return err
				}
				fmt.Fprintf(c.OutOrStdout(), "%s is out of the fleet, and what it said is lifted\n", plainly(args[0]))
				return nil
			})
		},
	}
	at.flags(c)
	return c
}

func fleetHostsCommand() *cobra.Command {
	var at atHub
	var asJSON bool
	c := &cobra.Command{
		Use:     "hosts",
		Short:   "Show the hubs and hosts of the fleet (at the hub)",
		Example: `  bailiff fleet hosts`,
		Args:    noArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			return at.ask(func(ctx context.Context, client *hub.Client) error {
				s, err := client.Status(ctx)
				if err != nil {
					return err
				}
				if asJSON {
					return printJSON(c.OutOrStdout(), s)
				}
				printFleet(c.OutOrStdout(), s)
				return nil
			})
		},
	}
	at.flags(c)
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return c
}

func printFleet(w io.Writer, s hub.Status) {
	fmt.Fprintf(w, "%d of %d entries, %d kB on disk\n", s.Entries, s.Most, (s.Bytes+999)/1000)
	for _, h := range s.Hubs {
		leads := ""
		if h.Name == s.Leader && len(s.Hubs)+s.Missing > 1 {
			leads = ", leads"
		}
		fmt.Fprintf(w, "hub %s: bailiff %s, NATS %s, certificate until %s%s\n", h.Name, plainly(h.Version), plainly(h.Server), h.CertificateEnds.Format(time.DateOnly), leads)
		if h.Parent != "" {
			fmt.Fprintf(w, "hub %s: a region's, below %s, %d words behind\n", h.Name, plainly(h.Parent), h.Behind)
		}
		if h.Problem != "" {
			fmt.Fprintf(w, "hub %s: problem: %s\n", h.Name, plainly(h.Problem))
		}
	}
	if s.Missing > 0 {
		fmt.Fprintf(w, "%d of %d hubs have not answered\n", s.Missing, len(s.Hubs)+s.Missing)
	}
	for _, name := range s.Behind {
		fmt.Fprintf(w, "hub %s does not hold all of the stream yet: restart no other one now\n", plainly(name))
	}
	if len(s.Hosts) == 0 {
		fmt.Fprintln(w, "no hosts: bailiff fleet token lets one in")
		return
	}
	t := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
	fmt.Fprintln(t, "HOST\tSINCE\tENTRIES\tOF\tSTORED\tCOUNTED\tREFUSED\tCONNECTED")
	for _, h := range s.Hosts {
		var no []string
		for r, n := range h.Refused {
			no = append(no, fmt.Sprintf("%s %d", r, n))
		}
		slices.Sort(no)
		if len(no) == 0 {
			no = []string{"-"}
		}
		where := "no"
		switch {
		case h.Gone != nil:
			where = h.Why + " " + h.Gone.Local().Format(timeLayout)
		case h.Connected != nil:
			where = fmt.Sprintf("since %s, from %s, to %s", h.Connected.Local().Format(timeLayout), h.Address, h.Hub)
		}
		name := h.Name
		if h.Lifts {
			name += " (lifts)"
		}
		fmt.Fprintf(t, "%s\t%s\t%d\t%d\t%d\t%d\t%s\t%s\n", name, h.Since.Local().Format(timeLayout), h.Entries, h.Quota, h.Stored, h.Counted, strings.Join(no, ", "), where)
	}
	t.Flush()
}
