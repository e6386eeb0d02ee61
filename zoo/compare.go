package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"bailiff/pkg/references"
)

// compare has the real fail2bans look at the log with their own filters, and ours with the
// same: who was found, in order, must be the same.
func (p *play) compare(ctx context.Context) error {
	if p.animal.Fail2ban == "-" {
		p.theirs = append(p.theirs, "-")
		return nil
	}
	filter := p.animal.Fail2ban
	if filter == "" {
		filter = p.animal.Filter
		if p.animal.Mode != "" {
			filter += "[mode=" + p.animal.Mode + "]"
		}
	}
	all, err := references.All()
	if err != nil {
		return err
	}
	options, log := []string{"--out", "id"}, filepath.Join(p.dir, "whole.log")
	if p.way.journal {
		options, log = append(options, "--journalmatch", p.animal.InJournal), p.journalName()
	} else if text, err := p.logText(); err != nil {
		return err
	} else if err := os.WriteFile(log, text, 0o644); err != nil {
		return err
	}
	for i, f := range all {
		if i > 0 && i < len(all)-1 {
			continue
		}
		version := f.Release()
		name, _, _ := strings.Cut(filter, "[")
		if _, err := os.Stat(filepath.Join(f.Config, "filter.d", name+".conf")); err != nil {
			p.theirs = append(p.theirs, version+" has none")
			continue
		}
		args := append(append([]string{"--config", f.Config}, options...), log, filter)
		real := exec.CommandContext(ctx, "/usr/bin/python3", append([]string{f.Program("fail2ban-regex")}, args...)...)
		real.Env = append(f.Env(), "TZ=UTC", "LC_ALL=C.UTF-8")
		want, err := real.CombinedOutput()
		if err != nil && len(want) > 0 {
			return fmt.Errorf("fail2ban-regex %s: %w: %s", version, err, want)
		}
		ours := exec.CommandContext(ctx, filepath.Join(filepath.Dir(p.program), "fail2ban-regex"), args...)
		ours.Env = append(os.Environ(), "TZ=UTC", "LC_ALL=C.UTF-8")
		got, _ := ours.CombinedOutput()
		p.theirs = append(p.theirs, fmt.Sprintf("%s: %d", version, strings.Count(string(want), "\n")))
		if string(got) != string(want) {
			p.problem("fail2ban's filter of %s, run by fail2ban-regex:\n%s\nand by ours:\n%s", version, want, got)
		}
	}
	return nil
}
