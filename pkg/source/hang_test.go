package source

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"bailiff/pkg/hosttest"

	"github.com/hanwen/go-fuse/v2/fs"
	"github.com/hanwen/go-fuse/v2/fuse"
)

// hanging is a file system of one file, whose operations wait as long as they are
// told to.
type hanging struct {
	fs.Inode
	mu     sync.Mutex
	hang   string        // the operation that waits
	open   chan struct{} // closed: it goes on
	waited chan struct{} // one does
	file   *hangingFile
}

type hangingFile struct {
	fs.Inode
	root *hanging
	data []byte
}

// wait waits if an operation is to.
func (h *hanging) wait(op string) {
	h.mu.Lock()
	hang, open := h.hang == op, h.open
	h.mu.Unlock()
	if hang {
		select {
		case h.waited <- struct{}{}:
		default:
		}
		<-open
	}
}

func (h *hanging) set(op string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.hang != "" {
		close(h.open)
	}
	h.hang, h.open = op, make(chan struct{})
}

func (h *hanging) Lookup(ctx context.Context, name string, out *fuse.EntryOut) (*fs.Inode, syscall.Errno) {
	h.wait("lookup")
	if name != "a.log" {
		return nil, syscall.ENOENT
	}
	h.file.attr(&out.Attr)
	return h.NewInode(ctx, h.file, fs.StableAttr{Mode: fuse.S_IFREG, Ino: 2}), 0
}

func (h *hanging) Readdir(context.Context) (fs.DirStream, syscall.Errno) {
	h.wait("readdir")
	return fs.NewListDirStream([]fuse.DirEntry{{Mode: fuse.S_IFREG, Name: "a.log", Ino: 2}}), 0
}

func (h *hanging) Statfs(_ context.Context, out *fuse.StatfsOut) syscall.Errno {
	h.wait("statfs")
	return 0
}

func (f *hangingFile) attr(out *fuse.Attr) {
	f.root.mu.Lock()
	defer f.root.mu.Unlock()
	out.Mode, out.Size = fuse.S_IFREG|0o644, uint64(len(f.data))
}

func (f *hangingFile) Getattr(_ context.Context, _ fs.FileHandle, out *fuse.AttrOut) syscall.Errno {
	f.root.wait("getattr")
	f.attr(&out.Attr)
	return 0
}

func (f *hangingFile) Open(context.Context, uint32) (fs.FileHandle, uint32, syscall.Errno) {
	f.root.wait("open")
	return nil, fuse.FOPEN_DIRECT_IO, 0
}

func (f *hangingFile) Read(_ context.Context, _ fs.FileHandle, dest []byte, off int64) (fuse.ReadResult, syscall.Errno) {
	f.root.wait("read")
	f.root.mu.Lock()
	defer f.root.mu.Unlock()
	if off >= int64(len(f.data)) {
		return fuse.ReadResultData(nil), 0
	}
	return fuse.ReadResultData(f.data[off:min(int64(len(f.data)), off+int64(len(dest)))]), 0
}

func (f *hangingFile) append(s string) {
	f.root.mu.Lock()
	defer f.root.mu.Unlock()
	f.data = append(f.data, s...)
}

// TestHangingServer is the process that serves such a file system: one that served
// itself would wait for itself. It is told what to do line by line, and says when an
// operation waits.
func TestHangingServer(t *testing.T) {
	dir := os.Getenv("SOURCE_FUSE")
	if dir == "" {
		return
	}
	h := &hanging{waited: make(chan struct{}, 1)}
	h.file = &hangingFile{root: h}
	none := time.Duration(0)
	if _, err := fs.Mount(dir, h, &fs.Options{EntryTimeout: &none, AttrTimeout: &none, MountOptions: fuse.MountOptions{DirectMount: true}}); err != nil {
		fmt.Printf("mount: %v (needs /dev/fuse)\n", err)
		return
	}
	fmt.Println("ready")
	go func() {
		for range h.waited {
			fmt.Println("waits")
		}
	}()
	for in := bufio.NewScanner(os.Stdin); in.Scan(); {
		switch what, rest, _ := strings.Cut(in.Text(), " "); what {
		case "hang":
			h.set(rest)
		case "append":
			h.file.append(rest + "\n")
		}
		fmt.Println("done")
	}
	os.Exit(0)
}

// served is such a process.
type served struct {
	t      *testing.T
	in     io.Writer
	done   chan struct{}
	waited chan struct{}
}

func mountHanging(t *testing.T) (*served, string) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Fatal("needs root, to mount a file system (FUSE)")
	}
	dir := t.TempDir()
	cmd := exec.Command(os.Args[0], "-test.run=^TestHangingServer$")
	cmd.Env = append(os.Environ(), "SOURCE_FUSE="+dir)
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { // what waits gets an error when it is gone
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		_ = syscall.Unmount(dir, syscall.MNT_DETACH)
	})
	x := &served{t: t, in: in, done: make(chan struct{}), waited: make(chan struct{}, 1)}
	ready := make(chan string, 1)
	go func() {
		for in := bufio.NewScanner(out); in.Scan(); {
			switch in.Text() {
			case "waits":
				signal(x.waited)
			case "done":
				x.done <- struct{}{}
			default:
				select {
				case ready <- in.Text():
				default:
				}
			}
		}
	}()
	select {
	case said := <-ready:
		if said != "ready" {
			t.Fatal(said)
		}
	case <-time.After(2 * time.Minute):
		t.Fatal("the file system isn't mounted")
	}
	return x, dir
}

