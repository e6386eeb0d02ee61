package action

import (
	"fmt"
	"slices"
	"strings"
)

// What goes wrong with an action, for who asks how the jail is. The log tells of it once,
// when it happens.

// failure notes how a command went.
func (a *Action) failure(command string, ok, ran bool) {
	switch {
	case !ok && a.ctx.Err() == nil:
		a.failing, a.failingWhy = command, a.why
	case ok && ran && (command == a.failing || command == "actionban"):
		a.failing, a.failingWhy = "", ""
	}
}

// because keeps why a command failed: the last that it wrote, or how it ended.
func (a *Action) because(output string, ended string) {
	lines := strings.FieldsFunc(output, func(r rune) bool { return r == '\n' || r == '\r' })
	a.why = ended
	if n := len(lines); n > 0 {
		a.why = Cut(strings.ToValidUTF8(strings.TrimSpace(lines[n-1]), "\uFFFD"), saidMost/8)
	}
}

// noteTrouble keeps what is wrong with it, after a job.
func (w *worker) noteTrouble(j job, failed bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.failing, w.failingWhy, w.broken = w.act.failing, w.act.failingWhy, len(w.act.unsound) > 0
	switch j.kind {
	case jobBan:
		if failed {
			w.notMade(j.entry)
		} else {
			delete(w.unmade, j.entry)
		}
	case jobUnban, jobUnbanUnlessFlushed:
		delete(w.unmade, j.entry)
	case jobFlush, jobStopping, jobStop:
		w.unmade = nil
	}
}

// notMade notes a ban whose actionban failed. The caller holds the lock.
func (w *worker) notMade(e *entry) {
	if w.unmade == nil {
		w.unmade = map[*entry]struct{}{}
	}
	w.unmade[e] = struct{}{}
}

// trouble says what is wrong with it; empty: nothing is known.
func (w *worker) trouble() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	var parts []string
	if w.failing != "" {
		parts = append(parts, fmt.Sprintf("%s failed when it was run last (%s)", w.failing, w.failingWhy))
	}
	if w.broken {
		parts = append(parts, "actioncheck finds its environment broken, and it can't be brought in order")
	}
	if n := len(w.unmade); n > 0 {
		ids := make([]string, 0, n)
		for e := range w.unmade {
			ids = append(ids, e.id())
		}
		slices.Sort(ids)
		if n > 3 {
			ids = append(ids[:3], fmt.Sprintf("and %d more", n-3))
		}
		parts = append(parts, fmt.Sprintf("it did not make these bans: %s", strings.Join(ids, ", ")))
	}
	if len(parts) == 0 {
		return ""
	}
	return fmt.Sprintf("action %s: %s", w.title, strings.Join(parts, "; "))
}

// Problems are what is wrong with the actions, in words for a person. It waits for no
// command.
func (g *Group) Problems() (out []string) {
	for _, w := range g.working() {
		if text := w.trouble(); text != "" {
			out = append(out, text)
		}
	}
	return out
}
