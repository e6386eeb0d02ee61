package config

import (
	"path/filepath"
	"strings"
	"testing"
	"time"

	"bailiff/pkg/hosttest"
)

// TestExportMain: what fail2ban.local says of socket and database is carried, or told.
func TestExportMain(t *testing.T) {
	for _, c := range []struct {
		name, local, want string
		notes             string
	}{
		{"usual", "", "# The bans of /var/lib/fail2ban/fail2ban.sqlite3 are known from the first start on if it is copied to " + DefaultDatabase() + " before that.\n", ""},
		{
			"own", "socket = /run/x/s\ndbfile = /srv/f2b.sqlite3\ndbpurgeage = 2d\ndbmaxmatches = 3\npidfile = /run/x/p\nsyslogsocket = /run/log\n",
			"socket = \"/run/x/s\"\n\n[database]\npath = \"/srv/f2b.sqlite3\"\npurgeage = \"2d\"\nmaxmatches = 3\n",
			"syslogsocket = /run/log is not carried: syslog is written to its usual socket\npidfile = /run/x/p is not carried: bailiff run --pid-file names it",
		},
		{"none", "dbfile = None\n", "\n[database]\npath = \"None\"\n", ""},
	} {
		dir := t.TempDir()
		for name, text := range map[string]string{
			"fail2ban.conf":  "[Definition]\nsocket = /var/run/fail2ban/fail2ban.sock\npidfile = /var/run/fail2ban/fail2ban.pid\ndbfile = /var/lib/fail2ban/fail2ban.sqlite3\ndbpurgeage = 1d\ndbmaxmatches = 10\nsyslogsocket = auto\n",
			"fail2ban.local": "[Definition]\n" + c.local, "jail.conf": "[DEFAULT]\n",
		} {
			hosttest.Write(t, filepath.Join(dir, name), text)
		}
		from, err := Load(Options{Path: dir})
		if err != nil {
			t.Fatal(err)
		}
		files, notes := Export(from)
		text := files["bailiff.toml"]
		if got, _ := strings.CutPrefix(text, "# Imported from "+dir+"\n"); got != c.want {
			t.Errorf("%s: got\n%s\nwant\n%s", c.name, got, c.want)
		}
		if got := strings.Join(notes, "\n"); got != c.notes {
			t.Errorf("%s: notes\n%s\nwant\n%s", c.name, got, c.notes)
		}
		// And it is read as it was.
		out := filepath.Join(t.TempDir(), "bailiff.toml")
		hosttest.Write(t, out, text)
		to, err := Load(Options{Path: out})
		if err != nil || len(to.Errors) > 0 {
			t.Fatalf("%s: %v, %v", c.name, err, to.Errors)
		}
		if c.name != "usual" && to.Database != from.Database || c.name == "own" && (to.Socket != "/run/x/s" || to.Database.PurgeAge != 48*time.Hour) {
			t.Errorf("%s: %+v, %s; was %+v", c.name, to.Database, to.Socket, from.Database)
		}
	}
}

// TestMistakeOfAnother: what is wrong in what an option refers to is told where that was
// written, and once.
func TestMistakeOfAnother(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{
		"jail.conf":          "[DEFAULT]\nbanaction = none\nmaxretry = 5\nmaxmatches = %(maxretry)s\naction_ = %(banaction)s[port=1]\naction = %(action_)s\nfilter = %(__name__)s\n[a]\nlogpath = /nosuch\n[b]\nlogpath = /nosuch\n[c]\nlogpath = /nosuch\n",
		"jail.local":         "[DEFAULT]\n\nbanaction = nosuch\n[a]\nenabled = true\n[b]\nenabled = true\nmaxretry = x\naction = none\n[c]\nenabled = true\naction = none\nmaxmatches = y\n",
		"action.d/none.conf": "[Definition]\nactionban = true\n",
		"filter.d/a.conf":    "[Definition]\nfailregex = <HOST>\n", "filter.d/b.conf": "[Definition]\nfailregex = <HOST>\n", "filter.d/c.conf": "[Definition]\nfailregex = <HOST>\n",
	} {
		path := filepath.Join(dir, name)
		hosttest.Write(t, path, text)
	}
	cfg, err := Load(Options{Path: dir})
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, j := range cfg.Jails {
		for _, e := range j.Errors {
			got = append(got, strings.ReplaceAll(e.Error(), dir+"/", ""))
		}
	}
	want := "jail.local:3: Unable to read action 'nosuch': action.d/nosuch.conf is not there\n" +
		"jail.local:8: maxretry \"x\": want a number\n" +
		"jail.local:13: maxmatches \"y\": want a number"
	if text := strings.Join(got, "\n"); text != want {
		t.Errorf("got\n%s\nwant\n%s", text, want)
	}
}
