// Package largepages asks the kernel for the memory of commands that read logs by 2 MB and not by 4 KB, from
// the program's first steps on: each piece is an interruption, and a start takes some six hundred of 4 KB. Whoever
// imports it has that done before main, if the program was called as one of those commands; nobody else has it.
package largepages

import (
	"os"
	"runtime"
	"runtime/debug"
	"strings"
	"syscall"
	"unsafe"
)

const (
	// room is for how many bytes large pages are asked for behind what is in use: what a million lines take.
	room = 24 << 20
	// chunk is by how many bytes, and at which multiples of them, Go's heap grows.
	chunk = 4 << 20
	// page is a large page's size where the small ones have 4 KB.
	page = 2 << 20
	// collapse is MADV_COLLAPSE, since Linux 6.1: what is in use in small pages becomes a large one.
	collapse = 25
)

// where is where the kernel says for whom it has large pages: all, who asks, nobody.
const where = "/sys/kernel/mm/transparent_hugepage/enabled"

// first is something on the heap of a program that has just begun.
var first = new([64]byte)

// Packages are begun in the order of their names, behind what they import: this one imports little.
func init() {
	if reads(os.Args) {
		ask()
	}
}

// reads reports whether a program that was called like that reads a log and ends.
func reads(args []string) bool {
	if len(args) == 0 {
		return false
	}
	name := args[0][strings.LastIndexByte(args[0], '/')+1:]
	return name == "fail2ban-regex" || len(args) > 1 && (args[1] == "regex" || args[1] == "replay")
}

// forWhoAsks reports whether asking is of use by what the kernel says.
func forWhoAsks(says []byte) bool { return strings.Contains(string(says), "[madvise]") }

// ask asks for large pages for the part of the heap that is in use, and for what is used next. It is of no use
// once much is in use. That something was refused costs time and nothing else.
func ask() {
	if says, err := os.ReadFile(where); err != nil || !forWhoAsks(says) {
		return
	}
	defer debug.SetGCPercent(debug.SetGCPercent(-1)) // it would be collected twice
	next := make([]byte, room)
	if syscall.Madvise(next, syscall.MADV_HUGEPAGE) != nil {
		return
	}
	behind := uintptr(unsafe.Pointer(unsafe.SliceData(next)))
	runtime.GC() // and that is free again, untouched
	// What is in use lies between, from anywhere in the heap's first piece on: where it begins is chosen at random.
	begin := unsafe.Pointer(first)
	begin = unsafe.Add(begin, -int(uintptr(begin)%chunk))
	size := uintptr(chunk)
	if behind > uintptr(begin) && behind-uintptr(begin) < room {
		size = max(size, behind-uintptr(begin))
	}
	used := unsafe.Slice((*byte)(begin), size)
	_ = syscall.Madvise(used, syscall.MADV_HUGEPAGE)
	for ; len(used) >= page; used = used[page:] {
		_ = syscall.Madvise(used[:page], collapse) // nothing is done where nothing is in use
	}
}
