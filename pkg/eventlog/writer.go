package eventlog

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/coreos/go-systemd/v22/journal"

	"bailiff/pkg/safefile"
)

// Where the log goes may be slow, full, gone for a while, or hang for ever. Lines wait
// for it within a bound, in the goroutine of nobody else; what is over the bound is
// counted, and told where the log goes as soon as that takes lines again.

const (
	// waitingMost is how many bytes of lines wait, with entryCost for each.
	waitingMost = 8 << 20
	entryCost   = 100
	// patience is how long those who log wait for room, in one second and all together:
	// long enough for a disk that works, and for nothing else.
	patience = 50 * time.Millisecond
	// retryFirst and retryMost are between two tries to reach a log that is not there.
	retryFirst, retryMost = 50 * time.Millisecond, 2 * time.Second
	// tellMost is how long a system log may take for one line before it is tried again.
	tellMost = time.Second
)

// endMost is how long an end waits for what is left. Tests make it longer.
var endMost = time.Second

// sink is where lines go.
type sink struct {
	w       io.Writer // nil: a system log
	path    string    // of the file; empty: it is none
	journal bool
	socket  string // of the system log that speaks syslog
	conn    net.Conn
	// facility is under which syslog gets the lines, as in Facilities.
	facility int
}

// Facilities are those of syslog (RFC 5424), by their numbers.
var Facilities = strings.Fields(`kern user mail daemon auth syslog lpr news uucp cron authpriv ftp ntp audit alert clock
	local0 local1 local2 local3 local4 local5 local6 local7`)

// Daemon is the usual facility.
const Daemon = "daemon"

// openSink opens a target. syslogSocket is the path of the system log's socket; empty:
// where it is on this system. A target of syslog's may name a facility:
// syslog[facility=local5].
func openSink(target, syslogSocket string) (*sink, error) {
	facility := slices.Index(Facilities, Daemon)
	if name, ok := strings.CutPrefix(strings.TrimSuffix(strings.ToLower(target), "]"), "syslog[facility="); ok {
		if facility = slices.Index(Facilities, name); facility < 0 {
			return nil, fmt.Errorf("log target %s: unknown facility (%s)", target, strings.Join(Facilities, ", "))
		}
		target = "syslog"
	}
	switch strings.ToLower(target) {
	case "", "stderr":
		return &sink{w: os.Stderr}, nil
	case "stdout", "sysout":
		return &sink{w: os.Stdout}, nil
	case "journal", "systemd-journal", "systemd_journal":
		if !journal.Enabled() {
			return nil, fmt.Errorf("log target journal: no journal is listening here: use stderr or a file")
		}
		return &sink{journal: true}, nil
	case "syslog":
		s := &sink{socket: cmp.Or(syslogSocket, "/dev/log"), facility: facility}
		if err := s.dial(); err != nil {
			return nil, fmt.Errorf("log target SYSLOG: nobody listens at %s: %w", s.socket, err)
		}
		return s, nil
	}
	f, err := safefile.Append(target, 0o640)
	if err != nil {
		return nil, fmt.Errorf("log target: %w", err)
	}
	return &sink{w: f, path: target}, nil
}

func (s *sink) dial() (err error) {
	s.conn, err = net.DialTimeout("unixgram", s.socket, tellMost)
	return err
}

// name is the target's, as in a configuration.
func (s *sink) name() string {
	switch {
	case s.path != "":
		return s.path
	case s.journal:
		return "the journal"
	case s.socket != "":
		return "the system log at " + s.socket
	case s.w == os.Stdout:
		return "stdout"
	}
	return "stderr"
}

func (s *sink) close() error {
	if s.conn != nil {
		return s.conn.Close()
	}
	if f, ok := s.w.(*os.File); ok && s.path != "" {
		return f.Close()
	}
	return nil
}

