package main

import (
	"bufio"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"bailiff/pkg/control"
	"bailiff/pkg/hosttest"
)

var withPrometheus = flag.Bool("prometheus", false, "TestPrometheus: Debian's Prometheus scrapes a daemon (package prometheus)")

// asExporter asks what exporters of fail2ban ask over the socket, by fail2ban's own client class, and prints what
// they tell.
const asExporter = `
import sys, json
sys.path.insert(0, sys.argv[2])
from fail2ban.client.csocket import CSocket
s = CSocket(sys.argv[1])
def ask(*words):
    code, value = s.send(list(words))
    assert code == 0, (words, value)
    return value
out = {"f2b_up": 1 if ask("ping") == "pong" else 0}
status = dict(ask("status"))
out["f2b_jail_count"] = status["Number of jail"]
version = ask("version")
for jail in status["Jail list"].split(", "):
    of = '{jail="%s"}' % jail
    value = dict(ask("status", jail))
    found, banned = dict(value["Filter"]), dict(value["Actions"])
    out["f2b_jail_failed_current" + of] = found["Currently failed"]
    out["f2b_jail_failed_total" + of] = found["Total failed"]
    out["f2b_jail_banned_current" + of] = banned["Currently banned"]
    out["f2b_jail_banned_total" + of] = banned["Total banned"]
    out["f2b_config_jail_ban_time" + of] = ask("get", jail, "bantime")
    out["f2b_config_jail_find_time" + of] = ask("get", jail, "findtime")
    out["f2b_config_jail_max_retries" + of] = ask("get", jail, "maxretry")
print(json.dumps({"numbers": out, "version": version}))
`

// overSocket speaks HTTP over a daemon's socket.
func overSocket(socket string) *http.Client {
	return &http.Client{Timeout: time.Minute, Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", socket)
	}}}
}

// scraped are the series of a page, by name with labels.
func scraped(t *testing.T, socket string) map[string]float64 {
	t.Helper()
	c := overSocket(socket)
	defer c.CloseIdleConnections()
	res, err := c.Get("http://bailiff/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		t.Fatal(res.Status)
	}
	out := map[string]float64{}
	for in := bufio.NewScanner(res.Body); in.Scan(); {
		if i := strings.LastIndexByte(in.Text(), ' '); in.Text()[0] != '#' && i > 0 {
			if out[in.Text()[:i]], err = strconv.ParseFloat(in.Text()[i+1:], 64); err != nil {
				t.Errorf("%s: %v", in.Text(), err)
			}
		}
	}
	return out
}

// startMeasured starts a daemon with three jails, of which two have had failures and bans.
func startMeasured(t *testing.T, more string) (d *daemonAt, dir string, say func(log, format string, args ...any)) {
	t.Helper()
	dir = t.TempDir()
	for _, log := range []string{"shop.log", "watch.log", "quiet.log"} {
		hosttest.Write(t, filepath.Join(dir, log), "")
	}
	hosttest.Write(t, filepath.Join(dir, "bailiff.toml"), strings.ReplaceAll(more+`
[firewall]
enabled = false

[read]
socket = "@D@/read"
group = "root"

[default]
failregex = '^\s*login failed from <ADDR>$'

[jail.shop]
enabled = true
maxretry = 2
findtime = "1h"
bantime = "1d"
logpath = "@D@/shop.log"

[jail.watch]
enabled = true
observe = true
maxretry = 1
logpath = "@D@/watch.log"

[jail.quiet]
enabled = true
bantime = -1
logpath = "@D@/quiet.log"
`, "@D@", dir))
	d = &daemonAt{t: t, socket: filepath.Join(dir, "sock"), log: filepath.Join(dir, "log")}
	c := exec.Command(program(t, "bailiff"), "run", "--config", dir, "--socket", d.socket, "--log-target", d.log, "--database", filepath.Join(dir, "db"))
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Process.Signal(os.Interrupt); _ = c.Wait() })
	d.api = control.NewClient(d.socket)
	d.until("it does not start", func() bool { return d.api.Ping() == nil })
	say = func(log, format string, args ...any) {
		f, err := os.OpenFile(filepath.Join(dir, log), os.O_APPEND|os.O_WRONLY, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		fmt.Fprintf(f, time.Now().UTC().Format("2006-01-02 15:04:05")+" "+format+"\n", args...)
	}
	return d, dir, say
}

