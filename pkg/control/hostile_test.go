package control

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"
)

// bombs are requests that cost their sender little, and would cost a reader that
// believes them much.
func bombs() map[string]string {
	many := func(s string, n int) string { return strings.Repeat(s, n) }
	laughs := "]q\x00(X\x03\x00\x00\x00hahe" // a list, and then lists of ten of the one before
	for i := range 30 {
		laughs += "]q" + string(rune(i+1)) + "(" + many("h"+string(rune(i)), 10) + "e"
	}
	return map[string]string{
		"four million lists in a frame":        "\x80\x04\x95\x00\x09\x3d\x00\x00\x00\x00\x00" + many("]", 4_000_000),
		"eight million dicts":                  "(" + many("}", 7_900_000) + "l.",
		"a number of four million digits":      "(L" + many("9", 4_000_000) + "L\nl.",
		"the same as I":                        "(I" + many("9", 900_000) + "\nl.",
		"the same as LONG4":                    "(\x8b\x00\x00\x10\x00" + many("\x7f", 1<<20) + "l.",
		"the same as LONG1":                    "(\x8a\xff" + many("\x7f", 255) + "l.",
		"a float of many digits":               "(F" + many("9", 900_000) + "\nl.",
		"one that is too long by a text":       "(X\x01\x00\x10\x00" + many("x", 1<<20+1) + "l.",
		"a million notes":                      "(Vx\n" + many("\x94", 900_000) + "l.",
		"a million numbered notes":             "(Vx\n" + many("p100\n", 100_000) + "l.",
		"one text taken a million times":       "(X\x00\x80\x00\x00" + many("x", 32<<10) + "q\x00" + many("h\x00", 400_000) + "l.",
		"one text taken five thousand times":   "(X\x00\x80\x00\x00" + many("x", 32<<10) + "q\x00" + many("h\x00", 5_000) + "l.",
		"a billion laughs":                     laughs + ".",
		"a list that holds itself":             "]q\x00h\x00a.",
		"one that holds itself, twice":         "]q\x00(h\x00h\x00e.",
		"marks":                                many("(", 1_000_000),
		"lists in lists by append":             many("]", 5000) + many("a", 4999) + ".",
		"tuples in tuples":                     "N" + many("\x85", 9_000) + ".",
		"empty texts":                          "(" + many("\x8c\x00", 500_000) + "l.",
		"frames in a frame":                    "\x95\x10\x00\x00\x00\x00\x00\x00\x00" + many("\x95\x00\x00\x00\x00\x00\x00\x00\x00", 1000),
		"a frame that ends early":              "\x80\x04\x95\x03\x00\x00\x00\x00\x00\x00\x00(Vping\nl.",
		"a frame that is longer than anything": "\x80\x04\x95\xff\xff\xff\xff\xff\xff\xff\x7f(Vping\nl.",
		"a frame that ends behind the request": "\x80\x04\x95\x60\x00\x00\x00\x00\x00\x00\x00(Vping\nl.",
		"a text that lies a little":            "(X\x20\x00\x00\x00ping",
		"one in eight bytes":                   "(\x8d\xff\xff\xff\xff\xff\xff\xff\xffping",
		"protocol 9":                           "\x80\x09(Vping\nl.",
		"duplicates":                           "(Vx\n" + many("2", 900_000) + "l.",
		"many protocols and no end":            many("\x80\x04", 500_000),
		"a note of nothing":                    "(q\x00l.",
		"one that is not there":                "(h\x07l.",
		"text over the mark":                   "Vx\n(al.",
		"digits that are none":                 "(L1_000L\nl.",
		"a set":                                "\x80\x04\x8f(Vping\n\x90.",
		"a bytearray":                          "\x80\x05(\x96\x04\x00\x00\x00\x00\x00\x00\x00pingl.",
		"an instance":                          "(ios\nsystem\n.",
		"an object":                            "(cos\nsystem\no.",
		"built":                                "(Vping\nl}b.",
		"an extension":                         "\x82\x01.",
		"a buffer":                             "\x97.",
		"a \\N of Python's":                    "(S'\\N{BULLET}'\nl.",
		"half a surrogate":                     "(X\x03\x00\x00\x00\xed\xa0\x80l.",
	}
}

