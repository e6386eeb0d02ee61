package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"bailiff/pkg/banfile"
	"bailiff/pkg/config"
	"bailiff/pkg/control"
	"bailiff/pkg/daemon"
	"bailiff/pkg/jail"
	"bailiff/pkg/safefile"
	"bailiff/pkg/store"
)

func (g *global) bansCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "bans",
		Short: "Take bans from one host to another",
		Args:  noArgs,
		RunE:  func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	c.AddCommand(g.bansExportCommand(), g.bansImportCommand())
	return c
}

// bansFrom is where the commands of bans find them.
type bansFrom struct {
	*global
	config, database string
}

func (b *bansFrom) flags(c *cobra.Command) {
	f := c.Flags()
	f.StringVarP(&b.config, "config", "c", "", "the daemon's configuration, a `path` as with run: it says where socket and database are")
	f.StringVar(&b.database, "database", "", "a `file`: this database, and no daemon")
}

// found is a daemon that answers, or else the database in its place.
type found struct {
	client   *control.Client // nil: none answers
	silent   error           // why none does, where one was asked
	database string
	cfg      *config.Config // nil: it was not needed
}

// find looks for a daemon, and for the database that it would have.
func (b *bansFrom) find() (found, error) {
	if b.database != "" && b.config == "" {
		return found{database: b.database}, nil
	}
	var f found
	socket := b.socket
	if b.config != "" {
		var err error
		if f.cfg, err = config.LoadWithin(startMost, config.Options{Path: b.config}); err != nil {
			return f, err
		}
		if f.cfg.Fail2ban != nil { // which has its own
			paths := &clientOptions{dir: b.config}
			paths.paths()
			f.cfg.Socket = paths.socket
		}
		socket = cmp.Or(socket, f.cfg.Socket)
	}
	if b.database != "" {
		f.database = b.database
		return f, nil
	}
	socket = cmp.Or(socket, config.ConfiguredSocket(config.DefaultDir))
	if !answersFail2ban(socket) {
		client := control.NewClient(socket)
		err := client.Ping()
		if err == nil {
			f.client = client
			return f, nil
		}
		f.silent = err
		if !errors.Is(err, os.ErrNotExist) && !errors.Is(err, syscall.ECONNREFUSED) {
			return f, err
		}
	}
	if f.cfg == nil {
		var err error
		if f.cfg, err = config.LoadWithin(startMost, config.Options{}); err != nil {
			return f, err
		}
	}
	if f.database = f.cfg.Database.Path; f.database == "" {
		return f, failed("no daemon is running, and its configuration keeps no database")
	}
	return f, nil
}

// answersFail2ban reports whether fail2ban itself is at a socket.
func answersFail2ban(socket string) bool {
	o := &clientOptions{socket: socket}
	if !o.ping() {
		return false
	}
	_, ours := o.ours()
	return !ours
}

func (g *global) bansExportCommand() *cobra.Command {
	from := bansFrom{global: g}
	var only []string
	var output string
	c := &cobra.Command{
		Use:   "export",
		Short: "Print all bans, a line of JSON each",
		Long: `Print all bans in force, a line of JSON each:

  {"jail":"sshd","ip":"192.0.2.7","time":"2026-01-31T12:00:00Z","bantime":3600,"count":2}

time is when the ban began, bantime how many seconds it lasts from then (-1: for ever),
count how often the address was banned in the jail. The daemon is asked; where none runs,
its database is read, or with --config /etc/fail2ban that of fail2ban, running or not.`,
		Example: `  bailiff bans export --output bans.jsonl
  bailiff bans export --jail sshd | ssh other.example bailiff bans import
  bailiff bans export --config /etc/fail2ban`,
		Args: noArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			records, notes, err := from.export(c.ErrOrStderr())
			if err != nil {
				return err
			}
			for _, n := range notes {
				fmt.Fprintln(c.ErrOrStderr(), "bailiff: warning:", n)
			}
			if len(only) > 0 {
				for _, name := range only {
					if !slices.ContainsFunc(records, func(r banfile.Record) bool { return r.Jail == name }) {
						fmt.Fprintf(c.ErrOrStderr(), "bailiff: warning: jail %s has no bans\n", plainly(name))
					}
				}
				records = slices.DeleteFunc(records, func(r banfile.Record) bool { return !slices.Contains(only, r.Jail) })
			}
			if output == "" || output == "-" {
				return banfile.Write(c.OutOrStdout(), records)
			}
			f, err := safefile.Create(output, os.O_WRONLY|os.O_TRUNC, 0o600)
			if err != nil {
				return err
			}
			if err := errors.Join(banfile.Write(f, records), f.Close()); err != nil {
				return err
			}
			fmt.Fprintf(c.ErrOrStderr(), "%s written to %s\n", count(len(records), "ban"), output)
			return nil
		},
	}
	from.flags(c)
	c.Flags().StringArrayVarP(&only, "jail", "j", nil, "only of this `jail`; may be repeated")
	c.Flags().StringVarP(&output, "output", "o", "", "a `file` to write to in place of standard output; who is not its owner may not read it")
	_ = c.RegisterFlagCompletionFunc("jail", g.completeJails)
	return c
}

