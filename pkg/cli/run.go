package cli

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"bailiff/pkg/config"
	"bailiff/pkg/control"
	"bailiff/pkg/daemon"
	"bailiff/pkg/eventlog"
	"bailiff/pkg/fair"
	"bailiff/pkg/safefile"
)

func (g *global) runCommand() *cobra.Command {
	var load config.Options
	var dryRun, flush bool
	var level, target, database, pidFile string
	c := &cobra.Command{
		Use:   "run",
		Short: "Run the daemon",
		Long: `Run the daemon in the foreground: follow the logs of all enabled jails and ban.

Without --config, /etc/bailiff is read if it is there, over the stock filters and
jails that the program carries. --jail enables a jail with a log of its own and
needs no configuration at all.

Bans stay in the kernel when the daemon stops, and end there on time; with
--flush-on-stop they are taken out. SIGHUP reloads, SIGUSR1
opens the log's file anew, SIGTERM and SIGINT stop, within 15 seconds; a second
one ends the process at once.

With --dry-run logs are read and failures counted, and nothing is changed: no
ban goes to the firewall or into the database, no action and no mail, no export
and no reload. The log says after "dry run:" what would be done, commands with
their values filled in; status and the socket answer as if the bans were made.
Only ignorecommand is run, since it decides who would be banned.

One core is used at a time, and a second one while many bans wait for the
commands of an action; GOMAXPROCS in the environment says how many.`,
		Example: `  bailiff run --jail django-auth=/var/log/django/auth.log
  bailiff run --config /etc/bailiff
  bailiff run --jail sshd=/var/log/auth.log --dry-run`,
		Args: noArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			// The daemon leaves the other cores to those whom it protects; and to wake one
			// of them for every line costs more than the line.
			if os.Getenv("GOMAXPROCS") == "" {
				fair.One()
			}
			daemon.LimitMemory()
			daemon.PaceHeap()
			load.ForJails = true
			if path := config.DatabasePath(database); path != "" {
				load.State = filepath.Dir(path) // what is changed while it runs is kept there, too
			}
			cfg, err := config.LoadWithin(startMost, load)
			if err != nil {
				return err
			}
			if level != "" {
				if level, err = config.ParseLogLevel(level); err != nil {
					return &exitError{exitUsage, "--log-level: " + err.Error()}
				}
				cfg.Log.Level = level
			}
			if target = config.LogTarget(target); target != "" {
				cfg.Log.Target = target
			}
			handler, closeLog, err := eventlog.Open(cfg.Log.Target, cfg.Log.Level)
			if err != nil {
				return err
			}
			defer func() {
				if err := closeLog(); err != nil {
					complain(err)
				}
			}()
			opts := daemon.Options{Config: load, Database: database, PIDFile: pidFile, DryRun: dryRun, FlushOnStop: flush, Version: Version, Log: slog.New(handler), Reopen: handler.Reopen, Logging: handler, LogLevel: level, LogTarget: target}
			if c.Flags().Changed("socket") {
				opts.Socket = g.socket
			}
			ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
			defer stop()
			opts.Watchdog = daemon.Watchdog{Within: watchdogTime(), Well: func() {
				if name := os.Getenv("NOTIFY_SOCKET"); name != "" {
					_ = notify(name, "WATCHDOG=1") // if it did not hear that, it hears the next
				}
			}}
			// A stop takes 15 seconds at the most. Who does not want to wait for it says so
			// again: then the process ends as if it had never caught the signal.
			context.AfterFunc(ctx, stop)
			socket := opts.Socket
			if socket == "" {
				socket = cfg.Socket
			}
			hup := make(chan os.Signal, 1)
			signal.Notify(hup, syscall.SIGHUP)
			defer signal.Stop(hup)
			go func() {
				for range hup {
					var none *control.NotRunningError // all else the daemon tells by itself
					if _, err := control.NewClient(socket).Reload(); errors.As(err, &none) {
						opts.Log.With("component", "server").Error(err.Error())
					}
				}
			}()
			usr1 := make(chan os.Signal, 1)
			signal.Notify(usr1, syscall.SIGUSR1)
			defer signal.Stop(usr1)
			go func() {
				for range usr1 {
					if _, err := handler.Reopen(); err != nil {
						opts.Log.With("component", "server").Error(err.Error())
					}
				}
			}()
			if pidFile != "" {
				if err := writePID(pidFile); err != nil {
					opts.Log.With("component", "server").Error(fmt.Sprintf("Unable to create PID file: %v", err))
				}
				defer os.Remove(pidFile)
			}
			// Ports below 1024, as long as this process may.
			opts.Syslog = daemon.PrepareSyslog(cfg, opts)
			daemon.PreparePorts(cfg)
			daemon.Trust(cfg, opts)
			if opts.Runner, err = daemon.StartRunner(cfg, opts); err != nil {
				opts.Log.With("component", "server").Error(err.Error() + ": commands are run by the daemon itself, and it is not confined")
			} else {
				if opts.Runner != nil {
					defer opts.Runner.Close()
				}
				opts.Confined = daemon.Confine(cfg, opts)
			}
			anew, err := anewStatus()
			if err != nil {
				opts.Log.With("component", "server").Error(err.Error())
			}
			opts.StartsAnew = anew > 0
			err = daemon.Run(ctx, cfg, opts, func() { notifySystemd(ctx, opts.Log, "READY=1") })
			if errors.Is(err, daemon.ErrAnew) {
				return &exitError{anew, ""}
			}
			return err
		},
	}
	f := c.Flags()
	f.StringVarP(&load.Path, "config", "c", "", "a `path`: bailiff.toml, or the directory that holds it, jails/ and filters/")
	f.StringArrayVarP(&load.Jails, "jail", "j", nil, "enable a jail with this log, `NAME=LOGPATH`; may be repeated")
	f.BoolVar(&dryRun, "dry-run", false, "change nothing: only log what would be done")
	f.BoolVar(&flush, "flush-on-stop", false, "take the bans out of the kernel when the daemon stops")
	f.StringVar(&database, "database", "", "a `file` for bans and log positions, or none (default "+config.DefaultDatabase()+")")
	f.StringVar(&level, "log-level", "", "CRITICAL, ERROR, WARNING, NOTICE, INFO or DEBUG")
	f.StringVar(&pidFile, "pid-file", "", "write the process id to a `file` while the daemon runs")
	f.StringVar(&target, "log-target", "", "stderr, stdout, journal, syslog, or a `file`")
	return c
}

