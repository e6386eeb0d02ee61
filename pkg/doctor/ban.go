package doctor

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"bailiff/pkg/config"
	"bailiff/pkg/firewall"
	"bailiff/pkg/safefile"
)

// The last link: whether a ban shuts out.

// ban looks at what makes bans hold: the kernel's rules, the ports, actions, the database, the
// clock.
func (d *doctor) ban(ctx context.Context, jails []*config.Jail) {
	jails = slices.DeleteFunc(slices.Clone(jails), func(j *config.Jail) bool { return j.Broken() != nil })
	for _, j := range jails {
		if j.Observe {
			d.add(Finding{Jail: j.Name, Link: LinkBan, Symptom: "ban-observe", Level: Doubtful, Cause: "it only observes: nobody is banned", Seen: []string{setting(j, "observe") + ": observe = true"}, Remedy: "take observe out when what would be banned is right: bailiff status " + j.Name})
		}
	}
	elsewhere := d.elsewhere()
	if elsewhere != "" {
		d.add(Finding{Link: LinkBan, Level: Unlooked, Cause: elsewhere})
	}
	for _, part := range []struct {
		what    string
		network bool
		do      func(context.Context, *bans)
	}{{"the kernel's rules", true, d.kernel}, {"iptables' rules", true, d.iptables}, {"what listens", true, d.ports}, {"actions", false, d.actions}, {"the database", false, d.database}} {
		if part.network && elsewhere != "" {
			continue
		}
		one := &bans{jails: jails}
		c, cancel := context.WithTimeout(ctx, d.Most)
		if !within(c, graceMost, func() { part.do(c, one) }) {
			one = &bans{found: []Finding{{Symptom: "ban-hangs", Level: Broken, Cause: fmt.Sprintf("%s: no answer for %v", part.what, d.Most), Seen: []string{part.what}, Remedy: "see what hangs: dmesg"}}}
		}
		cancel()
		for _, f := range one.found {
			f.Link = LinkBan
			d.add(f)
		}
	}
	for _, j := range jails {
		if !slices.ContainsFunc(d.found, func(f Finding) bool { return f.Link == LinkBan && f.Jail == j.Name }) {
			d.add(Finding{Jail: j.Name, Link: LinkBan, Cause: "nothing is in its way, as far as can be seen"})
		}
	}
}

// elsewhere says that the daemon is in another network namespace than who looks; empty: it
// isn't, as far as can be told.
func (d *doctor) elsewhere() string {
	if d.status == nil {
		return ""
	}
	mine, err1 := os.Readlink("/proc/self/ns/net")
	its, err2 := os.Readlink(fmt.Sprintf("/proc/%d/ns/net", d.status.PID))
	if err1 != nil || err2 != nil || mine == its {
		return ""
	}
	return fmt.Sprintf("%sthe kernel's rules and what listens: the daemon is in another network namespace; there: nsenter -t %d -n bailiff doctor", notLooked, d.status.PID)
}

// bans is what a part of this link finds.
type bans struct {
	jails []*config.Jail
	found []Finding
}

func (b *bans) say(f Finding) { b.found = append(b.found, f) }

// inSets reports whether a jail's bans are in nftables' sets of ours.
func (d *doctor) inSets(j *config.Jail) bool { return !d.cfg.NoFirewall && !j.Unenforced }

