package source

import (
	"bytes"
	"io"
	"os"
	"strings"
	"testing"
	"testing/iotest"

	"bailiff/pkg/hosttest"
)

// pythonLines decodes files as Python does: its codecs are what logencoding
// names.
const pythonLines = `
import sys
for name in sys.argv[1:]:
    raw, enc = open(name, 'rb').read(), name.rsplit('/', 1)[1]
    for line in raw.decode(enc, 'replace').split('\n'):
        sys.stdout.buffer.write(line.rstrip('\r').lstrip('\ufeff').encode() + b'\n')
`

// TestEncodings reads the same bytes here and with Python's codecs.
func TestEncodings(t *testing.T) {
	text := "first line\r\nBjörn œ’Ā Привет 日本\nlast 192.0.2.7 Ċ਀ line"
	bad := "ok\nend \xff\xc3 \xe2\x82 \xf0\x9f\x98 \xf4\x90\x80\x80 \xed\xa0\x80 \xc0\xaf \xe2\x28\xa1 x\nlast"
	encode := map[string]string{"utf-16le": "", "utf-16be": "", "utf-16": "", "utf-32le": "", "utf-32be": ""}
	for _, c := range []struct{ enc, text string }{
		{"utf-8", text},
		{"utf-8", bad},
		{"ascii", text},
		{"latin-1", text},
		{"iso8859-15", "Bj\xf6rn \xa4 \xbd\nx"},
		{"cp1251", "\xcf\xf0\xe8\xe2\xe5\xf2\nx"},
		{"koi8-r", "\xf0\xd2\xc9\nx"},
		{"cp1252", "Bj\xf6rn \x80 \x92\nx"},
		{"shift_jis", "\x93\xfa\x96\x7b\nx"},
		{"gb18030", "\xc8\xd5\xb1\xbe\nx"},
		{"cp437", "\x81\x82\nx"},
		{"utf-16le", text},
		{"utf-16be", text},
		{"utf-32le", text},
		{"utf-32be", text},
	} {
		raw := []byte(c.text)
		if _, wide := encode[c.enc]; wide {
			e, err := LookupEncoding(c.enc)
			if err != nil {
				t.Fatal(err)
			}
			if raw, err = e.text.NewEncoder().Bytes(raw); err != nil {
				t.Fatal(err)
			}
		}
		file := t.TempDir() + "/" + c.enc
		if err := os.WriteFile(file, raw, 0o644); err != nil {
			t.Fatal(err)
		}
		want := hosttest.Python(t, nil, "", "-c", pythonLines, file)
		enc, err := LookupEncoding(c.enc)
		if err != nil {
			t.Errorf("%s: %v", c.enc, err)
			continue
		}
		for _, r := range []io.Reader{bytes.NewReader(raw), iotest.OneByteReader(bytes.NewReader(raw)), iotest.HalfReader(bytes.NewReader(raw))} {
			if got := scanAll(t, r, enc); got != string(want) {
				t.Errorf("%s: got\n%q, Python has\n%q", c.enc, got, want)
			}
		}
		// The follower's reader cuts at the same places; it keeps a last line without
		// its newline back.
		f, err := os.Open(file)
		if err != nil {
			t.Fatal(err)
		}
		lr := &lineReader{file: f, enc: enc}
		got := ""
		for {
			lines, err := lr.read()
			if err != nil {
				t.Fatal(err)
			}
			if len(lines) == 0 {
				break
			}
			for _, l := range lines {
				got += string(l) + "\n"
			}
		}
		f.Close()
		if whole := string(want[:bytes.LastIndexByte(want[:len(want)-1], '\n')+1]); got != whole {
			t.Errorf("%s: the follower reads\n%q, Python\n%q", c.enc, got, whole)
		}
	}
	if _, err := LookupEncoding("klingon"); err == nil || err.Error() != "unknown encoding: klingon" {
		t.Errorf("klingon: %v", err)
	}
}

func scanAll(t *testing.T, r io.Reader, enc *Encoding) string {
	t.Helper()
	s := NewScanner(r, enc)
	var b strings.Builder
	for {
		line, err := s.Next()
		if err == io.EOF {
			return b.String()
		}
		if err != nil {
			t.Fatal(err)
		}
		b.Write(line)
		b.WriteByte('\n')
	}
}

func TestScannerLongLine(t *testing.T) {
	long := strings.Repeat("a", MaxLine) + strings.Repeat("b", 3*MaxLine+17)
	for _, cut := range []func(io.Reader) io.Reader{
		func(r io.Reader) io.Reader { return r },
		iotest.HalfReader,
	} {
		got := scanAll(t, cut(strings.NewReader("x\n"+long+"\ny\n")), nil)
		if want := "x\n" + long[:MaxLine] + "\ny\n"; got != want {
			t.Errorf("got %d bytes, want %d: the line cut, the next one whole", len(got), len(want))
		}
	}
	got := scanAll(t, strings.NewReader(long), nil)
	if got != long[:MaxLine]+"\n" {
		t.Errorf("a last line: got %d bytes, want %d", len(got), MaxLine+1)
	}
}

func TestLocaleEncoding(t *testing.T) {
	for _, c := range []struct {
		env  map[string]string
		want string
	}{
		{nil, "utf-8"},
		{map[string]string{"LANG": "C"}, "utf-8"},
		{map[string]string{"LANG": "C.UTF-8"}, "UTF-8"},
		{map[string]string{"LANG": "en_US.utf8", "LC_ALL": "C"}, "utf-8"},
		{map[string]string{"LANG": "de_DE.ISO-8859-15@euro"}, "ISO-8859-15"},
	} {
		if got := localeEncoding(func(k string) string { return c.env[k] }); got != c.want {
			t.Errorf("%v: %q, want %q", c.env, got, c.want)
		}
	}
}
