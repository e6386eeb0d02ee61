package config

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestLookForLogs: what becomes of a jail of fail2ban's none of whose logs is there, as in
// 1.1.1: it reads the journal if it knows how, is left out if it says so, or waits.
func TestLookForLogs(t *testing.T) {
	const match = "[Definition]\nfailregex = ^f <HOST>\njournalmatch = _SYSTEMD_UNIT=f.service + _COMM=f\n"
	const none = "[Definition]\nfailregex = ^f <HOST>\n"
	logs := t.TempDir()
	if err := os.WriteFile(filepath.Join(logs, "there.log"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(filepath.Join(logs, "nowhere"), filepath.Join(logs, "dangling.log")); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		filter, jail string
		journal      bool
		skipped      bool
		waits        bool
	}{
		"there":                    {match, "logpath = @L@/there.log\n", false, false, false},
		"one of two":               {match, "logpath = @L@/no.log\n\t@L@/there.log\n", false, false, false},
		"glob":                     {match, "logpath = @L@/th*.log\n", false, false, false},
		"missing, journal":         {match, "logpath = @L@/no.log\n", true, false, false},
		"glob of none, journal":    {match, "logpath = @L@/no*.log\n", true, false, false},
		"dangling, journal":        {match, "logpath = @L@/dangling.log\n", true, false, false},
		"the jail's own match":     {none, "logpath = @L@/no.log\njournalmatch = _COMM=x\n", true, false, false},
		"journal rather than skip": {match, "logpath = @L@/no.log\nskip_if_nologs = true\n", true, false, false},
		"no match":                 {none, "logpath = @L@/no.log\n", false, false, true},
		"not auto":                 {match, "logpath = @L@/no.log\nbackend = polling\n", false, false, true},
		"not wanted":               {match, "logpath = @L@/no.log\nsystemd_if_nologs = false\n", false, false, true},
		"skipped":                  {none, "logpath = @L@/no.log\nskip_if_nologs = yes\n", false, true, false},
	} {
		dir := directory(t, "filter.d/f.conf", c.filter, "action.d/a.conf", "[Definition]\nactionban = true\n",
			"jail.conf", "[x]\nenabled = true\nfilter = f\naction = a\n"+strings.ReplaceAll(c.jail, "@L@", logs))
		j := jail(t, load(t, Options{Path: dir}), "x")
		if j.Broken() != nil {
			t.Errorf("%s: %v", name, j.Broken())
			continue
		}
		err := j.LookForLogs()
		var waits *NoLogsError
		if (j.Journal != nil) != c.journal || j.Skipped() != c.skipped || errors.As(err, &waits) != c.waits {
			t.Errorf("%s: journal %v, skipped %v, %v", name, j.Journal, j.Skipped(), err)
		}
		if said := fmt.Sprint(j.Warnings); c.journal && (len(j.LogPath) > 0 || len(j.Journal.Matches) == 0 || !strings.Contains(said, "Have not found any log file for 'x' jail. Jail will monitor systemd journal.")) {
			t.Errorf("%s: %v, %s", name, j.Journal, said)
		}
	}
}
