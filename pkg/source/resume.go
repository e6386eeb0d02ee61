package source

import (
	"bytes"
	"context"
	"crypto/md5"
	"crypto/sha1"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"
)

// After a restart, reading goes on where it had come to. What was written since
// may stand in the file with the log's name, or in one that was renamed
// meanwhile: files are known by inode and first line, and renamed ones are looked
// for beside the log.

// replayed is how many bytes before the position are read once more, for what
// depends on lines before: which form dates have, whose connection is whose.
const replayed = 64 << 10

// firstLineMost is how much of a first line counts.
const firstLineMost = 64 << 10

// firstLine returns the sum of the file's first line with its newline; empty if
// it is not complete yet.
func (r *lineReader) firstLine() string {
	if r.first == "" {
		r.first, _ = firstLineSums(r.file)
	}
	return r.first
}

// firstLineSums returns the sums by which fail2ban knows a file. It says MD5, but
// on Python 3 asks for it in a way that fails, and takes SHA-1 in its place.
func firstLineSums(file *os.File) (sha, md string) {
	buf := make([]byte, 4<<10)
	for {
		n, _ := file.ReadAt(buf, 0)
		if i := bytes.IndexByte(buf[:n], '\n'); i >= 0 {
			a, b := sha1.Sum(buf[:i+1]), md5.Sum(buf[:i+1])
			return hex.EncodeToString(a[:]), hex.EncodeToString(b[:])
		}
		if n < len(buf) || len(buf) >= firstLineMost {
			return "", ""
		}
		buf = make([]byte, 4*len(buf))
	}
}

// resume opens the files that the positions name. It returns false when ctx ended.
func (f *follower) resume(ctx context.Context) bool {
	positions := f.src.Resume[f.path]
	if len(positions) == 0 {
		return true
	}
	var newest time.Time // when the newest file that was renamed was last written to
	for _, p := range positions {
		if p.File == (FileID{}) { // of fail2ban: the file with the log's name or none
			if r := f.reopen(f.path, p); r != nil {
				return f.goOn(ctx, r)
			}
			continue
		}
		r := f.reopen(f.path, p)
		if r != nil {
			if !f.goOn(ctx, r) {
				return false
			}
			continue
		}
		if r = f.renamed(p); r == nil {
			f.src.note(Event{Path: f.path, Warn: true, Text: fmt.Sprintf(
				"the file that was followed until byte %d is gone or compressed: what was written to it while nobody read is lost", p.Offset)})
			select {
			case f.out <- Batch{Path: f.path, File: p.File, End: p.Offset, FirstLine: p.FirstLine, Done: true}:
			case <-ctx.Done():
				return false
			}
			f.fromStart = true
			continue
		}
		f.src.note(Event{Path: f.path, Text: fmt.Sprintf("reading the rest of %s from byte %d", r.file.Name(), p.Offset)})
		f.fromStart = true // the one that has the name now is new
		if !f.replay(ctx, r) || !f.drain(ctx, r) {
			return false
		}
		f.old = append(f.old, oldFile{r, time.Now().Add(holdOld)})
		newest = maxTime(newest, modified(r.file))
	}
	if f.cur != nil || newest.IsZero() {
		return true
	}
	// The log was rotated, maybe more than once: what came between was never seen.
	for _, r := range f.unseen(positions, newest) {
		f.src.note(Event{Path: f.path, Text: fmt.Sprintf("reading %s, which came and was renamed meanwhile", r.file.Name())})
		if !f.drain(ctx, r) {
			return false
		}
		f.old = append(f.old, oldFile{r, time.Now().Add(holdOld)})
	}
	return true
}

func modified(file *os.File) time.Time {
	fi, err := file.Stat()
	if err != nil {
		return time.Time{}
	}
	return fi.ModTime()
}

