package main

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"bailiff/pkg/control"
	"bailiff/pkg/hosttest"
	"bailiff/pkg/netlab"
)

// cell is a daemon in bounds: a control group with little memory, few descriptors, a
// network namespace, and a name server that never answers. Needs root.
type cell struct {
	t            *testing.T
	host         *netlab.Host
	dir          string
	daemon       *exec.Cmd
	gone         chan struct{} // closed when it has ended
	group        string        // directory of its memory control group; empty: none
	socket, read string
	client       *control.Client
}

// cellOptions are what a cell allows.
type cellOptions struct {
	memory      int64             // bytes; 0: no bound
	descriptors int               // 0: no bound
	config      string            // of bailiff.toml, with %s for its directory
	files       map[string]string // beside it
}

func newCell(t *testing.T, o cellOptions) *cell {
	t.Helper()
	c := &cell{t: t, host: server(t), dir: t.TempDir()}
	if err := os.Chmod(filepath.Dir(c.dir), 0o711); err != nil { // others come to the read socket
		t.Fatal(err)
	}
	c.socket, c.read = filepath.Join(c.dir, "sock"), filepath.Join(c.dir, "read.sock")
	for name, text := range o.files {
		path := filepath.Join(c.dir, name)
		hosttest.Write(t, path, text)
	}
	config := fmt.Sprintf("[read]\nsocket = %q\ngroup = \"nogroup\"\n[database]\npath = %q\n", c.read, filepath.Join(c.dir, "db"))
	config += strings.ReplaceAll(o.config, "%s", c.dir)
	hosttest.Write(t, filepath.Join(c.dir, "bailiff.toml"), config)
	// The name server is an address of the namespace's own that takes packets and says
	// nothing.
	if err := c.host.Do(func() error {
		l, err := net.ListenPacket("udp", "127.0.0.1:53")
		if err == nil {
			t.Cleanup(func() { l.Close() })
		}
		return err
	}); err != nil {
		t.Fatal(err)
	}
	resolver := filepath.Join(c.dir, "resolv.conf")
	hosttest.Write(t, resolver, "nameserver 127.0.0.1\n")
	self := program(t, "bailiff")
	script := "mount --bind " + resolver + " /etc/resolv.conf\n"
	if o.memory > 0 {
		script += "echo $$ > " + c.bound(o.memory) + "/cgroup.procs\n"
	}
	if o.descriptors > 0 {
		script += fmt.Sprintf("ulimit -n %d\n", o.descriptors)
	}
	script += "exec '" + self + "' run --config " + c.dir + " --socket " + c.socket
	// Not by ip netns exec, which hides the control groups.
	c.daemon = exec.Command("nsenter", "--net=/run/netns/"+c.host.Name, "unshare", "--mount", "sh", "-ec", script)
	out, err := os.Create(filepath.Join(c.dir, "out"))
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	c.daemon.Stdout, c.daemon.Stderr = out, out
	c.daemon.Env = append(os.Environ(), "TZ=UTC", "STATE_DIRECTORY="+filepath.Join(c.dir, "state"))
	if err := c.daemon.Start(); err != nil {
		t.Fatal(err)
	}
	gone := make(chan struct{})
	go func() { _ = c.daemon.Wait(); close(gone) }()
	c.gone = gone
	t.Cleanup(func() {
		_ = c.daemon.Process.Signal(syscall.SIGTERM)
		select {
		case <-gone:
		case <-time.After(2 * time.Minute):
			t.Errorf("it does not stop\n%s", c.log())
			_ = c.daemon.Process.Kill()
			<-gone
		}
	})
	c.client = control.NewClient(c.socket)
	c.until("it answers", 30*time.Second, func() bool { return c.client.Ping() == nil })
	c.until("its read socket is the group's", 30*time.Second, func() bool {
		fi, err := os.Stat(c.read)
		return err == nil && fi.Sys().(*syscall.Stat_t).Gid == 65534
	})
	return c
}

// bound makes a memory control group, of version 1 or 2.
func (c *cell) bound(memory int64) string {
	c.t.Helper()
	data, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		c.t.Fatal(err)
	}
	root, file := "", ""
	for _, line := range strings.Split(strings.TrimSpace(string(data)), "\n") {
		f := strings.SplitN(line, ":", 3)
		switch {
		case len(f) == 3 && f[1] == "memory":
			root, file = "/sys/fs/cgroup/memory"+f[2], "memory.limit_in_bytes"
		case len(f) == 3 && f[1] == "" && root == "":
			root, file = "/sys/fs/cgroup"+f[2], "memory.max"
		}
	}
	c.group = filepath.Join(root, c.host.Name)
	if err := os.Mkdir(c.group, 0o755); err != nil {
		c.t.Fatalf("this test bounds memory by a control group (version 1, or 2 with memory delegated): %v", err)
	}
	c.t.Cleanup(func() {
		var err error
		for end := time.Now().Add(2 * time.Minute); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
			if err = os.Remove(c.group); err == nil {
				return
			}
		}
		c.t.Error(err)
	})
	if err := os.WriteFile(filepath.Join(c.group, file), []byte(strconv.FormatInt(memory, 10)), 0o644); err != nil {
		c.t.Fatalf("this test bounds memory by a control group: %v", err)
	}
	return c.group
}

