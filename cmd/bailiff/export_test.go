package main

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"bailiff/pkg/hosttest"
)

// TestNoFirewall runs the daemon where there is no firewall to command: who is banned
// is in files, which nginx understands, told by the socket, and by an action.
func TestNoFirewall(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	path := func(name string) string { return filepath.Join(dir, name) }
	for name, text := range map[string]string{
		"log": "", "list.txt": "198.51.100.0-198.51.100.9\n",
		"bailiff.toml": fmt.Sprintf(`
[firewall]
enabled = false

[export.geo]
file = %[1]q
format = "nginx"
reload = "echo reloaded >> %[4]s"

[export.deny]
file = %[2]q
format = "nginx-deny"
jails = ["app"]

[export.plain]
file = %[3]q
format = "plain"
jails = ["feed"]

[export.later]
file = %[8]q
format = "plain"
reload = "test -e %[9]s && echo reloaded >> %[10]s"

[jail.app]
enabled = true
failregex = '^\s*login failed from <ADDR>$'
logpath = %[5]q
maxretry = 2
bantime = "1h"

[jail.app.action.tell]
ban = "echo ban <ip> <failures> <word> >> %[6]s"
unban = "echo unban <ip> >> %[6]s"
param = { word = "up" }

[jail.feed]
enabled = true
list = %[7]q
`, path("geo.conf"), path("deny.conf"), path("plain.txt"), path("reloads"), path("log"), path("told"), path("list.txt"), path("later.txt"), path("go"), path("retried")),
	} {
		hosttest.Write(t, path(name), text)
	}
	prog := program(t, "bailiff")
	if out, err := exec.Command(prog, "check", "--config", dir).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	daemon := exec.Command(prog, "run", "--config", dir, "--socket", path("sock"), "--database", "none", "--log-target", path("out"))
	if err := daemon.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = daemon.Process.Signal(os.Interrupt)
		_ = daemon.Wait()
	})
	until := func(name string, want ...string) {
		t.Helper()
		for end := time.Now().Add(2 * time.Minute); ; time.Sleep(20 * time.Millisecond) {
			data, _ := os.ReadFile(path(name))
			lines := strings.Split(strings.TrimSpace(string(data)), "\n")
			if len(lines) > 0 && strings.HasPrefix(lines[0], "#") {
				lines = lines[1:]
			}
			if slices.Equal(lines, want) {
				return
			}
			if time.Now().After(end) {
				log, _ := os.ReadFile(path("out"))
				t.Fatalf("%s: %q, want %q\n%s", name, lines, want, log)
			}
		}
	}
	list := []string{"198.51.100.0/29 1;", "198.51.100.8/31 1;"}
	until("geo.conf", list...)
	until("plain.txt", "198.51.100.0/29", "198.51.100.8/31")
	until("reloads", "reloaded")
	log, err := os.OpenFile(path("log"), os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	var lines string // written at once: both are banned at once, and told at once
	for range 2 {
		for _, a := range []string{"192.0.2.7", "2001:db8::7"} {
			lines += fmt.Sprintf("%s login failed from %s\n", time.Now().Format("2006-01-02 15:04:05"), a)
		}
	}
	if _, err := log.WriteString(lines); err != nil {
		t.Fatal(err)
	}
	until("told", "ban 192.0.2.7 2 up", "ban 2001:db8::/64 2 up")
	until("geo.conf", append([]string{"192.0.2.7 1;"}, append(slices.Clone(list), "2001:db8::/64 1;")...)...)
	until("deny.conf", "deny 192.0.2.7;", "deny 2001:db8::/64;")
	until("reloads", "reloaded", "reloaded")
	conf := fmt.Sprintf("pid %[1]s/pid; error_log stderr;\nevents {}\nhttp { access_log off; geo $banned { default 0; include %[1]s/geo.conf; }\n server { listen 127.0.0.1:1; include %[1]s/deny.conf; if ($banned) { return 403; } } }\n", dir)
	hosttest.Write(t, path("nginx.conf"), conf)
	if out, err := exec.Command("nginx", "-t", "-q", "-c", path("nginx.conf")).CombinedOutput(); err != nil {
		t.Errorf("nginx does not take what is written for it: %v: %s", err, out)
	}
	client := overSocket(path("sock"))
	for query, want := range map[string][]string{
		"":           {"192.0.2.7", "198.51.100.0/29", "198.51.100.8/31", "2001:db8::/64"},
		"&jail=app":  {"192.0.2.7", "2001:db8::/64"},
		"&jail=feed": {"198.51.100.0/29", "198.51.100.8/31"},
		"&jail=x":    {`{"error":"no`, "jail", `x"}`},
	} {
		res, err := client.Get("http://bailiff/v1/bans?format=text" + query)
		if err != nil {
			t.Fatal(err)
		}
		body, _ := io.ReadAll(res.Body)
		res.Body.Close()
		if got := strings.Fields(string(body)); !slices.Equal(got, want) {
			t.Errorf("the socket tells of %q %q, want %q", query, got, want)
		}
	}
	// A reader that could not be told is told later, and what it reads stays meanwhile.
	until("later.txt", "192.0.2.7", "198.51.100.0/29", "198.51.100.8/31", "2001:db8::/64")
	if err := os.WriteFile(path("go"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	until("retried", "reloaded")
	// A firewall that is wanted while the daemon runs needs a restart, and harms nobody.
	text, err := os.ReadFile(path("bailiff.toml"))
	if err != nil {
		t.Fatal(err)
	}
	hosttest.Write(t, path("bailiff.toml"), strings.Replace(string(text), "enabled = false", "enabled = true", 1))
	if out, _ := exec.Command(prog, "reload", "--socket", path("sock")).CombinedOutput(); !strings.Contains(string(out), "needs a restart") {
		t.Errorf("reload says %q", out)
	}
	// The bans end, and with them what was told.
	lasting := func(bantime string) {
		t.Helper()
		hosttest.Write(t, path("bailiff.toml"), strings.Replace(string(text), `bantime = "1h"`, bantime, 1))
		if out, err := exec.Command(prog, "reload", "--socket", path("sock")).CombinedOutput(); err != nil {
			t.Errorf("reload: %v: %s", err, out)
		}
	}
	lasting(`bantime = "1s"`)
	until("told", "ban 192.0.2.7 2 up", "ban 2001:db8::/64 2 up", "unban 192.0.2.7", "unban 2001:db8::/64")
	until("geo.conf", list...)
	until("deny.conf")
	lasting(`bantime = "1h"`)
	// Who is banned when the daemon stops stays so.
	for range 2 {
		fmt.Fprintf(log, "%s login failed from 192.0.2.8\n", time.Now().Format("2006-01-02 15:04:05"))
	}
	until("deny.conf", "deny 192.0.2.8;")
	if out, err := exec.Command(prog, "stop", "--socket", path("sock")).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if err := daemon.Wait(); err != nil {
		t.Fatal(err)
	}
	until("deny.conf", "deny 192.0.2.8;")
}
