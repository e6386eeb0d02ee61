package cli

import (
	"fmt"
	"slices"
	"strings"

	"bailiff/pkg/config"
	"bailiff/pkg/daemon"
)

// problems reads the configuration as a server does that starts or reloads, and says what
// is wrong with it: ok is false where fail2ban's client fails, and waiting are jails whose
// logs are missing. only is a jail, or empty.
func (o *clientOptions) problems(only string, skipping string) (waiting []error, ok bool) {
	cfg, err := config.LoadWithin(startMost, config.Options{Path: o.dir})
	if err != nil {
		o.complain("Failed during configuration: %v", err)
		return nil, false
	}
	waiting = daemon.LookForLogs(cfg)
	ok = true
	for _, err := range cfg.Errors {
		o.complain("%v", err)
		ok = false
	}
	known := len(cfg.Errors)
	daemon.Trust(cfg, daemon.Options{Config: config.Options{Path: o.dir}})
	for _, w := range append(cfg.Warnings, cfg.Errors[known:]...) { // it costs commands, and no start
		o.warn("%v", w)
	}
	for _, j := range cfg.Jails {
		if only != "" && only != j.Name {
			continue
		}
		for _, w := range j.Warnings {
			o.warn("%v", w)
		}
		if j.NoLogs.Skipped {
			o.warn("%v", j.Broken()) // it was asked for
			continue
		}
		for _, err := range slices.Concat(j.Errors, j.Faults) {
			for _, line := range strings.Split(err.Error(), "\n") {
				o.complain("%s", line)
			}
		}
		switch {
		case j.Skipped():
			o.complain("Errors in jail '%s'.%s", j.Name, skipping)
			ok = ok && skipping != ""
		case j.Broken() != nil:
			o.complain("Errors in jail '%s'.", j.Name)
			ok = false
		}
	}
	return waiting, ok
}

// test tests the configuration.
func (o *clientOptions) test() int {
	waiting, ok := o.problems("", "")
	for _, err := range waiting {
		o.complain("Failed during configuration: %v", err)
		ok = false
	}
	if !ok {
		fmt.Fprintln(o.out, "ERROR: test configuration failed")
		return exitFail2ban
	}
	fmt.Fprintln(o.out, "OK: configuration test is successful")
	return 0
}
