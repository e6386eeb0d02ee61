package config

import (
	"fmt"
	"io/fs"
	"os"
	"strings"
	"sync/atomic"
	"time"

	"bailiff/pkg/safefile"
)

// A configuration lies on a disk, which may hang: a network that is gone, say.

// hungLoads is how many readings of a configuration have not ended in time, and not
// ended since.
var hungLoads atomic.Int32

// loadsMost is how many may.
const loadsMost = 3

// LoadWithin is Load that gives up after a while; the error names the file that is waited
// for. The reading goes on by itself, without effect; beyond three that do, nothing is
// read any more.
func LoadWithin(most time.Duration, opts Options) (*Config, error) {
	if n := hungLoads.Load(); n >= loadsMost {
		return nil, fmt.Errorf("%d readings of the configuration hang by now, so it is not read once more; %s", n, hangsAt(0))
	}
	type loaded struct {
		cfg *Config
		err error
	}
	got := make(chan loaded, 1)
	hungLoads.Add(1)
	go func() {
		defer hungLoads.Add(-1)
		cfg, err := Load(opts)
		got <- loaded{cfg, err}
	}()
	timer := time.NewTimer(most)
	defer timer.Stop()
	select {
	case l := <-got:
		return l.cfg, l.err
	case <-timer.C:
		return nil, fmt.Errorf("reading the configuration takes longer than %v; %s", most, hangsAt(most/2))
	}
}

// hangsAt says what has been waited for, for so long.
func hangsAt(least time.Duration) string {
	paths := safefile.Unanswered(least)
	if len(paths) == 0 {
		return "no file is waited for for long: this machine may be busy"
	}
	return fmt.Sprintf("no answer for %s: does its disk hang?", strings.Join(paths[:min(len(paths), 3)], ", "))
}

func stat(path string) (fs.FileInfo, error) {
	defer safefile.Asking(path)()
	return os.Stat(path)
}

func readDir(path string) ([]fs.DirEntry, error) {
	defer safefile.Asking(path)()
	return os.ReadDir(path)
}
