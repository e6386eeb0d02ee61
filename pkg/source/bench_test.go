package source

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"testing"
)

// BenchmarkRead reads a log of 64 MB that is there, and BenchmarkFollow line by line
// what is written to one, each with the delivery.
func BenchmarkRead(b *testing.B) {
	var text bytes.Buffer
	for i := 0; text.Len() < 64<<20; i++ {
		fmt.Fprintf(&text, "2026-10-10 14:47:35,%09d host app[1234]: Login failure from 192.0.2.%d port %d\n", i, i%250, i)
	}
	path := filepath.Join(b.TempDir(), "a.log")
	if err := os.WriteFile(path, text.Bytes(), 0o600); err != nil {
		b.Fatal(err)
	}
	b.SetBytes(int64(text.Len()))
	for b.Loop() {
		ctx, cancel := context.WithCancel(b.Context())
		out := make(chan Batch, 4)
		src := &Files{Globs: []string{path}}
		go src.Run(ctx, out)
		for batch := range out {
			if batch.End == int64(text.Len()) {
				break
			}
		}
		cancel()
	}
}

func BenchmarkFollow(b *testing.B) {
	path := filepath.Join(b.TempDir(), "a.log")
	file, err := os.OpenFile(path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		b.Fatal(err)
	}
	defer file.Close()
	ctx, cancel := context.WithCancel(b.Context())
	defer cancel()
	out := make(chan Batch, 4)
	src := &Files{Globs: []string{path}}
	go src.Run(ctx, out)
	line := []byte("2026-10-10 14:47:35,123 host app[1234]: Login failure from 192.0.2.7 port 1234\n")
	for b.Loop() {
		if _, err := file.Write(line); err != nil {
			b.Fatal(err)
		}
		for got := 0; got == 0; {
			batch := <-out
			got = len(batch.Lines)
		}
	}
}
