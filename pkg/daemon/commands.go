package daemon

import (
	"context"
	"fmt"

	"bailiff/pkg/action"
	"bailiff/pkg/config"
	"bailiff/pkg/opener"
	"bailiff/pkg/runner"
	"bailiff/pkg/source"
)

// Commands are what a configuration has run.
func Commands(cfg *config.Config) runner.Table {
	t := runner.Table{Environment: cfg.Environment}
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
	}
	for _, j := range cfg.Jails {
		add(j.IgnoreCommand)
		for i := range j.Actions {
			add(j.Actions[i].Texts()...)
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

// StartRunner starts the process that runs commands, if a configuration has any; nil: it has
// none, or commands are run by this process itself.
func StartRunner(cfg *config.Config, from config.Options) (*runner.Client, error) {
	if cfg.Security.Unconfined || RunsCommands(cfg) == "" {
		return nil, nil
	}
	args := []string{"runner"}
	if from.Path != "" {
		args = append(args, "--config", from.Path)
	}
	for _, j := range from.Jails {
		args = append(args, "--jail", j)
	}
	fixed := cfg.Security.FixedActions
	if fixed {
		args = append(args, "--fixed")
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
