package logs

import (
	"bytes"
	"testing"
	"time"
)

func TestWrite(t *testing.T) {
	for _, kind := range Kinds() {
		o := Options{Kind: kind, Lines: 3000, Share: 0.2, Seed: 7, Start: time.Date(2026, 1, 31, 9, 0, 0, 0, time.UTC)}
		var a, b bytes.Buffer
		if err := Write(&a, o); err != nil {
			t.Fatal(err)
		}
		if err := Write(&b, o); err != nil || !bytes.Equal(a.Bytes(), b.Bytes()) {
			t.Errorf("%s: the same seed makes another log, %v", kind, err)
		}
		if n := bytes.Count(a.Bytes(), []byte("\n")); n != o.Lines {
			t.Errorf("%s: %d lines", kind, n)
		}
		o.Seed++
		b.Reset()
		if err := Write(&b, o); err != nil || bytes.Equal(a.Bytes(), b.Bytes()) {
			t.Errorf("%s: another seed makes the same log, %v", kind, err)
		}
	}
	if err := Write(&bytes.Buffer{}, Options{Kind: "none"}); err == nil {
		t.Error("an unknown kind is taken")
	}
}