// kernel looks at the table of nftables.
func (d *doctor) kernel(_ context.Context, b *bans) {
	if d.cfg.NoFirewall {
		acts := slices.ContainsFunc(b.jails, func(j *config.Jail) bool { return len(j.Actions) > 0 })
		if len(d.cfg.Exports)+d.listsElsewhere()+len(d.cfg.Check.Listen) == 0 && !acts && len(b.jails) > 0 {
			b.say(Finding{
				Symptom: "ban-nobody", Level: Broken, Cause: "there is no firewall to command, and nothing else gets the bans: nobody is shut out",
				Seen: []string{"[firewall] enabled = false; no export, no action, no [check]"}, Remedy: "in bailiff.toml set\n[firewall]\nenabled = true",
			})
		}
		return
	}
	var rules []firewall.Rule
	var all []*config.Jail
	for _, j := range d.cfg.Jails {
		if j.Broken() == nil && d.inSets(j) {
			rules = append(rules, j.Rule)
			all = append(all, j)
		}
	}
	if len(rules) == 0 {
		return
	}
	table, chain := orDefault(d.cfg.Firewall.Table, "f2b-table"), orDefault(d.cfg.Firewall.Chain, "f2b-chain")
	is, err := firewall.Inspect(d.cfg.Firewall, rules...)
	if err != nil {
		cause := notLooked + err.Error()
		if errors.Is(err, unix.EPERM) {
			cause = notLooked + "the ruleset; it takes root, or CAP_NET_ADMIN"
		}
		b.say(Finding{Level: Unlooked, Cause: cause})
		return
	}
	remedy := "bailiff reload makes it anew; find out who undoes it: nft monitor"
	if d.status == nil {
		remedy = "start the daemon, which makes it anew: systemctl start bailiff"
	}
	say := func(symptom, cause string, seen ...string) {
		b.say(Finding{Symptom: symptom, Level: Broken, Cause: cause, Seen: append(seen, "nft list table inet "+table), Remedy: remedy})
	}
	switch {
	case !is.There:
		if d.status != nil && !d.status.DryRun && len(all) > 0 {
			say("ban-no-table", fmt.Sprintf("table inet %s isn't there, though the daemon runs: nobody is shut out here", table), "in another network namespace, as a container's, it would be")
		}
		return
	case is.Owner != "":
		remedy = "stop that program, or name another table in [firewall] table"
		say("ban-owned", is.Owner)
		return
	case is.Dormant:
		say("ban-dormant", fmt.Sprintf("table inet %s is dormant: none of its rules works", table))
		return
	case len(is.Unhooked) > 0:
		say("ban-unhooked", fmt.Sprintf("no packet comes to the bans: %s", is.Unhooked[0]), is.Wrong...)
		return
	case len(is.Emptied) > 0:
		say("ban-emptied", fmt.Sprintf("chain %s of table inet %s has no rule of any jail: whom its sets hold isn't shut out", is.Emptied[0], table), is.Wrong...)
		return
	case len(is.Before) > 0:
		remedy = "take that rule out of our chain: an accept belongs into a chain of its own, where it harms no ban"
		say("ban-jumped-over", fmt.Sprintf("a rule of somebody else's in chain %s lets packets pass before the jails' rules", chain), is.Before...)
	}
	for _, j := range b.jails {
		if d.inSets(j) && (slices.Contains(is.NoRules, j.Name) || slices.Contains(is.NoSets, j.Name)) && j.List == nil {
			what := "rule"
			if slices.Contains(is.NoSets, j.Name) {
				what = "set"
			}
			b.say(Finding{Jail: j.Name, Symptom: "ban-no-rule", Level: Broken, Cause: fmt.Sprintf("it has no %s in table inet %s: its bans shut nobody out", what, table), Seen: append(is.Wrong, "nft list table inet "+table), Remedy: remedy})
		}
	}
}

func orDefault(text, otherwise string) string {
	if text == "" {
		return otherwise
	}
	return text
}

// roomLeast is how much room a database's disk has to have, in bytes.
const roomLeast = 16 << 20

