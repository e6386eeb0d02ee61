package lineends

import "golang.org/x/sys/cpu"

// markBlocks is mark for so many times 64 bytes, at least one, without a look at whether they are
// there; high is not 0 if some byte is none of ASCII's.
//
//go:noescape
func markBlocks(text *byte, ends *uint64, blocks int) (high uint32)

var fast = cpu.X86.HasAVX2

func mark(text []byte, ends []uint64) bool {
	if !fast {
		return markGo(text, ends)
	}
	n := len(text) / 64
	if n > 0 && markBlocks(&text[0], &ends[0], n) != 0 {
		return false
	}
	return markGo(text[n*64:], ends[n:])
}
