package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"

	"bailiff/pkg/control"
	"bailiff/pkg/events"
	"bailiff/pkg/hosttest"
)

// TestEventsOverKills: who follows the events over twenty lives of a daemon that is stopped and killed (SIGKILL) by
// turns, at rest and while it reads, and goes on behind the last number that he has seen, misses none
// and sees none twice; and what he was told is what the files have afterwards.
func TestEventsOverKills(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	log := hosttest.Write(t, filepath.Join(dir, "app.log"), "")
	hosttest.Write(t, filepath.Join(dir, "bailiff.toml"), shopWithoutFirewall(log))
	database := filepath.Join(dir, "db")
	told := [][]byte{nil} // by number
	found := map[string]bool{}
	var mu sync.Mutex
	for life := range 20 {
		d := &daemonAt{t: t, socket: filepath.Join(dir, "sock"), log: filepath.Join(dir, "log")}
		c := exec.Command(program(t, "bailiff"), "run", "--config", dir, "--socket", d.socket, "--log-target", d.log, "--database", database)
		if err := c.Start(); err != nil {
			t.Fatal(err)
		}
		d.api = control.NewClient(d.socket)
		d.until("it does not start", func() bool { return d.api.Ping() == nil })
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			var none *control.NotRunningError
			mu.Lock()
			q := control.EventsQuery{Since: uint64(len(told) - 1), Follow: true}
			mu.Unlock()
			for err := error(nil); !errors.As(err, &none); {
				err = d.api.Events(context.Background(), q, func(line []byte) error {
					e, err := events.Parse(line)
					if err != nil {
						t.Errorf("%v: %s", err, line)
					}
					mu.Lock()
					defer mu.Unlock()
					if e.N != uint64(len(told)) {
						t.Errorf("life %d: behind number %d comes %s", life, len(told)-1, line)
					}
					told = append(told, bytes.Clone(line))
					found[e.IP] = found[e.IP] || e.Kind == events.Found
					q.Since = e.N
					return nil
				})
			}
		}()
		last := ""
		var lines bytes.Buffer
		for i := range 5 {
			last = fmt.Sprintf("192.0.2.%d", 10*life+i)
			fmt.Fprintf(&lines, "%s login failed from %s\n", time.Now().UTC().Format(time.RFC3339), last)
		}
		f, err := os.OpenFile(log, os.O_APPEND|os.O_WRONLY, 0)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := f.Write(lines.Bytes()); err != nil {
			t.Fatal(err)
		}
		f.Close()
		if life%4 == 0 || life%4 == 3 { // else it ends while it reads
			d.until("a failure is not told of", func() bool { mu.Lock(); defer mu.Unlock(); return found[last] })
		}
		if life%2 == 0 {
			_ = c.Process.Signal(os.Interrupt)
		} else {
			_ = c.Process.Signal(syscall.SIGKILL)
		}
		_ = c.Wait()
		<-ended
	}
	r, err := events.Files(database, 0, func(text string) { t.Error(text) })
	if err != nil {
		t.Fatal(err)
	}
	n := uint64(0)
	if err := r.Each(func(at uint64, line []byte) bool {
		if n++; at != n {
			t.Errorf("behind %d comes %s", n-1, line)
			n = at
		}
		if at < uint64(len(told)) && !bytes.Equal(told[at], line) {
			t.Errorf("number %d was %s, and is %s", at, told[at], line)
		}
		return true
	}); err != nil {
		t.Fatal(err)
	}
	if n+1 < uint64(len(told)) || n < 100 {
		t.Errorf("there are %d events, %d were told", n, len(told)-1)
	}
}
