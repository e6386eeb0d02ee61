package cli

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"bailiff/pkg/config"
	"bailiff/pkg/control"
	"bailiff/pkg/migrate"
)

// exitStuck: a change over failed, and so did the way back.
const exitStuck = 3

func (g *global) migrateCommand() *cobra.Command {
	m := migrating{global: g}
	c := &cobra.Command{
		Use:   "migrate",
		Short: "Change over from a running fail2ban, and back, with all bans in force",
		Long: `Change over from a running fail2ban to bailiff on the same configuration, database,
socket and logs, or with --back from bailiff to fail2ban.

First the configuration is checked, what will be different is said, and whether
bailiff starts is tried beside fail2ban (a dry run). Then all bans, those of fail2ban's
lists, its database, its sets and its chains, are put into a table of their own, inet
` + migrate.Table + `, so that they are in force whatever becomes of fail2ban's: its stop
removes all that has its names. fail2ban is stopped, bailiff started, and when that holds
every ban, in its lists and in the kernel, the table goes.

If anything is missing, or fails, everything is put back: fail2ban runs again as it did,
with its bans, and what went wrong is said. Interrupted (Ctrl-C), it is put back, too.

Exit status: 0, it is done; 1, it is not, and all is as before; 3, it could not be put
back: the bans are in force by the table, and what to do is said.`,
		Example: `  bailiff migrate --dry-run
  bailiff migrate
  bailiff migrate --back`,
		Args: noArgs,
		RunE: func(c *cobra.Command, _ []string) error { return m.run(c) },
	}
	f := c.Flags()
	f.StringVarP(&m.dir, "config", "c", fail2banDir, "fail2ban's configuration, a `directory`")
	f.BoolVar(&m.back, "back", false, "from bailiff to fail2ban")
	f.BoolVar(&m.dryRun, "dry-run", false, "say what will be different and what would be done; do nothing")
	f.BoolVar(&m.asJSON, "json", false, "print JSON")
	f.StringVar(&m.program, "fail2ban", "", "with --back, the `path` of fail2ban-server (default: its service, or the one in /usr/bin or PATH)")
	f.DurationVar(&m.patience, "patience", time.Minute, "how long nothing may come nearer to the end before it is put back, a `time` like 90s")
	return c
}

// migrating is a change over from the command line.
type migrating struct {
	*global
	dir, program         string
	back, dryRun, asJSON bool
	patience             time.Duration
	tree                 *config.Config
	at, pidFile          string // as fail2ban's configuration says
	self                 string
}

