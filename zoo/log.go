package main

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"bailiff/zoo/animals"
)

// way is how an animal is played: over which network, and where the system's log goes.
type way struct {
	name    string // behind the animal's; empty: as it is
	net     *animals.Net
	journal bool
	syslog  string
}

// ways are those in which an animal is played.
func ways(a *animals.Animal) []way {
	out := []way{{"", &animals.IPv4, false, animals.Rsyslog}}
	if a.OverIPv6 {
		out = append(out, way{"ipv6", &animals.IPv6, false, animals.Rsyslog})
	}
	if a.InJournal != "" {
		out = append(out, way{"journal", &animals.IPv4, true, animals.Journald})
	}
	return out
}

func (p *play) net() *animals.Net { return p.way.net }

// logPath is the log as this process sees it: a file, or a directory of the journal.
func (p *play) logPath() string {
	if p.way.journal {
		return filepath.Join(p.root.dir, animals.JournalDir)
	}
	return filepath.Join(p.root.dir, p.animal.Log)
}

// makeLog makes the file where the service has not.
func (p *play) makeLog() error {
	log := p.logPath()
	if _, err := os.Stat(log); p.way.journal || err == nil {
		return nil
	}
	// Whoever writes it may be nobody in particular.
	if err := os.WriteFile(log, nil, 0o666); err != nil {
		return err
	}
	return os.Chmod(log, 0o666)
}

// journal is what follows a log on the command line of fail2ban-regex.
func (p *play) journalName() string { return "systemd-journal[journalpath=" + p.logPath() + "]" }

// logSettings are those of the jail.
func (p *play) logSettings() string {
	if p.way.journal {
		return fmt.Sprintf("backend = %q\njournalmatch = %q\n", "systemd[journalpath="+p.logPath()+"]", p.animal.InJournal)
	}
	return fmt.Sprintf("backend = \"auto\"\nlogpath = %q\n", p.logPath())
}

// logText is all that was written.
func (p *play) logText() ([]byte, error) {
	if !p.way.journal {
		return os.ReadFile(p.logPath())
	}
	c := exec.Command("journalctl", "--quiet", "--no-pager", "--output=short-iso-precise", "--directory="+p.logPath())
	c.Env = append(os.Environ(), "TZ=UTC", "LC_ALL=C.UTF-8")
	var stderr bytes.Buffer
	c.Stderr = &stderr
	out, err := c.Output()
	if err != nil {
		err = fmt.Errorf("journalctl: %w: %s", err, &stderr)
	}
	return out, err
}

func (p *play) logSize() int64 {
	text, _ := p.logText()
	return int64(len(text))
}

// logSince returns what was written since; of much, the end.
func (p *play) logSince(from int64) string {
	text, err := p.logText()
	if err != nil {
		return err.Error()
	}
	text = bytes.TrimSpace(text[min(from, int64(len(text))):])
	if len(text) == 0 {
		return "(nothing)"
	}
	if most := 6000; len(text) > most {
		text = append([]byte("…"), text[len(text)-most:]...)
	}
	return string(text)
}

// readWhole reports whether the daemon has read the log to its end. What it has read of a
// journal it does not tell; there, all of it is looked at once more: nobody else may be
// found.
func (p *play) readWhole() error {
	if !p.way.journal {
		_, offset, err := p.status()
		if size := p.logSize(); err == nil && offset < size {
			err = fmt.Errorf("the daemon has read %d bytes of %d", offset, size)
		}
		return err
	}
	mode := ""
	if p.animal.Mode != "" {
		mode = "[mode=" + p.animal.Mode + "]"
	}
	out, _ := exec.Command(p.program, "regex", "--out", "id", "-m", p.animal.InJournal, p.journalName(), p.animal.Filter+mode).Output()
	found := slices.Compact(slices.Sorted(strings.FieldsSeq(string(out))))
	if len(found) != 1 || found[0] != p.net().Attacker {
		return fmt.Errorf("bailiff regex finds %q in the journal", found)
	}
	return nil
}

// keepLog keeps the log, for people and for samples.
func (p *play) keepLog() {
	text, err := p.logText()
	if err != nil {
		return
	}
	if err := os.WriteFile(filepath.Join(p.heard, p.name()+".log"), text, 0o644); err != nil {
		p.problem("%v", err)
	}
}
