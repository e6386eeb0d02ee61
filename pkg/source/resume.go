package source

import (
	"bytes"
	"cmp"
	"fmt"
	"os"
	"slices"
	"time"

	"bailiff/pkg/transport"
)

// After a restart, reading goes on where it had come to. What was written since
// may stand in the file with the log's name, or in one that was renamed
// meanwhile: files are known by inode and by what they hold, and renamed ones are
// looked for beside the log. All that is to be read is opened first, while the
// lookout watches the path: rotation goes on meanwhile.

// replayed is how many bytes before the position are read once more, for what
// depends on lines before: which form dates have, whose connection is whose.
const replayed = 64 << 10

// rest is a file of which something is left to read.
type rest struct {
	looked
	file   *os.File
	at     place
	unseen bool // nothing was read of it
}

// resume reads what is left of the files that the positions name, and of those that
// came between; first is what the path names, and is taken over if reading goes on in
// it. It returns false when ctx ended.
func (f *follower) resume(first *sighting) bool {
	f.src.mu.Lock()
	positions := f.src.Resume[f.path]
	delete(f.src.Resume, f.path)
	f.src.mu.Unlock()
	defer f.src.settle(f.path)
	if len(positions) == 0 || f.tail {
		return true
	}
	var todo []rest
	var gone, over []Position // over: reading goes on in the file that was written in its place
	var present *Position     // of the file that the path names
	foreign := true           // all positions are fail2ban's, who knows the log by its first line only
	is := false               // it was that when the position was written down
	for _, p := range positions {
		f.seen = max(f.seen, p.Seen)
	}
	// Of several that a copy could be of, it is of the one that was read furthest.
	positions = slices.SortedStableFunc(slices.Values(positions), func(a, b Position) int { return cmp.Compare(b.Offset, a.Offset) })
	for _, p := range positions {
		if p.File == first.id && !sameBirth(p.Born, first.born) {
			f.src.forgetPlace(p.File) // its inode was given to another file
		}
		at := place{p.FirstLine, p.Offset, p.Before}
		if p.File == (FileID{}) {
			if first.regular() && at.in(first.file) {
				present = &p
			}
			continue
		}
		foreign = false
		if first.regular() && p.names(first.id, first.born) && at.in(first.file) {
			present, is = &p, true
			continue
		}
		r, ok := f.find(p, at, positions, todo)
		at.offset = 0
		if !ok && first.regular() {
			at.offset = f.foundAt(first, p)
		}
		switch {
		case ok:
			if todo = append(todo, r); !p.names(r.id, r.born) && !(first.regular() && p.names(first.id, first.born)) {
				f.note(Event{Warn: true, Text: fmt.Sprintf(
					"the file that was followed until byte %d was copied to %s, and was not found itself: what was written to it after that while nobody read is not read", p.Offset, r.file.Name())})
			}
		case at.offset > 0:
			over = append(over, p)
			if p.Offset = at.offset; present == nil || !is && present.Offset < p.Offset {
				present = &p
			}
		default:
			gone = append(gone, p)
		}
	}
	f.more = false
	had := map[node]bool{}
	begun := time.Now()
	if !foreign && present == nil {
		f.fromStart = true // the one that has the name now is new
		todo = append(todo, f.unseen(positions, todo, first, had)...)
	}
	slices.SortStableFunc(todo, func(a, b rest) int { return younger(a.looked, b.looked) })
	var readers []*lineReader
	unseen := map[*lineReader]bool{}
	for _, x := range todo {
		if !f.src.claim(x.id, f.path) || f.reading(x.id) {
			x.file.Close()
			continue
		}
		r := newReader(x.file, f.src.Encoding, x.id, x.at.offset)
		r.first, r.catchUp = x.at.first, true
		f.resumed(r)
		readers, unseen[r] = append(readers, r), x.unseen
		f.old = append(f.old, oldFile{r, time.Now().Add(holdOld)})
		if x.unseen {
			f.note(Event{Text: fmt.Sprintf("reading %s, which came and was renamed meanwhile", x.file.Name())})
		} else {
			f.note(Event{Text: fmt.Sprintf("reading the rest of %s from byte %d", x.file.Name(), x.at.offset)})
		}
	}
	for _, p := range gone {
		f.note(Event{Warn: true, Text: f.goneText(first, p, present != nil)})
		if first.regular() && first.id == p.File || slices.ContainsFunc(f.old, func(o oldFile) bool { return o.id == p.File }) {
			continue // its inode has another content now
		}
		if !f.send(Batch{File: p.File, End: p.Offset, FirstLine: p.FirstLine, Before: p.Before, Done: true}) {
			return false
		}
	}
	for _, p := range over {
		if p.File != first.id && !f.reading(p.File) && !f.send(Batch{File: p.File, End: p.Offset, FirstLine: p.FirstLine, Before: p.Before, Done: true}) {
			return false
		}
	}
	for _, r := range readers { // first that they are known, whatever happens while one is read
		if unseen[r] && !f.send(f.opened(r)) {
			return false
		}
	}
	f.openedUpTo(todo)
	for _, r := range readers {
		if !f.replay(r) || !f.drain(r) {
			return false
		}
	}
	if f.more && !f.restOfGap(positions, todo, first, begun, had) {
		return false
	}
	if present != nil {
		f.copiedSince(positions, first)
	}
	f.seen = max(f.seen, first.seen)
	if present == nil {
		return true
	}
	return f.goOn(first, *present)
}

