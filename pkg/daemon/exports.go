package daemon

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"bailiff/pkg/action"
	"bailiff/pkg/config"
	"bailiff/pkg/iplist"
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
// for the end of that.
func (d *Daemon) exports(ctx context.Context) (wait func()) {
	ctx, stop := context.WithCancel(ctx)
	var wg sync.WaitGroup
	d.changed()
	wg.Go(func() {
		told := map[string]string{}
		failed := map[string]bool{} // whose reader was not told of what is written
		retry := time.NewTimer(time.Hour)
		defer retry.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-d.exporting:
			case <-retry.C:
			}
			if ctx.Err() != nil {
				return
			}
			d.mu.Lock()
			list := d.cfg.Exports
			d.mu.Unlock()
			for _, x := range list {
				text := ""
				err := d.export(ctx, x, failed[x.Name])
				if failed[x.Name] = err != nil; err != nil {
					text = err.Error()
					retry.Reset(exportRetry)
				}
				if told[x.Name] != text {
					if told[x.Name] = text; text != "" {
						d.log.With("component", "actions").Error(fmt.Sprintf("export %s: %s", x.Name, text))
					}
				}
			}
			if len(list) == 0 {
				continue
			}
			select {
			case <-ctx.Done():
				return
			case <-time.After(exportPause):
			}
		}
	})
	return func() {
		stop()
		within(stopOthers, wg.Wait)
	}
}

// export writes a file, if what it holds changes or again says so, and has its reader
// told.
func (d *Daemon) export(ctx context.Context, x config.BanFile, again bool) error {
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
		case config.ExportDeny:
			fmt.Fprintf(w, "deny %s;\n", who)
		default:
			fmt.Fprintln(w, who)
		}
	}
	w.Flush()
	if have, err := safefile.ReadFile(x.File, int64(out.Len())); !again && err == nil && bytes.Equal(have, out.Bytes()) {
		return nil
	}
	if err := replaceFile(x.File, out.Bytes()); err != nil {
		return err
	}
	if x.Reload == "" {
		return nil
	}
	res, err := action.Command{Text: x.Reload}.Run(ctx, reloadTimeout)
	if err == nil && res.Code != 0 {
		err = fmt.Errorf("exit code %d: %s", res.Code, strings.TrimSpace(action.Cut(string(res.Output), 2<<10)))
	}
	if err != nil && ctx.Err() == nil {
		return fmt.Errorf("reload: %q: %w", x.Reload, err)
	}
	return nil
}

// shutOut returns who is banned in some jails, or in all, each once.
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
		if jails == nil || slices.Contains(jails, j.Configured.Name) {
			bans, err := j.Bans()
			if err != nil {
				return nil, err
			}
			for _, b := range bans {
				add(b.IP)
			}
		}
	}
	d.mu.Lock()
	var lists []*blocklist
	for name, l := range d.lists {
		if jails == nil || slices.Contains(jails, name) {
			lists = append(lists, l)
		}
	}
	d.mu.Unlock()
	for _, l := range lists {
		l.mu.Lock()
		set := l.set
		l.mu.Unlock()
		for _, r := range set.Ranges() {
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

// replaceFile puts a file in the place of another one at once; its mode stays.
func replaceFile(path string, data []byte) error {
	mode := fs.FileMode(0o644)
	if fi, err := os.Stat(path); err == nil {
		mode = fi.Mode().Perm()
	}
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".")
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	err = errors.Join(err, f.Chmod(mode), f.Sync(), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		os.Remove(f.Name())
	}
	return err
}
