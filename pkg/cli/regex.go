package cli

import (
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"bailiff/pkg/clock"
	"bailiff/pkg/config"
	"bailiff/pkg/control"
	"bailiff/pkg/eventlog"
	"bailiff/pkg/filter"
	"bailiff/pkg/source"
	"bailiff/pkg/transport"
)

// regexOptions are those of `bailiff regex` and fail2ban-regex.
type regexOptions struct {
	config       string
	datePattern  string
	timezone     string
	encoding     string
	raw          bool
	useDNS       string
	maxLines     int
	journalMatch string
	proxies      *filter.Proxies // trusted ones; nil: nobody has named them
	transport    []string        // what stands around lines; nil: that is found by them
	backend      string          // that a filter is told of
	logLevel     string
	verbose      int
	verboseDate  bool
	debuggex     bool
	noCheckAll   bool
	format       string // of -o
	invert       bool   // -o prints the lines that are none

	warnedUndated bool
	hints         io.Writer // nil: for fail2ban-regex there are none
	warnedBeside  bool      // that an address may be a proxy's

	allMatched, allMissed, allIgnored bool
	noMissed, noIgnored               bool

	// fail2ban says that the program was called as fail2ban-regex: what a filter's
	// name means, and what goes wrong in which words, is as there.
	fail2ban bool
	// journalMatches are the filter's.
	journalMatches []string
	// undated: lines come with their time, and no date pattern was set.
	undated  bool
	json     bool
	now      time.Time // by which dates without a year are read; zero: the clock
	location *time.Location
	stdin    io.Reader
	out      io.Writer
	progress *progress
}

func regexCommand() *cobra.Command {
	var o regexOptions
	var now, zone string
	var trusted []string
	c := &cobra.Command{
		Use:   "regex LOG REGEX|FILTER [IGNOREREGEX]",
		Short: "Try a failregex or a filter on a log",
		Long: `Try a failregex or a filter on a log, and report what matched.

LOG is a file, - for standard input, systemd-journal for the journal (options in
brackets: systemd-journal[journalpath=DIR]), docker:NAME for what a container has
written (docker:label=KEY=VALUE, docker:image=IMAGE; [docker] socket of the configuration
says which engine is asked), or a line of a log itself (several, with newlines between them). REGEX is an expression with a tag like <HOST>, the name of
a filter, also with options as NAME[mode=MODE], or a filter's file. IGNOREREGEX is
an expression for what to leave out. The report has the form of fail2ban-regex.

With --out, only what was found is printed, one failure a line: id, ip, msg, row,
the name of a group (user, host, ip4, …), or a text with tags, as '<ip> <F-USER>'.`,
		Example: `  bailiff regex /var/log/django/auth.log django-auth
  bailiff regex /tmp/django.log 'Login failure <HOST>'
  bailiff regex '2026-01-31 12:00:00 Login failure 192.0.2.7' 'Login failure <HOST>'
  bailiff regex --config /etc/fail2ban --out '<ip> <F-USER>' /var/log/auth.log sshd
  bailiff regex docker:web nginx-http-auth
  journalctl -u ssh | bailiff regex - 'sshd[mode=aggressive]' --json`,
		Args: args(2, 3),
		RunE: func(c *cobra.Command, args []string) error {
			o.stdin, o.out = c.InOrStdin(), c.OutOrStdout()
			o.progress, o.hints = newProgress(c.ErrOrStderr()), c.ErrOrStderr()
			var err error
			if o.location, o.now, err = clockFlags(zone, now); err != nil {
				return err
			}
			switch filter.UseDNS(o.useDNS) {
			case "", filter.DNSYes, filter.DNSWarn, filter.DNSNo, filter.DNSRaw:
			default:
				return &exitError{exitUsage, fmt.Sprintf("--usedns %s: want yes, warn, no or raw", o.useDNS)}
			}
			if o.maxLines < 0 {
				return &exitError{exitUsage, "--maxlines: want a number from 1"}
			}
			if err := o.readAround(c, trusted); err != nil {
				return err
			}
			return o.run(args)
		},
	}
	f := c.Flags()
	o.flags(f)
	f.BoolVar(&o.json, "json", false, "print a JSON object for every line of the log")
	o.aroundFlags(f, &trusted)
	f.StringVar(&now, "now", "", "the `time` by which dates without a year are read, RFC 3339")
	f.StringVar(&zone, "tz", "", "the local `zone`, as Europe/Zurich")
	c.MarkFlagsMutuallyExclusive("print-no-missed", "print-all-missed")
	c.MarkFlagsMutuallyExclusive("print-no-ignored", "print-all-ignored")
	c.MarkFlagsMutuallyExclusive("json", "out")
	return c
}

