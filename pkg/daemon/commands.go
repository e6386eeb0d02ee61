package daemon

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"bailiff/pkg/action"
	"bailiff/pkg/config"
	"bailiff/pkg/opener"
	"bailiff/pkg/runner"
	"bailiff/pkg/source"
)

// Commands are what a configuration has run.
func Commands(cfg *config.Config) runner.Table {
	t := runner.Table{Environment: cfg.Environment, Listen: places(cfg)}
	seen := map[string]bool{}
	add := func(texts ...string) {
		for _, text := range texts {
			if text != "" && !seen[text] {
				seen[text] = true
				t.Commands = append(t.Commands, text)
			}
		}
	}
	for _, x := range cfg.Exports {
		add(x.Reload)
		t.Exports = append(t.Exports, x.File)
		if filepath.IsAbs(x.Socket) {
			t.Sockets = append(t.Sockets, x.Socket)
		}
	}
	if cfg.Docker.Labels.Allowed {
		t.Engines = append(t.Engines, cfg.Docker.Socket)
	}
	for _, j := range cfg.Jails {
		add(j.IgnoreCommand)
		for _, a := range slices.Concat(j.Actions, j.Observed) { // what observes may be for real after a reload
			add(a.Texts()...)
		}
		if o := j.Containers; o != nil && !slices.Contains(t.Engines, o.Socket) {
			t.Engines = append(t.Engines, o.Socket)
		}
		if o := j.Journal; o != nil {
			t.Files = append(t.Files, o.Files...)
			if o.Path != "" {
				t.Directories = append(t.Directories, o.Path)
			}
			if o.Namespace != "" {
				t.Namespaces = append(t.Namespaces, o.Namespace)
			}
		}
	}
	return t
}

// Table is what a runner, who is a user, does with a configuration that it has read.
func Table(cfg *config.Config, me uint32) runner.Table {
	t := Commands(cfg)
	for _, err := range cfg.Untrusted(me) {
		t.Refused = append(t.Refused, err.Error())
	}
	return t
}

// startedAs is whose process this was at first.
var startedAs = uint32(os.Geteuid())

// Trust says in a configuration who could change it. Where it has commands, that is a mistake
// if they are those of the configuration, and none is run then; else a warning.
func Trust(cfg *config.Config, opts Options) {
	cfg.Warnings = append(cfg.Warnings, besideConfiguration(cfg, opts)...)
	if cfg.Security.Unconfined {
		return
	}
	if commands, _ := runs(cfg, Options{}); commands == "" {
		return
	}
	me, as := startedAs, "as root"
	if os.Getenv(runnerVariable) != "" && cfg.Security.FixedActions {
		me = 0
	}
	if me != 0 {
		as = fmt.Sprintf("as user %d", me)
	}
	for _, err := range cfg.Untrusted(me) {
		if cfg.Security.FixedActions {
			cfg.Errors = append(cfg.Errors, fmt.Errorf("nothing is run or written %s for this configuration, since others could change it: %w", as, err))
		} else {
			cfg.Warnings = append(cfg.Warnings, fmt.Errorf("others could change what is run %s, that is the configuration: %w", as, err))
		}
	}
}

// runnerVariable names the socket of a runner that a service manager starts, with other
// rights than the daemon's (bailiff-runner.socket).
const runnerVariable = "BAILIFF_RUNNER"

// StartRunner starts the process that runs commands, if a configuration has any; nil: it has
// none, or commands are run by this process itself.
func StartRunner(cfg *config.Config, opts Options) (*runner.Client, error) {
	if cfg.Security.Unconfined || RunsCommands(cfg, opts) == "" {
		return nil, nil
	}
	commands, journal := runs(cfg, opts)
	fixed := cfg.Security.FixedActions
	if path := os.Getenv(runnerVariable); path != "" && fixed && commands != "" {
		r, err := runner.Connect(path)
		if err == nil {
			if err = r.Reload(cfg.Environment); err == nil {
				return r, nil
			}
			r.Close()
		}
		opts.Log.With("component", "server").Warn(fmt.Sprintf("%v (%s=%s): commands are run with the daemon's own rights", err, runnerVariable, path))
	}
	args := []string{"runner"}
	if opts.Config.Path != "" {
		args = append(args, "--config", opts.Config.Path)
	}
	for _, j := range opts.Config.Jails {
		args = append(args, "--jail", j)
	}
	if fixed {
		args = append(args, "--fixed")
		if commands == "" && journal != "" {
			args = append(args, "--journal")
		}
	}
	r, err := runner.Start(fixed, args...)
	if err != nil {
		return nil, err
	}
	if err := r.Reload(cfg.Environment); err != nil {
		r.Close()
		return nil, fmt.Errorf("the process that runs commands: %w", err)
	}
	return r, nil
}

// useRunner has all programs be run by a runner, and what this process can't open be opened by it.
func useRunner(r *runner.Client) {
	opener.Elsewhere(r)
	action.RunElsewhere(r.Run)
	source.StartElsewhere(func(ctx context.Context, args []string) (*source.Journalctl, error) {
		j, err := r.Journal(ctx, args)
		if err != nil {
			return nil, err
		}
		return &source.Journalctl{Stdout: j.Stdout, Stderr: j.Stderr, Wait: j.Wait}, nil
	})
}

// readCommands has the runner read the configuration anew. The error says what is not known of it.
func (d *Daemon) readCommands(cfg *config.Config) []string {
	r := d.opts.Runner
	if r == nil {
		return nil
	}
	if err := r.Reload(cfg.Environment); err != nil {
		return []string{fmt.Sprintf("commands that are new are not run: %v", err)}
	}
	return nil
}
