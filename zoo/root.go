package main

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"bailiff/zoo/animals"
)

// roots makes root directories: for each Debian a base by debootstrap, and layers of
// packages on it by overlayfs. They are kept in dir, and made anew when what goes into
// them changes.
type roots struct {
	dir    string
	mirror string
	quick  []string // packages of the quick animals, by which the common root begins
	common []string // packages of all that share the common root
}

// tools are what clients use, and rsyslog.
var tools = []string{"rsyslog", "curl", "sshpass", "openssh-client", "netcat-openbsd", "ca-certificates", "python3", "procps", "iproute2"}

func newRoots(dir string) (*roots, error) {
	r := &roots{dir: dir}
	if _, err := exec.LookPath("debootstrap"); err != nil {
		return nil, errors.New("debootstrap is not installed: apt-get install debootstrap")
	}
	out, err := exec.Command("apt-get", "indextargets", "--format", "$(REPO_URI)", "Created-By: Packages", "Component: main", "Origin: Debian").Output()
	if err != nil {
		return nil, fmt.Errorf("apt-get indextargets: %w", err)
	}
	for line := range strings.Lines(string(out)) {
		if m := strings.TrimSpace(line); !strings.Contains(m, "security") {
			r.mirror = m
			break
		}
	}
	if r.mirror == "" {
		r.mirror = "http://deb.debian.org/debian" // apt has not been updated yet
	}
	quick, common := map[string]bool{}, map[string]bool{}
	for _, a := range animals.All() {
		if a.Root != "" {
			continue
		}
		for _, p := range a.Packages {
			if a.Quick {
				quick[p] = true
			}
		}
	}
	for _, a := range animals.All() {
		for _, p := range a.Packages {
			if a.Root == "" && !quick[p] {
				common[p] = true
			}
		}
	}
	for p := range quick {
		r.quick = append(r.quick, p)
	}
	for p := range common {
		r.common = append(r.common, p)
	}
	slices.Sort(r.quick)
	slices.Sort(r.common)
	return r, nil
}

// lowers returns the directories over which an animal lives, the uppermost first; whole
// says that it needs all of the common root.
func (r *roots) lowers(ctx context.Context, name string, a *animals.Animal, whole bool) ([]string, error) {
	base, err := r.base(ctx, name)
	if err != nil {
		return nil, err
	}
	lowers := []string{base}
	add := func(layer string, packages []string) {
		if err == nil {
			lowers, err = r.layer(ctx, name, layer, packages, lowers)
		}
	}
	switch {
	case a.Root != "":
		var packages []string
		for _, other := range animals.All() {
			if other.Root == a.Root && slices.Contains(other.Suites, name) {
				packages = append(packages, other.Packages...)
			}
		}
		add(a.Root, packages)
	default:
		add("quick", r.available(name, r.quick))
		if !a.Quick || whole {
			add("common", r.available(name, r.common))
		}
	}
	return lowers, err
}

// available leaves out packages of animals that do not live in a suite.
func (r *roots) available(suite string, packages []string) []string {
	return slices.DeleteFunc(slices.Clone(packages), func(p string) bool {
		for _, a := range animals.All() {
			if slices.Contains(a.Packages, p) && slices.Contains(a.Suites, suite) {
				return false
			}
		}
		return true
	})
}

// fresh reports whether something was made of the same recipe before.
func fresh(dir, recipe string) (stamp string, ok bool) {
	stamp = fmt.Sprintf("%x", sha256.Sum256([]byte(recipe)))[:16]
	have, err := os.ReadFile(dir + ".stamp")
	return stamp, err == nil && string(have) == stamp
}

