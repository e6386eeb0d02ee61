package action

import (
	"fmt"
	"unicode/utf8"

	"golang.org/x/sys/unix"
)

// A client chooses how long a line is, and with it what a command would be told. Linux
// takes no argument of more than 128 KiB, and not more than a quarter of the stack's
// limit of all together: what is more than that has to be cut, or the command is not run
// at all.

const (
	// ValueMost is how many bytes of a tag's value a command gets.
	ValueMost = 64 << 10
	// inlineMost is how many bytes of values stand in a command's text, and inlineEach how
	// many of one; longer ones are handed over as variables.
	inlineMost, inlineEach = 32 << 10, 4 << 10
	// saidMost is how many bytes of a command, or of what it wrote, the log tells.
	saidMost = 2 << 10
)

// Cut returns a text with at most most bytes. Where that cuts something off, it ends
// with a mark that says how long the text was. It cuts between two characters: what is
// UTF-8 stays that.
func Cut(text string, most int) string {
	if len(text) <= most {
		return text
	}
	mark := fmt.Sprintf(" [cut: %d bytes]", len(text))
	end := max(most-len(mark), 0)
	for i := 0; i < utf8.UTFMax && end > 0 && !utf8.RuneStart(text[end]); i++ {
		end--
	}
	return text[:end] + mark
}

// argumentsMost is how many bytes arguments and environment may take together, less
// what else the kernel puts there.
func argumentsMost() int {
	const least, most, rest = 128 << 10, 6 << 20, 16 << 10
	var stack unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_STACK, &stack); err != nil {
		return least - rest
	}
	return int(max(min(stack.Cur/4, most), least)) - rest
}

// fitting returns the values of a command's variables, cut so that the command can be
// run beside so many bytes of other arguments and environment.
func (c Command) fitting(others int) []string {
	room := argumentsMost() - others
	each := ValueMost
	for ; each > 256; each /= 2 {
		sum := 0
		for _, v := range c.Vars {
			sum += min(len(v.Value), each) + 16
		}
		if sum <= room {
			break
		}
	}
	out := make([]string, len(c.Vars))
	for i, v := range c.Vars {
		out[i] = Cut(v.Value, each)
	}
	return out
}
