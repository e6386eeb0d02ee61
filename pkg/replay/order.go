package replay

import (
	"io"
	"slices"
	"time"

	"bailiff/pkg/filter"
	"bailiff/pkg/source"
	"bailiff/pkg/transport"
)

// headMost is how many bytes of a file are looked through for a line with a date.
const headMost = 1 << 20

// sortFiles puts the files of each log in the order of their first dates, where they have some:
// names may lie, and so may the times of files that were copied.
func (r *run) sortFiles() error {
	for i := range r.Logs {
		l := &r.Logs[i]
		if len(l.Files) < 2 {
			continue
		}
		for _, f := range l.Files {
			if f.Path == Stdin || f.From != nil {
				continue
			}
			var err error
			if f.first, err = r.firstDate(f); err != nil {
				return err
			}
		}
		if !slices.ContainsFunc(l.Files, func(f *File) bool { return f.first.IsZero() }) {
			slices.SortStableFunc(l.Files, func(a, b *File) int { return a.first.Compare(b.first) })
		}
	}
	return nil
}

// firstDate is the time of the first line of a file that has one. What is wrong with the file is
// told when it is read.
func (r *run) firstDate(f *File) (at time.Time, err error) {
	now := f.Time
	if !r.Now.IsZero() {
		now = r.Now
	}
	def := r.Jail.Filter
	def.Year, def.Journal = now.Year(), false
	dates, err := filter.Compile(def, r.Location)
	if err != nil {
		return at, err
	}
	in, err := f.open(nil, r.Most.Window)
	if err != nil {
		return at, nil
	}
	defer in.Close()
	around := transport.New(def.Around())
	blocks := source.NewBlocks(io.LimitReader(in, headMost), r.Encoding)
	for b := (source.Block{}); blocks.Next(&b) == nil; {
		b.Cut()
		for _, line := range b.Lines {
			if text, frame, ok := around.One(line); ok {
				if at, ok := dates.FramedTime(text, frame, now); ok {
					return at, nil
				}
			}
		}
	}
	return at, nil
}
