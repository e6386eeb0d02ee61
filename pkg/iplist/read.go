package iplist

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/netip"
	"os"
	"strings"

	"bailiff/pkg/lazyregexp"
	"bailiff/pkg/safefile"
)

// Bounds of what is read. Beyond MaxBytes and MaxEntries a file is refused as a whole:
// half a list would be another one. MaxLine is told of as a line that is no entry, and
// so are the first MaxErrors lines that are none; of those that are too wide, too.
const (
	MaxBytes   = 64 << 20  // of a file
	MaxEntries = 2_000_000 // of a list, in all of its files
	MaxLine    = 64 << 10  // bytes
	MaxErrors  = 10
	MaxNames   = 1000 // host names in a list of those who are never banned
)

// LineError is a line that is no entry.
type LineError struct {
	File string
	Line int
	Text string
}

func (e *LineError) Error() string {
	return fmt.Sprintf("%s:%d: %.80q is no address, network or range", e.File, e.Line, e.Text)
}

// WideError is an entry that is wider than what is banned without --force: a list is
// other people's word.
type WideError struct {
	File string
	Line int
	Text string
}

func (e *WideError) Error() string {
	return fmt.Sprintf("%s:%d: %.80q is wider than /%d (IPv6: /%d; if you mean it, write it as networks of that length)", e.File, e.Line, e.Text, Shortest4, Shortest6)
}

// Entry is an entry of a list with its place.
type Entry struct {
	Range
	File string
	Line int
	Text string // as it stands there, at most 80 bytes
}

// ReadFiles reads lists into one set. lines are those that are left out, as with Read; the
// error is for a file that can't be read.
func ReadFiles(files []string) (s *Set, lines []error, err error) {
	var all builder
	var left leftOut
	for _, name := range files {
		err := readFile(name, func(f io.Reader) error {
			return read(f, name, &left, func(r Range) error {
				if all.add(r); all.len() > MaxEntries {
					return fmt.Errorf("the list has more than %d entries", MaxEntries)
				}
				return nil
			})
		})
		if lines = left.lines; err != nil {
			return nil, lines, err
		}
	}
	return all.set(), lines, nil
}

// Find returns the entries of lists that have an address in common with a set, in the
// order of the files, at most so many. What can't be read is passed over.
func Find(files []string, in *Set, most int) (found []Entry) {
	enough := errors.New("enough")
	for _, name := range files {
		_ = readFile(name, func(f io.Reader) error {
			return eachLine(f, func(n int, line []byte) error {
				r, _, ok := parse(line)
				if !ok || r.TooWide() || !in.overlaps(r) {
					return nil
				}
				found = append(found, Entry{r, name, n, strings.ToValidUTF8(string(line[:min(len(line), 80)]), "")})
				if len(found) >= most {
					return enough
				}
				return nil
			})
		})
		if len(found) >= most {
			break
		}
	}
	return found
}

