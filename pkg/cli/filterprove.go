package cli

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"bailiff/pkg/config"
	"bailiff/pkg/config/fail2ban"
	"bailiff/pkg/filter"
	"bailiff/pkg/pyregexp"
	"bailiff/pkg/tags"
)

// proven is what is known of one line of a filter.
type proven struct {
	Filter     string         `json:"filter"`
	Mode       string         `json:"mode,omitempty"`
	Line       string         `json:"line"`
	Host       string         `json:"host"`
	Client     []string       `json:"client"`
	Verdict    filter.Verdict `json:"verdict,omitempty"`
	Forged     string         `json:"forged,omitempty"`    // a line in which another address is found
	ForgedID   string         `json:"forged_id,omitempty"` // that one
	Evading    string         `json:"evading,omitempty"`   // a line in which the true one is not found
	Reason     string         `json:"reason,omitempty"`    // why it is not decided
	Error      string         `json:"error,omitempty"`     // what is wrong with the sample
	Why        string         `json:"why,omitempty"`       // the filter's file says that it is so, and why
	Situations int            `json:"situations"`
	place      string
	claimed    filter.Verdict // what the filter's file says; "": that it is proved
}

// good reports whether it is as it should be.
func (p *proven) good() bool {
	return p.Verdict == filter.Proved && p.claimed == "" || p.Verdict != "" && p.Verdict == p.claimed
}

// proofs are those of one filter.
type proofs struct {
	name  string
	lines []proven
	notes []string // what else there is to say of the filter
}

func filterProve(load *config.Options) *cobra.Command {
	var line, host, log, mode string
	var client []string
	var asJSON, verbose bool
	c := &cobra.Command{
		Use:   "prove [NAME|FILE…]",
		Short: "Prove that no client can have another address taken, or escape",
		Long: `Prove of filters, all or some, that whatever a client writes into a line, the address
that counts is his own.

A sample says in its filter's file which parts of its line a client chooses:

  [[sample]]
  line = '… app: Login of bob failed from 192.0.2.7'
  host = "192.0.2.7"
  client = { user = "bob" }

and the filter, which characters the service lets through, as an expression for the
whole part (without that: anything but a newline):

  [client]
  user = '[^"\n]*'

The expressions are followed over the line with these parts left open, over all texts at
once. What comes of it, for each such sample:

  proved       no text makes another address count, and none makes this one not count
  forgeable    some text makes another address count; the line is printed
  evadable     some text makes this one not count; the line is printed
  not decided  with the reason

With --log, the lines that the filter takes of a log are looked at in place of samples,
and what <F-USER> takes of them counts as what the client chooses. So fail2ban's filters
can be looked at, by name with --config /etc/fail2ban, or one of its files by its path.

A sample whose service makes a proof impossible says so, and is held to exactly that:

  evadable = "the service quotes nothing"

The exit code is 1 if not all is proved, or as its file says.`,
		Example: `  bailiff filter prove
  bailiff filter prove sshd ./my-filter.toml
  bailiff filter prove my-filter --line '…' --host 192.0.2.7 --client user=bob
  bailiff filter prove sshd --config /etc/fail2ban --log /var/log/auth.log
  bailiff filter prove ./their-filter.conf --line '…' --host 192.0.2.7 --client bob`,
		Args: args(0, -1),
		RunE: func(c *cobra.Command, names []string) error {
			one := (*filter.Probe)(nil)
			switch {
			case c.Flags().Changed("line"):
				if len(names) != 1 || log != "" {
					return usageError("--line wants one filter, and no --log")
				}
				p, err := probeOf(line, host, client)
				if err != nil {
					return err
				}
				one = &p
			case host != "" || len(client) > 0:
				return usageError("--host and --client belong to --line")
			case mode != "" && log == "":
				return usageError("--mode belongs to --line and --log: samples name theirs")
			case log != "" && len(names) != 1:
				return usageError("--log wants one filter")
			}
			bar := newProgress(c.ErrOrStderr())
			list, err := proveAll(*load, names, mode, one, log, bar)
			bar.end()
			if err != nil {
				return err
			}
			bad, n := 0, 0
			for _, f := range list {
				if n += len(f.lines); len(f.lines) == 0 {
					bad++
				}
				for _, p := range f.lines {
					if !p.good() {
						bad++
					}
				}
			}
			if asJSON {
				all := []proven{}
				for _, f := range list {
					if all = append(all, f.lines...); len(f.lines) == 0 {
						all = append(all, proven{Filter: f.name, Client: []string{}, Error: "no line says what a client chooses"})
					}
				}
				err = printJSON(c.OutOrStdout(), all)
			} else {
				printProofs(c.OutOrStdout(), list, verbose)
			}
			for _, f := range list {
				for _, text := range f.notes {
					fmt.Fprintf(c.ErrOrStderr(), "bailiff: warning: %s\n", text)
				}
			}
			if err == nil && (bad > 0 || n == 0) {
				err = &exitError{exitFailed, ""}
			}
			return err
		},
		ValidArgsFunction: completeFilters(load),
	}
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	c.Flags().BoolVarP(&verbose, "verbose", "v", false, "print what is proved, too, line by line")
	c.Flags().StringVar(&line, "line", "", "look at this `LINE` in place of samples")
	c.Flags().StringVar(&host, "host", "", "the `ADDRESS` in it that is true")
	c.Flags().StringArrayVar(&client, "client", nil, "a part of it that a client chooses: `TEXT`, or NAME=TEXT")
	c.Flags().StringVar(&log, "log", "", "look at the lines of this `FILE` in place of samples")
	c.Flags().StringVar(&mode, "mode", "", "with --line and --log, the filter's mode")
	return c
}

