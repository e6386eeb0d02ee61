// Command around measures what it costs to look whether something stands around lines,
// on logs around whose lines nothing does: bailiff regex with --transport none and with
// auto, in turns, on one core; the first may be another program (--before), one of before:
// then both have its filters, so that only the reading differs.
// It prints a Markdown table, and with --write puts it into a document.
package main

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"bailiff/bench/logs"
	"bailiff/bench/section"
)

func main() {
	lines := flag.Int("lines", 1_000_000, "of each log")
	pairs := flag.Int("pairs", 10, "of runs")
	before := flag.String("before", "", "a `program` to compare with, in place of --transport none")
	program := flag.String("program", "bin/bailiff", "the `program`")
	write := flag.String("write", "", "a `file` whose section is replaced")
	flag.Parse()
	if err := run(*lines, *pairs, *program, *before, *write); err != nil {
		fmt.Fprintln(os.Stderr, "around:", err)
		os.Exit(1)
	}
}

func run(lines, pairs int, program, before, write string) error {
	dir, err := os.MkdirTemp("", "bailiff-around-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	var out strings.Builder
	fmt.Fprintf(&out, "Logs of %d lines around which nothing stands, 10 %% of attacks, one core; medians of %d pairs in turns:\n\n", lines, pairs)
	out.WriteString("| log | filter | taken as they are, lines/s | looked at | |\n| --- | --- | --- | --- | --- |\n")
	for _, c := range []struct{ kind, filter string }{{"auth", "sshd"}, {"nginx-error", "nginx-http-auth"}, {"mail", "postfix"}, {"auth", "/etc/fail2ban/filter.d/sshd.conf"}} {
		path := filepath.Join(dir, c.kind)
		if err := writeLog(path, c.kind, lines); err != nil {
			return err
		}
		filter := c.filter
		if before != "" && !strings.Contains(filter, "/") {
			_, text, err := timed([]string{before, "filter", "show", filter})
			if err != nil {
				return err
			}
			filter = filepath.Join(dir, filter+".toml")
			if err := os.WriteFile(filter, text, 0o600); err != nil {
				return err
			}
		}
		first := []string{program, "regex", "--transport", "none", "--out", "id", path, filter}
		if before != "" {
			first = []string{before, "regex", "--out", "id", path, filter}
		}
		second := []string{program, "regex", "--out", "id", path, filter}
		var times [2][]time.Duration
		var found [2][]byte
		for range pairs + 1 { // the first of them warms up
			for i, args := range [2][]string{first, second} {
				took, out, err := timed(args)
				if err != nil {
					return err
				}
				times[i], found[i] = append(times[i], took), out
			}
			if !bytes.Equal(found[0], found[1]) {
				return fmt.Errorf("%s: other failures are found", c.kind)
			}
		}
		a, b := median(times[0][1:]), median(times[1][1:])
		perSecond := func(d time.Duration) int { return int(float64(lines) / d.Seconds()) }
		fmt.Fprintf(&out, "| %s | %s | %d | %d | %+.1f %% |\n", c.kind, filepath.Base(c.filter), perSecond(a), perSecond(b), 100*(b.Seconds()/a.Seconds()-1))
	}
	fmt.Print(out.String())
	if write == "" {
		return nil
	}
	return section.Replace(write, "around", out.String())
}

func writeLog(path, kind string, lines int) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	defer f.Close()
	return logs.Write(f, logs.Options{Kind: kind, Lines: lines, Share: 0.1, Seed: 1})
}

func timed(args []string) (time.Duration, []byte, error) {
	c := exec.Command(args[0], args[1:]...)
	c.Env = append(os.Environ(), "GOMAXPROCS=1")
	var out, errs bytes.Buffer
	c.Stdout, c.Stderr = &out, &errs
	err := c.Run()
	if err != nil {
		err = fmt.Errorf("%s: %w: %s", strings.Join(args, " "), err, errs.String())
	}
	took := time.Duration(0)
	if c.ProcessState != nil { // processor time: others may work on the machine
		took = c.ProcessState.UserTime() + c.ProcessState.SystemTime()
	}
	return took, out.Bytes(), err
}

func median(t []time.Duration) time.Duration {
	t = slices.Clone(t)
	slices.Sort(t)
	return (t[(len(t)-1)/2] + t[len(t)/2]) / 2
}
