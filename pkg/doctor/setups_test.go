package doctor_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
	"unicode/utf16"

	"bailiff/pkg/doctor"
)

const (
	broken   = doctor.Broken
	doubtful = doctor.Doubtful
)

// setups are those that need no network and no mounts of their own.
var setups = []setup{
	// The log.
	{
		symptom: "log-missing", level: broken, cause: "auth.log is not there", remedy: "logpath",
		files: map[string]string{"bailiff.toml": sshJail},
	},
	{
		symptom: "log-pattern", level: broken, cause: "no file matches", remedy: "logpath",
		files: map[string]string{"bailiff.toml": "[jail.sshd]\nenabled = true\nlogpath = '@/logs/*.log'\n"},
	},
	{
		symptom: "log-in-journal", level: broken, cause: "is in the journal", remedy: `backend = "systemd"`,
		files: map[string]string{"bailiff.toml": sshJail},
		build: func(t *testing.T, dir string) {
			journal(t, dir, "sshd", "Failed password for root from 203.0.113.7 port 4 ssh2")
		},
	},
	{
		symptom: "log-kind", level: broken, cause: "is a directory", remedy: "*.log",
		files: map[string]string{"bailiff.toml": sshJail, "auth.log/x.log": ""},
	},
	{
		symptom: "log-fifo", level: broken, cause: "FIFO", remedy: "fifo",
		files: map[string]string{"bailiff.toml": sshJail},
		build: func(t *testing.T, dir string) { must(t, exec.Command("mkfifo", dir+"/auth.log").Run()) },
	},
	{
		symptom: "log-link", level: broken, cause: "symbolic link", remedy: "chown -h",
		files: map[string]string{"bailiff.toml": sshJail, "real.log": attacks(10, 3)},
		build: func(t *testing.T, dir string) {
			must(t, os.Symlink(dir+"/real.log", dir+"/auth.log"), os.Lchown(dir+"/auth.log", 12345, 12345))
		},
	},
	{
		symptom: "log-compressed", level: broken, cause: "gzip", remedy: "auth.log",
		files: map[string]string{"bailiff.toml": "[jail.sshd]\nenabled = true\nlogpath = '@/auth.log.1.gz'\n", "auth.log.1": attacks(10, 3)},
		build: func(t *testing.T, dir string) { must(t, exec.Command("gzip", dir+"/auth.log.1").Run()) },
	},
	{
		symptom: "log-rotated", level: broken, cause: "rotated away", remedy: "postrotate",
		files: map[string]string{"bailiff.toml": sshJail, "auth.log": "", "auth.log.1": attacks(40, 6)},
		build: func(t *testing.T, dir string) { age(t, dir+"/auth.log", 3*time.Hour) },
	},
	{ // just now: it is the writer that tells
		symptom: "log-rotated", level: broken, cause: "rotated away", remedy: "postrotate",
		files: map[string]string{"bailiff.toml": sshJail, "auth.log": attacks(40, 6)},
		build: func(t *testing.T, dir string) {
			f, err := os.OpenFile(dir+"/auth.log", os.O_APPEND|os.O_WRONLY, 0)
			must(t, err, os.Rename(dir+"/auth.log", dir+"/auth.log.1"), os.WriteFile(dir+"/auth.log", nil, 0o644))
			t.Cleanup(func() { f.Close() })
			_, err = f.WriteString(attacks(10, 2))
			must(t, err)
		},
	},
	{ // a file that isn't written to any more, since the journal is
		symptom: "log-in-journal", level: broken, cause: "isn't written to any more", remedy: `backend = "systemd"`,
		files: map[string]string{"bailiff.toml": sshJail, "auth.log": lines(5, func(i int, at time.Time) string {
			return guess(at.Add(-9*24*time.Hour), "203.0.113.7", i)
		})},
		build: func(t *testing.T, dir string) {
			age(t, dir+"/auth.log", 9*24*time.Hour)
			journal(t, dir, "sshd", "Failed password for root from 203.0.113.7 port 4 ssh2")
		},
	},
	{ // fail2ban's own way round it
		symptom: "log-in-journal", level: doubtful, cause: "the journal is read in their place", remedy: "backend = systemd",
		files: tree("[sshd]\nenabled = true\nlogpath = @/auth.log\njournalmatch = _SYSTEMD_UNIT=ssh.service\n"),
		build: func(t *testing.T, dir string) {
			journal(t, dir, "sshd", "Accepted password for root from 203.0.113.7 port 4 ssh2")
		},
	},
	{
		symptom: "log-deleted", level: broken, cause: "was deleted", remedy: "open its log again",
		files: map[string]string{"bailiff.toml": sshJail, "auth.log": attacks(40, 6)},
		build: func(t *testing.T, dir string) {
			f, err := os.OpenFile(dir+"/auth.log", os.O_APPEND|os.O_WRONLY, 0)
			must(t, err, os.Remove(dir+"/auth.log"))
			t.Cleanup(func() { f.Close() })
		},
	},
	{
		symptom: "log-quiet", level: doubtful, cause: "nothing has been written", remedy: "where the service logs to",
		files: map[string]string{"bailiff.toml": sshJail, "auth.log": lines(5, func(i int, at time.Time) string {
			return guess(at.Add(-40*24*time.Hour), "203.0.113.7", i)
		})},
		build: func(t *testing.T, dir string) { age(t, dir+"/auth.log", 40*24*time.Hour) },
	},
	{
		symptom: "log-empty", level: doubtful, cause: "is empty", remedy: "logpath",
		files: map[string]string{"bailiff.toml": sshJail, "auth.log": ""},
		build: func(t *testing.T, dir string) { age(t, dir+"/auth.log", 48*time.Hour) },
	},
	{
		symptom: "journal-empty", level: broken, cause: "no entry", remedy: "journalmatch",
		files: map[string]string{"bailiff.toml": "[jail.sshd]\nenabled = true\nbackend = 'systemd'\njournalmatch = '_SYSTEMD_UNIT=nowhere.service'\n"},
		build: func(t *testing.T, dir string) {
			journal(t, dir, "sshd", "Failed password for root from 203.0.113.7 port 4 ssh2")
		},
	},
	{
		symptom: "journal-beside-log", level: broken, cause: "nobody reads", remedy: "backend = auto",
		files: with(tree("[sshd]\nenabled = true\nbackend = systemd\njournalmatch = _SYSTEMD_UNIT=nowhere.service\nlogpath = @/auth.log\n"), map[string]string{"auth.log": attacks(40, 6)}),
		build: func(t *testing.T, dir string) { journal(t, dir, "sshd", "x") },
	},

	// The lines.
	{
		symptom: "lines-undated", level: doubtful, cause: "have a date", remedy: "datepattern",
		files: map[string]string{
			"bailiff.toml":     "[jail.app]\nenabled = true\nlogpath = '@/app.log'\nfilter = 'app'\n",
			"filters/app.toml": "failregex = '^login of \\S+ from <ADDR> failed$'\n",
			"app.log":          lines(30, func(i int, _ time.Time) string { return fmt.Sprintf("login of bob from 203.0.113.%d failed", i%6) }),
		},
	},
	{
		symptom: "lines-datepattern", level: broken, cause: "datepattern", remedy: "take datepattern out",
		files: map[string]string{"bailiff.toml": sshJail + "datepattern = '^%Y/%m/%d %H:%M:%S'\n", "auth.log": attacks(40, 6)},
	},
	{
		symptom: "lines-zone", level: doubtful, cause: "behind the clock, as those of another time zone", remedy: "logtimezone",
		files: map[string]string{"bailiff.toml": sshJail, "auth.log": lines(40, func(i int, at time.Time) string {
			return guess(at.Add(-2*time.Hour), fmt.Sprintf("203.0.113.%d", i%6), i)
		})},
	},
	{
		symptom: "lines-future", level: doubtful, cause: "of the future", remedy: "clocks",
		files: map[string]string{
			"bailiff.toml":     "[jail.app]\nenabled = true\nlogpath = '@/app.log'\nfilter = 'app'\n",
			"filters/app.toml": "failregex = '^ login of \\S+ from <ADDR> failed$'\n",
			"app.log": lines(40, func(i int, at time.Time) string {
				return fmt.Sprintf("%s login of bob from 203.0.113.%d failed", at.Add(3*24*time.Hour+7*time.Minute).Format("2006-01-02 15:04:05"), i%6)
			}),
		},
	},
	{
		symptom: "lines-clock", level: broken, cause: "no time zone explains it", remedy: "clock",
		files: map[string]string{"bailiff.toml": sshJail, "auth.log": lines(40, func(i int, at time.Time) string {
			return guess(at.Add(-97*time.Hour-7*time.Minute), fmt.Sprintf("203.0.113.%d", i%6), i)
		})},
	},
	{
		symptom: "filter-wrong", level: broken, cause: "filter sshd matches", remedy: `filter = "sshd"`,
		files: map[string]string{"bailiff.toml": "[jail.app]\nenabled = true\nlogpath = '@/auth.log'\nfilter = 'django-auth'\n", "auth.log": lines(40, func(i int, at time.Time) string {
			return strings.ReplaceAll(guess(at, fmt.Sprintf("203.0.113.%d", i%6), i), "host sshd", "host sshd")
		})},
	},
	{
		symptom: "filter-old", level: broken, cause: "older than the service", remedy: "filter.d/sshd.conf",
		files: with(tree("[sshd]\nenabled = true\nlogpath = @/auth.log\n"), map[string]string{"auth.log": strings.ReplaceAll(attacks(40, 6), "sshd[", "sshd-session[")}),
	},
	{
		symptom: "lines-missed", level: broken, cause: "look like failures", remedy: "bailiff explain",
		files: map[string]string{"bailiff.toml": sshJail, "auth.log": lines(40, func(i int, at time.Time) string {
			return fmt.Sprintf("%s host sshd[%d]: %%NEW-AUTH-9: login invalid (origin=203.0.113.%d)", at.Format(stamp), i+1, i%6)
		})},
	},
	{
		symptom: "lines-ignored", level: doubtful, cause: "ignoreregex", remedy: "narrower",
		files: map[string]string{
			"bailiff.toml":     "[jail.app]\nenabled = true\nlogpath = '@/app.log'\nfilter = 'app'\n",
			"filters/app.toml": "failregex = '^ login of \\S+ from <ADDR> failed$'\nignoreregex = 'login'\n",
			"app.log": lines(30, func(i int, at time.Time) string {
				return fmt.Sprintf("%s login of bob from 203.0.113.%d failed", at.Format("2006-01-02 15:04:05"), i%6)
			}),
		},
	},
	{
		symptom: "lines-transport", level: broken, cause: "transport = auto", remedy: "transport",
		files: map[string]string{"bailiff.toml": sshJail + "transport = 'none'\n", "auth.log": lines(30, func(i int, at time.Time) string {
			return fmt.Sprintf(`{"log":%q,"stream":"stdout","time":%q}`, guess(at, fmt.Sprintf("203.0.113.%d", i%6), i)+"\n", at.UTC().Format(time.RFC3339Nano))
		})},
	},
	{
		symptom: "lines-encoding", level: broken, cause: "another encoding", remedy: "logencoding",
		files: map[string]string{"bailiff.toml": sshJail},
		build: func(t *testing.T, dir string) {
			var out []byte
			for _, u := range utf16.Encode([]rune(attacks(40, 6))) {
				out = append(out, byte(u), byte(u>>8))
			}
			must(t, os.WriteFile(dir+"/auth.log", out, 0o644))
		},
	},

	{
		symptom: "lines-mode", level: broken, cause: "in mode ddos, ", remedy: `mode = "ddos"`,
		files: map[string]string{"bailiff.toml": sshJail, "auth.log": lines(40, func(i int, at time.Time) string {
			return fmt.Sprintf("%s host sshd[%d]: Connection closed by invalid user bob 203.0.113.%d port 4 [preauth]", at.Format(stamp), 1000+i, i%6)
		})},
	},
	{
		symptom: "lines-json", level: broken, cause: "lines of JSON", remedy: "log JSON",
		files: map[string]string{"bailiff.toml": "[jail.traefik-json]\nenabled = true\nfilter = 'traefik-json'\nlogpath = '@/app.log'\n", "app.log": strings.Repeat("{\"ClientHost\":\"203.0.113.7\",\"cut\n", 30)},
	},

	// Who.
	{
		symptom: "who-names", level: doubtful, cause: "name a host", remedy: "log addresses",
		files: map[string]string{
			"bailiff.toml":     "[jail.app]\nenabled = true\nlogpath = '@/app.log'\nfilter = 'app'\n",
			"filters/app.toml": "failregex = '^ login of \\S+ from <HOST> failed$'\n",
			"app.log": lines(30, func(i int, at time.Time) string {
				return fmt.Sprintf("%s login of bob from host%d.example.org failed", at.Format("2006-01-02 15:04:05"), i%6)
			}),
		},
	},
	{
		symptom: "who-proxy", level: broken, cause: "a proxy", remedy: `trusted = ["203.0.113.9"]`,
		files: map[string]string{"bailiff.toml": sshJail, "auth.log": lines(60, func(i int, at time.Time) string {
			return strings.Replace(guess(at, "203.0.113.9", i), fmt.Sprintf("user u%d", i%7), fmt.Sprintf("user u%d", i), 1)
		})},
	},
	{
		symptom: "who-gateway", level: broken, cause: "the gateway of a container network", remedy: "userland-proxy",
		files: map[string]string{"bailiff.toml": sshJail, "auth.log": lines(60, func(i int, at time.Time) string { return guess(at, "172.29.77.1", i) })},
	},
	{
		symptom: "who-own", level: broken, cause: "this host itself", remedy: "trusted",
		files: map[string]string{"bailiff.toml": sshJail, "auth.log": lines(60, func(i int, at time.Time) string { return guess(at, "127.0.0.1", i) })},
	},
	{
		symptom: "who-private", level: doubtful, cause: "private addresses", remedy: "load balancer",
		files: map[string]string{"bailiff.toml": sshJail, "auth.log": lines(60, func(i int, at time.Time) string { return guess(at, fmt.Sprintf("10.20.30.%d", 10+i%6), i) })},
	},
	{
		symptom: "who-ignored", level: broken, cause: "are ignored", remedy: "narrower",
		files: map[string]string{"bailiff.toml": sshJail + "ignoreip = ['203.0.113.0/24']\n", "auth.log": attacks(60, 6)},
	},

	// The sums.
	{
		symptom: "sums-maxretry", level: doubtful, cause: "never reached", remedy: "maxretry = 5",
		files: map[string]string{"bailiff.toml": sshJail + "maxretry = 50\n", "auth.log": attacks(60, 6)},
	},
	{
		symptom: "sums-slow", level: doubtful, cause: "slower than it is looked for", remedy: `findtime = "`,
		files: map[string]string{"bailiff.toml": sshJail, "auth.log": func() string {
			var b strings.Builder
			for i := range 60 {
				at := time.Now().Add(time.Duration(i-60) * 12 * time.Minute / 2)
				b.WriteString(guess(at, fmt.Sprintf("203.0.113.%d", 10+i%6), i) + "\n")
			}
			return b.String()
		}()},
	},
	{
		symptom: "sums-spread", level: doubtful, cause: "203.0.113.0/24", remedy: "ban.prefix4 = 24",
		files: map[string]string{"bailiff.toml": sshJail, "auth.log": attacks(60, 30)},
	},
	{
		symptom: "sums-findtime", level: doubtful, cause: "the log holds", remedy: "findtime",
		files: map[string]string{"bailiff.toml": sshJail + "findtime = '2d'\n", "auth.log": attacks(60, 6), "auth.log.1": "x\n", "auth.log.2": "x\n"},
		build: func(t *testing.T, dir string) {
			age(t, dir+"/auth.log.1", time.Hour)
			age(t, dir+"/auth.log.2", 7*time.Hour)
		},
	},

	{
		symptom: "sums-findtime", level: doubtful, cause: "the log holds", remedy: "findtime",
		files: map[string]string{"bailiff.toml": sshJail + "findtime = '2d'\n", "auth.log": attacks(60, 6), "auth.log.1": attacks(360, 6)},
		build: func(t *testing.T, dir string) { age(t, dir+"/auth.log.1", 10*time.Minute) },
	},
	{
		symptom: "clock-back", level: broken, cause: "clock is behind", remedy: "timedatectl",
		files: map[string]string{"bailiff.toml": "[jail.django-auth]\nenabled = true\nlogpath = '@/app.log'\n", "app.log": lines(40, func(i int, at time.Time) string {
			return fmt.Sprintf("%s django.security Login failure 203.0.113.%d", at.Add(2*time.Hour).UTC().Format("2006-01-02 15:04:05,000Z"), i%6)
		})},
		build: func(t *testing.T, dir string) { age(t, dir+"/app.log", -2*time.Hour) },
	},

	// The configuration.
	{
		symptom: "conf-unreadable", level: broken, cause: "can't be read", remedy: "put that right",
		files: map[string]string{"bailiff.toml": "[jail.sshd\nenabled = true\n"},
	},
	{ // the same log by other names
		symptom: "conf-same-log", level: doubtful, cause: "are jail sshd's, too", remedy: "enabled = false",
		files: map[string]string{"bailiff.toml": sshJail + "[jail.the-same]\nenabled = true\nfilter = 'sshd[mode=aggressive]'\nlogpath = '@/*.log'\n", "auth.log": attacks(40, 6)},
	},
	{
		symptom: "conf-enabled", level: broken, cause: "did you mean enabled", remedy: "enabled = true",
		files: with(tree("[sshd]\nenable = true\nlogpath = @/auth.log\n"), map[string]string{"auth.log": attacks(40, 6)}),
	},
	{
		symptom: "conf-option", level: doubtful, cause: "did you mean maxretry?", remedy: "as it is meant",
		files: with(tree("[sshd]\nenabled = true\nmaxretyr = 3\nlogpath = @/auth.log\n"), map[string]string{"auth.log": attacks(40, 6)}),
	},
	{
		symptom: "conf-enabled", level: broken, cause: "enabled", remedy: "enabled = true",
		files: map[string]string{"bailiff.toml": "[jail.sshd]\nenable = true\nlogpath = '@/auth.log'\n", "auth.log": attacks(40, 6)},
	},
	{
		symptom: "conf-section", level: broken, cause: "sshd", remedy: "[jail.sshd]",
		files: map[string]string{"bailiff.toml": "[sshd]\nenabled = true\nlogpath = '@/auth.log'\n", "auth.log": attacks(40, 6)},
	},
	{
		symptom: "filter-missing", level: broken, cause: "did you mean sshd?", remedy: `filter = "sshd"`,
		files: map[string]string{"bailiff.toml": sshJail + "filter = 'ssdh'\n", "auth.log": attacks(40, 6)},
	},
	{ // what is missed by it comes behind
		symptom: "conf-option", level: broken, cause: "did you mean logpath?", remedy: "as it is meant",
		files: tree("[sshd]\nenabled = true\nlogpth = @/auth.log\n"),
	},
	{
		symptom: "filter-missing", level: broken, cause: "did you mean sshd?", remedy: "filter = sshd",
		files: with(tree("[web]\nenabled = true\nfilter = ssdh\nlogpath = @/auth.log\n"), map[string]string{"auth.log": attacks(40, 6)}),
	},
	{
		symptom: "conf-section", level: broken, cause: "[Default]", remedy: "right",
		files: with(tree("[Default]\nbantime = 1h\n[sshd]\nenabled = true\nlogpath = @/auth.log\n"), map[string]string{"auth.log": attacks(40, 6)}),
	},
	{
		symptom: "conf-section", level: broken, cause: "sshd]", remedy: "in brackets",
		files: with(tree("[other]\nenabled = true\nlogpath = @/other.log\nsshd]\nenabled = true\nlogpath = @/auth.log\n"), map[string]string{"auth.log": attacks(40, 6), "other.log": "x\n"}),
	},
	{
		symptom: "conf-section", level: broken, cause: "want [section]", remedy: "in brackets",
		files: with(tree("[DEFAULT]\nbantime = 1h\n[sshd\nenabled = true\nlogpath = @/auth.log\n[other]\nenabled = true\nlogpath = @/other.log\n"), map[string]string{"auth.log": attacks(40, 6), "other.log": "x\n"}),
	},
	{
		symptom: "conf-same-log", level: doubtful, cause: "same filter", remedy: "enabled = false",
		files: with(tree("[sshd]\nenabled = true\nlogpath = @/auth.log\n[ssh-again]\nenabled = true\nfilter = sshd\nlogpath = @/auth.log\n"), map[string]string{"auth.log": attacks(40, 6)}),
	},
	{
		symptom: "conf-ignore-all", level: broken, cause: "0.0.0.0/0", remedy: "ignoreip",
		files: map[string]string{"bailiff.toml": sshJail + "ignoreip = ['0.0.0.0/0']\n", "auth.log": attacks(40, 6)},
	},
	{
		symptom: "jail-off", level: broken, jails: []string{"sshd"}, cause: "not enabled", remedy: "enabled = true",
		files: with(tree("[sshd]\nlogpath = @/auth.log\n[other]\nenabled = true\nlogpath = @/other.log\n"), map[string]string{"auth.log": attacks(40, 6), "other.log": "x\n"}),
	},
	{
		symptom: "jail-unknown", level: broken, jails: []string{"ssdh"}, cause: "did you mean sshd?", remedy: "bailiff check",
		files: map[string]string{"bailiff.toml": sshJail, "auth.log": attacks(40, 6)},
	},
}

// journal makes a journal with an entry of a program, just now.
func journal(t *testing.T, dir, program, message string) {
	t.Helper()
	must(t, os.MkdirAll(filepath.Join(dir, "journal"), 0o755))
	at := time.Now().Add(-time.Minute).UnixMicro()
	cmd := exec.Command("/lib/systemd/systemd-journal-remote", "--output="+filepath.Join(dir, "journal", "x.journal"), "-")
	cmd.Stdin = strings.NewReader(fmt.Sprintf("__CURSOR=s=0123456789abcdef0123456789abcdef;i=1;b=00112233445566778899aabbccddeeff;m=1;t=%x;x=1\n"+
		"__REALTIME_TIMESTAMP=%d\n__MONOTONIC_TIMESTAMP=1000000\n_BOOT_ID=00112233445566778899aabbccddeeff\n_MACHINE_ID=ffeeddccbbaa99887766554433221100\n"+
		"_HOSTNAME=host\nSYSLOG_IDENTIFIER=%s\n_COMM=%[3]s\n_PID=41\n_SYSTEMD_UNIT=ssh.service\nMESSAGE=%s\n\n", at, at, program, message))
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("systemd-journal-remote (Debian's package of that name; make test installs it): %v: %s", err, out)
	}
}
