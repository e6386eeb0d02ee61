// Package figures keeps the figures that the programs of bench measure, and their history
// by version: one line a release in a table of commas (RFC 4180), whose first columns say
// the version, the day and the commit, and whose other columns are a figure each.
package figures

import (
	"bufio"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"strconv"
	"strings"
)

// Env names the variable that says which file figures are noted in.
const Env = "BENCH_FIGURES"

// noted is what this program has measured so far, as lines of the file.
var noted strings.Builder

// Note notes a figure under a name that tells what it is, with its unit, in one line; of one
// that is noted again the last value counts.
func Note(name string, value float64) {
	fmt.Fprintf(&noted, "%s\t%s\n", name, text(value))
}

// Save adds what was noted to the file that the variable names; without it there is none.
func Save() error {
	path := os.Getenv(Env)
	if path == "" {
		return nil
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	_, err = io.WriteString(f, noted.String())
	noted.Reset()
	return errors.Join(err, f.Close())
}

// text writes a figure with three digits that count, or as the whole number that it is.
func text(v float64) string {
	digits := 2
	for most := 10.0; digits > 0 && v >= most; most *= 10 {
		digits--
	}
	s := strconv.FormatFloat(v, 'f', digits, 64)
	if strings.Contains(s, ".") {
		s = strings.TrimRight(strings.TrimRight(s, "0"), ".")
	}
	return s
}

// Noted reads what was noted, in the order of the names' first lines.
func Noted(path string) (names []string, values map[string]string, err error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, nil, err
	}
	defer f.Close()
	values = map[string]string{}
	for in := bufio.NewScanner(f); in.Scan(); {
		name, value, ok := strings.Cut(in.Text(), "\t")
		if !ok {
			return nil, nil, fmt.Errorf("%s: %q is no figure", path, in.Text())
		}
		if _, known := values[name]; !known {
			names = append(names, name)
		}
		values[name] = value
	}
	return names, values, nil
}

// keys are the columns that say which release a line is of.
var keys = []string{"version", "date", "commit"}

// History is the table of releases.
type History struct {
	Names []string // of the figures
	Lines []Line
}

// Line is a release with its figures.
type Line struct {
	Version, Date, Commit string
	Values                map[string]string // "": not measured
}

// Read reads a history; a file that isn't there is an empty one.
func Read(path string) (*History, error) {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return &History{}, nil
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	in := csv.NewReader(f) // asks for as many columns in each line
	head, err := in.Read()
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	if len(head) < len(keys) || !slices.Equal(head[:len(keys)], keys) {
		return nil, fmt.Errorf("%s: want the columns %s first", path, strings.Join(keys, ", "))
	}
	h := &History{Names: head[len(keys):]}
	for {
		cells, err := in.Read()
		if errors.Is(err, io.EOF) {
			return h, nil
		}
		if err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
		l := Line{Version: cells[0], Date: cells[1], Commit: cells[2], Values: map[string]string{}}
		for i, name := range h.Names {
			l.Values[name] = cells[len(keys)+i]
		}
		h.Lines = append(h.Lines, l)
	}
}

// Set puts in a line, in the place of the one of the same version. Figures that it doesn't
// have stay as they were measured of that version before.
func (h *History) Set(l Line, names []string) {
	for _, name := range names {
		if !slices.Contains(h.Names, name) {
			h.Names = append(h.Names, name)
		}
	}
	i := slices.IndexFunc(h.Lines, func(o Line) bool { return o.Version == l.Version })
	if i < 0 {
		h.Lines = append(h.Lines, l)
		return
	}
	for name, value := range h.Lines[i].Values {
		if _, ok := l.Values[name]; !ok {
			l.Values[name] = value
		}
	}
	h.Lines[i] = l
}

// Write writes a history.
func (h *History) Write(path string) error {
	var b strings.Builder
	out := csv.NewWriter(&b)
	rows := [][]string{append(slices.Clone(keys), h.Names...)}
	for _, l := range h.Lines {
		row := []string{l.Version, l.Date, l.Commit}
		for _, name := range h.Names {
			row = append(row, l.Values[name])
		}
		rows = append(rows, row)
	}
	if err := out.WriteAll(rows); err != nil {
		return err
	}
	return os.WriteFile(path, []byte(b.String()), 0o644)
}

// Table is the history as Markdown: a row a figure, a column a release, the newest first
// and at most so many of them.
func (h *History) Table(most int) string {
	lines := slices.Clone(h.Lines)
	slices.Reverse(lines)
	lines = lines[:min(len(lines), most)]
	var b strings.Builder
	b.WriteString("| |")
	for _, l := range lines {
		fmt.Fprintf(&b, " %s, %s, %s |", l.Version, l.Date, l.Commit)
	}
	b.WriteString("\n| --- |" + strings.Repeat(" --- |", len(lines)) + "\n")
	for _, name := range h.Names {
		fmt.Fprintf(&b, "| %s |", name)
		for _, l := range lines {
			fmt.Fprintf(&b, " %s |", l.Values[name])
		}
		b.WriteString("\n")
	}
	return b.String()
}
