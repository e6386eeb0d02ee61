// Package page drives a real browser over the page of a real daemon, in networks of its own: make page.
package page

import (
	"bufio"
	"bytes"
	"context"
	"database/sql"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	_ "modernc.org/sqlite"

	"bailiff/pkg/cli"
	"bailiff/pkg/control"
	"bailiff/pkg/netlab"
	"bailiff/pkg/web/mmdbtest"
)

var (
	modules = flag.String("page", "", "a `directory` with playwright-core and axe-core, as scripts/page makes it")
	only    = flag.String("page.only", "", "only steps that a `pattern` finds, after the login")
	many    = flag.Int("page.bans", 1_000_000, "so many bans are searched")
)

// TestMain lets the test's own binary be the program.
func TestMain(m *testing.M) {
	if filepath.Base(os.Args[0]) == "bailiff" {
		os.Exit(cli.Main(os.Args))
	}
	os.Exit(m.Run())
}

const password = "correct horse battery staple"

// TestPage goes every way through the page in Debian's chromium, and tries to have it run what attackers
// write. Screenshots are in tmp/page/shots.
func TestPage(t *testing.T) {
	if *modules == "" {
		t.Skip("make page tries it, which installs chromium and playwright-core (-page)")
	}
	if os.Getuid() != 0 {
		t.Fatal("this test makes network namespaces: run it as root")
	}
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	path := func(name string) string { return filepath.Join(dir, name) }
	lab := netlab.New(fmt.Sprintf("bailiff-page-%d", os.Getpid()))
	t.Cleanup(func() {
		if err := lab.Close(); err != nil {
			t.Error(err)
		}
	})
	host := func(name string) *netlab.Host {
		h, err := lab.Host(name)
		if err != nil {
			t.Fatal(err)
		}
		return h
	}
	server, client := host("server"), host("client")
	ours := []string{"192.0.2.66/24"} // the browser's comes first
	for n := range 10 {
		ours = append(ours, fmt.Sprintf("192.0.2.%d/24", 67+n))
	}
	if err := lab.Cable(server, client, []string{"192.0.2.1/24", "2001:db8:a::1/64"}, ours); err != nil {
		t.Fatal(err)
	}
	l, err := server.Listen(":80")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	netlab.Serve(l, func(c net.Conn) { _, _ = io.Copy(c, c) })

	write := func(name, text string) string {
		t.Helper()
		if err := os.WriteFile(path(name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path(name)
	}
	log := write("app.log", "")
	// A log whose name is a payload, as somebody who may make files has named it.
	evilLog := write(`"><img src=x onerror=ran=1>payload-log.log`, "")
	places := mmdbtest.File(t, map[string]map[string]any{
		"192.0.2.0/24": {
			"country":                  map[string]any{"iso_code": "NZ", "names": map[string]any{"en": "New Zealand"}},
			"autonomous_system_number": uint32(64500), "autonomous_system_organization": "Example",
		},
		"203.0.113.0/24": {"country": map[string]any{"iso_code": "DE", "names": map[string]any{"en": "Germany"}}},
	})
	payloads := payloads()
	config := fmt.Sprintf(`
[database]
path = %q

[web]
listen = "192.0.2.1:8990"
users = %q
mmdb = [%q]

[jail.shop]
enabled = true
maxretry = 3
failregex = '^\s*login of <F-USER>.*</F-USER> failed from <ADDR>$'
logpath = %q

[jail.session]
enabled = true
maxretry = 1
failregex = '^\s*login of <F-ID>again.*</F-ID> failed from'
logpath = %q

[jail.saved]
enabled = true
filter = "django-auth"
logpath = %q

[jail.many]
enabled = true
bantime = "1d"
failregex = '^\s*login failed from <ADDR>$'
logpath = %q

[jail.broken]
enabled = true
failregex = '<script>ran=1</script>payload-regex('
logpath = %q

[jail.bailiff-web]
enabled = true
logpath = %q
`, path("db.sqlite3"), path("users"), places, log, log, log, filepath.Join(dir, `*payload-log.log`), evilLog, path("out"))
	write("bailiff.toml", config)
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	program := path("bailiff")
	if err := os.Symlink(self, program); err != nil {
		t.Fatal(err)
	}
	run := func(stdin string, args ...string) {
		t.Helper()
		c := exec.Command(program, args...)
		c.Stdin = strings.NewReader(stdin)
		if out, err := c.CombinedOutput(); err != nil {
			t.Fatalf("bailiff %v: %v: %s", args, err, tail(out))
		}
	}
	for name, role := range map[string]string{"olga": "admin", "otto": "operator", "victor": "viewer"} {
		run(password+"\n", "web", "user", "add", name, "--role", role, "--file", path("users"))
	}
	run(ban(0), "bans", "import", "--database", path("db.sqlite3")) // which makes the database
	fill(t, path("db.sqlite3"), *many)

	daemon := server.Command(context.Background(), program, "run", "--config", dir, "--socket", path("sock"), "--log-target", path("out"))
	if err := daemon.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = daemon.Process.Signal(os.Interrupt)
		_ = daemon.Wait()
		if t.Failed() {
			text, _ := os.ReadFile(path("out"))
			t.Logf("the daemon's log: %s", tail(text))
		}
	})
	api := control.NewClient(path("sock"))
	for end := time.Now().Add(5 * time.Minute); ; time.Sleep(100 * time.Millisecond) {
		if j, err := api.Jail("shop"); err == nil && j.Error == "" {
			if p, err := api.SearchBans(control.BansQuery{Jail: "many", Limit: 1}); err == nil && p.Total == *many {
				break
			}
		}
		if time.Now().After(end) {
			text, _ := os.ReadFile(path("out"))
			t.Fatalf("the daemon does not start: %s", tail(text))
		}
	}
	shots, err := filepath.Abs("../../tmp/page/shots")
	if err != nil {
		t.Fatal(err)
	}
	given, err := json.Marshal(map[string]any{
		"modules": *modules, "url": "http://192.0.2.1:8990", "server": "192.0.2.1", "port": 8990, "password": password, "log": log, "shots": shots,
		"payloads": payloads, "bans": *many, "somebody": somebody(*many / 2), "evilWays": []string{"/jails/many", "/jails/broken"}, "only": *only,
	})
	if err != nil {
		t.Fatal(err)
	}
	browser := client.Command(context.Background(), "node", "page.mjs", write("given.json", string(given)))
	browser.Env = append(os.Environ(), "HOME="+dir, "TZ=UTC")
	var errs bytes.Buffer
	browser.Stderr = &errs
	out, err := browser.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := browser.Start(); err != nil {
		t.Fatal(err)
	}
	n := 0
	lines := bufio.NewScanner(out)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var r struct {
			Step, Error string
			Notes       []string
		}
		if err := json.Unmarshal(lines.Bytes(), &r); err != nil || r.Step == "" {
			t.Logf("%s", lines.Bytes())
			continue
		}
		n++
		t.Run(r.Step, func(t *testing.T) {
			for _, note := range r.Notes {
				t.Log(note)
			}
			if r.Error != "" {
				t.Error(r.Error)
			}
		})
	}
	if err := browser.Wait(); err != nil || n < 32 && *only == "" {
		t.Errorf("the browser's script: %v, %d steps: %s", err, n, tail(errs.Bytes()))
	}
}