// TestMetrics: what is told under the names of exporters is what an exporter reads over the socket, on both
// sockets; and what only the daemon knows is counted.
func TestMetrics(t *testing.T) {
	t.Parallel()
	d, dir, say := startMeasured(t, "")
	for i := range 7 {
		say("shop.log", "login failed from 203.0.113.%d", 1+i/2)
	}
	say("shop.log", "nothing of note")
	say("watch.log", "login failed from 198.51.100.1")
	d.until("the lines are not read", func() bool {
		m := scraped(t, d.socket)
		return m[`f2b_jail_failed_total{jail="shop"}`] == 7 && m[`bailiff_jail_would_ban_current{jail="watch"}`] == 1 &&
			m[fmt.Sprintf(`bailiff_log_lines_read_total{jail="shop",log="%s/shop.log"}`, dir)] == 8
	})
	newest := hosttest.Fail2ban(t)
	out := hosttest.Python(t, nil, "", "-c", asExporter, d.socket, newest.Lib)
	var exporter struct {
		Numbers map[string]float64
		Version string
	}
	if err := json.Unmarshal(out, &exporter); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if len(exporter.Numbers) != 2+3*7 {
		t.Errorf("the exporter reads %v", exporter.Numbers)
	}
	for _, socket := range []string{d.socket, filepath.Join(dir, "read")} {
		ours := scraped(t, socket)
		for name, want := range exporter.Numbers {
			if got, ok := ours[name]; !ok || got != want {
				t.Errorf("%s: %v, the exporter reads %v", name, got, want)
			}
		}
		version := false
		for name, n := range ours {
			version = version || n == 1 && strings.HasPrefix(name, "f2b_version{") && strings.HasSuffix(name, `fail2ban="`+exporter.Version+`"}`)
		}
		if !version {
			t.Error("the version is another one than the daemon answers")
		}
		for name, want := range map[string]float64{
			`f2b_errors{type="socket_conn"}`: 0, `f2b_errors{type="socket_req"}`: 0,
			`f2b_jail_banned_current{jail="shop"}`: 3, `f2b_jail_banned_current{jail="watch"}`: 0, `f2b_config_jail_ban_time{jail="quiet"}`: -1,
			`bailiff_jail_lines_matched_total{jail="shop"}`: 7, `bailiff_jail_observes{jail="watch"}`: 1, `bailiff_jail_up{jail="quiet"}`: 1,
			fmt.Sprintf(`bailiff_log_up{jail="shop",log="%s/shop.log"}`, dir): 1, `bailiff_config_last_reload_successful`: 1, `bailiff_database_up`: 1,
		} {
			if got, ok := ours[name]; !ok || got != want {
				t.Errorf("%s: %v, want %v", name, got, want)
			}
		}
	}
	if err := os.Remove(filepath.Join(dir, "quiet.log")); err != nil {
		t.Fatal(err)
	}
	d.until("a log that is gone is not told", func() bool {
		m := scraped(t, d.socket)
		return m[fmt.Sprintf(`bailiff_log_up{jail="quiet",log="%s/quiet.log"}`, dir)] == 0 && m[`bailiff_jail_problems{jail="quiet"}`] > 0
	})
}

