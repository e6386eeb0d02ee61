package confine

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"runtime"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Attempt is one thing that a confined process can't do.
type Attempt struct {
	What string
	// Err is what came of it; nil: it could be done.
	Err error
}

// Held reports whether the wall held.
func (a Attempt) Held() bool {
	return errors.Is(a.Err, unix.EPERM) || errors.Is(a.Err, unix.EACCES)
}

// Try tries every wall from inside, for tests: the process must be confined. Where a wall
// does not hold, little harm is done: what is made is removed again, and programs are
// tried last.
func Try() (out []Attempt) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	try := func(what string, err error) { out = append(out, Attempt{what, err}) }
	call := func(what string, number uintptr, args ...uintptr) {
		var a [6]uintptr
		copy(a[:], args)
		_, _, errno := unix.RawSyscall6(number, a[0], a[1], a[2], a[3], a[4], a[5])
		if errno == 0 {
			try(what, nil)
			return
		}
		try(what, errno)
	}
	text := func(s string) uintptr {
		p, _ := unix.BytePtrFromString(s)
		keep = append(keep, p)
		return uintptr(unsafe.Pointer(p))
	}
	bad := ^uintptr(0) // a descriptor, a number that is none
	open := func(path string, flags int) error {
		fd, err := unix.Open(path, flags|unix.O_CLOEXEC, 0o600)
		if err == nil {
			unix.Close(fd)
		}
		return err
	}
	try("read /etc/shadow", open("/etc/shadow", unix.O_RDONLY))
	try("read /etc/shadow by /proc/1/root", open("/proc/1/root/etc/shadow", unix.O_RDONLY))
	try("list /root", open("/root", unix.O_RDONLY|unix.O_DIRECTORY))
	try("read the memory of process 1", open("/proc/1/mem", unix.O_RDONLY))
	cron := "/etc/cron.d"
	if _, err := os.Stat(cron); errors.Is(err, fs.ErrNotExist) {
		cron = "/etc" // no cron is installed
	}
	made := cron + "/bailiff-tries"
	err := open(made, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL)
	try("write to "+cron, err)
	if err == nil {
		os.Remove(made)
	}
	try("write to /etc/passwd", open("/etc/passwd", unix.O_WRONLY|unix.O_APPEND))
	try("write to /proc/sys", open("/proc/sys/kernel/core_pattern", unix.O_WRONLY))
	call("change the mode of a file", unix.SYS_FCHMODAT, bad, text(cron), 0o755)
	if fd, err := unix.Open("/etc/passwd", unix.O_RDONLY|unix.O_CLOEXEC, 0); err == nil {
		call("let others write to an open file", unix.SYS_FCHMOD, uintptr(fd), 0o666)
		try("give a file away", unix.Fchown(fd, 65534, -1))
		unix.Close(fd)
	}
	call("signal another process", unix.SYS_KILL, uintptr(os.Getppid()), 0)
	call("ptrace", unix.SYS_PTRACE, unix.PTRACE_ATTACH, uintptr(os.Getppid()))
	call("process_vm_readv", unix.SYS_PROCESS_VM_READV, 1)
	call("process_vm_writev", unix.SYS_PROCESS_VM_WRITEV, 1)
	call("pidfd_getfd", unix.SYS_PIDFD_GETFD, bad)
	call("mount", unix.SYS_MOUNT, text("none"), text("/proc"), text("tmpfs"))
	call("umount", unix.SYS_UMOUNT2, text("/bailiff-is-not-there"))
	call("fsopen", unix.SYS_FSOPEN, text("tmpfs"))
	call("open_tree", unix.SYS_OPEN_TREE, bad, text("/"), 1)
	call("move_mount", unix.SYS_MOVE_MOUNT, bad, text(""), bad, text(""))
	call("mount_setattr", unix.SYS_MOUNT_SETATTR, bad, text("/"))
	call("pivot_root", unix.SYS_PIVOT_ROOT, text("/"), text("/"))
	call("chroot", unix.SYS_CHROOT, text("/"))
	call("open_by_handle_at", unix.SYS_OPEN_BY_HANDLE_AT, bad)
	call("setns", unix.SYS_SETNS, bad)
	call("unshare", unix.SYS_UNSHARE, unix.CLONE_NEWUSER)
	call("clone with a user namespace", unix.SYS_CLONE, unix.CLONE_NEWUSER|uintptr(unix.SIGCHLD))
	call("bpf", unix.SYS_BPF)
	call("perf_event_open", unix.SYS_PERF_EVENT_OPEN)
	call("userfaultfd", unix.SYS_USERFAULTFD, 1)
	call("io_uring_setup", unix.SYS_IO_URING_SETUP, 1)
	call("io_uring_enter", unix.SYS_IO_URING_ENTER, bad)
	call("io_uring_register", unix.SYS_IO_URING_REGISTER, bad)
	call("keyctl", unix.SYS_KEYCTL)
	call("add_key", unix.SYS_ADD_KEY)
	call("init_module", unix.SYS_INIT_MODULE)
	call("finit_module", unix.SYS_FINIT_MODULE, bad)
	call("delete_module", unix.SYS_DELETE_MODULE, text("bailiff_is_not_there"))
	call("kexec_load", unix.SYS_KEXEC_LOAD)
	call("clock_settime", unix.SYS_CLOCK_SETTIME, bad)
	call("settimeofday", unix.SYS_SETTIMEOFDAY)
	call("sethostname", unix.SYS_SETHOSTNAME)
	call("personality", unix.SYS_PERSONALITY, bad)
	for _, s := range []struct {
		what                   string
		family, kind, protocol int
	}{
		{"socket of AF_PACKET", unix.AF_PACKET, unix.SOCK_RAW, 0},
		{"raw socket", unix.AF_INET, unix.SOCK_RAW, unix.IPPROTO_ICMP},
		{"raw socket of IPv6", unix.AF_INET6, unix.SOCK_RAW, unix.IPPROTO_ICMPV6},
		{"socket of AF_ALG", unix.AF_ALG, unix.SOCK_SEQPACKET, 0},
		{"socket of AF_VSOCK", unix.AF_VSOCK, unix.SOCK_STREAM, 0},
	} {
		fd, err := unix.Socket(s.family, s.kind|unix.SOCK_CLOEXEC, s.protocol)
		if err == nil {
			unix.Close(fd)
		}
		try(s.what, err)
	}
	_, err = syscall.ForkExec("/bin/true", []string{"true"}, &syscall.ProcAttr{})
	try("start a program", err)
	argv := []*byte{nil}
	call("execveat", unix.SYS_EXECVEAT, bad, text("/bin/true"), uintptr(unsafe.Pointer(&argv[0])), uintptr(unsafe.Pointer(&argv[0])), 0)
	call("execve", unix.SYS_EXECVE, text("/bin/true"), uintptr(unsafe.Pointer(&argv[0])), uintptr(unsafe.Pointer(&argv[0])))
	runtime.KeepAlive(argv)
	keep = nil
	return out
}

// keep are texts that the kernel is told the addresses of.
var keep []*byte

// String is a line that tells of it.
func (a Attempt) String() string {
	if a.Err == nil {
		return fmt.Sprintf("OPEN  %s", a.What)
	}
	var errno syscall.Errno
	name := a.Err.Error()
	if errors.As(a.Err, &errno) && unix.ErrnoName(errno) != "" {
		name = unix.ErrnoName(errno)
	}
	if a.Held() {
		return fmt.Sprintf("%-6s %s", name, a.What)
	}
	return fmt.Sprintf("ELSE  %s: %s", a.What, name)
}
