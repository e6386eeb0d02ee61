package confine

import (
	"fmt"
	"os"
	"runtime"
	"unsafe"

	seccomp "github.com/elastic/go-seccomp-bpf"
	"github.com/elastic/go-seccomp-bpf/arch"
	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
)

// forbidden are the system calls that fail with EPERM.
var forbidden = []string{
	// Other programs and processes.
	"execve", "execveat", "fork", "vfork", "ptrace", "process_vm_readv", "process_vm_writev", "process_madvise",
	"process_mrelease", "pidfd_getfd", "pidfd_send_signal", "tkill", "rt_sigqueueinfo", "rt_tgsigqueueinfo", "kcmp", "personality",
	// The tree of files as a whole; files by a number that is no name.
	"mount", "umount2", "pivot_root", "chroot", "open_tree", "open_tree_attr", "move_mount", "fsopen", "fsconfig",
	"fsmount", "fspick", "mount_setattr", "open_by_handle_at", "name_to_handle_at", "swapon", "swapoff",
	"quotactl", "quotactl_fd", "fanotify_init", "mknod", "mknodat",
	// The modes of files by their names: Landlock looks after what is opened, and root owns
	// most of what there is.
	"chmod", "fchmodat", "fchmodat2",
	// Namespaces.
	"setns", "unshare",
	// What is large in the kernel, and of no use here.
	"bpf", "perf_event_open", "userfaultfd", "io_uring_setup", "io_uring_enter", "io_uring_register",
	"keyctl", "add_key", "request_key", "modify_ldt", "uselib", "lookup_dcookie", "vmsplice",
	// The machine.
	"init_module", "finit_module", "delete_module", "kexec_load", "kexec_file_load", "reboot", "acct", "syslog",
	"iopl", "ioperm", "sethostname", "setdomainname", "vhangup", "nfsservctl",
	"clock_settime", "settimeofday", "clock_adjtime", "adjtimex", "stime",
}

// families are the kinds of sockets that can be made: no packets past the kernel's
// protocols, no way to its cryptography or to other virtual machines.
var families = []uint64{unix.AF_UNIX, unix.AF_INET, unix.AF_INET6, unix.AF_NETLINK}

// Of a terminal: text that is put there as if it were typed.
const (
	tiocsti   = unix.TIOCSTI
	tioclinux = 0x541C
)

// policy is the filter for a processor.
func policy(cpu *arch.Info) seccomp.Policy {
	there := func(name string) bool { _, ok := cpu.SyscallNames[name]; return ok }
	self := uint64(os.Getpid())
	no := seccomp.SyscallGroup{Action: seccomp.ActionErrno}
	for _, name := range forbidden {
		if there(name) {
			no.Names = append(no.Names, name)
		}
	}
	var strange seccomp.ArgumentConditions // none of ours, in all 64 bits
	for _, f := range families {
		strange = append(strange, seccomp.Condition{Argument: 0, Operation: seccomp.NotEqual, Value: f})
	}
	no.NamesWithCondtions = []seccomp.NameWithConditions{
		{Name: "socket", Conditions: strange},
		// A thread of this process is the only thing that can be made.
		// Of what is open, nobody else gets to write to it, and no program gets other rights.
		{Name: "fchmod", Conditions: seccomp.ArgumentConditions{{Argument: 1, Operation: seccomp.BitsSet, Value: 0o7022}}},
		// Nobody else is ended, or limited.
		{Name: "kill", Conditions: seccomp.ArgumentConditions{{Argument: 0, Operation: seccomp.NotEqual, Value: self}}},
		{Name: "tgkill", Conditions: seccomp.ArgumentConditions{{Argument: 0, Operation: seccomp.NotEqual, Value: self}}},
		{Name: "prlimit64", Conditions: seccomp.ArgumentConditions{{Argument: 0, Operation: seccomp.NotEqual, Value: 0}}},
		{Name: "clone", Conditions: seccomp.ArgumentConditions{{Argument: 0, Operation: seccomp.BitsNotSet, Value: unix.CLONE_THREAD}}},
		{Name: "ioctl", Conditions: seccomp.ArgumentConditions{{Argument: 1, Operation: seccomp.Equal, Value: tiocsti}}},
		{Name: "ioctl", Conditions: seccomp.ArgumentConditions{{Argument: 1, Operation: seccomp.Equal, Value: tioclinux}}},
	}
	// What it would do lies in memory, where a filter can't look. Who is told that there is
	// no such call takes clone.
	unknown := seccomp.SyscallGroup{Action: seccomp.ActionErrno | seccomp.Action(unix.ENOSYS), Names: []string{"clone3"}}
	return seccomp.Policy{DefaultAction: seccomp.ActionAllow, Syscalls: []seccomp.SyscallGroup{unknown, no}}
}

// assembled is the filter for a processor as the kernel takes it. Calls in the manner of
// another processor (32 bits on one of 64) fail, all of them.
func assembled(cpu *arch.Info) ([]bpf.RawInstruction, error) {
	p := policy(cpu)
	rest, err := p.Assemble()
	if err != nil {
		return nil, err
	}
	const archAt = 4 // in struct seccomp_data
	return bpf.Assemble(append([]bpf.Instruction{
		bpf.LoadAbsolute{Off: archAt, Size: 4},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: uint32(cpu.ID), SkipTrue: 1},
		bpf.RetConstant{Val: unix.SECCOMP_RET_ERRNO | uint32(unix.ENOSYS)},
	}, rest...))
}

// filter installs the filter in all threads. It is not there on processors whose calls
// nobody has looked at.
func filter() (there bool, err error) {
	cpu, err := arch.GetInfo("")
	if err != nil || cpu != arch.X86_64 && cpu != arch.AARCH64 {
		return false, nil
	}
	raw, err := assembled(cpu)
	if err != nil {
		return false, fmt.Errorf("seccomp: %w", err)
	}
	code := make([]unix.SockFilter, len(raw))
	for i, r := range raw {
		code[i] = unix.SockFilter{Code: r.Op, Jt: r.Jt, Jf: r.Jf, K: r.K}
	}
	program := unix.SockFprog{Len: uint16(len(code)), Filter: &code[0]}
	thread, _, errno := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, unix.SECCOMP_FILTER_FLAG_TSYNC, uintptr(unsafe.Pointer(&program)))
	runtime.KeepAlive(code)
	switch {
	case errno == unix.ENOSYS || errno == unix.EINVAL || errno == unix.EPERM: // a kernel without it, or a container that refuses it
		return false, nil
	case errno != 0:
		return false, fmt.Errorf("seccomp: %w", errno)
	case thread != 0:
		return false, fmt.Errorf("seccomp: thread %d can't be confined", thread)
	}
	return true, nil
}