// openRegular opens a file without waiting for anybody; anything but a regular file is
// an error.
func openRegular(name string) (*os.File, error) {
	f, err := safefile.Open(name)
	if err != nil {
		return nil, err
	}
	fi, err := f.Stat()
	if err == nil && fi.Size() > MaxBytes {
		err = fmt.Errorf("%s has %d bytes: more than %d are not read", name, fi.Size(), MaxBytes)
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// readFile has a file read, at most MaxBytes of it.
func readFile(name string, read func(io.Reader) error) error {
	f, err := openRegular(name)
	var path *fs.PathError
	var kind *safefile.KindError
	switch {
	case errors.As(err, &path):
		return fmt.Errorf("%s: %w", name, path.Err)
	case errors.As(err, &kind):
		return fmt.Errorf("%s: %w", name, err)
	case err != nil:
		return err
	}
	defer f.Close()
	limited := &io.LimitedReader{R: f, N: MaxBytes + 1}
	if err = read(limited); err == nil && limited.N == 0 {
		err = fmt.Errorf("more than %d bytes are not read", MaxBytes)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	return nil
}

// eachLine hands over what is neither empty nor a comment, with its number. A line that
// is longer than MaxLine is cut there.
func eachLine(r io.Reader, f func(n int, line []byte) error) error {
	in := bufio.NewReaderSize(r, MaxLine)
	for n := 1; ; n++ {
		line, err := in.ReadSlice('\n')
		long := errors.Is(err, bufio.ErrBufferFull)
		line = bytes.TrimSpace(bytes.TrimPrefix(line, []byte("\uFEFF")))
		if len(line) > 0 && line[0] != '#' && line[0] != ';' && !bytes.HasPrefix(line, []byte("//")) {
			if err := f(n, line); err != nil {
				return err
			}
		}
		for long {
			_, err = in.ReadSlice('\n')
			long = errors.Is(err, bufio.ErrBufferFull)
		}
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return err
		}
	}
}

// leftOut are lines that are left out: the first MaxErrors that are no entries, and the
// first MaxErrors that are too wide.
type leftOut struct {
	lines      []error
	none, wide int
}

// Read reads a list. bad are the lines that are left out: those that are no entries, and
// those that are too wide, the first MaxErrors of either.
func Read(r io.Reader, name string) (ranges []Range, bad []error, err error) {
	var left leftOut
	err = read(r, name, &left, func(x Range) error {
		if ranges = append(ranges, x); len(ranges) > MaxEntries {
			return fmt.Errorf("the list has more than %d entries", MaxEntries)
		}
		return nil
	})
	return ranges, left.lines, err
}

func read(r io.Reader, name string, left *leftOut, add func(Range) error) error {
	return eachLine(r, func(n int, line []byte) error {
		x, skip, ok := parse(line)
		switch {
		case ok && x.TooWide():
			if left.wide++; left.wide <= MaxErrors {
				left.lines = append(left.lines, &WideError{name, n, string(line[:min(len(line), 200)])})
			}
		case ok:
			return add(x)
		case !skip:
			if left.none++; left.none <= MaxErrors {
				left.lines = append(left.lines, &LineError{name, n, string(line[:min(len(line), 200)])})
			}
		}
		return nil
	})
}

// parse4 reads an entry as most are, an address or network of IPv4 and nothing else, as
// parse does, but without making a text of it.
func parse4(line []byte) (r Range, ok bool) {
	var a uint32
	i := 0
	number := func(most int) (n int, ok bool) {
		begun := i
		for ; i < len(line) && i < begun+3 && line[i] >= '0' && line[i] <= '9'; i++ {
			n = 10*n + int(line[i]-'0')
		}
		return n, i > begun && n <= most && (line[begun] != '0' || i == begun+1)
	}
	for part := range 4 {
		if part > 0 {
			if i == len(line) || line[i] != '.' {
				return r, false
			}
			i++
		}
		n, ok := number(255)
		if !ok {
			return r, false
		}
		a = a<<8 | uint32(n)
	}
	first, last := a, a
	if i < len(line) {
		if line[i] != '/' {
			return r, false
		}
		i++
		n, ok := number(32)
		if !ok || i < len(line) {
			return r, false
		}
		rest := uint32(1<<(32-n) - 1)
		first, last = a&^rest, a|rest
	}
	return pair[number4]{number4(first), number4(last)}.ranged(), true
}

// parse reads an entry; skip says that the line is none, and need not be.
func parse(line []byte) (r Range, skip, ok bool) {
	if r, ok := parse4(line); ok {
		return r, false, true
	}
	if line[0] == '{' {
		var entry struct {
			CIDR string `json:"cidr"`
		}
		if err := json.Unmarshal(line, &entry); err != nil {
			return r, false, false
		}
		if entry.CIDR == "" {
			return r, true, false // the list's own name and date
		}
		line = []byte(entry.CIDR)
	}
	s := string(line)
	if rest, is := strings.CutPrefix(s, "add "); is {
		_, s, _ = strings.Cut(strings.TrimSpace(rest), " ")
	} else if strings.HasPrefix(s, "create ") || strings.HasPrefix(s, "flush ") {
		return r, true, false
	}
	if i := strings.IndexAny(s, " \t,;#"); i >= 0 {
		if rest := strings.TrimSpace(s[i:]); strings.HasPrefix(rest, "- ") { // FIRST - LAST
			s = s[:i] + "-" + strings.TrimSpace(rest[1:])
		}
		if i = strings.IndexAny(s, " \t,;#"); i >= 0 {
			s = s[:i]
		}
	}
	s = strings.Trim(s, `"'`)
	if r, ok = entry(s); ok {
		return r, false, true
	}
	// NAME:FIRST-LAST; the name may hold anything.
	whole := string(line)
	if i := strings.LastIndexByte(whole, ':'); i >= 0 && strings.Contains(whole[i:], "-") {
		r, ok = entry(strings.TrimSpace(whole[i+1:]))
	}
	return r, false, ok
}

// entry is ParseRange without the price of its errors.
func entry(s string) (Range, bool) {
	if !strings.ContainsAny(s, ".:") {
		return Range{}, false
	}
	if p, err := netip.ParsePrefix(s); err == nil && !p.Addr().Is4In6() {
		return ofPrefix(p), true
	}
	r, err := ParseRange(s)
	return r, err == nil
}

// Allowed is what a list of those who are never banned holds.
type Allowed struct {
	*Set
	Names []string // host names, to be resolved
	// Others are words that are none of these, the first MaxNames of them: ids, as a filter
	// finds them (<F-ID>), or slips.
	Others []string
}

// ReadAllowed reads a file of addresses, networks, ranges and host names that are never
// banned. Entries are apart by commas, blanks and line ends; # and ; begin a comment,
// which goes on to the end of the line. A line of the other forms of lists may be there,
// too. bad are the words that are no entries, the first MaxErrors of them.
func ReadAllowed(name string) (a Allowed, bad []error, err error) {
	err = readFile(name, func(f io.Reader) (err error) {
		a, bad, err = readAllowed(f, name)
		return err
	})
	return a, bad, err
}

func readAllowed(r io.Reader, name string) (a Allowed, bad []error, err error) {
	var ranges builder
	wrong := func(n int, text string) {
		if len(bad) < MaxErrors {
			bad = append(bad, &LineError{name, n, text})
		}
	}
	err = eachLine(r, func(n int, line []byte) error {
		if i := bytes.IndexAny(line, "#;"); i >= 0 && line[0] != '{' {
			if line = bytes.TrimSpace(line[:i]); len(line) == 0 {
				return nil
			}
		}
		words := strings.FieldsFunc(string(line), func(c rune) bool { return c == ',' || c == ' ' || c == '\t' || c == '\r' || c == '\v' || c == '\f' })
		if len(words) == 0 {
			return nil
		}
		if _, ok := entry(strings.Trim(words[0], `"'`)); !ok {
			if one, skip, ok := parse(line); ok || skip { // one of the other forms
				if ok {
					ranges.add(one)
				}
				return nil
			}
		}
		for i := 0; i < len(words); i++ {
			w := strings.Trim(words[i], `"'`)
			if i+2 < len(words) && words[i+1] == "-" { // FIRST - LAST
				if r, ok := entry(w + "-" + words[i+2]); ok {
					ranges.add(r)
					i += 2
					continue
				}
			}
			r, ok := entry(w)
			switch {
			case ok:
				ranges.add(r)
			case strings.Contains(w, ".") && HostName.MatchString(w):
				if len(a.Names) >= MaxNames {
					return fmt.Errorf("more than %d host names", MaxNames)
				}
				a.Names = append(a.Names, w)
			default:
				wrong(n, w)
				if len(a.Others) < MaxNames {
					a.Others = append(a.Others, w)
				}
			}
		}
		if ranges.len() > MaxEntries {
			return fmt.Errorf("the list has more than %d entries", MaxEntries)
		}
		return nil
	})
	a.Set = ranges.set()
	return a, bad, err
}

// HostName is what may be resolved; all digits and dots would be an address.
var HostName = lazyregexp.New(`^(?:[A-Za-z0-9_](?:[A-Za-z0-9_-]*[A-Za-z0-9_])?\.)*[A-Za-z_](?:[A-Za-z0-9_-]*[A-Za-z0-9_])?\.?$`)
