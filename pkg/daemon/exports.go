package daemon

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"bailiff/pkg/action"
	"bailiff/pkg/config"
	"bailiff/pkg/control"
	"bailiff/pkg/haproxy"
	"bailiff/pkg/iplist"
	"bailiff/pkg/jail"
	"bailiff/pkg/safefile"
)

// Files that hold who is banned, for where there is no firewall to command: nginx
// reads them, or a proxy, or an application. They are written whole, beside the old
// one, and take its place at once.

const (
	// exportPause is between two writes of a file, so that a flood of bans does not
	// have a server reload for each.
	exportPause   = time.Second
	exportRetry   = 10 * time.Second // after one that failed
	reloadTimeout = time.Minute
)

// changed says that who is banned may have changed.
func (d *Daemon) changed() {
	select {
	case d.exporting <- struct{}{}:
	default:
	}
}

// exports writes the files while the daemon runs; the function that it returns waits
// for the end of that, but for what hangs.
func (d *Daemon) exports(ctx context.Context) (wait func()) {
	ctx, stop := context.WithCancel(ctx)
	var wg sync.WaitGroup
	d.changed()
	wg.Go(func() {
		running := map[string]*exporter{} // each for itself: a disk may hang, or a reload
		for {
			select {
			case <-ctx.Done():
				return
			case <-d.exporting:
			}
			d.elsewhere.changed(ctx, d, &wg)
			d.reports.changed(ctx, d, &wg)
			wanted := map[string]bool{}
			for _, x := range d.cfgNow().Exports {
				wanted[x.Name] = true
				e := running[x.Name]
				if e != nil && !reflect.DeepEqual(e.of, x) { // it was changed
					e.stop()
					e = nil
				}
				if e == nil {
					e = &exporter{d: d, of: x, due: make(chan struct{}, 1)}
					var own context.Context
					own, e.stop = context.WithCancel(ctx)
					running[x.Name] = e
					wg.Go(func() { e.run(own) })
				}
				select {
				case e.due <- struct{}{}:
				default:
				}
			}
			for name, e := range running {
				if !wanted[name] {
					e.stop()
					delete(running, name)
				}
			}
		}
	})
	return func() {
		stop()
		safefile.Within(stopOthers, wg.Wait)
	}
}

// exporter writes one file.
type exporter struct {
	d    *Daemon
	of   config.BanFile
	due  chan struct{} // has a value when it may have to be written
	stop context.CancelFunc
	dry  []byte // what was told last in a dry run
	// wrote is the sum of what the runner wrote last.
	wrote [sha256.Size]byte
}

func (e *exporter) run(ctx context.Context) {
	told, again := "", false // again: its reader was not told of what is written
	retry := time.NewTimer(time.Hour)
	defer retry.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-e.due:
		case <-retry.C:
		}
		if ctx.Err() != nil {
			return
		}
		text := ""
		err := e.export(ctx, again)
		var busy *jail.BusyError
		switch {
		case errors.As(err, &busy):
			retry.Reset(exportPause)
		case err != nil:
			again, text = true, err.Error()
			retry.Reset(exportRetry)
		default:
			again = false
		}
		if told != text && busy == nil {
			if told = text; text != "" {
				e.d.log.With("component", "actions").Error(fmt.Sprintf("export %s: %s", e.of.Name, strings.ReplaceAll(text, "\n", "; ")))
			}
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(exportPause):
		}
	}
}

// export writes the file, if what it holds changes or again says so, and has its reader
// told.
func (e *exporter) export(ctx context.Context, again bool) error {
	d, x := e.d, e.of
	var out bytes.Buffer
	w := bufio.NewWriter(&out)
	fmt.Fprintf(w, "# written by bailiff: who is banned; changes are lost\n")
	banned, err := d.shutOut(x.Jails)
	if err != nil {
		return err
	}
	for _, who := range banned {
		switch x.Format {
		case config.ExportNginx:
			fmt.Fprintf(w, "%s 1;\n", who)
		case config.ExportHAProxy:
			fmt.Fprintf(w, "%s %s\n", who, haproxy.Value)
		case config.ExportDeny:
			fmt.Fprintf(w, "deny %s;\n", who)
		default:
			fmt.Fprintln(w, who)
		}
	}
	w.Flush()
	have, unread := safefile.ReadFile(x.File, int64(out.Len()))
	if !again && unread == nil && bytes.Equal(have, out.Bytes()) {
		return nil
	}
	if d.opts.DryRun {
		if !bytes.Equal(e.dry, out.Bytes()) {
			e.dry = out.Bytes()
			d.wouldDo("write export %s to %s: %d addresses and networks", x.Name, x.File, len(banned))
			if x.Reload != "" {
				d.wouldDo("run its reload: %s", x.Reload)
			}
		}
		return nil
	}
	if d.another(x) {
		sum := sha256.Sum256(out.Bytes())
		if !again && e.wrote == sum && errors.Is(unread, fs.ErrPermission) {
			return nil
		}
		if err := d.opts.Runner.Replace(ctx, x.File, out.Bytes()); err != nil {
			return err
		}
		e.wrote = sum
	} else if err := replaceFile(x.File, out.Bytes()); err != nil {
		return err
	}
	if x.Reload == "" {
		return nil
	}
	res, err := action.Command{Text: x.Reload}.Run(ctx, reloadTimeout)
	if err == nil && res.Code != 0 {
		err = fmt.Errorf("exit code %d: %s", res.Code, strings.TrimSpace(action.Cut(res.Output(), 2<<10)))
	}
	if err != nil && ctx.Err() == nil {
		return fmt.Errorf("reload: %q: %w", x.Reload, err)
	}
	return nil
}