// database looks at where bans are kept, and by it at the clock.
func (d *doctor) database(_ context.Context, b *bans) {
	path := d.cfg.Database.Path
	if path == "" {
		return
	}
	f := Finding{Symptom: "ban-database", Level: Broken, Seen: []string{"dbfile " + path}}
	fi, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		dir, err := os.Stat(filepath.Dir(path))
		switch {
		case errors.Is(err, fs.ErrNotExist):
			if d.status == nil && path == config.DefaultDatabase() {
				return // the first start makes it
			}
			f.Cause = fmt.Sprintf("the database can't be made: directory %s is not there", filepath.Dir(path))
			f.Remedy = "mkdir " + filepath.Dir(path) + ", for the daemon's user"
		case err == nil && !dir.IsDir():
			f.Cause = fmt.Sprintf("the database can't be made: %s is no directory", filepath.Dir(path))
			f.Remedy = "name another place for it: [database] path, or dbfile"
		default:
			return
		}
		b.say(f)
		return
	case err != nil:
		f.Cause, f.Remedy = fmt.Sprintf("the database: %v", err), "see to its directory's rights"
		b.say(f)
		return
	case !fi.Mode().IsRegular():
		f.Cause, f.Remedy = fmt.Sprintf("the database, %s, is %s", path, safefile.Kind(fi.Mode().Type())), "name a file: [database] path, or dbfile"
		b.say(f)
		return
	}
	if file, err := safefile.Open(path); err == nil {
		head := make([]byte, 16)
		n, err := io.ReadFull(file, head)
		file.Close()
		if n > 0 && (err != nil || !bytes.Equal(head, []byte("SQLite format 3\x00"))) {
			f.Cause = fmt.Sprintf("%s is no database, or a damaged one: bans of before are lost", path)
			f.Seen = append(f.Seen, fmt.Sprintf("%d bytes, beginning with %q", fi.Size(), head[:n]))
			f.Remedy = "bring back a copy of it; else the daemon sets it aside at its next start, and begins anew"
			b.say(f)
			return
		}
	}
	var room unix.Statfs_t
	if err := unix.Statfs(path, &room); err == nil {
		if free := int64(room.Bavail) * room.Bsize; free < roomLeast {
			f.Level, f.Cause, f.Remedy = Doubtful, fmt.Sprintf("the disk of %s is full: %d bytes are left", path, free), "make room"
			b.say(f)
		}
		if room.Flags&unix.ST_RDONLY != 0 {
			f.Cause, f.Remedy = fmt.Sprintf("the disk of %s can't be written to: bans are forgotten at a restart", path), "mount it to be written to, or name another place for it"
			b.say(f)
		}
	}
	if ahead := fi.ModTime().Sub(d.Now); ahead > clockAllowed {
		b.say(Finding{
			Symptom: "clock-back", Level: Broken, Cause: fmt.Sprintf("this host's clock is behind: it says %s, and the database was written at %s", wall(d.Now), wall(fi.ModTime())),
			Seen: f.Seen, Remedy: "set it, and have it kept: timedatectl set-ntp true",
		})
	}
	if d.Now.Before(releaseYear) {
		b.say(Finding{Symptom: "clock-back", Level: Broken, Cause: "this host's clock says " + wall(d.Now), Seen: []string{"date"}, Remedy: "set it, and have it kept: timedatectl set-ntp true"})
	}
}

// releaseYear is before what no clock should say.
var releaseYear = time.Date(2025, 1, 1, 0, 0, 0, 0, time.UTC)

// actions looks whether the programs that actions run are there.
func (d *doctor) actions(_ context.Context, b *bans) {
	for _, j := range b.jails {
		for i := range j.Actions {
			a := &j.Actions[i]
			if a.Mail != nil {
				continue
			}
			all, err := a.Resolve("inet4")
			if err != nil {
				continue
			}
			for _, command := range []string{"actionstart", "actionban", "actionunban"} {
				if program := missingProgram(all.Values[command]); program != "" {
					b.say(Finding{
						Jail: j.Name, Symptom: "ban-action", Level: Broken, Cause: fmt.Sprintf("action %s can't work: %s isn't there", a.Name, program),
						Seen: []string{command + " = " + clip([]byte(all.Values[command]))}, Remedy: "install it, or name another action: " + d.setAction(j),
					})
					break
				}
			}
		}
	}
}

func (d *doctor) setAction(j *config.Jail) string {
	if d.cfg.Fail2ban != nil {
		return fmt.Sprintf("in [%s] of %s/jail.local set\nbanaction = nftables", j.Name, d.cfg.Fail2ban.Dir)
	}
	return "see " + strings.TrimSuffix("the jail's actions"+placeAfter(setting(j, "action")), " ")
}

func placeAfter(at string) string {
	if at == "" {
		return ""
	}
	return " (" + at + ")"
}

// listsElsewhere is how many lists of who is banned servers elsewhere keep; a webhook shuts nobody out.
func (d *doctor) listsElsewhere() (n int) {
	for _, x := range d.cfg.HTTPExports {
		if x.Provider != config.ExportHook {
			n++
		}
	}
	return n
}
