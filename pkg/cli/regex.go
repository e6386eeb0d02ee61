package cli

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"regexp"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/spf13/cobra"

	"bailiff/pkg/config"
	"bailiff/pkg/filter"
	"bailiff/pkg/logtime"
)

// regexOptions are those of `bailiff regex` and fail2ban-regex.
type regexOptions struct {
	config      string
	datePattern string
	useDNS      string
	json        bool
	now         string
	tz          string

	allMatched, allMissed, allIgnored bool
	noMissed, noIgnored               bool

	stdin io.Reader
	out   io.Writer
}

// printable is how many missed or ignored lines are listed without being asked.
const printable = 20

func regexCommand() *cobra.Command {
	var o regexOptions
	c := &cobra.Command{
		Use:   "regex LOG REGEX|FILTER [IGNOREREGEX]",
		Short: "Try a failregex or a filter on a log",
		Long: `Try a failregex or a filter on a log, and report what matched.

LOG is a file, - for standard input, or a line of a log itself. REGEX is an
expression with a tag like <HOST>, the name of a filter, also as NAME[mode=MODE],
or a filter's file. The report has the form of fail2ban-regex.`,
		Example: `  bailiff regex /var/log/django/auth.log django-auth
  bailiff regex /tmp/django.log 'Login failure <HOST>'
  bailiff regex '2026-01-31 12:00:00 Login failure 192.0.2.7' 'Login failure <HOST>'
  journalctl -u ssh | bailiff regex - 'sshd[mode=aggressive]' --json`,
		Args: args(2, 3),
		RunE: func(c *cobra.Command, args []string) error {
			o.stdin, o.out = c.InOrStdin(), c.OutOrStdout()
			return o.run(args)
		},
	}
	o.flags(c)
	f := c.Flags()
	f.BoolVar(&o.json, "json", false, "print a JSON object for every line of the log")
	f.StringVar(&o.now, "now", "", "the `time` by which dates without a year are read, RFC 3339")
	f.StringVar(&o.tz, "tz", "", "the `zone` of dates that name none")
	return c
}

func (o *regexOptions) flags(c *cobra.Command) {
	f := c.Flags()
	f.StringVarP(&o.config, "config", "c", "", "`path` of the configuration in which filters are looked up")
	f.StringVarP(&o.datePattern, "datepattern", "d", "", "the `pattern` of dates")
	f.StringVar(&o.useDNS, "usedns", "", "yes, warn, no or raw: whether <HOST> may be a name")
	f.BoolVar(&o.allMatched, "print-all-matched", false, "print all matched lines")
	f.BoolVar(&o.allMissed, "print-all-missed", false, "print all missed lines, no matter how many")
	f.BoolVar(&o.allIgnored, "print-all-ignored", false, "print all ignored lines, no matter how many")
	f.BoolVar(&o.noMissed, "print-no-missed", false, "do not print any missed lines")
	f.BoolVar(&o.noIgnored, "print-no-ignored", false, "do not print any ignored lines")
}

// fail2banRegex is the program of that name: the same work, and its exit codes.
func fail2banRegex(given []string, stdin io.Reader, stdout, stderr io.Writer) int {
	o := regexOptions{stdin: stdin, out: stdout}
	c := &cobra.Command{
		Use:           "fail2ban-regex [OPTIONS] <LOG> <REGEX> [IGNOREREGEX]",
		Short:         "Try a failregex or a filter on a log",
		Version:       Version,
		SilenceErrors: true, SilenceUsage: true,
		RunE: func(c *cobra.Command, args []string) error {
			if len(args) < 2 || len(args) > 3 {
				fmt.Fprintln(stdout, c.UsageString())
				return &exitError{255, "provide both <LOG> and <REGEX>."}
			}
			return o.run(args)
		},
	}
	c.SetOut(stdout)
	c.SetErr(stderr)
	c.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return err })
	o.flags(c)
	c.SetArgs(given)
	if err := c.Execute(); err != nil {
		fmt.Fprintln(stdout, "ERROR: "+fail2banText(err))
		return 255
	}
	return 0
}

