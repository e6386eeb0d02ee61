package history

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"slices"
	"time"

	"golang.org/x/sys/unix"
)

// The file: a line of JSON for each jail and each time that it is written. A line whose end was not
// written is none. Once it is twice as long as it need be, it is written anew.

// record is a line.
type record struct {
	Jail string `json:"jail"`
	// N is the number of the last event that is counted in, and in all lines before.
	N uint64 `json:"n"`
	// Until is when it was written.
	Until time.Time `json:"until"`
	// Steps are when each began, in steps of Step seconds since 1970, and its failures, bans, unbans.
	Step  int64      `json:"step"`
	Steps [][4]int64 `json:"steps"`
}

const (
	// leastFile is how long a file may be whatever is in it, and mostFile what is read of one.
	leastFile = 256 << 10
	mostFile  = 64 << 20
	lineMost  = 1 << 20
)

// file is where a history is kept.
type file struct {
	path string // empty: nowhere
	size int64
	live int64 // how long it was when it was written anew
}

// Known says up to which event a history counts.
type Known struct {
	// N: up to this one everything is in it; 0: nothing is.
	N uint64
	// Minutes: behind this one are those of the last two hours, and maybe some before.
	Minutes uint64
}

// Load reads what is known from before. What can't be read is an error, and what can is taken over all the
// same. Until Loaded, answers say that something is missing.
func (h *History) Load() (k Known, err error) {
	if h.file.path == "" {
		return k, nil
	}
	f, err := os.OpenFile(h.file.path, os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return k, nil
	}
	if err != nil {
		return k, err
	}
	defer f.Close()
	if fi, err := f.Stat(); err != nil || !fi.Mode().IsRegular() {
		return k, errors.Join(err, fmt.Errorf("%s: it is no regular file", h.file.path))
	}
	in := bufio.NewReaderSize(io.LimitReader(f, mostFile), 64<<10)
	recent := h.now().Add(-levels[0].step * time.Duration(levels[0].most))
	bad := 0
	for {
		line, err := in.ReadBytes('\n')
		if err == io.EOF {
			break // a line without an end is none
		}
		if err != nil {
			return k, err
		}
		var r record
		if len(line) > lineMost || json.Unmarshal(line, &r) != nil || r.Step <= 0 || len(r.Jail) > 1000 {
			bad++
			continue
		}
		h.take(&r)
		k.N = max(k.N, r.N)
		if r.Until.Before(recent) {
			k.Minutes = max(k.Minutes, r.N)
		}
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.last = max(h.last, k.N)
	if fi, err := f.Stat(); err == nil {
		h.file.size, h.file.live = fi.Size(), fi.Size()/2
	}
	if bad > 0 {
		return k, fmt.Errorf("%s: %d lines of it can't be read, and are left out", h.file.path, bad)
	}
	return k, nil
}

// take takes a line over.
func (h *History) take(r *record) {
	h.mu.Lock()
	defer h.mu.Unlock()
	j := h.jail(r.Jail)
	for _, s := range r.Steps {
		at, c := time.Unix(s[0]*r.Step, 0), Counts{max(s[1], 0), max(s[2], 0), max(s[3], 0)}
		for l, of := range levels {
			if l > 0 && r.Step <= int64(of.step/time.Second) {
				j.add(l, at, c)
			}
		}
	}
}

// Loaded says that what is known from before is there, and counted up to an event.
func (h *History) Loaded() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.ready = true
}

// Save appends what is not in the file yet; n is the number of the last event that is counted. It writes nothing
// if there was nothing. It is for one goroutine, and may wait for the disk.
func (h *History) Save(n uint64) error {
	if h.file.path == "" {
		return nil
	}
	h.mu.Lock()
	h.sample()
	fresh := h.fresh
	h.fresh = map[string][]point{}
	now := h.now()
	h.mu.Unlock()
	if len(fresh) == 0 {
		return nil
	}
	err := h.write(fresh, n, now)
	if err != nil { // it is tried again
		h.mu.Lock()
		defer h.mu.Unlock()
		for name, list := range fresh {
			h.fresh[name] = append(list, h.fresh[name]...)
			if over := len(h.fresh[name]) - levels[kept].most; over > 0 {
				h.fresh[name] = h.fresh[name][over:]
			}
		}
	}
	return err
}

