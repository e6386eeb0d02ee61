// Command replay measures `bailiff replay` against `bailiff regex -o id` over the same log, of one
// setting and of twelve, in turns, by the processor's time:
//
//	go run ./bench/replay -write bench/README.md
package main

import (
	"bufio"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"bailiff/bench/logs"
	"bailiff/bench/section"
)

func main() {
	lines := flag.Int("lines", 3_000_000, "of the log")
	turns := flag.Int("turns", 5, "of runs")
	program := flag.String("program", "bin/bailiff", "the `program`")
	write := flag.String("write", "", "a `file` whose section is replaced")
	flag.Parse()
	if err := run(*lines, *turns, *program, *write); err != nil {
		fmt.Fprintln(os.Stderr, "replay:", err)
		os.Exit(1)
	}
}

func run(lines, turns int, program, write string) error {
	dir, err := os.MkdirTemp("", "replay")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	log := filepath.Join(dir, "auth.log")
	f, err := os.Create(log)
	if err != nil {
		return err
	}
	w := bufio.NewWriter(f)
	start := time.Now().Add(-time.Duration(lines) * time.Second / 4)
	if err := logs.Write(w, logs.Options{Kind: "auth", Lines: lines, Share: 0.1, Seed: 1, Start: start, PerSecond: 4}); err != nil {
		return err
	}
	if err := w.Flush(); err != nil {
		return err
	}
	if err := f.Close(); err != nil {
		return err
	}
	sweep := []string{"--sweep", "maxretry=3,5,10", "--sweep", "findtime=10m,1h", "--sweep", "bantime=10m,1h"}
	kinds := []struct {
		name string
		args []string
	}{
		{"`regex -o id`", []string{"regex", "-o", "id", log, "sshd"}},
		{"`replay`", []string{"replay", log, "--jail", "sshd"}},
		{"`replay --sweep`, 12 settings", append([]string{"replay", log, "--jail", "sshd"}, sweep...)},
	}
	took, held := make([][]time.Duration, len(kinds)), make([]int64, len(kinds))
	for range turns {
		for i, k := range kinds {
			cmd := exec.Command(program, k.args...)
			cmd.Stderr = os.Stderr
			if err := cmd.Run(); err != nil {
				return fmt.Errorf("%s: %w", k.name, err)
			}
			u := cmd.ProcessState.SysUsage().(*syscall.Rusage)
			took[i] = append(took[i], time.Duration(u.Utime.Nano()+u.Stime.Nano()))
			held[i] = max(held[i], u.Maxrss>>10)
		}
	}
	var out strings.Builder
	fmt.Fprintf(&out, "%d million lines of sshd's, a tenth of them of attacks; the processor's time, the least of %d runs in turns:\n\n", lines/1_000_000, turns)
	fmt.Fprint(&out, "| | processor | of the first | memory |\n| --- | --- | --- | --- |\n")
	first := slices.Min(took[0])
	for i, k := range kinds {
		least := slices.Min(took[i])
		fmt.Fprintf(&out, "| %s | %.2f s | %.1f times | %d MB |\n", k.name, least.Seconds(), least.Seconds()/first.Seconds(), held[i])
	}
	fmt.Print(out.String())
	if write == "" {
		return nil
	}
	return section.Replace(write, "replay", out.String())
}
