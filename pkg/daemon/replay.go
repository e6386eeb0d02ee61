package daemon

import (
	"bufio"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	"bailiff/pkg/config"
	"bailiff/pkg/control"
	"bailiff/pkg/fair"
	"bailiff/pkg/guard"
	"bailiff/pkg/replay"
	"bailiff/pkg/safefile"
	"bailiff/pkg/source"
)

// What if: a jail's configuration, as it is or with other numbers, run over a log beside everything else,
// by what `bailiff replay` does. Nothing of it comes near a jail that runs.

// Bounds of a replay in a daemon, beside those of the API.
const (
	// replayLogs is how many logs are read together.
	replayLogs = 16
	// replayWindow is what decompressing may take: the window of zstd -19, the dictionary of xz -6.
	replayWindow = 8 << 20
	// replayAll is how many bans there may be by all settings together, and replayAddresses how many
	// addresses with failures each setting knows at a time.
	replayAll, replayAddresses = 200_000, 20_000
	// replayWait is how long before its end it stops, so that the answer is told.
	replayWait = 2 * time.Second
)

var errReplays = errors.New("a replay is under way: ask again when it is over")

// Replay implements control.Daemon.
func (d *Daemon) Replay(ctx context.Context, q control.ReplayQuery) (out control.ReplayAnswer, err error) {
	if !d.replaying.CompareAndSwap(false, true) {
		return out, errReplays
	}
	defer func() {
		d.replaying.Store(false)
		debug.FreeOSMemory() // windows and bans of each setting
	}()
	begun := time.Now()
	j, err := d.replayed(&q)
	if err != nil {
		return out, err
	}
	settings, err := tried(&q, j)
	if err != nil {
		return out, control.Bad(err)
	}
	logs, notes, end, err := logsOf(j, &q)
	if err != nil {
		return out, err
	}
	defer end()
	out.Jail, out.Logs, out.Bans = j.Name, []string{}, []replay.BanAnswer{}
	for _, l := range logs {
		out.Logs = append(out.Logs, l.Name)
	}
	g := guard.New(guard.Options{Log: slog.New(slog.DiscardHandler)})
	defer g.Close()
	if at, ok := ctx.Deadline(); ok {
		var cancel func()
		ctx, cancel = context.WithDeadline(ctx, at.Add(-replayWait))
		defer cancel()
	}
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	go func() {
		select {
		case <-d.stopping:
			stop(errors.New("the daemon ends"))
		case <-ctx.Done():
		}
	}()
	var work fair.Background
	r, err := replay.Run(ctx, replay.Options{
		Jail: j, Logs: logs, Location: time.Local, Guard: g, Sweep: settings, Cores: 1, Step: work.Step,
		Most: replay.Most{Text: control.ReplayText, Lines: control.ReplayLines, Window: replayWindow, Bans: replayAll, Addresses: replayAddresses},
		Ban: func(b *replay.Ban) error {
			if len(out.Bans) < control.ReplayBans {
				b.Lines = nil
				out.Bans = append(out.Bans, b.Answer(time.Local))
			}
			return nil
		},
	})
	many, _ := errors.AsType[*replay.BansError](err)
	switch {
	case err == nil:
	case errors.Is(err, context.DeadlineExceeded) && r.Lines > 0:
		err = fmt.Errorf("stopped after %v, behind %d lines: what comes then is missing; bailiff replay at a terminal has all the time", time.Since(begun).Round(time.Second), r.Lines)
	case many != nil:
		err = fmt.Errorf("stopped behind %d lines, since %w: try fewer settings, or bailiff replay at a terminal", r.Lines, many)
	case ctx.Err() != nil:
		return out, context.Cause(ctx)
	default:
		return out, err
	}
	if err != nil {
		r.Problems = append(r.Problems, replay.Problem{File: strings.Join(out.Logs, ", "), Err: err, Missing: true})
	}
	out.Answer, out.Plot = r.Answer(time.Local), r.Plot(time.Local, control.ReplayTop)
	out.Notes, out.Took = append(out.Notes, notes...), time.Since(begun).Seconds()
	return out, nil
}

// replayed is the jail that is asked about, as it is configured now.
func (d *Daemon) replayed(q *control.ReplayQuery) (*config.Jail, error) {
	opts := d.opts.Config
	opts.Now, opts.Bare = nil, true
	cfg, err := config.LoadWithin(configMost, opts)
	config.ForgetStock()
	if err != nil {
		return nil, err
	}
	at := slices.IndexFunc(cfg.Jails, func(j *config.Jail) bool { return j.Name == q.Jail })
	if at < 0 {
		return nil, &control.NotFoundError{Jail: q.Jail}
	}
	j := *cfg.Jails[at]
	switch {
	case len(j.Errors) > 0:
		return nil, control.Bad(fmt.Errorf("jail %s can't start: %w", j.Name, errors.Join(slices.Concat(j.Errors, j.Faults)...)))
	case j.List != nil:
		return nil, &control.ListError{Jail: j.Name, Files: j.List}
	case q.Log != control.ReplayUpload && j.Journal != nil:
		return nil, control.Bad(fmt.Errorf("jail %s reads the journal, which can't be read again from inside: send what journalctl --output=short-iso prints of its service, or run bailiff replay over that", j.Name))
	case q.Log != control.ReplayUpload && (j.Containers != nil || j.Syslog != nil):
		return nil, control.Bad(fmt.Errorf("jail %s has no log that is kept: send one", j.Name))
	}
	j.Filter.Journal = false // dates are in the lines
	return &j, nil
}

