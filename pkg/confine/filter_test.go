package confine

import (
	"encoding/binary"
	"os"
	"slices"
	"testing"

	"github.com/elastic/go-seccomp-bpf/arch"
	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
)

// only are calls that a processor does not have.
var only = map[string][]string{
	"aarch64": {"fork", "vfork", "modify_ldt", "uselib", "iopl", "ioperm", "mknod", "chmod", "stime"},
	"x86_64":  {"stime"},
}

// TestNames looks whether the table of calls that is used knows all that are forbidden.
func TestNames(t *testing.T) {
	for _, cpu := range []*arch.Info{arch.X86_64, arch.AARCH64} {
		for _, name := range append([]string{"clone3", "clone", "socket", "ioctl", "fchmod", "kill", "tgkill", "prlimit64"}, forbidden...) {
			if _, there := cpu.SyscallNames[name]; !there && !slices.Contains(only[cpu.Name], name) {
				t.Errorf("%s: the table of calls has no %s", cpu.Name, name)
			}
		}
	}
}

// TestFilter runs the filter, as it is assembled, on calls: of this processor, of the other
// that it is for, and of those that a processor takes beside its own.
func TestFilter(t *testing.T) {
	const allow, eperm, enosys = uint32(unix.SECCOMP_RET_ALLOW), uint32(unix.SECCOMP_RET_ERRNO) | uint32(unix.EPERM), uint32(unix.SECCOMP_RET_ERRNO) | uint32(unix.ENOSYS)
	self := uint64(os.Getpid())
	cpu, err := arch.GetInfo("")
	if err != nil {
		t.Fatal(err)
	}
	raw, err := assembled(cpu)
	if err != nil {
		t.Fatal(err)
	}
	code, whole := bpf.Disassemble(raw)
	if !whole {
		t.Fatal("it can't be read back")
	}
	vm, err := bpf.NewVM(code)
	if err != nil {
		t.Fatal(err)
	}
	verdict := func(id, number uint32, args ...uint64) uint32 {
		data := make([]byte, 64)
		// The machine reads words as a network has them, the kernel as this processor does.
		binary.BigEndian.PutUint32(data, number)
		binary.BigEndian.PutUint32(data[4:], id)
		for i, a := range args {
			binary.BigEndian.PutUint32(data[16+8*i:], uint32(a))
			binary.BigEndian.PutUint32(data[20+8*i:], uint32(a>>32))
		}
		got, err := vm.Run(data)
		if err != nil {
			t.Fatal(err)
		}
		return uint32(got)
	}
	of := func(name string, want uint32, args ...uint64) {
		t.Helper()
		number, ok := cpu.SyscallNames[name]
		if !ok { // see TestNames
			return
		}
		if got := verdict(uint32(cpu.ID), uint32(number), args...); got != want {
			t.Errorf("%s: %s%v: %#x, want %#x", cpu.Name, name, args, got, want)
		}
	}
	for _, name := range forbidden {
		of(name, eperm)
	}
	for _, name := range []string{"read", "openat", "futex", "mmap", "epoll_pwait", "sendmsg", "fsync", "renameat", "unlinkat", "statfs", "inotify_add_watch"} {
		of(name, allow)
	}
	of("clone3", enosys)
	of("clone", allow, unix.CLONE_VM|unix.CLONE_THREAD|unix.CLONE_SIGHAND)
	of("clone", eperm, uint64(unix.SIGCHLD))
	of("clone", eperm, unix.CLONE_VFORK|unix.CLONE_VM)
	of("clone", eperm, unix.CLONE_NEWUSER)
	for _, f := range families {
		of("socket", allow, f)
		of("socket", eperm, f|1<<32) // more than the kernel looks at
	}
	of("socket", eperm, unix.AF_PACKET)
	of("socket", eperm, unix.AF_ALG)
	of("fchmod", allow, 3, 0o644)
	of("fchmod", eperm, 3, 0o666)
	of("fchmod", eperm, 3, 0o4700)
	of("kill", allow, self)
	of("kill", eperm, 1)
	of("kill", eperm, ^uint64(0))
	of("tgkill", allow, self)
	of("prlimit64", allow, 0)
	of("prlimit64", eperm, 1)
	of("ioctl", eperm, 0, unix.TIOCSTI)
	of("ioctl", allow, 0, unix.TCGETS)
	for _, other := range []*arch.Info{arch.I386, arch.ARM} {
		if got := verdict(uint32(other.ID), uint32(other.SyscallNames["read"])); got != enosys {
			t.Errorf("%s: a call of %s: %#x, want %#x", cpu.Name, other.Name, got, enosys)
		}
	}
	if got := verdict(uint32(arch.X86_64.ID), uint32(arch.X32.SeccompMask|59)); got != enosys {
		t.Errorf("%s: a call of x32: %#x, want %#x", cpu.Name, got, enosys)
	}
}
