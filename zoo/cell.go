package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"runtime"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// The driver is run three times: as people start it, which only makes room; inside, as the
// first process of a space of its own, with all mounts and processes of which nothing is
// left when it ends; and as the first process of each service's space.
const roleName = "BAILIFF_ZOO_ROLE"

// enter runs this program again in namespaces of its own, and exits with its code.
func enter() {
	runtime.LockOSThread() // the child's death signal goes by the thread
	c := exec.Command("/proc/self/exe", os.Args[1:]...)
	c.Env = append(os.Environ(), roleName+"=driver")
	c.Stdin, c.Stdout, c.Stderr = os.Stdin, os.Stdout, os.Stderr
	c.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWPID | unix.CLONE_NEWNS, Pdeathsig: syscall.SIGKILL, Setpgid: true}
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, os.Interrupt, syscall.SIGTERM)
	if err := c.Start(); err != nil {
		fatal(err)
	}
	go func() {
		for s := range stop {
			_ = c.Process.Signal(s)
		}
	}()
	err := c.Wait()
	var exit *exec.ExitError
	switch {
	case errors.As(err, &exit):
		os.Exit(max(exit.ExitCode(), 1))
	case err != nil:
		fatal(err)
	}
	os.Exit(0)
}

// settle makes mounts private, and /proc that of the processes here.
func settle() error {
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("private mounts: %w", err)
	}
	if err := unix.Mount("proc", "/proc", "proc", 0, ""); err != nil {
		return fmt.Errorf("mount /proc: %w", err)
	}
	// Names of network namespaces are the run's own, too.
	if err := os.MkdirAll("/run/netns", 0o755); err != nil {
		return err
	}
	if err := unix.Mount("tmpfs", "/run/netns", "tmpfs", 0, "mode=0755"); err != nil {
		return fmt.Errorf("mount /run/netns: %w", err)
	}
	return nil
}

// cell is the first process of a service: it enters the root given, runs a script and
// reaps what is left. A TERM is passed on to everybody.
func cell(dir, script string) error {
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return err
	}
	if err := unix.Sethostname([]byte("host")); err != nil {
		return err
	}
	if err := unix.Chroot(dir); err != nil {
		return err
	}
	if err := os.Chdir("/"); err != nil {
		return err
	}
	if err := unix.Mount("proc", "/proc", "proc", 0, ""); err != nil {
		return err
	}
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, syscall.SIGTERM)
	c := exec.Command("/bin/sh", "-e", script)
	c.Env = environment("")
	c.Stdout, c.Stderr = os.Stdout, os.Stderr
	if err := c.Start(); err != nil {
		return err
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for {
			pid, err := unix.Wait4(-1, nil, 0, nil)
			if errors.Is(err, unix.ECHILD) {
				return
			}
			if errors.Is(err, unix.EINTR) {
				continue
			}
			if pid == c.Process.Pid {
				continue // what it left in the background is the service
			}
		}
	}()
	select {
	case <-ended:
		return errors.New("nothing is left of the service")
	case <-stop:
	}
	_ = unix.Kill(-1, unix.SIGTERM)
	select {
	case <-ended:
	case <-time.After(5 * time.Second):
	}
	return nil // and with it, everything in here
}

// environment is that of a script; server is the address by which it finds the service.
func environment(server string) []string {
	at := server
	if strings.Contains(at, ":") {
		at = "[" + at + "]"
	}
	return []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root", "LANG=C.UTF-8", "TZ=UTC", "TERM=dumb", "SERVER=" + server, "AT=" + at}
}
