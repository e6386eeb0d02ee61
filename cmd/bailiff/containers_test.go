package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"bailiff/pkg/hosttest"
)

// writer writes lines as a service in a container does: it tells of 1,000 clients in turns, goes on
// after a restart where it stopped, and keeps count in a file that the host sees.
const writer = `#!/bin/sh
i=$(cat /data/next 2>/dev/null || echo 0)
end=
trap 'end=1' TERM
while [ $i -lt LINES ] && [ -z "$end" ]; do
	echo "login of client $((i%1000)) failed"
	i=$((i+1))
	if [ $((i%500)) = 0 ]; then echo $i > /data/next; sleep 0.02; fi
done
echo $i > /data/next
while [ -z "$end" ]; do sleep 0.2; done
`

// writerImage makes an image of a shell and the writer.
func writerImage(t *testing.T, dir string, lines int) (tar string) {
	t.Helper()
	root := filepath.Join(dir, "writer")
	for _, d := range []string{"bin", "data", "tmp", "proc", "dev", "sys", "etc"} {
		if err := os.MkdirAll(filepath.Join(root, d), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if out, err := exec.Command("cp", "-L", "/bin/busybox", filepath.Join(root, "bin/busybox")).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s (package busybox-static: make zoo installs it)", err, out)
	}
	for _, name := range []string{"sh", "sleep", "cat"} {
		if err := os.Symlink("busybox", filepath.Join(root, "bin", name)); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(root, "bin/writer"), []byte(strings.ReplaceAll(writer, "LINES", strconv.Itoa(lines))), 0o755); err != nil {
		t.Fatal(err)
	}
	tar = filepath.Join(dir, "writer.tar")
	if out, err := exec.Command("tar", "-cf", tar, "-C", root, ".").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return tar
}

// serve has podman's API be served at a socket, until what it returns is called.
func (c *container) serve(socket string) (kill func()) {
	c.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	cmd := exec.CommandContext(ctx, "podman", append(c.global(), "system", "service", "--time=0", "unix://"+socket)...)
	cmd.WaitDelay = time.Second
	if err := cmd.Start(); err != nil {
		c.t.Fatal(err)
	}
	return func() { cancel(); _ = cmd.Wait() }
}

// TestPodmanLog: 100,000 lines that a container writes, read from podman, over two restarts of the
// daemon, one by kill -9, one of the container and one of podman's service. Each of 1,000 clients
// fails a hundred times: who is counted once less is not banned by the one jail, who is counted
// once more is banned by the other.
func TestPodmanLog(t *testing.T) {
	if !*withPodman {
		t.Skip("make zoo tries it, which installs podman (-podman)")
	}
	const lines = 100_000
	g := &guarded{t: t, host: server(t), dir: t.TempDir(), prog: program(t, "bailiff")}
	dir, err := os.MkdirTemp("", "podman")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { // what conmon starts at the end may still write there
		for range 100 {
			if os.RemoveAll(dir) == nil {
				return
			}
			time.Sleep(100 * time.Millisecond)
		}
	})
	c := &container{t: t, dir: dir, name: fmt.Sprintf("bailiff-log-%d", os.Getpid())}
	socket := filepath.Join(c.dir, "api.sock")
	jail := "enabled = true\nbackend = 'docker'\ncontainer = ['label=bailiff.test']\nfailregex = '^login of client <F-ID>\\d+</F-ID> failed$'\nfindtime = '1d'\nbantime = '1d'\nport = '80'\n"
	g.write(map[string]string{"bailiff.toml": "[firewall]\nenabled = false\n[docker]\nsocket = 'unix://" + socket + "'\n[jail.all]\nmaxretry = 100\n" + jail + "[jail.twice]\nmaxretry = 101\n" + jail})
	c.podman("import", writerImage(t, c.dir, lines), "bailiff-writer")
	if err := os.Mkdir(g.path("data"), 0o755); err != nil {
		t.Fatal(err)
	}
	kill := c.serve(socket)
	defer func() { kill() }()
	g.start("bailiff.toml")
	c.podman("run", "-d", "--name", c.name, "--label", "bailiff.test", "--network=none", "--ulimit", "nofile=1024:1024", "--ulimit", "nproc=1024:1024",
		"-v", g.path("data")+":/data", "bailiff-writer", "/bin/writer")
	t.Cleanup(func() { c.podman("rm", "-f", "-t", "1", c.name) })
	written := func(n int) {
		t.Helper()
		g.until(fmt.Sprintf("the container doesn't write %d lines", n), func() bool {
			data, _ := os.ReadFile(g.path("data/next"))
			now, _ := strconv.Atoi(strings.TrimSpace(string(data)))
			return now >= n
		})
	}
	written(lines / 6)
	g.stop()
	written(lines / 5)
	g.start("bailiff.toml")
	written(2 * lines / 5)
	_ = g.daemon.Process.Kill()
	_ = g.daemon.Wait()
	written(lines / 2)
	g.start("bailiff.toml")
	written(3 * lines / 5)
	c.podman("restart", "-t", "10", c.name)
	written(4 * lines / 5)
	kill()
	written(5 * lines / 6)
	kill = c.serve(socket)
	written(lines)
	banned := func(jail string) int {
		var status struct {
			Banned int `json:"currently_banned"`
		}
		out := g.ask("status", jail, "--json")
		if err := json.Unmarshal([]byte(out), &status); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		return status.Banned
	}
	if !hosttest.Soon(func() bool { return !(banned("all") < 1000) }) {
		t.Fatalf("of 1,000 clients %d are banned, the others were counted too seldom: %s", banned("all"), tailOf(g.log(), 30))
	}
	time.Sleep(time.Second) // whatever would come twice
	if n := banned("twice"); n > 0 {
		t.Errorf("%d clients were counted once more than they failed: %s", n, tailOf(g.log(), 30))
	}
	if strings.Contains(g.log(), "does not hold any more") {
		t.Error("it said that lines are missing")
	}
	t.Logf("%d lines: each counted once", lines)
}

// tailOf are the last lines of a text without what is found.
func tailOf(text string, n int) string {
	var out []string
	for _, line := range strings.Split(text, "\n") {
		if !strings.Contains(line, " Found ") && !strings.Contains(line, "Ban ") {
			out = append(out, line)
		}
	}
	return strings.Join(out[max(0, len(out)-n):], "\n")
}
