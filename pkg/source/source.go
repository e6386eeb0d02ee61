// Package source follows logs. It delivers the lines of a file once each, in
// order, across rotation, with the place where each batch ends.
//
// Events are hints: what is read next follows from the file's identity and the
// offset, which are checked against the path at every event and four times a
// second, so a lost or late event costs latency and never a line. A renamed
// file is read to its end and a while longer, since its writer may still hold
// it; the new one is read from its beginning. Whenever the path names another file
// than before, its neighbours are looked through for files that came in between.
//
// A file is known by what it holds. Identity, position and the bytes before the
// position belong together, and are compared before what is read is believed: a file
// that was emptied, copied or written anew is noticed by that.
//
// Nobody waits for the file system: a follower whose open or read hangs holds up
// itself alone, and is left behind if it hasn't come back when it is to end.
package source

import (
	"errors"
	"fmt"
	"os"
	"syscall"
	"time"

	"bailiff/pkg/transport"

	"golang.org/x/sys/unix"
)

// FileID tells files apart that bear the same name one after the other.
type FileID struct {
	Dev, Inode uint64
}

func fileID(sys any) FileID {
	if st, ok := sys.(*syscall.Stat_t); ok {
		return FileID{uint64(st.Dev), st.Ino}
	}
	return FileID{}
}

// statOf is what the system says of a path. Each log is looked at some times a second: it
// allocates no more than the path. The error is os.Stat's.
func statOf(path string, st *unix.Stat_t) error {
	for {
		err := unix.Stat(path, st)
		if err == nil {
			return nil
		}
		if !errors.Is(err, unix.EINTR) {
			return &os.PathError{Op: "stat", Path: path, Err: err}
		}
	}
}

func idOfStat(st *unix.Stat_t) FileID { return FileID{uint64(st.Dev), st.Ino} }

func changedAt(st *unix.Stat_t) time.Time { return time.Unix(st.Mtim.Unix()) }

// Batch is some whole lines of one log.
type Batch struct {
	Path  string
	File  FileID
	End   int64    // offset behind the last line
	Lines [][]byte // without their newlines; they stay valid
	// Frames are what stood around the lines, which is taken off; nil: nothing did.
	Frames []transport.Frame
	// Notes are shared by those who follow the same file and got these lines, too;
	// nil: nobody did.
	Notes *Notes
	// Times are those of the lines, where they come with the lines and are not in
	// them: from the journal. nil: they are in the lines.
	Times []time.Time
	// Received: Times are when the lines came, and all that is believed of dates in them.
	Received bool
	// Cursor and Stored are the journal's place of the last line, and when the
	// journal took it.
	Cursor string
	Stored time.Time
	// Take, if not nil, says that the lines are dealt with now. It reports false if they were
	// withdrawn meanwhile, and are delivered to somebody else.
	Take func() bool
	// CatchUp: the lines were in the file when it was first seen, so their own
	// times may be long past.
	CatchUp bool
	// FirstLine is the SHA-1 of the file's first line with its newline, in
	// hexadecimal; empty as long as there is none.
	FirstLine string
	// Replay: the lines stand before the position at which reading goes on after a
	// restart. They are accounted for, and only here so that what depends on lines
	// before can be known again.
	Replay bool
	// Opened: the file is new, and End is where reading it begins.
	Opened bool
	// Rewritten: the lines were in a file that was written anew in place of the one
	// that was followed, and begins or ends as that did (sed -i): some or all of them
	// were read before, and each is as old as it says.
	Rewritten bool
	// Before is what stands in the file before End, up to 64 bytes; by it the place is
	// known again.
	Before string
	// Born is when the file came into being, in nanoseconds since 1970 by the file system's
	// clock; 0: not known. Inodes are given again.
	Born int64
	// Seen is before when what came into being beside the log is dealt with, like Born.
	Seen int64
	// Done: the file is read to its end and will not be read again.
	Done bool
	// Written is about when the lines were written, as far as that was noticed, as Moment has
	// it; 0: it is not known.
	Written int64
}

// Position is where reading a log goes on after a restart.
type Position struct {
	File      FileID // zero: not known
	FirstLine string // as in Batch, or an MD5
	Offset    int64
	Before    string // as in Batch; empty: not known
	Born      int64  // as in Batch
	Seen      int64  // as in Batch
	// Cursor is the journal's place. Time is when its entry was stored; of a file, when
	// the position was written down, or zero.
	Cursor string
	Time   time.Time
}

// Status is what is known of one log that is followed.
type Status struct {
	Path   string `json:"path"`
	Offset int64  `json:"offset"`          // in bytes, accounted for
	Error  string `json:"error,omitempty"` // why it can't be read now
	// Unread is when the oldest of what is not read yet was noticed, as Moment has it; 0: all is
	// read, as far as known.
	Unread int64 `json:"-"`
}

// MaxLine is the length in bytes above which a line is cut: its beginning is
// looked at, the rest is passed over.
const MaxLine = 1 << 20

// Event is something that the log of the daemon should tell about a source.
type Event struct {
	Path string
	Err  error  // nil for news
	Text string // news: "file rotated" and the like
	Warn bool   // the news are worth a warning
	// Begun: the reader of a file has begun, at byte At.
	Begun bool
	At    int64
	// Often: a client can have it happen with each line.
	Often bool
}

func (e Event) String() string {
	if e.Err != nil {
		return fmt.Sprintf("%s: %v", e.Path, e.Err)
	}
	return e.Path + ": " + e.Text
}
