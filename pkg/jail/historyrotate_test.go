package jail

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"
)

// rotates has the log rotated when the reader has read it, or doesn't read.
func (w *world) rotates(a, b int) error {
	w.happens(true)
	if err := w.append(""); err != nil {
		return err
	}
	if err := w.quiet(); err != nil {
		return err
	}
	kind := a % 10
	if (w.down || w.held) && (w.fresh && (kind == 3 || kind == 7) || w.bare && kind == 7) {
		return nil // nothing is known by which it is missed
	}
	return w.rotate(a, b)
}

// burst has a log rotated while lines come, and nobody waits for the reader.
func (w *world) burst(a, b int) error {
	w.happens(true)
	kinds := []int{0, 1, 2, 4, 5, 6, 8}
	if err := w.write(offenders[b%len(offenders)], a%3+1); err != nil {
		return err
	}
	if err := w.rotate(kinds[a%len(kinds)], b); err != nil {
		return err
	}
	return w.write(offenders[a%len(offenders)], 1)
}

// rotate makes room for a new log in one of ten ways.
func (w *world) rotate(kind, b int) error {
	if err := w.append(""); err != nil {
		return err
	}
	defer func() {
		w.writer.Close()
		w.writer = nil
	}()
	w.anew = w.anew || kind%10 == 4 || kind%10 == 9
	w.rotated++
	w.several = w.several || len(w.unread) > 0 || w.stored != nil
	w.fresh = true
	log, old := w.logPath(), fmt.Sprintf("%s.%d", w.logPath(), w.rotated)
	fresh := func(text string) error {
		w.writer.Close()
		if err := w.open(); err != nil {
			return err
		}
		if b%2 == 0 {
			text = header + text
		}
		return w.put(w.writer, text)
	}
	content, err := os.ReadFile(log)
	if err != nil {
		return err
	}
	edited := bytes.ReplaceAll(content, []byte("something else"), []byte("something other"))
	switch kind % 10 {
	case 0: // rename, create
		return errors.Join(os.Rename(log, old), fresh(""))
	case 1: // copytruncate
		w.copied = time.Now()
		if err := os.WriteFile(old, content, 0o600); err != nil {
			return err
		}
		fi, err := os.Stat(log)
		if err != nil {
			return err
		}
		return errors.Join(os.Chtimes(old, fi.ModTime(), fi.ModTime()), w.writer.Truncate(0), fresh(""))
	case 2: // twice
		if err := errors.Join(os.Rename(log, old), fresh(w.lines(offenders[b%len(offenders)], 1))); err != nil {
			return err
		}
		w.rotated++
		return errors.Join(os.Rename(log, fmt.Sprintf("%s.%d", log, w.rotated)), fresh(""))
	case 3: // delete, create
		return errors.Join(os.Remove(log), fresh(""))
	case 4: // sed -i
		temp, err := os.Create(filepath.Join(w.dir, "sedAbCdEf"))
		if err != nil {
			return err
		}
		defer temp.Close()
		return errors.Join(w.put(temp, string(edited)), os.Rename(temp.Name(), log))
	case 5: // rename, and nothing in its place yet
		return os.Rename(log, old)
	case 6: // all names move on
		for n := w.rotated; n > 0; n-- {
			from, to := fmt.Sprintf("%s.%d", log, n), fmt.Sprintf("%s.%d", log, n+1)
			if err := os.Rename(from, to); err != nil && !os.IsNotExist(err) {
				return err
			}
		}
		w.rotated++
		return errors.Join(os.Rename(log, log+".1"), fresh(""))
	case 7: // emptied
		return errors.Join(w.writer.Truncate(0), fresh(""))
	case 8: // the writer goes on with the old one for a while
		if err := errors.Join(os.Rename(log, old), w.write(offenders[b%len(offenders)], 1)); err != nil {
			return err
		}
		return fresh(w.lines(offenders[b%len(offenders)], 1))
	default: // an editor, in its place
		return errors.Join(w.writer.Truncate(0), w.put(w.writer, string(edited)))
	}
}