// copiedSince finds what came to be beside the log since the positions were written down,
// while the path went on to name its file: copies, perhaps of what was emptied since.
func (f *follower) copiedSince(positions []Position, first *sighting) {
	if f.seen == 0 {
		return
	}
	files, of := openNeighbours(f.path, false, func(n neighbour) bool {
		return n.id != first.id && !f.dealt(n) && !slices.ContainsFunc(positions, func(p Position) bool { return p.names(n.id, n.born) })
	}, f.look.refuse)
	for i, file := range files {
		f.keepCopy(sighting{file: file, id: of[i].id, size: of[i].size, born: of[i].born, of: first.id})
	}
}

// names reports whether a file is that of the position.
func (p Position) names(id FileID, born int64) bool { return p.File == id && sameBirth(p.Born, born) }

// sameBirth reports whether two times of birth may be those of one file.
func sameBirth(a, b int64) bool { return a == 0 || b == 0 || a == b }

// regular reports whether a sighting is of a regular file.
func (s *sighting) regular() bool { return s.file != nil && !s.fifo }

// goOn makes the file that the path names the present one.
func (f *follower) goOn(first *sighting, p Position) bool {
	if !f.src.claim(first.id, f.path) {
		return true
	}
	r := newReader(first.file, f.src.Encoding, first.id, p.Offset)
	r.catchUp = true
	first.file = nil
	f.cur, f.begun = r, true
	f.resumed(r)
	f.setStatus(r, "")
	f.note(Event{Text: fmt.Sprintf("following from byte %d, where it was left", r.offset), Begun: true, At: r.offset})
	if p.File != r.id && !f.send(f.opened(r)) { // it is known by this one from here on
		return false
	}
	return f.replay(r)
}

func (f *follower) resumed(r *lineReader) {
	f.src.reads(r)
	if f.src.Resumed != nil {
		f.src.Resumed(r.file)
	}
}

// find looks beside the log for the file of a position: first the file itself, also in the
// directories there; then,
// where the log was emptied after it was copied, the copy, if it is not taken as another's.
func (f *follower) find(p Position, at place, known []Position, taken []rest) (rest, bool) {
	is := func(copied bool) func(neighbour) bool {
		return func(n neighbour) bool {
			if !copied {
				return p.names(n.id, n.born) && n.size >= p.Offset
			}
			return n.size >= p.Offset && !f.dealt(n) && !slices.ContainsFunc(taken, func(r rest) bool { return r.id == n.id }) &&
				!slices.ContainsFunc(known, func(k Position) bool { return k.names(n.id, n.born) })
		}
	}
	for _, copied := range []bool{false, true} {
		if copied && (p.FirstLine == "" || p.Offset == 0) {
			break
		}
		var out rest
		found := false
		// By its inode, it is found whatever its name is now; but not if that is all that
		// there is to know it by, since inodes are given again.
		anyName := !copied && (p.FirstLine != "" || p.Before != "")
		files, of := openNeighbours(f.path, anyName, is(copied), f.look.refuse)
		for i, file := range files {
			if found && of[i].size <= out.size || !at.in(file) || f.named(of[i].id) {
				file.Close()
				continue
			}
			if found { // of two copies, the one that holds more
				out.file.Close()
			}
			out, found = rest{looked: of[i].looked, file: file, at: at}, true
		}
		if found {
			return out, true
		}
		if !anyName {
			continue
		}
		n := below(f.path, func(l looked) bool { return p.names(l.id, l.born) && l.size >= p.Offset })
		if n == nil {
			continue
		}
		if file, err := n.open(); err == nil {
			if at.in(file) {
				return rest{looked: n.looked, file: file, at: at}, true
			}
			file.Close()
		}
	}
	return rest{}, false
}

// named reports whether the path names a file now.
func (f *follower) named(id FileID) bool {
	fi, err := os.Stat(f.path)
	return err == nil && fileID(fi.Sys()) == id
}

// searched is how much of a file is looked through for what was read last.
const searched = 64 << 20

