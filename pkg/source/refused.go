package source

import (
	"errors"
	"fmt"
	"io/fs"
	"sync"
)

// mostRefused bounds of how many files beside a log it is told that they may not be opened.
const mostRefused = 20

// refusals are files beside a log that may not be opened, though they may hold lines of it
// that were not read: each is told of once, at most mostRefused of them. The reader and its
// lookout share them.
type refusals struct {
	tell func(Event) // nil: nobody is told
	mu   sync.Mutex
	had  map[node]bool
}

func (r *refusals) add(n neighbour, err error) {
	if r.tell == nil {
		return
	}
	r.mu.Lock()
	told := r.had[n.node] || len(r.had) > mostRefused
	if !told {
		if r.had == nil {
			r.had = map[node]bool{}
		}
		r.had[n.node] = true
	}
	last := len(r.had) > mostRefused
	r.mu.Unlock()
	var why *fs.PathError
	switch {
	case told:
	case last:
		r.tell(Event{Warn: true, Text: "more files beside it can't be opened: no more are logged"})
	default:
		if errors.As(err, &why) {
			err = why.Err
		}
		r.tell(Event{Warn: true, Text: fmt.Sprintf(
			"%s, beside it, can't be opened (%v): if it was rotated and holds lines that were not read, they are missing; let the daemon's user read it (logrotate: create)", n.path, err)})
	}
}

// refuse takes account of a file beside the log that may not be opened.
func (l *lookout) refuse(n neighbour, err error) { l.refused.add(n, err) }
