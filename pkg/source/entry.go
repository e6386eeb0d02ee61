package source

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"strconv"
	"time"

	"bailiff/pkg/transport"
)

// journalctl's entries as lines.

// Entry is one entry of the journal as a line.
type Entry struct {
	Line   []byte
	Head   int // length in bytes of what stands before the message
	Time   time.Time
	Cursor string
	stored time.Time // when the journal took it
	bare   bool      // it has no message
}

// EntryReader reads journal export format.
type EntryReader struct {
	in  *bufio.Reader
	enc *Encoding
	// matches, if not nil, is told of each field of an entry, whole, as long as it is no
	// longer than others may be.
	matches *matchTable
}

// NewEntryReader makes an EntryReader; a nil encoding is UTF-8.
func NewEntryReader(r io.Reader, enc *Encoding) *EntryReader {
	return &EntryReader{in: bufio.NewReaderSize(r, 64<<10), enc: enc}
}

// More reports whether some of the next entry is there already.
func (e *EntryReader) More() bool { return e.in.Buffered() > 0 }

// Next returns the next entry; at the end the error is io.EOF.
func (e *EntryReader) Next() (Entry, error) {
	fields, err := e.fields()
	if err != nil {
		return Entry{}, err
	}
	return entryOf(fields, e.enc), nil
}

// fields returns those of the next entry.
func (e *EntryReader) fields() (map[string][][]byte, error) {
	fields := map[string][][]byte{}
	e.matches.clear()
	room, many := 2*MaxLine, 1024 // any user may write entries of any size
	keep := func(key string, value []byte) {
		if many--; many >= 0 {
			room -= len(value)
			fields[key] = append(fields[key], value)
		}
	}
	for {
		name, err := e.in.ReadSlice('\n')
		if errors.Is(err, bufio.ErrBufferFull) {
			name, err = e.long(name)
		}
		if err != nil {
			if len(name) == 0 && len(fields) == 0 && err == io.EOF {
				return nil, io.EOF
			}
			if err == io.EOF {
				err = io.ErrUnexpectedEOF
			}
			return nil, err
		}
		name = name[:len(name)-1]
		if len(name) == 0 {
			if len(fields) == 0 {
				continue
			}
			return fields, nil
		}
		if key, value, ok := bytes.Cut(name, []byte("=")); ok {
			e.matches.hit(key, value)
			keep(string(key), bytes.Clone(value[:min(len(value), MaxLine, max(room, 4<<10))]))
			continue
		}
		key := string(name)
		var size [8]byte
		if _, err := io.ReadFull(e.in, size[:]); err != nil {
			return nil, err
		}
		n := binary.LittleEndian.Uint64(size[:])
		if n > 1<<40 {
			return nil, fmt.Errorf("journal export: field %.40q of %d bytes", key, n)
		}
		value := make([]byte, min(n, MaxLine, uint64(max(room, 4<<10))))
		if _, err := io.ReadFull(e.in, value); err != nil {
			return nil, err
		}
		if _, err := io.CopyN(io.Discard, e.in, int64(n)-int64(len(value))+1); err != nil {
			return nil, err
		}
		if uint64(len(value)) == n {
			e.matches.hit([]byte(key), value)
		}
		keep(key, value)
	}
}

// long reads the rest of a field that does not fit into the buffer; what is beyond
// MaxLine is dropped.
func (e *EntryReader) long(begin []byte) ([]byte, error) {
	all := bytes.Clone(begin)
	for {
		more, err := e.in.ReadSlice('\n')
		if room := MaxLine + 64 - len(all); room > 0 {
			all = append(all, more[:min(room, len(more))]...)
		}
		if errors.Is(err, bufio.ErrBufferFull) {
			continue
		}
		if err == nil && all[len(all)-1] != '\n' {
			all = append(all, '\n')
		}
		return all, err
	}
}

// entryOf writes an entry as fail2ban does: host, program and process, message.
func entryOf(fields map[string][][]byte, enc *Encoding) Entry {
	get := func(name string) []byte {
		if v := fields[name]; len(v) > 0 {
			return v[0]
		}
		return nil
	}
	micros := func(names ...string) (int64, bool) {
		for _, n := range names {
			if v, err := strconv.ParseInt(string(get(n)), 10, 64); err == nil {
				return v, true
			}
		}
		return 0, false
	}
	out := Entry{Cursor: string(get("__CURSOR"))}
	if t, ok := micros("_SOURCE_REALTIME_TIMESTAMP", "__REALTIME_TIMESTAMP"); ok {
		out.Time = time.UnixMicro(t)
	}
	if t, ok := micros("__REALTIME_TIMESTAMP"); ok {
		out.stored = time.UnixMicro(t)
	}
	var line []byte
	add := func(v []byte) {
		if len(line) > 0 {
			line = append(line, ' ')
		}
		line = append(line, enc.Decode(v)...)
	}
	if v := get("_HOSTNAME"); len(v) > 0 {
		add(v)
	}
	program := get("SYSLOG_IDENTIFIER")
	if len(program) == 0 {
		program = get("_COMM")
	}
	if len(program) > 0 {
		pid := get("SYSLOG_PID")
		if len(pid) == 0 {
			pid = get("_PID")
		}
		name := bytes.Clone(program)
		if len(pid) > 0 {
			name = fmt.Appendf(name, "[%s]", number(pid))
		}
		add(append(name, ':'))
		if string(name) == "kernel" {
			t, _ := micros("_SOURCE_MONOTONIC_TIMESTAMP", "__MONOTONIC_TIMESTAMP")
			line = fmt.Appendf(line, " [%12.6f]", float64(t)/1e6)
		}
	}
	if len(line) > 0 {
		out.Head = len(line) + 1
	}
	messages := fields["MESSAGE"]
	if out.bare = len(messages) == 0; out.bare {
		messages = [][]byte{nil}
	}
	for i, m := range messages {
		if len(line) >= MaxLine {
			break // any user may write as many as he likes
		}
		if i == 0 && len(line) > 0 || i > 0 {
			line = append(line, ' ')
		}
		line = append(line, enc.Decode(m)...)
	}
	line = bytes.ReplaceAll(line[:min(len(line), MaxLine)], []byte("\n"), []byte(`\n`))
	out.Line = line[:min(len(line), MaxLine)]
	out.Head = min(out.Head, len(out.Line))
	return out
}

// number writes a process id as Python's int(v, 0) reads it.
func number(v []byte) string {
	s := string(v)
	if len(s) > 1 && s[0] == '0' && s[1] >= '0' && s[1] <= '9' {
		return s
	}
	if n, err := strconv.ParseInt(s, 0, 64); err == nil {
		return strconv.FormatInt(n, 10)
	}
	return s
}

// ISO writes the time of an entry as it stands before its line in fail2ban.
func ISO(t time.Time) string { return transport.ISO(t) }