func (x *served) tell(what string) {
	x.t.Helper()
	if _, err := fmt.Fprintln(x.in, what); err != nil {
		x.t.Fatal(err)
	}
	select {
	case <-x.done:
	case <-time.After(2 * time.Minute):
		x.t.Fatalf("%q isn't done", what)
	}
}

func (x *served) set(op string) { x.tell("hang " + op) }

func (x *served) append(lines []string) {
	for _, l := range lines {
		x.tell("append " + l)
	}
}

// TestHanging: whatever a file system lets wait for ever, other logs are read, the
// status is told, and the source ends; when it goes on, no line is lost.
func TestHanging(t *testing.T) {
	for _, glob := range []string{"a.log", "*.log"} {
		for _, op := range []string{"lookup", "getattr", "open", "read", "readdir", "statfs"} {
			if (op == "readdir" || op == "lookup") != (glob == "*.log") && op != "lookup" {
				continue // directories are read for globs, and where a log was rotated
			}
			t.Run(glob+", "+op, func(t *testing.T) {
				t.Parallel()
				h, dir := mountHanging(t)
				other := filepath.Join(t.TempDir(), "b.log")
				write(t, other, text(numbered("b", 0, 3)))
				h.append(numbered("a", 0, 3))
				globs := []string{filepath.Join(dir, glob), other}
				h.set(op)
				x := takeFrom(t, &Files{Globs: globs})
				if op != "statfs" { // of which nothing else depends than whether events are waited for
					select {
					case <-h.waited:
					case <-time.After(2 * time.Minute):
						t.Fatal("it isn't asked")
					}
				}
				has := func(name string, n int) func() bool {
					return func() bool {
						got := 0
						for _, l := range x.lines {
							if strings.Contains(l, " "+name+" ") {
								got++
							}
						}
						return got == n
					}
				}
				x.until("the other log", has("b", 3))
				appendTo(t, other, text(numbered("b", 3, 6)))
				x.until("more of it", has("b", 6))
				if op != "statfs" {
					x.until("the status", func() bool { return strings.Contains(fmt.Sprint(x.src.Status()), "hasn't answered") })
				}
				h.set("")
				x.until("this log", has("a", 3))
				h.append(numbered("a", 3, 6))
				x.until("more of it", has("a", 6))
				h.set(op)
				h.append(numbered("a", 6, 9))
				if op == "read" {
					select {
					case <-h.waited:
					case <-time.After(2 * time.Minute):
						t.Fatal("it isn't asked again")
					}
				}
				ended := make(chan struct{})
				go func() { x.stop(); close(ended) }()
				select {
				case <-ended:
				case <-time.After(10 * leaveAfter):
					t.Fatal("it doesn't end")
				}
				// What comes back has no effect.
				h.set("")
				select {
				case b := <-x.out:
					t.Errorf("%d lines after its end", len(b.Lines))
				case <-time.After(100 * time.Millisecond):
				}
				positions := x.left(filepath.Join(dir, "a.log"))
				y := takeFrom(t, &Files{Globs: globs[:1], Resume: map[string][]Position{
					filepath.Join(dir, "a.log"): onFUSE(positions[filepath.Join(dir, "a.log")]),
				}})
				y.until("the rest", func() bool { return len(y.lines) == 3 })
				if y.lines[0] != numbered("a", 6, 7)[0] {
					t.Errorf("%q", y.lines)
				}
			})
		}
	}
}

// onFUSE are the positions of the file that hangs.
func onFUSE(all []Position) (out []Position) {
	for _, p := range all {
		if p.File.Inode == 2 {
			out = append(out, p)
		}
	}
	return out
}

// TestLeftBehind: who is stuck in one path is left behind some times, not for ever.
func TestLeftBehind(t *testing.T) {
	h, dir := mountHanging(t)
	h.append(numbered("a", 0, 3))
	path := filepath.Join(dir, "a.log")
	h.set("read")
	for range mostStuck {
		x := takeFrom(t, &Files{Globs: []string{path}})
		select {
		case <-h.waited:
		case <-time.After(2 * time.Minute):
			t.Fatal("it isn't asked")
		}
		x.stop()
	}
	x := takeFrom(t, &Files{Globs: []string{path}})
	x.until("the status", func() bool { return strings.Contains(fmt.Sprint(x.src.Status()), "earlier attempts") })
	h.set("")
	x.want(numbered("a", 0, 3)...)
	if !hosttest.Soon(func() bool { return leftBehind(path, 0) == 0 }) {
		t.Fatalf("%d are still counted", leftBehind(path, 0))
	}
}