func (r *roots) base(ctx context.Context, suite string) (string, error) {
	dir := filepath.Join(r.dir, suite, "base")
	stamp, ok := fresh(dir, strings.Join(append([]string{"1", suite, r.mirror}, tools...), " "))
	if ok {
		return dir, nil
	}
	say("%s: a root by debootstrap", suite)
	for _, old := range []string{dir, dir + ".stamp"} {
		if err := os.RemoveAll(old); err != nil {
			return "", err
		}
	}
	// What lies over another base is of no use.
	layers, _ := filepath.Glob(filepath.Join(r.dir, suite, "layer-*"))
	for _, l := range layers {
		if err := os.RemoveAll(l); err != nil {
			return "", err
		}
	}
	if err := os.MkdirAll(filepath.Dir(dir), 0o755); err != nil {
		return "", err
	}
	log := dir + ".log"
	if err := logged(ctx, log, "debootstrap", "--variant=minbase", "--include="+strings.Join(tools, ","), suite, dir, r.mirror); err != nil {
		return "", fmt.Errorf("%s: debootstrap from %s: %w", suite, r.mirror, err)
	}
	for name, text := range map[string]string{
		"usr/sbin/policy-rc.d":    "#!/bin/sh\nexit 101\n",
		"etc/dpkg/dpkg.cfg.d/zoo": "force-unsafe-io\n",
		"etc/apt/apt.conf.d/zoo":  "APT::Install-Recommends \"false\";\nAPT::Sandbox::User \"root\";\nAcquire::Languages \"none\";\nAcquire::Retries \"3\";\n",
		"etc/hosts":               "127.0.0.1 localhost\n::1 localhost\n127.0.1.1 host.example.com host\n",
		"etc/hostname":            "host\n",
	} {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return "", err
		}
		if err := os.WriteFile(path, []byte(text), 0o755); err != nil {
			return "", err
		}
	}
	return dir, os.WriteFile(dir+".stamp", []byte(stamp), 0o644)
}

// layer installs packages over what there is.
func (r *roots) layer(ctx context.Context, suite, name string, packages, lowers []string) ([]string, error) {
	dir := filepath.Join(r.dir, suite, "layer-"+name)
	out := append([]string{dir}, lowers...)
	if len(packages) == 0 {
		return lowers, nil
	}
	below := ""
	for _, l := range lowers {
		stamp, err := os.ReadFile(l + ".stamp")
		if err != nil {
			return nil, err
		}
		below += string(stamp)
	}
	stamp, ok := fresh(dir, below+strings.Join(packages, " "))
	if ok {
		return out, nil
	}
	say("%s: root %q: %s", suite, name, strings.Join(packages, " "))
	for _, old := range []string{dir, dir + ".stamp"} {
		if err := os.RemoveAll(old); err != nil {
			return nil, err
		}
	}
	m, err := mountRoot(filepath.Join(r.dir, suite, "making"), dir, lowers)
	if err != nil {
		return nil, err
	}
	defer m.close()
	if err := m.copyIn("/etc/resolv.conf"); err != nil {
		return nil, err
	}
	// A mirror of sid that stands still for weeks is good enough for a root that is thrown away.
	script := "set -e; export DEBIAN_FRONTEND=noninteractive; apt-get -o Acquire::Check-Valid-Until=false update -qq; exec apt-get install -y -qq --no-install-recommends " + strings.Join(packages, " ")
	if err := logged(ctx, dir+".log", "chroot", m.dir, "/bin/sh", "-c", script); err != nil {
		return nil, fmt.Errorf("%s: install %s: %w", suite, strings.Join(packages, " "), err)
	}
	if err := os.WriteFile(filepath.Join(m.dir, "etc/resolv.conf"), nil, 0o644); err != nil {
		return nil, err
	}
	if err := m.close(); err != nil {
		return nil, err
	}
	return out, os.WriteFile(dir+".stamp", []byte(stamp), 0o644)
}

// logged runs a program with its output in a file, whose end is in the error.
func logged(ctx context.Context, path, name string, args ...string) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	defer f.Close()
	c := exec.CommandContext(ctx, name, args...)
	c.Env = append(os.Environ(), "LC_ALL=C.UTF-8")
	c.Stdout, c.Stderr = f, f
	if err := c.Run(); err != nil {
		text, _ := os.ReadFile(path)
		lines := strings.Split(strings.TrimSpace(string(text)), "\n")
		return fmt.Errorf("%w\n  %s\n  (%s)", err, strings.Join(lines[max(0, len(lines)-5):], "\n  "), path)
	}
	return nil
}