func probeOf(line, host string, client []string) (p filter.Probe, err error) {
	if line == "" || host == "" || len(client) == 0 {
		return p, usageError("--line wants a line, --host and --client")
	}
	p = filter.Probe{Line: line, Host: host, Now: time.Now()}
	for _, s := range client {
		name, text, ok := strings.Cut(s, "=")
		if !ok || strings.Contains(line, s) {
			name, text = s, s
		}
		p.Client = append(p.Client, filter.Chosen{Name: name, Text: text})
	}
	return p, nil
}

// mostOfLog is how many lines of a log are looked at that differ in more than digits.
const mostOfLog = 1000

// probesOf makes probes of the lines of a log, one of each kind.
func probesOf(path string, def filter.Definition) ([]filter.Probe, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	var out []filter.Probe
	seen := map[string]bool{}
	s := bufio.NewScanner(file)
	s.Buffer(nil, 1<<20)
	for s.Scan() && len(out) < mostOfLog {
		p, ok := filter.ProbeOf(def, time.Local, s.Text(), time.Now())
		if !ok {
			continue
		}
		kind := strings.Map(func(r rune) rune {
			if r >= '0' && r <= '9' {
				return -1
			}
			return r
		}, strings.Replace(p.Line, p.Client[0].Text, "\x00", 1))
		if !seen[kind] {
			seen[kind] = true
			out = append(out, p)
		}
	}
	return out, s.Err()
}

// proveAll looks at the filters of these names, or all: at their samples, or at one
// probe, or at the lines of a log.
func proveAll(load config.Options, names []string, mode string, one *filter.Probe, log string, bar *progress) (out []proofs, err error) {
	add := func(name, source string, def filter.Definition, client map[string]*pyregexp.Regexp) error {
		probes := []filter.Probe{}
		if one != nil {
			probes = append(probes, *one)
		} else if probes, err = probesOf(log, def); err != nil {
			return err
		}
		f := proofs{name: name}
		for n, p := range probes {
			bar.count("lines looked at", n, len(probes))
			for i := range p.Client {
				p.Client[i].Chars = client[p.Client[i].Name]
			}
			f.lines = append(f.lines, prove(name, mode, source, def, p))
		}
		out = append(out, f)
		return nil
	}
	for _, arg := range names {
		path, given, ok := fail2banFile(arg)
		if !ok {
			continue
		}
		switch {
		case one == nil && log == "":
			return nil, usageError(arg + " is a file of fail2ban's, and has no samples: give --line or --log")
		case mode != "":
			given.Set("mode", mode)
		}
		def, err := readFail2banFile(path, given)
		if err == nil {
			err = add(arg, "", def, nil)
		}
		return out, err
	}
	if config.IsTree(load.Path) {
		if one == nil && log == "" {
			return nil, usageError("fail2ban's filters have no samples: give --line or --log")
		}
		options := &tags.Options{}
		if mode != "" {
			options.Set("mode", mode)
		}
		f, err := fail2ban.ReadFilter(load.Path, names[0], options)
		if err != nil {
			return nil, err
		}
		def, err := config.FromFail2ban(f)
		if err != nil {
			return nil, err
		}
		err = add(names[0], "", def, nil)
		return out, err
	}
	filters, err := namedFilters(load, names)
	if err != nil {
		return nil, err
	}
	for n, f := range filters {
		bar.count("filters looked at, now "+f.Name, n, len(filters))
		if _, err := f.Definition(""); err != nil {
			return nil, err
		}
		if one != nil || log != "" {
			def, err := f.Definition(mode)
			if err == nil {
				err = add(f.Name, f.Source, def, f.Client)
			}
			if err != nil {
				return nil, err
			}
			continue
		}
		p := proofs{name: f.Name, notes: f.UnusedParts()}
		for _, s := range f.Samples {
			probe, ok := f.Probe(s)
			if !ok {
				continue
			}
			def, err := f.Definition(s.Mode)
			if err != nil {
				return nil, err
			}
			def.Proxies = s.Trusted
			one := prove(f.Name, s.Mode, fmt.Sprintf("%s:%d", s.File, s.LineNo), def, probe)
			if one.claimed = s.Unproved; one.Verdict == s.Unproved {
				one.Why = s.Why
			}
			p.lines = append(p.lines, one)
		}
		out = append(out, p)
	}
	return out, nil
}

