package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"bailiff/pkg/hosttest"
	"bailiff/pkg/netlab"
)

// snippet is a block of docs/proxies.md.
func snippet(t *testing.T, kind string, replace ...string) string {
	t.Helper()
	page, err := os.ReadFile("../../docs/proxies.md")
	if err != nil {
		t.Fatal(err)
	}
	m := regexp.MustCompile("(?s)```" + kind + "\n(.*?)```").FindSubmatch(page)
	if m == nil {
		t.Fatalf("docs/proxies.md has no block of %s", kind)
	}
	text := string(m[1])
	for i := 0; i < len(replace); i += 2 {
		if !strings.Contains(text, replace[i]) {
			t.Fatalf("the block of %s has no %q", kind, replace[i])
		}
		text = strings.ReplaceAll(text, replace[i], replace[i+1])
	}
	return text
}

// TestProxyExamples: what TestProxies and TestHAProxy play is what examples have, and the daemon
// reads their configurations.
func TestProxyExamples(t *testing.T) {
	t.Parallel()
	for file, kind := range map[string]string{"haproxy/haproxy.cfg": "haproxy", "caddy/Caddyfile": "caddy", "nginx/site.conf": "nginx", "traefik/dynamic.yml": "traefik"} {
		text, err := os.ReadFile("../../examples/" + file)
		if err != nil {
			t.Fatal(err)
		}
		if !strings.HasPrefix(string(text), snippet(t, kind)) {
			t.Errorf("examples/%s does not begin with the block of docs/proxies.md", file)
		}
		// What it names that the other has to have: sockets, addresses, files.
		dir := filepath.Join("../../examples", filepath.Dir(file))
		conf, err := os.ReadFile(filepath.Join(dir, "bailiff.toml"))
		if err != nil {
			t.Fatal(err)
		}
		for _, at := range regexp.MustCompile(`/run/[\w/.-]+\.sock|/var/lib/[\w/.-]+\.map|127\.0\.0\.1:8787`).FindAllString(string(text), -1) {
			if !strings.Contains(string(conf), at) {
				t.Errorf("examples/%s names %s, and bailiff.toml beside it does not", file, at)
			}
		}
		copied := t.TempDir()
		hosttest.Write(t, filepath.Join(copied, "bailiff.toml"), string(conf))
		out, err := exec.Command(program(t, "bailiff"), "check", "--config", copied).CombinedOutput()
		if err != nil || strings.Contains(string(out), "is no jail") {
			t.Errorf("%s: %v\n%s", dir, err, out)
		}
	}
}

// proxyLab is a host with proxies and one with their clients.
type proxyLab struct {
	t              *testing.T
	server, client *netlab.Host
	dir            string
}

func newProxyLab(t *testing.T) *proxyLab {
	l := &proxyLab{t: t}
	l.server, l.client = pair(t)
	dir, err := os.MkdirTemp("", "bailiff-proxies-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil { // workers are other users
		t.Fatal(err)
	}
	l.dir = dir
	if err := os.Mkdir(l.path("www"), 0o755); err != nil {
		t.Fatal(err)
	}
	hosttest.Write(t, l.path("www/index.html"), "hello\n")
	return l
}

func (l *proxyLab) path(name string) string { return filepath.Join(l.dir, name) }

// run starts a program on the server until the test's end, or until the function that it returns is called.
func (l *proxyLab) run(args ...string) (stop func()) {
	l.t.Helper()
	c := l.server.Command(context.Background(), args[0], args[1:]...)
	c.Env = append(os.Environ(), "HOME="+l.dir, "XDG_DATA_HOME="+l.dir, "XDG_CONFIG_HOME="+l.dir)
	out, err := os.Create(l.path(filepath.Base(args[0]) + ".out"))
	if err != nil {
		l.t.Fatal(err)
	}
	c.Stdout, c.Stderr = out, out
	if err := c.Start(); err != nil {
		l.t.Fatalf("%v (make packages)", err)
	}
	stopped := false
	stop = func() {
		if !stopped {
			stopped = true
			_ = c.Process.Signal(syscall.SIGTERM)
			_ = c.Wait()
			out.Close()
		}
	}
	l.t.Cleanup(stop)
	return stop
}