// fail2banText is an error in fail2ban's words, where it has some.
func fail2banText(err error) string {
	var x *filter.ExprError
	switch {
	case !errors.As(err, &x):
		return err.Error()
	case x.Err == nil:
		return fmt.Sprintf("No failure-id group in '%s'", x.Text)
	}
	return fmt.Sprintf("Unable to compile regular expression '%s':\n%v", x.Expanded, x.Err)
}

var filterName = regexp.MustCompile(`^([\w.-]+)(?:\[mode=["']?([\w-]+)["']?\])?$`)

// run prints the report. Errors come after the lines that led to them, as with
// fail2ban-regex.
func (o *regexOptions) run(args []string) error {
	now, loc := time.Now(), time.Local
	if o.tz != "" {
		var err error
		if loc, err = time.LoadLocation(o.tz); err != nil {
			return &exitError{exitUsage, fmt.Sprintf("--tz: %v", err)}
		}
	}
	if o.now != "" {
		var err error
		if now, err = time.Parse(time.RFC3339Nano, o.now); err != nil {
			return &exitError{exitUsage, fmt.Sprintf("--now %s: want RFC 3339, as 2026-01-31T12:00:00Z", o.now)}
		}
	}
	report := o.out
	if o.json {
		report = io.Discard
	}
	fmt.Fprint(report, "\nRunning tests\n=============\n\n")
	if o.datePattern != "" {
		dates, err := logtime.NewDetector([]string{o.datePattern}, logtime.Options{Location: loc})
		if err != nil {
			return err
		}
		fmt.Fprintf(report, "Use      datepattern : %s : %s\n", shorten(o.datePattern), dates.Templates()[0].Name)
	}
	def, err := o.filter(report, args[1])
	if err != nil {
		return err
	}
	if len(args) == 3 {
		if err := o.ignore(report, &def, args[2]); err != nil {
			return err
		}
	}
	if o.datePattern != "" {
		def.DatePattern = []string{o.datePattern}
	}
	if o.useDNS != "" {
		switch def.UseDNS = filter.UseDNS(o.useDNS); def.UseDNS {
		case filter.DNSYes, filter.DNSWarn, filter.DNSNo, filter.DNSRaw:
		default:
			return &exitError{exitUsage, fmt.Sprintf("--usedns %s: want yes, warn, no or raw", o.useDNS)}
		}
	}
	f, err := filter.Compile(def, loc)
	if err != nil {
		return err
	}
	f.CheckAll = !o.json
	log, closeLog, err := o.open(report, args[0])
	if err != nil {
		return err
	}
	defer closeLog()
	if o.json {
		return o.jsonLines(f, log, now)
	}
	fmt.Fprint(report, "\n\n")
	started := time.Now()
	t := tally{fail: make([]int, len(f.Failregex())), ignore: make([]int, len(f.Ignoreregex()))}
	if err := t.read(f, log, now, o); err != nil {
		return err
	}
	t.print(o, f, time.Since(started))
	return nil
}

// filter finds out what the second argument is.
func (o *regexOptions) filter(report io.Writer, arg string) (filter.Definition, error) {
	if fi, err := os.Stat(arg); err == nil && fi.Mode().IsRegular() {
		fmt.Fprintf(report, "Use   failregex file : %s\n", arg)
		return config.ReadFilterFile(arg, "")
	}
	if m := filterName.FindStringSubmatch(arg); m != nil {
		cfg, err := config.Load(config.Options{Path: o.config})
		if err != nil {
			return filter.Definition{}, err
		}
		if known, ok := cfg.Filters[m[1]]; ok {
			base := "stock"
			if !known.Stock {
				base = strings.TrimSuffix(known.Source, "/filters/"+m[1]+".toml")
			}
			fmt.Fprintf(report, "Use   failregex filter file : %s, basedir: %s\n", m[1], base)
			return cfg.FilterDefinition(m[1], m[2])
		}
	}
	fmt.Fprintf(report, "Use   failregex line : %s\n", shorten(arg))
	return filter.Definition{Name: "REGEX", Failregex: []filter.Expr{{Text: arg}}}, nil
}

