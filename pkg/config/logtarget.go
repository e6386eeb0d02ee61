package config

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"bailiff/pkg/eventlog"
	"bailiff/pkg/tags"
)

// LogTarget is ParseLogTarget for who has no use for the error.
func LogTarget(s string) string {
	target, _ := ParseLogTarget(s)
	return target
}

// ParseLogTarget reads a log target in fail2ban's words, as one of pkg/eventlog's:
// stderr, stdout, syslog, syslog[facility=local5], journal, or a file. With a target, the
// error is of its options alone.
func ParseLogTarget(s string) (target string, err error) {
	name, opts, err := tags.Extract(strings.TrimSpace(s))
	if err != nil {
		return "", fmt.Errorf("log target %w", err)
	}
	switch target = name; strings.ToUpper(name) {
	case "STDERR", "STDOUT", "SYSLOG":
		target = strings.ToLower(name)
	case "SYSOUT":
		target = "stdout"
	case "SYSTEMD-JOURNAL", "JOURNAL":
		target = "journal"
	}
	var errs []error
	for _, option := range opts.Names {
		value := opts.Values[option]
		switch {
		case option == "facility" && target == "syslog":
			facility := strings.ToLower(value)
			if !slices.Contains(eventlog.Facilities, facility) {
				errs = append(errs, fmt.Errorf("log target %q: unknown facility %q, %s is used (%s)", s, value, eventlog.Daemon, strings.Join(eventlog.Facilities, ", ")))
				continue
			}
			target = fmt.Sprintf("syslog[facility=%s]", facility)
		case slices.Contains([]string{"padding", "datetime", "format"}, option):
			// The form of lines, which is fail2ban's usual one here (docs/differences.md).
		default:
			errs = append(errs, fmt.Errorf("log target %q: unknown option %q", s, option))
		}
	}
	return target, errors.Join(errs...)
}
