package banfile

import (
	"bytes"
	"errors"
	"io"
	"reflect"
	"strings"
	"testing"
	"time"
)

var began = time.Date(2026, 1, 31, 12, 0, 0, 0, time.UTC)

func TestParse(t *testing.T) {
	for _, c := range []struct {
		line  string
		want  Record
		wrong string
	}{
		{line: `{"jail":"sshd","ip":"192.0.2.7","time":"2026-01-31T12:00:00Z","bantime":3600,"count":2}`, want: Record{"sshd", "192.0.2.7", "", began, 3600, 2}},
		{line: `{"jail":"sshd","ip":"2001:db8::/64","time":"2026-01-31T13:00:00.9+01:00","bantime":-1}`, want: Record{"sshd", "2001:db8::/64", "", began, ForEver, 0}},
		{line: `{"jail":"web","ip":"session é","address":"192.0.2.7","time":"2026-01-31T12:00:00Z","bantime":0}`, want: Record{"web", "session é", "192.0.2.7", began, 0, 0}},
		{line: `{"jail":"sshd","ip":"192.0.2.7","time":"2026-01-31T12:00:00Z","bantim":3600}`, wrong: `unknown field "bantim"`},
		{line: `{"jail":"sshd","ip":"192.0.2.7"}`, wrong: "it has no time, bantime"},
		{line: `{"jail":"","ip":"192.0.2.7","time":"2026-01-31T12:00:00Z","bantime":1}`, wrong: "it names no jail"},
		{line: `{"jail":"a\nb","ip":"192.0.2.7","time":"2026-01-31T12:00:00Z","bantime":1}`, wrong: "is no name of a jail"},
		{line: `{"jail":"sshd","ip":"","time":"2026-01-31T12:00:00Z","bantime":1}`, wrong: "names nobody"},
		{line: `{"jail":"sshd","ip":"` + strings.Repeat("x", 1025) + `","time":"2026-01-31T12:00:00Z","bantime":1}`, wrong: "ip has 1025 bytes"},
		{line: `{"jail":"sshd","ip":"192.0.2.7","time":"yesterday","bantime":1}`, wrong: "yesterday"},
		{line: `{"jail":"sshd","ip":"192.0.2.7","time":"0001-01-01T00:00:00Z","bantime":1}`, wrong: "no time at which"},
		{line: `{"jail":"sshd","ip":"192.0.2.7","time":"2026-01-31T12:00:00Z","bantime":-2}`, wrong: "bantime is -2"},
		{line: `{"jail":"sshd","ip":"192.0.2.7","time":"2026-01-31T12:00:00Z","bantime":1e30}`, wrong: "bantime: want int64, not number 1e30"},
		{line: `{"jail":"sshd","ip":"192.0.2.7","time":"2026-01-31T12:00:00Z","bantime":"1h"}`, wrong: "bantime: want int64, not string"},
		{line: `{"jail":"sshd","ip":"192.0.2.7","time":"2026-01-31T12:00:00Z","bantime":1,"count":-1}`, wrong: "count is -1"},
		{line: `{"jail":"sshd"} {"jail":"sshd"}`, wrong: "more follows"},
		{line: `sshd 192.0.2.7`, wrong: "no JSON"},
		{line: `192.0.2.7`, wrong: "want an object of JSON, not number"},
		{line: `[]`, wrong: "want an object of JSON, not array"},
		{line: `{"jail":"sshd","ip":"19`, wrong: "no JSON"},
		{line: "{\"jail\":\"\xff\"}", wrong: "not UTF-8"},
	} {
		got, err := Parse([]byte(c.line))
		switch {
		case c.wrong != "" && (err == nil || !strings.Contains(err.Error(), c.wrong)):
			t.Errorf("%s: error %v, want one with %q", c.line, err, c.wrong)
		case c.wrong == "" && (err != nil || got != c.want):
			t.Errorf("%s: %+v, %v; want %+v", c.line, got, err, c.want)
		}
	}
}

func TestReader(t *testing.T) {
	good := `{"jail":"sshd","ip":"192.0.2.7","time":"2026-01-31T12:00:00Z","bantime":3600}`
	long := `{"jail":"` + strings.Repeat("x", LineMost) + `"}`
	r := NewReader(strings.NewReader("\n" + good + "\r\nnothing\n" + long + "\n\n" + good))
	var got []string
	for {
		record, err := r.Next()
		var line *LineError
		if errors.Is(err, io.EOF) {
			break
		}
		if errors.As(err, &line) {
			got = append(got, err.Error())
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, record.IP)
	}
	want := []string{"192.0.2.7", "line 3: it is no JSON: invalid character 'o' in literal null (expecting 'u')", "line 4: it is longer than 16384 bytes", "192.0.2.7"}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	if r.Line() != 6 {
		t.Errorf("line %d, want 6", r.Line())
	}
}

// FuzzParse: what is read is right, and is the same when it was written and read again.
func FuzzParse(f *testing.F) {
	f.Add([]byte(`{"jail":"sshd","ip":"192.0.2.7","time":"2026-01-31T12:00:00Z","bantime":3600,"count":2}`))
	f.Add([]byte(`{"jail":"web","ip":"a\u0000b","address":"2001:db8::1","time":"2026-01-31T13:00:00.9+01:00","bantime":-1}`))
	f.Add([]byte("nothing\n{}\n\n[1]"))
	f.Fuzz(func(t *testing.T, data []byte) {
		r := NewReader(bytes.NewReader(data))
		for lines := 0; ; lines++ {
			record, err := r.Next()
			var line *LineError
			if errors.Is(err, io.EOF) {
				return
			}
			if lines > len(data)+1 {
				t.Fatalf("%d lines in %d bytes", lines, len(data))
			}
			if errors.As(err, &line) {
				continue
			}
			if err != nil {
				t.Fatal(err)
			}
			if err := record.Check(); err != nil {
				t.Fatalf("%+v: %v", record, err)
			}
			var again bytes.Buffer
			if err := Write(&again, []Record{record}); err != nil {
				t.Fatal(err)
			}
			back, err := Parse(bytes.TrimSpace(again.Bytes()))
			if err != nil || back != record {
				t.Fatalf("%+v was written as %s, and read as %+v, %v", record, again.Bytes(), back, err)
			}
		}
	})
}
