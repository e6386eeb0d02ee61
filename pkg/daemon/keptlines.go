package daemon

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"sync"
	"time"

	"bailiff/pkg/config"
	"bailiff/pkg/safefile"
)

// What operators decide about addresses is kept in files beside the database, a line of JSON each: it outlives
// the daemon, and nobody but us reads it.

// keptLines is such a file.
type keptLines struct {
	path  string // "": nothing is kept
	what  string // who is in it, as it is told
	log   *slog.Logger
	write func(path string) error

	mu      sync.Mutex // guards changes, and what follows
	writing bool       // the file is being written, by a goroutine of its own
	again   bool       // and is to be once more
	told    string     // the last error of that
	unread  bool       // what was in it at the start was not read, or not all of it
}

// keepsLines makes one.
func (d *Daemon) keepsLines(ending, what string, write func(path string) error) *keptLines {
	k := &keptLines{what: what, write: write, log: d.log.With("component", "database")}
	db := d.cfg.Database.Path
	if d.opts.Database != "" {
		db = config.DatabasePath(d.opts.Database)
	}
	if db != "" && !d.opts.DryRun {
		k.path = db + ending
	}
	return k
}

// readLines reads such a file at the start; take says whether a line is one. want says what a line is to be.
func readLines[T any](k *keptLines, want string, take func(*T) bool) {
	if k.path == "" {
		return
	}
	type read struct {
		data []byte
		err  error
	}
	got := make(chan read, 1)
	if !safefile.Within(allowWait, func() {
		data, err := safefile.ReadFile(k.path, 1<<20)
		got <- read{data, err}
	}) {
		k.unread = true
		k.log.Error(fmt.Sprintf("%s: no answer within %v: %s may be banned", k.path, allowWait, k.what))
		return
	}
	r := <-got
	if r.err != nil {
		if !errors.Is(r.err, fs.ErrNotExist) {
			k.unread = true
			k.log.Error(fmt.Sprintf("%v: %s may be banned", r.err, k.what))
		}
		return
	}
	n, bad, first := 0, 0, 0
	for line := range bytes.Lines(r.data) {
		n++
		var v T
		if err := json.Unmarshal(line, &v); err != nil || !take(&v) {
			if bad++; bad == 1 {
				first = n
			}
		}
	}
	if bad > 0 {
		k.unread = true
		text := fmt.Sprintf("%s:%d: %s", k.path, first, want)
		if bad > 1 {
			text += fmt.Sprintf(", nor in %d lines behind it", bad-1)
		}
		k.log.Error(text + ": left out; " + k.what + " may be banned")
	}
}

// aside keeps a file that was not read from being written over: what it says may be all that is known of somebody.
func (k *keptLines) aside() error {
	k.mu.Lock()
	unread := k.unread
	k.mu.Unlock()
	if !unread {
		return nil
	}
	there, kept := k.path, k.path+".unread"
	if _, err := os.Lstat(there); err == nil {
		if _, err := os.Lstat(kept); err == nil {
			return fmt.Errorf("%s was not read at the start, and there is a %s from before: look at both, and take that away", there, kept)
		}
		if err := os.Rename(there, kept); err != nil {
			return err
		}
		k.log.Warn(fmt.Sprintf("%s, which was not read at the start, or not all of it, is %s now: put right what it has, and give it its name again before a start", there, kept))
	}
	k.mu.Lock()
	k.unread = false
	k.mu.Unlock()
	return nil
}

// save writes the file, and says if it is not there after a while.
// The caller holds the lock.
func (k *keptLines) save() string {
	if k.path == "" {
		return "it is not kept over a restart, since there is no database"
	}
	if k.writing {
		k.again = true
		return "it is not on the disk yet, which takes long: until it is, it may not outlast a restart"
	}
	k.writing = true
	done := make(chan error, 1)
	go func() {
		for {
			err := k.aside()
			if err == nil {
				err = k.write(k.path)
			}
			k.mu.Lock()
			if text := fmt.Sprint(err); err != nil && k.told != text {
				k.told = text
				k.log.Error(fmt.Sprintf("%s is not kept over a restart: %v", k.what, err))
			} else if err == nil {
				k.told = ""
			}
			if !k.again {
				k.writing = false
				k.mu.Unlock()
				done <- err
				return
			}
			k.again = false
			k.mu.Unlock()
		}
	}()
	k.mu.Unlock()
	defer k.mu.Lock()
	select {
	case err := <-done:
		if err != nil {
			return fmt.Sprintf("it is not kept over a restart: %v", err)
		}
		return ""
	case <-time.After(allowWait):
		return "it is not on the disk yet, which takes long: until it is, it may not outlast a restart"
	}
}

// writeLines puts a file there, or takes it away if there is nothing to be in it.
func writeLines[T any](path string, list []T) error {
	if len(list) == 0 {
		if err := os.Remove(path); !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		return nil
	}
	return safefile.Replace(path, func(f *os.File) error {
		w := json.NewEncoder(f)
		for _, a := range list {
			if err := w.Encode(a); err != nil {
				return err
			}
		}
		return nil
	})
}
