package main

import (
	"context"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"bailiff/pkg/hosttest"
)

// TestSocketActivation: systemd's own program listens, and starts the daemon when the first
// one asks. That answers him; a stop is over when it has ended, starts no other one, and
// leaves the socket where it is.
func TestSocketActivation(t *testing.T) {
	for _, stop := range [][]string{{"bailiff", "stop", "--socket"}, {"fail2ban-client", "-s"}} {
		t.Run(stop[0], func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			path, conf := filepath.Join(dir, "handed"), filepath.Join(dir, "bailiff.toml")
			hosttest.Write(t, conf, "[firewall]\nenabled = false\n")
			ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
			defer cancel()
			// Of the two sockets the daemon's is the one of its name.
			d := exec.CommandContext(ctx, "systemd-socket-activate", "-l", filepath.Join(dir, "other"), "-l", path, "--fdname=other:bailiff",
				program(t, "bailiff"), "run", "--config", conf, "--database", "none")
			var out strings.Builder
			d.Stdout, d.Stderr = &out, &out
			if err := d.Start(); err != nil {
				t.Fatalf("%v (make packages installs systemd)", err)
			}
			if !hosttest.Soon(func() bool {
				_, err := os.Stat(path)
				return err == nil
			}) {
				t.Fatal("nobody listens")
			}
			if text, err := exec.CommandContext(ctx, program(t, "bailiff"), "status", "--socket", path).CombinedOutput(); err != nil {
				t.Errorf("the first question: %v: %s", err, text)
			}
			args := append(stop[1:], path)
			if stop[0] == "fail2ban-client" {
				args = append(args, "stop")
			}
			if text, err := exec.CommandContext(ctx, program(t, stop[0]), args...).CombinedOutput(); err != nil {
				t.Errorf("stop: %v: %s", err, text)
			}
			if err := d.Wait(); err != nil || !strings.Contains(out.String(), "Using socket activation, inherited socket '"+path+"'") {
				t.Errorf("%v: %s", err, out.String())
			}
			if fi, err := os.Lstat(path); err != nil || fi.Mode()&os.ModeSocket == 0 {
				t.Errorf("the socket: %v, %v", fi, err)
			}
			if _, err := os.Lstat(path + ".lock"); err == nil {
				t.Error("the lock is still there")
			}
		})
	}
}

// TestSocketOfEverybody: a socket over which others than its owner could do everything is
// refused, with the remedy.
func TestSocketOfEverybody(t *testing.T) {
	dir := t.TempDir()
	path, conf := filepath.Join(dir, "handed"), filepath.Join(dir, "bailiff.toml")
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	f, err := l.File()
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	hosttest.Write(t, conf, "[firewall]\nenabled = false\n")
	if err := os.Chmod(path, 0o666); err != nil { // systemd's default
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	// The process whose number is told is the daemon's.
	d := exec.CommandContext(ctx, "/bin/sh", "-c", `LISTEN_PID=$$ LISTEN_FDS=1 exec "$@"`, "sh", program(t, "bailiff"), "run", "--config", conf, "--database", "none")
	d.ExtraFiles = []*os.File{f}
	out, err := d.CombinedOutput()
	if err == nil || !strings.Contains(string(out), "others than its owner may connect (mode 0666): set SocketMode=0600") {
		t.Errorf("%v: %s", err, out)
	}
}