// TestPrometheus: Debian's Prometheus scrapes a daemon by its page, with a token, and has native histograms of it;
// its rules are tested, and one fires when a log is taken away.
func TestPrometheus(t *testing.T) {
	if !*withPrometheus {
		t.Skip("needs Debian's Prometheus: make prometheus")
	}
	const rules = "../../examples/prometheus"
	for _, args := range [][]string{{"test", "rules", "rules_test.yml"}, {"check", "config", "prometheus.yml"}} {
		c := exec.Command("promtool", args...)
		c.Dir = rules
		if out, err := c.CombinedOutput(); err != nil {
			t.Fatalf("promtool %v: %v\n%s", args, err, out)
		}
	}
	free := func() string {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		return l.Addr().String()
	}
	page, at := free(), free()
	other := t.TempDir()
	token := hosttest.Write(t, filepath.Join(other, "token"), "a-token-of-ours\n")
	if err := os.Chmod(token, 0o600); err != nil {
		t.Fatal(err)
	}
	d, dir, say := startMeasured(t, fmt.Sprintf("[web]\nlisten = %q\nmetrics = %q\n", page, token))
	text, err := os.ReadFile(filepath.Join(rules, "rules.yml"))
	if err != nil {
		t.Fatal(err)
	}
	hosttest.Write(t, filepath.Join(other, "rules.yml"), regexp.MustCompile(`(?m)^        for: .*$`).ReplaceAllString(string(text), "        for: 0s"))
	config := hosttest.Write(t, filepath.Join(other, "prometheus.yml"), fmt.Sprintf(`
global: {scrape_interval: 1s, scrape_timeout: 1s, evaluation_interval: 1s}
rule_files: [rules.yml]
scrape_configs:
  - job_name: bailiff
    authorization: {credentials_file: %s}
    static_configs: [{targets: [%q]}]
`, token, page))
	log, err := os.Create(filepath.Join(other, "log"))
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	p := exec.Command("prometheus", "--config.file="+config, "--storage.tsdb.path="+filepath.Join(other, "data"), "--web.listen-address="+at, "--enable-feature=native-histograms")
	p.Stdout, p.Stderr = log, log
	if err := p.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = p.Process.Kill(); _ = p.Wait() }()
	// ask returns how many series a question has, and the first one's value.
	ask := func(question string) (series int, value string) {
		res, err := http.Get("http://" + at + "/api/v1/query?query=" + url.QueryEscape(question))
		if err != nil {
			return 0, ""
		}
		defer res.Body.Close()
		body, _ := io.ReadAll(res.Body)
		var answer struct {
			Data struct{ Result []struct{ Value [2]any } }
		}
		if json.Unmarshal(body, &answer) != nil || len(answer.Data.Result) == 0 {
			return 0, ""
		}
		return len(answer.Data.Result), fmt.Sprint(answer.Data.Result[0].Value[1])
	}
	wait := func(what, question, want string) {
		t.Helper()
		got := ""
		for end := time.Now().Add(2 * time.Minute); got != want; time.Sleep(100 * time.Millisecond) {
			if time.Now().After(end) {
				said, _ := os.ReadFile(log.Name())
				t.Fatalf("%s: %s is %q, want %q\n%s\n%s", what, question, got, want, said, d.text())
			}
			_, got = ask(question)
		}
	}
	wait("it is scraped", `up{job="bailiff"}`, "1")
	for range 2 {
		say("shop.log", "login failed from 203.0.113.1")
	}
	wait("a ban is scraped", `f2b_jail_banned_current{jail="shop"}`, "1")
	wait("a native histogram is scraped", `histogram_count(bailiff_database_transaction_duration_seconds) > bool 0`, "1")
	if n, _ := ask(`ALERTS{alertstate="firing"}`); n > 0 {
		t.Errorf("%d alerts fire while all is well", n)
	}
	if err := os.Remove(filepath.Join(dir, "shop.log")); err != nil {
		t.Fatal(err)
	}
	wait("the alert of a log that is gone", `count(ALERTS{alertname="BailiffLogGone",alertstate="firing",jail="shop"})`, "1")
}
