package confine

import (
	"fmt"
	"slices"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// request is what capset(2) is told: not on a stack, which may move while all threads are
// asked.
var request struct {
	header unix.CapUserHeader
	sets   [2]unix.CapUserData
}

func setCapabilities(header unix.CapUserHeader, sets [2]unix.CapUserData) error {
	request.header, request.sets = header, sets
	return allThreads("capabilities", unix.SYS_CAPSET, uintptr(unsafe.Pointer(&request.header)), uintptr(unsafe.Pointer(&request.sets[0])), 0)
}

// addGroups adds groups to those of the process.
func addGroups(more []int) error {
	have, err := syscall.Getgroups()
	if err != nil {
		return fmt.Errorf("groups: %w", err)
	}
	all := have
	for _, g := range more {
		if g != syscall.Getegid() && !slices.Contains(all, g) {
			all = append(all, g)
		}
	}
	if len(all) == len(have) || !Has(unix.CAP_SETGID) {
		return nil
	}
	if err := syscall.Setgroups(all); err != nil {
		return fmt.Errorf("groups: %w", err)
	}
	return nil
}

// Has reports whether this process has a capability (unix.CAP_…) and may use it.
func Has(capability int) bool {
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var have [2]unix.CapUserData
	return unix.Capget(&header, &have[0]) == nil && have[capability/32].Effective&(1<<(capability%32)) != 0
}

// Lower takes from this process, in all its threads, all capabilities but those that which says
// it needs, of the ones named; and no_new_privs. as is who it becomes; nil: who it is. While which is asked,
// the process may use none of them: so it can try what it can do without.
func Lower(as *User, groups, most []int, which func() []int) error {
	if err := keepCapabilities(as, groups, most); err != nil {
		return err
	}
	if err := allThreads("no_new_privs", unix.SYS_PRCTL, unix.PR_SET_NO_NEW_PRIVS, 1, 0); err != nil {
		return err
	}
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var have [2]unix.CapUserData
	if err := unix.Capget(&header, &have[0]); err != nil {
		return fmt.Errorf("capabilities: %w", err)
	}
	for i := range have {
		have[i].Effective = 0
	}
	if err := setCapabilities(header, have); err != nil {
		return err
	}
	var want [2]uint32
	for _, c := range which() {
		want[c/32] |= 1 << (c % 32)
	}
	for i := range have {
		have[i].Permitted &= want[i]
		have[i].Effective = have[i].Permitted
	}
	return setCapabilities(header, have)
}

// become makes the process another user's, in all threads. What it is allowed stays.
func become(u *User, more []int) error {
	groups := slices.Clone(u.Groups)
	for _, g := range more {
		if g != u.GID && !slices.Contains(groups, g) {
			groups = append(groups, g)
		}
	}
	if err := allThreads("user", unix.SYS_PRCTL, unix.PR_SET_KEEPCAPS, 1, 0); err != nil {
		return err
	}
	if err := syscall.Setgroups(groups); err != nil {
		return fmt.Errorf("groups: %w", err)
	}
	if err := syscall.Setresgid(u.GID, u.GID, u.GID); err != nil {
		return fmt.Errorf("group %d: %w", u.GID, err)
	}
	if err := syscall.Setresuid(u.UID, u.UID, u.UID); err != nil {
		return fmt.Errorf("user %d: %w", u.UID, err)
	}
	return allThreads("user", unix.SYS_PRCTL, unix.PR_SET_KEEPCAPS, 0, 0)
}