func appendLine(b []byte, jail string, n uint64, now time.Time, step time.Duration, points []point) []byte {
	r := record{Jail: jail, N: n, Until: now.UTC().Truncate(time.Second), Step: int64(step / time.Second), Steps: make([][4]int64, len(points))}
	for i, p := range points {
		r.Steps[i] = [4]int64{p.at, p.Failures, p.Bans, p.Unbans}
	}
	line, _ := json.Marshal(r) // it has nothing that can't be
	return append(append(b, line...), '\n')
}

func (h *History) write(fresh map[string][]point, n uint64, now time.Time) error {
	var b []byte
	for _, name := range slices.Sorted(maps.Keys(fresh)) {
		b = appendLine(b, name, n, now, levels[kept].step, fresh[name])
	}
	if h.file.size+int64(len(b)) > max(leastFile, 2*h.file.live) {
		return h.anew(n, now)
	}
	f, err := os.OpenFile(h.file.path, os.O_RDWR|os.O_CREATE|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0o600)
	if err != nil {
		return err
	}
	defer f.Close()
	end, err := wholeEnd(f)
	if err != nil {
		return err
	}
	if _, err := f.WriteAt(b, end); err != nil {
		_ = f.Truncate(end) // a full disk: a part of it is none
		return err
	}
	h.file.size = end + int64(len(b))
	return nil
}

// wholeEnd is where the last whole line of a file ends; what is behind it is cut off.
func wholeEnd(f *os.File) (int64, error) {
	fi, err := f.Stat()
	if err != nil {
		return 0, err
	}
	if !fi.Mode().IsRegular() {
		return 0, fmt.Errorf("%s: it is no regular file", f.Name())
	}
	size := fi.Size()
	from := max(size-lineMost, 0)
	tail := make([]byte, size-from)
	if _, err := f.ReadAt(tail, from); err != nil && err != io.EOF {
		return 0, err
	}
	end := from + int64(bytes.LastIndexByte(tail, '\n')) + 1
	if end < size {
		return end, f.Truncate(end)
	}
	return end, nil
}

// anew writes all that is known into a new file, in place of the old one: of each level what no finer one has.
func (h *History) anew(n uint64, now time.Time) error {
	var b []byte
	h.mu.Lock()
	for _, name := range slices.Sorted(maps.Keys(h.jails)) {
		j := h.jails[name]
		end := int64(1<<63 - 1) // in seconds: from there on a finer level has it
		for l := kept; l < len(levels); l++ {
			step := int64(levels[l].step / time.Second)
			points := slices.DeleteFunc(slices.Clone(j.points[l]), func(p point) bool { return p.at*step >= end })
			if l < len(levels)-1 && len(points) > 0 { // only whole steps of the next one
				next := int64(levels[l+1].step / time.Second)
				end = min(end, (floor(points[0].at*step-1, next)+1)*next)
				points = slices.DeleteFunc(points, func(p point) bool { return p.at*step < end })
			}
			if len(points) > 0 {
				b = appendLine(b, name, n, now, levels[l].step, points)
			}
		}
	}
	h.mu.Unlock()
	tmp := h.file.path + ".new"
	if err := os.Remove(tmp); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	f, err := os.OpenFile(tmp, os.O_WRONLY|os.O_CREATE|os.O_EXCL|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(b)
	if err = errors.Join(err, f.Sync(), f.Close()); err == nil {
		err = os.Rename(tmp, h.file.path)
	}
	if err != nil {
		_ = os.Remove(tmp)
		return err
	}
	h.file.size, h.file.live = int64(len(b)), int64(len(b))
	return nil
}
