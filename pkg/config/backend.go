package config

import (
	"fmt"
	"strconv"
	"strings"

	"bailiff/pkg/config/fail2ban"
	"bailiff/pkg/source"
	"bailiff/pkg/tags"
)

// ParseBackend reads backend: auto, inotify and fail2ban's other names for files
// that are followed by events; polling; or systemd, with options in brackets as
// fail2ban has them: journalpath, journalfiles, journalflags, namespace. journal is
// nil for files.
func ParseBackend(text string) (journal *source.JournalOptions, polling bool, err error) {
	name, opts, err := tags.Extract(text)
	if err != nil {
		return nil, false, fmt.Errorf("backend %q: %w", text, err)
	}
	switch strings.ToLower(name) {
	case "", "auto", "pyinotify", "inotify", "gamin":
		return nil, false, nil
	case "polling":
		return nil, true, nil
	case "systemd", source.JournalName:
	default:
		return nil, false, fmt.Errorf("backend %q: Unknown backend (want auto, polling or systemd; docker in a configuration of ours)", text)
	}
	journal = &source.JournalOptions{}
	if opts == nil {
		return journal, false, nil
	}
	for _, key := range opts.Names {
		v := opts.Values[key]
		switch key {
		case "journalpath":
			journal.Path = v
		case "journalfiles":
			journal.Files = strings.FieldsFunc(v, isListSpace)
		case "namespace":
			journal.Namespace = v
		case "rotated": // journalctl reads rotated journals in any case
			if _, err := fail2ban.ParseTruth(v); err != nil {
				return nil, false, fmt.Errorf("backend %q: rotated %w", text, err)
			}
		case "journalflags":
			n, err := strconv.Atoi(v)
			if err != nil || n < 0 {
				return nil, false, fmt.Errorf("backend %q: journalflags %q: want a number", text, v)
			}
			journal.Flags = &n
		default:
			return nil, false, fmt.Errorf("backend %q: unknown option %q (journalpath, journalfiles, journalflags, rotated, namespace)", text, key)
		}
	}
	return journal, false, nil
}

// journalMatches reads journalmatch: a line of them each.
func journalMatches(lines []string) (out [][]string, err error) {
	for _, line := range lines {
		if strings.TrimSpace(line) == "" {
			continue
		}
		m, err := source.ParseJournalMatch(line)
		if err != nil {
			return nil, err
		}
		out = append(out, m...)
	}
	return out, nil
}