func (o *regexOptions) ignore(report io.Writer, def *filter.Definition, arg string) error {
	if fi, err := os.Stat(arg); err == nil && fi.Mode().IsRegular() {
		fmt.Fprintf(report, "Use ignoreregex file : %s\n", arg)
		other, err := config.ReadFilterFile(arg, "")
		def.Ignoreregex = other.Ignoreregex
		return err
	}
	fmt.Fprintf(report, "Use ignoreregex line : %s\n", shorten(arg))
	def.Ignoreregex = []filter.Expr{{Text: arg}}
	return nil
}

// open finds out what the first argument is: a file, standard input, or a line.
func (o *regexOptions) open(report io.Writer, arg string) (io.Reader, func(), error) {
	if arg == "-" {
		fmt.Fprint(report, "Use         log file : -\nUse         encoding : UTF-8\n")
		return o.stdin, func() {}, nil
	}
	if fi, err := os.Stat(arg); err == nil && !fi.IsDir() {
		file, err := os.Open(arg)
		if err != nil {
			return nil, nil, err
		}
		fmt.Fprintf(report, "Use         log file : %s\nUse         encoding : UTF-8\n", arg)
		return file, func() { file.Close() }, nil
	} else if err == nil {
		return nil, nil, fmt.Errorf("%s is a directory, not a log file", arg)
	}
	fmt.Fprintf(report, "Use      single line : %s\n", shorten(strings.ReplaceAll(arg, "\n", `\n`)))
	return strings.NewReader(arg), func() {}, nil
}

// shorten cuts an argument for the report's head as fail2ban-regex does.
func shorten(s string) string {
	const most = 53
	if utf8.RuneCountInString(s) <= most {
		return s
	}
	return string([]rune(s)[:most-3]) + "..."
}

// eachLine calls f for each line without its end. Lines beyond 1 MiB are cut.
func eachLine(r io.Reader, f func(n int, line []byte) error) error {
	in := bufio.NewReaderSize(r, 1<<20)
	for n := 1; ; n++ {
		line, err := in.ReadSlice('\n')
		cut := errors.Is(err, bufio.ErrBufferFull)
		if cut {
			line = bytes.Clone(line)
			for errors.Is(err, bufio.ErrBufferFull) {
				_, err = in.ReadSlice('\n')
			}
		}
		if len(line) == 0 && err == io.EOF {
			return nil
		}
		if err != nil && err != io.EOF {
			return err
		}
		if ferr := f(n, bytes.TrimRight(line, "\r\n")); ferr != nil {
			return ferr
		}
		if err == io.EOF {
			return nil
		}
	}
}

// tally is the report's content.
type tally struct {
	fail, ignore                    []int
	lines, ignored, matched, missed int
	matchedLines, missedLines       []string
	ignoredLines                    []string
}

func (t *tally) read(f *filter.Filter, log io.Reader, now time.Time, o *regexOptions) error {
	return eachLine(log, func(_ int, line []byte) error {
		if len(line) == 0 || line[0] == '#' { // as fail2ban-regex: its sample logs have comments
			return nil
		}
		t.lines++
		r := f.Match(line, now)
		if r.Err != nil {
			return r.Err
		}
		keep := func(list *[]string, n int, all, none bool) {
			if !none && (all || n <= printable) {
				*list = append(*list, string(line))
			}
		}
		switch {
		case r.Ignored >= 0:
			t.ignore[r.Ignored]++
			t.ignored++
			keep(&t.ignoredLines, t.ignored, o.allIgnored, o.noIgnored)
		case len(r.Failures) > 0:
			for _, x := range r.Failures {
				t.fail[x.Regex]++
			}
			t.matched++
			keep(&t.matchedLines, t.matched, o.allMatched, !o.allMatched)
		default:
			t.missed++
			keep(&t.missedLines, t.missed, o.allMissed, o.noMissed)
		}
		return nil
	})
}

