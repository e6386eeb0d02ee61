package daemon

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"time"

	"bailiff/pkg/jail"
)

// Watchdog has whoever watches over the daemon told that it is well: that every jail's
// goroutine answers. Nobody is told for as long as one of them doesn't.
type Watchdog struct {
	Within time.Duration // by when the next word is expected; 0: nobody watches
	Well   func()
}

// watch asks the jails three times within what is expected, so that one lost word costs
// nothing.
func (d *Daemon) watch(ctx context.Context, w Watchdog) {
	if w.Within <= 0 {
		return
	}
	every := w.Within / 3
	ticker := time.NewTicker(every)
	defer ticker.Stop()
	silent := ""
	for {
		switch now := d.silent(every); {
		case now == "":
			if silent != "" {
				d.log.With("component", "server").Warn("all jails answer again")
				silent = ""
			}
			w.Well()
		case now != silent:
			d.log.With("component", "server").Error(fmt.Sprintf("%s: the service manager gets no keep-alive, and restarts the daemon %v after the last one", now, w.Within))
			fallthrough
		default:
			silent = now
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return
		}
	}
}

// silent names the jails that don't answer within a time; empty: all do.
func (d *Daemon) silent(most time.Duration) string {
	jails := d.running()
	errs := make([]error, len(jails))
	var wg sync.WaitGroup
	for i, j := range jails {
		wg.Go(func() { errs[i] = alive(j, most) })
	}
	wg.Wait()
	var out []string
	for _, err := range errs {
		if err != nil {
			out = append(out, err.Error())
		}
	}
	return strings.Join(out, "; ")
}

// alive asks a jail. One that was replaced or has ended needn't answer.
func alive(j *jail.Jail, most time.Duration) error {
	err := j.Answers(most)
	if jail.Ended(err) {
		return nil
	}
	return err
}
