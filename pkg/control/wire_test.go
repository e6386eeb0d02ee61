package control

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/user"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"bailiff/pkg/hosttest"
)

// echoCommander answers with what it was asked.
type echoCommander struct{ asked atomic.Int64 }

func (e *echoCommander) Command(r *Request) (any, error) {
	e.asked.Add(1)
	var args List
	for _, w := range r.Words {
		args = append(args, w.Value())
	}
	switch args[0] {
	case "fail":
		return nil, &Exception{Module: "fail2ban.exceptions", Class: "UnknownJailException", Args: []any{"x"}}
	case "shapes":
		return List{nil, true, 7, 2.5, "text é", List{"a"}, Tuple{"b", 1}, Dict{Keys: []string{"k"}, Values: map[string]any{"k": List{}}}}, nil
	}
	return args, nil
}

func wireSocket(t *testing.T) (*echoCommander, string, func() string) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "sock")
	c := &echoCommander{}
	var mu sync.Mutex
	var warned []string
	s, err := Listen(path, &fake{}, Options{Commander: c, Warn: func(text string) {
		mu.Lock()
		defer mu.Unlock()
		warned = append(warned, text)
	}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return c, path, func() string {
		mu.Lock()
		defer mu.Unlock()
		return strings.Join(warned, "\n")
	}
}

func TestWireRoundTrip(t *testing.T) {
	_, path, _ := wireSocket(t)
	c, err := DialFail2ban(path, time.Second)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	for range 3 { // many on one connection
		v, err := c.Do([]any{"echo", "sshd", 7, List{"a", List{"b"}}}, time.Second)
		if got := fmt.Sprintf("%v %v", v, err); got != "[echo sshd 7 [a [b]]] <nil>" {
			t.Error(got)
		}
	}
	v, err := c.Do([]any{"shapes"}, time.Second)
	if got := fmt.Sprintf("%T %#v %v", v, v, err); !strings.Contains(got, `control.List{interface {}(nil), true, 7, 2.5, "text é", control.List{"a"}, control.Tuple{"b", 1}, control.Dict`) {
		t.Error(got)
	}
	_, err = c.Do([]any{"fail"}, time.Second)
	var e *Exception
	if !errors.As(err, &e) || e.Class != "UnknownJailException" || e.Module != "fail2ban.exceptions" || fmt.Sprint(e.Args) != "[x]" {
		t.Errorf("%#v", err)
	}
	// Our own API on the same socket.
	if _, err := NewClient(path).Status(); err != nil {
		t.Error(err)
	}
}

// TestWirePython asks with Python's own pickles, of every protocol, and looks at
// the types that come back.
func TestWirePython(t *testing.T) {
	_, path, _ := wireSocket(t)
	out := hosttest.Python(t, nil, "", "-c", `
import pickle, socket, sys
END = b"<F2B_END_COMMAND>"
s = socket.socket(socket.AF_UNIX); s.connect(sys.argv[1])
def ask(data):
    s.sendall(data + END)
    buf = b""
    while END not in buf: buf += s.recv(4096)
    return pickle.loads(buf.split(END)[0])
for protocol in range(6):
    print(protocol, ask(pickle.dumps(["echo", "ssh\u00e9", 7, True, None, ["a", ("b",)]], protocol)))
print([type(x).__name__ for x in ask(pickle.dumps(["shapes"]))[1]])
sys.path.insert(0, "/usr/lib/python3/dist-packages")
a, e = ask(pickle.dumps(["fail"]))
print(a, type(e).__module__, type(e).__name__, e.args)
s.sendall(b"<F2B_CLOSE_COMMAND>" + END)
print(s.recv(10))
`, path)
	want := ""
	for p := range 6 {
		want += fmt.Sprintf("%d (0, ['echo', 'sshé', 7, True, None, ['a', ('b',)]])\n", p)
	}
	want += "['NoneType', 'bool', 'int', 'float', 'str', 'list', 'tuple', 'dict']\n1 fail2ban.exceptions UnknownJailException ('x',)\nb''\n"
	if string(out) != want {
		t.Errorf("got\n%s\nwant\n%s", out, want)
	}
}

// hostile are requests that no client sends.
var hostile = map[string]string{
	"a pickle that names code":   "cos\nsystem\n(S'touch /tmp/bailiff-was-here'\ntR.",
	"one that builds an object":  "\x80\x02cbuiltins\neval\nq\x00X\x04\x00\x00\x001+1\nq\x01\x85q\x02Rq\x03.",
	"a class alone":              "(lp0\nccopy_reg\n_reconstructor\na.",
	"a persistent reference":     "(lp0\nPsomething\na.",
	"a length that lies":         "\x80\x04\x8e\xff\xff\xff\xff\xff\xff\xff\x7fabc.",
	"a string longer than there": "\x80\x02X\xff\xff\xff\x7fabc.",
	"a million brackets":         strings.Repeat("]", 1_000_000) + ".",
	"a million nested lists":     strings.Repeat("(l", 500_000) + strings.Repeat("a", 499_999) + ".",
	"marks without end":          strings.Repeat("(", 1_000_000),
	"no list":                    "I7\n.",
	"an empty one":               "(lp0\n.",
	"nothing":                    "",
	"text":                       "status\n",
	"a dict":                     "(dp0\nVa\nVb\ns.",
	"bytes at random":            "\x80\x05\x95\x00\x01\x02\xff\xfe\xfd",
}

func TestWireHostile(t *testing.T) {
	d, path, warned := wireSocket(t)
	for name, request := range hostile {
		c, err := net.Dial("unix", path)
		if err != nil {
			t.Fatal(err)
		}
		_ = c.SetDeadline(time.Now().Add(20 * time.Second))
		// What begins as HTTP does goes to HTTP; a byte in front keeps it here.
		if len(request) == 0 || request[0] >= 'A' && request[0] <= 'Z' && request[0] != 'I' {
			request = "(" + request
		}
		if _, err := c.Write(append([]byte(request), endCommand...)); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		var answer []byte
		chunk := make([]byte, 4096)
		for !bytes.Contains(answer, endCommand) {
			n, err := c.Read(chunk)
			answer = append(answer, chunk[:n]...)
			if err != nil {
				t.Errorf("%s: %v", name, err)
				break
			}
		}
		if _, err := decodeAnswer(bytes.TrimSuffix(answer, endCommand)); err == nil || !strings.Contains(err.Error(), "request refused") {
			t.Errorf("%s: answered %v", name, err)
		}
		c.Close()
	}
	if n := d.asked.Load(); n != 0 {
		t.Errorf("%d of them were carried out", n)
	}
	if warned() == "" {
		t.Error("nobody was told")
	}
	// A request without end, and one that is longer than any may be.
	c, err := net.Dial("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	go func() {
		block := bytes.Repeat([]byte("("), 1<<20)
		for range 20 {
			if _, err := c.Write(block); err != nil {
				return
			}
		}
	}()
	_ = c.SetReadDeadline(time.Now().Add(20 * time.Second))
	if all, _ := io.ReadAll(c); !bytes.Contains(all, []byte("request refused")) {
		t.Errorf("a request of 20 MiB: %.200q", all)
	}
}

// TestWireCrowd: clients that never read, and never speak, keep nobody out.
func TestWireCrowd(t *testing.T) {
	begun := time.Now()
	_, path, warned := wireSocket(t)
	request, err := encodeCommand([]any{"echo", strings.Repeat("x", 100_000)})
	if err != nil {
		t.Fatal(err)
	}
	request = append(request, endCommand...)
	var crowd []net.Conn
	for range 1000 {
		c, err := net.Dial("unix", path)
		if err != nil {
			t.Fatal(err)
		}
		crowd = append(crowd, c)
		go func() {
			for range 10 { // and not one answer is read
				if _, err := c.Write(request); err != nil {
					return
				}
			}
		}()
	}
	defer func() {
		for _, c := range crowd {
			c.Close()
		}
	}()
	for range 5 {
		c, err := DialFail2ban(path, time.Second)
		if err != nil {
			t.Fatal(err)
		}
		if v, err := c.Do([]any{"ping"}, 90*time.Second); fmt.Sprint(v) != "[ping]" {
			t.Errorf("beside the crowd: %v %v", v, err)
		}
		c.Close()
	}
	// Once a minute it is told, by whatever time a machine needs for this.
	if n, most := strings.Count(warned(), "too many clients"), 1+int(time.Since(begun)/time.Minute); n < 1 || n > most {
		t.Errorf("it was told %d times, want 1 to %d: %s", n, most, warned())
	}
}

// TestReadSocket: who may only ask can ask, and nothing else.
func TestReadSocket(t *testing.T) {
	path := filepath.Join(t.TempDir(), "read.sock")
	d := &echoCommander{}
	s, err := Listen(path, &fake{}, Options{Commander: d, ReadGroup: "nogroup"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	fi, err := os.Stat(path)
	if err != nil || fi.Mode().Perm() != 0o660 {
		t.Errorf("mode %v %v", fi.Mode(), err)
	}
	if g, err := user.LookupGroup("nogroup"); err != nil || fmt.Sprint(fi.Sys().(*syscall.Stat_t).Gid) != g.Gid {
		t.Errorf("group %v %v", fi.Sys().(*syscall.Stat_t).Gid, err)
	}
	c, err := DialFail2ban(path, time.Second)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	for _, words := range []string{"ping", "version", "status", "status sshd", "banned", "banned 192.0.2.7", "get sshd banip", "get loglevel"} {
		var args []any
		for _, w := range strings.Fields(words) {
			args = append(args, w)
		}
		if _, err := c.Do(args, time.Second); err != nil {
			t.Errorf("%s: %v", words, err)
		}
	}
	allowed := d.asked.Load()
	for _, words := range []string{"stop", "unban --all", "set sshd banip 192.0.2.7", "reload", "get sshd action mail password", "multi-set x", "server-stream", "sleep 1", "flushlogs", "add x"} {
		var args []any
		for _, w := range strings.Fields(words) {
			args = append(args, w)
		}
		var e *Exception
		if _, err := c.Do(args, time.Second); !errors.As(err, &e) || e.Class != "PermissionError" {
			t.Errorf("%s: %v", words, err)
		}
	}
	if d.asked.Load() != allowed {
		t.Error("something was carried out")
	}
	client := NewClient(path)
	if _, err := client.Status(); err != nil {
		t.Error(err)
	}
	if _, err := client.Unban(UnbanRequest{All: true}); err == nil || !strings.Contains(err.Error(), "can only be asked") {
		t.Errorf("unban: %v", err)
	}
	if _, err := client.Reload(); err == nil {
		t.Error("reload")
	}
	if _, err := Listen(filepath.Join(t.TempDir(), "x"), &fake{}, Options{ReadGroup: "no-such-group"}); err == nil {
		t.Error("a group that is not there")
	}
}

func FuzzDecodeRequest(f *testing.F) {
	for _, h := range hostile {
		if len(h) < 1000 {
			f.Add([]byte(h))
		}
	}
	ok, err := encodeCommand([]any{"set", "sshd", "banip", "192.0.2.7", Tuple{1, nil, true}})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(ok)
	f.Fuzz(func(t *testing.T, data []byte) {
		for role := Reader; role <= Owner; role++ {
			var r *Request
			var err error
			took := allocated(func() { r, err = DecodeRequest(data, role) })
			if most := uint64(64<<10 + 200*len(data)); took > most {
				t.Errorf("%d bytes took %d of memory", len(data), took)
			}
			if err != nil {
				continue
			}
			if len(r.Words) == 0 {
				t.Error("an empty request was taken")
			}
			values := List{}
			for _, w := range r.Words {
				values = append(values, w.Value())
			}
			if _, err := EncodeAnswer(values, nil); err != nil {
				t.Errorf("%q: what was decoded can't be encoded: %v", data, err)
			}
			if shown := r.Shown(100); len(shown) > 110 {
				t.Errorf("%q: shown at length: %s", data, shown)
			}
			_ = r.permit()
		}
	})
}

// allocated is how many bytes a function took.
func allocated(f func()) uint64 {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	f()
	runtime.ReadMemStats(&after)
	return after.TotalAlloc - before.TotalAlloc
}