// foundAt returns where reading goes on in a file that was written anew, under another
// inode or in its place: where what was read last stands in it, once. 0: it isn't one.
func (f *follower) foundAt(first *sighting, p Position) int64 {
	if len(p.Before) < tailSize/2 || first.size < p.Offset/2 {
		return 0
	}
	if sha, md := firstLineSums(first.file); p.FirstLine != sha && p.FirstLine != md {
		return 0
	}
	want := []byte(p.Before)
	buf := make([]byte, 1<<20+len(want))
	at := int64(0)
	for from := max(0, first.size-searched); from < first.size; from += 1 << 20 {
		n, _ := first.file.ReadAt(buf, from)
		for i := 0; ; {
			k := bytes.Index(buf[i:n], want)
			if k < 0 {
				break
			}
			if end := from + int64(i+k+len(want)); end != at {
				if at > 0 {
					return 0 // twice: it may have been written again
				}
				at = end
			}
			i += k + 1
		}
	}
	return at
}

// unseen finds the files that were the log for a while after the newest known one
// was renamed. had are those that were looked at in this gap already, to which it adds.
func (f *follower) unseen(positions []Position, known []rest, first *sighting, had map[node]bool) []rest {
	var newest looked // of those that are known, the one that came last
	var left time.Time
	for _, r := range known {
		if newest.id == (FileID{}) || younger(newest, r.looked) < 0 {
			newest = r.looked
		}
	}
	for _, p := range positions {
		if p.Time.After(left) {
			left = p.Time
		}
	}
	if newest.id == (FileID{}) && left.IsZero() {
		return nil
	}
	var present looked
	if first.file != nil {
		present, _ = lookAt(first.file)
	}
	// A log that was emptied in its place is older than the copies that were made of it.
	emptied := slices.ContainsFunc(positions, func(p Position) bool { return p.names(present.id, present.born) && p.File != (FileID{}) })
	wanted := map[node]bool{}
	files, of := openNeighbours(f.path, false, func(n neighbour) (want bool) {
		defer func() {
			if want {
				wanted[n.node] = true
			}
		}()
		switch {
		case n.id == present.id && present.id != (FileID{}), had[n.node],
			slices.ContainsFunc(known, func(r rest) bool { return r.node == n.node }):
			return false
		case slices.ContainsFunc(positions, func(p Position) bool { return p.names(n.id, n.born) }):
			return true // it was emptied, written to and renamed since
		case f.seen != 0 && n.born != 0:
			return !f.dealt(n)
		case present.born != 0 && n.born > present.born && !emptied: // the lookout finds it
			return false
		case newest.id == (FileID{}):
			return n.modified.After(left)
		}
		return younger(newest, n.looked) <= 0
	}, f.look.refuse)
	f.more = len(wanted) > len(of)
	for _, n := range of {
		had[n.node] = true
	}
	var out []rest
	for i, file := range files {
		r := rest{looked: of[i].looked, file: file, unseen: true}
		begins := func(other *os.File) bool { return prefixOf(file, r.size, other) }
		copied := slices.ContainsFunc(known, func(k rest) bool { return begins(k.file) })
		if f.seen == 0 { // whether it is new isn't sure
			copied = copied || slices.ContainsFunc(positions, func(p Position) bool {
				return p.Offset > 0 && p.Offset <= r.size && (place{p.FirstLine, p.Offset, p.Before}).in(file)
			})
		}
		if (emptied || f.seen != 0) && !copied {
			copied = first.regular() && begins(first.file) || slices.ContainsFunc(out, func(o rest) bool { return begins(o.file) })
			for j := range files {
				copied = copied || of[j].size > r.size && begins(files[j])
			}
		}
		if copied {
			file.Close()
			continue
		}
		out = append(out, r)
	}
	return out
}

// replay delivers the lines before the position. Where it begins is the same for positions
// that are near to each other: of several jails, which so read the same lines from there on.
func (f *follower) replay(r *lineReader) bool {
	from := max(r.offset-r.offset%replayed-replayed, 0)
	from -= from % r.enc.width()
	buf := make([]byte, r.offset-from)
	if n, _ := r.file.ReadAt(buf, from); n < len(buf) || n == 0 {
		return true
	}
	past := &lineReader{enc: r.enc}
	lines := past.split(buf)
	if from > 0 && len(lines) > 0 {
		lines = lines[1:] // the end of a line
	}
	for i, line := range lines {
		lines[i] = bytes.TrimRight(r.enc.Decode(bytes.Clone(line)), "\r")
	}
	if len(lines) == 0 {
		return true
	}
	lines, frames, _ := transport.New(f.src.Transport).Lines(lines)
	return len(lines) == 0 || f.send(Batch{File: r.id, End: r.offset, Lines: lines, Frames: frames, Replay: true})
}