// ShutOut implements control.Daemon.
func (d *Daemon) ShutOut(name string) ([]string, error) {
	if name == "" {
		return d.shutOut(nil)
	}
	var list *control.ListError
	if _, err := d.jail(name); err != nil && !errors.As(err, &list) {
		return nil, err
	}
	return d.shutOut([]string{name})
}

// shutOut returns who is banned in some jails, or in all that are configured, each once.
func (d *Daemon) shutOut(jails []string) ([]string, error) {
	seen := map[string]bool{}
	var out []string
	add := func(who string) {
		if !seen[who] {
			seen[who] = true
			out = append(out, who)
		}
	}
	for _, j := range d.running() {
		if config.Named(jails, j.Configured.Name, j.Configured.Labelled != "") {
			bans, err := j.Bans()
			if err != nil {
				return nil, err
			}
			for _, b := range bans {
				switch {
				case b.Address != "":
					add(b.Address)
				case !b.Name: // a list of addresses is no place for others
					add(b.IP)
				}
			}
		}
	}
	for _, name := range d.fleet.names() {
		if s := d.fleet.set(name); s != nil && config.Named(jails, name, false) {
			for _, p := range s.shutOut() {
				add(toldPrefix(p))
			}
		}
	}
	d.mu.Lock()
	var lists []*blocklist
	for name, l := range d.lists {
		if config.Named(jails, name, false) {
			lists = append(lists, l)
		}
	}
	d.mu.Unlock()
	for _, l := range lists {
		l.mu.Lock()
		set := l.set
		l.mu.Unlock()
		for r := range set.All() {
			for p := range iplist.Prefixes(r) {
				if p.IsSingleIP() {
					add(p.Addr().String())
				} else {
					add(p.String())
				}
			}
		}
	}
	slices.Sort(out)
	return out, nil
}

// exportRemedy says what to do where a directory takes no file.
func exportRemedy(err error) string {
	if errors.Is(err, fs.ErrNotExist) {
		return ": make the directory, or see file of [export]"
	}
	return ": see file of [export]"
}

// replaceFile puts a file in the place of another one at once; its mode, its owner and
// its group stay. A symbolic link stays, too, if it is root's or ours: it is what it
// leads to that is replaced.
func replaceFile(path string, data []byte) error {
	return ReplaceFile(path, func(w io.Writer) error { _, err := w.Write(data); return err })
}

// ReplaceFile is replaceFile for content that is written by a function.
func ReplaceFile(path string, content func(io.Writer) error) error {
	if fi, err := os.Lstat(path); err == nil && fi.Mode()&fs.ModeSymlink != 0 {
		if st, ok := fi.Sys().(*syscall.Stat_t); ok && (st.Uid == 0 || int(st.Uid) == os.Geteuid()) {
			if to, err := filepath.EvalSymlinks(path); err == nil {
				path = to
			}
		}
	}
	mode, uid, gid := fs.FileMode(0o644), -1, -1
	switch fi, err := os.Lstat(path); {
	case err != nil:
	case !fi.Mode().IsRegular() && fi.Mode()&fs.ModeSymlink == 0:
		// A device, above all: a link to /dev/null would have it replaced for the whole machine.
		return fmt.Errorf("%s %w: it is left alone; remove it, or name another file", path, &safefile.KindError{Path: path, Mode: fi.Mode()})
	case fi.Mode().IsRegular():
		mode = fi.Mode().Perm()
		if st, ok := fi.Sys().(*syscall.Stat_t); ok && os.Geteuid() == 0 {
			uid, gid = int(st.Uid), int(st.Gid)
		}
	}
	err := safefile.Replace(path, func(f *os.File) error {
		return errors.Join(content(f), f.Chown(uid, gid), chmod(f, mode))
	})
	var pe *fs.PathError
	if errors.As(err, &pe) && pe.Op == "create" {
		return fmt.Errorf("%s can't be written, since a file can't be made in %s: %w%s", path, filepath.Dir(path), pe.Err, exportRemedy(pe.Err))
	}
	return err
}

// ReplaceTheirs is ReplaceFile in a directory that somebody else may own, who could have put a
// symbolic link in its place: it is found once, and a stranger's link is not followed.
func ReplaceTheirs(path string, content func(io.Writer) error) error {
	dir := filepath.Dir(path)
	at, err := safefile.Find(dir)
	if err != nil {
		return fmt.Errorf("%s: %w", dir, err)
	}
	defer syscall.Close(at)
	found := fmt.Sprintf("/proc/self/fd/%d", at)
	if err := ReplaceFile(filepath.Join(found, filepath.Base(path)), content); err != nil {
		return errors.New(strings.ReplaceAll(err.Error(), found, dir))
	}
	return nil
}

// chmod gives a file its mode. Who is confined can't let others write to what is his: they
// can't then.
func chmod(f *os.File, mode fs.FileMode) error {
	err := f.Chmod(mode)
	if errors.Is(err, fs.ErrPermission) && mode&0o022 != 0 {
		err = f.Chmod(mode &^ 0o022)
	}
	return err
}