// export returns the bans of the daemon, or of its database.
func (b *bansFrom) export(says io.Writer) (records []banfile.Record, notes []string, err error) {
	f, err := b.find()
	if err != nil {
		return nil, nil, err
	}
	if f.client != nil {
		all, err := f.client.Bans()
		if err != nil {
			return nil, nil, err
		}
		for _, s := range all {
			records = append(records, daemon.RecordOfStatus(s))
		}
		return records, nil, nil
	}
	if b.database == "" {
		fmt.Fprintf(says, "bailiff: no daemon of bailiff's is running: the bans are those of %s\n", f.database)
	}
	ctx, cancel := context.WithTimeout(context.Background(), startMost)
	defer cancel()
	held, notes, err := store.InForce(ctx, f.database)
	if err != nil {
		return nil, nil, err
	}
	for _, h := range held {
		records = append(records, daemon.RecordOf(h.Jail, h.Ban))
	}
	return records, notes, nil
}

func count(n int, what string) string {
	if n != 1 {
		what += "s"
	}
	return fmt.Sprintf("%d %s", n, what)
}

func (g *global) bansImportCommand() *cobra.Command {
	into := bansFrom{global: g}
	var force, asJSON bool
	c := &cobra.Command{
		Use:   "import [FILE]",
		Short: "Take over bans that were exported",
		Long: `Take over bans as export printed them, from a file or from standard input. Each ends
when it would have ended; of two bans of the same address the one stays that ends later.
The daemon is handed them, and has them in force when the command ends; where none runs,
they are written to its database, for its next start.

What is not taken is said, with its line and why, and the exit status is 1 then: what is
no ban, bans of jails that are not there, and of who is never banned (--force takes those,
too). Bans that have ended meanwhile are counted.`,
		Example: `  bailiff bans import bans.jsonl
  bailiff bans export --config /etc/fail2ban | bailiff bans import`,
		Args: args(0, 1),
		RunE: func(c *cobra.Command, args []string) error {
			var in io.Reader = c.InOrStdin()
			if len(args) == 1 && args[0] != "-" {
				f, err := safefile.Open(args[0])
				if err != nil {
					return err
				}
				defer f.Close()
				in = f
			}
			found, err := into.find()
			if err != nil {
				return err
			}
			im := importing{found: found, force: force, bar: newProgress(c.ErrOrStderr())}
			if found.client == nil && found.cfg != nil && into.database == "" && answersFail2ban(found.cfg.Socket) {
				return failed("fail2ban itself runs (%s), and would not hear of what is written to its database: stop it, or use fail2ban-client set JAIL banip", found.cfg.Socket)
			}
			err = im.all(in)
			im.bar.end()
			if asJSON {
				if err := errors.Join(err, printJSON(c.OutOrStdout(), im.result)); err != nil {
					return err
				}
			} else {
				im.print(c.OutOrStdout(), c.ErrOrStderr())
				if err != nil {
					return err
				}
			}
			if len(im.result.Refused) > 0 {
				return &exitError{exitFailed, ""}
			}
			return nil
		},
	}
	into.flags(c)
	c.Flags().BoolVar(&force, "force", false, "take even bans of an address of ignoreip or of this host, and networks wider than /8 (IPv6: /19)")
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return c
}

// refusal says why a line was not taken over.
type refusal struct {
	Line  int    `json:"line"`
	Jail  string `json:"jail,omitempty"`
	IP    string `json:"ip,omitempty"`
	Error string `json:"error"`
}

// importing is an import at work.
type importing struct {
	found
	force  bool
	bar    *progress
	result struct {
		Added   int       `json:"added"`
		Was     int       `json:"was"`  // banned already, for at least as long
		Over    int       `json:"over"` // ended meanwhile
		Into    string    `json:"into"` // the database; empty: a daemon
		Refused []refusal `json:"refused"`
		Pending []string  `json:"pending,omitempty"` // what has not come to it yet
	}
}