// get asks a port of the server as a client, and returns the answer's code; 0: there was none.
func (l *proxyLab) get(from, to string, port int, headers ...string) int {
	c, err := l.client.Dial(from, net.JoinHostPort(to, fmt.Sprint(port)), 5*time.Second)
	if err != nil {
		return 0
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(10 * time.Second))
	fmt.Fprintf(c, "GET / HTTP/1.1\r\nHost: example.org\r\nConnection: close\r\n%s\r\n", strings.Join(append(headers, ""), "\r\n"))
	res, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		return 0
	}
	res.Body.Close()
	return res.StatusCode
}

// until waits for an answer, for a minute.
func (l *proxyLab) until(what, from, to string, port, want int, headers ...string) {
	l.t.Helper()
	got := -1
	for end := time.Now().Add(time.Minute); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		if got = l.get(from, to, port, headers...); got == want {
			return
		}
	}
	var said strings.Builder
	logs, _ := filepath.Glob(l.path("*.out"))
	for _, path := range append(logs, l.path("log")) {
		text, _ := os.ReadFile(path)
		fmt.Fprintf(&said, "%s:\n%s\n", filepath.Base(path), text[max(len(text)-2000, 0):])
	}
	l.t.Fatalf("%s: %d, want %d\n%s", what, got, want, said.String())
}

