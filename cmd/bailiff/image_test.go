package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"bailiff/pkg/hosttest"
	"bailiff/pkg/netlab"
)

const dockerNginx = "../../examples/docker-nginx"

// TestDockerNginx: what the example's files say of each other is so, the daemon reads its
// configuration, and Debian's nginx its site.
func TestDockerNginx(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	text := func(name string) string {
		t.Helper()
		data, err := os.ReadFile(filepath.Join(dockerNginx, name))
		if err != nil {
			t.Fatal(err)
		}
		return string(data)
	}
	compose, beside, conf := text("compose.yaml"), text("compose.bailiff.yaml"), text("bailiff/bailiff.toml")
	value := func(of, expression string) string {
		t.Helper()
		m := regexp.MustCompile(expression).FindStringSubmatch(of)
		if m == nil {
			t.Fatalf("there is no %s in\n%s", expression, of)
		}
		return m[1]
	}
	if published, shut := value(compose, `- "(\d+):80"`), value(conf, `(?m)^port = "(\d+)"`); published != shut {
		t.Errorf("port %s is published, and %s is shut", published, shut)
	}
	logs, log := value(compose, `- (\S+):/var/log/nginx\n`), value(conf, `(?m)^logpath = "(\S+)"`)
	if log != logs+"/error.log" || !strings.Contains(beside, "- "+logs+":"+logs+":ro\n") {
		t.Errorf("nginx logs to %s on the host, and bailiff reads %s", logs, log)
	}
	if release, is := value(beside, `image: localhost/bailiff:(\S+)`), value(readFile(t, "../../Makefile"), `(?m)^RELEASE \?= (\S+)`); release != is {
		t.Errorf("the image is of %s, and make image makes %s", release, is)
	}
	hosttest.Write(t, filepath.Join(dir, "bailiff.toml"), strings.ReplaceAll(conf, logs, dir))
	hosttest.Write(t, filepath.Join(dir, "error.log"), "")
	if out, err := exec.Command(program(t, "bailiff"), "check", "--config", dir).CombinedOutput(); err != nil || strings.Contains(string(out), "warning") && !strings.Contains(string(out), "proxy") {
		t.Errorf("check: %v\n%s", err, out)
	}
	hosttest.Write(t, filepath.Join(dir, "users"), "")
	hosttest.Write(t, filepath.Join(dir, "site.conf"), strings.ReplaceAll(text("site.conf"), "/etc/nginx", dir))
	hosttest.Write(t, filepath.Join(dir, "nginx.conf"), fmt.Sprintf("error_log stderr; pid %[1]s/pid;\nevents {}\nhttp { access_log off; include %[1]s/site.conf; }\n", dir))
	if out, err := exec.Command("nginx", "-t", "-c", filepath.Join(dir, "nginx.conf"), "-p", dir).CombinedOutput(); err != nil {
		t.Errorf("nginx -t: %v\n%s", err, out)
	}
}

// hub is a host with podman's own network, as an engine makes it, and a client of which the
// host is no neighbour.
type hub struct {
	container
	gate, client *netlab.Host
	wrapper      string // podman with its options
}

func newHub(t *testing.T) *hub {
	t.Helper()
	lab := netlab.New(fmt.Sprintf("bailiff-hub-%d-%d", os.Getpid(), networks.Add(1)))
	t.Cleanup(func() {
		if err := lab.Close(); err != nil {
			t.Error(err)
		}
	})
	h := &hub{container: container{t: t, dir: podmanDir(t)}}
	for name, to := range map[string]**netlab.Host{"gate": &h.gate, "client": &h.client} {
		var err error
		if *to, err = lab.Host(name); err != nil {
			t.Fatalf("%v: run it as root (make test says how)", err)
		}
	}
	if err := lab.Cable(h.gate, h.client, []string{"192.0.2.1/24"}, []string{"192.0.2.9/24", badClient + "/32", goodClient + "/32"}); err != nil {
		t.Fatal(err)
	}
	if out, err := h.gate.Command(context.Background(), "ip", "route", "add", "203.0.113.0/24", "via", "192.0.2.9").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	// Of the namespace it is the network alone: podman looks for cgroups in /sys. And podman-compose of
	// Debian 12 has each container be in its project's network, also one with network_mode.
	h.wrapper = filepath.Join(h.dir, "podman")
	hosttest.Write(t, h.wrapper, fmt.Sprintf(`#!/bin/sh
of="nsenter --net=/run/netns/%s podman %s --network-config-dir %s"
[ "$1" = run ] || exec $of "$@"
host=
for a; do [ "$b $a" != "--network host" ] || host=yes; b=$a; done
n=$#
while [ $n -gt 0 ]; do
	a=$1; shift; n=$((n-1))
	if [ -n "$host" ] && { [ "$a" = --net ] || [ "$a" = --network-alias ]; }; then shift; n=$((n-1)); continue; fi
	set -- "$@" "$a"
done
shift
exec $of run --ulimit nofile=1024:1024 --ulimit nproc=1024:1024 "$@"
`, h.gate.Name, strings.Join(h.global(), " "), filepath.Join(h.dir, "networks")))
	if err := os.Chmod(h.wrapper, 0o755); err != nil {
		t.Fatal(err)
	}
	return h
}

