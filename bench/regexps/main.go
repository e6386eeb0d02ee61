// Command regexps has the benchmarks of pkg/pyregexp run that compare it with other engines and
// give it what stalls a matcher, and prints what they measured as Markdown tables; with --write
// it puts them into bench/README.md.
package main

import (
	"bufio"
	"bytes"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"time"

	"bailiff/bench/section"
)

func main() {
	write := flag.String("write", "", "a `file` whose section is replaced")
	rounds := flag.Int("rounds", 3, "of each benchmark, of which the median counts")
	lasts := flag.String("benchtime", "300ms", "how long each `takes`")
	flag.Parse()
	if err := run(*write, *lasts, *rounds); err != nil {
		fmt.Fprintln(os.Stderr, "regexps:", err)
		os.Exit(1)
	}
}

// measured is what one benchmark took.
type measured struct {
	times  []float64 // ns
	allocs string
}

func (m *measured) String() string {
	if m == nil {
		return "—"
	}
	slices.Sort(m.times)
	text := short(m.times[len(m.times)/2])
	if m.allocs != "" {
		text += ", " + m.allocs + " allocs"
	}
	return text
}

// short writes nanoseconds with two digits that count.
func short(ns float64) string {
	unit, n := "ns", ns
	for _, u := range []string{"µs", "ms", "s"} {
		if n < 1000 {
			break
		}
		n, unit = n/1000, u
	}
	digits := 0
	if n < 10 {
		digits = 1
	}
	return strconv.FormatFloat(n, 'f', digits, 64) + " " + unit
}

func run(write, lasts string, rounds int) error {
	c := exec.Command("go", "test", "./pkg/pyregexp", "-v", "-run", "xxx", "-bench", "^Benchmark(Engines|FilterAttacks|Hostile)$", "-benchtime", lasts, "-count", strconv.Itoa(rounds), "-timeout", time.Hour.String())
	c.Stderr = os.Stderr
	text, err := c.Output()
	if err != nil {
		return fmt.Errorf("%s: %w: %s", strings.Join(c.Args, " "), err, text)
	}
	var names []string // of benchmarks, without the last part, in order
	all := map[string]*measured{}
	engines := ""
	for in := bufio.NewScanner(bytes.NewReader(text)); in.Scan(); {
		if _, rest, ok := strings.Cut(in.Text(), " expressions, of which Go's regexp runs "); ok {
			first := strings.Fields(strings.Split(in.Text(), " expressions")[0])
			engines = fmt.Sprintf("%s expressions, of which Go's `regexp` runs %s", first[len(first)-1], rest)
		}
		fields := strings.Fields(in.Text())
		if len(fields) < 4 || !strings.HasPrefix(fields[0], "Benchmark") {
			continue
		}
		name := strings.TrimPrefix(fields[0], "Benchmark")
		if i := strings.LastIndexByte(name, '-'); i > strings.LastIndexByte(name, '/') {
			name = name[:i] // of how many cores
		}
		ns, err := strconv.ParseFloat(fields[2], 64)
		if err != nil {
			continue
		}
		m := all[name]
		if m == nil {
			m = &measured{}
			all[name] = m
		}
		m.times = append(m.times, ns)
		if n := len(fields); fields[n-1] == "allocs/op" {
			m.allocs = fields[n-2]
		}
		if of := name[:strings.LastIndexByte(name, '/')]; !slices.Contains(names, of) {
			names = append(names, of)
		}
	}
	var out strings.Builder
	table := func(text, bench, first string, columns, heads []string) {
		fmt.Fprintf(&out, "%s\n\n| %s | %s |\n| --- |%s\n", text, first, strings.Join(heads, " | "), strings.Repeat(" --- |", len(columns)))
		for _, name := range names {
			rest, ok := strings.CutPrefix(name, bench+"/")
			if !ok {
				continue
			}
			fmt.Fprintf(&out, "| %s |", rest)
			for _, c := range columns {
				fmt.Fprintf(&out, " %v |", all[name+"/"+c])
			}
			out.WriteByte('\n')
		}
	}
	table(strings.TrimSuffix(fmt.Sprintf("Medians of %d; %s", rounds, engines), "; ")+":", "Engines", "line", []string{"pyregexp", "regexp", "regexp2"}, []string{"pyregexp", "Go's regexp", "regexp2"})
	table("\nLines that stop fail2ban ([differences](../docs/differences.md)), with all expressions of their filters; fail2ban's own time for\nthe first is 1.0 s and 2.6 s, and quadruples with a few bytes more:", "FilterAttacks", "filter",
		[]string{"134", "1000", "10000", "100000"}, []string{"134 bytes", "1 KB", "10 KB", "100 KB"})
	table("\nThe remembering matcher alone, on patterns made to stall a matcher (a test asserts the number of steps, not the time):", "Hostile", "pattern",
		[]string{"1000", "10000", "100000"}, []string{"1 KB", "10 KB", "100 KB"})
	fmt.Print(out.String())
	if write == "" {
		return nil
	}
	return section.Replace(write, "regexps", out.String())
}
