// Command promises looks whether bailiff keeps what its documents promise where time or
// memory is concerned: answers while something outside hangs, the way from a line to the
// kernel beside clients that mean harm, lists beside nft(8), what others lose by the
// daemon, a table that another hand removed, memory for millions of addresses, and what
// an idle daemon costs. Each is measured against something else in the same run, so that
// a slow or busy machine breaks no promise. The real program runs in network namespaces.
//
// It prints Markdown, and with --write puts it into bench/README.md. It ends with 1 if a
// promise is broken, and says which. Run it as root from the project's root: make
// promises, or make bench.
package main

import (
	"bytes"
	"cmp"
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"bailiff/bench/figures"
	"bailiff/bench/section"
	"bailiff/pkg/gatefs"
	"bailiff/pkg/netlab"
)

func main() {
	if gatefs.Serve() || floodIfAsked() {
		return
	}
	bailiff := flag.String("bailiff", "bin/bailiff", "the `program`")
	write := flag.String("write", "", "a `file` in which the section of each part is replaced")
	quick := flag.Bool("quick", false, "fewer rounds, and fewer addresses")
	only := flag.String("only", "", "`parts` to measure, with commas: "+strings.Join(partNames(), ", "))
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, *bailiff, *write, *only, *quick); err != nil {
		fmt.Fprintln(os.Stderr, "promises:", err)
		os.Exit(1)
	}
}

// parts in the order in which they are measured.
var parts = []struct {
	name    string
	measure func(*bench) error
}{
	{"answers", (*bench).answers},
	{"latency", (*bench).latency},
	{"fair", (*bench).fair},
	{"burst", (*bench).burst},
	{"million", (*bench).million},
	{"lists", (*bench).lists},
	{"packets", (*bench).packets},
	{"table", (*bench).table},
	{"memory", (*bench).memory},
	{"metrics", (*bench).metrics},
	{"idle", (*bench).idle},
	{"confined", (*bench).confined},
}

func partNames() (out []string) {
	for _, p := range parts {
		out = append(out, p.name)
	}
	return out
}

// bench is one run.
type bench struct {
	ctx    context.Context
	dir    string
	lab    *netlab.Lab
	prog   string
	quick  bool
	out    bytes.Buffer
	hosts  int
	broken []string
	kept   int
}

// some is a number of rounds, or a smaller one where it is to be quick.
func (b *bench) some(all, few int) int {
	if b.quick {
		return few
	}
	return all
}

// promise notes whether one is kept.
func (b *bench) promise(kept bool, format string, args ...any) {
	if kept {
		b.kept++
		return
	}
	text := fmt.Sprintf(format, args...)
	b.broken = append(b.broken, text)
	fmt.Fprintln(os.Stderr, "BROKEN:", text)
}

// table writes the head of a table.
func (b *bench) head(text string, columns ...string) {
	fmt.Fprintf(&b.out, "%s\n\n| %s |\n|%s\n", text, strings.Join(columns, " | "), strings.Repeat(" --- |", len(columns)))
}

func (b *bench) row(cells ...string) {
	fmt.Fprintf(&b.out, "| %s |\n", strings.Join(cells, " | "))
	fmt.Fprintln(os.Stderr, strings.Join(cells, " | "))
}

// load is how many programs wanted the processors in the last minute.
func load() string {
	text, _ := os.ReadFile("/proc/loadavg")
	one, _, _ := strings.Cut(string(text), " ")
	return one
}

// busy reports whether others are at work on the machine, too much for what is measured
// by the clock beside transactions of theirs.
func (b *bench) busy() bool {
	n, err := strconv.ParseFloat(load(), 64)
	if err == nil && n > 2*float64(runtime.NumCPU()) {
		fmt.Fprintf(os.Stderr, "load %.1f: not judged by the clock\n", n)
		return true
	}
	return false
}

func run(ctx context.Context, prog, write, only string, quick bool) (err error) {
	if prog, err = filepath.Abs(prog); err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "bailiff-promises-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	if err := os.Chmod(dir, 0o711); err != nil { // others come to read sockets
		return err
	}
	b := &bench{ctx: ctx, dir: dir, prog: prog, quick: quick, lab: netlab.New(fmt.Sprintf("promises-%d", os.Getpid()))}
	defer func() { err = cmp.Or(err, b.lab.Close()) }()
	before := load()
	for _, p := range parts {
		if only != "" && !slices.Contains(strings.Split(only, ","), p.name) {
			continue
		}
		b.out.Reset()
		broken := len(b.broken)
		if err := p.measure(b); err != nil {
			return fmt.Errorf("%s: %w", p.name, err)
		}
		for _, text := range b.broken[broken:] { // what isn't kept is told, too
			fmt.Fprintf(&b.out, "\n**Not kept**: %s.\n", text)
		}
		os.Stdout.Write(b.out.Bytes())
		fmt.Println()
		if write != "" {
			if err := section.Replace(write, "promises/"+p.name, b.out.String()); err != nil {
				return err
			}
		}
	}
	sum := fmt.Sprintf("Of %d promises %d were kept. Load of the machine: %s before, %s after.\n", b.kept+len(b.broken), b.kept, before, load())
	fmt.Print(sum)
	figures.Note("promises not kept", float64(len(b.broken)))
	if err := figures.Save(); err != nil {
		return err
	}
	if write != "" && only == "" {
		if err := section.Replace(write, "promises", sum); err != nil {
			return err
		}
	}
	if len(b.broken) > 0 {
		return fmt.Errorf("%d promises are broken:\n%s", len(b.broken), strings.Join(b.broken, "\n"))
	}
	return nil
}