// anewVariable is set by who starts the daemon again when it ends with that status: a unit with
// RestartForceExitStatus=, say.
const anewVariable = "BAILIFF_RESTART_STATUS"

// anewStatus is that; 0: nobody does.
func anewStatus() (int, error) {
	text := os.Getenv(anewVariable)
	if text == "" {
		return 0, nil
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 3 || n > 255 {
		return 0, fmt.Errorf("%s=%s: want the exit status, 3 to 255, with which the daemon ends to be started anew; it is not used", anewVariable, text)
	}
	return n, nil
}

// complain says on standard error what can't be said anywhere else, if that takes it: it
// may be what hangs.
func complain(err error) {
	said := make(chan struct{})
	go func() {
		fmt.Fprintf(os.Stderr, "bailiff: %v\n", err)
		close(said)
	}()
	timer := time.NewTimer(time.Second)
	defer timer.Stop()
	select {
	case <-said:
	case <-timer.C:
	}
}

// startMost is how long reading the configuration may take at a start. A reload has less
// time, and a daemon that goes on without.
const startMost = 15 * time.Second

// notifyMost is how long the service manager may take for a word before it is tried again.
const notifyMost = time.Second

// notifySystemd tells the service manager, if one asked (sd_notify(3)). Nobody waits for
// it: where it does not listen, it is told as soon as it does.
func notifySystemd(ctx context.Context, log *slog.Logger, state string) {
	name := os.Getenv("NOTIFY_SOCKET")
	if name == "" {
		return
	}
	go func() {
		for failed := ""; ; {
			err := notify(name, state)
			if err == nil {
				return
			}
			if err.Error() != failed {
				failed = err.Error()
				log.With("component", "server").Warn(fmt.Sprintf("the service manager can't be notified (%s): %v; trying again", state, err))
			}
			select {
			case <-time.After(notifyMost):
			case <-ctx.Done():
				return
			}
		}
	}()
}

// watchdogTime is by when the service manager expects to be told that all is well, each
// time (sd_watchdog_enabled(3)); 0: it doesn't, or not from this process.
func watchdogTime() time.Duration {
	if pid := os.Getenv("WATCHDOG_PID"); pid != "" && pid != strconv.Itoa(os.Getpid()) {
		return 0
	}
	us, err := strconv.ParseInt(os.Getenv("WATCHDOG_USEC"), 10, 64)
	if err != nil || us <= 0 {
		return 0
	}
	return time.Duration(us) * time.Microsecond
}

func notify(name, state string) error {
	conn, err := net.DialTimeout("unixgram", name, notifyMost)
	if err != nil {
		return err
	}
	defer conn.Close()
	_ = conn.SetWriteDeadline(time.Now().Add(notifyMost))
	_, err = conn.Write([]byte(state))
	return err
}

// writePID writes a file that tells this process's id.
func writePID(path string) error {
	f, err := safefile.Create(path, os.O_WRONLY|os.O_TRUNC, 0o644)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintln(f, os.Getpid())
	return errors.Join(err, f.Close())
}