func (t *tally) print(o *regexOptions, f *filter.Filter, took time.Duration) {
	w := o.out
	fmt.Fprint(w, "Results\n=======\n\n")
	printHits(w, "Failregex", t.fail, f.Failregex())
	printHits(w, "Ignoreregex", t.ignore, f.Ignoreregex())
	fmt.Fprintln(w, "Date template hits:")
	first := true
	for _, d := range f.Dates() {
		if d.Hits == 0 {
			continue
		}
		if first {
			fmt.Fprintln(w, "|- [# of hits] date format")
			first = false
		}
		fmt.Fprintf(w, "|  [%d] %s\n", d.Hits, d.Name)
	}
	if !first {
		fmt.Fprintln(w, "`-")
	}
	fmt.Fprintf(w, "\nLines: %d lines, %d ignored, %d matched, %d missed\n", t.lines, t.ignored, t.matched, t.missed)
	fmt.Fprintf(w, "[processed in %.2f sec]\n\n", took.Seconds())
	if o.allMatched {
		printLines(w, "Matched", t.matchedLines, t.matched, "matched", true)
	}
	if !o.noIgnored {
		printLines(w, "Ignored", t.ignoredLines, t.ignored, "ignored", o.allIgnored)
	}
	if !o.noMissed {
		printLines(w, "Missed", t.missedLines, t.missed, "missed", o.allMissed)
	}
}

func printHits(w io.Writer, title string, hits []int, exprs []filter.Expr) {
	total := 0
	for _, n := range hits {
		total += n
	}
	fmt.Fprintf(w, "%s: %d total\n", title, total)
	first := true
	for i, n := range hits {
		if n == 0 {
			continue
		}
		if first {
			fmt.Fprintln(w, "|-  #) [# of hits] regular expression")
			first = false
		}
		fmt.Fprintf(w, "|  %2d) [%d] %s\n", i+1, n, exprs[i].Text)
	}
	if !first {
		fmt.Fprintln(w, "`-")
	}
	fmt.Fprintln(w)
}

func printLines(w io.Writer, title string, lines []string, n int, word string, all bool) {
	switch {
	case n == 0:
	case n <= printable || all:
		fmt.Fprintf(w, "|- %s line(s):\n", title)
		for _, l := range lines {
			fmt.Fprintf(w, "|  %s\n", l)
		}
		fmt.Fprintln(w, "`-")
	default:
		fmt.Fprintf(w, "%s line(s): too many to print.  Use --print-all-%s to print all %d lines\n", title, word, n)
	}
}

// lineResult is what --json prints of a line.
type lineResult struct {
	N        int           `json:"n"`
	Line     string        `json:"line"`
	Failures []lineFailure `json:"failures"`
	Ignored  bool          `json:"ignored"`
}

type lineFailure struct {
	ID     string        `json:"id"`
	Time   *int64        `json:"time"` // epoch seconds; null if none is known
	Regex  int           `json:"regex"`
	Groups filter.Groups `json:"groups"`
}

func (o *regexOptions) jsonLines(f *filter.Filter, log io.Reader, now time.Time) error {
	out := bufio.NewWriter(o.out)
	defer out.Flush()
	enc := json.NewEncoder(out)
	enc.SetEscapeHTML(false)
	return eachLine(log, func(n int, line []byte) error {
		r := f.Match(line, now)
		if r.Err != nil {
			return fmt.Errorf("line %d: %w", n, r.Err)
		}
		res := lineResult{N: n, Line: strings.ToValidUTF8(string(line), "\uFFFD"), Failures: []lineFailure{}, Ignored: r.Ignored >= 0}
		for _, x := range r.Failures {
			f := lineFailure{ID: x.ID, Regex: x.Regex, Groups: x.Groups}
			if !x.Time.IsZero() {
				sec := x.Time.Unix()
				f.Time = &sec
			}
			res.Failures = append(res.Failures, f)
		}
		return enc.Encode(res)
	})
}