func maxTime(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// rotated is what rotation puts behind a log's name: .1, -20260131, .2026-01-31.
var rotated = regexp.MustCompile(`^[.\-_]\d[\d.\-_T]*$`)

// unseen finds the files that were the log for a while after the newest known one
// was renamed, the oldest first.
func (f *follower) unseen(known []Position, newest time.Time) []*lineReader {
	type candidate struct {
		path string
		at   time.Time
	}
	var found []candidate
	dir, base := filepath.Dir(f.path), filepath.Base(f.path)
	entries, _ := os.ReadDir(dir)
	for _, e := range entries {
		rest, ok := strings.CutPrefix(e.Name(), base)
		fi, err := e.Info()
		if !ok || !rotated.MatchString(rest) || err != nil || !fi.Mode().IsRegular() || fi.ModTime().Before(newest) {
			continue
		}
		if slices.ContainsFunc(known, func(p Position) bool { return p.File == fileID(fi.Sys()) }) {
			continue
		}
		found = append(found, candidate{filepath.Join(dir, e.Name()), fi.ModTime()})
	}
	slices.SortFunc(found, func(a, b candidate) int { return a.at.Compare(b.at) })
	var out []*lineReader
	for _, c := range found {
		r := f.reopen(c.path, Position{})
		if r == nil {
			continue
		}
		if slices.ContainsFunc(known, func(p Position) bool { return p.FirstLine != "" && p.FirstLine == r.first }) {
			r.close() // a copy of one that is known
			continue
		}
		out = append(out, r)
	}
	return out
}

// goOn makes a file the present one.
func (f *follower) goOn(ctx context.Context, r *lineReader) bool {
	f.cur, f.opened = r, true
	f.setStatus(r.offset, "")
	f.src.note(Event{Path: f.path, Text: fmt.Sprintf("following from byte %d, where it was left", r.offset)})
	return f.replay(ctx, r)
}

// reopen opens a file if it is the one that a position is of.
func (f *follower) reopen(path string, p Position) *lineReader {
	file, err := os.Open(path)
	if err != nil {
		return nil
	}
	fi, err := file.Stat()
	same := err == nil && fi.Mode().IsRegular() && fi.Size() >= p.Offset && (p.File == FileID{} || fileID(fi.Sys()) == p.File)
	sum, md := "", ""
	if same {
		// A file that was emptied and grew again has the inode, but another first
		// line.
		sum, md = firstLineSums(file)
		same = p.FirstLine != "" && (p.FirstLine == sum || p.FirstLine == md) || p.FirstLine == "" && p.Offset == 0
	}
	if !same {
		file.Close()
		return nil
	}
	r := &lineReader{file: file, enc: f.src.Encoding, id: fileID(fi.Sys()), offset: p.Offset, first: sum, catchUp: true}
	shared.join(r.id)
	if f.src.Resumed != nil {
		f.src.Resumed(file)
	}
	return r
}

// renamed looks beside the log for the file of a position.
func (f *follower) renamed(p Position) *lineReader {
	real, err := filepath.EvalSymlinks(f.path)
	if err != nil {
		real = f.path
	}
	dirs := slices.Compact([]string{filepath.Dir(f.path), filepath.Dir(real)})
	// First the file itself; then, where the log was emptied after it was copied, the
	// copy, which begins with the same line.
	for _, copied := range []bool{false, true} {
		for _, dir := range dirs {
			entries, err := os.ReadDir(dir)
			if err != nil {
				continue
			}
			for _, e := range entries {
				fi, err := e.Info()
				if err != nil || !fi.Mode().IsRegular() || copied == (fileID(fi.Sys()) == p.File) {
					continue
				}
				at := p
				if copied {
					if p.FirstLine == "" || !strings.HasPrefix(e.Name(), filepath.Base(real)) {
						continue
					}
					at.File = fileID(fi.Sys())
				}
				if r := f.reopen(filepath.Join(dir, e.Name()), at); r != nil {
					return r
				}
			}
		}
	}
	return nil
}

// replay delivers the lines before the position.
func (f *follower) replay(ctx context.Context, r *lineReader) bool {
	from := max(r.offset-replayed, 0)
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
	select {
	case f.out <- Batch{Path: f.path, File: r.id, End: r.offset, Lines: lines, Replay: true}:
		return true
	case <-ctx.Done():
		return false
	}
}