func tail(b []byte) []byte { return b[max(len(b)-4000, 0):] }

// somebody is one of those who are banned from the start.
func somebody(n int) string {
	if n%2 == 0 {
		return fmt.Sprintf("2001:db8:7:%x:%x::7", n>>16, n&0xffff)
	}
	return fmt.Sprintf("2001:db8:8:%x:%x::7", n>>16, n&0xffff)
}

// begin is when those who are banned from the start were.
var begin = time.Now().Add(-time.Hour).UTC().Truncate(time.Second)

// ban is the ban of one, as bailiff bans export writes it.
func ban(n int) string {
	return fmt.Sprintf(`{"jail":"many","ip":%q,"time":%q,"bantime":86400,"count":1}`+"\n", somebody(n), begin.Format(time.RFC3339))
}

// fill writes bans into a database, all but the first: a million by the program would take a quarter of
// an hour.
func fill(t *testing.T, database string, many int) {
	t.Helper()
	db, err := sql.Open("sqlite", database)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	tx, err := db.Begin()
	if err != nil {
		t.Fatal(err)
	}
	insert, err := tx.Prepare("INSERT INTO bips(ip, jail, timeofban, bantime, bancount, data) VALUES(?, 'many', ?, 86400, 1, '{}')")
	if err != nil {
		t.Fatal(err)
	}
	for n := 1; n < many; n++ {
		if _, err := insert.Exec(somebody(n), begin.Unix()+int64(n%3600)); err != nil {
			t.Fatal(err)
		}
	}
	if err := tx.Commit(); err != nil {
		t.Fatal(err)
	}
}

