package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"bailiff/pkg/control"
	"bailiff/pkg/top"
)

func (g *global) topCommand() *cobra.Command {
	var asJSON, once, follow bool
	every := 2 * time.Second
	c := &cobra.Command{
		Use:   "top",
		Short: "Watch jails and bans at a terminal, search, and let somebody in",
		Long: `Watch a running daemon at a terminal: its jails with their states and rates, bans as they
come, and what is wrong. Keys search all bans, lift one, or let somebody in for an hour; each asks
first, and ? lists them all. When the daemon ends, that is said, and the view goes on behind the last
event when one answers again.

Into a file or a pipe, with --once or with --json, it prints one snapshot, as top -b -n 1 does; with
--follow, a line for each event from then on, over restarts of the daemon, until it is interrupted.
With NO_COLOR set there are no colours; where the locale is none of UTF-8, rates are drawn in ASCII.

The daemon of another machine is watched through ssh, which forwards its socket:

  ssh -N -L /tmp/web1.sock:/run/bailiff/bailiff.sock root@web1.example &
  bailiff top --socket /tmp/web1.sock

The exit status is 1 if no daemon answers to begin with.`,
		Example: `  bailiff top
  bailiff top --once --json | jq '.jails[] | {name, currently_banned}'
  bailiff top --follow | grep ' ban '`,
		Args: noArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			if every < 200*time.Millisecond || every > time.Hour {
				return usageError(fmt.Sprintf("--every %s: want 200ms to 1h", every))
			}
			if once && follow {
				return usageError("--once or --follow?")
			}
			client := g.client()
			s, err := client.Status()
			if err != nil {
				return err
			}
			ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP)
			defer stop()
			in, isFile := c.InOrStdin().(*os.File)
			out, isTerminal := terminal(c.OutOrStdout())
			if once || follow || asJSON || !isTerminal || !isFile || !term.IsTerminal(int(in.Fd())) || os.Getenv("TERM") == "dumb" {
				if err := snapshot(c.OutOrStdout(), s, asJSON); err != nil || !follow {
					return err
				}
				return followOver(ctx, client, c.OutOrStdout(), c.ErrOrStderr(), asJSON)
			}
			return top.Run(ctx, client, in, out, top.Options{Every: every, Plain: !speaksUTF8(), Text: eventText})
		},
	}
	f := c.Flags()
	f.SortFlags = false
	f.DurationVar(&every, "every", every, "how `often` the jails are asked")
	f.BoolVar(&once, "once", false, "print one snapshot, at a terminal, too")
	f.BoolVarP(&follow, "follow", "f", false, "print a snapshot, then a line for each event as it comes")
	f.BoolVar(&asJSON, "json", false, "print JSON, a line for the snapshot and each event")
	return c
}

// speaksUTF8 reports whether the locale is one of UTF-8.
func speaksUTF8() bool {
	for _, name := range []string{"LC_ALL", "LC_CTYPE", "LANG"} {
		if v := os.Getenv(name); v != "" {
			v = strings.ToLower(v)
			return strings.Contains(v, "utf-8") || strings.Contains(v, "utf8")
		}
	}
	return false
}

// snapshot prints how a daemon is.
func snapshot(w io.Writer, s control.Status, asJSON bool) error {
	if asJSON {
		for i := range s.Jails {
			s.Jails[i].Bans, s.Jails[i].WouldBans = nil, nil
		}
		line, err := json.Marshal(s)
		if err != nil {
			return err
		}
		_, err = w.Write(append(line, '\n'))
		return err
	}
	printStatus(w, s)
	return nil
}

// followOver prints events as they come, over the daemon's restarts.
func followOver(ctx context.Context, client *control.Client, out, complaints io.Writer, asJSON bool) error {
	feed := top.NewFeed(client, time.Now())
	feed.Wait = true
	go feed.Run(ctx)
	enc := json.NewEncoder(out)
	enc.SetEscapeHTML(false)
	lost := false
	for {
		b, ok := feed.Next(ctx)
		if !ok {
			return nil
		}
		for i := range b.Events {
			e := &b.Events[i]
			var err error
			if asJSON {
				err = enc.Encode(e)
			} else {
				_, err = fmt.Fprintln(out, eventLine(e))
			}
			if errors.Is(err, syscall.EPIPE) {
				return nil
			}
			if err != nil {
				return err
			}
		}
		switch {
		case b.Err != nil && !lost:
			lost = true
			fmt.Fprintf(complaints, "bailiff: %s; trying again\n", strings.ReplaceAll(b.Err.Error(), "\n", "; "))
		case b.Err == nil && lost:
			lost = false
			fmt.Fprintln(complaints, "bailiff: a daemon answers again")
		}
	}
}