// TestBombs: none is taken, for whomever, and none takes memory that it hasn't sent.
func TestBombs(t *testing.T) {
	for name, data := range bombs() {
		for role := Reader; role <= Owner; role++ {
			if role == Owner && (strings.Contains(name, "five thousand") || strings.HasPrefix(name, "one that is too long") || strings.HasPrefix(name, "a million numbered")) {
				continue // there the owner has more room
			}
			var r *Request
			var err error
			sent := []byte(data)
			took := allocated(func() { r, err = DecodeRequest(sent, role) })
			if err == nil {
				t.Errorf("%s: taken from role %d: %s", name, role, r.Shown(100))
			}
			most := uint64(4 << 20)
			if role == Owner {
				most = 40 << 20
			}
			if took > min(most, uint64(64<<10+200*len(data))) {
				t.Errorf("%s: %d bytes took %d of memory for role %d", name, len(data), took, role)
			}
		}
	}
}

// TestForms: the ways in which a client may write a word come to the same.
func TestForms(t *testing.T) {
	for data, want := range map[string]string{
		"(Vping\nl.":                    "['ping']",
		"(S'ping'\nl.":                  "['ping']",
		"(S\"p'\\\"\\x41\\n\\101\"\nl.": `['p\'"A\nA']`,
		"(U\x04pingt.":                  "['ping']",
		"(T\x04\x00\x00\x00pingl.":      "['ping']",
		"\x80\x04\x95\x0b\x00\x00\x00\x00\x00\x00\x00](\x8c\x04ping\x94e.":                   "['ping']",
		"](C\x04pingB\x04\x00\x00\x00pinge.":                                                 "['ping', 'ping']",
		"]\x8d\x04\x00\x00\x00\x00\x00\x00\x00pinga.":                                        "['ping']",
		"(V\\u00e9\\U0001F600 \\x\xe9\nl.":                                                   `['é😀 \\xé']`,
		"(I01\nI00\nI7\nL-12345678901234567890L\nL5\nl.":                                     "[True, False, 7, -12345678901234567890, 5]",
		"(K\xffM\xff\xffJ\xff\xff\xff\xff\x8a\x02\x00\x80\x8a\x00\x8b\x01\x00\x00\x00\x80l.": "[255, 65535, -1, -32768, 0, -128]",
		"(G\x40\x04\x00\x00\x00\x00\x00\x00F2.5\nN\x88\x89l.":                                "[2.5, 2.5, None, True, False]",
		"(Vx\n(lp0\n](Vy\nea)Vz\n\x85l.":                                                     "['x', [['y']], (), ('z',)]",
		"(Vx\np7\ng7\nr\x00\x01\x00\x00j\x00\x01\x00\x00l.":                                  "['x', 'x', 'x']",
		"(X\x05\x00\x00\x00/\xed\xb3\xbf!l.":                                                 `['/` + "\xff" + `!']`, // a path that is no UTF-8, as Python writes it
	} {
		r, err := DecodeRequest([]byte(data), Reader)
		if err != nil {
			t.Errorf("%q: %v", data, err)
			continue
		}
		want := strings.ReplaceAll(want, "\xff", "\uFFFD")
		if got := strings.ReplaceAll(r.Shown(1000), "\xff", "\uFFFD"); got != want {
			t.Errorf("%q: %s, want %s", data, got, want)
		}
	}
}

// asker is a connection of a test's.
type asker struct {
	net.Conn
	buf []byte
}