// log is what the daemon told, its end.
func (c *cell) log() string {
	text, _ := os.ReadFile(filepath.Join(c.dir, "out"))
	if len(text) > 4000 {
		text = text[len(text)-4000:]
	}
	return string(text)
}

// told is when the daemon's log said something first, to the millisecond.
func (c *cell) told(what string) time.Time {
	text, _ := os.ReadFile(filepath.Join(c.dir, "out"))
	for _, line := range strings.Split(string(text), "\n") {
		if strings.HasSuffix(line, what) && len(line) > 23 {
			at, _ := time.Parse("2006-01-02 15:04:05,000", line[:23])
			return at
		}
	}
	return time.Time{}
}

func (c *cell) until(what string, within time.Duration, f func() bool) {
	c.t.Helper()
	for end := time.Now().Add(within); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		if f() {
			return
		}
		select {
		case <-c.gone:
			c.t.Fatalf("the daemon has ended: %s\n%s", what, c.log())
		default:
		}
	}
	c.t.Fatalf("not within %v: %s\n%s", within, what, c.log())
}

// banned asks the kernel for an element.
func (c *cell) banned(jail, addr string) bool {
	c.t.Helper()
	return holds(c.t, c.host, "addr", jail, addr)
}

// memory are a line of /proc/PID/status, in bytes.
func (c *cell) memory(line string) int64 {
	c.t.Helper()
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", c.daemon.Process.Pid))
	if err != nil {
		c.t.Fatalf("the daemon is gone: %v\n%s", err, c.log())
	}
	in := bufio.NewScanner(bytes.NewReader(data))
	for in.Scan() {
		if text, ok := strings.CutPrefix(in.Text(), line+":"); ok {
			n, _ := strconv.ParseInt(strings.TrimSpace(strings.TrimSuffix(text, "kB")), 10, 64)
			return n << 10
		}
	}
	c.t.Fatalf("no %s in\n%s", line, data)
	return 0
}

// charged is what the control group was charged with at most.
func (c *cell) charged() int64 {
	for _, name := range []string{"memory.max_usage_in_bytes", "memory.peak"} {
		if data, err := os.ReadFile(filepath.Join(c.group, name)); err == nil {
			n, _ := strconv.ParseInt(strings.TrimSpace(string(data)), 10, 64)
			return n
		}
	}
	return 0
}

// dialAs connects to a Unix socket as another user, with no right but of a group.
func dialAs(uid, gid int, path string) (c net.Conn, err error) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread() // and end with it: its user is another from here on
		if _, _, e := unix.RawSyscall(unix.SYS_SETGROUPS, 0, 0, 0); e != 0 {
			err = e
			return
		}
		if _, _, e := unix.RawSyscall(unix.SYS_SETRESGID, uintptr(gid), uintptr(gid), uintptr(gid)); e != 0 {
			err = e
			return
		}
		if _, _, e := unix.RawSyscall(unix.SYS_SETRESUID, uintptr(uid), uintptr(uid), uintptr(uid)); e != 0 {
			err = e
			return
		}
		var fd int
		if fd, err = unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0); err != nil {
			return
		}
		_ = unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_SNDTIMEO, &unix.Timeval{Sec: 10})
		if err = unix.Connect(fd, &unix.SockaddrUnix{Name: path}); err != nil {
			unix.Close(fd)
			return
		}
		f := os.NewFile(uintptr(fd), path)
		c, err = net.FileConn(f)
		f.Close()
	}()
	<-done
	return c, err
}

// nobody's ids.
const nobody, noGroup = 65534, 65534

// askAs sends a request as it is and returns the answer's bytes.
func askAs(uid int, path string, request []byte) ([]byte, error) {
	c, err := dialAs(uid, noGroup, path)
	if err != nil {
		return nil, err
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(30 * time.Second))
	end := []byte("<F2B_END_COMMAND>")
	if _, err := c.Write(append(bytes.Clone(request), end...)); err != nil && !errors.Is(err, syscall.EPIPE) {
		return nil, err
	}
	var answer []byte
	chunk := make([]byte, 4096)
	for !bytes.Contains(answer, end) {
		n, err := c.Read(chunk)
		answer = append(answer, chunk[:n]...)
		if err != nil && n == 0 {
			return answer, err
		}
	}
	return answer, nil
}