// TestProxies has nginx, Caddy and Apache ask the daemon who is banned, as docs/proxies.md has
// them configured: who is banned is refused by each, and let in after the unban, and others are let in
// all the while; also while the daemon is away, by those of which the page says so.
func TestProxies(t *testing.T) {
	t.Parallel()
	const (
		attacker, customer, service = "192.0.2.66", "203.0.113.9", "192.0.2.1"
		attacker6, service6         = "2001:db8:f::66", "2001:db8:f::1"
	)
	l := newProxyLab(t)
	app := hosttest.Write(t, l.path("app.log"), "")
	hosttest.Write(t, l.path("bailiff.toml"), fmt.Sprintf(`
[firewall]
enabled = false
[check]
listen = ["unix:%s", "127.0.0.1:8787"]
group = "www-data"
[jail.app]
enabled = true
failregex = '^\s*login failed from <ADDR>$'
logpath = %q
maxretry = 2
`, l.path("check.sock"), app))
	d := daemonIn(t, l.server, l.dir, "--database", "none")

	socket := []string{"/run/bailiff/check.sock", l.path("check.sock"), "/var/www/html", l.path("www")}
	hosttest.Write(t, l.path("nginx.conf"), fmt.Sprintf("user www-data; daemon off; pid %s; error_log stderr;\nevents {}\nhttp { access_log off;\n%s}\n", l.path("nginx.pid"),
		snippet(t, "nginx", append(socket, "listen 80;", "listen 8001; listen [::]:8001;")...)))
	hosttest.Write(t, l.path("caddyfile"), "{\n admin off\n auto_https off\n}\n"+snippet(t, "caddy", append(socket, "http://example.org", "http://:8002")...))
	var modules strings.Builder
	for _, m := range []string{"mpm_event", "authz_core", "rewrite", "dir"} {
		fmt.Fprintf(&modules, "LoadModule %s_module /usr/lib/apache2/modules/mod_%s.so\n", m, m)
	}
	hosttest.Write(t, l.path("apache.conf"), modules.String()+fmt.Sprintf("Listen 8003\nServerName x\nServerRoot %[1]s\nPidFile %[1]s/apache.pid\nDefaultRuntimeDir %[1]s\nUser www-data\nGroup www-data\nErrorLog /dev/stderr\nDirectoryIndex index.html\n", l.dir)+
		snippet(t, "apache", append(socket, "*:80", "*:8003", "/usr/bin/bailiff", program(t, "bailiff"))...))
	l.run("nginx", "-c", l.path("nginx.conf"))
	l.run("caddy", "run", "--adapter", "caddyfile", "--config", l.path("caddyfile"))
	l.run("apache2", "-f", l.path("apache.conf"), "-DFOREGROUND")
	ports := map[string]int{"nginx": 8001, "caddy": 8002, "apache": 8003}
	all := func(what, from, to string, want int, headers ...string) {
		t.Helper()
		for name, port := range ports {
			l.until(name+", "+what, from, to, port, want, headers...)
		}
	}
	for _, from := range []string{attacker, customer} {
		all("before", from, service, 200)
	}
	all("before", attacker6, service6, 200)

	log, err := os.OpenFile(app, os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	for range 2 {
		fmt.Fprintf(log, "%[1]s login failed from %[2]s\n%[1]s login failed from %[3]s\n", time.Now().Format("2006-01-02 15:04:05"), attacker, attacker6)
	}
	all("banned", attacker, service, 403)
	all("banned, over IPv6", attacker6, service6, 403)
	all("who isn't", customer, service, 200)
	all("who writes another address", attacker, service, 403, "X-Forwarded-For: "+customer, "X-Real-IP: "+customer)
	if out, code := d.run("unban", attacker, attacker6); code != 0 {
		t.Fatal(out)
	}
	all("unbanned", attacker, service, 200)
	all("unbanned, over IPv6", attacker6, service6, 200)

	// Another jail's bans count, which a reload brings; and none that [check] jails doesn't name.
	text, err := os.ReadFile(l.path("bailiff.toml"))
	if err != nil {
		t.Fatal(err)
	}
	feed := hosttest.Write(t, l.path("feed.txt"), "203.0.113.8/31\n")
	hosttest.Write(t, l.path("bailiff.toml"), string(text)+fmt.Sprintf("[jail.feed]\nenabled = true\nlist = %q\n", feed))
	if out, code := d.run("reload"); code != 0 {
		t.Fatal(out)
	}
	all("on a list", customer, service, 403)
	only := strings.Replace(string(text), "group = \"www-data\"", "group = \"www-data\"\njails = \"app\"", 1)
	hosttest.Write(t, l.path("bailiff.toml"), only+fmt.Sprintf("[jail.feed]\nenabled = true\nlist = %q\n", feed))
	if out, code := d.run("reload"); code != 0 {
		t.Fatal(out)
	}
	all("on a list that doesn't count", customer, service, 200)
	if out, code := d.run("ban", "app", attacker); code != 0 {
		t.Fatal(out)
	}
	all("banned by hand, after a reload", attacker, service, 403)

	d.end()
	for _, name := range []string{"nginx", "apache"} {
		l.until(name+", while the daemon is away", attacker, service, ports[name], 200)
	}
	daemonIn(t, l.server, l.dir, "--database", "none")
	all("when it is back", customer, service, 200)
}

// TestHAProxy has the map of a real HAProxy told of bans and unbans, as docs/proxies.md has it
// configured; HAProxy is away for a while, and comes back with a file of before; what others have put
// into its map stays.
func TestHAProxy(t *testing.T) {
	t.Parallel()
	const attacker, customer, service = "192.0.2.66", "203.0.113.9", "192.0.2.1"
	const attacker6, service6 = "2001:db8:f::66", "2001:db8:f::1"
	l := newProxyLab(t)
	feed := hosttest.Write(t, l.path("feed.txt"), "198.51.100.0/24\n198.51.100.0\n")
	conf := fmt.Sprintf(`
[firewall]
enabled = false
[export.haproxy]
file = %q
format = "haproxy"
socket = %q
[jail.app]
enabled = true
failregex = '^\s*login failed from <ADDR>$'
logpath = %q
maxretry = 2
[jail.feed]
enabled = true
list = %q
`, l.path("bailiff.map"), l.path("admin.sock"), hosttest.Write(t, l.path("app.log"), ""), feed)
	hosttest.Write(t, l.path("bailiff.toml"), conf)
	hosttest.Write(t, l.path("bailiff.map"), "203.0.113.77 bailiff\n203.0.113.77 bailiff\n203.0.113.78 partner\n")
	hosttest.Write(t, l.path("haproxy.cfg"), snippet(t, "haproxy", "/run/haproxy/admin.sock", l.path("admin.sock"), " group bailiff", "", "/var/lib/bailiff/haproxy.map", l.path("bailiff.map"), "bind :80", "bind :8004\n    bind :::8004 v6only",
		"default_backend app", "http-request return status 200 content-type text/plain string hello"))
	start := func() func() { return l.run("haproxy", "-f", l.path("haproxy.cfg")) }
	stop := start()
	l.until("before", attacker, service, 8004, 200)

	ask := func(command string) string {
		c, err := net.Dial("unix", l.path("admin.sock"))
		if err != nil {
			return err.Error()
		}
		defer c.Close()
		_ = c.SetDeadline(time.Now().Add(10 * time.Second))
		fmt.Fprintln(c, command)
		out, _ := io.ReadAll(c)
		return string(out)
	}
	var d *daemonAt
	held := func(want ...string) {
		t.Helper()
		slices.Sort(want)
		var got []string
		for end := time.Now().Add(time.Minute); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
			got = nil
			for _, line := range strings.Split(ask("show map "+l.path("bailiff.map")), "\n") {
				if _, entry, ok := strings.Cut(line, " "); ok {
					got = append(got, entry)
				}
			}
			if slices.Sort(got); slices.Equal(got, want) {
				return
			}
		}
		t.Fatalf("the map has %q, want %q\n%s", got, want, d.text())
	}
	d = daemonIn(t, l.server, l.dir, "--database", "none")
	// What was left of ours goes, what is somebody else's stays, the list comes.
	held("203.0.113.78 partner", "198.51.100.0/24 bailiff")
	if out := ask("add map " + l.path("bailiff.map") + " 203.0.113.79 partner"); strings.TrimSpace(out) != "" {
		t.Fatal(out)
	}

	log, err := os.OpenFile(l.path("app.log"), os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	for range 2 {
		fmt.Fprintf(log, "%[1]s login failed from %[2]s\n%[1]s login failed from %[3]s\n", time.Now().Format("2006-01-02 15:04:05"), attacker, attacker6)
	}
	l.until("banned", attacker, service, 8004, 403)
	l.until("banned, over IPv6", attacker6, service6, 8004, 403)
	l.until("who isn't", customer, service, 8004, 200)
	held("203.0.113.78 partner", "203.0.113.79 partner", "198.51.100.0/24 bailiff", attacker+" bailiff", attacker6+" bailiff")
	if out, code := d.run("unban", attacker, attacker6); code != 0 {
		t.Fatal(out)
	}
	l.until("unbanned", attacker, service, 8004, 200)
	held("203.0.113.78 partner", "203.0.113.79 partner", "198.51.100.0/24 bailiff")

	// More at once than one command takes, while it is there, and while it is away.
	many := func(net, from, to int) (args, entries []string) {
		for i := from; i < to; i++ {
			a := fmt.Sprintf("10.%d.%d.%d", net, i/250, i%250+1)
			args, entries = append(args, a), append(entries, a+" bailiff")
		}
		return args, entries
	}
	first, has := many(1, 0, 900)
	if out, code := d.run(append([]string{"ban", "app"}, first...)...); code != 0 {
		t.Fatal(out)
	}
	own := []string{"203.0.113.78 partner", "203.0.113.79 partner", "198.51.100.0/24 bailiff"}
	held(append(slices.Clone(own), has...)...)
	stop()
	d.said("it is tried again")
	second, more := many(2, 0, 500)
	if out, code := d.run(append([]string{"ban", "app"}, second...)...); code != 0 {
		t.Fatal(out)
	}
	if out, code := d.run(append([]string{"unban"}, first[:400]...)...); code != 0 {
		t.Fatal(out)
	}
	// The file is written once more for these, at most a second later; then it comes back with one of some time ago.
	for end := time.Now().Add(time.Minute); ; time.Sleep(20 * time.Millisecond) {
		text, err := os.ReadFile(l.path("bailiff.map"))
		if n := strings.Count(string(text), " bailiff\n"); err == nil && n == 1+len(has)-400+len(more) {
			break
		} else if time.Now().After(end) {
			t.Fatalf("%d entries are in the file, %v\n%s", n, err, d.text())
		}
	}
	hosttest.Write(t, l.path("bailiff.map"), "203.0.113.78 partner\n"+strings.Join(has, "\n")+"\n")
	stop = start()
	held(append(append([]string{"203.0.113.78 partner", "198.51.100.0/24 bailiff"}, has[400:]...), more...)...)
	d.said("it gets bans again")
	// A list and a jail that go take theirs with them, at a reload, and the file is a map of what is left.
	hosttest.Write(t, l.path("bailiff.toml"), strings.Replace(conf, "[jail.feed]\nenabled = true", "[jail.feed]\nenabled = false", 1))
	if out, code := d.run("reload"); code != 0 {
		t.Fatal(out)
	}
	if out, code := d.run(append([]string{"unban"}, append(first[400:], second...)...)...); code != 0 {
		t.Fatal(out)
	}
	if out, code := d.run("ban", "app", attacker); code != 0 {
		t.Fatal(out)
	}
	held("203.0.113.78 partner", attacker+" bailiff")
	d.until("the file", func() bool {
		text, _ := os.ReadFile(l.path("bailiff.map"))
		return strings.HasSuffix(string(text), "\n"+attacker+" bailiff\n")
	})
	// A daemon that begins anew begins with what it knows.
	d.end()
	l.until("while the daemon is away", attacker, service, 8004, 403)
	stop()
}