func dial(t *testing.T, path string) *asker {
	t.Helper()
	c, err := net.Dial("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	_ = c.SetDeadline(time.Now().Add(30 * time.Second))
	return &asker{Conn: c}
}

// answer reads one answer.
func (a *asker) answer() (any, error) {
	chunk := make([]byte, 4096)
	for {
		if i := bytes.Index(a.buf, endCommand); i >= 0 {
			data := a.buf[:i]
			a.buf = a.buf[i+len(endCommand):]
			return decodeAnswer(data)
		}
		n, err := a.Read(chunk)
		a.buf = append(a.buf, chunk[:n]...)
		if err != nil && n == 0 {
			return nil, fmt.Errorf("no answer: %w", err)
		}
	}
}

// readSocket is a socket over which can only be asked.
func readSocketFor(t *testing.T, d Commander) (string, *Server) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "read.sock")
	s, err := Listen(path, &fake{}, Options{Commander: d, ReadGroup: "nogroup"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return path, s
}

// TestBombsOverSocket: ten clients send what is refused, all at the same time; each
// has its answer, what is behind it on the connection is carried out, and the memory
// is back.
func TestBombsOverSocket(t *testing.T) {
	d := &echoCommander{}
	path, _ := readSocketFor(t, d)
	ping, err := encodeCommand([]any{"ping"})
	if err != nil {
		t.Fatal(err)
	}
	ping = append(ping, endCommand...)
	bomb := append([]byte("(L"+strings.Repeat("9", 4_000_000)+"L\nl."), endCommand...)
	runtime.GC()
	var before, during runtime.MemStats
	runtime.ReadMemStats(&before)
	const clients = 10
	done := make(chan error, clients)
	for range clients {
		c := dial(t, path)
		go func() { _, _ = c.Write(bomb); _, _ = c.Write(ping) }()
		go func() {
			_, err := c.answer()
			if err == nil || !strings.Contains(err.Error(), "a number in it") {
				done <- fmt.Errorf("answered %w", err)
				return
			}
			_, err = c.answer()
			done <- err
		}()
	}
	for range clients {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
	runtime.ReadMemStats(&during)
	if took := during.TotalAlloc - before.TotalAlloc; took > 8<<20 {
		t.Errorf("it took %d bytes in all", took)
	}
	if d.asked.Load() != clients {
		t.Errorf("%d of %d were carried out", d.asked.Load(), clients)
	}
}

// TestRequestsInTurn: requests that come in pieces, in one piece, and around others'
// ends are told apart.
func TestRequestsInTurn(t *testing.T) {
	_, path, _ := wireSocket(t)
	c := dial(t, path)
	one := func(s string) string { return "(Vecho\nV" + s + "\nl.<F2B_END_COMMAND>" }
	go func() {
		_, _ = c.Write([]byte(one("a") + one("b<F2B_END") + one("c")))
		for _, b := range []byte(one("d") + "<F2B_END_COMMAND>" + one("e") + "(Vecho\n<F2B_END_COMMAND>" + one("f") + "<F2B_CLOSE_COMMAND><F2B_END_COMMAND>") {
			_, _ = c.Write([]byte{b})
		}
	}()
	for _, want := range []string{"[echo a]", "[echo b<F2B_END]", "[echo c]", "[echo d]", "too early", "[echo e]", "too early", "[echo f]"} {
		v, err := c.answer()
		got := fmt.Sprint(v)
		if err != nil {
			got = err.Error()
		}
		if !strings.Contains(got, want) {
			t.Errorf("%s, want %s", got, want)
		}
	}
	if v, err := c.answer(); err == nil {
		t.Errorf("after the end: %v", v)
	}
}

// pieces gives out data so many bytes at a time.
type pieces struct {
	data []byte
	size int
}

func (p *pieces) Read(b []byte) (int, error) {
	if len(p.data) == 0 {
		return 0, io.EOF
	}
	n := copy(b[:min(len(b), p.size)], p.data)
	p.data = p.data[n:]
	return n, nil
}

// requestsOf reads a connection's requests as the server does.
func requestsOf(data []byte, size int) (out []string) {
	in := newRequestReader(&pieces{data, size})
	for {
		words, err := readPickle(in, &readerLimits)
		text := (&Request{Words: words}).Shown(200)
		if err != nil {
			text = err.Error()
		}
		out = append(out, text)
		if in.skip(maxRefused) != nil {
			return out
		}
	}
}

// FuzzRequestStream: where the pieces of what a client sends are cut makes no
// difference, and what is read takes memory by its size.
func FuzzRequestStream(f *testing.F) {
	end := string(endCommand)
	f.Add([]byte("(Vping\nl." + end + "(Vstatus\nl.junk" + end))
	f.Add([]byte("<<F2B_END_COMMAN" + end + "(V<F2B_END_\nl." + end))
	f.Add([]byte("(X\xff\x00\x00\x00ab" + end + end + "(" + end))
	f.Fuzz(func(t *testing.T, data []byte) {
		var whole []string
		took := allocated(func() { whole = requestsOf(data, len(data)+1) })
		if most := uint64(64<<10 + 400*len(data)); took > most {
			t.Errorf("%d bytes took %d of memory", len(data), took)
		}
		for _, size := range []int{1, 7, 16, 17, 18} {
			if got := requestsOf(data, size); !slices.Equal(got, whole) {
				t.Errorf("in pieces of %d: %q, want %q", size, got, whole)
			}
		}
	})
}