// tell sends a line to a system log. Syslog's has fail2ban's form, which has the part
// that speaks as the program's name.
func (s *sink) tell(e *entry, pid int) error {
	if s.journal {
		return journal.Send(e.text, priority(e.level), map[string]string{"LOGGER": "fail2ban." + e.component})
	}
	if s.conn == nil {
		if err := s.dial(); err != nil {
			return err
		}
	}
	_ = s.conn.SetWriteDeadline(time.Now().Add(tellMost))
	_, err := fmt.Fprintf(s.conn, "<%d>fail2ban.%s[%d]: %s %s", s.facility<<3|int(priority(e.level)), e.component, pid, levelName(e.level), e.text)
	if err != nil && !errors.Is(err, os.ErrDeadlineExceeded) && !errors.Is(err, syscall.EMSGSIZE) {
		_ = s.conn.Close() // it was started anew, maybe
		s.conn = nil
	}
	return err
}

// writer writes lines to one sink.
type writer struct {
	to  *sink
	pid int

	mu     sync.Mutex
	wake   *sync.Cond
	room   chan struct{} // closed when there is room again; nil: nobody waits
	queue  []entry
	size   int
	lost   int       // lines that nobody will see
	why    string    // the last error
	since  time.Time // the second in which waited was
	waited time.Duration
	ended  bool
	gone   bool // it takes no lines any more
	// writing is how many lines are being written.
	writing int
	done    chan struct{}

	torn bool // the last line was not written whole; run's alone
}

// openWriter opens a target and starts its writer.
func openWriter(target, syslogSocket string) (*writer, error) {
	type opened struct {
		to  *sink
		err error
	}
	got := make(chan opened, 1)
	go func() {
		to, err := openSink(target, syslogSocket)
		got <- opened{to, err}
	}()
	timer := time.NewTimer(openMost)
	defer timer.Stop()
	select {
	case o := <-got:
		if o.err != nil {
			return nil, o.err
		}
		return newWriter(o.to), nil
	case <-timer.C:
		go func() {
			if o := <-got; o.err == nil {
				_ = o.to.close()
			}
		}()
		return nil, fmt.Errorf("log target %s: it can't be opened within %v: does its disk hang?", target, openMost)
	}
}

func newWriter(to *sink) *writer {
	w := &writer{to: to, pid: os.Getpid(), done: make(chan struct{})}
	w.wake = sync.NewCond(&w.mu)
	go w.run()
	return w
}

// put has a line written, or counts it as lost where too many wait. It returns false if
// the writer has ended.
func (w *writer) put(e entry) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.gone {
		return false
	}
	if w.size > waitingMost && !w.makeRoom() {
		w.lost++
		return true
	}
	w.queue = append(w.queue, e)
	w.size += len(e.text) + entryCost
	w.wake.Signal()
	return true
}

// makeRoom waits for room, for as long as may be waited. The caller holds the lock.
func (w *writer) makeRoom() bool {
	now := time.Now()
	if now.Sub(w.since) > time.Second {
		w.since, w.waited = now, 0
	}
	left := patience - w.waited
	if left <= 0 || w.ended {
		return false
	}
	if w.room == nil {
		w.room = make(chan struct{})
	}
	room := w.room
	w.mu.Unlock()
	timer := time.NewTimer(left)
	select {
	case <-room:
	case <-timer.C:
	}
	timer.Stop()
	w.mu.Lock()
	w.waited += time.Since(now)
	return w.size <= waitingMost
}

// run writes lines until the end.
func (w *writer) run() {
	defer close(w.done)
	var buf []byte
	var spare []entry
	for {
		w.mu.Lock()
		for len(w.queue) == 0 && !w.ended {
			w.wake.Wait()
		}
		list, lost := w.queue, w.lost
		w.queue, w.lost, w.writing = spare[:0], 0, len(list)+lost
		if len(list) == 0 && lost == 0 {
			w.gone = true
			w.mu.Unlock()
			_ = w.to.close()
			return
		}
		w.mu.Unlock()
		if w.to.w != nil {
			buf = w.write(buf, list, lost)
		} else {
			w.send(list, lost)
		}
		clear(list)
		if spare = list; cap(spare) > 10_000 {
			spare = nil
		}
	}
}

// taken makes room for what was written. The caller does not hold the lock.
func (w *writer) taken(list []entry) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for i := range list {
		w.size -= len(list[i].text) + entryCost
	}
	if w.room != nil && w.size <= waitingMost {
		close(w.room)
		w.room = nil
	}
}

