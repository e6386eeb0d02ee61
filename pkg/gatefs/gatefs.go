// Package gatefs is a file system that hangs when it is told to, for tests and
// measurements: a folder that shows what is in another one, over which reading, writing
// and the like wait while they are told to. What waits can be killed, unlike on a frozen
// disk. It is served by a process of its own, since one that served itself would wait for
// itself: the same program, started once more, which calls Serve first.
//
//	func main() {
//		if gatefs.Serve() {
//			return
//		}
//		f, err := gatefs.Mount(exec.Command("/proc/self/exe"), at, under)
//		defer f.Close()
//		err = f.Hang("open", "read")
//		err = f.Hang() // all goes on
//
// It needs root and /dev/fuse.
package gatefs

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
	"time"

	"github.com/hanwen/go-fuse/v2/fs"
	"github.com/hanwen/go-fuse/v2/fuse"
)

// gate is a folder over which operations wait while it is closed.
type gate struct {
	mu   sync.Mutex
	ops  map[string]bool // those that wait, also as FOLDER/OPERATION
	open chan struct{}   // closed: they go on
	kept string          // the folder in which is what was synced; empty: nothing is kept
}

// pass waits if an operation is to, on what is under a path.
func (g *gate) pass(ctx context.Context, op, path string) syscall.Errno {
	top, _, _ := strings.Cut(path, "/")
	g.mu.Lock()
	waits, open := g.ops[op] || g.ops["all"] || g.ops[top+"/"+op] || g.ops[top+"/all"], g.open
	g.mu.Unlock()
	if !waits {
		return 0
	}
	select {
	case <-open:
		return 0
	case <-ctx.Done():
		return syscall.EINTR
	}
}

func (g *gate) set(ops ...string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.open != nil {
		close(g.open)
	}
	g.open, g.ops = make(chan struct{}), map[string]bool{}
	for _, op := range ops {
		g.ops[op] = true
	}
}

// keep has a folder hold what is synced from now on.
func (g *gate) keep(dir string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.kept = dir
}

// synced keeps a file as it is now.
func (g *gate) synced(file, path string) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.kept == "" {
		return nil
	}
	data, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	to := filepath.Join(g.kept, path)
	if err := os.MkdirAll(filepath.Dir(to), 0o700); err != nil {
		return err
	}
	return os.WriteFile(to, data, 0o600)
}

// gated is a file or folder of it.
type gated struct {
	fs.LoopbackNode
	gate *gate
}

// pass waits if an operation is to; name is what it concerns in a folder, empty: the node
// itself.
func (n *gated) pass(ctx context.Context, op, name string) syscall.Errno {
	path := n.Path(n.Root())
	if path == "" {
		path = name
	}
	return n.gate.pass(ctx, op, path)
}

func (n *gated) WrapChild(_ context.Context, ops fs.InodeEmbedder) fs.InodeEmbedder {
	if plain, ok := ops.(*fs.LoopbackNode); ok {
		return &gated{LoopbackNode: fs.LoopbackNode{RootData: plain.RootData}, gate: n.gate}
	}
	return ops
}

func (n *gated) Lookup(ctx context.Context, name string, out *fuse.EntryOut) (*fs.Inode, syscall.Errno) {
	if errno := n.pass(ctx, "lookup", name); errno != 0 {
		return nil, errno
	}
	return n.LoopbackNode.Lookup(ctx, name, out)
}

func (n *gated) Open(ctx context.Context, flags uint32) (fs.FileHandle, uint32, syscall.Errno) {
	if errno := n.pass(ctx, "open", ""); errno != 0 {
		return nil, 0, errno
	}
	f, opened, errno := n.LoopbackNode.Open(ctx, flags)
	return &gatedFile{f}, opened, errno
}