// podmanDir is a directory that is removed at the end though podman's processes may still
// write there.
func podmanDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "podman")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		for range 100 {
			if os.RemoveAll(dir) == nil {
				return
			}
			time.Sleep(100 * time.Millisecond)
		}
	})
	return dir
}

// run runs a command with a bound, and fails if it does.
func (h *hub) run(name string, args ...string) string {
	h.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.WaitDelay = time.Second // conmon keeps what it has inherited
	out, err := cmd.CombinedOutput()
	if err != nil && !errors.Is(err, exec.ErrWaitDelay) {
		h.t.Fatalf("%s %s: %v: %s", name, strings.Join(args, " "), err, out)
	}
	return string(out)
}

// TestImage plays examples/docker-nginx with podman: nginx behind a port that podman publishes by
// its own rules, and bailiff first on the host, then in a container of the image that make image makes, with
// no other rights than those of compose.bailiff.yaml. Who guesses passwords is shut out, with the
// connection that he has open; a customer goes on; bans hold while bailiff's container is stopped and
// made anew.
func TestImage(t *testing.T) {
	if !*withPodman {
		t.Skip("make zoo tries it, which installs podman (-podman)")
	}
	h := newHub(t)
	g := &guarded{t: t, host: h.gate, dir: h.dir, prog: program(t, "bailiff")}
	release := "0.9.0"
	h.run("sh", "-c", fmt.Sprintf("cd ../.. && go run ./scripts/image %s %s && %s load -i %[2]s", release, g.path("image.tar"), h.wrapper))
	h.run("sh", "-c", fmt.Sprintf(`%s import --change 'CMD ["/usr/sbin/nginx","-g","daemon off;"]' %s docker.io/library/nginx:stable`, h.wrapper, nginxImage(t, h.dir)))

	// The example, in directories of the test's.
	for _, d := range []string{"example", "logs", "lib", "sockets"} {
		if err := os.Mkdir(g.path(d), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	h.run("cp", "-r", dockerNginx+"/.", g.path("example"))
	for _, name := range []string{"compose.yaml", "compose.bailiff.yaml", "bailiff/bailiff.toml"} {
		text := readFile(t, g.path("example/"+name))
		for was, is := range map[string]string{"- /var/log/web:": "- $DIR/logs:", "- /var/lib/bailiff:": "- $DIR/lib:", "- /run/bailiff:": "- $DIR/sockets:"} {
			text = strings.ReplaceAll(text, was, is)
		}
		g.write(map[string]string{"example/" + name: text})
	}
	conf := readFile(t, g.path("example/bailiff/bailiff.toml"))
	g.write(map[string]string{"host/bailiff.toml": strings.ReplaceAll(conf, "/var/log/web", "$DIR/logs")})
	h.run("sh", "-c", fmt.Sprintf(`printf 'customer:%%s\n' "$(openssl passwd -apr1 secret)" > %s`, g.path("example/users")))

	compose := func(args ...string) string {
		t.Helper()
		return h.run("podman-compose", append([]string{"--podman-path", h.wrapper, "-p", "example", "-f", g.path("example/compose.yaml"), "-f", g.path("example/compose.bailiff.yaml")}, args...)...)
	}
	compose("up", "-d", "web")
	t.Cleanup(func() {
		if t.Failed() {
			out, _ := exec.Command("sh", "-c", fmt.Sprintf("%[1]s ps -a; %[1]s logs bailiff 2>&1 | tail -30", h.wrapper)).CombinedOutput()
			t.Logf("%s", out)
		}
		_ = exec.Command(h.wrapper, "rm", "-f", "-a", "-t", "1").Run()
	})
	g.until("nginx does not log", func() bool { _, err := os.Stat(g.path("logs/error.log")); return err == nil })
	guess := func(l *login, password string, want int) {
		t.Helper()
		if status, err := page(l, password); status != want {
			t.Fatalf("%s: %d, %v", password, status, err)
		}
	}
	open := func(from string) *login {
		t.Helper()
		l, err := dialLogin(h.client, from, publishedAt)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { l.Close() })
		return l
	}
	shut := func() bool {
		l, err := dialLogin(h.client, badClient, publishedAt)
		if err == nil {
			l.Close()
		}
		return err != nil
	}
	// attacked has somebody banned.
	attacked := func(log func() string) {
		t.Helper()
		staying, guessing := open(goodClient), open(badClient)
		guess(staying, "secret", http.StatusOK)
		before := strings.Count(log(), "that were passed on")
		for range 3 {
			guess(guessing, "guess", http.StatusUnauthorized)
		}
		g.until("a new connection is let in", shut)
		_ = guessing.SetDeadline(time.Now().Add(time.Second))
		if status, err := page(guessing, "secret"); err == nil {
			t.Errorf("the open connection goes on: %d", status)
		}
		g.until("the open connection is not ended", func() bool { return strings.Count(log(), "that were passed on") > before })
		guess(staying, "secret", http.StatusOK)
	}

	g.start("host/bailiff.toml")
	attacked(g.log)
	g.ask("unban", badClient)
	guess(open(badClient), "secret", http.StatusOK)
	g.stop()

	bailiff := func(args ...string) string {
		t.Helper()
		return h.run(h.wrapper, append([]string{"exec", "bailiff", "/usr/sbin/bailiff"}, args...)...)
	}
	log := func() string { return h.run(h.wrapper, "logs", "bailiff") }
	if err := os.Truncate(g.path("logs/error.log"), 0); err != nil { // the other has a database of its own
		t.Fatal(err)
	}
	said := compose("up", "-d")
	g.until("bailiff does not start: "+said, func() bool {
		return exec.Command(h.wrapper, "exec", "bailiff", "/usr/sbin/bailiff", "status").Run() == nil
	})
	if out := bailiff("check"); !strings.Contains(out, "no errors; 1 jails enabled") || strings.Contains(out, "warning") && !strings.Contains(out, "proxy") {
		t.Errorf("check says:\n%s", out)
	}
	attacked(log)
	for _, step := range [][]string{{"stop", "-t", "20", "bailiff"}, {"start", "bailiff"}, {"rm", "-f", "-t", "20", "bailiff"}} {
		h.run(h.wrapper, step...)
		if !shut() {
			t.Errorf("after podman %s he is let in", step[0])
		}
	}
	compose("up", "-d")
	g.until("bailiff does not start again, or knows nothing of its ban", func() bool {
		out, err := exec.Command(h.wrapper, "exec", "bailiff", "/usr/sbin/bailiff", "status", "nginx-http-auth").CombinedOutput()
		return err == nil && strings.Contains(string(out), badClient)
	})
	if !shut() {
		t.Error("with bailiff's container made anew he is let in")
	}
	bailiff("unban", badClient)
	guess(open(badClient), "secret", http.StatusOK)
	h.run(h.wrapper, "kill", "-s", "HUP", "bailiff")
	g.until("a signal does not reload it", func() bool { return strings.Contains(log(), "Reload configuration") })
	for _, line := range strings.Split(log(), "\n") {
		if strings.Contains(line, "ERROR") || strings.Contains(line, "WARNING") && !strings.Contains(line, "proxy") && !strings.Contains(line, "New database created") {
			t.Errorf("its log has %s", line)
		}
	}
}