// report is the line that tells of others that nobody sees.
func (w *writer) report(lost int) entry {
	why := ""
	w.mu.Lock()
	if w.why != "" {
		why = " (" + w.why + ")"
	}
	w.why = ""
	w.mu.Unlock()
	return entry{time.Now(), slog.LevelError, "server", fmt.Sprintf("%d lines of this log are lost: they could not be written in time%s", lost, why)}
}

// write writes lines to a file, as many at a time as there are. buf is used again.
func (w *writer) write(buf []byte, list []entry, lost int) []byte {
	buf = buf[:0]
	if w.torn {
		buf = append(buf, '\n')
	}
	if lost > 0 {
		e := w.report(lost)
		buf = e.line(buf, w.pid)
	}
	for i := range list {
		buf = list[i].line(buf, w.pid)
	}
	n, err := w.to.w.Write(buf)
	w.torn = n > 0 && buf[n-1] != '\n' || n == 0 && w.torn
	if err != nil { // a full disk, say: the work goes on
		w.mu.Lock()
		w.lost += lost + len(list)
		w.why = err.Error()
		ended := w.ended
		if ended {
			w.lost = 0 // nobody will be told
		}
		w.mu.Unlock()
		w.taken(list)
		if !ended {
			time.Sleep(retryFirst)
		}
		return buf
	}
	w.taken(list)
	if cap(buf) > 1<<20 {
		return nil
	}
	return buf
}

// send sends lines to a system log, one by one, and tries again until it takes them.
func (w *writer) send(list []entry, lost int) {
	if lost > 0 {
		list = append([]entry{w.report(lost)}, list...)
		w.mu.Lock()
		w.size += len(list[0].text) + entryCost
		w.mu.Unlock()
	}
	wait := retryFirst
	for i := 0; i < len(list); i++ {
		err := w.to.tell(&list[i], w.pid)
		if err == nil {
			wait = retryFirst
			w.taken(list[i : i+1])
			continue
		}
		w.mu.Lock()
		ended := w.ended
		w.why = err.Error()
		if errors.Is(err, syscall.EMSGSIZE) {
			w.lost++
		}
		w.mu.Unlock()
		if errors.Is(err, syscall.EMSGSIZE) || ended {
			w.taken(list[i : i+1]) // at the end each is tried once
			continue
		}
		time.Sleep(wait)
		wait = min(2*wait, retryMost)
		i--
	}
}

// end has the writer end when it is through with what waits.
func (w *writer) end() {
	w.mu.Lock()
	w.ended = true
	w.mu.Unlock()
	w.wake.Signal()
}

// over reports whether a writer that was ended has written everything.
func (w *writer) over() bool {
	select {
	case <-w.done:
		return true
	default:
		return false
	}
}

// await waits a while until a writer that was ended has written everything.
func (w *writer) await(most time.Duration) {
	timer := time.NewTimer(most)
	defer timer.Stop()
	select {
	case <-w.done:
	case <-timer.C:
	}
}

// giveUp drops what waits, and has another writer tell of it.
func (w *writer) giveUp(to *writer) {
	w.mu.Lock()
	lost := w.lost + len(w.queue)
	w.queue, w.lost = nil, 0
	w.mu.Unlock()
	if lost == 0 {
		return
	}
	to.mu.Lock()
	to.lost += lost
	to.why = fmt.Sprintf("they waited for %s, where the log went before", w.to.name())
	to.mu.Unlock()
	to.wake.Signal()
}

// closeAll ends writers, and waits a while until they have written what waits.
func closeAll(all []*writer) error {
	for _, w := range all {
		w.end()
	}
	timer := time.NewTimer(endMost)
	defer timer.Stop()
	late := false
	var errs []error
	for _, w := range all {
		if !late {
			select {
			case <-w.done:
			case <-timer.C:
				late = true
			}
		}
		if w.over() {
			continue
		}
		w.mu.Lock()
		n := len(w.queue) + w.lost + w.writing
		w.mu.Unlock()
		errs = append(errs, fmt.Errorf("the last lines of the log, %d of them, were not taken in time by %s", n, w.to.name()))
	}
	return errors.Join(errs...)
}
