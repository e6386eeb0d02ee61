package main

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
)

// TestContainerfile: what podman builds by Containerfile is what scripts/image makes: the same files, the same
// way to start. The toolchain that it is built with is this machine's, in place of an image of Go's.
func TestContainerfile(t *testing.T) {
	if !*withPodman {
		t.Skip("make zoo tries it, which installs podman (-podman)")
	}
	h := &hub{container: container{t: t, dir: podmanDir(t)}}
	podman := append([]string{"podman"}, h.global()...)
	run := func(args ...string) string {
		t.Helper()
		return h.run(podman[0], append(slices.Clone(podman[1:]), args...)...)
	}
	env := func(name string) string {
		t.Helper()
		out, err := exec.Command("go", "env", name).Output()
		if err != nil {
			t.Fatal(err)
		}
		return strings.TrimSpace(string(out))
	}
	root := filepath.Join(h.dir, "go")
	for _, d := range []string{"bin", "tmp", "proc", "dev", "sys", "etc", "usr/local/go", "mod", "cache"} {
		if err := os.MkdirAll(filepath.Join(root, d), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	h.run("sh", "-c", fmt.Sprintf("cp -L /bin/busybox %[1]s/bin/sh && tar -C %[1]s -cf %[1]s.tar .", root))
	run("import", "--change", "ENV PATH=/usr/local/go/bin:/bin", "--change", "ENV GOMODCACHE=/mod", "--change", "ENV GOCACHE=/cache", "--change", "ENV GOPROXY=off", "--change", "ENV GOTOOLCHAIN=local", root+".tar", "localhost/go")
	source := filepath.Join(h.dir, "source") // what is under version control, and no more
	h.run("sh", "-c", fmt.Sprintf("mkdir %[1]s && cd ../.. && git ls-files -z | tar --null -T - -cf - | tar -C %[1]s -xf -", source))
	run("build", "--isolation=chroot", "--build-arg", "GO=localhost/go", "--build-arg", "VERSION=1.2.3", "-v", env("GOROOT")+":/usr/local/go:ro", "-v", env("GOMODCACHE")+":/mod", "-v", env("GOCACHE")+":/cache",
		"-t", "localhost/bailiff:built", source)
	h.run("sh", "-c", fmt.Sprintf("cd ../.. && go run ./scripts/image 1.2.3 %s", filepath.Join(h.dir, "image.tar")))
	run("load", "-i", filepath.Join(h.dir, "image.tar"))

	type config struct {
		Entrypoint, Cmd, Env []string
		WorkingDir           string
		StopSignal           string
	}
	of := func(image string) (c config, files string) {
		t.Helper()
		var list []struct{ Config config }
		if out := run("inspect", image); json.Unmarshal([]byte(out), &list) != nil || len(list) != 1 {
			t.Fatal(out)
		}
		run("create", "--name", "of", image)
		files = h.run("sh", "-c", fmt.Sprintf("%s export of | tar -tvf - | awk '{print $1, $2, $3, $6}' | grep -v -e ' dev/' -e ' proc/' -e ' sys/' -e ' run/.containerenv' | sort", strings.Join(podman, " ")))
		run("rm", "of")
		slices.Sort(list[0].Config.Env)
		return list[0].Config, files
	}
	builtConfig, built := of("localhost/bailiff:built")
	madeConfig, made := of("localhost/bailiff:1.2.3")
	if !reflect.DeepEqual(builtConfig, madeConfig) {
		t.Errorf("built:\n%+v\nmade:\n%+v", builtConfig, madeConfig)
	}
	if built != made || !strings.Contains(made, "usr/sbin/bailiff") {
		t.Errorf("built:\n%s\nmade:\n%s", built, made)
	}
	if out := run("run", "--rm", "--network=none", "--ulimit", "nofile=1024:1024", "--ulimit", "nproc=1024:1024", "localhost/bailiff:built", "version"); !strings.Contains(out, "bailiff 1.2.3") {
		t.Errorf("it says %s", out)
	}
}