func (n *gated) Create(ctx context.Context, name string, flags uint32, mode uint32, out *fuse.EntryOut) (*fs.Inode, fs.FileHandle, uint32, syscall.Errno) {
	if errno := n.pass(ctx, "create", name); errno != 0 {
		return nil, nil, 0, errno
	}
	node, f, opened, errno := n.LoopbackNode.Create(ctx, name, flags, mode, out)
	return node, &gatedFile{f}, opened, errno
}

func (n *gated) Getattr(ctx context.Context, f fs.FileHandle, out *fuse.AttrOut) syscall.Errno {
	if errno := n.pass(ctx, "getattr", ""); errno != 0 {
		return errno
	}
	return n.LoopbackNode.Getattr(ctx, inner(f), out)
}

func (n *gated) Statx(ctx context.Context, f fs.FileHandle, flags, mask uint32, out *fuse.StatxOut) syscall.Errno {
	if errno := n.pass(ctx, "getattr", ""); errno != 0 {
		return errno
	}
	return n.LoopbackNode.Statx(ctx, inner(f), flags, mask, out)
}

func (n *gated) OpendirHandle(ctx context.Context, flags uint32) (fs.FileHandle, uint32, syscall.Errno) {
	if errno := n.pass(ctx, "readdir", ""); errno != 0 {
		return nil, 0, errno
	}
	return n.LoopbackNode.OpendirHandle(ctx, flags)
}

func (n *gated) Unlink(ctx context.Context, name string) syscall.Errno {
	if errno := n.pass(ctx, "unlink", name); errno != 0 {
		return errno
	}
	return n.LoopbackNode.Unlink(ctx, name)
}

func (n *gated) Rename(ctx context.Context, name string, to fs.InodeEmbedder, toName string, flags uint32) syscall.Errno {
	if errno := n.pass(ctx, "rename", name); errno != 0 {
		return errno
	}
	return n.LoopbackNode.Rename(ctx, name, to, toName, flags)
}

func (n *gated) Mkdir(ctx context.Context, name string, mode uint32, out *fuse.EntryOut) (*fs.Inode, syscall.Errno) {
	if errno := n.pass(ctx, "create", name); errno != 0 {
		return nil, errno
	}
	return n.LoopbackNode.Mkdir(ctx, name, mode, out)
}

func (n *gated) Statfs(ctx context.Context, out *fuse.StatfsOut) syscall.Errno {
	if errno := n.pass(ctx, "getattr", ""); errno != 0 {
		return errno
	}
	return n.LoopbackNode.Statfs(ctx, out)
}

func (n *gated) Setattr(ctx context.Context, f fs.FileHandle, in *fuse.SetAttrIn, out *fuse.AttrOut) syscall.Errno {
	if errno := n.pass(ctx, "write", ""); errno != 0 {
		return errno
	}
	return n.LoopbackNode.Setattr(ctx, inner(f), in, out)
}

func (n *gated) Read(ctx context.Context, f fs.FileHandle, dest []byte, off int64) (fuse.ReadResult, syscall.Errno) {
	if errno := n.pass(ctx, "read", ""); errno != 0 {
		return nil, errno
	}
	return inner(f).(fs.FileReader).Read(ctx, dest, off)
}

func (n *gated) Write(ctx context.Context, f fs.FileHandle, data []byte, off int64) (uint32, syscall.Errno) {
	if errno := n.pass(ctx, "write", ""); errno != 0 {
		return 0, errno
	}
	return inner(f).(fs.FileWriter).Write(ctx, data, off)
}

func (n *gated) Fsync(ctx context.Context, f fs.FileHandle, flags uint32) syscall.Errno {
	if errno := n.pass(ctx, "write", ""); errno != 0 {
		return errno
	}
	if errno := inner(f).(fs.FileFsyncer).Fsync(ctx, flags); errno != 0 {
		return errno
	}
	path := n.Path(n.Root())
	return fs.ToErrno(n.gate.synced(filepath.Join(n.RootData.Path, path), path))
}