// flags are the options of fail2ban-regex(1).
func (o *regexOptions) flags(f *pflag.FlagSet) {
	f.SortFlags = false
	f.StringVarP(&o.config, "config", "c", "", "`directory` of the configuration in which filters are looked up")
	f.StringVarP(&o.datePattern, "datepattern", "d", "", "the `pattern` of dates, in place of the filter's")
	f.StringVar(&o.timezone, "timezone", "", "the `zone` of dates that name none (logtimezone), as UTC+0200")
	f.StringVarP(&o.encoding, "encoding", "e", "", "the log's `encoding`; without it, that of the locale")
	f.BoolVarP(&o.raw, "raw", "r", false, "take hosts as they are: nothing is resolved")
	f.StringVar(&o.useDNS, "usedns", "", "whether <HOST> may be a `name`: yes, warn, no or raw")
	f.IntVarP(&o.maxLines, "maxlines", "L", 0, "look at `N` lines together; also how many lines are listed")
	f.StringVarP(&o.journalMatch, "journalmatch", "m", "", "journalctl's `matches`, in place of the filter's (systemd-journal only)")
	f.StringVarP(&o.logLevel, "log-level", "l", "critical", "the `level` from which messages are printed, too")
	f.CountVarP(&o.verbose, "verbose", "v", "print more; twice: more still")
	f.IntVar(&o.verbose, "verbosity", 0, "how much is printed, as a `number` from 0 to 4")
	f.BoolVar(&o.verboseDate, "verbose-date", false, "print weight and expression of date templates")
	f.BoolVarP(&o.debuggex, "debuggex", "D", false, "print links to debuggex.com for each line and expression")
	f.BoolVar(&o.noCheckAll, "no-check-all", false, "stop at the first failregex that matches a line, as a jail does")
	f.StringVarP(&o.format, "out", "o", "", "print failures only, in this `form`: row, id, ip, msg, host, user, …, or text with <tags>")
	f.BoolVarP(&o.invert, "invert", "i", false, "with --out: print the lines in which nothing was found")
	f.BoolVar(&o.noMissed, "print-no-missed", false, "print no missed lines")
	f.BoolVar(&o.noIgnored, "print-no-ignored", false, "print no ignored lines")
	f.BoolVar(&o.allMatched, "print-all-matched", false, "print all matched lines")
	f.BoolVar(&o.allMissed, "print-all-missed", false, "print all missed lines, no matter how many")
	f.BoolVar(&o.allIgnored, "print-all-ignored", false, "print all ignored lines, no matter how many")
}

// aroundFlags are what a jail says of its log's transport and of proxies.
func (o *regexOptions) aroundFlags(f *pflag.FlagSet, trusted *[]string) {
	f.StringSliceVar(&o.transport, "transport", nil, "what stands around lines: auto, none, docker, cri, syslog, as a jail's `names`")
	f.StringSliceVar(trusted, "trusted", nil, "the `addresses` of trusted proxies, in place of the configuration's [proxy]; empty: there are none")
}

// readAround takes over what aroundFlags were given.
func (o *regexOptions) readAround(c *cobra.Command, trusted []string) (err error) {
	if o.transport, err = transport.ParseNames(o.transport); err == nil && c.Flags().Changed("trusted") {
		o.proxies, err = config.ParseProxies(trusted)
	}
	if err != nil {
		return &exitError{exitUsage, err.Error()}
	}
	return nil
}

func (o *regexOptions) clock() time.Time {
	if o.now.IsZero() {
		return clock.System().Now()
	}
	return o.now
}

// printf writes the report's head, which -o and --json leave out.
func (o *regexOptions) printf(format string, args ...any) {
	if o.format == "" && !o.json {
		fmt.Fprintf(o.out, format, args...)
	}
}

