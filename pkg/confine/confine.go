// Package confine takes from a process what it does not need, for good: capabilities,
// files, system calls. It is for the process that reads what strangers have written; who
// takes it over by a mistake in it has hardly more than its logs and its own files.
//
//   - capabilities: those that are named stay, in no set is any other left, none can come
//     back;
//   - files (Landlock): what is named can be read or written, nothing else of the whole
//     tree, whoever the process's user is; no signal goes to a process outside;
//   - system calls (seccomp): no program is run, no process made, watched or written to,
//     nothing is mounted, no namespace entered, no module loaded; calls with a record of
//     mistakes in the kernel and no use here (bpf, io_uring, keyctl, …) fail. Sockets are of
//     the kinds that are named in [families];
//   - no_new_privs.
//
// All of it holds for every thread, those to come and those that are there. None of it can be
// undone or widened, so it is done once, when it is known which files are needed.
package confine

import (
	"errors"
	"fmt"
	"os"
	"slices"

	"github.com/landlock-lsm/go-landlock/landlock"
	ll "github.com/landlock-lsm/go-landlock/landlock/syscall"
	"golang.org/x/sys/unix"
	"kernel.org/pub/linux/libs/security/libcap/psx"
)

// Walls say what is left to a process.
type Walls struct {
	// Capabilities are those that stay (unix.CAP_…), as far as the process has them.
	Capabilities []int
	// User is who the process is afterwards; nil: who it is.
	User *User
	// Groups are added to the process's, if it may do that: files can be given to them.
	Groups []int
	// Read are files and directories, with all that is in them, that can be read.
	Read []string
	// Append are directories in which files can be made and written, and nothing removed.
	Append []string
	// Write are directories in which files, sockets and directories can be made, written,
	// renamed and removed; Files are single ones that can be read and written.
	Write, Files []string
	// AllFiles: files are not confined.
	AllFiles bool
	// Unasked are directories among those that are not looked at, since their file system
	// may hang.
	Unasked []string
}

// User is a user with his group and the others that he has.
type User struct {
	UID, GID int
	Groups   []int
}

// Report says what became of it.
type Report struct {
	// Landlock is the version of the kernel's Landlock, 0: it has none, files are not
	// confined.
	Landlock int
	// Seccomp: system calls are filtered.
	Seccomp bool
	// Missing are paths of Walls that are not there: they can't be reached later either.
	Missing []string
}

const (
	read   = ll.AccessFSReadFile | ll.AccessFSReadDir
	adds   = read | ll.AccessFSWriteFile | ll.AccessFSMakeReg | ll.AccessFSTruncate
	writes = adds | ll.AccessFSRemoveFile | ll.AccessFSMakeSock | ll.AccessFSMakeDir | ll.AccessFSRemoveDir
	files  = ll.AccessFSReadFile | ll.AccessFSWriteFile | ll.AccessFSTruncate
	// every is what Landlock is to look after. Without ResolveUnix: it is no file that is
	// opened, and who listens there looks at who comes.
	every = ll.AccessFSExecute | writes | ll.AccessFSMakeChar | ll.AccessFSMakeFifo | ll.AccessFSMakeBlock |
		ll.AccessFSMakeSym | ll.AccessFSRefer | ll.AccessFSIoctlDev
)

// Apply puts up the walls, around all threads. After an error some of them may stand: the
// process is not to go on.
func Apply(w Walls) (Report, error) {
	var r Report
	if w.User == nil {
		if err := addGroups(w.Groups); err != nil {
			return r, err
		}
	}
	if err := keepCapabilities(w.User, w.Groups, w.Capabilities); err != nil {
		return r, err
	}
	if err := allThreads("no_new_privs", unix.SYS_PRCTL, unix.PR_SET_NO_NEW_PRIVS, 1, 0); err != nil {
		return r, err
	}
	r.Landlock, _ = ll.LandlockGetABIVersion()
	var rules []landlock.Rule
	for _, of := range []struct {
		paths []string
		may   landlock.AccessFSSet
	}{{w.Read, read}, {w.Append, adds}, {w.Write, writes}, {w.Files, files}} {
		for _, path := range of.paths {
			may := of.may
			if !slices.Contains(w.Unasked, path) {
				fi, err := os.Stat(path)
				if err != nil {
					r.Missing = append(r.Missing, path)
					continue
				}
				if !fi.IsDir() {
					may &= files
				}
			}
			rules = append(rules, landlock.PathAccess(may, path).IgnoreIfMissing())
		}
	}
	if r.Landlock > 0 && !w.AllFiles {
		all := landlock.Config{HandledAccessFS: every, Scoped: ll.ScopeSignal}
		if err := all.BestEffort().Restrict(rules...); err != nil {
			return r, fmt.Errorf("landlock: %w", err)
		}
	}
	var err error
	r.Seccomp, err = filter()
	return r, err
}

// keepCapabilities takes all capabilities but some out of every set.
func keepCapabilities(as *User, groups, keep []int) error {
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var have [2]unix.CapUserData
	if err := unix.Capget(&header, &have[0]); err != nil {
		return fmt.Errorf("capabilities: %w", err)
	}
	var want [2]uint32
	for _, c := range keep {
		want[c/32] |= 1 << (c % 32)
	}
	if Has(unix.CAP_SETPCAP) { // else they can't be taken, and gain nothing with no_new_privs
		for c := 0; c <= unix.CAP_LAST_CAP; c++ {
			if want[c/32]&(1<<(c%32)) != 0 {
				continue
			}
			if err := allThreads("capabilities", unix.SYS_PRCTL, unix.PR_CAPBSET_DROP, uintptr(c), 0); err != nil && !errors.Is(err, unix.EINVAL) {
				return err
			}
		}
	}
	if err := allThreads("capabilities", unix.SYS_PRCTL, unix.PR_CAP_AMBIENT, unix.PR_CAP_AMBIENT_CLEAR_ALL, 0); err != nil && !errors.Is(err, unix.EINVAL) {
		return err
	}
	if as != nil {
		if err := become(as, groups); err != nil {
			return err
		}
	}
	enough := as == nil // what it has is what is to stay
	for i := range have {
		enough = enough && (have[i].Permitted|have[i].Effective)&^want[i] == 0
		have[i].Permitted &= want[i]
		have[i].Effective = have[i].Permitted
		have[i].Inheritable = 0
	}
	err := setCapabilities(header, have)
	if errors.Is(err, unix.EPERM) && enough {
		return nil // a service manager has seen to it, and refuses the call
	}
	return err
}

// allThreads makes a system call in every thread.
func allThreads(what string, call, a, b, c uintptr) error {
	if _, _, errno := psx.Syscall6(call, a, b, c, 0, 0, 0); errno != 0 {
		return fmt.Errorf("%s: %w", what, errno)
	}
	return nil
}
