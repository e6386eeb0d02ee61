package daemon

import (
	"math"
	"os"
	"path"
	"path/filepath"
	"runtime/debug"
	"strconv"
	"strings"
)

// memoryShare is the part of a control group's memory, in percent, up to which the
// daemon's own is let grow before it is collected more often. The rest is for what
// the kernel keeps on its account: set elements, pages of logs and of the database,
// and the actions' programs.
const memoryShare = 60

// LimitMemory has the collector know the memory that a control group (MemoryMax= of
// a unit, a container) allows, unless GOMEMLIMIT says something else. It returns that
// many bytes, or 0 where there is no limit.
func LimitMemory() int64 {
	of := groupMemory("/proc/self/cgroup", "/sys/fs/cgroup")
	if of == 0 || os.Getenv("GOMEMLIMIT") != "" {
		return of
	}
	debug.SetMemoryLimit(of / 100 * memoryShare)
	return of
}

// groupMemory is the least that one of the groups of a process, or one above it,
// allows, of version 1 or 2; 0: as much as there is.
func groupMemory(groups, root string) int64 {
	data, err := os.ReadFile(groups)
	if err != nil {
		return 0
	}
	least := int64(math.MaxInt64)
	for _, line := range strings.Split(string(data), "\n") {
		fields := strings.SplitN(line, ":", 3)
		if len(fields) != 3 {
			continue
		}
		dir, file := root, "memory.max"
		if fields[1] != "" {
			if !strings.Contains(","+fields[1]+",", ",memory,") {
				continue
			}
			dir, file = filepath.Join(root, "memory"), "memory.limit_in_bytes"
		}
		for at := path.Clean("/" + fields[2]); ; at = path.Dir(at) {
			if text, err := os.ReadFile(filepath.Join(dir, at, file)); err == nil {
				// "max", and in version 1 nearly 2^63, are no limit.
				if n, err := strconv.ParseInt(strings.TrimSpace(string(text)), 10, 64); err == nil && n > 0 && n < 1<<60 {
					least = min(least, n)
				}
			}
			if at == "/" {
				break
			}
		}
	}
	if least == math.MaxInt64 {
		return 0
	}
	return least
}
