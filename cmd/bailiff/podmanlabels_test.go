package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os/exec"
	"strings"
	"testing"
	"time"

	"bailiff/pkg/jail"
)

// TestPodmanLabels: containers of podman's that ask for a jail by a label, behind ports that podman publishes by
// its own rules. Who guesses passwords at one is shut out of its port and of no other; its values
// hold within the operator's range; the jail and its bans outlive restarts of the container, of podman's
// service and of the daemon, and another container of its name goes on with it.
func TestPodmanLabels(t *testing.T) {
	if !*withPodman {
		t.Skip("make zoo tries it, which installs podman (-podman)")
	}
	h := newHub(t)
	g := &guarded{t: t, host: h.gate, dir: h.dir, prog: program(t, "bailiff")}
	socket := g.path("api.sock")
	kill := h.serve(socket)
	defer func() { kill() }()
	h.run("sh", "-c", fmt.Sprintf(`%s import --change 'CMD ["/usr/sbin/nginx","-g","daemon off; error_log /dev/stderr;"]' %s nginx`, h.wrapper, nginxImage(t, h.dir)))
	g.write(map[string]string{"conf/bailiff.toml": "[docker]\nsocket = 'unix://" + socket + "'\nlabels = true\nmaxretry = '3-10'\nbantime = '5m-1h'\n"})
	t.Cleanup(func() {
		if t.Failed() {
			out, _ := exec.Command("sh", "-c", fmt.Sprintf("%[1]s ps -a; %[1]s logs web 2>&1 | tail -30", h.wrapper)).CombinedOutput()
			t.Logf("%s", out)
		}
		_ = exec.Command(h.wrapper, "rm", "-f", "-a", "-t", "1").Run()
	})
	container := func(name, port string, labels ...string) {
		t.Helper()
		args := []string{"run", "-d", "--name", name, "-p", port + ":80"}
		for _, l := range labels {
			args = append(args, "--label", l)
		}
		h.run(h.wrapper, append(args, "nginx")...)
	}
	status := func(name string) (s jail.Status) {
		out, err := g.try("status", name, "--json")
		if err != nil || json.Unmarshal([]byte(out), &s) != nil {
			return jail.Status{Error: out}
		}
		return s
	}
	open := func(port string) (*login, error) { return dialLogin(h.client, badClient, "192.0.2.1:"+port) }
	shut := func(port string) bool {
		l, err := open(port)
		if err == nil {
			l.Close()
		}
		return err != nil
	}
	// guesses makes some at a port; podman's log is read some time after they are made.
	guesses := func(port string, n int) {
		t.Helper()
		for range n {
			var l *login
			g.until("nginx is not there at "+port, func() (ok bool) { var err error; l, err = open(port); return err == nil })
			code, err := page(l, "guess")
			l.Close()
			if code != http.StatusUnauthorized {
				t.Fatalf("a guess: %d, %v", code, err)
			}
		}
	}

	g.start("conf/bailiff.toml")
	container("web", "8080", "bailiff.jail=nginx-http-auth", "bailiff.maxretry=1", "bailiff.bantime=30m", "bailiff.ignoreip=0.0.0.0/0")
	container("other", "8081", "bailiff.jail=nginx-http-auth", "bailiff.maxretry=1000")
	container("plain", "8082")
	g.until("no jails come", func() bool { return status("docker-web").Error == "" && status("docker-other").Error == "" })
	if s := status("docker-web"); s.MaxRetry != 3 || s.BanTime != 1800 {
		t.Errorf("web has maxretry %d, bantime %v", s.MaxRetry, s.BanTime)
	}
	if s := status("docker-other"); s.MaxRetry != 10 {
		t.Errorf("other has maxretry %d", s.MaxRetry)
	}
	if s := status("docker-plain"); s.Error == "" {
		t.Error("a container without a label has a jail")
	}
	for _, text := range []string{`bailiff.maxretry="1" is taken for 3, the least`, `bailiff.maxretry="1000" is taken for 10, the most`, `"bailiff.ignoreip" is none that bailiff has`} {
		g.until("it isn't told what a label doesn't get: "+text, func() bool { return strings.Contains(g.log(), text) })
	}
	guesses("8082", 5)
	guesses("8080", 3)
	g.until("he is let in", func() bool { return shut("8080") })
	if shut("8081") || shut("8082") {
		t.Error("he is shut out of another container's port, too")
	}
	banned := func() bool { s := status("docker-web"); return s.Error == "" && s.Banned == 1 }
	for _, step := range []struct {
		name string
		do   func()
	}{
		{"a restart of the container", func() { h.run(h.wrapper, "restart", "-t", "1", "web") }},
		{"a kill of the engine's service", func() { kill(); kill = h.serve(socket) }},
		{"a restart of the daemon", func() { g.stop(); g.start("conf/bailiff.toml") }},
		{"another container of its name", func() {
			h.run(h.wrapper, "rm", "-f", "-t", "1", "web")
			container("web", "8080", "bailiff.jail=nginx-http-auth")
			g.until("its jail is not the other's", func() bool { return status("docker-web").MaxRetry == 5 })
		}},
	} {
		step.do()
		if !shut("8080") {
			t.Errorf("after %s he is let in", step.name)
		}
		g.until("after "+step.name+" the ban is not listed", banned)
	}
	g.ask("unban", badClient)
	guesses("8080", 4)
	time.Sleep(500 * time.Millisecond) // what would come too early
	if shut("8080") {
		t.Error("after four guesses of five he is shut out")
	}
	guesses("8080", 1)
	g.until("after the fifth he is let in", func() bool { return shut("8080") })
	for _, line := range strings.Split(g.log(), "\n") {
		if strings.Contains(line, "ERROR") && !strings.Contains(line, "engine "+socket) { // which was killed
			t.Errorf("its log has %s", line)
		}
	}
}