// run prints the report. What it prints is in the order in which things are
// found out, so that an error comes after what led to it, as with
// fail2ban-regex.
func (o *regexOptions) run(args []string) error {
	collectLater()
	o.printf("\nRunning tests\n=============\n\n")
	if o.backend = "auto"; strings.HasPrefix(args[0], source.JournalName) {
		o.backend = "systemd"
	}
	def, err := o.definition(args[1])
	if err != nil {
		return err
	}
	if len(args) == 3 {
		if def.JSON != nil {
			return failed("filter %s looks at the fields of JSON: there is no ignoreregex for it", def.Name)
		}
		o.printf("Use ignoreregex line : %s\n", shorten(args[2]))
		def.Ignoreregex = []filter.Expr{{Text: args[2]}} // in place of the filter's
	}
	o.undated = o.backend == "systemd" && len(def.DatePattern) == 0
	f, err := filter.Compile(def, o.location)
	if err != nil {
		return err
	}
	warnGreedy(os.Stderr, f)
	f.RawHosts = o.raw
	f.CheckAll = !o.noCheckAll && o.format == "" && !o.json
	f.Detail = o.detail()
	if f.MaxLines() > 1 {
		f.Detail = filter.DetailAll
	}
	log, err := o.open(args[0], &def, f.MaxLines())
	if err != nil {
		return err
	}
	defer log.close()
	if !o.fail2ban {
		log.around = transport.New(def.Around())
	}
	names := resolver{lookup: net.DefaultResolver.LookupNetIP, warn: o.warn}
	if f.RawHosts || def.UseDNS == filter.DNSNo || def.UseDNS == filter.DNSRaw {
		names.lookup = nil
	}
	names.tell = def.UseDNS != filter.DNSYes
	switch {
	case o.json:
		return o.jsonLines(f, log, &names)
	case o.format != "":
		return o.failures(f, log, &names)
	}
	started := time.Now()
	t := newTally(o, f, &names)
	if err := t.read(log); err != nil {
		return err
	}
	t.print(time.Since(started))
	return nil
}

// detail is how much of a failure is asked for.
func (o *regexOptions) detail() filter.Detail {
	switch {
	case o.invert || o.warns():
		return filter.DetailAll
	case o.format == "" && !o.json && !o.debuggex && !o.noCheckAll:
		return filter.DetailIDs // a report, which counts
	case o.format == "id" || o.format == "fid" || o.format == "ip":
		return filter.DetailIDs
	case strings.Contains(o.format, "<") && !strings.Contains(o.format, "<F-"):
		return filter.DetailLines
	}
	return filter.DetailAll
}

// warn prints a message if --log-level asks for warnings.
func (o *regexOptions) warn(format string, args ...any) {
	if o.warns() {
		fmt.Fprintf(o.out, "W: "+format+"\n", args...)
	}
}

// warns reports whether --log-level asks for warnings.
func (o *regexOptions) warns() bool {
	level, err := config.ParseLogLevel(o.logLevel)
	return err == nil && eventlog.ParseLevel(level) <= slog.LevelWarn
}

// warnUndated says, once, that a line without a time of its own has a failure.
func (o *regexOptions) warnUndated(x *filter.Failure, r *filter.Result, line []byte) {
	if r.Dated || !x.Time.IsZero() || o.warnedUndated {
		return
	}
	o.warnedUndated = true
	text := make([]string, len(x.Lines))
	for i, l := range x.Lines {
		text[i] = l.String()
	}
	if len(text) == 0 {
		text = []string{string(line)}
	}
	o.warn("Found a match but no valid date/time found for %s.", control.ReprString(linesDate(x)))
	o.warn("Match without a timestamp: %s", strings.Join(text, "\n"))
	o.warn("Please try setting a custom date pattern (see man page jail.conf(5)).")
}

// warnGreedy names the expressions that take a part of the address.
func warnGreedy(w io.Writer, f *filter.Filter) {
	f.Greedy(func(x filter.Expr, text string) {
		fmt.Fprintf(w, "bailiff: warning: %s: %s\n", shorten(x.Text), text)
	})
}
