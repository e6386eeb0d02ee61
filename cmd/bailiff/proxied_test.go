package main

import (
	"context"
	"flag"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"bailiff/pkg/hosttest"
	"bailiff/pkg/netlab"
)

var currentCaddy = flag.String("caddy", "", "a Caddy of today, as scripts/caddy builds it, beside Debian's")

// TestBehindProxy has nginx, Apache and Caddy behind a real proxy, which adds to
// X-Forwarded-For: of a client who writes another address into that, his own is banned, and
// the proxy's never; and so it is for who goes past the proxy. Traefik's lines are as its
// documentation has them.
func TestBehindProxy(t *testing.T) {
	t.Parallel()
	if os.Getuid() != 0 {
		t.Fatal("this test makes network namespaces: run it as root (make test says how)")
	}
	const (
		service, proxy, past      = "198.51.100.1", "198.51.100.5", "198.51.100.66"
		client, customer, written = "192.0.2.7", "192.0.2.99", "203.0.113.9"
	)
	lab := netlab.New(fmt.Sprintf("bailiff-proxied-%d", os.Getpid()))
	t.Cleanup(func() {
		if err := lab.Close(); err != nil {
			t.Error(err)
		}
	})
	var hosts [3]*netlab.Host
	for i, name := range []string{"service", "proxy", "client"} {
		var err error
		if hosts[i], err = lab.Host(name); err != nil {
			t.Fatal(err)
		}
	}
	if err := lab.Cable(hosts[0], hosts[1], []string{service + "/24"}, []string{proxy + "/24", past + "/24"}); err != nil {
		t.Fatal(err)
	}
	if err := lab.Cable(hosts[1], hosts[2], []string{"192.0.2.1/24"}, []string{client + "/24", customer + "/24"}); err != nil {
		t.Fatal(err)
	}

	dir, err := os.MkdirTemp("", "bailiff-proxied-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil { // workers are other users
		t.Fatal(err)
	}
	path := func(name string) string { return filepath.Join(dir, name) }
	if err := os.Mkdir(path("www"), 0o755); err != nil {
		t.Fatal(err)
	}
	hosttest.Write(t, filepath.Join(path("www"), "index.html"), "hello\n")
	crypt, err := exec.Command("openssl", "passwd", "-apr1", "right").Output()
	if err != nil {
		t.Fatalf("openssl passwd: %v", err)
	}
	hosttest.Write(t, path("htpasswd"), "alice:"+string(crypt))
	hash, err := exec.Command("caddy", "hash-password", "--plaintext", "right").Output()
	if err != nil {
		t.Fatalf("caddy hash-password: %v (package caddy)", err)
	}

	// What listens where, and the jail for its log. counts: it finds out who is behind the
	// proxy.
	type kind struct {
		port          int
		name, filter  string
		counts, plain bool
	}
	kinds := []kind{
		{8001, "nginx", "nginx-http-auth", true, false},
		{8002, "nginx-plain", "nginx-http-auth", false, true},
		{8003, "apache", "apache-auth", true, false},
		{8004, "apache-plain", "apache-auth", false, true},
		{8005, "caddy", "caddy", true, false},
	}
	caddy := func(name, port, options string) string {
		return fmt.Sprintf("{\n admin off\n auto_https off\n%s\n}\nhttp://:%s {\n log {\n  output file %s\n }\n basicauth {\n  alice %s\n }\n respond hello\n}\n",
			options, port, path(name+".log"), strings.TrimSpace(string(hash)))
	}
	hosttest.Write(t, path("caddyfile"), caddy("caddy", "8005", ""))
	if *currentCaddy != "" {
		kinds = append(kinds, kind{8006, "caddy-now", "caddy", true, false})
		hosttest.Write(t, path("caddyfile-now"), caddy("caddy-now", "8006", " servers {\n  trusted_proxies static "+proxy+"/32\n  trusted_proxies_strict\n }"))
	}
	web := func(port int, name, more string) string {
		return fmt.Sprintf(" server { listen %s:%d; error_log %s; %s\n  location / { auth_basic x; auth_basic_user_file %s; root %s; } }\n", service, port, path(name+".log"), more, path("htpasswd"), path("www"))
	}
	hosttest.Write(t, path("nginx.conf"), fmt.Sprintf("daemon off; pid %s; error_log %s;\nevents {}\nhttp { access_log off;\n%s%s}\n", path("nginx.pid"), path("nginx.err"),
		web(8001, "nginx", "set_real_ip_from "+proxy+"; real_ip_header X-Forwarded-For; real_ip_recursive on;"), web(8002, "nginx-plain", "")))
	apache := func(port int, name, more string) string {
		return fmt.Sprintf("Listen %s:%d\n<VirtualHost *:%d>\nErrorLog %s\n%s\nDocumentRoot %s\n<Location />\nAuthType Basic\nAuthName x\nAuthUserFile %s\nRequire valid-user\n</Location>\n</VirtualHost>\n",
			service, port, port, path(name+".log"), more, path("www"), path("htpasswd"))
	}
	var modules strings.Builder
	for _, m := range []string{"mpm_event", "authn_core", "authn_file", "authz_core", "authz_user", "auth_basic", "remoteip", "dir"} {
		fmt.Fprintf(&modules, "LoadModule %s_module /usr/lib/apache2/modules/mod_%s.so\n", m, m)
	}
	hosttest.Write(t, path("apache.conf"), modules.String()+fmt.Sprintf("ServerName x\nServerRoot %[1]s\nPidFile %[1]s/apache.pid\nDefaultRuntimeDir %[1]s\nUser www-data\nGroup www-data\nErrorLog %[1]s/apache.err\nDirectoryIndex index.html\n", dir)+
		apache(8003, "apache", "RemoteIPHeader X-Forwarded-For\nRemoteIPTrustedProxy "+proxy)+apache(8004, "apache-plain", ""))

	var forward, jails strings.Builder
	for _, k := range kinds {
		fmt.Fprintf(&forward, " server { listen 192.0.2.1:%[1]d; location / { proxy_pass http://%[2]s:%[1]d; proxy_bind %[3]s; proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for; } }\n", k.port, service, proxy)
		fmt.Fprintf(&jails, "[jail.%s]\nenabled = true\nfilter = %q\nlogpath = %q\nmaxretry = 3\nport = %d\n", k.name, k.filter, path(k.name+".log"), k.port)
	}
	fmt.Fprintf(&jails, "[jail.traefik-json]\nenabled = true\nlogpath = %q\nmaxretry = 3\n", path("traefik.log"))
	hosttest.Write(t, path("forward.conf"), fmt.Sprintf("daemon off; pid %s; error_log %s;\nevents {}\nhttp { access_log off;\n%s}\n", path("forward.pid"), path("forward.err"), forward.String()))
	hosttest.Write(t, path("proxies"), proxy+" # ours\n")
	hosttest.Write(t, path("traefik.log"), "")
	hosttest.Write(t, path("bailiff.toml"), fmt.Sprintf("[proxy]\ntrusted = [\"file:%s\"]\n[default]\nignoreself = false\n%s", path("proxies"), jails.String()))

	run := func(host *netlab.Host, args ...string) {
		t.Helper()
		c := host.Command(context.Background(), args[0], args[1:]...)
		c.Env = append(os.Environ(), "HOME="+dir, "XDG_DATA_HOME="+dir, "XDG_CONFIG_HOME="+dir)
		out, err := os.Create(path(filepath.Base(args[0]) + ".out"))
		if err != nil {
			t.Fatal(err)
		}
		c.Stdout, c.Stderr = out, out
		if err := c.Start(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			_ = c.Process.Signal(os.Interrupt)
			_ = c.Wait()
			out.Close()
		})
	}
	run(hosts[0], "nginx", "-c", path("nginx.conf"))
	run(hosts[0], "apache2", "-f", path("apache.conf"), "-DFOREGROUND")
	run(hosts[0], "caddy", "run", "--adapter", "caddyfile", "--config", path("caddyfile"))
	if *currentCaddy != "" {
		now, err := filepath.Abs(*currentCaddy)
		if err != nil {
			t.Fatal(err)
		}
		run(hosts[0], now, "run", "--adapter", "caddyfile", "--config", path("caddyfile-now"))
	}
	run(hosts[1], "nginx", "-c", path("forward.conf"))
	for _, k := range kinds {
		for _, at := range []struct {
			host       *netlab.Host
			from, addr string
		}{{hosts[1], past, service}, {hosts[2], client, "192.0.2.1"}} {
			for end := time.Now().Add(time.Minute); ; time.Sleep(50 * time.Millisecond) {
				c, err := at.host.Dial(at.from, net.JoinHostPort(at.addr, fmt.Sprint(k.port)), time.Second)
				if err == nil {
					c.Close()
					break
				}
				if time.Now().After(end) {
					t.Fatalf("%s does not listen: %v", k.name, err)
				}
			}
		}
	}
	d := daemonIn(t, hosts[0], dir, "--database", "none")
	ask := func(host *netlab.Host, from, to, password, header string, port int, want string) {
		t.Helper()
		args := []string{"-s", "-o", "/dev/null", "-w", "%{http_code}", "--max-time", "30", "--interface", from, "-u", "alice:" + password}
		if header != "" {
			args = append(args, "-H", "X-Forwarded-For: "+header)
		}
		out, err := host.Command(context.Background(), "curl", append(args, fmt.Sprintf("http://%s:%d/", to, port))...).CombinedOutput()
		if string(out) != want && want != "" {
			t.Errorf("port %d, from %s: %s, want %s (%v)", port, from, out, want, err)
		}
	}
	for _, k := range kinds {
		ask(hosts[2], customer, "192.0.2.1", "right", "", k.port, "200")
		for range 3 {
			ask(hosts[2], client, "192.0.2.1", "wrong", written, k.port, "401")
		}
		if k.counts { // who goes past the proxy is whoever he is
			for _, want := range []string{"401", "401", ""} { // at the third he is cut off
				ask(hosts[1], past, service, "wrong", written+", 203.0.113.10", k.port, want)
			}
		}
	}
	log, err := os.OpenFile(path("traefik.log"), os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	for _, of := range []string{proxy + `:4711","ClientHost":"` + written + ", " + client, past + `:4711","ClientHost":"` + written, proxy + `:4711","ClientHost":"` + proxy} {
		for range 3 {
			fmt.Fprintf(log, `{"ClientAddr":"%s","ClientUsername":"alice","DownstreamStatus":401,"RequestMethod":"GET","RequestPath":"/","StartUTC":"%s","level":"info","time":"%[2]s"}`+"\n", of, time.Now().UTC().Format(time.RFC3339Nano))
		}
	}

	banned := func() map[string]int {
		out := map[string]int{}
		status, err := d.api.Status()
		if err != nil {
			t.Fatal(err)
		}
		for _, j := range status.Jails {
			out[j.Name] = j.Banned
		}
		return out
	}
	want := map[string][]string{"traefik-json": {client, past}}
	for _, k := range kinds {
		if k.counts {
			want[k.name] = []string{client, past}
		}
	}
	d.until(fmt.Sprintf("bans are not %v", want), func() bool {
		got := banned()
		for name, list := range want {
			if got[name] != len(list) || slices.ContainsFunc(list, func(a string) bool { return !d.holds(name, a) }) {
				return false
			}
		}
		return true
	})
	// Where the service does not say who is behind the proxy, nobody is banned.
	for _, k := range kinds {
		if k.plain {
			d.said(fmt.Sprintf("[%s] Ignore %s by", k.name, proxy))
			if n := banned()[k.name]; n > 0 {
				t.Errorf("%s bans %d addresses", k.name, n)
			}
		}
	}
	for _, who := range []string{proxy, customer, written, "203.0.113.10"} {
		if strings.Contains(d.text(), "Found "+who) || strings.Contains(d.text(), "Ban "+who) {
			t.Errorf("%s is counted:\n%s", who, d.text())
		}
	}
}