// gatedFile is an open file. The kernel must not read and write what is under it by
// itself, which it does with the plain one.
type gatedFile struct{ fs.FileHandle }

func inner(f fs.FileHandle) fs.FileHandle {
	if g, ok := f.(*gatedFile); ok {
		return g.FileHandle
	}
	return f
}

func (f *gatedFile) Flush(ctx context.Context) syscall.Errno {
	return f.FileHandle.(fs.FileFlusher).Flush(ctx)
}

func (f *gatedFile) Release(ctx context.Context) syscall.Errno {
	return f.FileHandle.(fs.FileReleaser).Release(ctx)
}

// variable tells a process what to serve: MOUNTED:UNDER.
const variable = "BAILIFF_GATE"

// Serve serves a file system if this process was started by Mount for that, and reports
// whether it was. It is told line by line what is to wait, and where to keep what is synced.
func Serve() bool {
	at, under, ok := strings.Cut(os.Getenv(variable), ":")
	if !ok {
		return false
	}
	var st syscall.Stat_t
	if err := syscall.Stat(under, &st); err != nil {
		fmt.Println(err)
		return true
	}
	g := &gate{}
	root := &fs.LoopbackRoot{Path: under, Dev: uint64(st.Dev)}
	node := &gated{LoopbackNode: fs.LoopbackNode{RootData: root}, gate: g}
	root.RootNode = node
	none := time.Duration(0)
	_, err := fs.Mount(at, node, &fs.Options{EntryTimeout: &none, AttrTimeout: &none, MountOptions: fuse.MountOptions{DirectMount: true}})
	if err != nil {
		fmt.Printf("mount: %v (needs root and /dev/fuse)\n", err)
		return true
	}
	fmt.Println("ready")
	for in := bufio.NewScanner(os.Stdin); in.Scan(); {
		if dir, ok := strings.CutPrefix(in.Text(), "keep "); ok {
			g.keep(dir)
		} else {
			g.set(strings.Fields(in.Text())...)
		}
		fmt.Println("done")
	}
	g.set()
	_ = syscall.Unmount(at, syscall.MNT_DETACH)
	return true
}

// FS is one at work.
type FS struct {
	server *exec.Cmd
	in     io.WriteCloser
	out    *bufio.Scanner
}

// Mount mounts one on a folder, over what is under it. The server is a command that
// comes to Serve.
func Mount(server *exec.Cmd, at, under string) (*FS, error) {
	server.Env = append(server.Environ(), variable+"="+at+":"+under)
	f := &FS{server: server}
	var err error
	if f.in, err = server.StdinPipe(); err != nil {
		return nil, err
	}
	out, err := server.StdoutPipe()
	if err != nil {
		return nil, err
	}
	f.out = bufio.NewScanner(out)
	if err := server.Start(); err != nil {
		return nil, err
	}
	if err := f.answer("ready"); err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

func (f *FS) answer(want string) error {
	if !f.out.Scan() || f.out.Text() != want {
		return fmt.Errorf("the file system that hangs says %q", f.out.Text())
	}
	return nil
}

// Hang has operations wait: lookup, open, create, getattr, read, write, readdir, rename,
// unlink, all; none: they go on. As FOLDER/OPERATION, only those on what is under a folder
// of the top, and on that itself.
func (f *FS) Hang(ops ...string) error {
	if _, err := fmt.Fprintln(f.in, strings.Join(ops, " ")); err != nil {
		return err
	}
	return f.answer("done")
}

// Keep has a folder hold what a power cut would leave: each file as it was when it was synced
// last, from now on. The content of a file alone needs to be synced for that, not its folder; one
// that is removed is kept.
func (f *FS) Keep(dir string) error {
	if _, err := fmt.Fprintln(f.in, "keep "+dir); err != nil {
		return err
	}
	return f.answer("done")
}

// Close unmounts it.
func (f *FS) Close() {
	f.in.Close()
	_ = f.server.Wait()
}
