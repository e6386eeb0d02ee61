//go:build testclock

package clock

import (
	"os"
	"strings"
	"time"
)

// A build for tests: the wall clock is off by what a file says, as a Go duration,
// "-24h". A test can't set the machine's clock, and faketime does nothing to a static
// program.

const offsetFile = "BAILIFF_TEST_CLOCK"

func systemSource() Source { return shifted{path: os.Getenv(offsetFile)} }

type shifted struct {
	kernelSource
	path string
}

func (s shifted) Wall() time.Time { return time.Now().Round(0).Add(s.by()) }

func (s shifted) by() time.Duration {
	if s.path == "" {
		return 0
	}
	text, err := os.ReadFile(s.path)
	if err != nil || len(text) == 0 {
		return 0
	}
	d, err := time.ParseDuration(strings.TrimSpace(string(text)))
	if err != nil {
		panic(s.path + ": " + err.Error()) // a test that sets nothing would pass
	}
	return d
}

// changed tells of another offset in the file, as the kernel tells of a clock that was
// set.
func changed(stop <-chan struct{}) <-chan struct{} {
	s := shifted{path: os.Getenv(offsetFile)}
	out := make(chan struct{}, 1)
	go func() {
		for was := s.by(); ; {
			select {
			case <-stop:
				return
			case <-time.After(5 * time.Millisecond):
			}
			if now := s.by(); now != was {
				was = now
				select {
				case out <- struct{}{}:
				default:
				}
			}
		}
	}()
	return out
}
