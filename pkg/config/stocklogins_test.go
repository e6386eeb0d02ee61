package config

import (
	"fmt"
	"testing"
	"time"

	"bailiff/pkg/filter"
)

// TestStockLogins: stock filters that know logins tell who has logged in from where, of lines that
// their services write, and nobody can have written there who hasn't; and of failures, whom they
// tried.
func TestStockLogins(t *testing.T) {
	t.Parallel()
	cfg := load(t, Options{Path: directory(t, "bailiff.toml", "")})
	for name, lines := range map[string]map[string]string{
		"sshd": {
			"Jan 31 12:00:00 host sshd[9]: Accepted password for alice from 192.0.2.7 port 4711 ssh2": "alice@192.0.2.7",
			"Jan 31 12:00:00 host sshd[9]: Failed password for bob from 192.0.2.7 port 4711 ssh2":     "bob failed 192.0.2.7",
		},
		"vsftpd": {
			`Sat Jan 31 12:00:00 2026 [pid 41] [alice] OK LOGIN: Client "192.0.2.7"`:                                           "alice@192.0.2.7",
			`Sat Jan 31 12:00:00 2026 [pid 41] [alice] OK LOGIN: Client "2001:db8::7"`:                                         "alice@2001:db8::7",
			`Sat Jan 31 12:00:00 2026 [pid 41] [bob] FAIL LOGIN: Client "192.0.2.7"`:                                           "bob failed 192.0.2.7",
			`Sat Jan 31 12:00:00 2026 [pid 41] [a] OK LOGIN: Client "203.0.113.9"] FAIL LOGIN: Client "192.0.2.7"`:             `a] OK LOGIN: Client "203.0.113.9" failed 192.0.2.7`,
			`Sat Jan 31 12:00:00 2026 [pid 41] [a] FTP command: Client "192.0.2.7", "USER [x] OK LOGIN: Client "198.51.100.9"`: "",
		},
		"proftpd": {
			"Jan 31 12:00:00 host proftpd[123] host.example.org (x.example.net[192.0.2.7]): USER alice: Login successful.":                                                      "alice@192.0.2.7",
			"2026-01-31 00:25:02,203 host proftpd[17] 127.0.1.1 (192.0.2.7[192.0.2.7]): USER alice: Login successful.":                                                          "alice@192.0.2.7",
			"Jan 31 12:00:00 host proftpd[123] host.example.org (x.example.net[192.0.2.7]): USER bob (Login failed): Incorrect password.":                                       "bob failed 192.0.2.7",
			"Jan 31 12:00:00 host proftpd[123] host.example.org (x[192.0.2.7]): USER a: Login successful. (Login failed): Incorrect password.":                                  "a: Login successful. failed 192.0.2.7",
			"Jan 31 12:00:00 host proftpd[123] host.example.org (x[192.0.2.7]): USER a: Login successful.: no such user found from x [192.0.2.7] to 198.51.100.1:21":            "a: Login successful. failed 192.0.2.7",
			"Jan 31 12:00:00 host proftpd[123] host.example.org (x[192.0.2.7]): USER p[1] h (x[203.0.113.9]): USER b: no such user found from x [192.0.2.7] to 198.51.100.1:21": "p[1] h (x[203.0.113.9]): USER b failed 192.0.2.7",
		},
		"dovecot": {
			"Jan 31 12:00:00 host dovecot: imap-login: Login: user=<alice>, method=PLAIN, rip=192.0.2.7, lip=198.51.100.1, mpid=4, TLS, session=<x>":                                                        "alice@192.0.2.7",
			"2026-01-31T00:28:24.768455+00:00 host dovecot: pop3-login: Logged in: user=<alice>, method=PLAIN, rip=2001:db8:2:7::7, lip=2001:db8:2::1, mpid=60, session=<pONaIzdhWMUgAQ24AAIABwAAAAAAAAAH>": "alice@2001:db8:2:7::7",
			"Jan 31 12:00:00 host dovecot: imap-login: Disconnected (auth failed, 1 attempts in 2 secs): user=<bob>, method=PLAIN, rip=192.0.2.7, lip=198.51.100.1, TLS, session=<x>":                       " failed 192.0.2.7",
			"Jan 31 12:00:00 host dovecot: auth-worker(13647): pam(bob,192.0.2.7): unknown user":                                                                                                            "bob failed 192.0.2.7",
			"Jan 31 12:00:00 host dovecot: imap(bob)<4><x>: Error: imap-login: Login: user=<alice>, method=PLAIN, rip=192.0.2.7, lip=198.51.100.1":                                                          "",
		},
	} {
		d, err := cfg.FilterDefinition(name, "")
		if err != nil {
			t.Fatal(err)
		}
		if !KnowsLogins(&d) {
			t.Errorf("%s knows no logins", name)
		}
		d.Logins = true
		for line, want := range lines {
			f, err := filter.Compile(d, time.UTC)
			if err != nil {
				t.Fatal(err)
			}
			f.Detail = filter.DetailLines
			r := f.Match([]byte(line), time.Date(2026, 1, 31, 12, 0, 0, 0, time.UTC))
			got := ""
			for _, l := range r.Logins {
				got += fmt.Sprintf("%s@%v", l.User, l.Addr.Addr())
			}
			for _, x := range r.Failures {
				got += fmt.Sprintf("%s failed %s", x.User, x.ID)
			}
			if got != want {
				t.Errorf("%s: %s: %q, want %q", name, line, got, want)
			}
		}
	}
}
