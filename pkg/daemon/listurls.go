package daemon

import (
	"context"
	"fmt"
	"os"
	"strings"
	"time"

	"bailiff/pkg/config"
	"bailiff/pkg/remote"
)

// Lists that servers publish are fetched into files beside the database, which are read as
// those of others are: so the last good copy outlives the daemon, and a server that is gone.

// fetched is how the fetching of one stands. The list's lock guards it.
type fetched struct {
	failed string    // why it can't be fetched; empty: it was
	at     time.Time // of the last answer that was good
}

// fetch keeps one up to date until ctx ends.
func (l *blocklist) fetch(ctx context.Context, u *config.ListURL) {
	backoff := remote.Backoff{}
	log := l.d.log.With("component", "jail")
	for ctx.Err() == nil {
		changed, err := u.Fetch(ctx)
		if ctx.Err() != nil {
			return
		}
		wait, text := u.Every, ""
		if err != nil {
			text = u.URL + " can't be fetched: " + err.Error()
			wait = min(max(backoff.Failed(remote.After(err)), time.Second), u.Every)
		} else {
			backoff.Worked()
		}
		l.mu.Lock()
		state := l.fetched[u.URL]
		told := state.failed
		if state.failed = text; err == nil {
			state.at = time.Now()
		}
		l.fetched[u.URL] = state
		l.mu.Unlock()
		switch {
		case text != "" && text != told:
			log.Error(fmt.Sprintf("[%s] list: %s; %s", l.c.Name, text, l.copyOf(u)))
		case text == "" && told != "":
			log.Info(fmt.Sprintf("[%s] list: %s: fetched again", l.c.Name, u.URL))
		}
		if changed {
			select {
			case l.look <- struct{}{}:
			default:
			}
		}
		if remote.Sleep(ctx, wait) != nil {
			return
		}
	}
}

// copyOf says what holds while a list can't be fetched.
func (l *blocklist) copyOf(u *config.ListURL) string {
	fi, err := os.Stat(u.File)
	if err != nil {
		return "there is no copy of it: nothing of it is shut out, and it is tried again"
	}
	return "the copy of " + fi.ModTime().Local().Format("2006-01-02 15:04:05") + " holds, and it is tried again"
}

// byURL has a text name lists that are fetched, in place of their files.
func byURL(c *config.Jail, text string) string {
	for _, u := range c.ListURLs {
		text = strings.ReplaceAll(text, u.File, u.URL)
	}
	return text
}

// fetchProblems tells what can't be fetched. The caller holds the lock.
func (l *blocklist) fetchProblems() (out []string) {
	for i := range l.c.ListURLs {
		u := &l.c.ListURLs[i]
		if f := l.fetched[u.URL]; f.failed != "" {
			out = append(out, f.failed+"; "+l.copyOf(u))
		}
	}
	return out
}
