package config

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"bailiff/pkg/hosttest"
)

// TestNoFIFO: a FIFO among the files of a configuration is a mistake in that file, not
// something that a start, a reload or a check waits for.
func TestNoFIFO(t *testing.T) {
	for _, c := range []struct {
		name, main, fifo string
		ends             bool
	}{
		{"filter", "bailiff.toml", "filters/x.toml", false},
		{"jail", "bailiff.toml", "jails/x.toml", false},
		{"main", "jails/x.toml", "bailiff.toml", true},
		{"local", "jail.conf", "jail.local", false},
		{"tree filter", "jail.conf", "filter.d/x.conf", false},
		{"server", "jail.conf", "fail2ban.conf", false},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			for _, f := range []string{c.main, c.fifo} {
				if err := os.MkdirAll(filepath.Join(dir, filepath.Dir(f)), 0o755); err != nil {
					t.Fatal(err)
				}
			}
			text := ""
			if c.main == "jail.conf" {
				text = "[x]\nenabled = true\nfilter = x\nlogpath = /dev/null\n"
			}
			hosttest.Write(t, filepath.Join(dir, c.main), text)
			if err := syscall.Mkfifo(filepath.Join(dir, c.fifo), 0o600); err != nil {
				t.Fatal(err)
			}
			told := make(chan string, 1)
			go func() {
				cfg, err := Load(Options{Path: dir})
				var all []string
				if err != nil {
					all = append(all, err.Error())
				}
				if cfg != nil {
					for _, e := range cfg.Errors {
						all = append(all, e.Error())
					}
					for _, f := range cfg.Filters {
						for _, e := range f.Errors {
							all = append(all, e.Error())
						}
					}
					for _, j := range cfg.Jails {
						for _, e := range j.Errors {
							all = append(all, e.Error())
						}
					}
				}
				_ = ConfiguredSocket(dir)
				if (err != nil) != c.ends {
					all = append(all, "ends or does not")
				}
				told <- strings.Join(all, "\n")
			}()
			select {
			case text := <-told:
				if !strings.Contains(text, c.fifo+": is a FIFO, not a regular file") || strings.Contains(text, "ends or does not") {
					t.Error(text)
				}
			case <-time.After(2 * time.Minute):
				t.Fatal("it waits for somebody who writes to the FIFO")
			}
		})
	}
}
