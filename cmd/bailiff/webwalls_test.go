package main

import (
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"bailiff/pkg/config"
	"bailiff/pkg/hosttest"
)

// TestWebSavesBehindWalls: a confined daemon keeps what an admin changes and saves on the page: settings and a filter with
// its samples, beside the database. They hold over a restart, by which the filter counts. Nothing else is
// written: no key that is not to be changed, no file elsewhere, whatever a form or a request of the API says.
func TestWebSavesBehindWalls(t *testing.T) {
	t.Parallel()
	n := newNetwork(t)
	for _, d := range []string{"logs", "export", "conf"} {
		if err := os.Mkdir(n.path(d), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	log := hosttest.Write(t, n.path("logs/auth.log"), "")
	n.tree = n.path("conf")
	text := strings.ReplaceAll(wallsConfig, "@D@", n.dir) + "[jail.shop]\nenabled = true\nfilter = \"django-auth\"\nlogpath = \"" + log + "\"\n[web]\nlisten = \"198.51.100.1:8990\"\n"
	conf := hosttest.Write(t, n.path("conf/bailiff.toml"), text)
	n.start("")
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", n.daemon.Process.Pid))
	if err != nil {
		t.Fatal(err)
	}
	confinedStatus(t, string(status))
	const site = "http://198.51.100.1:8990"
	anna := newSurfer(t, n.customer, "198.51.100.7")
	link := regexp.MustCompile(`http://198\.51\.100\.1:8990/login/\S+`).FindString(n.ask("web", "--role", "admin"))
	if code, err := anna.send(link, link, url.Values{}); code != 303 || err != nil {
		t.Fatalf("%s: %d %v", link, code, err)
	}
	send := func(path string, want int, form url.Values) {
		t.Helper()
		if code, err := anna.send(site+"/jails", site+path, form); code != want || err != nil {
			t.Errorf("%s %v: %d %v, want %d", path, form, code, err, want)
		}
	}
	kept := func() map[string]string {
		t.Helper()
		out := map[string]string{}
		for _, dir := range []string{"db/jails.d", "db/filters.d"} {
			files, _ := filepath.Glob(n.path(dir + "/*"))
			for _, f := range files {
				text, err := os.ReadFile(f)
				if err != nil {
					t.Fatal(err)
				}
				out[strings.TrimPrefix(f, n.path("db")+"/")] = string(text)
			}
		}
		return out
	}

	// Who shows what would be changes nothing.
	const own = "failregex = '''^\\s*no entry for <F-USER>.*</F-USER> from <ADDR>$'''\n"
	line := func(who string) string {
		return time.Now().UTC().Format("2006-01-02 15:04:05") + " no entry for root from " + who
	}
	filter := url.Values{"name": {"mine"}, "filter": {own}, "lines": {line("192.0.2.66") + "\nsomething else"}}
	send("/filter/save", 200, filter)
	send("/jails/web/settings", 200, url.Values{"maxretry": {"2"}, "keep": {"1"}})
	if got := kept(); len(got) != 0 {
		t.Fatalf("it is only shown: %q", got)
	}
	filter.Set("sure", "1")
	send("/filter/save", 303, filter)
	send("/jails/shop/settings", 303, url.Values{"maxretry": {"2"}, "findtime": {"1h"}, "filter": {"mine"}, "keep": {"1"}, "sure": {"1"}})
	good := kept()
	if f := good["filters.d/mine.toml"]; len(good) != 2 || !strings.Contains(f, own) || strings.Count(f, "[[sample]]") != 2 || !strings.Contains(good["jails.d/shop.toml"], "maxretry = 2") {
		t.Fatalf("kept are %q", good)
	}

	send("/jails/web/settings", 400, url.Values{"filter": {"mine"}, "sure": {"1"}}) // it has a failregex of its own, in place of which no filter's would count

	// What is not to be changed is not, neither by a form nor by the API, and no value or name leads further.
	with := func(k, v string) url.Values { return url.Values{k: {v}, "keep": {"1"}, "sure": {"1"}} }
	for _, k := range []string{"logpath", "backend", "action", "ban", "failregex", "ignoreip", "port", "ignorecommand", "usedns"} {
		send("/jails/web/settings", 400, with(k, "/etc/shadow"))
	}
	for _, v := range []string{"1h\"\nlogpath = \"/etc/shadow", "1h\nban = 'touch /tmp/x'", "mine\"\n[action.x]\nban = \"true\""} {
		send("/jails/web/settings", 400, with("bantime", v))
		send("/jails/web/settings", 400, with("filter", v))
	}
	for _, name := range []string{"../jails.d/web", "..", "/etc/cron.d/x", "a/b", "mine.toml/../x", "a\x00b", ""} {
		send("/filter/save", 200, url.Values{"name": {name}, "filter": {own}, "sure": {"1"}}) // which says what is wrong with it
	}
	for _, more := range []string{"[jail.x]\nenabled = true\n", "ban = \"true\"\n", "logpath = \"/etc/shadow\"\n", "[action.x]\nban = \"true\"\n"} {
		send("/filter/save", 200, url.Values{"name": {"other"}, "filter": {own + more}, "sure": {"1"}})
	}
	api := overSocket(n.path("sock"))
	for _, body := range []string{`{"logpath": "/etc/shadow", "keep": true}`, `{"maxretry": 4, "ban": "true", "keep": true}`, `{"action": {"x": {"ban": "true"}}, "keep": true}`, `{"bantime": "1h\"\nban = \"true", "keep": true}`} {
		res, err := api.Post("http://bailiff/v1/jails/web/settings", "application/json", strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		res.Body.Close()
		if res.StatusCode != http.StatusBadRequest {
			t.Errorf("%s: %s", body, res.Status)
		}
	}
	if got := kept(); fmt.Sprint(got) != fmt.Sprint(good) {
		t.Errorf("kept are %q, want %q", got, good)
	}
	for _, l := range strings.Split(good["jails.d/shop.toml"], "\n") {
		key, _, ok := strings.Cut(l, "=")
		if key = strings.TrimSpace(key); ok && !strings.HasPrefix(key, "#") && !strings.Contains(" "+strings.Join(config.KeptKeys, " ")+" ", " "+key+" ") {
			t.Errorf("key %s is kept", key)
		}
	}
	if now, _ := os.ReadFile(conf); string(now) != text {
		t.Errorf("the configuration was changed: %s", now)
	}

	n.restart()
	f, err := os.OpenFile(log, os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	fmt.Fprintf(f, "%s\n%[1]s\n", line("192.0.2.66"))
	n.until("the saved filter bans after two failures", func() bool { return strings.Contains(n.ask("status", "shop"), "192.0.2.66") })
}