// tried are the settings that are asked for.
func tried(q *control.ReplayQuery, j *config.Jail) ([]replay.Setting, error) {
	var args []string
	for _, of := range [][2]string{{"maxretry", q.MaxRetry}, {"findtime", q.FindTime}, {"bantime", q.BanTime}} {
		if strings.TrimSpace(of[1]) != "" {
			args = append(args, of[0]+"="+of[1])
		}
	}
	sweep, err := replay.ParseSweep(args)
	if err != nil {
		return nil, err
	}
	settings, err := sweep.Combinations(j)
	if n := len(settings); n > control.ReplaySettings {
		return nil, fmt.Errorf("%d settings are too many: %d at a time, or bailiff replay at a terminal", n, control.ReplaySettings)
	}
	return settings, err
}

// replayOpen is how long a log's opening may take.
const replayOpen = 5 * time.Second

// logsOf are the logs that are read; end closes them.
func logsOf(j *config.Jail, q *control.ReplayQuery) (logs []replay.Log, notes []string, end func(), err error) {
	if q.Log == control.ReplayUpload {
		from := &bounded{from: q.Upload, left: control.ReplayBytes}
		return []replay.Log{{Name: replay.Stdin, Files: []*replay.File{{Path: replay.Stdin, Time: time.Now(), From: from}}}}, nil, func() {}, nil
	}
	var paths []string
	if !safefile.Within(replayOpen, func() {
		for _, log := range j.LogPath {
			found := []string{filepath.Clean(log)}
			if source.IsGlob(log) {
				found, _ = filepath.Glob(log)
			}
			paths = append(paths, found...)
		}
	}) {
		return nil, nil, nil, fmt.Errorf("jail %s: looking for its logs takes longer than %v", j.Name, replayOpen)
	}
	slices.Sort(paths)
	paths = slices.Compact(paths)
	switch {
	case q.Log != "" && !slices.Contains(paths, q.Log):
		return nil, nil, nil, control.Bad(fmt.Errorf("%.200q is no present log of jail %s: %s", q.Log, j.Name, cmp.Or(strings.Join(paths[:min(len(paths), replayLogs)], ", "), "it has none")))
	case q.Log != "":
		paths = []string{q.Log}
	case len(paths) == 0:
		return nil, nil, nil, control.Bad(fmt.Errorf("jail %s: no log of it is there: %s", j.Name, strings.Join(j.LogPath, ", ")))
	case len(paths) > replayLogs:
		notes = append(notes, fmt.Sprintf("of %d logs, %d are read: name one, or run bailiff replay at a terminal", len(paths), replayLogs))
		paths = paths[:replayLogs]
	}
	var open []*os.File
	end = func() {
		for _, f := range open {
			_ = f.Close() // it was only read
		}
	}
	for _, path := range paths {
		f, note, err := presentLog(path, control.ReplayText/int64(len(paths)))
		if err != nil {
			end()
			return nil, nil, nil, control.Bad(err)
		}
		open = append(open, f.file)
		if note != "" {
			notes = append(notes, note)
		}
		logs = append(logs, replay.Log{Name: path, Files: []*replay.File{{Path: path, Size: f.size, Time: f.written, From: f.in}}})
	}
	return logs, notes, end, nil
}

// opened is a log that is there, from where it is read to the end that it has now.
type opened struct {
	file    *os.File
	in      io.Reader
	size    int64
	written time.Time
}

// presentLog opens a log, at its end if it is larger than most.
func presentLog(path string, most int64) (*opened, string, error) {
	type answer struct {
		o    *opened
		note string
		err  error
	}
	answers := make(chan answer, 1)
	go func() {
		a := answer{}
		defer func() { answers <- a }()
		f, err := safefile.Open(path)
		if err != nil {
			a.err = err
			return
		}
		fi, err := f.Stat()
		if err != nil {
			f.Close()
			a.err = err
			return
		}
		o := &opened{file: f, size: fi.Size(), written: fi.ModTime()}
		in := bufio.NewReader(io.LimitReader(f, o.size))
		if o.size > most {
			if _, err := f.Seek(o.size-most, io.SeekStart); err != nil {
				f.Close()
				a.err = err
				return
			}
			in = bufio.NewReader(io.LimitReader(f, most))
			for err = bufio.ErrBufferFull; err == bufio.ErrBufferFull; { // the rest of a line
				_, err = in.ReadSlice('\n')
			}
			a.note = fmt.Sprintf("of %s, the last %d MiB are read", path, most>>20)
		}
		o.in = in
		a.o = o
	}()
	select {
	case a := <-answers:
		return a.o, a.note, a.err
	case <-time.After(replayOpen):
		go func() { // whenever it answers
			if a := <-answers; a.o != nil {
				a.o.file.Close()
			}
		}()
		return nil, "", fmt.Errorf("%s: its disk does not answer", path)
	}
}

// bounded is what is sent, up to a bound.
type bounded struct {
	from io.Reader
	left int64
}

func (b *bounded) Read(p []byte) (int, error) {
	if b.left < 0 {
		return 0, fmt.Errorf("it is longer than %d MiB: bailiff replay at a terminal reads it", int64(control.ReplayBytes)>>20)
	}
	n, err := b.from.Read(p[:min(int64(len(p)), b.left+1)])
	b.left -= int64(n)
	if b.left < 0 {
		n += int(b.left)
	}
	return n, err
}