// refusedMost is how many lines that were not taken are told one by one.
const refusedMost = 1000

func (im *importing) refuse(r refusal) { im.result.Refused = append(im.result.Refused, r) }

// all takes over all that is read.
func (im *importing) all(in io.Reader) error {
	im.result.Refused = []refusal{}
	if im.client == nil {
		im.result.Into = im.database
	}
	r := banfile.NewReader(in)
	var some []banfile.Record
	var lines []int
	for done := int64(0); ; {
		record, err := r.Next()
		var wrong *banfile.LineError
		switch {
		case errors.As(err, &wrong):
			im.refuse(refusal{Line: wrong.Line, Error: wrong.Err.Error()})
			continue
		case err != nil && !errors.Is(err, io.EOF):
			return fmt.Errorf("line %d: %w", r.Line(), err)
		case err == nil:
			some, lines = append(some, record), append(lines, r.Line())
		}
		if len(some) == control.ImportMost || err != nil && len(some) > 0 {
			if err := im.some(some, lines); err != nil {
				return err
			}
			done += int64(len(some))
			im.bar.block(len(some), done, 0)
			some, lines = some[:0], lines[:0]
		}
		if err != nil {
			return nil
		}
	}
}

// some takes over some bans.
func (im *importing) some(records []banfile.Record, lines []int) error {
	if im.client == nil {
		return im.write(records, lines)
	}
	res, err := im.client.Import(control.ImportRequest{Bans: records, Force: im.force})
	if err != nil {
		return err
	}
	for i, r := range res[:min(len(res), len(lines))] {
		switch {
		case r.Error != "":
			im.refuse(refusal{lines[i], records[i].Jail, records[i].IP, r.Error})
		case r.Over:
			im.result.Over++
		case !r.Added && r.Pending == "":
			im.result.Was++
		default:
			im.result.Added++
		}
		if r.Pending != "" && !slices.Contains(im.result.Pending, r.Pending) {
			im.result.Pending = append(im.result.Pending, r.Pending)
		}
	}
	return nil
}

// write writes bans to the database.
func (im *importing) write(records []banfile.Record, lines []int) error {
	var held []store.Held
	for i, r := range records {
		switch b, err := daemon.BanOf(r); {
		case err != nil:
			im.refuse(refusal{lines[i], r.Jail, r.IP, err.Error()})
		case im.cfg != nil && !slices.ContainsFunc(im.cfg.Jails, func(j *config.Jail) bool { return j.Name == r.Jail && j.List == nil }):
			im.refuse(refusal{lines[i], r.Jail, r.IP, "no jail " + plainly(r.Jail) + " is enabled in the configuration"})
		case !im.force && jail.TooWide(b.ID):
			im.refuse(refusal{lines[i], r.Jail, r.IP, (&jail.TooWideError{IP: r.IP, Jail: r.Jail}).Error()})
		default:
			if now := time.Now(); b.Start.After(now) {
				if !b.Permanent() {
					b.End = b.End.Add(now.Sub(b.Start))
				}
				b.Start = now
			}
			held = append(held, store.Held{Jail: r.Jail, Ban: b})
		}
	}
	if len(held) == 0 {
		return nil
	}
	became, err := store.Import(im.database, held)
	for _, b := range became {
		switch b {
		case store.ImportOver:
			im.result.Over++
		case store.ImportWas:
			im.result.Was++
		default:
			im.result.Added++
		}
	}
	return err
}

// print tells what became of it.
func (im *importing) print(out, errs io.Writer) {
	r := &im.result
	for i, no := range r.Refused {
		if i == refusedMost {
			fmt.Fprintf(errs, "bailiff: and %d more lines that were not taken\n", len(r.Refused)-i)
			break
		}
		who := ""
		if no.IP != "" && !strings.Contains(no.Error, no.IP) {
			who = plainly(no.IP) + ": "
		}
		fmt.Fprintf(errs, "bailiff: line %d: %s%s\n", no.Line, who, no.Error)
	}
	where := ""
	if r.Into != "" {
		where = " into " + r.Into + ", for the daemon's next start"
	}
	text := count(r.Added, "ban") + " taken over" + where
	if r.Was > 0 {
		text += fmt.Sprintf("; %d were there, and end no sooner", r.Was)
	}
	if r.Over > 0 {
		text += fmt.Sprintf("; %d have ended meanwhile", r.Over)
	}
	if n := len(r.Refused); n > 0 {
		text += fmt.Sprintf("; %s not taken", count(n, "line"))
	}
	for _, p := range r.Pending {
		text += "; " + p
	}
	fmt.Fprintln(out, text)
}