// payloads are what an attacker writes where a name is logged: each sets ran if it runs.
func payloads() []string {
	list := []string{
		`<script>ran=1</script>`, `<ScRiPt>ran=1</sCrIpT>`, `<script src=//evil.example/x.js></script>`, `"><script>ran=1</script>`, `'><script>ran=1</script>`,
		`</td></tr></table><script>ran=1</script>`, `</title><script>ran=1</script>`, `</textarea><script>ran=1</script>`, `</style><script>ran=1</script>`, `</script><script>ran=1</script>`,
		`<img src=x onerror=ran=1>`, `<img src=x:x onerror="ran=1">`, `"><img src=x onerror=ran=1>`, `<svg onload=ran=1>`, `<svg/onload=ran=1>`,
		`<svg><script>ran=1</script></svg>`, `<svg><animate onbegin=ran=1 attributeName=x dur=1s>`, `<math><mi xlink:href="javascript:ran=1">x</mi></math>`, `<body onload=ran=1>`, `<details open ontoggle=ran=1>`,
		`<iframe src="javascript:parent.ran=1">`, `<iframe srcdoc="<script>parent.ran=1</script>">`, `<object data="javascript:ran=1">`, `<embed src="javascript:ran=1">`, `<base href="//evil.example/">`,
		`<meta http-equiv=refresh content="0;url=javascript:ran=1">`, `<link rel=stylesheet href="//evil.example/x.css">`, `<style>@import "//evil.example/x.css";</style>`, `<form action="//evil.example/"><button>x</button></form>`, `<input autofocus onfocus=ran=1>`,
		`" autofocus onfocus=ran=1 x="`, `' autofocus onfocus=ran=1 x='`, "` onmouseover=ran=1 x=`", `" onmouseover="ran=1`, `javascript:ran=1`,
		`JaVaScRiPt:ran=1`, "java\tscript:ran=1", `data:text/html,<script>ran=1</script>`, `{{constructor.constructor("ran=1")()}}`, `${ran=1}`,
		`<a href="javascript:ran=1">x</a>`, `<a href="&#106;avascript:ran=1">x</a>`, `&lt;script&gt;ran=1&lt;/script&gt;`, `\u003cscript\u003eran=1\u003c/script\u003e`, `%3Cscript%3Eran=1%3C/script%3E`,
		`<!--><script>ran=1</script>-->`, `<![CDATA[<script>ran=1</script>]]>`, `<noscript><p title="</noscript><img src=x onerror=ran=1>">`, "<script>ran=1</script\x00>", `+ADw-script+AD4-ran=1+ADw-/script+AD4-`,
	}
	for i := range list {
		list[i] += fmt.Sprintf("payload-%d", i)
	}
	return list
}
