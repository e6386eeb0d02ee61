// Command history puts the figures of a run of make bench into the history of releases:
// into bench/history.csv, a line for the version, and that as a page, bench/history.md.
package main

import (
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"bailiff/bench/figures"
)

const page = `# Figures by release

Made by ` + "`make bench`" + ` from [history.csv](history.csv), which has all releases: ratios and counts that
each run measured on one machine ([README.md](README.md) says how). An empty cell was not measured. Times by the clock
and megabytes depend on the machine; the rest hardly does.

`

func main() {
	version := flag.String("version", "", "the `release` whose line it is")
	noted := flag.String("figures", "", "the `file` in which programs have noted figures")
	dir := flag.String("dir", "bench", "where history.csv and history.md are")
	flag.Parse()
	if err := run(*version, *noted, *dir); err != nil {
		fmt.Fprintln(os.Stderr, "history:", err)
		os.Exit(1)
	}
}

func run(version, noted, dir string) error {
	if version == "" || noted == "" {
		return fmt.Errorf("want -version and -figures")
	}
	names, values, err := figures.Noted(noted)
	if err != nil {
		return err
	}
	table := filepath.Join(dir, "history.csv")
	h, err := figures.Read(table)
	if err != nil {
		return err
	}
	commit, err := exec.Command("git", "rev-parse", "--short", "HEAD").Output()
	if err != nil {
		return fmt.Errorf("git rev-parse: %w", err)
	}
	h.Set(figures.Line{Version: version, Date: time.Now().UTC().Format(time.DateOnly), Commit: strings.TrimSpace(string(commit)), Values: values}, names)
	if err := h.Write(table); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, "history.md"), []byte(page+h.Table(6)), 0o644)
}