func prove(name, mode, place string, def filter.Definition, p filter.Probe) proven {
	out := proven{Filter: name, Mode: mode, Line: p.Line, Host: p.Host, place: place}
	for _, c := range p.Client {
		out.Client = append(out.Client, c.Text)
	}
	proof, err := filter.Prove(def, time.UTC, p)
	if err != nil {
		out.Error = err.Error()
		return out
	}
	out.Verdict, out.Forged, out.ForgedID, out.Evading = proof.Verdict, proof.Forged, proof.ForgedID, proof.Evading
	out.Reason, out.Situations = proof.Reason, proof.Situations
	return out
}

// findings are what there is to say of a line that is not proved.
func (p *proven) findings() (out []string) {
	if p.Error != "" {
		out = append(out, "the sample is wrong: "+p.Error)
	}
	if p.good() && p.claimed != "" {
		return []string{fmt.Sprintf("%s, as its file says: %s", p.Verdict, p.Why)}
	}
	if p.Verdict == filter.Proved && p.claimed != "" {
		return []string{fmt.Sprintf("proved, and its file says that it is %s", p.claimed)}
	}
	if p.Forged != "" {
		out = append(out, fmt.Sprintf("%s: %s is found in %q, where it should be %s", filter.Forgeable, p.ForgedID, p.Forged, p.Host))
	}
	if p.Evading != "" {
		out = append(out, fmt.Sprintf("%s: %s is not found in %q", filter.Evadable, p.Host, p.Evading))
	}
	if p.Reason != "" && len(out) == 0 {
		out = append(out, fmt.Sprintf("%s: %s", filter.Undecided, p.Reason))
	}
	return out
}

func printProofs(w io.Writer, list []proofs, verbose bool) {
	count := map[filter.Verdict]int{}
	var without []string
	for _, f := range list {
		good := true
		for _, p := range f.lines {
			for _, text := range p.findings() {
				place := p.place
				if place == "" {
					place = p.Filter
				}
				fmt.Fprintf(w, "%s: %s\n", place, text)
			}
			if verbose && p.Verdict == filter.Proved {
				fmt.Fprintf(w, "%s: proved, %d situations: %s\n", p.Filter, p.Situations, p.Line)
			}
			good = good && p.Verdict == filter.Proved
		}
		if len(f.lines) == 0 {
			without = append(without, f.name)
			continue
		}
		worst := filter.Proved
		for _, v := range []filter.Verdict{filter.Undecided, filter.Evadable, filter.Forgeable} {
			if slices.ContainsFunc(f.lines, func(p proven) bool { return p.Verdict == v || v == filter.Undecided && p.Error != "" }) {
				worst = v
			}
		}
		count[worst]++
	}
	if len(without) > 0 {
		fmt.Fprintf(w, "no line says what a client chooses: %s\n", strings.Join(without, " "))
	}
	fmt.Fprintf(w, "%d filters: %d proved, %d forgeable, %d evadable, %d not decided, %d without a line\n", len(list),
		count[filter.Proved], count[filter.Forgeable], count[filter.Evadable], count[filter.Undecided], len(without))
}

func usageError(text string) error { return &exitError{exitUsage, text} }
