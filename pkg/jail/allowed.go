package jail

import (
	"fmt"

	"bailiff/pkg/ban"
	"bailiff/pkg/firewall"
	"bailiff/pkg/iplist"
)

// Lists of addresses that are never banned: ignoreip = file:PATH. Who comes onto one
// while he is banned is let in again.

// readAllowed reads the files of ignoreip. The error is for one that can't be read.
func (j *Jail) readAllowed() error {
	files := j.Config.Ignore.Files
	sign := iplist.Signature(files)
	if len(files) == 0 {
		j.ignore.List, j.allowedSign = nil, ""
		return nil
	}
	set, bad, err := iplist.ReadFiles(files)
	if err != nil {
		return fmt.Errorf("ignoreip: %w", err)
	}
	for _, b := range bad {
		j.log.Warn(fmt.Sprintf("[%s] ignoreip: %v: left out", j.Config.Name, b))
	}
	j.ignore.List, j.allowedSign = set, sign
	return nil
}

// refreshAllowed reads them anew where they changed, and lifts bans of those who are
// on them now.
func (j *Jail) refreshAllowed() {
	if iplist.Signature(j.Config.Ignore.Files) == j.allowedSign {
		return
	}
	if err := j.readAllowed(); err != nil {
		if text := err.Error(); text != j.allowedTold {
			j.allowedTold = text
			j.log.Error(fmt.Sprintf("[%s] %v: what was read before holds", j.Config.Name, err))
		}
		return
	}
	j.allowedTold = ""
	for _, b := range j.bans.All() {
		if reason := j.ignored(b.ID); reason != "" {
			j.log.Info(fmt.Sprintf("[%s] Ignore %s by %s", j.Config.Name, ban.Name(b.ID), reason))
			j.bans.Remove(b.ID)
			j.lifted(b)
			j.deps.Firewall.Push(firewall.Change{Jail: j.Config.Name, ID: b.ID, Remove: true})
			j.notice("Unban %s", ban.Name(b.ID))
			j.actions.Unban(ban.Name(b.ID))
		}
	}
	j.push()
}