func (m *migrating) run(c *cobra.Command) error {
	out, errs := c.OutOrStdout(), c.ErrOrStderr()
	if os.Getuid() != 0 {
		return failed("to stop one server and start another is for root")
	}
	var err error
	if m.self, err = os.Executable(); err != nil {
		return err
	}
	if m.tree, err = config.LoadWithin(startMost, config.Options{Path: m.dir}); err != nil {
		return err
	}
	if m.tree.Fail2ban == nil {
		return failed("%s is no configuration of fail2ban's (it has no jail.conf)", m.dir)
	}
	if m.dir, err = filepath.Abs(m.dir); err != nil {
		return err
	}
	paths := &clientOptions{dir: m.dir}
	paths.paths()
	m.at, m.pidFile = paths.socket, paths.pidFile
	bar := newProgress(errs)
	began := time.Now()
	change := &migrate.Migration{
		Dir: m.dir, Config: m.tree, Socket: cmp.Or(m.socket, m.at), Back: m.back, Choose: m.choose, Patience: m.patience,
		Tell: func(text string) {
			bar.end()
			if !m.asJSON {
				fmt.Fprintf(out, "%6.1f s  %s\n", time.Since(began).Seconds(), text)
			}
		},
		Progress: func(what string, done, of int) { bar.count(what, done, of) },
	}
	if m.back {
		if err := m.ours(change); err != nil {
			return err
		}
	} else {
		change.Trial = func(ctx context.Context) error { return m.trial(ctx, change) }
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	// That nobody reads any more what is said (a tee that a Ctrl-C has ended) is no reason to stop half-way.
	unread := make(chan os.Signal, 1)
	signal.Notify(unread, syscall.SIGPIPE)
	defer signal.Stop(unread)
	err = change.Plan(ctx)
	if !m.back {
		found := lookThrough(m.tree, config.Options{Path: m.dir}, false)
		different := slices.Concat(found.errors, found.warnings, found.notes)
		change.Report.Different = append(different, change.Report.Different...)
	}
	if !m.asJSON {
		m.plan(out, change)
	}
	if err == nil && !m.dryRun {
		if !m.asJSON {
			fmt.Fprintln(out)
		}
		err = change.Run(ctx)
		bar.end()
	} else if err != nil {
		change.Report.Outcome, change.Report.Error = migrate.Unchanged, err.Error()
	}
	r := &change.Report
	if m.asJSON {
		if err := printJSON(out, r); err != nil { // what came of it is told by the exit status all the same
			fmt.Fprintln(errs, "bailiff:", err)
		}
	} else {
		for _, w := range r.Warnings {
			fmt.Fprintln(errs, "bailiff: warning:", w)
		}
		for _, no := range r.Refused {
			fmt.Fprintf(errs, "bailiff: not taken over: %s in %s: %s\n", plainly(no.IP), no.Jail, no.Why)
		}
	}
	switch {
	case err == nil && r.Outcome == migrate.Done && !m.asJSON:
		fmt.Fprintf(out, "done in %.1f s: %s has taken over from %s, with %d bans\n", r.Seconds, r.To, r.From, r.Bans-len(r.Refused))
	case err == nil:
	case r.Outcome == migrate.Stuck:
		return &exitError{exitStuck, fmt.Sprintf("%v\nThe bans are in force by nftables' table inet %s, each until its end. Start a server by hand; when it has the bans: %s", err, migrate.Table, r.RemoveWith)}
	case r.Outcome == migrate.PutBack:
		return failed("%v\nnot done: everything is as before, and %s has its bans", err, r.From)
	default:
		return failed("%v\nnot done: nothing was changed", err)
	}
	return nil
}

// plan prints what there is, what will be different, and what will be done.
func (m *migrating) plan(out io.Writer, change *migrate.Migration) {
	r := &change.Report
	if change.From != nil {
		fmt.Fprintf(out, "%s runs on %s, process %d: %s, %s\n", r.From, change.Socket, change.From.PID, count(len(r.Jails), "jail"), count(r.Bans, "ban"))
		for _, j := range r.Jails {
			seen := ""
			if j.Unseen {
				seen = ", not seen in the kernel"
			} else if j.Bans > 0 {
				seen = fmt.Sprintf(", %d seen in the kernel", j.Kernel)
			}
			fmt.Fprintf(out, "  %s: %s%s\n", j.Name, count(j.Bans, "ban"), seen)
		}
	}
	if len(r.Different) > 0 {
		fmt.Fprintln(out, "What will be different:")
		for _, d := range r.Different {
			fmt.Fprintln(out, "  "+d)
		}
	}
	if len(r.Plan) > 0 {
		fmt.Fprintln(out, "What will be done:")
		for i, p := range r.Plan {
			fmt.Fprintf(out, "  %d. %s\n", i+1, p)
		}
	}
}

// ours finds the daemon that is to be left, and its configuration.
func (m *migrating) ours(change *migrate.Migration) error {
	if m.socket == "" {
		if o := (&clientOptions{socket: change.Socket}); !o.ping() {
			if s := config.ConfiguredSocket(config.DefaultDir); (&clientOptions{socket: s}).ping() {
				change.Socket = s
			}
		}
	}
	client := control.NewClient(change.Socket)
	defer client.Close()
	if answersFail2ban(change.Socket) {
		return nil // it is told by what comes
	}
	status, err := client.Status()
	if err != nil {
		return err
	}
	if status.DryRun {
		return failed("the daemon at %s is a dry run, and bans nobody", change.Socket)
	}
	if status.Config != m.dir {
		if change.Config, err = config.LoadWithin(startMost, config.Options{Path: status.Config}); err != nil {
			return fmt.Errorf("the daemon's configuration: %w", err)
		}
	}
	return nil
}

// choose says how the server that takes over is started.
func (m *migrating) choose(from *migrate.Server) (migrate.Target, error) {
	to := migrate.Target{Ours: !m.back, Socket: m.at, Config: m.tree, Database: m.tree.Database.Path}
	if !m.back {
		to.Socket = from.Socket
		if t, ok := migrate.OursByUnit(from, m.self, m.dir, m.pidFile, to); ok {
			return t, nil
		}
		to.By = m.self + " as fail2ban-server -c " + m.dir
		to.Start = func(context.Context) error { return m.start(to.Socket) }
		return to, nil
	}
	if m.program == "" {
		if t, ok := migrate.TheirsByUnit(from, to); ok {
			return t, nil
		}
		if m.program = m.theirs(); m.program == "" {
			return to, failed("no fail2ban-server is found that is fail2ban's own: install it, or name it by --fail2ban")
		}
	}
	if why := m.notTheirs(m.program); why != "" {
		return to, failed("%s %s", m.program, why)
	}
	args := []string{"-b", "-c", m.dir, "-s", to.Socket}
	if m.pidFile != "" {
		args = append(args, "-p", m.pidFile)
	}
	args = append(args, "start")
	to.By = m.program + " " + strings.Join(args, " ")
	to.Start = func(ctx context.Context) error {
		ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
		defer cancel()
		return startTheirs(ctx, m.program, args)
	}
	return to, nil
}

// startTheirs starts fail2ban's server, which goes into the background.
func startTheirs(ctx context.Context, program string, args []string) error {
	said, err := os.CreateTemp("", "fail2ban-start")
	if err != nil {
		return err
	}
	defer os.Remove(said.Name())
	defer said.Close()
	c := exec.CommandContext(ctx, program, args...)
	c.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // a Ctrl-C is for the change over alone
	c.Stdout, c.Stderr = said, said                     // a file: the server keeps it open
	if err := c.Run(); err != nil {
		text, _ := os.ReadFile(said.Name())
		return fmt.Errorf("%w: %s", err, strings.TrimSpace(string(text[max(0, len(text)-2000):])))
	}
	return nil
}

// theirs looks for fail2ban's own server.
func (m *migrating) theirs() string {
	dirs := append([]string{"/usr/bin", "/usr/local/bin"}, filepath.SplitList(os.Getenv("PATH"))...)
	for _, dir := range dirs {
		if path := filepath.Join(dir, "fail2ban-server"); m.notTheirs(path) == "" {
			return path
		}
	}
	return ""
}

// notTheirs says why a program is not fail2ban's own server.
func (m *migrating) notTheirs(path string) string {
	f, err := os.Open(path)
	if err != nil {
		return "can't be read: " + err.Error()
	}
	defer f.Close()
	head := make([]byte, 200)
	n, _ := io.ReadFull(f, head)
	first, _, _ := bytes.Cut(head[:n], []byte("\n"))
	if !bytes.HasPrefix(first, []byte("#!")) || !bytes.Contains(first, []byte("python")) {
		return "is not fail2ban's own, which is a program of Python's"
	}
	return ""
}

// start starts our daemon under fail2ban-server's name.
func (m *migrating) start(socket string) error {
	var said bytes.Buffer
	o := &clientOptions{dir: m.dir, socket: socket, pidFile: m.pidFile, timeout: 30, name: "fail2ban-server", force: true, out: io.Discard, err: &said}
	if o.start() || o.ping() {
		return nil // that a jail waits for its log was said before
	}
	var why []string
	for line := range strings.Lines(said.String()) {
		_, text, ok := strings.Cut(line, " ERROR   ") // as the client's log has it
		if text = strings.TrimSpace(text); ok && text != "EOF" {
			why = append(why, text)
		}
	}
	return errors.New(strings.Join(why, "; "))
}

// trialMost is how long the trial may take to have its jails up.
const trialMost = 30 * time.Second

// trial starts our daemon as a dry run beside fail2ban, and looks whether all jails come up.
func (m *migrating) trial(ctx context.Context, change *migrate.Migration) error {
	dir, err := os.MkdirTemp("", "bailiff-trial")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	socket, log := filepath.Join(dir, "sock"), filepath.Join(dir, "log")
	ctx, cancel := context.WithTimeout(ctx, trialMost)
	defer cancel()
	c := exec.CommandContext(ctx, m.self, "run", "--config", m.dir, "--dry-run", "--socket", socket, "--database", "none", "--log-target", log, "--log-level", "WARNING")
	c.Args[0] = "bailiff" // the program goes by the name that it is called by
	c.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGTERM}
	c.Cancel = func() error { return c.Process.Signal(syscall.SIGTERM) }
	c.WaitDelay = 20 * time.Second
	var said bytes.Buffer
	c.Stdout, c.Stderr = &said, &said
	if err := c.Start(); err != nil {
		return err
	}
	ended := make(chan error, 1)
	go func() { ended <- c.Wait() }()
	client := control.NewClient(socket)
	defer client.Close()
	for {
		if err := client.Ping(); err == nil {
			break
		}
		select {
		case err := <-ended:
			return fmt.Errorf("bailiff does not start on this configuration: %v: %s", err, strings.TrimSpace(said.String()))
		case <-ctx.Done():
			<-ended
			return fmt.Errorf("bailiff, started to try it, does not answer after %v", trialMost)
		case <-time.After(20 * time.Millisecond):
		}
	}
	status, err := client.Status()
	cancel()
	<-ended
	if err != nil {
		return err
	}
	var wrong []string
	for _, j := range status.Jails {
		if j.Error != "" && slices.ContainsFunc(change.Report.Jails, func(r migrate.Jail) bool { return r.Name == j.Name }) {
			wrong = append(wrong, fmt.Sprintf("jail %s runs in fail2ban, and does not start: %s", j.Name, j.Error))
		}
	}
	if len(wrong) > 0 {
		return errors.New(strings.Join(wrong, "\n"))
	}
	return nil
}