// root is a root directory in use: an overlay with devices of its own.
type root struct {
	dir    string
	mounts []string
}

// mountRoot puts an overlay into dir+"/root". What is written goes to upper; with an empty
// one, into memory.
func mountRoot(dir, upper string, lowers []string) (m *root, err error) {
	m = &root{dir: filepath.Join(dir, "root")}
	defer func() {
		if err != nil {
			m.close()
		}
	}()
	work := filepath.Join(dir, "work")
	if upper == "" {
		mem := filepath.Join(dir, "memory")
		if err := os.MkdirAll(mem, 0o755); err != nil {
			return m, err
		}
		if err := m.mount("tmpfs", mem, "tmpfs", 0, "mode=0755"); err != nil {
			return m, err
		}
		upper, work = filepath.Join(mem, "upper"), filepath.Join(mem, "work")
	} else if err := os.RemoveAll(work); err != nil {
		return m, err
	}
	for _, d := range []string{m.dir, upper, work} {
		if err := os.MkdirAll(d, 0o755); err != nil {
			return m, err
		}
	}
	options := fmt.Sprintf("lowerdir=%s,upperdir=%s,workdir=%s", strings.Join(lowers, ":"), upper, work)
	if err := m.mount("overlay", m.dir, "overlay", 0, options); err != nil {
		return m, err
	}
	dev := filepath.Join(m.dir, "dev")
	if err := m.mount("tmpfs", dev, "tmpfs", 0, "mode=0755"); err != nil {
		return m, err
	}
	if err := os.Mkdir(filepath.Join(dev, "net"), 0o755); err != nil {
		return m, err
	}
	for _, d := range []struct {
		name         string
		major, minor uint32
	}{{"null", 1, 3}, {"zero", 1, 5}, {"full", 1, 7}, {"random", 1, 8}, {"urandom", 1, 9}, {"tty", 5, 0}, {"net/tun", 10, 200}} {
		path := filepath.Join(dev, d.name)
		if err := unix.Mknod(path, unix.S_IFCHR|0o666, int(unix.Mkdev(d.major, d.minor))); err != nil {
			return m, fmt.Errorf("device %s: %w", path, err)
		}
		if err := os.Chmod(path, 0o666); err != nil {
			return m, err
		}
	}
	for name, to := range map[string]string{"fd": "/proc/self/fd", "stdin": "/proc/self/fd/0", "stdout": "/proc/self/fd/1", "stderr": "/proc/self/fd/2", "ptmx": "pts/ptmx"} {
		if err := os.Symlink(to, filepath.Join(dev, name)); err != nil {
			return m, err
		}
	}
	for _, d := range []string{"pts", "shm"} {
		if err := os.Mkdir(filepath.Join(dev, d), 0o755); err != nil {
			return m, err
		}
	}
	if err := m.mount("devpts", filepath.Join(dev, "pts"), "devpts", 0, "newinstance,ptmxmode=0666,mode=620"); err != nil {
		return m, err
	}
	if err := m.mount("tmpfs", filepath.Join(dev, "shm"), "tmpfs", 0, "mode=1777"); err != nil {
		return m, err
	}
	return m, m.mount("proc", filepath.Join(m.dir, "proc"), "proc", 0, "")
}

func (m *root) mount(source, target, kind string, flags uintptr, options string) error {
	if err := unix.Mount(source, target, kind, flags, options); err != nil {
		return fmt.Errorf("mount %s on %s (%s): %w", kind, target, options, err)
	}
	m.mounts = append(m.mounts, target)
	return nil
}

// copyIn copies a file of this machine's.
func (m *root) copyIn(path string) error {
	text, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	to := filepath.Join(m.dir, path)
	_ = os.Remove(to) // a link
	return os.WriteFile(to, text, 0o644)
}

// close takes the mounts away. What a process still holds goes when it ends.
func (m *root) close() error {
	var errs []error
	for _, target := range slices.Backward(m.mounts) {
		if err := unix.Unmount(target, unix.MNT_DETACH); err != nil {
			errs = append(errs, fmt.Errorf("unmount %s: %w", target, err))
		}
	}
	m.mounts = nil
	return errors.Join(errs...)
}
