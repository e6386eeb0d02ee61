package main

import (
	"bufio"
	"context"
	"errors"
	"flag"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"bailiff/pkg/hosttest"
	"bailiff/pkg/netlab"
)

var withPodman = flag.Bool("podman", false, "try a container of podman's: needs the packages podman, runc and conmon")

// container is one of podman's with a store of its own, in the network of a host.
type container struct {
	t    *testing.T
	dir  string
	name string
}

// global are podman's options for the store.
func (c *container) global() []string {
	return []string{"--root", filepath.Join(c.dir, "store"), "--runroot", filepath.Join(c.dir, "run"), "--storage-driver", "vfs", "--runtime", "runc", "--cgroup-manager", "cgroupfs"}
}

func (c *container) podman(args ...string) string {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "podman", append(c.global(), args...)...)
	cmd.WaitDelay = time.Second // conmon keeps what it has inherited
	out, err := cmd.CombinedOutput()
	if err != nil && !errors.Is(err, exec.ErrWaitDelay) {
		c.t.Fatalf("podman %v: %v: %s", args, err, out)
	}
	return string(out)
}

// nginxImage makes an image of Debian's nginx, with what it is linked to and a page for
// those who have a password, with its files where nginx's own image has them.
func nginxImage(t *testing.T, dir string) (tar string) {
	t.Helper()
	root := filepath.Join(dir, "root")
	for _, d := range []string{"usr/sbin", "etc/nginx/conf.d", "var/log/nginx", "var/lib/nginx", "tmp", "run", "proc", "dev", "sys", "usr/share/nginx/html"} {
		if err := os.MkdirAll(filepath.Join(root, d), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	libs, err := exec.Command("ldd", "/usr/sbin/nginx").Output()
	if err != nil {
		t.Fatalf("ldd nginx: %v (make test installs nginx)", err)
	}
	for _, word := range append(strings.Fields(string(libs)), "/usr/sbin/nginx") {
		if !strings.HasPrefix(word, "/") {
			continue
		}
		to := filepath.Join(root, word)
		if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
			t.Fatal(err)
		}
		if out, err := exec.Command("cp", "-L", word, to).CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
	}
	crypt, err := exec.Command("openssl", "passwd", "-apr1", "secret").Output()
	if err != nil {
		t.Fatalf("openssl passwd: %v", err)
	}
	for name, text := range map[string]string{
		"etc/passwd": "root:x:0:0::/:/bin/false\nwww-data:x:33:33::/:/bin/false\n", "etc/group": "root:x:0:\nwww-data:x:33:\n",
		"etc/nginx/users": "customer:" + string(crypt), "usr/share/nginx/html/index.html": "welcome\n",
		"etc/nginx/nginx.conf": "user www-data; worker_processes 1; error_log /var/log/nginx/error.log; pid /run/nginx.pid;\nevents {}\n" +
			"http { access_log off; keepalive_timeout 600s; include /etc/nginx/conf.d/*.conf; }\n",
		"etc/nginx/conf.d/default.conf": "server { listen 80; root /usr/share/nginx/html; location / { auth_basic \"here\"; auth_basic_user_file /etc/nginx/users; } }\n",
	} {
		hosttest.Write(t, filepath.Join(root, name), text)
	}
	tar = filepath.Join(dir, "image.tar")
	if out, err := exec.Command("tar", "-cf", tar, "-C", root, ".").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return tar
}

// page asks for the page over one connection, and returns the status.
func page(l *login, password string) (int, error) {
	req, err := http.NewRequest(http.MethodGet, "http://"+publishedAt+"/", nil)
	if err != nil {
		return 0, err
	}
	req.SetBasicAuth("customer", password)
	_ = l.SetDeadline(time.Now().Add(10 * time.Second))
	if err := req.Write(l.Conn); err != nil {
		return 0, err
	}
	res, err := http.ReadResponse(l.reader, req)
	if err != nil {
		return 0, err
	}
	defer res.Body.Close()
	_, err = bufio.NewReader(res.Body).WriteTo(&strings.Builder{})
	return res.StatusCode, err
}

// TestPodman: nginx in a container of podman's behind a published port, with its log where
// the host reads it. Who guesses passwords is shut out of it, with the connection that he has
// open; a customer goes on, over a restart of the container and a ruleset that somebody has
// flushed.
func TestPodman(t *testing.T) {
	if !*withPodman {
		t.Skip("make zoo tries it, which installs podman (-podman)")
	}
	p := publishedPort(t)
	gate, client := p.Gate, p.Client
	g := &guarded{t: t, host: gate, dir: t.TempDir(), prog: program(t, "bailiff")}
	c := &container{t: t, dir: t.TempDir(), name: fmt.Sprintf("bailiff-%d", os.Getpid())}
	if err := os.Mkdir(g.path("nginx"), 0o755); err != nil {
		t.Fatal(err)
	}
	c.podman("import", nginxImage(t, c.dir), "bailiff-nginx")
	c.podman("run", "-d", "--name", c.name, fmt.Sprintf("--network=ns:/proc/%d/fd/%d", os.Getpid(), p.Container.NsFd()), "--ulimit", "nofile=1024:1024", "--ulimit", "nproc=1024:1024",
		"-v", g.path("nginx")+":/var/log/nginx", "bailiff-nginx", "/usr/sbin/nginx", "-g", "daemon off;")
	t.Cleanup(func() { c.podman("rm", "-f", "-t", "1", c.name) })
	g.write(map[string]string{"bailiff.toml": "[jail.nginx-http-auth]\nenabled = true\nlogpath = '$DIR/nginx/error.log'\nport = '8080'\nmaxretry = 3\nbantime = '1h'\n"})
	g.until("nginx does not log", func() bool { _, err := os.Stat(g.path("nginx/error.log")); return err == nil })

	open := func(from string) (*login, error) { return dialLogin(client, from, publishedAt) }
	well := func(when string) *login {
		t.Helper()
		var l *login
		g.until("the customer is not served "+when, func() bool {
			var err error
			if l, err = open(goodClient); err != nil {
				return false
			}
			status, err := page(l, "secret")
			return err == nil && status == http.StatusOK
		})
		t.Cleanup(func() { l.Close() })
		return l
	}
	shut := func() bool {
		l, err := open(badClient)
		if err == nil {
			l.Close()
		}
		return err != nil
	}
	g.start("bailiff.toml")
	staying := well("before")
	guessing, err := open(badClient)
	if err != nil {
		t.Fatal(err)
	}
	defer guessing.Close()
	for range 3 {
		if status, err := page(guessing, "guess"); status != http.StatusUnauthorized {
			t.Fatalf("a guess: %d, %v", status, err)
		}
	}
	g.until("a new connection is let in", shut)
	_ = guessing.SetDeadline(time.Now().Add(time.Second))
	if status, err := page(guessing, "secret"); err == nil {
		t.Errorf("the open connection goes on: %d", status)
	}
	g.until("the open connection is not ended", func() bool { return strings.Contains(g.log(), "that were passed on") })
	if status, err := page(staying, "secret"); status != http.StatusOK {
		t.Errorf("the customer's open connection: %d, %v", status, err)
	}
	for _, step := range []struct {
		name string
		do   func()
	}{
		{"after a restart of the container", func() { c.podman("restart", "-t", "1", c.name) }},
		{"after a flush", func() { nftScript(t, gate, "flush ruleset\n"+netlab.PublishedEngine) }},
	} {
		step.do()
		g.until("a new connection is let in "+step.name, func() bool { return strings.Contains(g.table(), badClient) && shut() })
		well(step.name)
	}
	g.ask("unban", badClient)
	l, err := open(badClient)
	if err != nil {
		t.Fatalf("after the unban: %v", err)
	}
	defer l.Close()
	if status, err := page(l, "secret"); status != http.StatusOK {
		t.Errorf("after the unban: %d, %v", status, err)
	}
}
